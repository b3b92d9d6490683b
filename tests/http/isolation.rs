//! Responses that two requests must not share.

use axum::{Router, extract::Path, routing};
use http::StatusCode;
use larder::Reason;

use crate::support::{Runs, answering, cache, field, get, get_with, minute, numbered_with, page};

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
