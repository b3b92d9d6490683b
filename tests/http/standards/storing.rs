//! RFC 9111 §3: what is stored.

use std::future::ready;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use larder::Reason;

use super::origin::{Default, NONE, PROFILES, Profile, Strict, controlled, date, fresh, is_reused, ok, reply, reused};
use crate::support::{MINUTE, request};

#[tokio::test]
async fn s1_a_method_that_is_not_understood_passes_and_nothing_of_it_is_stored() {
    for profile in PROFILES {
        for method in ["FROB", "QUERY", "PROPFIND", "OPTIONS", "TRACE", "POST", "M-SEARCH"] {
            let site = profile.site([fresh()]);
            assert_eq!(site.method(method).await.text(), "answer 1");
            assert_eq!(site.method(method).await.text(), "answer 2", "{profile:?} {method}");
            assert_eq!(site.get().await.text(), "answer 3", "{profile:?} {method}");
        }
    }
}

#[tokio::test]
async fn s2_an_interim_status_is_never_stored() {
    for profile in PROFILES {
        for status in [100, 102, 103, 199] {
            assert!(!is_reused(profile, 0, fresh().status(status)).await, "{profile:?} {status}");
        }
    }
}

#[tokio::test]
async fn s3_must_understand_keeps_statuses_out_that_are_not_understood() {
    for profile in PROFILES {
        let must_understand = || controlled("max-age=60, must-understand");
        assert!(is_reused(profile, 0, must_understand()).await);
        assert!(!is_reused(profile, 0, must_understand().status(599)).await);
    }
    assert!(is_reused(Strict, 0, controlled("max-age=60").status(599)).await, "it is that directive which does it");
}

#[tokio::test]
async fn s3_no_206_or_304_is_stored() {
    for profile in PROFILES {
        for status in [206, 304] {
            for directives in ["max-age=60", "public, s-maxage=60", "max-age=60, must-understand"] {
                let site = profile.site_with(|layer| layer.ttl(MINUTE), [controlled(directives).status(status), fresh()]);
                site.get().await;
                let second = site.get().await;
                assert_eq!((second.status.as_u16(), second.text()), (200, "answer 2"), "{profile:?} {status} {directives}");
            }
        }
    }
}

#[tokio::test]
async fn s4_must_understand_overrides_no_store_for_an_understood_status() {
    for profile in PROFILES {
        let both = || controlled("no-store, must-understand, max-age=60");
        assert!(is_reused(profile, 0, both()).await, "{profile:?}");
        assert!(!is_reused(profile, 0, both().status(599)).await, "{profile:?}");
    }
}

#[tokio::test]
async fn s5_no_store_is_not_stored_in_any_spelling() {
    let spellings =
        ["no-store", "No-StOrE", "max-age=60, no-store", "no-store, max-age=60", "s-maxage=60,\tno-store", "no-store=1"];
    for profile in PROFILES {
        assert_eq!(reused(profile, 0, &spellings, |value| controlled(value).with("expires", date(60))).await, NONE);
        let two_lines = controlled("max-age=60").with("cache-control", "no-store");
        assert!(!is_reused(profile, 0, two_lines).await);
    }
}

#[tokio::test]
async fn s5_no_store_response_ends_the_entry_stored_before_it() {
    for profile in PROFILES {
        let site = profile.site([controlled("max-age=10").with("etag", "\"a\""), controlled("no-store"), fresh()]);
        site.get().await;
        site.pass(11);
        assert_eq!(site.get().await.text(), "answer 2", "{profile:?}");
        assert_eq!(site.get().await.text(), "answer 3", "{profile:?}");
    }
}

#[tokio::test]
async fn s5_a_reload_that_brings_no_store_is_not_followed_by_the_older_response() {
    let site = Strict.site([fresh(), controlled("no-store")]);
    site.get().await;
    assert_eq!(site.get_with(&[("cache-control", "no-cache")]).await.text(), "answer 2");
    assert_eq!(site.get().await.text(), "answer 3");
}

