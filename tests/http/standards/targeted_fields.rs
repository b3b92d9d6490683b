//! RFC 9213: targeted fields.

use super::origin::{Default, NONE, PROFILES, Profile, Reply, Strict, date, fresh, is_reused, ok, reply, reused};
use crate::support::MINUTE;

/// The targeted field of each profile.
fn target(profile: Profile) -> &'static str {
    match profile {
        Default => "larder-cache-control",
        Strict => "cdn-cache-control",
    }
}

fn targeted(profile: Profile, directives: &str) -> Reply {
    ok(&[(target(profile), directives)])
}

#[tokio::test]
async fn s80_a_targeted_field_goes_before_cache_control_and_expires() {
    for profile in PROFILES {
        for line in
            [("cache-control", "no-store"), ("cache-control", "private"), ("cache-control", "max-age=0"), ("expires", "0")]
        {
            assert!(is_reused(profile, 59, targeted(profile, "max-age=60").with(line.0, line.1)).await, "{profile:?} {line:?}");
        }
        for directives in ["max-age=10", "max-age=0", "no-store", "private", "no-cache"] {
            let reply = targeted(profile, directives).with("cache-control", "s-maxage=100").with("expires", date(100));
            assert!(!is_reused(profile, 10, reply).await, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s80_where_a_targeted_field_decides_expires_gives_no_lifetime() {
    for profile in PROFILES {
        for directives in ["must-revalidate", "public", "x", "max-age=3.5"] {
            let reply = targeted(profile, directives).with("expires", date(100)).with("cache-control", "max-age=100");
            assert!(!is_reused(profile, 0, reply).await, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s80_the_first_field_on_the_list_decides() {
    let both = |own: &str, cdn: &str| ok(&[("larder-cache-control", own), ("cdn-cache-control", cdn)]);
    assert!(is_reused(Strict, 59, both("max-age=60", "no-store")).await);
    assert!(!is_reused(Strict, 0, both("no-store", "max-age=60")).await);
    assert!(is_reused(Strict, 59, both("", "max-age=60")).await, "an empty one does not");
}

#[tokio::test]
async fn s80_the_age_counts_against_a_targeted_lifetime() {
    for profile in PROFILES {
        for (age, expected) in [("0", true), ("30", true), ("60", false), ("100", false)] {
            assert_eq!(
                is_reused(profile, 0, targeted(profile, "max-age=60").with("age", age)).await,
                expected,
                "{profile:?} {age}"
            );
        }
    }
}

#[tokio::test]
async fn s81_a_targeted_field_that_cannot_be_read_is_ignored() {
    let unreadable = [
        "max-age=60,",
        "MaX-aGe=60",
        "max-age =60",
        "max-age= 60",
        "max-age=60, &",
        "max-age=60;",
        "max-age=\"60",
        "max-age=99999999999999999999",
        "max-age=",
        "",
        "   ",
    ];
    for profile in PROFILES {
        let others = |value| targeted(profile, value).with("cache-control", "max-age=100");
        assert_eq!(reused(profile, 99, &unreadable, others).await, unreadable, "{profile:?}");
        assert_eq!(reused(profile, 0, &unreadable, |value| targeted(profile, value)).await, NONE, "{profile:?}");
    }
}

#[tokio::test]
async fn s81_values_of_another_type_are_not_coerced() {
    let values = [
        "max-age=60.0",
        "max-age=3.5",
        "max-age=\"60\"",
        "max-age=a60",
        "max-age=?1",
        "max-age",
        "max-age=(60)",
        "max-age=:NjA=:",
    ];
    for profile in PROFILES {
        assert_eq!(reused(profile, 0, &values, |value| targeted(profile, value)).await, NONE, "{profile:?}");
    }
}

#[tokio::test]
async fn s81_flags_of_another_type_are_not_set() {
    let values = ["max-age=60, no-store=?0", "max-age=60, no-store=1", "max-age=60, private=?0", "max-age=60, no-cache=5"];
    for profile in PROFILES {
        assert_eq!(reused(profile, 59, &values, |value| targeted(profile, value)).await, values, "{profile:?}");
    }
}

#[tokio::test]
async fn s81_parameters_extensions_and_lines_are_understood() {
    let values = ["max-age=60;x=y", "max-age=60, x", "x=\"a, no-store\", max-age=60", "max-age=0, max-age=60", "  max-age=60  "];
    for profile in PROFILES {
        assert_eq!(reused(profile, 59, &values, |value| targeted(profile, value)).await, values, "{profile:?}");
        let two_lines = targeted(profile, "x=1").with(target(profile), "max-age=60");
        assert!(is_reused(profile, 59, two_lines).await, "{profile:?}");
    }
}

#[tokio::test]
async fn s82_the_directives_of_a_targeted_field_are_obeyed() {
    for profile in PROFILES {
        assert!(is_reused(profile, 59, targeted(profile, "max-age=60")).await, "{profile:?}");
        assert!(!is_reused(profile, 60, targeted(profile, "max-age=60")).await, "{profile:?}");
        assert!(!is_reused(profile, 60, targeted(profile, "max-age=100, s-maxage=60")).await, "{profile:?}");
        for directives in ["max-age=60, no-store", "max-age=60, private", "max-age=60, no-cache"] {
            assert!(!is_reused(profile, 0, targeted(profile, directives)).await, "{profile:?} {directives}");
        }
        for (directives, expected) in [("max-age=10", 200), ("max-age=10, must-revalidate", 503)] {
            let site = profile.site_with(|layer| layer.stale_if_error(MINUTE), [targeted(profile, directives), reply(503, &[])]);
            site.get().await;
            site.pass(15);
            assert_eq!(site.get().await.status, expected, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s82_no_cache_in_a_targeted_field_is_validated() {
    for profile in PROFILES {
        let site = profile.site([targeted(profile, "no-cache, max-age=60").with("etag", "\"a\""), reply(304, &[])]);
        site.get().await;
        assert_eq!((site.get().await.text(), site.asked()), ("answer 1", 2), "{profile:?}");
    }
}

#[tokio::test]
async fn s83_a_field_that_is_not_on_the_list_has_no_effect_and_passes() {
    for (profile, field) in [
        (Default, "cdn-cache-control"),
        (Default, "surrogate-control"),
        (Default, "x-cache-control"),
        (Strict, "surrogate-control"),
        (Strict, "foo-cache-control"),
    ] {
        assert!(!is_reused(profile, 0, ok(&[(field, "max-age=60")])).await, "{profile:?} {field}");
        let site = profile.site([fresh().with(field, "no-store")]);
        for _ in 0..2 {
            assert_eq!(site.get().await.header(field), Some("no-store"), "{profile:?} {field}");
        }
        assert_eq!(site.asked(), 1, "{profile:?} {field}");
    }
}

#[tokio::test]
async fn s83_the_field_that_is_for_us_alone_does_not_leave() {
    for profile in PROFILES {
        for directives in ["max-age=60", "no-store", "&"] {
            let site = profile.site([fresh().with("larder-cache-control", directives)]);
            for _ in 0..2 {
                assert_eq!(site.get().await.header("larder-cache-control"), None, "{profile:?} {directives}");
            }
        }
        let site = profile.site([fresh().with("cdn-cache-control", "max-age=60")]);
        for _ in 0..2 {
            assert_eq!(site.get().await.header("cdn-cache-control"), Some("max-age=60"), "{profile:?}");
        }
    }
}
