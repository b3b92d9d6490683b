//! RFC 9213, 9875, 8246, 9530, 9842, QUERY, No-Vary-Search, and what else a cache has to know.

use axum::{body::Body, extract::Request};
use http::Method;
use larder::{Forward, Reason};

use super::origin::{
    BEGINS, Default, NONE, PROFILES, Profile, Reply, Site, Strict, controlled, date, fresh, is_reused, ok, reply, reused,
};
use crate::support::{MINUTE, request};

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

/// Whether a POST elsewhere that names these groups invalidates a page of those.
async fn invalidates(profile: Profile, groups: &str, named: &str) -> bool {
    let site = profile.site([fresh().with("cache-groups", groups), reply(204, &[("cache-group-invalidation", named)]), fresh()]);
    site.get().await;
    site.send(request(Method::POST, "/write", &[])).await;
    !site.get().await.is_hit()
}

#[tokio::test]
async fn s84_a_write_invalidates_the_groups_that_it_names() {
    for profile in PROFILES {
        let many = |name: &str| (0..32).map(|number| format!("\"{name}{number:031}\"")).collect::<Vec<_>>().join(", ");
        for (groups, named, expected) in [
            ("\"a\"", "\"a\"", true),
            ("\"a\", \"b\"", "\"b\"", true),
            ("\"a\";x=1, \"b\"", "\"c\", \"a\";y", true),
            ("\"a\"", "\"A\"", false),
            ("\"a\"", "a", false),
            ("a", "\"a\"", false),
            ("\"a\"", "\"a", false),
            ("\"a\"", "\"ab\"", false),
            (&many("g"), &format!("\"g{:031}\"", 31), true),
            (&format!("\"h{:031}\"", 31), &many("h"), true),
        ] {
            assert_eq!(invalidates(profile, groups, named).await, expected, "{profile:?} {groups} {named}");
        }
    }
}

#[tokio::test]
async fn s85_a_group_belongs_to_one_origin() {
    for profile in PROFILES {
        for host in ["other.example", "example.com:8080"] {
            let site =
                profile.site([fresh().with("cache-groups", "\"a\""), reply(204, &[("cache-group-invalidation", "\"a\"")])]);
            site.get().await;
            site.send(request(Method::POST, "/write", &[("host", host)])).await;
            assert!(site.get().await.is_hit(), "{profile:?} {host}");
        }
    }
}

#[tokio::test]
async fn s86_a_group_named_by_a_safe_or_failed_request_is_not_invalidated() {
    for profile in PROFILES {
        for (method, status) in [("GET", 200), ("HEAD", 200), ("OPTIONS", 204), ("QUERY", 200), ("POST", 400), ("POST", 500)] {
            let named = reply(status, &[("cache-group-invalidation", "\"a\"")]);
            let site = profile.site([fresh().with("cache-groups", "\"a\""), named]);
            site.get().await;
            site.send(request(method.parse().unwrap(), "/write", &[])).await;
            assert!(site.get().await.is_hit(), "{profile:?} {method} {status}");
        }
    }
}

/// A site with `/a` and `/b` stored, both of the group `g`.
async fn site_of_a_group(profile: Profile) -> Site {
    let site =
        profile.site([fresh().with("cache-groups", "\"g\""), fresh().with("cache-groups", "\"g\", \"h\""), reply(204, &[])]);
    for uri in ["/a", "/b"] {
        site.send(request(Method::GET, uri, &[])).await;
    }
    site
}

#[tokio::test]
async fn s87_the_invalidation_of_a_response_does_not_invalidate_its_group() {
    for profile in PROFILES {
        let site = site_of_a_group(profile).await;
        site.send(request(Method::POST, "/a", &[])).await;
        assert!(site.send(request(Method::GET, "/b", &[])).await.is_hit(), "{profile:?}");
        site.cache.invalidate_uri("/a").await.unwrap();
        assert!(site.send(request(Method::GET, "/b", &[])).await.is_hit(), "{profile:?}");
    }
}