#[tokio::test]
async fn s6_private_is_not_stored_in_any_spelling() {
    let spellings = ["private", "PrIvAtE", "private, max-age=60", "max-age=60, public, private", "s-maxage=60 , private"];
    for profile in PROFILES {
        assert_eq!(reused(profile, 0, &spellings, |value| controlled(value).with("expires", date(60))).await, NONE);
        assert!(!is_reused(profile, 0, controlled("private").with("cache-control", "max-age=60")).await);
    }
}

#[tokio::test]
async fn s7_fields_that_private_names_are_not_stored_in_the_strict_profile() {
    let reply =
        controlled(r#"max-age=60, private="X-User, x-cart""#).with("x-user", "alice").with("x-cart", "1").with("x-all", "yes");
    let site = Strict.site([reply]);
    let first = site.get().await;
    assert_eq!((first.header("x-user"), first.header("x-cart")), (Some("alice"), Some("1")));
    let second = site.get().await;
    assert!(second.is_hit());
    assert_eq!((second.header("x-user"), second.header("x-cart"), second.header("x-all")), (None, None, Some("yes")));
}

#[tokio::test]
async fn s7_private_with_field_names_counts_as_without_in_the_default_profile() {
    assert!(!is_reused(Default, 0, controlled(r#"max-age=60, private="x-user""#).with("x-user", "alice")).await);
}

#[tokio::test]
async fn s7_invalid_names_do_not_weaken_private() {
    let values = [
        r#"max-age=60, private="""#,
        "max-age=60, private=",
        r#"max-age=60, private="a b""#,
        r#"max-age=60, private="x-a", private"#,
    ];
    for profile in PROFILES {
        assert_eq!(reused(profile, 0, &values, controlled).await, NONE, "{profile:?}");
    }
}

#[tokio::test]
async fn s8_response_to_an_authorized_request_is_stored_only_with_permission() {
    for profile in PROFILES {
        for (directives, expected) in [
            ("max-age=60", false),
            ("max-age=60, proxy-revalidate", false),
            ("max-age=60, immutable", false),
            ("private, max-age=60", false),
            ("no-store, public, max-age=60", false),
            ("public, max-age=60", true),
            ("PUBLIC, max-age=60", true),
            ("s-maxage=60", true),
            ("max-age=60, must-revalidate", true),
        ] {
            let site = profile.site([controlled(directives)]);
            for _ in 0..2 {
                site.get_with(&[("authorization", "Bearer alice")]).await;
            }
            assert_eq!(site.asked() == 1, expected, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s9_without_any_word_on_freshness_nothing_is_stored() {
    for status in [200, 404, 410] {
        assert!(!is_reused(Default, 0, reply(status, &[("etag", "\"a\"")])).await);
    }
    for status in [200, 201, 302, 303, 307, 400, 403, 500, 502, 503, 504] {
        assert!(!is_reused(Strict, 0, reply(status, &[])).await, "{status}");
    }
}

#[tokio::test]
async fn s9_any_explicit_lifetime_will_do() {
    for profile in PROFILES {
        for reply in [controlled("max-age=60"), controlled("s-maxage=60"), ok(&[("expires", &date(60))])] {
            assert!(is_reused(profile, 30, reply).await, "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s9_a_policy_of_the_route_is_an_agreement_of_its_own() {
    for profile in PROFILES {
        let site = profile.site_with(|layer| layer.ttl(MINUTE), [ok(&[])]);
        site.get().await;
        assert!(site.get().await.is_hit(), "{profile:?}");
    }
}

#[tokio::test]
async fn s9_every_final_status_with_a_lifetime_is_stored_in_the_strict_profile() {
    let statuses = [200, 203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 404, 410, 451, 499, 500, 502, 503, 504, 599, 999];
    let mut missing = Vec::new();
    for status in statuses {
        let site = Strict.site([fresh().status(status)]);
        site.get().await;
        let second = site.get().await;
        if !second.is_hit() || second.status.as_u16() != status {
            missing.push(status);
        }
    }
    assert_eq!(missing, [0; 0]);
}

#[tokio::test]
async fn s9_default_profile_stores_unsafe_statuses_only_if_the_route_names_them() {
    for status in [200, 203, 204, 301, 308, 404, 410] {
        let site = Default.site([fresh().status(status)]);
        site.get().await;
        assert!(site.get().await.is_hit(), "{status}");
    }
    for status in [201, 299, 302, 307, 400, 403, 500, 503, 599] {
        let site = Default.site([fresh().status(status)]);
        assert_eq!(site.get().await.reason(), Some(Reason::Status), "{status}");
        let status = StatusCode::from_u16(status).unwrap();
        let site = Default.site_with(|layer| layer.ttl_for(status, MINUTE), [fresh().status(status.as_u16())]);
        site.get().await;
        assert!(site.get().await.is_hit(), "{status}");
    }
}

/// Fields of every kind, known and unknown.
const FIELDS: [&str; 36] = [
    "accept-ranges",
    "access-control-max-age",
    "allow",
    "alt-svc",
    "authentication-info",
    "cdn-cache-control",
    "clear-site-data",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-md5",
    "content-security-policy",
    "content-type",
    "cross-origin-resource-policy",
    "date",
    "etag",
    "expires",
    "foo",
    "last-modified",
    "link",
    "location",
    "nel",
    "p3p",
    "pragma",
    "public-key-pins",
    "referrer-policy",
    "retry-after",
    "server",
    "strict-transport-security",
    "surrogate-control",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-test-header",
];

fn with_every_field() -> HeaderMap {
    let value = |name: &str| match name {
        "date" => date(0),
        "expires" => date(600),
        "last-modified" => date(-600),
        "etag" => "\"abc\"".to_owned(),
        "cdn-cache-control" => "max-age=60".to_owned(),
        name => format!("value-of-{name}"),
    };
    FIELDS.iter().map(|name| (name.parse().unwrap(), value(name).parse().unwrap())).collect()
}

#[tokio::test]
async fn s10_every_field_is_stored_whether_known_or_not() {
    for profile in PROFILES {
        let mut fields = with_every_field();
        if profile == Default {
            // Of one exchange: see `s10_only_the_strict_profile_stores_fields_of_one_exchange`.
            fields.remove("retry-after");
        }
        let reply = fields.iter().fold(fresh(), |reply, (name, value)| reply.with(name.as_str(), value.as_bytes()));
        let site = profile.site([reply]);
        site.get().await;
        let hit = site.get().await;
        assert!(hit.is_hit());
        let lost: Vec<_> = fields.iter().filter(|(name, value)| hit.headers.get(*name) != Some(value)).collect();
        assert!(lost.is_empty(), "{profile:?} {lost:?}");
    }
}

#[tokio::test]
async fn s10_every_line_of_a_field_is_stored_in_its_order() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("x-list", "a").with("x-list", "b, c").with("x-list", "")]);
        site.get().await;
        let hit = site.get().await;
        let lines: Vec<_> = hit.headers.get_all("x-list").iter().collect();
        assert!(hit.is_hit());
        assert_eq!(lines, ["a", "b, c", ""]);
    }
}

#[tokio::test]
async fn s10_only_the_strict_profile_stores_fields_of_one_exchange() {
    for (profile, expected) in [(Default, None), (Strict, Some("1"))] {
        for name in ["x-request-id", "x-correlation-id", "traceparent", "tracestate", "server-timing"] {
            let site = profile.site([fresh().with(name, "1")]);
            assert_eq!(site.get().await.header(name), Some("1"));
            let second = site.get().await;
            assert_eq!((second.is_hit(), second.header(name)), (true, expected), "{profile:?} {name}");
        }
    }
}

/// What a hit still has of these fields.
async fn kept(profile: Profile, reply: super::origin::Reply, names: &[&'static str]) -> Vec<&'static str> {
    let site = profile.site([reply]);
    site.get().await;
    let hit = site.get().await;
    assert!(hit.is_hit());
    names.iter().copied().filter(|name| hit.headers.contains_key(*name)).collect()
}

#[tokio::test]
async fn s11_connection_fields_are_not_stored() {
    let names = ["connection", "keep-alive", "te", "transfer-encoding", "upgrade", "proxy-connection"];
    for profile in PROFILES {
        let reply = names.iter().fold(fresh(), |reply, name| reply.with(name, "x"));
        assert_eq!(kept(profile, reply, &names).await, NONE, "{profile:?}");
    }
}

#[tokio::test]
async fn s11_fields_that_connection_names_are_not_stored() {
    let names = ["connection", "x-a", "x-b", "x-c"];
    for profile in PROFILES {
        let reply = fresh().with("connection", "close, X-A").with("connection", " x-b ,").with("connection", "x-c;q, x-c");
        let reply = reply.with("x-a", "1").with("x-b", "1").with("x-b", "2").with("x-c", "1").with("x-d", "1");
        assert_eq!(kept(profile, reply.clone(), &names).await, NONE, "{profile:?}");
        assert_eq!(kept(profile, reply, &["x-d"]).await, ["x-d"], "{profile:?}");
    }
}

#[tokio::test]
async fn s12_proxy_fields_are_not_stored() {
    let names = ["proxy-authenticate", "proxy-authentication-info", "proxy-authorization"];
    for profile in PROFILES {
        let reply = names.iter().fold(fresh(), |reply, name| reply.with(name, "Basic realm=x"));
        assert_eq!(kept(profile, reply, &names).await, NONE, "{profile:?}");
    }
}

fn with_trailers() -> Body {
    let trailers = HeaderMap::from_iter([("x-checksum".parse().unwrap(), "1".parse().unwrap())]);
    Body::new(Full::<Bytes>::from("whole").with_trailers(ready(Some(Ok(trailers)))))
}

#[tokio::test]
async fn s13_trailers_never_become_headers() {
    for profile in PROFILES {
        for reply in [fresh(), fresh().with("trailer", "x-checksum")] {
            let site = profile.site([reply.body(with_trailers)]);
            let response = site.respond(request(Method::GET, "/page", &[])).await.unwrap();
            let collected = response.into_body().collect().await.unwrap();
            assert!(collected.trailers().is_some_and(|trailers| trailers.contains_key("x-checksum")), "{profile:?}");
            let second = site.get().await;
            assert_eq!((second.text(), second.header("x-checksum")), ("whole", None), "{profile:?}");
        }
    }
}

fn half() -> Body {
    let broken = ready(Some(Err(axum::Error::new("broken"))));
    Body::new(Full::<Bytes>::from("half").map_err(axum::Error::new).with_trailers(broken))
}

#[tokio::test]
async fn s14_an_incomplete_body_is_never_stored_as_complete() {
    for profile in PROFILES {
        for reply in [fresh(), fresh().with("content-length", "8")] {
            let site = profile.site([reply.body(half), fresh()]);
            let response = site.respond(request(Method::GET, "/page", &[])).await.unwrap();
            assert!(response.into_body().collect().await.is_err(), "{profile:?}");
            assert_eq!(site.get().await.text(), "answer 2", "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s14_a_body_that_is_not_as_long_as_it_says_is_never_stored() {
    for profile in PROFILES {
        for length in ["3", "100"] {
            assert!(!is_reused(profile, 0, fresh().with("content-length", length)).await, "{profile:?} {length}");
        }
    }
}

#[tokio::test]
async fn s15_a_part_is_never_answered_as_the_whole() {
    for profile in PROFILES {
        let part = fresh().status(206).with("content-range", "bytes 0-7/100").with("etag", "\"a\"");
        let site = profile.site([part, fresh()]);
        let first = site.get_with(&[("range", "bytes=0-7")]).await;
        assert_eq!((first.status.as_u16(), site.received("range").as_deref()), (206, Some("bytes=0-7")));
        let second = site.get().await;
        assert_eq!((second.status.as_u16(), second.text()), (200, "answer 2"), "{profile:?}");
    }
}

#[tokio::test]
async fn s15_a_part_does_not_answer_another_part() {
    for profile in PROFILES {
        let part = || fresh().status(206).with("content-range", "bytes 0-7/100");
        let site = profile.site([part()]);
        for _ in 0..2 {
            site.get_with(&[("range", "bytes=0-7")]).await;
        }
        site.get_with(&[("range", "bytes=2-3")]).await;
        assert_eq!(site.asked(), 3, "{profile:?}");
    }
}
