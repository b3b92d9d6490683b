//! Revisions that are prepared while another one is in use.

use std::convert::Infallible;

use axum::{Router, routing};
use larder::{Cache, CacheMode, Reason, ValuePolicy};

use crate::support::{MINUTE, Runs, cache, get, minute, numbered};

fn site(cache: &Cache, runs: &Runs) -> Router {
    let pages = |cache: &Cache| routing::get(numbered(runs)).layer(minute(cache).tags(["pages"]));
    Router::new()
        .route("/a", pages(cache))
        .route("/b", pages(&cache.with_namespace("shop")))
        .route("/pinned", pages(&cache.with_revision("other")))
        .route("/asks", routing::get(numbered(runs)).layer(minute(cache).bypass_if(|_| false)))
}

const FOLLOWING: [&str; 3] = ["/a", "/b", "/asks"];

#[tokio::test]
async fn a_prepared_revision_is_found_by_all_handles_once_it_is_active() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = site(&cache, &runs);
    for path in ["/a", "/b", "/asks", "/pinned"] {
        get(&app, path).await;
    }
    let prepared = cache.prepare_revision("v2");
    let report = prepared.warm(app.clone()).host("example.com").paths(FOLLOWING).concurrency(1).start().await;
    assert_eq!((report.stored(), runs.count()), (3, 7));
    for (path, text) in FOLLOWING.into_iter().zip(["run 1", "run 2", "run 3"]) {
        assert_eq!(get(&app, path).await.text(), text, "{path} before the switch");
    }
    let again = prepared.warm(app.clone()).host("example.com").paths(FOLLOWING).skip_fresh().start().await;
    assert_eq!((again.fresh(), runs.count()), (3, 7), "{again}");
    prepared.activate();
    for (path, text) in FOLLOWING.into_iter().zip(["run 5", "run 6", "run 7"]) {
        let answer = get(&app, path).await;
        assert!(answer.is_hit() && answer.text() == text, "{path} after the switch: {}", answer.text());
    }
    assert_eq!(get(&app, "/pinned").await.text(), "run 4", "a revision of its own stays");
    assert!(format!("{cache:?}").contains("v2"));
    // A process that starts with the revision finds it, too.
    let restarted = site(&cache.with_revision("v2"), &runs);
    assert_eq!(get(&restarted, "/a").await.text(), "run 5");
}

/// A page that is made of a cached value, whose computations are counted.
fn page_of_a_value(cache: &Cache, computed: &Runs) -> Router {
    let (values, computed) = (cache.clone(), computed.clone());
    let handler = async move || {
        let policy = ValuePolicy::ttl(MINUTE);
        let compute = || async move { Ok::<_, Infallible>(computed.begin()) };
        values.get_or_compute_in_memory("top10", policy, compute).await.unwrap().to_string()
    };
    Router::new().route("/top", routing::get(handler).layer(minute(cache)))
}

#[tokio::test]
async fn pages_of_a_prepared_revision_are_made_of_values_of_that_revision() {
    let (cache, _) = cache();
    let computed = Runs::default();
    let app = page_of_a_value(&cache, &computed);
    let old = get(&app, "/top").await;
    // A data set is loaded.
    let prepared = cache.prepare_revision("v2");
    prepared.warm(app.clone()).host("example.com").paths(["/top"]).start().await;
    assert_eq!(computed.count(), 2, "the value of the old revision is none of the new one");
    assert_eq!(get(&app, "/top").await.text(), old.text());
    cache.invalidate_uri("http://example.com/top").await.unwrap();
    assert_eq!((get(&app, "/top").await.text(), computed.count()), (old.text(), 2), "nor the other way round");
    prepared.activate();
    cache.invalidate_uri("http://example.com/top").await.unwrap();
    assert_ne!(get(&app, "/top").await.text(), old.text());
    assert_eq!(computed.count(), 2, "the value that was computed for the warm-up is there after the switch");
}

#[tokio::test]
async fn invalidations_concern_the_revision_that_is_prepared() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = site(&cache, &runs);
    let prepared = cache.prepare_revision("v2");
    prepared.warm(app.clone()).host("example.com").paths(["/a"]).start().await;
    cache.invalidate_tags(["pages"]).await.unwrap();
    prepared.activate();
    assert_eq!(get(&app, "/a").await.text(), "run 2");
}

#[tokio::test]
async fn revisions_follow_one_another_and_a_dropped_one_changes_nothing() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = site(&cache, &runs);
    drop(cache.prepare_revision("dropped"));
    for (number, revision) in (1..).zip(["v1", "v2", "v3"]) {
        let prepared = cache.prepare_revision(revision);
        let warm = prepared.warm(app.clone()).host("example.com").paths(["/a"]);
        assert_eq!(warm.start().await.stored(), 1);
        prepared.activate();
        let answer = get(&app, "/a").await;
        assert!(answer.is_hit() && answer.text() == format!("run {number}"));
    }
}

#[tokio::test]
async fn the_mode_is_obeyed_after_a_switch() {
    let (cache, _) = cache();
    let app = site(&cache, &Runs::default());
    cache.prepare_revision("v2").activate();
    assert!(get(&app, "/a").await.is_stored());
    cache.set_mode(CacheMode::Bypass);
    assert_eq!(get(&app, "/a").await.reason(), Some(Reason::SwitchedOff));
    cache.set_mode(CacheMode::Enabled);
    assert!(get(&app, "/a").await.is_hit());
}