#[tokio::test]
async fn s88_what_is_immutable_and_fresh_is_not_validated() {
    for profile in PROFILES {
        for directives in ["max-age=60, immutable", "max-age=60, IMMUTABLE", "max-age=60, immutable=x"] {
            assert!(is_reused(profile, 59, controlled(directives).with("etag", "\"a\"")).await, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s88_a_reload_does_not_validate_what_is_immutable_unless_it_insists() {
    for (demand, asked) in [("max-age=0", 1), ("max-age=5", 1), ("no-cache", 2)] {
        let site = Strict.site([controlled("max-age=60, immutable")]);
        site.get().await;
        site.pass(10);
        site.get_with(&[("cache-control", demand)]).await;
        assert_eq!(site.asked(), asked, "{demand}");
    }
}

#[tokio::test]
async fn s88_what_is_immutable_and_stale_is_validated() {
    for profile in PROFILES {
        let site = profile.site([controlled("max-age=60, immutable").with("etag", "\"a\"")]);
        site.get().await;
        site.pass(61);
        site.get().await;
        assert_eq!(site.received("if-none-match").as_deref(), Some("\"a\""), "{profile:?}");
        assert!(!is_reused(profile, 0, controlled("immutable")).await, "{profile:?}: it is no lifetime");
    }
}

#[tokio::test]
async fn s88_immutable_in_a_request_means_nothing() {
    let site = Strict.site([fresh()]);
    site.get().await;
    assert!(site.get_with(&[("cache-control", "immutable")]).await.is_hit());
    site.pass(61);
    assert!(!site.get_with(&[("cache-control", "immutable")]).await.is_hit());
}

const CONTENT_DIGEST: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";

#[tokio::test]
async fn s89_digests_are_stored_and_returned_as_they_came() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("content-digest", CONTENT_DIGEST).with("repr-digest", CONTENT_DIGEST)]);
        site.get().await;
        for answer in [site.get().await, site.head().await] {
            assert!(answer.is_hit(), "{profile:?}");
            assert_eq!(answer.header("repr-digest"), Some(CONTENT_DIGEST), "{profile:?}");
        }
        assert_eq!(site.get().await.header("content-digest"), Some(CONTENT_DIGEST), "{profile:?}");
    }
}

#[tokio::test]
async fn s89_a_part_has_no_digest_of_the_whole_content() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("content-digest", CONTENT_DIGEST).with("repr-digest", CONTENT_DIGEST)]);
        site.get().await;
        for (range, status) in [("bytes=0-1", 206), ("bytes=100-", 416)] {
            let part = site.get_with(&[("range", range)]).await;
            assert_eq!((part.status.as_u16(), part.header("content-digest")), (status, None), "{profile:?}");
        }
        let part = site.get_with(&[("range", "bytes=0-1")]).await;
        assert_eq!(part.header("repr-digest"), Some(CONTENT_DIGEST), "{profile:?}: it covers the whole representation");
    }
}

const DICTIONARY: [(&str, &str); 2] =
    [("accept-encoding", "gzip, dcb, dcz"), ("available-dictionary", ":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:")];

#[tokio::test]
async fn s90_what_is_compressed_with_a_dictionary_answers_only_who_has_it() {
    for profile in PROFILES {
        let compressed = fresh().with("content-encoding", "dcb").with("vary", "accept-encoding, available-dictionary");
        let site = profile.site([compressed, fresh()]);
        site.get_with(&DICTIONARY).await;
        assert_eq!(site.get_with(&DICTIONARY).await.text(), "answer 1", "{profile:?}");
        let other = ("available-dictionary", ":AAAAAAv0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:");
        for lines in
            [&[][..], &[DICTIONARY[0]], &[DICTIONARY[1]], &[("accept-encoding", "gzip"), DICTIONARY[1]], &[DICTIONARY[0], other]]
        {
            assert_ne!(site.get_with(lines).await.text(), "answer 1", "{profile:?} {lines:?}");
        }
    }
}

