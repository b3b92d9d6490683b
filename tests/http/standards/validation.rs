//! RFC 9111 §4.3 and RFC 9110 §8.8, §13, §14: validation, conditional and range requests.

use axum::body::Body;
use http::{HeaderValue, Method};
use larder::CacheLayer;

use super::origin::{BEGINS, PROFILES, Profile, Reply, Site, Strict, controlled, date, fresh, gone, ok, reply};
use crate::support::{Answer, MINUTE, request};

/// A reply that says `unchanged`, with these lines.
fn unchanged(lines: &[(&str, &str)]) -> Reply {
    reply(304, lines)
}

/// A site whose first reply is stale by now.
async fn stale_site(profile: Profile, replies: impl IntoIterator<Item = Reply>) -> Site {
    let site = profile.site(replies);
    site.get().await;
    site.pass(61);
    site
}

#[tokio::test]
async fn s52_stale_response_is_validated_with_all_its_validators() {
    let modified = date(-100_000);
    for profile in PROFILES {
        for (etag, last_modified) in [(Some("\"a\""), None), (None, Some(&*modified)), (Some("W/\"a\""), Some(&*modified))] {
            let mut reply = fresh();
            reply = etag.into_iter().fold(reply, |reply, etag| reply.with("etag", etag));
            reply = last_modified.into_iter().fold(reply, |reply, date| reply.with("last-modified", date));
            let site = stale_site(profile, [reply, unchanged(&[])]).await;
            let answer = site.get().await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "answer 1"), "{profile:?} {etag:?}");
            assert_eq!(site.received("if-none-match").as_deref(), etag, "{profile:?}");
            assert_eq!(site.received("if-modified-since").as_deref(), last_modified, "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s52_a_validator_is_sent_as_it_came() {
    let validators: [(&str, &[u8]); 8] = [
        ("etag", b"\"\""),
        ("etag", b"\"a,b\""),
        ("etag", b"abcdef"),
        ("etag", b"W/\"abcdef\""),
        ("etag", b"w/\"abcdef\""),
        ("etag", b"\"\xe9\xff\x80\""),
        ("last-modified", b"Sunday, 06-Nov-94 08:49:37 GMT"),
        ("last-modified", b"Sun Nov  6 08:49:37 1994"),
    ];
    for profile in PROFILES {
        for (name, value) in validators {
            let site = stale_site(profile, [fresh().with(name, value), unchanged(&[])]).await;
            assert_eq!(site.get().await.text(), "answer 1", "{profile:?} {value:?}");
            let condition = if name == "etag" { "if-none-match" } else { "if-modified-since" };
            let sent = site.requests()[1].headers.get(condition).cloned();
            assert_eq!(sent, Some(HeaderValue::from_bytes(value).unwrap()), "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s52_stale_response_without_a_validator_is_fetched_unconditionally() {
    for profile in PROFILES {
        let site = stale_site(profile, [fresh()]).await;
        assert_eq!(site.get().await.text(), "answer 2", "{profile:?}");
        for condition in ["if-none-match", "if-modified-since"] {
            assert_eq!(site.received(condition), None, "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s52_a_validation_carries_the_fields_of_the_request_that_caused_it() {
    for profile in PROFILES {
        let site = stale_site(profile, [fresh().with("etag", "\"a\"").with("vary", "x-a"), unchanged(&[])]).await;
        let site_of_1 = profile.site([fresh().with("etag", "\"a\"").with("vary", "x-a"), unchanged(&[])]);
        site_of_1.get_with(&[("x-a", "1"), ("x-b", "1")]).await;
        site_of_1.pass(61);
        site_of_1.get_with(&[("x-a", "1"), ("x-b", "2")]).await;
        assert_eq!(site_of_1.received("if-none-match").as_deref(), Some("\"a\""), "{profile:?}");
        assert_eq!((site_of_1.received("x-a").as_deref(), site_of_1.received("x-b").as_deref()), (Some("1"), Some("2")));
        site.get_with(&[("x-b", "2")]).await;
        assert_eq!((site.received("x-a"), site.received("x-b").as_deref()), (None, Some("2")), "{profile:?}");
    }
}

#[tokio::test]
async fn s52_validated_response_is_fresh_again() {
    for profile in PROFILES {
        let site = stale_site(profile, [fresh().with("etag", "\"a\""), unchanged(&[])]).await;
        let validated = site.get().await;
        assert!(validated.cache.is_some_and(|status| status.is_validated()), "{profile:?}");
        site.pass(59);
        let hit = site.get().await;
        assert_eq!((hit.text(), hit.header("age"), site.asked()), ("answer 1", Some("59"), 2), "{profile:?}");
        site.pass(1);
        site.get().await;
        assert_eq!(site.asked(), 3, "{profile:?}");
    }
}

#[tokio::test]
async fn s52_response_stale_on_arrival_is_stored_for_validation() {
    for profile in PROFILES {
        for reply in [controlled("max-age=0"), controlled("no-cache"), ok(&[("expires", "0")]), fresh().with("age", "61")] {
            let site = profile.site([reply.with("etag", "\"a\""), unchanged(&[("etag", "\"a\"")])]);
            site.get().await;
            assert_eq!(site.get().await.text(), "answer 1", "{profile:?}");
            assert_eq!(site.received("if-none-match").as_deref(), Some("\"a\""), "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s53_a_client_that_has_something_older_gets_the_whole() {
    for profile in PROFILES {
        let site = stale_site(profile, [fresh().with("etag", "\"new\""), unchanged(&[("etag", "\"new\""), ("x-a", "2")])]).await;
        let answer = site.get_with(&[("if-none-match", "\"old\"")]).await;
        assert_eq!(site.received("if-none-match").as_deref().map(|list| list.contains("\"new\"")), Some(true), "{profile:?}");
        assert_eq!((answer.status.as_u16(), answer.text(), answer.header("x-a")), (200, "answer 1", Some("2")), "{profile:?}");
    }
}

#[tokio::test]
async fn s53_a_client_that_has_the_same_hears_so() {
    for profile in PROFILES {
        let site = stale_site(profile, [fresh().with("etag", "\"a\""), unchanged(&[("etag", "\"a\"")])]).await;
        let answer = site.get_with(&[("if-none-match", "\"a\"")]).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (304, ""), "{profile:?}");
        assert_eq!(site.get().await.text(), "answer 1", "{profile:?}");
    }
}

#[tokio::test]
async fn s53_condition_on_an_unknown_validator_goes_to_the_origin() {
    let site = Strict.site([unchanged(&[("etag", "\"a\"")]), fresh()]);
    let answer = site.get_with(&[("if-none-match", "\"a\"")]).await;
    assert_eq!((answer.status.as_u16(), site.received("if-none-match").as_deref()), (304, Some("\"a\"")));
    let next = site.get().await;
    assert_eq!((next.status.as_u16(), next.text()), (200, "answer 2"));
}

/// All clients have the page, and its handler evaluates conditions: it would always answer 304, which cannot be stored.
#[tokio::test]
async fn s53_the_default_profile_asks_without_the_clients_conditions() {
    let modified = "Mon, 02 Nov 2026 08:00:00 GMT";
    for (validator, condition, value) in [("etag", "if-none-match", "\"a\""), ("last-modified", "if-modified-since", modified)] {
        let site = Profile::Default.site([fresh().with(validator, value)]);
        for asked in 1..4 {
            let answer = site.get_with(&[(condition, value)]).await;
            assert_eq!((answer.status.as_u16(), answer.text(), site.asked()), (304, "", 1), "{condition} {asked}");
        }
        assert_eq!((site.received(condition), site.get().await.text()), (None, "answer 1"));
    }
    let site = Profile::Default.site([fresh().with("etag", "\"a\"")]);
    assert_eq!(site.get_with(&[("if-none-match", "\"old\"")]).await.text(), "answer 1");
}

/// Fields of every kind with which an "unchanged" may bring something new.
const UPDATED: [&str; 28] = [
    "cache-control",
    "expires",
    "last-modified",
    "x-test",
    "content-type",
    "content-encoding",
    "content-language",
    "content-location",
    "content-disposition",
    "content-security-policy",
    "content-foo",
    "x-content-foo",
    "accept-ranges",
    "allow",
    "age",
    "alt-svc",
    "access-control-allow-headers",
    "etag",
    "link",
    "location",
    "p3p",
    "pragma",
    "retry-after",
    "server",
    "strict-transport-security",
    "vary",
    "via",
    "www-authenticate",
];

fn old_and_new(name: &str) -> (String, String) {
    match name {
        "cache-control" => ("max-age=60".into(), "max-age=600".into()),
        "expires" => (date(60), date(6000)),
        "last-modified" => (date(-2000), date(-1000)),
        "age" => ("1".into(), "2".into()),
        "etag" => ("W/\"a\"".into(), "W/\"b\"".into()),
        name => (format!("old-{name}"), format!("new-{name}")),
    }
}

#[tokio::test]
async fn s54_every_field_of_a_304_replaces_the_stored_one() {
    for profile in PROFILES {
        // The default profile does not store `Retry-After`, which describes one exchange.
        for name in UPDATED.into_iter().filter(|name| profile == Profile::Strict || *name != "retry-after") {
            let (old, new) = old_and_new(name);
            let first = match name {
                "cache-control" | "expires" => ok(&[]),
                _ => fresh(),
            };
            let first = if name == "etag" { first } else { first.with("etag", "\"a\"") };
            let site = stale_site(profile, [first.with(name, &old), unchanged(&[(name, &new)])]).await;
            let validated = site.get().await;
            assert_eq!((validated.text(), validated.header(name)), ("answer 1", Some(&*new)), "{profile:?} {name}");
            let hit = site.get().await;
            assert_eq!((hit.is_hit(), hit.header(name)), (true, Some(&*new)), "{profile:?} {name}");
        }
    }
}

#[tokio::test]
async fn s54_fields_that_a_304_does_not_have_stay() {
    for profile in PROFILES {
        let first = fresh().with("etag", "\"a\"").with("x-old", "1").with("x-list", "1").with("x-list", "2");
        let site = stale_site(profile, [first, unchanged(&[("x-new", "1"), ("x-list", "3"), ("x-list", "4")])]).await;
        for _ in 0..2 {
            let answer = site.get().await;
            assert_eq!((answer.header("x-old"), answer.header("x-new")), (Some("1"), Some("1")), "{profile:?}");
            assert_eq!(answer.headers.get_all("x-list").iter().collect::<Vec<_>>(), ["3", "4"], "{profile:?}");
            assert_eq!(answer.header("etag"), Some("\"a\""), "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s54_a_304_updates_neither_length_nor_connection_fields() {
    for profile in PROFILES {
        let first = fresh().with("etag", "\"a\"").with("x-named", "old");
        let lines = [
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
            ("connection", "x-named"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("x-named", "new"),
        ];
        let site = stale_site(profile, [first, unchanged(&lines)]).await;
        for _ in 0..2 {
            let answer = site.get().await;
            assert_eq!((answer.text(), answer.header("content-length")), ("answer 1", Some("8")), "{profile:?}");
            assert_eq!(answer.header("x-named"), Some("old"), "{profile:?}");
            for name in ["transfer-encoding", "connection", "keep-alive", "proxy-authenticate"] {
                assert_eq!(answer.header(name), None, "{profile:?} {name}");
            }
        }
    }
}

#[tokio::test]
async fn s54_a_304_brings_its_own_date_and_lifetime() {
    for profile in PROFILES {
        let lines = [("date", &*date(61)), ("cache-control", "max-age=100")];
        let site = stale_site(profile, [fresh().with("etag", "\"a\"").with("date", BEGINS), unchanged(&lines)]).await;
        site.get().await;
        site.pass(99);
        let hit = site.get().await;
        assert_eq!((hit.header("age"), hit.header("date"), site.asked()), (Some("99"), Some(&*date(61)), 2), "{profile:?}");
    }
}

#[tokio::test]
async fn s54_a_304_that_forbids_storing_is_obeyed() {
    for profile in PROFILES {
        for directives in ["no-store", "private"] {
            let site =
                stale_site(profile, [fresh().with("etag", "\"a\""), unchanged(&[("cache-control", directives)]), fresh()]).await;
            assert_eq!(site.get().await.text(), "answer 1", "{profile:?} {directives}");
            assert_eq!(site.get().await.text(), "answer 3", "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s54_a_304_with_no_cache_is_validated_the_next_time_too() {
    for profile in PROFILES {
        let site = stale_site(profile, [fresh().with("etag", "\"a\""), unchanged(&[("cache-control", "no-cache")])]).await;
        for asked in [2, 3] {
            assert_eq!((site.get().await.text(), site.asked()), ("answer 1", asked), "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s55_a_304_about_another_representation_updates_nothing() {
    for profile in PROFILES {
        let other = unchanged(&[("etag", "\"b\""), ("x-a", "new"), ("cache-control", "max-age=600")]);
        let site = stale_site(profile, [fresh().with("etag", "\"a\"").with("x-a", "old"), other, unchanged(&[])]).await;
        site.get().await;
        let next = site.get().await;
        assert_ne!(next.header("x-a"), Some("new"), "{profile:?}");
        assert!(site.asked() >= 3, "{profile:?}: nothing has become fresh by it");
    }
}

#[tokio::test]
async fn s55_a_304_for_another_representation_validates_nothing() {
    for profile in PROFILES {
        let first = controlled("max-age=60, must-revalidate").with("etag", "\"a\"");
        let site = stale_site(profile, [first, unchanged(&[("etag", "\"b\"")]), fresh().with("etag", "\"b\"")]).await;
        let answer = site.get().await;
        assert!(answer.status != 200 || answer.text() != "answer 1", "{profile:?}");
    }
}

#[tokio::test]
async fn s55_a_weak_validator_in_a_304_may_differ_in_weakness_alone() {
    for profile in PROFILES {
        for (stored, sent) in [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\"")] {
            let site = stale_site(profile, [fresh().with("etag", stored), unchanged(&[("etag", sent)])]).await;
            for _ in 0..2 {
                assert_eq!(site.get().await.text(), "answer 1", "{profile:?} {stored} {sent}");
            }
            assert_eq!(site.asked(), 2, "{profile:?} {stored} {sent}");
        }
    }
}

#[tokio::test]
async fn s56_full_response_to_a_validation_replaces_the_entry() {
    for profile in PROFILES {
        let second = controlled("max-age=100").with("etag", "\"b\"").with("x-b", "1");
        let site = stale_site(profile, [fresh().with("etag", "\"a\"").with("x-a", "1"), second]).await;
        for _ in 0..2 {
            let answer = site.get().await;
            assert_eq!((answer.text(), answer.header("etag")), ("answer 2", Some("\"b\"")), "{profile:?}");
            assert_eq!((answer.header("x-a"), answer.header("x-b")), (None, Some("1")), "{profile:?}");
        }
        assert_eq!(site.asked(), 2, "{profile:?}");
    }
}

#[tokio::test]
async fn s57_failed_validation_is_forwarded_and_leaves_the_entry() {
    for profile in PROFILES {
        for status in [500, 502, 503, 504] {
            let site = stale_site(profile, [fresh().with("etag", "\"a\""), reply(status, &[]), unchanged(&[])]).await;
            assert_eq!(site.get().await.status.as_u16(), status, "{profile:?}");
            assert_eq!(site.get().await.text(), "answer 1", "{profile:?} {status}");
            assert_eq!(site.received("if-none-match").as_deref(), Some("\"a\""), "{profile:?} {status}");
        }
    }
}

#[tokio::test]
async fn s57_a_failure_while_validating_is_answered_stale_where_that_is_allowed() {
    for profile in PROFILES {
        for failure in [reply(500, &[]), reply(503, &[]), gone()] {
            let layer = |layer: CacheLayer| layer.stale_if_error(MINUTE);
            let site = profile.site_with(layer, [fresh().with("etag", "\"a\""), failure]);
            site.get().await;
            site.pass(61);
            assert_eq!(site.get().await.text(), "answer 1", "{profile:?}");
        }
    }
}

/// What a request with these lines gets of a fresh response with those.
async fn answered(profile: Profile, request: &[(&str, &str)], stored: &[(&str, &str)]) -> Answer {
    let reply = stored.iter().fold(fresh(), |reply, (name, value)| reply.with(name, value));
    let site = profile.site([reply]);
    site.get().await;
    let answer = site.get_with(request).await;
    assert_eq!(site.asked(), 1, "what is stored is enough to answer {request:?}");
    answer
}

#[tokio::test]
async fn s58_if_none_match_is_answered_by_weak_comparison() {
    for profile in PROFILES {
        for (list, etag) in [
            ("\"a\"", "\"a\""),
            ("W/\"a\"", "\"a\""),
            ("\"a\"", "W/\"a\""),
            ("W/\"a\"", "W/\"a\""),
            ("\"x\", \"a\"", "\"a\""),
            ("\"a\", \"x\"", "\"a\""),
            ("\"x\",W/\"a\",\"y\"", "\"a\""),
            (" , \"a\" ,", "\"a\""),
            ("\"a,b\"", "\"a,b\""),
            ("\"\"", "\"\""),
            ("abcdef", "abcdef"),
            ("*", "\"a\""),
        ] {
            let answer = answered(profile, &[("if-none-match", list)], &[("etag", etag)]).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (304, ""), "{profile:?} {list} {etag}");
        }
        for (list, etag) in
            [("\"b\"", "\"a\""), ("\"a\", \"b\"", "\"a,b\""), ("\"A\"", "\"a\""), ("a", "\"a\""), ("\"a", "\"a\""), ("", "\"a\"")]
        {
            let answer = answered(profile, &[("if-none-match", list)], &[("etag", etag)]).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "answer 1"), "{profile:?} {list} {etag}");
        }
    }
}

#[tokio::test]
async fn s58_a_star_matches_a_stored_response_without_a_tag_too() {
    for profile in PROFILES {
        assert_eq!(answered(profile, &[("if-none-match", "*")], &[]).await.status, 304, "{profile:?}");
    }
}

#[tokio::test]
async fn s58_entity_tags_are_bytes() {
    for profile in PROFILES {
        for (tag, expected) in [(&b"\"\xe9\""[..], 304), (b"W/\"\xe9\"", 304), (b"\"\xc3\xa9\"", 200), (b"\"e\"", 200)] {
            let site = profile.site([fresh().with("etag", b"\"\xe9\"")]);
            site.get().await;
            let mut request = request(Method::GET, "/page", &[]);
            request.headers_mut().insert("if-none-match", HeaderValue::from_bytes(tag).unwrap());
            assert_eq!(site.send(request).await.status, expected, "{profile:?} {tag:?}");
        }
    }
}

#[tokio::test]
async fn s58_if_none_match_goes_before_if_modified_since() {
    for profile in PROFILES {
        let stored = [("etag", "\"a\""), ("last-modified", &*date(-100))];
        for (tag, since, expected) in [("\"b\"", date(0), 200), ("\"a\"", date(-1000), 304)] {
            let answer = answered(profile, &[("if-none-match", tag), ("if-modified-since", &since)], &stored).await;
            assert_eq!(answer.status, expected, "{profile:?} {tag}");
        }
        let without_tag = [("last-modified", &*date(-100))];
        let answer = answered(profile, &[("if-none-match", "\"b\""), ("if-modified-since", &date(0))], &without_tag).await;
        assert_eq!(answer.status, 200, "{profile:?}");
    }
}

#[tokio::test]
async fn s59_if_modified_since_is_answered_by_the_last_modification() {
    for profile in PROFILES {
        let stored = [("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
        for (since, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 304),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 304),
            ("Sun Nov  6 08:49:37 1994", 304),
            ("Sun, 06 Nov 1994 08:49:38 GMT", 304),
            ("Sun, 06 Nov 1994 08:49:36 GMT", 200),
            ("yesterday", 200),
            ("", 200),
        ] {
            let answer = answered(profile, &[("if-modified-since", since)], &stored).await;
            assert_eq!(answer.status, expected, "{profile:?} {since}");
        }
    }
}

#[tokio::test]
async fn s59_date_then_receipt_replace_a_missing_last_modified() {
    for profile in PROFILES {
        for (stored, modified) in [(&[("date", &*date(-20))][..], -20), (&[], 0), (&[("last-modified", "soon")], 0)] {
            for (since, expected) in [(modified - 1, 200), (modified, 304), (modified + 1, 304)] {
                let answer = answered(profile, &[("if-modified-since", &date(since))], stored).await;
                assert_eq!(answer.status, expected, "{profile:?} {stored:?} {since}");
            }
        }
    }
}

#[tokio::test]
async fn s60_conditions_apply_to_a_stored_200_alone() {
    for profile in PROFILES {
        for status in [203, 301, 404, 410] {
            let reply = fresh().status(status).with("etag", "\"a\"").with("last-modified", date(-100));
            for condition in
                [("if-none-match", "\"a\""), ("if-none-match", "*"), ("if-modified-since", &date(0)), ("range", "bytes=0-1")]
            {
                let site = profile.site([reply.clone()]);
                site.get().await;
                let answer = site.get_with(&[condition]).await;
                assert_eq!((answer.status.as_u16(), answer.text()), (status, "answer 1"), "{profile:?} {condition:?}");
            }
        }
    }
}

#[tokio::test]
async fn s60_if_match_and_if_unmodified_since_are_left_to_the_handler() {
    for profile in PROFILES {
        for condition in [("if-match", "\"a\""), ("if-match", "\"b\""), ("if-match", "*"), ("if-unmodified-since", BEGINS)] {
            let site = profile.site([fresh().with("etag", "\"a\""), reply(412, &[])]);
            site.get().await;
            assert_eq!(site.get_with(&[condition]).await.status, 412, "{profile:?} {condition:?}");
            assert_eq!(site.received(condition.0).as_deref(), Some(condition.1), "{profile:?}");
            assert!(site.get().await.is_hit(), "{profile:?} {condition:?}");
        }
    }
}

/// The fields that a 304 has to have where the 200 has them.
const OF_A_304: [&str; 6] = ["cache-control", "content-location", "date", "etag", "expires", "vary"];

#[tokio::test]
async fn s61_a_304_has_only_the_fields_that_rfc_9110_lists() {
    for profile in PROFILES {
        let stored = [
            ("content-location", "/page.en"),
            ("date", BEGINS),
            ("etag", "\"a\""),
            ("expires", &*date(60)),
            ("vary", "x-a"),
            ("last-modified", &*date(-100)),
            ("content-type", "text/plain"),
            ("content-encoding", "gzip"),
            ("content-language", "en"),
        ];
        let answer = answered(profile, &[("if-none-match", "\"a\"")], &stored).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{profile:?}");
        for name in OF_A_304 {
            assert!(answer.headers.contains_key(name), "{profile:?} {name}");
        }
        for name in ["content-type", "content-encoding", "content-language", "last-modified"] {
            assert_eq!(answer.header(name), None, "{profile:?} {name}");
        }
        assert!(matches!(answer.header("content-length"), None | Some("8")), "{profile:?}: not a length of its own");
    }
}

#[tokio::test]
async fn s61_a_304_for_a_date_keeps_the_date_that_it_is_about() {
    for profile in PROFILES {
        let modified = date(-100);
        let answer = answered(profile, &[("if-modified-since", &modified)], &[("last-modified", &modified)]).await;
        assert_eq!((answer.status.as_u16(), answer.header("last-modified")), (304, Some(&*modified)), "{profile:?}");
    }
}

#[tokio::test]
async fn s61_head_is_answered_with_304_too() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("etag", "\"a\"")]);
        site.get().await;
        let answer = site.send(request(Method::HEAD, "/page", &[("if-none-match", "\"a\"")])).await;
        assert_eq!((answer.status.as_u16(), site.asked()), (304, 1), "{profile:?}");
    }
}

/// Asks for the first two bytes of a response with these lines, provided that it still is what `if_range` says.
async fn part_if(profile: Profile, if_range: &str, stored: &[(&str, &str)]) -> u16 {
    answered(profile, &[("range", "bytes=0-1"), ("if-range", if_range)], stored).await.status.as_u16()
}

#[tokio::test]
async fn s62_if_range_takes_an_exact_strong_match() {
    let (modified, later) = (date(-100), date(-99));
    let stored = [("etag", "\"a\""), ("last-modified", &*modified), ("date", BEGINS)];
    for profile in PROFILES {
        for (if_range, expected) in [
            ("\"a\"", 206),
            ("\"b\"", 200),
            ("W/\"a\"", 200),
            ("a", 200),
            ("*", 200),
            ("\"a\", \"b\"", 200),
            (&modified, 206),
            (&later, 200),
            (&date(-101), 200),
            ("yesterday", 200),
        ] {
            assert_eq!(part_if(profile, if_range, &stored).await, expected, "{profile:?} {if_range}");
        }
        assert_eq!(part_if(profile, "W/\"a\"", &[("etag", "W/\"a\"")]).await, 200, "{profile:?}");
        assert_eq!(part_if(profile, "\"a\"", &[]).await, 200, "{profile:?}");
    }
}

#[tokio::test]
async fn s62_last_modified_in_the_second_of_date_is_no_strong_validator() {
    for profile in PROFILES {
        assert_eq!(part_if(profile, BEGINS, &[("last-modified", BEGINS), ("date", BEGINS)]).await, 200, "{profile:?}");
    }
}

#[tokio::test]
async fn s63_one_range_of_a_stored_response_is_a_part() {
    for profile in PROFILES {
        for (range, expected, content_range) in [
            ("bytes=0-1", "an", "bytes 0-1/8"),
            ("bytes=0-0", "a", "bytes 0-0/8"),
            ("bytes=2-4", "swe", "bytes 2-4/8"),
            ("bytes=6-", " 1", "bytes 6-7/8"),
            ("bytes=0-", "answer 1", "bytes 0-7/8"),
            ("bytes=-1", "1", "bytes 7-7/8"),
            ("bytes=-3", "r 1", "bytes 5-7/8"),
            ("bytes=-100", "answer 1", "bytes 0-7/8"),
            ("bytes=5-100", "r 1", "bytes 5-7/8"),
            ("bytes=5-18446744073709551615", "r 1", "bytes 5-7/8"),
            ("bytes=5-99999999999999999999999", "r 1", "bytes 5-7/8"),
            ("bytes=-9223372036854775808", "answer 1", "bytes 0-7/8"),
            ("Bytes=0-1", "an", "bytes 0-1/8"),
        ] {
            let stored =
                [("etag", "\"a\""), ("date", BEGINS), ("vary", "x-a"), ("content-location", "/a"), ("content-type", "a/b")];
            let answer = answered(profile, &[("range", range)], &stored).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (206, expected), "{profile:?} {range}");
            assert_eq!(answer.header("content-range"), Some(content_range), "{profile:?} {range}");
            assert_eq!(answer.header("content-length"), Some(&*expected.len().to_string()), "{profile:?} {range}");
            for name in ["cache-control", "content-location", "date", "etag", "vary", "age"] {
                assert!(answer.headers.contains_key(name), "{profile:?} {range} {name}");
            }
        }
    }
}

#[tokio::test]
async fn s63_a_range_beyond_the_end_cannot_be_satisfied() {
    for profile in PROFILES {
        for range in
            ["bytes=8-", "bytes=8-9", "bytes=100-200", "bytes=-0", "bytes=18446744073709551615-", "bytes=99999999999999999999-"]
        {
            let answer = answered(profile, &[("range", range)], &[]).await;
            assert_eq!((answer.status.as_u16(), answer.header("content-range")), (416, Some("bytes */8")), "{profile:?} {range}");
            assert!(answer.body.is_empty() && answer.header("content-length") == Some("0"), "{profile:?} {range}");
        }
        let site = profile.site([fresh().body(Body::empty)]);
        site.get().await;
        let answer = site.get_with(&[("range", "bytes=0-")]).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-range")), (416, Some("bytes */0")), "{profile:?}");
    }
}

#[tokio::test]
async fn s63_other_than_a_single_byte_range_gets_the_whole_body() {
    for profile in PROFILES {
        for range in
            ["bytes=0-1,3-4", "bytes=4-2", "bytes=a-b", "bytes", "bytes=", "bytes=-", "bytes=1", "lines=0-1", "", "bytes=0x0-1"]
        {
            let answer = answered(profile, &[("range", range)], &[]).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "answer 1"), "{profile:?} {range}");
            assert_eq!(answer.header("content-range"), None, "{profile:?} {range}");
        }
    }
}

#[tokio::test]
async fn s63_a_range_is_a_matter_of_get() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        site.get().await;
        let answer = site.send(request(Method::HEAD, "/page", &[("range", "bytes=0-1")])).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-length")), (200, Some("8")), "{profile:?}");
    }
}

#[tokio::test]
async fn s63_a_client_that_has_the_whole_does_not_get_a_part() {
    for profile in PROFILES {
        let answer = answered(profile, &[("range", "bytes=0-1"), ("if-none-match", "\"a\"")], &[("etag", "\"a\"")]).await;
        assert_eq!(answer.status, 304, "{profile:?}");
        let answer = answered(profile, &[("range", "bytes=0-1"), ("if-none-match", "\"b\"")], &[("etag", "\"a\"")]).await;
        assert_eq!(answer.status, 206, "{profile:?}");
    }
}

#[tokio::test]
async fn s63_the_whole_that_answers_a_range_request_is_stored_as_the_whole() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        assert_eq!(site.get_with(&[("range", "bytes=0-1")]).await.text(), "answer 1", "{profile:?}");
        assert_eq!(site.get().await.text(), "answer 1", "{profile:?}");
        assert_eq!(site.get_with(&[("range", "bytes=0-1")]).await.text(), "an", "{profile:?}");
        assert_eq!(site.asked(), 1, "{profile:?}");
    }
}

#[tokio::test]
async fn s63_range_after_validation_is_cut_from_the_stored_body() {
    for profile in PROFILES {
        let site = stale_site(profile, [fresh().with("etag", "\"a\""), unchanged(&[])]).await;
        let answer = site.get_with(&[("range", "bytes=0-1")]).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (206, "an"), "{profile:?}");
        assert_eq!(site.get().await.text(), "answer 1", "{profile:?}");
    }
}

/// What GET gets after a HEAD whose answer has these lines has come in between; what was stored is stale in between.
async fn after_head(profile: Profile, stored: &[(&str, &str)], head: Reply) -> (String, Option<String>) {
    let reply = stored.iter().fold(controlled("max-age=60, stale-if-error=1000"), |reply, (name, value)| reply.with(name, value));
    let site = stale_site(profile, [reply, head, reply_503()]).await;
    site.head().await;
    let answer = site.get().await;
    (answer.text().to_owned(), site.received("if-none-match"))
}

fn reply_503() -> Reply {
    reply(503, &[])
}

#[tokio::test]
async fn s64_differing_head_response_makes_the_entry_stale() {
    for profile in PROFILES {
        let stored = [("etag", "\"a\""), ("last-modified", &*date(-100))];
        for line in [("etag", "\"b\""), ("last-modified", &*date(-50)), ("content-length", "9")] {
            let (text, validator) = after_head(profile, &stored, fresh().with(line.0, line.1)).await;
            assert_eq!((&*text, validator), ("answer 3", None), "{profile:?} {line:?}");
        }
    }
}

#[tokio::test]
async fn s64_matching_head_response_leaves_the_entry() {
    for profile in PROFILES {
        let stored = [("etag", "\"a\""), ("last-modified", &*date(-100))];
        let same = fresh().with("etag", "\"a\"").with("last-modified", date(-100)).with("content-length", "8");
        for head in [same, fresh(), reply(410, &[("etag", "\"b\"")]), reply(500, &[("etag", "\"b\"")])] {
            let (text, validator) = after_head(profile, &stored, head).await;
            assert_eq!((&*text, validator.as_deref()), ("answer 1", Some("\"a\"")), "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s64_a_head_is_written_through_where_nothing_is_stored() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        assert!(site.head().await.body.is_empty());
        assert_eq!(site.requests()[0].method, Method::HEAD, "{profile:?}");
    }
}

#[tokio::test]
async fn s64_reload_by_head_ends_a_changed_entry() {
    let site = Strict.site([fresh().with("etag", "\"a\""), fresh().with("etag", "\"b\"")]);
    site.get().await;
    site.send(request(Method::HEAD, "/page", &[("cache-control", "no-cache")])).await;
    assert_eq!(site.get().await.text(), "answer 3");
}

#[tokio::test]
async fn an_automatic_tag_answers_conditions() {
    for profile in PROFILES {
        let site = profile.site_with(|layer| layer.auto_etag(true), [fresh()]);
        let first = site.get().await;
        let etag = first.header("etag").unwrap();
        assert_eq!(site.get_with(&[("if-none-match", etag)]).await.status, 304, "{profile:?}");
        // It is weak: a layer outside may have compressed what the client has.
        assert_eq!(site.get_with(&[("range", "bytes=0-1"), ("if-range", etag)]).await.status, 200, "{profile:?}");
    }
}
