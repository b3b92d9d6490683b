//! memcached as the store: real servers, real faults.

mod basics;
mod clusters;
mod evictions;
mod expiry;
mod fetch_locks;
mod foreign_values;
mod outages;

use axum::{Router, routing};
use larder::{Cache, CacheTags, Memcached};

use crate::servers::{memcached::Memcached as Server, process::eventually};
use crate::support::{Answer, Runs, get, minute};

/// A node: an application whose pages are stored on `servers`, and the cache to invalidate them by.
#[derive(Debug)]
struct Node {
    app: Router,
    cache: Cache,
    store: Memcached,
}

impl Node {
    async fn new(servers: &[&Server], runs: &Runs) -> Self {
        let store = Memcached::connect(&crate::servers::memcached::url(servers)).await.unwrap();
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
        eventually("the store comes back", async || !self.store.is_suspended()).await;
    }
}
