//! memcached as the store: real servers, real faults.
#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[path = "../support/expiry.rs"]
mod expired;
#[path = "../support/servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod basics;
mod clusters;
mod expiry;
mod losses;
mod outages;
mod strangers;

use std::time::Duration;

use axum::{Router, routing};
use larder::{Cache, CacheTags, Memcached};
use servers::memcached::Memcached as Server;
use support::{Answer, Runs, get, minute};
use tokio::time::{Instant, sleep};

/// A node: an application whose pages are stored on `servers`, and the cache to invalidate them by.
#[derive(Debug)]
struct Node {
    app: Router,
    cache: Cache,
    store: Memcached,
}

impl Node {
    async fn new(servers: &[&Server], runs: &Runs) -> Self {
        let store = Memcached::connect(&servers::memcached::url(servers)).await.unwrap();
        Self::on(store, runs)
    }

    /// `/pages/{id}` has tags that the route knows, `/late/{id}` one that only the handler knows.
    fn on(store: Memcached, runs: &Runs) -> Self {
        let cache = Cache::new(store.clone());
        let runs = runs.clone();
        let known = minute(&cache).tags(["pages", "page:{id}"]);
        let page = move || {
            let run = runs.begin();
            async move { format!("run {run}") }
        };
        let app = Router::new()
            .route("/pages/{id}", routing::get(page.clone()).layer(known))
            .route("/late/{id}", routing::get(async move || (CacheTags::new(["late"]), page().await)).layer(minute(&cache)));
        Self { app, cache, store }
    }

    async fn get(&self, uri: &str) -> Answer {
        get(&self.app, uri).await
    }

    /// Waits until it trusts its servers again.
    async fn recovered(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.store.is_suspended() {
            assert!(Instant::now() < until, "it does not come back");
            sleep(Duration::from_millis(5)).await;
        }
    }
}
