//! `Invalidate` in a response, and soft expiries.

use axum::{Router, response::IntoResponse as _, routing};
use http::{Method, StatusCode};
use larder::{Cache, CacheTags, Forward, Invalidate, Reason};
use tower::ServiceExt as _;

use crate::support::{Runs, answering, cache, get, logs::Logs, minute, numbered, page, request, send_empty};

/// A page tagged `posts`, another that is not tagged, and a route that answers with `asked`.
fn asking(cache: &Cache, status: StatusCode, asked: impl Fn() -> Invalidate + Clone + Send + Sync + 'static) -> Router {
    let asking = routing::any(answering(move |_| (status, asked(), "done"))).layer(minute(cache));
    page(minute(cache).tags(["posts"]), numbered(&Runs::default()))
        .route("/untagged", routing::get(|| async { "untagged" }).layer(minute(cache)))
        .route("/ask", asking)
}

#[tokio::test]
async fn invalidate_part_takes_effect_before_the_response_leaves() {
    type Ask = fn() -> Invalidate;
    let ways: [(&str, Ask); 7] = [
        ("tags", || Invalidate::tags(["posts"])),
        ("uri", || Invalidate::uri("/page")),
        ("uri of a host", || Invalidate::uri("http://example.com/page")),
        ("everything", Invalidate::clear),
        ("route", || Invalidate::route("/page")),
        ("expired", || Invalidate::expire_tags(["posts"])),
        ("and", || Invalidate::tags(["other"]).and(Invalidate::uri("/x")).and(Invalidate::tags(["posts"]))),
    ];
    for (way, asked) in ways {
        for (method, lines) in [
            (Method::POST, &[][..]),
            (Method::GET, &[]),
            (Method::HEAD, &[]),
            (Method::OPTIONS, &[]),
            (Method::GET, &[("cookie", "bypass=1")]),
        ] {
            let app = asking(&cache().0, StatusCode::OK, asked);
            for uri in ["/page", "/untagged"] {
                get(&app, uri).await;
            }
            let response = app.clone().oneshot(request(method.clone(), "/ask", lines)).await.unwrap();
            assert_eq!(get(&app, "/page").await.text(), "run 2", "{way} {method} {lines:?}");
            assert_eq!(get(&app, "/untagged").await.is_hit(), way != "everything", "{way} {method}");
            drop(response);
        }
    }
}

#[tokio::test]
async fn failed_response_invalidates_nothing() {
    for method in [Method::POST, Method::GET] {
        let app = asking(&cache().0, StatusCode::NOT_FOUND, || Invalidate::clear().and(Invalidate::tags(["posts"])));
        get(&app, "/page").await;
        send_empty(&app, method, "/ask").await;
        assert!(get(&app, "/page").await.is_hit());
    }
}

#[tokio::test]
async fn a_response_that_invalidates_itself_is_not_served_again() {
    let runs = Runs::default();
    let handler = answering(move |_| (Invalidate::tags(["posts"]), numbered(&runs)().into_inner()));
    let app = page(minute(&cache().0).tags(["posts"]), handler);
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::Invalidated));
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn a_hit_does_not_invalidate_again() {
    let (cache, _) = cache();
    let ask = routing::get(|| async { Invalidate::tags(["posts"]) }).layer(minute(&cache));
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default())).route("/ask", ask);
    get(&app, "/ask").await;
    get(&app, "/page").await;
    assert!(get(&app, "/ask").await.is_hit());
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn invalid_tag_or_uri_does_not_stop_other_invalidations() {
    type Ask = fn() -> Invalidate;
    let unusable: [(&str, Ask); 3] = [
        ("empty tag", || Invalidate::tags(["", "posts"])),
        ("long tag", || Invalidate::tags(["x".repeat(257), "posts".into()])),
        ("no URI", || Invalidate::uri("not a uri").and(Invalidate::tags(["posts"]))),
    ];
    let mut kept = Vec::new();
    for (name, asked) in unusable {
        let (cache, _) = cache();
        let write = routing::get(|| async { "ask" }).post(move || async move { asked() });
        let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default())).route("/ask", write.layer(minute(&cache)));
        for uri in ["/page", "/ask"] {
            get(&app, uri).await;
        }
        send_empty(&app, Method::POST, "/ask").await;
        for uri in ["/page", "/ask"] {
            if get(&app, uri).await.is_hit() {
                kept.push((name, uri));
            }
        }
    }
    assert_eq!(kept, [("", ""); 0]);
}

#[tokio::test]
async fn soft_expiry_makes_the_handler_run_again() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default()));
    get(&app, "/page").await;
    cache.expire_tags(["posts"]).await.unwrap();
    let answer = get(&app, "/page").await;
    assert_eq!((answer.text(), answer.forward(), answer.is_stored()), ("run 2", Some(Forward::Stale), true));
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_soft_expiry_does_not_soften_an_invalidation() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["posts"]), numbered(&Runs::default()));
    get(&app, "/page").await;
    cache.invalidate_tags(["posts"]).await.unwrap();
    cache.expire_tags(["posts"]).await.unwrap();
    assert_eq!(get(&app, "/page").await.forward(), Some(Forward::UriMiss));
}

