//! Two nodes of which one fetches, or runs a schedule, for both.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use axum::{Router, routing};
use larder::{Cache, ManualClock, Memcached, ScheduleGuard};

use super::Server;
use crate::{
    servers::process::eventually,
    support::{Gate, MINUTE, Runs, get, minute},
};

/// A node with limits that a busy machine does not exceed.
async fn cache(server: &Server) -> Cache {
    let limit = Duration::from_secs(20);
    let builder = Memcached::builder().read_timeout(limit).store_timeout(limit).invalidate_timeout(limit);
    Cache::new(builder.connect(&server.url()).await.unwrap())
}

async fn app(server: &Server, runs: &Runs, gate: &Gate, life: Duration) -> Router {
    let layer = cache(server).await.layer().ttl(MINUTE).wait_limit(MINUTE).collapse_across_nodes(life);
    let (runs, gate) = (runs.clone(), gate.clone());
    let handler = move || async move {
        let run = runs.begin();
        gate.pass().await;
        format!("run {run}")
    };
    Router::new().route("/page", routing::get(handler).layer(layer))
}

#[tokio::test]
async fn nodes_that_share_fetches_run_the_handler_once() {
    let server = Server::start();
    let (runs, gate) = (Runs::default(), Gate::closed());
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let app = app(&server, &runs, &gate, MINUTE).await;
        for _ in 0..10 {
            let app = app.clone();
            asked.spawn(async move { get(&app, "/page").await });
        }
    }
    gate.arrival().await;
    gate.open(30);
    for answer in asked.join_all().await {
        assert_eq!(answer.text(), "run 1");
    }
    eventually("the lock is released", async || server.listed("larder:l:").is_empty()).await;
}

#[tokio::test]
async fn a_node_fetches_when_the_lock_of_another_expires() {
    let server = Server::start();
    let (runs, gate) = (Runs::default(), Gate::closed());
    let life = Duration::from_millis(50);
    let (stuck, other) = (app(&server, &runs, &gate, life).await, app(&server, &runs, &gate, life).await);
    let first = tokio::spawn(async move { get(&stuck, "/page").await });
    gate.arrival().await;
    let second = tokio::spawn(async move { get(&other, "/page").await });
    gate.arrival().await;
    gate.open(2);
    assert_eq!((first.await.unwrap().text(), second.await.unwrap().text()), ("run 1", "run 2"));
}

const PERIOD: Duration = Duration::from_millis(250);

/// The number of the present period.
fn number() -> u128 {
    ManualClock::new().now().duration_since(UNIX_EPOCH).unwrap().as_millis() / PERIOD.as_millis()
}

/// The period of each run, on any node.
type Periods = Arc<Mutex<Vec<u128>>>;

async fn scheduled(server: &Server, periods: &Periods) -> (Router, ScheduleGuard) {
    let (cache, periods) = (cache(server).await, Arc::clone(periods));
    let handler = move || async move {
        periods.lock().unwrap().push(number());
        "report"
    };
    let app = Router::new().route("/report", routing::get(handler).layer(minute(&cache)));
    let (warmed, through) = (cache.clone(), app.clone());
    let schedule = cache.every(PERIOD).jitter(Duration::ZERO).name("report");
    let guard = schedule.start(move || warmed.warm(through.clone()).host("example.com").paths(["/report"]));
    (app, guard)
}

#[tokio::test]
async fn two_nodes_run_a_schedule_once_a_period() {
    let server = Server::start();
    let periods = Periods::default();
    let nodes = [scheduled(&server, &periods).await, scheduled(&server, &periods).await];
    eventually("eight periods", async || periods.lock().unwrap().len() >= 8).await;
    let mut runs = periods.lock().unwrap().clone();
    let all = runs.len();
    runs.dedup();
    // A run that is late by its clock's resolution may count for the next period.
    assert!(runs.len() + 1 >= all, "runs in the periods {:?}", periods.lock().unwrap());
    for (app, _guard) in &nodes {
        assert!(get(app, "/report").await.is_hit(), "each node finds what one has stored");
    }
}
