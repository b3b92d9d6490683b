//! RFC 9111 §4.2 and §5.1 to §5.3: how long a response is fresh, how old it is, and what the directives mean.

use std::{env::current_exe, process::Command, time::Duration};

use larder::{Forward, Reason};

use super::origin::{
    Default, NONE, PROFILES, Profile, Reply, Strict, controlled, date, fresh, gone, is_reused, ok, reply, reused,
};
use crate::support::{MINUTE, paused::settled, request};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// How many seconds a reply is used again; looked for up to a minute more than the day that the default profile allows.
async fn lifetime(profile: Profile, reply: Reply) -> u64 {
    let (mut fresh, mut stale) = (0, DAY + 60);
    if !is_reused(profile, 0, reply.clone()).await {
        return 0;
    }
    while stale - fresh > 1 {
        let middle = fresh + (stale - fresh) / 2;
        match is_reused(profile, middle, reply.clone()).await {
            true => fresh = middle,
            false => stale = middle,
        }
    }
    stale
}

#[tokio::test]
async fn s33_s_maxage_goes_before_max_age_and_that_before_expires() {
    for profile in PROFILES {
        for (directives, expires, expected) in [
            ("s-maxage=10, max-age=100", 1000, 10),
            ("max-age=10, s-maxage=100", 1000, 100),
            ("max-age=100", 10, 100),
            ("max-age=10", 1000, 10),
            ("s-maxage=10", 1000, 10),
            ("s-maxage=0, max-age=100", 1000, 0),
            ("max-age=0", 1000, 0),
            ("public", 50, 50),
        ] {
            let reply = controlled(directives).with("expires", date(expires));
            assert_eq!(lifetime(profile, reply).await, expected, "{profile:?} {directives} {expires}");
        }
    }
}

#[tokio::test]
async fn s33_expires_counts_from_the_date() {
    for profile in PROFILES {
        for (made, expires, expected) in [(0, 60, 60), (3600, 3660, 60), (3600, 3600, 0), (3660, 3600, 0), (-10, 50, 50)] {
            let reply = ok(&[("date", &date(made)), ("expires", &date(expires))]);
            assert_eq!(lifetime(profile, reply).await, expected, "{profile:?} {made} {expires}");
        }
    }
}

#[tokio::test]
async fn s33_explicit_lifetime_overrides_the_heuristic() {
    let modified = date(-100_000);
    assert_eq!(lifetime(Strict, ok(&[("last-modified", &modified)])).await, 10_000);
    for line in [("cache-control", "max-age=10"), ("expires", &date(10))] {
        assert_eq!(lifetime(Strict, ok(&[("last-modified", &modified), line])).await, 10);
    }
}

