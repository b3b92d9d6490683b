//! RFC 9111 §4.1 and RFC 9110 §12.5.5: fields that select among responses.

use larder::{Forward, Reason};

use super::origin::{Default, PROFILES, Profile, Strict, fresh, ok, reply};
use crate::support::MINUTE;

type Lines<'l> = &'l [(&'l str, &'l str)];

/// Whether the response to a request with the first lines, which has this `Vary`, answers one with the others.
async fn shared(profile: Profile, vary: &[&str], first: Lines<'_>, second: Lines<'_>) -> bool {
    let reply = vary.iter().fold(fresh(), |reply, line| reply.with("vary", line));
    let site = profile.site_with(|layer| layer.ignore_cookies(true), [reply]);
    site.get_with(first).await;
    site.get_with(second).await;
    site.asked() == 1
}

#[tokio::test]
async fn s27_every_nominated_field_must_match() {
    let first: Lines<'_> = &[("x-a", "1"), ("x-b", "2"), ("x-c", "3"), ("x-d", "4")];
    for profile in PROFILES {
        for vary in [&["x-a"][..], &["x-a, x-b"], &["x-a, x-b, x-c"], &["x-c,x-b,x-a"], &["x-a", "x-b, x-c"]] {
            assert!(shared(profile, vary, first, first).await, "{profile:?} {vary:?}");
            let other_d = [&first[..3], &[("x-d", "other")]].concat();
            assert!(shared(profile, vary, first, &other_d).await, "{profile:?} {vary:?}");
            for nominated in 0..vary.join(",").split(',').count() {
                let mut other = first.to_vec();
                other[nominated].1 = "other";
                let other: Vec<_> = other.into_iter().rev().collect();
                assert_eq!(
                    shared(profile, vary, first, &other).await,
                    !vary.concat().contains(["x-a", "x-b", "x-c"][nominated]),
                    "{profile:?} {vary:?} {nominated}"
                );
            }
        }
    }
}

#[tokio::test]
async fn s27_each_variant_is_stored_beside_the_others() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("vary", "x-a")]);
        for value in ["1", "2", "3"] {
            site.get_with(&[("x-a", value)]).await;
        }
        for (value, answer) in [("1", "answer 1"), ("2", "answer 2"), ("3", "answer 3")] {
            assert_eq!(site.get_with(&[("x-a", value)]).await.text(), answer, "{profile:?}");
        }
        assert_eq!(site.get_with(&[("x-a", "4")]).await.forward(), Some(Forward::VaryMiss), "{profile:?}");
    }
}

#[tokio::test]
async fn s27_a_stale_variant_is_validated_by_its_own_validator() {
    for profile in PROFILES {
        let variant = |etag: &str| fresh().with("vary", "x-a").with("etag", etag);
        let site = profile.site([variant("\"1\""), variant("\"2\""), reply(304, &[("etag", "\"1\"")])]);
        site.get_with(&[("x-a", "1")]).await;
        site.get_with(&[("x-a", "2")]).await;
        site.pass(61);
        assert_eq!(site.get_with(&[("x-a", "1")]).await.text(), "answer 1", "{profile:?}");
        assert_eq!(site.received("if-none-match").as_deref(), Some("\"1\""), "{profile:?}");
    }
}

#[tokio::test]
async fn s28_absent_matches_only_absent() {
    for profile in PROFILES {
        for vary in [&["x-a"][..], &["x-a, x-b"], &["x-b", "x-a"]] {
            let present: Lines<'_> = &[("x-b", "1"), ("x-a", "1")];
            let empty: Lines<'_> = &[("x-b", "1"), ("x-a", "")];
            let absent: Lines<'_> = &[("x-b", "1")];
            assert!(shared(profile, vary, absent, absent).await, "{profile:?} {vary:?}");
            assert!(shared(profile, vary, empty, empty).await, "{profile:?} {vary:?}");
            for (first, second) in
                [(absent, present), (present, absent), (absent, empty), (empty, absent), (present, empty), (empty, present)]
            {
                assert!(!shared(profile, vary, first, second).await, "{profile:?} {vary:?} {first:?} {second:?}");
            }
        }
    }
}

#[tokio::test]
async fn s29_a_star_matches_nothing() {
    for profile in PROFILES {
        for vary in [
            &["*"][..],
            &["*, *"],
            &["*", "*"],
            &["*, x-a"],
            &["x-a, *"],
            &["x-a,*"],
            &[" \t* "],
            &["", "*"],
            &[", *"],
            &["x-a", "*"],
            &["*", "x-a"],
            &["*", ""],
        ] {
            assert!(!shared(profile, vary, &[("x-a", "1")], &[("x-a", "1")]).await, "{profile:?} {vary:?}");
        }
    }
}

#[tokio::test]
async fn s29_vary_star_is_not_stored_even_with_a_route_lifetime() {
    for profile in PROFILES {
        let site = profile.site_with(|layer| layer.ttl(MINUTE), [ok(&[("vary", "*")])]);
        assert_eq!(site.get().await.reason(), Some(Reason::VaryStar), "{profile:?}");
    }
}

#[tokio::test]
async fn s30_field_names_match_in_any_case_order_and_line() {
    for profile in PROFILES {
        for vary in [&["X-A, x-b"][..], &["x-B,X-a"], &["x-a", "", "X-B"], &["", "x-a, x-b"], &["x-a,, ,x-b, "]] {
            let lines: Lines<'_> = &[("X-A", "1"), ("x-b", "2")];
            assert!(shared(profile, vary, lines, &[("X-B", "2"), ("x-a", "1")]).await, "{profile:?} {vary:?}");
            for other in [&[("x-a", "2"), ("x-b", "2")], &[("x-a", "1"), ("x-b", "1")]] {
                assert!(!shared(profile, vary, lines, other).await, "{profile:?} {vary:?} {other:?}");
            }
        }
    }
}