#[tokio::test]
async fn s90_what_is_compressed_with_a_dictionary_and_does_not_say_so_is_not_shared() {
    for profile in PROFILES {
        for coding in ["dcb", "dcz", "DCB", "gzip, dcz"] {
            for vary in ["", "accept-encoding", "available-dictionary"] {
                let site = profile.site([fresh().with("content-encoding", coding).with("vary", vary), fresh()]);
                site.get_with(&DICTIONARY).await;
                assert_ne!(site.get().await.text(), "answer 1", "{profile:?} {coding} {vary}");
                let other = [DICTIONARY[0], ("available-dictionary", ":AAAAAAv0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:")];
                assert_ne!(site.get_with(&other).await.text(), "answer 1", "{profile:?} {coding} {vary}");
            }
        }
    }
}

#[tokio::test]
async fn s91_a_query_is_never_answered_from_another_ones_response() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        let query = |content: &'static str| {
            let request = Request::builder().method("QUERY").uri("/page").header("host", "example.com");
            request.header("content-type", "text/plain").body(Body::from(content)).unwrap()
        };
        assert_eq!(site.send(query("a")).await.text(), "answer 1");
        assert_eq!(site.send(query("b")).await.text(), "answer 2", "{profile:?}");
        assert_eq!(site.get().await.text(), "answer 3", "{profile:?}");
        assert_eq!(site.send(query("a")).await.text(), "answer 4", "{profile:?}");
        assert!(site.get().await.is_hit(), "{profile:?}: a query changes nothing");
    }
}

/// Whether the response to the first URI, which has this `No-Vary-Search`, answers the second.
async fn shared(profile: Profile, value: &str, first: &str, second: &str) -> bool {
    let site = profile.site_with(|layer| layer.no_vary_search(true), [fresh().with("no-vary-search", value)]);
    for uri in [first, second] {
        site.send(request(Method::GET, uri, &[])).await;
    }
    site.asked() == 1
}

#[tokio::test]
async fn s92_a_no_vary_search_that_cannot_be_read_lets_the_whole_query_count() {
    for profile in PROFILES {
        for value in [
            "params",
            "params=?0",
            "params=?1",
            "params=\"a\"",
            "params=(a)",
            "params=(\"a\" 1)",
            "except=\"b\"",
            "params=(\"a\"), except=(\"b\")",
            "params, except=(\"b\")",
            "key-order=1",
            "params=(\"a\"",
            "x",
            "",
        ] {
            assert!(!shared(profile, value, "/page?a=1&b=1", "/page?a=2&b=1").await, "{profile:?} {value}");
        }
    }
}

#[tokio::test]
async fn s93_a_no_vary_search_never_joins_what_it_tells_apart() {
    for profile in PROFILES {
        for (value, first, second) in [
            ("params=(\"a\")", "/page?a=1&b=1", "/page?a=1&b=2"),
            ("params=(\"a\")", "/page?b=1&c=1", "/page?c=1&b=1"),
            ("except=(\"a\")", "/page?a=1", "/page?a=2"),
            ("key-order", "/page?a=1&a=2", "/page?a=2&a=1"),
            ("key-order", "/page?a=1", "/page?a=2"),
            ("params=(\"a\")", "/page?a=1", "/other?a=1"),
        ] {
            assert!(!shared(profile, value, first, second).await, "{profile:?} {value} {first} {second}");
        }
    }
}

#[tokio::test]
async fn s93_a_no_vary_search_joins_what_differs_only_in_what_it_ignores() {
    for profile in PROFILES {
        for (value, first, second) in [
            ("params=(\"a\")", "/page?a=1&b=1", "/page?b=1&a=2"),
            ("params=(\"a\" \"b\")", "/page?a=1&b=1&c=1", "/page?c=1"),
            ("params=(\"a\")", "/page?a=1", "/page"),
            ("except=(\"a\")", "/page?a=1&b=1", "/page?c=3&a=1"),
            ("except=()", "/page?a=1", "/page?b=1"),
            ("params=(), key-order", "/page?a=1&b=1", "/page?b=1&a=1"),
            ("params=(\"a\"), key-order, x=1", "/page?b=1&a=1&c=1", "/page?c=1&b=1"),
            ("params=(\"%C3%A9\")", "/page?%C3%A9=1", "/page"),
            ("params=()", "/page?a=%62+c", "/page?%61=b%20c"),
        ] {
            assert!(shared(profile, value, first, second).await, "{profile:?} {value} {first} {second}");
        }
    }
}

