//! RFC 9111 §4: what is used again, and for which requests.

use axum::{Router, body::Body, routing};
use http::{Method, StatusCode};

use super::origin::{BEGINS, Default, PROFILES, Strict, controlled, date, fresh, is_reused, reply};
use crate::support::{ChannelBody, Gate, Runs, cache, get_with, request};

#[tokio::test]
async fn s16_another_target_is_another_response() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        let get = async |uri: &str, host: &str| site.send(request(Method::GET, uri, &[("host", host)])).await;
        get("/page", "example.com").await;
        for (uri, host) in [
            ("/page", "other.example"),
            ("/page", "example.com:8080"),
            ("https://example.com/page", "example.com"),
            ("/Page", "example.com"),
            ("/page/", "example.com"),
            ("/page?", "example.com"),
            ("/page?a=1&b=2", "example.com"),
            ("/page?b=2&a=1", "example.com"),
            ("/pag%65", "example.com"),
        ] {
            assert!(!get(uri, host).await.is_hit(), "{profile:?} {uri} {host}");
            assert!(get(uri, host).await.is_hit(), "{profile:?} {uri} {host}");
        }
        assert_eq!(get("/page", "EXAMPLE.com:80").await.text(), "answer 1", "{profile:?}");
    }
}

#[tokio::test]
async fn s17_a_get_answers_head_without_a_body() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("etag", "\"a\"")]);
        let got = site.get().await;
        let head = site.head().await;
        assert!(head.is_hit() && head.body.is_empty(), "{profile:?}");
        assert_eq!((head.status, head.header("etag")), (StatusCode::OK, got.header("etag")));
        assert_eq!(head.header("content-length"), Some("8"));
    }
}

#[tokio::test]
async fn s17_a_head_does_not_answer_get() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        for _ in 0..2 {
            site.head().await;
        }
        assert_eq!(site.asked(), 2, "{profile:?}");
        assert_eq!(site.get().await.text(), "answer 3", "{profile:?}");
    }
}

#[tokio::test]
async fn s17_no_other_method_is_answered_from_a_get() {
    for profile in PROFILES {
        for method in ["OPTIONS", "TRACE", "QUERY", "PROPFIND"] {
            let site = profile.site([fresh()]);
            site.get().await;
            assert_eq!(site.method(method).await.text(), "answer 2", "{profile:?} {method}");
            assert!(site.get().await.is_hit(), "{profile:?} {method}");
        }
    }
}

#[tokio::test]
async fn s18_the_fields_that_a_response_nominates_select_it() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("vary", "x-a")]);
        site.get_with(&[("x-a", "1")]).await;
        assert_eq!(site.get_with(&[("x-a", "2")]).await.text(), "answer 2", "{profile:?}");
        assert_eq!(site.get_with(&[("x-a", "1")]).await.text(), "answer 1", "{profile:?}");
    }
}

#[tokio::test]
async fn s19_no_cache_is_validated_before_every_use() {
    for profile in PROFILES {
        for directives in ["no-cache", "NO-CACHE", "no-cache, max-age=60", "max-age=60, no-cache", "s-maxage=60, no-cache"] {
            let unchanged = reply(304, &[("etag", "\"a\""), ("cache-control", directives)]);
            let site = profile.site([controlled(directives).with("etag", "\"a\""), unchanged]);
            site.get().await;
            for asked in [2, 3] {
                let answer = site.get().await;
                assert_eq!((answer.status.as_u16(), answer.text()), (200, "answer 1"), "{profile:?} {directives}");
                assert_eq!(site.asked(), asked, "{profile:?} {directives}");
                assert_eq!(site.received("if-none-match").as_deref(), Some("\"a\""), "{profile:?} {directives}");
            }
        }
    }
}