#[tokio::test]
async fn s30_an_empty_vary_nominates_nothing() {
    for profile in PROFILES {
        for vary in [&[""][..], &["", ""], &[" , "]] {
            assert!(shared(profile, vary, &[("x-a", "1")], &[("x-a", "2")]).await, "{profile:?} {vary:?}");
        }
    }
}

#[tokio::test]
async fn s30_several_lines_are_one_list() {
    for profile in PROFILES {
        assert!(shared(profile, &["x-a"], &[("x-a", "1"), ("x-a", "2")], &[("x-a", "1, 2")]).await, "{profile:?}");
        assert!(!shared(profile, &["x-a"], &[("x-a", "1"), ("x-a", "2")], &[("x-a", "2, 1")]).await, "{profile:?}");
        assert!(!shared(profile, &["x-a"], &[("x-a", "1"), ("x-a", "2")], &[("x-a", "1")]).await, "{profile:?}");
    }
}

#[tokio::test]
async fn s30_legal_space_is_ignored_in_the_strict_profile() {
    for other in ["1,2", " 1, 2 ", "1 , 2", "1,\t2"] {
        assert!(shared(Strict, &["x-a"], &[("x-a", "1, 2")], &[("x-a", other)]).await, "{other:?}");
    }
    for other in ["1 2", "12", "1, 2, ", "2, 1"] {
        assert!(!shared(Strict, &["x-a"], &[("x-a", "1, 2")], &[("x-a", other)]).await, "{other:?}");
    }
}

#[tokio::test]
async fn s30_space_in_a_quoted_string_is_never_ignored() {
    for profile in PROFILES {
        assert!(!shared(profile, &["x-a"], &[("x-a", "\"1, 2\"")], &[("x-a", "\"1,2\"")]).await, "{profile:?}");
    }
}

#[tokio::test]
async fn s30_strict_profile_compares_languages_by_meaning() {
    let language = |value| [("accept-language", value)];
    for (first, second) in [
        ("en, de", "en,de"),
        ("en, de", "EN, De"),
        ("en, de", "de, en"),
        ("en;q=0.9, de", "de, en;q=0.5"),
        ("en, de;q=0.5", "en,de; q=0.5"),
    ] {
        assert!(shared(Strict, &["accept-language"], &language(first), &language(second)).await, "{first} {second}");
    }
}

#[tokio::test]
async fn s30_different_meanings_never_match() {
    for profile in PROFILES {
        for (field, first, second) in [
            ("accept-language", "en, de;q=0.5", "de, en;q=0.5"),
            ("accept-language", "en", "en-GB"),
            ("accept-language", "en, de", "en"),
            ("accept-encoding", "gzip", "br"),
            ("accept-encoding", "gzip, br;q=0", "gzip, br"),
            ("accept-encoding", "identity;q=0, gzip", "gzip"),
            ("x-a", "a", "A"),
            ("user-agent", "x/1", "x/2"),
        ] {
            assert!(
                !shared(profile, &[field], &[(field, first)], &[(field, second)]).await,
                "{profile:?} {field} {first} {second}"
            );
        }
    }
}

#[tokio::test]
async fn s31_a_response_that_forgot_its_vary_does_not_push_out_one_that_has_it() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("vary", "x-a"), fresh()]);
        site.get_with(&[("x-a", "1")]).await;
        site.pass(1);
        site.get_with(&[("x-a", "2")]).await;
        assert_eq!(site.get_with(&[("x-a", "1")]).await.text(), "answer 1", "{profile:?}");
        assert_eq!(site.get_with(&[("x-a", "3")]).await.text(), "answer 2", "{profile:?}");
    }
}

#[tokio::test]
async fn s32_vary_on_credentials_keeps_two_of_them_apart() {
    for profile in PROFILES {
        for (field, one, other) in [("authorization", "Bearer a", "Bearer b"), ("cookie", "a=1", "a=2")] {
            let reply = || ok(&[("cache-control", "public, max-age=60"), ("vary", field)]);
            let site = profile.site_with(|layer| layer.ignore_cookies(true), [reply()]);
            for (value, answer) in [(one, "answer 1"), (other, "answer 2"), (one, "answer 1"), (other, "answer 2")] {
                assert_eq!(site.get_with(&[(field, value)]).await.text(), answer, "{profile:?} {field}");
            }
            assert_eq!(site.get().await.text(), "answer 3", "{profile:?} {field}");
        }
    }
}

#[tokio::test]
async fn s32_variants_by_credentials_count_against_the_limit() {
    for profile in PROFILES {
        let reply = ok(&[("cache-control", "public, max-age=60"), ("vary", "authorization")]);
        let site = profile.site_with(|layer| layer.max_variants(2), [reply]);
        for value in ["a", "b"] {
            assert!(site.get_with(&[("authorization", value)]).await.is_stored(), "{profile:?}");
        }
        assert!(site.get_with(&[("authorization", "c")]).await.is_stored(), "{profile:?}");
        assert!(!site.get_with(&[("authorization", "a")]).await.is_hit(), "{profile:?}");
    }
}

#[tokio::test]
async fn s32_default_profile_bypasses_on_a_cookie_unless_the_route_handles_it() {
    let site = Default.site([fresh().with("vary", "cookie")]);
    for _ in 0..2 {
        assert_eq!(site.get_with(&[("cookie", "a=1")]).await.reason(), Some(Reason::RequestCookie));
    }
    assert_eq!(site.asked(), 2);
}
