//! Each action, with its effect and its trail.

use std::sync::Arc;

use http::StatusCode;
use larder::{Cache, CacheMode, Memory, testing::Faulty};

use super::{ROOT, api, app, call, json, post, submit};
use crate::support::{cache, get, logs::Logs};

#[tokio::test]
async fn invalidations_take_effect_and_are_in_the_log() {
    let (cache, _) = cache();
    let app = app(&cache);
    for (body, logged) in [
        (r#"{"tags":["post:7"]}"#, "tag post:7"),
        (r#"{"uri":"/posts/7"}"#, "path /posts/7"),
        (r#"{"uri":"http://example.com/posts/7"}"#, "uri example.com/posts/7"),
        (r#"{"route":"/posts/{id}"}"#, "route /posts/{id}"),
    ] {
        get(&app, "/posts/7").await;
        assert!(get(&app, "/posts/7").await.is_hit());
        let answer = call(&app, "invalidate", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let answer = json(&answer);
        assert_eq!((&answer["tags"], &answer["scope"], &answer["durable"]), (&1.into(), &"process".into(), &true.into()));
        assert!(!get(&app, "/posts/7").await.is_hit(), "{body}");
        assert_eq!(api(&app, "invalidations").await["invalidations"][0]["tags"][0], logged);
    }
}

#[tokio::test]
async fn expired_tags_make_stale() {
    let (cache, _) = cache();
    let app = app(&cache);
    get(&app, "/posts/7").await;
    assert_eq!(call(&app, "expire", r#"{"tags":["posts","post:7"]}"#).await.status, StatusCode::OK);
    assert_eq!(get(&app, "/posts/7").await.forward(), Some(larder::Forward::Stale));
    assert_eq!(api(&app, "invalidations").await["invalidations"][0]["kind"], "expire");
}

#[tokio::test]
async fn mode_is_set() {
    let (cache, _) = cache();
    let app = app(&cache);
    assert_eq!(json(&call(&app, "mode", r#"{"mode":"bypass"}"#).await)["mode"], "bypass");
    assert_eq!((cache.mode(), api(&app, "stats").await["mode"].clone()), (CacheMode::Bypass, "bypass".into()));
    assert_eq!(call(&app, "mode", r#"{"mode":"off"}"#).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(submit(&app, "/actions/mode", "mode=read-only").await.status, StatusCode::OK);
    assert_eq!(cache.mode(), CacheMode::ReadOnly);
    assert!(get(&app, ROOT).await.text().contains("this process: read-only, all nodes: enabled"));
    // A store in memory has no other nodes, and says so.
    let everywhere = json(&call(&app, "mode", r#"{"mode":"enabled","everywhere":true}"#).await);
    assert_eq!((&everywhere["scope"], &everywhere["in_force"]), (&"process".into(), &"enabled".into()));
    let page = submit(&app, "/actions/mode", "mode=bypass&everywhere=true").await;
    assert!(page.text().contains("The mode of this process is bypass."), "{}", page.text());
}

#[tokio::test]
async fn clear_needs_the_name_or_namespace() {
    let (cache, _) = cache();
    for (cache, phrase) in [(cache.clone(), "larder"), (cache.with_namespace("shop"), "shop")] {
        let app = app(&cache);
        get(&app, "/posts/7").await;
        for body in [r#"{"confirm":"yes"}"#, "{}", ""] {
            let refused = call(&app, "clear", body).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
            assert!(json(&refused)["error"].as_str().unwrap().contains(phrase));
        }
        assert!(get(&app, "/posts/7").await.is_hit());
        assert_eq!(call(&app, "clear", &format!(r#"{{"confirm":"{phrase}"}}"#)).await.status, StatusCode::OK);
        assert!(!get(&app, "/posts/7").await.is_hit());
    }
}

#[tokio::test]
async fn refresh_runs_the_handler_and_says_if_it_was_in_vain() {
    let (cache, clock) = cache();
    let app = app(&cache);
    get(&app, "/posts/7").await;
    clock.advance(std::time::Duration::from_secs(50));
    assert_eq!(json(&call(&app, "refresh", r#"{"uri":"http://example.com/posts/7"}"#).await)["stored"], true);
    assert_eq!(get(&app, "/posts/7").await.cache.unwrap().age(), Some(0));
    let vain = call(&app, "refresh", r#"{"uri":"http://example.com/none"}"#).await;
    assert_eq!(vain.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json(&vain)["happened"], "The handler ran. The stored response is as it was.");
    let without = call(&app, "refresh", r#"{"uri":"http://example.com/no-such"}"#).await;
    assert_eq!(without.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn failure_is_an_error_status_that_says_what_happened() {
    let store = Arc::new(Faulty::new(Memory::new(1 << 20)));
    let cache = Cache::from_arc(store.clone());
    let app = app(&cache);
    let half = call(&app, "invalidate", r#"{"tags":["","posts"]}"#).await;
    assert_eq!(half.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(json(&half)["happened"], "The valid tags took effect, the invalid ones did not.");
    store.fail_all();
    let failed = call(&app, "invalidate", r#"{"tags":["posts"]}"#).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json(&failed)["happened"], "It has not taken effect. Repeat it.");
    let page = submit(&app, "/actions/invalidate", "tags=posts").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.text().contains("It has not taken effect"), "{}", page.text());
    let log = api(&app, "invalidations").await;
    assert!(log["invalidations"][0]["error"].is_string(), "{log}");
}

#[tokio::test]
async fn input_that_is_not_understood_changes_nothing() {
    let (cache, _) = cache();
    let app = app(&cache);
    for (action, body) in [
        ("invalidate", "{}"),
        ("invalidate", r#"{"tags":["a"],"uri":"/b"}"#),
        ("invalidate", r#"{"tag":["a"]}"#),
        ("invalidate", "not json"),
        ("invalidate", r#"{"uri":"/posts/*"}"#),
        ("expire", "{}"),
        ("refresh", r#"{"uri":""}"#),
    ] {
        let answer = call(&app, action, body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{action} {body}");
        assert_eq!(json(&answer)["happened"], "Nothing was changed.", "{action} {body}");
    }
    assert_eq!(call(&app, "no-such-action", "{}").await.status, StatusCode::NOT_FOUND);
    assert_eq!(cache.recent_invalidations(9).len(), 0);
}

#[tokio::test]
async fn each_action_is_logged_with_its_principal() {
    let (cache, _) = cache();
    let app = app(&cache);
    let (logs, _guard) = Logs::collect();
    call(&app, "invalidate", r#"{"tags":["posts"]}"#).await;
    let lines = logs.take();
    assert!(
        lines.iter().any(|line| line.contains("\"ann\"") && line.contains("invalidate") && line.contains("posts")),
        "{lines:?}"
    );
    call(&app, "mode", r#"{"mode":"off"}"#).await;
    let lines = logs.take();
    assert!(lines.iter().any(|line| line.contains("\"ann\"") && line.contains("error=")), "{lines:?}");
}

#[tokio::test]
async fn request_from_another_site_is_refused() {
    let (cache, _) = cache();
    let app = app(&cache);
    for (headers, expected) in [
        (&[("sec-fetch-site", "cross-site")][..], StatusCode::FORBIDDEN),
        (&[("sec-fetch-site", "same-site")], StatusCode::FORBIDDEN),
        (&[("origin", "https://attacker.example")], StatusCode::FORBIDDEN),
        (&[("origin", "https://example.com.attacker.example")], StatusCode::FORBIDDEN),
        (&[("origin", "null")], StatusCode::FORBIDDEN),
        (&[("sec-fetch-site", "cross-site"), ("origin", "https://example.com")], StatusCode::FORBIDDEN),
        (&[("origin", "https://example.com")], StatusCode::OK),
        (&[("sec-fetch-site", "same-origin")], StatusCode::OK),
        (&[], StatusCode::OK),
    ] {
        cache.set_mode(CacheMode::Enabled);
        for path in ["/api/mode", "/actions/mode"] {
            let form = [headers, &[("content-type", "application/x-www-form-urlencoded")]].concat();
            assert_eq!(post(&app, path, "mode=bypass", &form).await.status, expected, "{path} {headers:?}");
        }
        assert_eq!(cache.mode() == CacheMode::Bypass, expected == StatusCode::OK, "{headers:?}");
    }
    // A link changes nothing.
    cache.set_mode(CacheMode::Enabled);
    assert_eq!(get(&app, &format!("{ROOT}/actions/mode?mode=bypass")).await.status, StatusCode::NOT_FOUND);
}
