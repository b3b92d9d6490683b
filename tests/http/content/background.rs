//! Runs without a client: each gets the content of the request that caused it.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing};
use larder::{Cache, CacheLayer, Verification};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    time::sleep,
};

use super::{JSON, LIMIT, asking, post, query};
use crate::support::{MINUTE, Runs, cache, minute, paused::settled};

/// A search that reports which content its handler gets.
fn search(layer: CacheLayer) -> (Router, UnboundedReceiver<String>) {
    let (report, reports) = mpsc::unbounded_channel();
    let runs = Runs::default();
    let handler = move |content: String| {
        report.send(content).unwrap();
        std::future::ready(format!("run {}", runs.begin()))
    };
    (Router::new().route("/graphql", routing::any(handler).layer(layer.cache_post_if(LIMIT, |_, _| true))), reports)
}

fn received(reports: &mut UnboundedReceiver<String>) -> Vec<String> {
    std::iter::from_fn(|| reports.try_recv().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_refresh_in_the_background_sends_the_same_content() {
    let (cache, clock) = cache();
    let (app, mut reports) = search(minute(&cache).stale_while_revalidate(MINUTE));
    post(&app, "a").await;
    query(&app, "b").await;
    clock.advance(MINUTE);
    assert_eq!((post(&app, "a").await.text(), query(&app, "b").await.text()), ("run 1", "run 2"));
    settled().await;
    assert_eq!(received(&mut reports), ["a", "b", "a", "b"]);
    let refreshed = [post(&app, "a").await, query(&app, "b").await];
    assert_eq!(refreshed.each_ref().map(|answer| (answer.text(), answer.is_hit())), [("run 3", true), ("run 4", true)]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_ahead_sends_the_same_content() {
    let (cache, clock) = cache();
    let (app, mut reports) = search(minute(&cache).refresh_ahead(1e9));
    post(&app, "a").await;
    clock.advance(Duration::from_secs(59));
    for _ in 0..100 {
        assert!(post(&app, "a").await.cache.unwrap().outcome().is_from_cache());
        settled().await;
    }
    let received = received(&mut reports);
    assert!(received.iter().all(|content| content == "a"), "{received:?}");
}

#[tokio::test(start_paused = true)]
async fn verification_sends_the_same_content() {
    let (cache, _) = cache();
    let (app, mut reports) = search(minute(&cache).verify_hits(1));
    post(&app, "a").await;
    assert!(post(&app, "a").await.is_hit());
    sleep(MINUTE).await;
    assert_eq!(received(&mut reports), ["a", "a"]);
    let stats = cache.stats();
    assert_eq!(stats.route("/graphql").unwrap().verifications(Verification::Different), 1, "each run is another");
}

#[tokio::test]
async fn refresh_replaces_what_is_stored_for_its_content() {
    let (cache, _) = cache();
    let (app, _reports) = search(minute(&cache));
    post(&app, "a").await;
    post(&app, "b").await;
    let status = cache.refresh(app.clone(), asking("POST", "/graphql", &[JSON], "a")).await.unwrap();
    assert!(status.unwrap().is_stored());
    assert_eq!((post(&app, "a").await.text(), post(&app, "b").await.text()), ("run 3", "run 2"));
}

/// The layer would keep what clients have sent.
#[tokio::test(start_paused = true)]
async fn rewarm_repeats_no_request_with_content() {
    let (cache, _) = cache();
    let (app, mut reports) = search(minute(&cache).tags(["posts"]).rewarm(10));
    post(&app, "a").await;
    query(&app, "b").await;
    cache.invalidate_tags(["posts"]).await.unwrap();
    settled().await;
    assert_eq!(received(&mut reports), ["a", "b"]);
}

#[tokio::test]
async fn an_entry_is_shared_by_handles_of_one_store() {
    let store = Arc::new(larder::Memory::new(1 << 20));
    let [one, other] = [(); 2].map(|()| search(minute(&Cache::from_arc(store.clone()))));
    post(&one.0, "a").await;
    assert!(post(&other.0, "a").await.is_hit());
}
