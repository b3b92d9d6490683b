//! Servers that are away, stand still, or come back with nothing.

use std::time::Duration;

use axum::{Router, routing};
use larder::{Cache, Memcached, Reason};
use tokio::time::Instant;

use super::{Node, Server};
use crate::{
    servers::process::eventually,
    support::{Runs, get, minute, numbered},
};

#[tokio::test]
async fn handlers_answer_while_there_is_no_server_and_it_is_used_when_it_comes() {
    let mut server = Server::start();
    server.kill();
    let runs = Runs::default();
    let node = Node::new(&[&server], &runs).await;
    for run in 1..20 {
        assert_eq!(node.get("/pages/1").await.text(), format!("run {run}"));
    }
    server.start_again();
    node.recovered().await;
    assert!(node.get("/pages/1").await.is_stored());
    assert!(node.get("/pages/1").await.is_hit());
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_used_at_once() {
    let mut server = Server::start();
    let runs = Runs::default();
    let nodes = [Node::new(&[&server], &runs).await, Node::new(&[&server], &runs).await];
    assert!(nodes[0].get("/pages/1").await.is_stored());
    server.kill();
    server.start_again();
    for _ in 0..2 {
        nodes[1].get("/pages/1").await;
    }
    nodes[1].recovered().await;
    nodes[1].get("/pages/1").await;
    assert!(nodes[1].get("/pages/1").await.is_hit());
}

#[tokio::test]
async fn d8_stopped_server_delays_no_request() {
    let server = Server::start();
    let runs = Runs::default();
    let node = Node::new(&[&server], &runs).await;
    assert!(node.get("/pages/1").await.is_stored());
    server.pause();
    let began = Instant::now();
    for run in 2..102 {
        assert_eq!(node.get("/pages/1").await.text(), format!("run {run}"));
    }
    // Five lookups of 50 ms until the breaker opens; each miss before that also waits to be stored.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(node.store.is_suspended());
    server.resume();
    node.recovered().await;
    node.get("/pages/1").await;
    assert!(node.get("/pages/1").await.is_hit());
}

#[tokio::test]
async fn near_copies_answer_during_an_outage_and_die_by_a_failed_invalidation() {
    let mut server = Server::start();
    let runs = Runs::default();
    let url = format!("tiered+{}?outage_grace=1h&invalidate_timeout=500ms", server.url());
    let cache = Cache::connect(&url).await.unwrap();
    let app = Router::new().route("/pages/{id}", routing::get(numbered(&runs)).layer(minute(&cache).tags(["page:{id}"])));
    let request = async |id: u32| get(&app, &format!("/pages/{id}")).await;
    for id in [1, 2] {
        eventually("a copy is taken", async || request(id).await.is_hit()).await;
        eventually("memcached finds it valid", async || request(id).await.reason().is_none()).await;
    }
    let (one, two) = (request(1).await, request(2).await);
    server.kill();
    for _ in 0..10 {
        let answer = request(1).await;
        assert!(answer.is_hit() && answer.reason() == Some(Reason::StoreOutage), "{answer:?}");
        assert_eq!(answer.text(), one.text());
    }
    assert!(cache.health().await.grace_left.is_some_and(|left| left > Duration::from_secs(3000)));
    cache.invalidate_tags("page:1").await.unwrap_err();
    assert_ne!(request(1).await.text(), one.text());
    assert_eq!(request(2).await.text(), two.text());
    server.start_again();
    eventually("memcached is used again", async || {
        let answers = [request(1).await, request(2).await];
        assert_ne!(answers[0].text(), one.text());
        answers.iter().all(|answer| answer.is_hit() && answer.reason().is_none())
    })
    .await;
    assert_ne!(request(2).await.text(), two.text(), "memcached has lost it");
}

#[tokio::test]
async fn an_invalidation_that_fails_says_so_and_is_made_up_for() {
    let server = Server::start();
    let runs = Runs::default();
    let store = Memcached::builder().invalidate_timeout(Duration::from_millis(200)).connect(&server.url()).await.unwrap();
    let (node, other) = (Node::on(store, &runs), Node::new(&[&server], &runs).await);
    assert!(node.get("/pages/1").await.is_stored());
    server.pause();
    let error = node.cache.invalidate_tags(["page:1"]).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    server.resume();
    assert!(!node.get("/pages/1").await.is_hit(), "this node knows of the invalidation");
    node.recovered().await;
    assert!(!other.get("/pages/1").await.text().ends_with(" 1"), "the others know of it once it has been carried out");
}

#[tokio::test]
async fn an_invalidation_on_a_server_that_was_killed_fails() {
    let mut server = Server::start();
    let runs = Runs::default();
    let node = Node::new(&[&server], &runs).await;
    assert!(node.get("/pages/1").await.is_stored());
    server.kill();
    let error = node.cache.invalidate_tags(["page:1"]).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}

#[tokio::test]
async fn requests_that_are_given_up_leave_the_connection_in_order() {
    let server = Server::start();
    let runs = Runs::default();
    let store =
        Memcached::builder().read_timeout(Duration::from_millis(1)).failures(u32::MAX).connect(&server.url()).await.unwrap();
    let node = Node::on(store, &runs);
    for id in 0..20 {
        node.get(&format!("/pages/{id}")).await;
    }
    server.pause();
    for id in 0..20 {
        node.get(&format!("/pages/{id}")).await;
    }
    server.resume();
    let patient = Node::new(&[&server], &runs).await;
    for id in 0..20 {
        patient.get(&format!("/pages/{id}")).await;
        let expected = patient.get(&format!("/pages/{id}")).await;
        let answer = get(&node.app, &format!("/pages/{id}")).await;
        assert!(!answer.is_hit() || answer.text() == expected.text(), "{answer:?} is the answer to something else");
    }
}

/// Tests and tools have one runtime after another in one process, and a cache that outlives them.
#[test]
fn servers_lost_in_one_runtime_are_found_in_the_next() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut server = Server::start();
    server.kill();
    let node = runtime().block_on(Node::new(&[&server], &Runs::default()));
    assert!(node.store.is_suspended());
    server.start_again();
    for _ in 0..3 {
        runtime().block_on(async {
            node.get("/pages/1").await;
            node.recovered().await;
            node.cache.invalidate_tags(["page:1"]).await.unwrap();
            node.get("/pages/1").await;
            assert!(node.get("/pages/1").await.is_hit());
        });
    }
}
