//! Who may see the page, and do what.

use std::net::SocketAddr;

use axum::{Router, extract::ConnectInfo};
use http::{Method, StatusCode};
use larder::{
    CacheMode,
    admin::{Access, Action, Admin},
};

use super::{ROOT, SCREENS, app_for, assert_protected, call, json, submit};
use crate::support::{cache, get, get_with, request, send};

#[tokio::test]
async fn without_access_there_is_nothing() {
    let (cache, _) = cache();
    let app = app_for(&cache, Access::Denied);
    for screen in SCREENS.into_iter().chain(["/api/stats", "/api/live", "/no-such-screen"]) {
        let answer = get(&app, &format!("{ROOT}{screen}")).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::NOT_FOUND, ""), "{screen}");
        assert_protected(&answer.headers);
    }
    assert_eq!(call(&app, "mode", r#"{"mode":"bypass"}"#).await.status, StatusCode::NOT_FOUND);
    assert_eq!(cache.mode(), CacheMode::Enabled);
}

#[tokio::test]
async fn read_only_principal_sees_all_and_changes_nothing() {
    let (cache, _) = cache();
    let app = app_for(&cache, Access::read_only("ben"));
    for screen in SCREENS {
        let answer = get(&app, &format!("{ROOT}{screen}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{screen}");
        assert!(!answer.text().contains("actions/"), "{screen} has a form for an action");
    }
    for (action, body) in [
        ("mode", r#"{"mode":"bypass"}"#),
        ("clear", r#"{"confirm":"larder"}"#),
        ("invalidate", r#"{"tags":["posts"]}"#),
        ("expire", r#"{"tags":["posts"]}"#),
        ("refresh", r#"{"uri":"http://example.com/posts/7"}"#),
    ] {
        let answer = call(&app, action, body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{action}");
        assert_eq!(json(&answer)["happened"], "Nothing was changed.");
    }
    assert_eq!(submit(&app, "/actions/mode", "mode=bypass").await.status, StatusCode::FORBIDDEN);
    assert_eq!((cache.mode(), cache.recent_invalidations(9).len()), (CacheMode::Enabled, 0));
}

#[tokio::test]
async fn actions_are_granted_one_by_one() {
    let (cache, _) = cache();
    let app = app_for(&cache, Access::read_only("cid").with(Action::Expire));
    assert_eq!(call(&app, "expire", r#"{"tags":["posts"]}"#).await.status, StatusCode::OK);
    assert_eq!(call(&app, "invalidate", r#"{"tags":["posts"]}"#).await.status, StatusCode::FORBIDDEN);
    assert_eq!(Access::Denied.with(Action::Clear), Access::Denied);
}

#[tokio::test]
async fn bearer_needs_the_whole_secret() {
    let (cache, _) = cache();
    let app: Router = Admin::new(&cache).bearer("a long secret").into_router();
    for (token, expected) in [
        ("Bearer a long secret", StatusCode::OK),
        ("bearer a long secret", StatusCode::OK),
        ("Bearer a long secreT", StatusCode::NOT_FOUND),
        ("Bearer a long secret ", StatusCode::NOT_FOUND),
        ("Bearer ", StatusCode::NOT_FOUND),
        ("Basic a long secret", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(get_with(&app, "/api/stats", &[("authorization", token)]).await.status, expected, "{token}");
    }
    assert_eq!(get(&app, "/api/stats").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn either_way_suffices() {
    let (cache, _) = cache();
    let by_field = |parts: &http::request::Parts| match parts.headers.get("x-user") {
        Some(_) => Access::read_only("user"),
        None => Access::Denied,
    };
    let app: Router = Admin::new(&cache).authorize(by_field).bearer("secret").into_router();
    assert_eq!(get_with(&app, "/", &[("x-user", "1")]).await.status, StatusCode::OK);
    assert_eq!(get_with(&app, "/", &[("authorization", "Bearer secret")]).await.status, StatusCode::OK);
    assert_eq!(get(&app, "/").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn local_only_means_this_machine_without_a_proxy() {
    let (cache, _) = cache();
    let app: Router = Admin::new(&cache).local_only().into_router();
    for (peer, headers, expected) in [
        (Some("127.0.0.1:1"), &[("host", "localhost:3000")][..], StatusCode::OK),
        (Some("[::1]:1"), &[("host", "[::1]:3000")], StatusCode::OK),
        (Some("[::ffff:127.0.0.1]:1"), &[("host", "127.0.0.1")], StatusCode::OK),
        (Some("127.0.0.1:1"), &[("host", "attacker.example")], StatusCode::NOT_FOUND),
        (Some("127.0.0.1:1"), &[("host", "localhost"), ("x-forwarded-for", "10.0.0.1")], StatusCode::NOT_FOUND),
        (Some("127.0.0.1:1"), &[("host", "localhost"), ("forwarded", "for=10.0.0.1")], StatusCode::NOT_FOUND),
        (Some("10.0.0.1:1"), &[("host", "localhost")], StatusCode::NOT_FOUND),
        (None, &[("host", "localhost")], StatusCode::NOT_FOUND),
    ] {
        let mut request = request(Method::GET, "/", headers);
        if let Some(peer) = peer {
            request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        }
        assert_eq!(send(&app, request).await.status, expected, "{peer:?} {headers:?}");
    }
}

#[tokio::test]
async fn local_only_restricts_another_way() {
    let (cache, _) = cache();
    let app: Router = Admin::new(&cache).bearer("secret").local_only().into_router();
    assert_eq!(
        get_with(&app, "/", &[("host", "localhost"), ("authorization", "Bearer secret")]).await.status,
        StatusCode::NOT_FOUND
    );
}

#[test]
#[should_panic(expected = "the secret of the operator's page is empty")]
fn empty_secret_is_refused() {
    let _ = Admin::new(&cache().0).bearer("");
}
