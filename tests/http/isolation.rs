//! Responses that two requests must not share.

use std::convert::Infallible;

use axum::{
    Router,
    extract::{Path, Request},
    response::{IntoResponse as _, Response},
    routing,
};
use http::StatusCode;
use larder::{Cache, CacheLayer, Reason};
use tower::{Layer as _, service_fn};

use crate::support::{MINUTE, Runs, answering, cache, field, get, get_with, logs::Logs, minute, numbered_with, page};

#[tokio::test]
async fn alices_page_does_not_go_to_bob() {
    for name in ["authorization", "cookie"] {
        let app = page(minute(&cache().0), answering(move |parts| format!("for {}", field(parts, name))));
        for user in ["alice", "bob"] {
            assert_eq!(get_with(&app, "/page", &[(name, user)]).await.text(), format!("for {user}"));
        }
    }
}

#[tokio::test]
async fn a_cookie_is_not_set_twice() {
    let app = page(minute(&cache().0), numbered_with(&Runs::default(), &[("set-cookie", "sid=1")]));
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::SetCookie));
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn an_anonymous_refusal_does_not_go_to_the_signed_in_user() {
    let handler = answering(|parts| match parts.headers.get("authorization") {
        Some(_) => (StatusCode::OK, "welcome"),
        None => (StatusCode::UNAUTHORIZED, "who are you?"),
    });
    let app = page(minute(&cache().0).ignore_authorization(true), handler);
    assert_eq!(get(&app, "/page").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get_with(&app, "/page", &[("authorization", "alice")]).await.text(), "welcome");
}

#[tokio::test]
async fn two_nested_routers_do_not_share_their_inner_paths() {
    let (cache, _) = cache();
    let items = |version: &'static str| Router::new().route("/items", routing::get(move || async move { version }));
    let inside = |version| items(version).layer(minute(&cache));
    let on_route =
        |version: &'static str| Router::new().route("/items", routing::get(move || async move { version }).layer(minute(&cache)));
    let apps = [
        Router::new().nest("/v1", inside("one")).nest("/v2", inside("two")),
        Router::new().nest("/r/v1", on_route("one")).nest("/r/v2", on_route("two")),
        Router::new().nest_service("/s/v1", inside("one")).nest_service("/s/v2", inside("two")),
        Router::new().nest("/o/v1", items("one")).nest("/o/v2", items("two")).layer(minute(&cache)),
        Router::new().nest("/d", Router::new().nest("/v1", inside("one")).nest("/v2", inside("two"))),
    ];
    for (app, prefix) in apps.iter().zip(["", "/r", "/s", "/o", "/d"]) {
        for _ in 0..2 {
            assert_eq!(get(app, &format!("{prefix}/v1/items")).await.text(), "one", "{prefix}");
            assert_eq!(get(app, &format!("{prefix}/v2/items")).await.text(), "two", "{prefix}");
        }
        assert!(get(app, &format!("{prefix}/v2/items")).await.is_hit());
    }
}

#[tokio::test]
async fn two_routes_with_the_same_captures_do_not_share() {
    let (cache, _) = cache();
    let show =
        |kind: &'static str| routing::get(move |Path(id): Path<u64>| async move { format!("{kind} {id}") }).layer(minute(&cache));
    let app = Router::new().route("/users/{id}", show("user")).route("/orders/{id}", show("order"));
    assert_eq!(get(&app, "/users/42").await.text(), "user 42");
    assert_eq!(get(&app, "/orders/42").await.text(), "order 42");
}

#[tokio::test]
async fn two_tenants_of_one_application_do_not_share() {
    let app = page(minute(&cache().0), answering(|parts| format!("tenant {}", field(parts, "host"))));
    for host in ["a.example", "b.example"] {
        assert_eq!(get_with(&app, "/page", &[("host", host)]).await.text(), format!("tenant {host}"));
    }
}