#[tokio::test]
async fn invalid_uri_invalidates_nothing_and_is_an_error_that_helps() {
    let (cache, _) = cache();
    let app = page(minute(&cache), numbered(&Runs::default()));
    get(&app, "/page").await;
    for (uri, help) in [
        ("", "give a path"),
        ("page", "begin"),
        ("?page", "give a path"),
        ("#page", "give a path"),
        ("*", "begin"),
        ("example.com:80", "begin"),
        ("not a uri", "percent-encode"),
        ("/not a uri", "percent-encode"),
        ("http://", ""),
        ("http://user@example.com/page", "host"),
        ("//example.com/page", "scheme"),
        ("/*", "%2A"),
        ("/page*", "%2A"),
        ("http://example.com/**/page", "%2A"),
        ("/{page}", "invalidate_route"),
    ] {
        let error = cache.invalidate_uri(uri).await.unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains(help), "{uri:?}: {error}");
    }
    assert!(get(&app, "/page").await.is_hit());
}

/// Spellings of the same URI.
const SPELLINGS: [(&str, &str); 9] = [
    ("/café", "/caf%C3%A9"),
    ("/caf%c3%a9", "/caf%C3%A9"),
    ("/caf%C3%A9", "/café"),
    ("/%7ea", "/~a"),
    ("/~a", "/%7Ea"),
    ("/x/../a/./b", "/a/b"),
    ("/a/b", "/a/%2e/b"),
    ("/a@b", "/a%40b"),
    ("/a%2Ab", "/a*b"),
];

#[tokio::test]
async fn every_spelling_of_a_uri_invalidates_it() {
    for (named, stored) in SPELLINGS {
        for origin in ["", "http://EXAMPLE.com:80"] {
            let (cache, _) = cache();
            let app = Router::new().fallback(numbered(&Runs::default())).layer(minute(&cache));
            get(&app, stored).await;
            get(&app, "/other").await;
            cache.invalidate_uri(format!("{origin}{named}")).await.unwrap();
            assert!(!get(&app, stored).await.is_hit(), "{origin} {named} {stored}");
            assert!(get(&app, "/other").await.is_hit(), "{named}");
        }
    }
}

#[tokio::test]
async fn every_spelling_of_a_uri_is_invalidated_by_a_write() {
    for (named, stored) in SPELLINGS {
        for way in ["target", "location", "part"] {
            let write = answering(move |_| match way {
                "location" => (StatusCode::CREATED, [("location", named)]).into_response(),
                "part" => Invalidate::uri(named).into_response(),
                _ => StatusCode::NO_CONTENT.into_response(),
            });
            let app = Router::new().fallback(routing::get(numbered(&Runs::default())).post(write)).layer(minute(&cache().0));
            get(&app, stored).await;
            send_empty(&app, Method::POST, if way == "target" { named } else { "/write" }).await;
            assert!(!get(&app, stored).await.is_hit(), "{way} {named} {stored}");
        }
    }
}

#[tokio::test]
async fn encoded_slash_is_another_uri() {
    let (cache, _) = cache();
    let app = Router::new().fallback(numbered(&Runs::default())).layer(minute(&cache));
    get(&app, "/a/b").await;
    cache.invalidate_uri("/a%2Fb").await.unwrap();
    assert!(get(&app, "/a/b").await.is_hit());
}

#[tokio::test]
async fn what_cannot_be_a_route_is_an_error_that_helps() {
    let (cache, _) = cache();
    for (route, help) in [
        ("posts/{id}", "begin"),
        ("", "begin"),
        ("http://example.com/", "begin"),
        ("/posts/:id", "braces"),
        ("/files/*rest", "braces"),
    ] {
        let error = cache.invalidate_route(route).await.unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains(help), "{route:?}: {error}");
    }
}

#[tokio::test]
async fn invalidating_a_route_that_was_never_met_is_logged_once() {
    let (logged, _guard) = Logs::collect();
    let (cache, _) = cache();
    let app = page(minute(&cache), numbered(&Runs::default()));
    cache.invalidate_route("/pag").await.unwrap();
    assert_eq!(logged.take(), [""; 0], "a process that has met no route cannot judge");

    get(&app, "/page").await;
    cache.with_namespace("other").invalidate_route("/page").await.unwrap();
    assert_eq!(logged.take(), [""; 0]);
    for _ in 0..2 {
        cache.invalidate_route("/pag").await.unwrap();
    }
    let lines = logged.take();
    assert!(lines.len() == 1 && lines[0].contains("the route `/pag`"), "{lines:?}");
}

#[tokio::test]
async fn a_handlers_tags_add_to_those_of_its_layer_and_of_its_own_layers() {
    let (cache, _) = cache();
    let handler = || async { (CacheTags::new(["a"]), CacheTags::new(["b"]), "page") };
    for tag in ["route", "a", "b"] {
        let app = page(minute(&cache).tags(["route"]), handler);
        get(&app, "/page").await;
        assert!(get(&app, "/page").await.is_hit());
        cache.invalidate_tags([tag]).await.unwrap();
        assert!(!get(&app, "/page").await.is_hit(), "{tag}");
        cache.clear().await.unwrap();
    }
}
