use std::time::Duration;

use axum::{Router, routing};
use larder::Cache;
use tokio::task::JoinSet;

use super::support::topology::{everywhere, patient};
use crate::{
    servers::redis::Redis as Server,
    support::{Gate, MINUTE, Runs, get},
};

fn app(cache: &Cache, runs: &Runs, gate: &Gate, life: Duration) -> Router {
    let layer = cache.layer().ttl(MINUTE).wait_limit(MINUTE).collapse_across_nodes(life);
    let (runs, gate) = (runs.clone(), gate.clone());
    let handler = move || async move {
        let run = runs.begin();
        gate.pass().await;
        format!("run {run}")
    };
    Router::new().route("/page", routing::get(handler).layer(layer))
}

#[test]
fn nodes_that_share_fetches_run_the_handler_once() {
    everywhere(async |site| {
        let (runs, gate) = (Runs::default(), Gate::closed());
        let mut asked = JoinSet::new();
        for _ in 0..3 {
            let app = app(&site.node().await.cache, &runs, &gate, MINUTE);
            for _ in 0..10 {
                let app = app.clone();
                asked.spawn(async move { get(&app, "/page").await });
            }
        }
        gate.arrival().await;
        gate.open(30);
        for answer in asked.join_all().await {
            assert_eq!(answer.text(), "run 1", "{:?}", site.place);
        }
    });
}

#[tokio::test]
async fn node_fetches_when_another_nodes_fetch_lock_expires() {
    let server = Server::start();
    let (runs, gate) = (Runs::default(), Gate::closed());
    let node =
        async || app(&Cache::new(patient().connect(&server.url()).await.unwrap()), &runs, &gate, Duration::from_millis(50));
    let (stuck, other) = (node().await, node().await);
    let first = tokio::spawn(async move { get(&stuck, "/page").await });
    gate.arrival().await;
    let second = tokio::spawn(async move { get(&other, "/page").await });
    // The claim of the first has ended.
    gate.arrival().await;
    gate.open(2);
    assert_eq!((first.await.unwrap().text(), second.await.unwrap().text()), ("run 1", "run 2"));
}
