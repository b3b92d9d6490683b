use std::time::Duration;

use axum::{Router, routing};
use larder::{Cache, Memory, Redis, Tiered};

use crate::{
    servers::process::eventually,
    support::{Runs, get, minute, numbered},
};

/// A node of an application with pages.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) app: Router,
    pub(crate) cache: Cache,
    pub(crate) redis: Redis,
}

impl Node {
    pub(crate) fn on(redis: Redis, runs: &Runs) -> Self {
        Self::with(Cache::new(redis.clone()), redis, runs)
    }

    pub(crate) fn strict(redis: Redis, runs: &Runs) -> Self {
        Self::with(Cache::new(Tiered::new(Memory::new(16 << 20), redis.clone())), redis, runs)
    }

    pub(crate) fn leased(redis: Redis, span: Duration, runs: &Runs) -> Self {
        Self::with(Cache::new(Tiered::new(Memory::new(16 << 20), redis.clone()).lease(span)), redis, runs)
    }

    pub(crate) fn with(cache: Cache, redis: Redis, runs: &Runs) -> Self {
        let layer = minute(&cache).tags(["posts", "post:{id}"]);
        let app = Router::new().route("/posts/{id}", routing::get(numbered(runs)).layer(layer));
        Self { app, cache, redis }
    }

    pub(crate) async fn text(&self, id: u32) -> String {
        get(&self.app, &format!("/posts/{id}")).await.text().to_owned()
    }

    /// Waits until it trusts its server again.
    pub(crate) async fn recovered(&self) {
        eventually("the store comes back", async || !self.redis.is_suspended()).await;
    }
}

/// All nodes know the page; returns what it says.
pub(crate) async fn warm(nodes: &[Node], id: u32) -> String {
    let text = nodes[0].text(id).await;
    for node in nodes.iter().chain(nodes) {
        assert_eq!(node.text(id).await, text);
    }
    text
}

/// Asks all nodes for the page until it is a hit on all of them again; none may answer what it said before.
pub(crate) async fn resumes_without(nodes: &[Node], id: u32, old: &str) {
    eventually("all nodes answer from the store", async || {
        let mut hits = 0;
        for (number, node) in nodes.iter().enumerate() {
            let answer = get(&node.app, &format!("/posts/{id}")).await;
            assert!(answer.status.is_success());
            assert_ne!(answer.text(), old, "node {number} has forgotten an invalidation: {answer:?}");
            hits += usize::from(answer.is_hit());
        }
        hits == nodes.len()
    })
    .await;
}