/// A public application, and one for administrators with a page of its own at the same path.
fn public_and_admin(cache: &Cache, scope: impl Fn(CacheLayer, &'static str) -> CacheLayer) -> [Router; 2] {
    [
        page(scope(cache.layer().ttl(MINUTE), "public"), async || "public"),
        page(scope(cache.layer().ttl(MINUTE), "admin"), async || "admin"),
    ]
}

#[tokio::test]
async fn two_services_that_fill_one_entry_are_reported_once() {
    let (logs, _guard) = Logs::collect();
    let (cache, clock) = cache();
    let [public, admin] = public_and_admin(&cache, |layer, _| layer);
    assert_eq!(get(&public, "/page").await.text(), "public");
    // This is what goes wrong, and cannot be noticed yet: the handler of this service has not run.
    assert_eq!(get(&admin, "/page").await.text(), "public");
    assert_eq!(logs.take(), [""; 0]);
    clock.advance(MINUTE);
    assert_eq!(get(&admin, "/page").await.text(), "admin");
    let lines = logs.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    // Both layers, by their lines, and what to do.
    assert_eq!(lines[0].matches("isolation.rs:").count(), 2, "{lines:?}");
    assert!(lines[0].contains("`CacheLayer::scope`") && lines[0].contains("(route `/page`)"), "{lines:?}");
    for app in [&public, &admin, &public, &admin] {
        clock.advance(MINUTE);
        get(app, "/page").await;
    }
    assert_eq!(logs.take().len(), 1, "once for each layer and route");
}

#[tokio::test]
async fn two_services_with_scopes_share_no_entry() {
    let (logs, _guard) = Logs::collect();
    let (cache, clock) = cache();
    let apps = public_and_admin(&cache, CacheLayer::scope);
    for _ in 0..3 {
        for (app, text) in apps.iter().zip(["public", "admin"]) {
            assert_eq!(get(app, "/page").await.text(), text);
            assert_eq!(get(app, "/page").await.text(), text);
        }
        clock.advance(MINUTE);
    }
    assert_eq!(logs.take(), [""; 0]);
}

/// Built for each thread, or again after a change of its configuration.
#[tokio::test]
async fn application_that_is_built_twice_is_one_service() {
    let (logs, _guard) = Logs::collect();
    let (cache, clock) = cache();
    let build = || {
        let layer = cache.layer().ttl(MINUTE);
        let page = || routing::get(async || "page");
        let nested = Router::new().route("/{id}", page());
        Router::new().route("/page", page()).nest("/nested", nested).fallback(async || "fallback").layer(layer)
    };
    for _ in 0..3 {
        let app = build();
        for uri in ["/page", "/nested/1", "/nested/2", "/other"] {
            get(&app, uri).await;
        }
        clock.advance(MINUTE);
    }
    assert_eq!(logs.take(), [""; 0]);
}

#[tokio::test]
async fn layers_with_other_settings_and_services_of_other_types_are_told_apart() {
    for other in [
        |cache: &Cache| page(minute(cache).tags(["other"]), async || "other"),
        |cache: &Cache| Router::new().route("/{other}", routing::get(async || "other")).layer(minute(cache)),
        |cache: &Cache| Router::new().fallback_service(minute(cache).layer(service_fn(other_service))),
    ] {
        let (logs, _guard) = Logs::collect();
        let (cache, clock) = cache();
        for app in [page(minute(&cache), async || "page"), other(&cache)] {
            assert!(get(&app, "/page").await.is_stored());
            clock.advance(MINUTE);
        }
        assert_eq!(logs.take().len(), 1);
    }
}

async fn other_service(_: Request) -> Result<Response, Infallible> {
    Ok("other".into_response())
}

#[tokio::test]
async fn a_veto_counts_in_capitals_on_a_second_line_and_with_field_names() {
    for lines in [
        &[("cache-control", "Private")][..],
        &[("cache-control", "max-age=60"), ("cache-control", "no-store")],
        &[("cache-control", r#"private="set-cookie", max-age=60"#)],
    ] {
        let app = page(minute(&cache().0), numbered_with(&Runs::default(), lines));
        get(&app, "/page").await;
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{lines:?}");
    }
}

#[tokio::test]
async fn an_error_that_a_bad_header_provokes_is_not_for_all() {
    let handler = answering(|parts| match parts.headers.get("x-bad") {
        Some(_) => (StatusCode::BAD_REQUEST, [("cache-control", "max-age=60")], "bad"),
        None => (StatusCode::OK, [("cache-control", "max-age=60")], "page"),
    });
    let app = page(minute(&cache().0), handler);
    get_with(&app, "/page", &[("x-bad", "1")]).await;
    assert_eq!(get(&app, "/page").await.text(), "page");
}