#[tokio::test]
async fn s19_no_cache_without_a_validator_is_fetched_every_time() {
    for profile in PROFILES {
        for directives in ["no-cache", "max-age=60, no-cache", "public, No-Cache, max-age=60"] {
            assert!(!is_reused(profile, 0, controlled(directives)).await, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s20_strict_profile_leaves_out_fields_that_no_cache_names() {
    let site = Strict.site([controlled(r#"max-age=60, no-cache="X-A, x-b""#).with("x-a", "1").with("x-b", "1").with("x-c", "1")]);
    assert_eq!(site.get().await.header("x-a"), Some("1"));
    let second = site.get().await;
    assert!(second.is_hit());
    assert_eq!((second.header("x-a"), second.header("x-b"), second.header("x-c")), (None, None, Some("1")));
}

#[tokio::test]
async fn s20_no_cache_with_field_names_counts_as_without_in_the_default_profile() {
    assert!(!is_reused(Default, 0, controlled(r#"max-age=60, no-cache="x-a""#)).await);
}

#[tokio::test]
async fn s21_fresh_response_is_used_and_stale_one_is_not() {
    for profile in PROFILES {
        for (seconds, expected) in [(0, true), (59, true), (60, false), (61, false), (100_000, false)] {
            assert_eq!(is_reused(profile, seconds, fresh()).await, expected, "{profile:?} {seconds}");
        }
    }
}

#[tokio::test]
async fn s21_fresh_response_is_used_until_it_is_stale() {
    for profile in PROFILES {
        for later in [controlled("no-store"), controlled("private"), reply(410, &[]), reply(500, &[])] {
            let site = profile.site([fresh(), later]);
            site.get().await;
            site.pass(59);
            assert_eq!(site.get().await.text(), "answer 1", "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s22_a_response_that_is_used_again_has_its_age() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        site.get().await;
        for seconds in ["10", "20", "30"] {
            site.pass(10);
            assert_eq!(site.get().await.header("age"), Some(seconds), "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s22_the_age_replaces_any_that_was_there() {
    for profile in PROFILES {
        let site = profile.site([controlled("max-age=600").with("age", "100").with("age", "7")]);
        site.get().await;
        site.pass(10);
        let hit = site.get().await;
        let ages: Vec<_> = hit.headers.get_all("age").iter().collect();
        assert_eq!(ages, ["110"], "{profile:?}");
    }
}

#[tokio::test]
async fn s22_the_date_stays_that_of_the_origin() {
    for profile in PROFILES {
        let site = profile.site([controlled("max-age=600").with("date", date(-30)), fresh()]);
        site.get().await;
        site.pass(10);
        let hit = site.get().await;
        assert_eq!((hit.header("date"), hit.header("age")), (Some(&*date(-30)), Some("40")), "{profile:?}");
    }
}

#[tokio::test]
async fn s22_a_response_without_a_date_gets_that_of_its_receipt() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        site.get().await;
        site.pass(10);
        assert_eq!(site.get().await.header("date"), Some(BEGINS), "{profile:?}");
    }
}

#[tokio::test]
async fn s22_a_response_used_again_says_its_length() {
    for profile in PROFILES {
        let site = profile.site([fresh().body(streamed)]);
        site.get().await;
        let hit = site.get().await;
        assert_eq!((hit.text(), hit.header("content-length")), ("streamed", Some("8")), "{profile:?}");
        let site = profile.site([fresh().status(204)]);
        site.get().await;
        let hit = site.get().await;
        assert_eq!((hit.is_hit(), hit.header("content-length")), (true, None), "{profile:?}");
    }
}

#[tokio::test]
async fn s23_a_write_reaches_the_handler_before_it_is_answered() {
    for profile in PROFILES {
        for method in ["POST", "PUT", "PATCH", "DELETE", "FROB"] {
            let site = profile.site([fresh()]);
            site.get().await;
            assert_eq!(site.method(method).await.text(), "answer 2", "{profile:?} {method}");
            assert_eq!(site.requests()[1].method.as_str(), method);
        }
    }
}

#[tokio::test]
async fn s24_of_two_suitable_responses_the_newer_is_used() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("vary", "x-a"), fresh().with("vary", "x-b")]);
        site.get_with(&[("x-a", "1"), ("x-b", "1")]).await;
        site.pass(10);
        site.get_with(&[("x-a", "2"), ("x-b", "2")]).await;
        assert_eq!(site.get_with(&[("x-a", "1"), ("x-b", "2")]).await.text(), "answer 2", "{profile:?}");
    }
}

#[tokio::test]
async fn s24_newer_date_selects_the_response() {
    for profile in PROFILES {
        let newer = fresh().with("vary", "x-a").with("date", date(0));
        let older = fresh().with("vary", "x-b").with("date", date(-30));
        let site = profile.site([newer, older]);
        site.get_with(&[("x-a", "1"), ("x-b", "1")]).await;
        site.get_with(&[("x-a", "2"), ("x-b", "2")]).await;
        assert_eq!(site.get_with(&[("x-a", "1"), ("x-b", "2")]).await.text(), "answer 1", "{profile:?}");
    }
}

#[tokio::test]
async fn s25_a_clock_that_jumps_back_makes_no_negative_age() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("date", BEGINS)]);
        site.get().await;
        site.turn_back(3600);
        assert_eq!(site.get().await.header("age"), Some("0"), "{profile:?}");
        site.pass(3600 + 61);
        assert_eq!(site.get().await.text(), "answer 2", "{profile:?}");
    }
}

#[tokio::test]
async fn s26_each_follower_fetches_an_unshareable_response() {
    for (name, value) in [("cache-control", "no-store"), ("cache-control", "private"), ("vary", "*"), ("vary", "x-user")] {
        for strict in [false, true] {
            let (gate, runs, (cache, _)) = (Gate::closed(), Runs::default(), cache());
            let layer = if strict { cache.layer().strict() } else { cache.layer() };
            let door = gate.clone();
            let handler = move || async move {
                let run = runs.begin();
                door.pass().await;
                ([("expires", date(1 << 20)), (name, value.to_owned())], format!("run {run}"))
            };
            let app = Router::new().route("/page", routing::get(handler).layer(layer));
            let asked = ["alice", "bob"].map(|user| {
                let app = app.clone();
                tokio::spawn(async move { get_with(&app, "/page", &[("x-user", user)]).await })
            });
            gate.arrival().await;
            gate.open(2);
            let mut bodies = Vec::new();
            for answer in asked {
                bodies.push(answer.await.unwrap().text().to_owned());
            }
            bodies.sort();
            assert_eq!(bodies, ["run 1", "run 2"], "{name}: {value}");
        }
    }
}

fn streamed() -> Body {
    let (frames, body) = ChannelBody::new();
    ["stre", "amed"].into_iter().for_each(|part| frames.send(part));
    Body::new(body)
}
