//! Namespaces and revisions of one store.

use axum::Router;
use http::Method;

use super::placement::post;
use crate::support::{Runs, cache, get, minute, numbered, page, send_empty};

#[tokio::test]
async fn namespaces_share_neither_responses_nor_invalidations() {
    let (cache, _) = cache();
    let spaces = [cache.clone(), cache.with_namespace("a"), cache.with_namespace("b")];
    let apps = spaces.each_ref().map(|space| page(minute(space).tags(["posts"]), numbered(&Runs::default())));
    for app in &apps {
        get(app, "/page").await;
    }
    type Expected = [bool; 3];
    let after = async |expected: Expected, what: &str| {
        for (app, expected) in apps.iter().zip(expected) {
            assert_eq!(get(app, "/page").await.is_hit(), expected, "{what}");
        }
    };
    after([true, true, true], "nothing").await;
    spaces[1].invalidate_tags(["posts"]).await.unwrap();
    after([true, false, true], "a tag of a").await;
    spaces[1].invalidate_uri("/page").await.unwrap();
    after([true, false, true], "a path of a").await;
    spaces[1].clear().await.unwrap();
    after([true, false, true], "all of a").await;
    spaces[0].invalidate_tags(["posts"]).await.unwrap();
    after([false, true, true], "a tag of none").await;
    spaces[0].clear().await.unwrap();
    after([false, false, false], "the whole store").await;
}

#[tokio::test]
async fn a_write_invalidates_in_its_own_namespace_alone() {
    let (cache, _) = cache();
    let apps = [cache.with_namespace("a"), cache.with_namespace("b")]
        .map(|space| Router::new().route("/page", post().layer(minute(&space))));
    for app in &apps {
        get(app, "/page").await;
    }
    send_empty(&apps[0], Method::PUT, "/page").await;
    assert!(!get(&apps[0], "/page").await.is_hit());
    assert!(get(&apps[1], "/page").await.is_hit());
}

#[tokio::test]
async fn revisions_share_invalidations_and_no_responses() {
    let (cache, _) = cache();
    let apps =
        ["v1", "v2"].map(|revision| page(minute(&cache.with_revision(revision)).tags(["posts"]), numbered(&Runs::default())));
    for app in &apps {
        assert_eq!(get(app, "/page").await.text(), "run 1");
        assert!(get(app, "/page").await.is_hit());
    }
    cache.with_revision("v2").invalidate_tags(["posts"]).await.unwrap();
    for app in &apps {
        assert_eq!(get(app, "/page").await.text(), "run 2");
    }
}

#[tokio::test]
async fn names_of_namespace_and_revision_do_not_run_together() {
    let (cache, _) = cache();
    let spaces = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc")];
    for (namespace, revision) in spaces {
        let app = page(minute(&cache.with_namespace(namespace).with_revision(revision)), numbered(&Runs::default()));
        assert!(!get(&app, "/page").await.is_hit(), "{namespace:?} {revision:?}");
    }
}