#[tokio::test]
async fn s34_expires_is_ignored_where_there_is_a_max_age() {
    for profile in PROFILES {
        for directives in ["max-age=60", "s-maxage=60"] {
            for expires in [&*date(-3600), &date(0), "0", "soon"] {
                assert!(is_reused(profile, 59, controlled(directives).with("expires", expires)).await, "{profile:?} {expires}");
            }
        }
        for directives in ["max-age=0", "s-maxage=0", "max-age=x"] {
            assert!(!is_reused(profile, 0, controlled(directives).with("expires", date(60))).await, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s35_a_lifetime_too_large_to_count_is_a_long_one() {
    let values = [
        "max-age=2147483647",
        "max-age=2147483648",
        "max-age=2147483649",
        "max-age=4294967296",
        "max-age=99999999999",
        "s-maxage=9223372036854775808",
        "max-age=18446744073709551616",
        "max-age=999999999999999999999999999999",
    ];
    for profile in PROFILES {
        assert_eq!(reused(profile, 23 * HOUR, &values, controlled).await, values, "{profile:?}");
    }
    assert_eq!(reused(Strict, 1000 * DAY, &values, controlled).await, values);
}

#[tokio::test]
async fn s35_an_age_too_large_to_count_is_a_high_one() {
    let ages = ["2147483647", "2147483648", "2147483649", "4294967296", "18446744073709551616", "99999999999999999999999"];
    for profile in PROFILES {
        assert_eq!(reused(profile, 0, &ages, |age| controlled("max-age=3600").with("age", age)).await, NONE, "{profile:?}");
    }
}

#[tokio::test]
async fn s36_a_lifetime_that_cannot_be_read_is_stale() {
    let values = [
        "max-age=1.5",
        "max-age=60.0",
        "max-age=a100",
        "max-age=100a",
        "max-age=-1",
        "max-age=+60",
        "max-age=",
        "max-age",
        "max-age=60 60",
        "max-age=6 0",
        "max-age=0x60",
        "max-age='60'",
        "max-age=60;x=1",
        "max-age=\"60",
        "max-age=\"6 0\"",
        "max-age=\"\"",
        "max-age =60",
        "max-age= 60",
        "max-age = 60",
        "s-maxage=1.5",
        "s-maxage=a100",
        "s-maxage=100a, max-age=60",
        "s-maxage =60",
    ];
    for profile in PROFILES {
        assert_eq!(reused(profile, 0, &values, |value| controlled(value).with("expires", date(60))).await, NONE, "{profile:?}");
    }
}

#[tokio::test]
async fn s36_of_repeated_lifetimes_the_shortest_counts() {
    for profile in PROFILES {
        for directives in ["max-age=10, max-age=100", "max-age=100, max-age=10", "s-maxage=100, max-age=5, s-maxage=10"] {
            assert_eq!(lifetime(profile, controlled(directives)).await, 10, "{profile:?} {directives}");
        }
        let two_lines = controlled("max-age=100").with("cache-control", "max-age=10");
        assert_eq!(lifetime(profile, two_lines).await, 10, "{profile:?}");
        for directives in ["max-age=60, max-age=x", "max-age, max-age=60"] {
            assert_eq!(lifetime(profile, controlled(directives)).await, 0, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s36_of_two_directives_that_contradict_each_other_the_stricter_counts() {
    let values = [
        "public, private, max-age=60",
        "max-age=60, no-store, public",
        "immutable, no-store, max-age=60",
        "max-age=60, max-age=0",
    ];
    for profile in PROFILES {
        assert_eq!(reused(profile, 0, &values, controlled).await, NONE, "{profile:?}");
    }
}

#[tokio::test]
async fn s36_of_several_expires_the_earliest_counts() {
    for profile in PROFILES {
        for (first, second) in [(date(10), date(100)), (date(100), date(10))] {
            assert_eq!(lifetime(profile, ok(&[("expires", &first), ("expires", &second)])).await, 10, "{profile:?}");
        }
        assert!(!is_reused(profile, 0, ok(&[("expires", &date(60)), ("expires", "0")])).await, "{profile:?}");
    }
}

#[tokio::test]
async fn s36_leading_zeros_and_members_that_are_empty_are_legal() {
    let values = ["max-age=0060", ",max-age=60", "max-age=60,,", ", , max-age=60 ,", "\tmax-age=60\t"];
    for profile in PROFILES {
        assert_eq!(reused(profile, 59, &values, controlled).await, values, "{profile:?}");
    }
}

#[tokio::test]
async fn s36_several_lines_are_one_list() {
    for profile in PROFILES {
        for lines in [["max-age=60", "public"], ["public", "max-age=60"], ["", "max-age=60"], ["max-age=60", ""]] {
            let [first, second] = lines.map(|line| ("cache-control", line));
            assert!(is_reused(profile, 59, ok(&[first, second])).await, "{profile:?} {lines:?}");
        }
    }
}

#[tokio::test]
async fn s37_quoted_text_is_no_directive() {
    for profile in PROFILES {
        for directives in
            [r#"x="max-age=60", max-age=10"#, r#"max-age=10, x="a, max-age=60""#, r#"x="a, max-age=1\", b", max-age=10"#]
        {
            assert_eq!(lifetime(profile, controlled(directives)).await, 10, "{profile:?} {directives}");
        }
        let harmless = [
            r#"x="no-store", max-age=60"#,
            r#"x=", no-store, private, ", max-age=60"#,
            r#"max-age=60, x="no-cache""#,
            r#"x="\", no-store, \"", max-age=60"#,
        ];
        assert_eq!(reused(profile, 59, &harmless, controlled).await, harmless, "{profile:?}");
        assert!(!is_reused(profile, 0, controlled(r#"x="max-age=60""#)).await, "{profile:?}");
    }
}

#[tokio::test]
async fn s38_directives_are_read_without_regard_to_case() {
    for profile in PROFILES {
        for directives in ["MAX-AGE=10", "Max-Age=10", "mAx-aGe=10", "max-age=60, S-MaxAge=10"] {
            assert_eq!(lifetime(profile, controlled(directives)).await, 10, "{profile:?} {directives}");
        }
        let forbidding = ["No-Store, max-age=60", "max-age=60, PRIVATE", "NO-cache, max-age=60"];
        assert_eq!(reused(profile, 0, &forbidding, controlled).await, NONE, "{profile:?}");
    }
}

#[tokio::test]
async fn s39_lifetime_may_be_quoted() {
    for profile in PROFILES {
        for directives in [r#"max-age="10""#, r#"s-maxage="10", max-age=100"#, r#"max-age="10", x="y""#] {
            assert_eq!(lifetime(profile, controlled(directives)).await, 10, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s40_an_expires_that_is_no_date_is_in_the_past() {
    let values = ["0", "-1", "1", "", "soon", "\"\"", "4294967296", "Thursday", "Mon, 32 Nov 2026 09:00:00 GMT"];
    for profile in PROFILES {
        assert_eq!(reused(profile, 0, &values, |value| ok(&[("expires", value)])).await, NONE, "{profile:?}");
        // It is explicit, so that nothing is guessed either.
        let modified = date(-100_000);
        let reply = |value| ok(&[("expires", value), ("last-modified", &*modified)]);
        assert_eq!(reused(profile, 0, &values, reply).await, NONE, "{profile:?}");
    }
}

#[tokio::test]
async fn s40_an_expires_that_is_past_or_present_is_stale() {
    for profile in PROFILES {
        for expires in
            [date(0), date(-1), date(-100_000), "Sun, 06 Nov 1994 08:49:37 GMT".into(), "Thu, 01 Jan 1970 00:00:00 GMT".into()]
        {
            assert!(!is_reused(profile, 0, ok(&[("expires", &expires)])).await, "{profile:?} {expires}");
        }
    }
}

/// RFC 9110 §5.6.7 asks recipients to be robust: the day of the week says nothing that the date does not.
#[tokio::test]
async fn s41_an_expires_with_a_wrong_weekday_or_a_leap_second_is_a_date() {
    let values = ["Tue, 02 Nov 2026 09:00:00 GMT", "Mon, 02 Nov 2026 08:59:60 GMT"];
    for profile in PROFILES {
        assert_eq!(reused(profile, 0, &values, |value| ok(&[("expires", value)])).await, values, "{profile:?}");
    }
}

#[tokio::test]
async fn s41_an_expires_that_is_almost_a_date_is_not_repaired() {
    // Nine o'clock: an hour after the beginning.
    let values = [
        "Mon, 02 Nov 26 09:00:00 GMT",
        "Mon, 02 Nov 2026 09:00:00 AEST",
        "Mon, 02 Nov 2026 09:00:00 PST",
        "Mon, 02 Nov 2026 09:00:00 UTC",
        "Mon, 02 Nov 2026 09:00:00 +0000",
        "Mon, 02 Nov 2026 19:00:00 +1000",
        "Mon, 02 Nov 2026 09:00:00",
        "Mon, 02 Nov 2026  09:00:00 GMT",
        "Mon,  02  Nov  2026  09:00:00  GMT",
        "Mon 02 Nov 2026 09:00:00 GMT",
        "Mon, 02-Nov-2026 09:00:00 GMT",
        "Mon, 02-Nov-26 09:00:00 GMT",
        "Mon, 2 Nov 2026 09:00:00 GMT",
        "Mon, 02 Nov 2026 9:00:00 GMT",
        "Mon, 02 Nov 2026 09.00.00 GMT",
        "Mon, 02 Nov 2026 09:00 GMT",
        "Mon, 02 November 2026 09:00:00 GMT",
        "02 Nov 2026 09:00:00 GMT",
        "Mon, 02 Nov 2026 09:00:00 GMT; x",
        "2026-11-02T09:00:00Z",
        "1793610000",
    ];
    for profile in PROFILES {
        assert_eq!(reused(profile, 0, &values, |value| ok(&[("expires", value)])).await, NONE, "{profile:?}");
    }
}

#[tokio::test]
async fn s42_the_three_forms_of_a_date_are_read_in_any_case() {
    let values = [
        "Mon, 02 Nov 2026 09:00:00 GMT",
        "mon, 02 nov 2026 09:00:00 gmt",
        "MON, 02 NOV 2026 09:00:00 GMT",
        "Mon, 02 nOv 2026 09:00:00 Gmt",
        "Monday, 02-Nov-26 09:00:00 GMT",
        "MONDAY, 02-NOV-26 09:00:00 gmt",
        "Mon Nov  2 09:00:00 2026",
        "mon nov  2 09:00:00 2026",
    ];
    for profile in PROFILES {
        let reply = |value| ok(&[("expires", value)]);
        assert_eq!(reused(profile, HOUR - 1, &values, reply).await, values, "{profile:?}");
        assert_eq!(reused(profile, HOUR, &values, reply).await, NONE, "{profile:?}");
    }
}

#[tokio::test]
async fn s42_a_date_far_ahead_is_far_ahead() {
    let values = ["Sat, 20 Nov 2286 17:46:39 GMT", "Tue, 19 Jan 2038 03:14:08 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"];
    for profile in PROFILES {
        assert_eq!(reused(profile, 23 * HOUR, &values, |value| ok(&[("expires", value)])).await, values, "{profile:?}");
    }
}

#[test]
fn s43_the_local_time_zone_has_no_influence() {
    for zone in ["America/New_York", "Asia/Tokyo", "XYZ-13:45"] {
        let mut elsewhere = Command::new(current_exe().unwrap());
        let run = elsewhere
            .env("TZ", zone)
            .args(["--exact", "standards::freshness::s42_the_three_forms_of_a_date_are_read_in_any_case"]);
        let output = run.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{zone}: {said}");
    }
}

#[tokio::test]
async fn s44_the_age_that_a_response_came_with_counts() {
    for profile in PROFILES {
        for (age, expected) in [("0", 100), ("30", 70), ("99", 1), ("100", 0), ("7200", 0)] {
            for reply in [controlled("max-age=100"), controlled("s-maxage=100"), ok(&[("expires", &date(100))])] {
                assert_eq!(lifetime(profile, reply.with("age", age)).await, expected, "{profile:?} {age}");
            }
        }
    }
}

#[tokio::test]
async fn s44_a_response_is_as_old_as_its_date_at_least() {
    for profile in PROFILES {
        for (made, age, expected) in [(-30, "0", 70), (-30, "50", 50), (-200, "0", 0), (0, "40", 60), (3600, "0", 100)] {
            let reply = controlled("max-age=100").with("date", date(made)).with("age", age);
            assert_eq!(lifetime(profile, reply).await, expected, "{profile:?} {made} {age}");
        }
    }
}

#[tokio::test]
async fn s44_the_time_that_the_answer_took_counts() {
    for profile in PROFILES {
        let site = profile.site([controlled("max-age=100").with("age", "20").takes(10)]);
        site.get().await;
        site.pass(5);
        assert_eq!(site.get().await.header("age"), Some("35"), "{profile:?}");
    }
}

#[tokio::test]
async fn s44_response_delay_counts_without_an_age_in_the_strict_profile() {
    let site = Strict.site([controlled("max-age=100").takes(10)]);
    site.get().await;
    site.pass(5);
    assert_eq!(site.get().await.header("age"), Some("15"));
}

#[tokio::test]
async fn s45_the_first_member_of_an_age_counts() {
    for profile in PROFILES {
        for (age, expected) in [("30, 7200", 70), ("7200, 0", 0), ("30,", 70)] {
            assert_eq!(lifetime(profile, controlled("max-age=100").with("age", age)).await, expected, "{profile:?} {age}");
        }
        for (first, second, expected) in [("30", "7200", 70), ("7200", "0", 0)] {
            let reply = controlled("max-age=100").with("age", first).with("age", second);
            assert_eq!(lifetime(profile, reply).await, expected, "{profile:?} {first} {second}");
        }
    }
}

#[tokio::test]
async fn s45_an_age_that_cannot_be_read_is_ignored() {
    let ages =
        ["abc", "-7200", "7200.0", "7200s", "x7200", "a, 7200", "", "7 200", "+7200", "7200;foo=bar", "\"7200\"", "0x7200"];
    for profile in PROFILES {
        assert_eq!(reused(profile, 99, &ages, |age| controlled("max-age=100").with("age", age)).await, ages, "{profile:?}");
    }
}

/// Statuses that may be given a lifetime by guess.
const GUESSED: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

#[tokio::test]
async fn s46_a_lifetime_is_guessed_for_the_statuses_that_allow_it() {
    for status in GUESSED {
        assert!(is_reused(Strict, 9_999, reply(status, &[("last-modified", &date(-100_000))])).await, "{status}");
    }
    for status in [201, 202, 299, 302, 303, 307, 400, 401, 403, 429, 500, 502, 503, 504, 599] {
        assert!(!is_reused(Strict, 0, reply(status, &[("last-modified", &date(-100_000))])).await, "{status}");
    }
}

#[tokio::test]
async fn s46_public_allows_a_guess_for_any_status() {
    for status in [201, 299, 302, 403, 503, 599] {
        let reply = reply(status, &[("last-modified", &date(-100_000)), ("cache-control", "public")]);
        assert!(is_reused(Strict, 9_999, reply).await, "{status}");
    }
}

#[tokio::test]
async fn s46_heuristic_is_a_tenth_of_the_time_since_modification_at_most_a_day() {
    for (modified, expected) in [(-50, 5), (-600, 60), (-100_000, 10_000), (-100_000_000, DAY), (0, 0), (3600, 0)] {
        assert_eq!(lifetime(Strict, ok(&[("last-modified", &date(modified))])).await, expected, "{modified}");
    }
    let old = ok(&[("last-modified", &date(-700)), ("date", &date(-100))]);
    assert_eq!(lifetime(Strict, old.clone()).await, 0, "a tenth of 600 seconds, of which 100 are past");
    assert_eq!(lifetime(Strict, old.with("expires", date(0))).await, 0);
}

#[tokio::test]
async fn s46_no_heuristic_with_an_explicit_time_or_an_invalid_date() {
    let modified = date(-100_000);
    for line in [("cache-control", "max-age=0"), ("cache-control", "s-maxage=0"), ("expires", "0"), ("expires", &date(-1))] {
        assert!(!is_reused(Strict, 0, ok(&[("last-modified", &modified), line])).await, "{line:?}");
    }
    for modified in ["yesterday", "", "0"] {
        assert!(!is_reused(Strict, 0, ok(&[("last-modified", modified)])).await, "{modified}");
    }
}

#[tokio::test]
async fn s46_nothing_is_guessed_in_the_default_profile() {
    for status in GUESSED {
        let reply = reply(status, &[("last-modified", &date(-100_000)), ("cache-control", "public")]);
        assert!(!is_reused(Default, 0, reply).await, "{status}");
    }
}

/// Each forbids that a stale response is used.
const FORBIDDING: [&str; 6] = [
    "max-age=10, must-revalidate",
    "max-age=10, Must-Revalidate",
    "max-age=10, proxy-revalidate",
    "s-maxage=10",
    "max-age=10, no-cache",
    "max-age=10, must-revalidate, stale-while-revalidate=60, stale-if-error=60",
];

#[tokio::test(start_paused = true)]
async fn s47_directives_against_stale_use_override_the_windows_of_the_route() {
    for profile in PROFILES {
        for directives in FORBIDDING {
            for failure in [reply(503, &[]), gone()] {
                let site = profile.site_with(
                    |layer| layer.stale_while_revalidate(MINUTE).stale_if_error(MINUTE).soft_timeout(Duration::ZERO),
                    [controlled(directives).with("etag", "\"a\""), failure],
                );
                site.get().await;
                site.pass(11);
                let answer = site.try_get().await;
                assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 503), "{profile:?} {directives}");
                settled().await;
                assert_eq!(site.asked(), 2, "{profile:?} {directives}");
            }
        }
    }
}

#[tokio::test]
async fn s47_strict_profile_serves_no_stale_response_that_forbids_it() {
    for directives in FORBIDDING {
        let site = Strict.site([controlled(directives).with("etag", "\"a\"")]);
        site.get().await;
        site.pass(11);
        assert_eq!(site.get_with(&[("cache-control", "max-stale=1000")]).await.text(), "answer 2", "{directives}");
    }
}

#[tokio::test]
async fn s47_must_revalidate_does_not_keep_a_fresh_response_from_being_used() {
    for profile in PROFILES {
        for directives in ["max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60"] {
            assert!(is_reused(profile, 59, controlled(directives)).await, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s48_must_revalidate_and_a_handler_that_is_gone_is_an_error() {
    for profile in PROFILES {
        let layer = |layer: larder::CacheLayer| layer.stale_if_error(MINUTE);
        let site = profile.site_with(layer, [controlled("max-age=10, must-revalidate"), gone(), fresh()]);
        site.get().await;
        site.pass(11);
        assert!(site.try_get().await.is_err(), "{profile:?}");
        assert_eq!(site.get().await.text(), "answer 3", "{profile:?}");
    }
}

#[tokio::test]
async fn s49_nothing_is_used_stale_without_a_word_that_allows_it() {
    for profile in PROFILES {
        for later in [fresh(), reply(500, &[]), reply(404, &[])] {
            let site = profile.site([fresh(), later]);
            site.get().await;
            site.pass(61);
            assert_ne!(site.get().await.text(), "answer 1", "{profile:?}");
        }
        let site = profile.site([fresh(), gone()]);
        site.get().await;
        site.pass(61);
        assert!(site.try_get().await.is_err(), "{profile:?}");
    }
}

#[tokio::test]
async fn s49_max_stale_allows_it_in_the_strict_profile() {
    for (demand, seconds, expected) in [
        ("max-stale=100", 61, true),
        ("max-stale=100", 159, true),
        ("max-stale=100", 161, false),
        ("max-stale", 100_000, true),
        ("MAX-STALE=\"100\"", 61, true),
        ("max-stale=x", 61, false),
    ] {
        let site = Strict.site([fresh()]);
        site.get().await;
        site.pass(seconds);
        let answer = site.get_with(&[("cache-control", demand)]).await;
        assert_eq!(answer.text() == "answer 1", expected, "{demand} {seconds}");
        assert!(!expected || answer.header("age") == Some(&*seconds.to_string()), "{demand} {seconds}");
    }
}

/// Whether a fresh response of this age, with 40 seconds left, answers a request that demands something.
async fn satisfies(profile: Profile, name: &str, demand: &str) -> bool {
    let site = profile.site([fresh()]);
    site.get().await;
    site.pass(20);
    site.get_with(&[(name, demand)]).await;
    site.asked() == 1
}

#[tokio::test]
async fn s50_demands_of_clients_are_ignored_by_default() {
    for demand in ["no-cache", "max-age=0", "max-age=5", "min-fresh=50", "no-cache, no-store", "max-stale=0"] {
        assert!(satisfies(Default, "cache-control", demand).await, "{demand}");
    }
    assert!(satisfies(Default, "pragma", "no-cache").await);
    let site = Default.site([fresh()]);
    site.get().await;
    site.pass(61);
    assert_eq!(site.get_with(&[("cache-control", "max-stale=1000")]).await.text(), "answer 2");
}

#[tokio::test]
async fn s50_demands_of_clients_are_met_in_the_strict_profile() {
    for demand in ["no-cache", "No-Cache", "max-age=0", "max-age=19", "min-fresh=41", "max-age=10, max-stale=5", "x, no-cache"] {
        assert!(!satisfies(Strict, "cache-control", demand).await, "{demand}");
    }
    for demand in ["max-age=20", "max-age=100", "min-fresh=40", "max-stale=0", "max-stale"] {
        assert!(satisfies(Strict, "cache-control", demand).await, "{demand}");
    }
}

#[tokio::test]
async fn s50_trusted_clients_may_demand_something_by_default() {
    let trusting = |layer: larder::CacheLayer| layer.trusted_clients(|parts| parts.headers.contains_key("x-operator"));
    let site = Default.site_with(trusting, [fresh()]);
    site.get().await;
    assert_eq!(site.get_with(&[("cache-control", "no-cache")]).await.text(), "answer 1");
    assert_eq!(site.get_with(&[("cache-control", "no-cache"), ("x-operator", "1")]).await.text(), "answer 2");
    assert_eq!(site.get().await.text(), "answer 2");
}

#[tokio::test]
async fn s50_pragma_counts_where_there_is_no_cache_control() {
    assert!(!satisfies(Strict, "pragma", "no-cache").await);
    assert!(!satisfies(Strict, "pragma", "x, NO-CACHE").await);
    let site = Strict.site([fresh()]);
    site.get().await;
    assert!(site.get_with(&[("pragma", "no-cache"), ("cache-control", "max-age=100")]).await.is_hit());
}

#[tokio::test]
async fn s50_reload_replaces_the_entry() {
    for demand in [("cache-control", "no-cache"), ("cache-control", "max-age=0"), ("pragma", "no-cache")] {
        let site = Strict.site([fresh()]);
        site.get().await;
        site.pass(1);
        site.get_with(&[demand]).await;
        assert_eq!(site.get().await.text(), "answer 2", "{demand:?}");
    }
}

#[tokio::test]
async fn s50_a_reload_within_the_first_second_is_a_reload_too() {
    let site = Strict.site([fresh()]);
    site.get().await;
    assert_eq!(site.get_with(&[("cache-control", "max-age=0")]).await.text(), "answer 2");
}

#[tokio::test]
async fn s50_reload_revalidates_the_entry() {
    let site = Strict.site([fresh().with("etag", "\"a\""), reply(304, &[("etag", "\"a\"")])]);
    site.get().await;
    let answer = site.get_with(&[("cache-control", "no-cache")]).await;
    assert_eq!((answer.text(), answer.forward()), ("answer 1", Some(Forward::Request)));
    assert_eq!(site.received("if-none-match").as_deref(), Some("\"a\""));
}

#[tokio::test]
async fn s50_response_to_a_no_store_request_is_not_stored() {
    for profile in PROFILES {
        for demand in ["no-store", "NO-STORE", "max-age=100, no-store"] {
            let site = profile.site([fresh()]);
            let answer = site.get_with(&[("cache-control", demand)]).await;
            assert_eq!(answer.reason(), Some(Reason::RequestNoStore), "{profile:?} {demand}");
            assert_eq!(site.get().await.text(), "answer 2", "{profile:?} {demand}");
        }
    }
}

#[tokio::test]
async fn s50_only_if_cached_is_answered_from_the_cache_or_with_504() {
    for profile in PROFILES {
        let site = profile.site_with(|layer| layer.trusted_clients(|_| true), [fresh()]);
        let only = [("cache-control", "only-if-cached")];
        assert_eq!((site.get_with(&only).await.status.as_u16(), site.asked()), (504, 0), "{profile:?}");
        site.get().await;
        assert_eq!(site.get_with(&only).await.text(), "answer 1", "{profile:?}");
        site.pass(61);
        let refused = site.get_with(&only).await;
        assert_eq!((refused.status.as_u16(), site.asked()), (504, 1), "{profile:?}");
        assert_eq!(refused.header("cache-control"), Some("no-store"), "{profile:?}");
    }
}

/// Otherwise anybody could ask what others have requested.
#[tokio::test]
async fn s50_only_if_cached_of_an_untrusted_client_is_ignored() {
    let site = Default.site([fresh()]);
    assert_eq!(site.get_with(&[("cache-control", "only-if-cached")]).await.text(), "answer 1");
}

#[tokio::test]
async fn s51_unknown_directives_are_ignored() {
    for profile in PROFILES {
        let values =
            ["max-age=60, nothing-to-see-here", "x, max-age=60", "x=y, max-age=60", "max-age=60, no-stores, xprivate, no_cache"];
        assert_eq!(reused(profile, 59, &values, controlled).await, values, "{profile:?}");
    }
}

#[tokio::test]
async fn s51_unknown_demands_of_a_request_are_ignored() {
    for profile in PROFILES {
        for (name, demand) in [
            ("pragma", "foo"),
            ("cache-control", "nothing-to-see-here"),
            ("cache-control", "x=\"no-cache\""),
            ("cache-control", ""),
        ] {
            assert!(satisfies(profile, name, demand).await, "{profile:?} {name}: {demand}");
            let site = profile.site([fresh()]);
            assert!(site.get_with(&[(name, demand)]).await.is_stored(), "{profile:?} {name}: {demand}");
        }
    }
}

#[tokio::test]
async fn s51_pragma_in_a_response_means_nothing() {
    for profile in PROFILES {
        for pragma in ["no-cache", "foo", "no-cache=\"x\""] {
            assert!(is_reused(profile, 59, fresh().with("pragma", pragma)).await, "{profile:?} {pragma}");
        }
    }
    assert!(is_reused(Strict, 59, ok(&[("pragma", "no-cache"), ("last-modified", &date(-100_000))])).await);
}

#[tokio::test(start_paused = true)]
async fn s51_no_warning_is_made() {
    for profile in PROFILES {
        let site = profile.site_with(|layer| layer.stale_if_error(MINUTE), [fresh(), reply(503, &[])]);
        site.get().await;
        assert_eq!(site.get().await.header("warning"), None, "{profile:?}");
        site.pass(61);
        let stale = site.get().await;
        assert_eq!((stale.text(), stale.header("warning")), ("answer 1", None), "{profile:?}");
    }
}

#[tokio::test]
async fn s51_lifetime_counts_with_any_query() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        for _ in 0..2 {
            site.send(request(http::Method::GET, "/page?a=b", &[])).await;
        }
        assert_eq!(site.asked(), 1, "{profile:?}");
    }
}