#[tokio::test]
async fn s94_the_latest_no_vary_search_of_a_path_counts() {
    for profile in PROFILES {
        let site =
            profile.site_with(|layer| layer.no_vary_search(true), [fresh().with("no-vary-search", "params=(\"a\")"), fresh()]);
        let get = async |uri: &str| site.send(request(Method::GET, uri, &[])).await;
        get("/page?a=1&b=1").await;
        get("/page?b=2").await;
        assert_eq!(get("/page?b=2").await.text(), "answer 2", "{profile:?}");
        assert_ne!(get("/page?a=3&b=2").await.text(), "answer 1", "{profile:?}");
    }
}

#[tokio::test]
async fn s95_a_get_with_content_bypasses() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        site.get().await;
        let with_content = |content: &'static str, name: &str, value: &str| {
            Request::builder().uri("/page").header("host", "example.com").header(name, value).body(Body::from(content)).unwrap()
        };
        for request in [
            with_content("a", "content-length", "1"),
            with_content("a", "transfer-encoding", "chunked"),
            with_content("a", "x-a", "1"),
            with_content("", "content-length", "1"),
        ] {
            let answer = site.send(request).await;
            assert_eq!((answer.forward(), answer.reason()), (Some(Forward::Bypass), Some(Reason::RequestBody)), "{profile:?}");
        }
        assert_eq!((site.asked(), site.get().await.text()), (5, "answer 1"), "{profile:?}");
        assert!(site.send(with_content("", "content-length", "0")).await.is_hit(), "{profile:?}");
    }
}

#[tokio::test]
async fn s96_dates_are_understood_in_every_field_in_the_three_forms() {
    for profile in PROFILES {
        for form in [BEGINS, "Monday, 02-Nov-26 08:00:00 GMT", "Mon Nov  2 08:00:00 2026"] {
            let expiring = ok(&[("date", form), ("expires", &date(60))]);
            assert!(is_reused(profile, 59, expiring.clone()).await, "{profile:?} {form}");
            assert!(!is_reused(profile, 60, expiring).await, "{profile:?} {form}");
            let site = profile.site([fresh().with("last-modified", form)]);
            site.get().await;
            let answer = site.get_with(&[("if-modified-since", BEGINS)]).await;
            assert_eq!(answer.status, 304, "{profile:?} {form}");
        }
    }
}

#[tokio::test]
async fn s96_a_date_that_is_none_counts_as_absent() {
    for profile in PROFILES {
        for value in ["soon", "", "0", "Mon, 02 Nov 2026 07:00:00 PST"] {
            let reply = fresh().with("date", value);
            assert!(is_reused(profile, 59, reply.clone()).await, "{profile:?} {value}");
            assert!(!is_reused(profile, 60, reply).await, "{profile:?} {value}");
        }
    }
}

#[tokio::test]
async fn s97_an_interim_response_is_not_the_final_one() {
    for profile in PROFILES {
        for status in [102, 103] {
            let interim = fresh().status(status).with("link", "</style.css>; rel=preload");
            let site = profile.site_with(|layer| layer.ttl(MINUTE), [interim, fresh()]);
            site.get().await;
            for _ in 0..2 {
                let answer = site.get().await;
                assert_eq!((answer.status.as_u16(), answer.text()), (200, "answer 2"), "{profile:?} {status}");
                assert_eq!(answer.header("link"), None, "{profile:?} {status}");
            }
        }
    }
}
