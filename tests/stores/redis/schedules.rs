//! One schedule on two nodes.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use axum::{Router, routing};
use larder::{Cache, ManualClock, ScheduleGuard};
use tokio::runtime::Runtime;

use super::support::topology::patient;
use crate::{
    servers::{process::eventually, redis::Redis as Server},
    support::{Gate, MINUTE, get, minute},
};

const PERIOD: Duration = Duration::from_millis(250);

/// Long enough for a node on a busy machine to take its turns early.
const LONG: Duration = Duration::from_secs(1);

/// The runs of all nodes: the name of the node, and the number of the period.
type Runs = Arc<Mutex<Vec<(&'static str, u128)>>>;

struct Node {
    cache: Cache,
    app: Router,
    guard: ScheduleGuard,
}

/// The number of the present period.
fn number_of(period: Duration) -> u128 {
    ManualClock::new().now().duration_since(UNIX_EPOCH).unwrap().as_millis() / period.as_millis()
}

async fn node(name: &'static str, server: &Server, runs: &Runs, period: Duration, door: Option<Gate>) -> Node {
    let cache = Cache::new(patient().connect(&server.url()).await.unwrap());
    let runs = Arc::clone(runs);
    let handler = move || async move {
        let count = {
            let mut runs = runs.lock().unwrap();
            runs.push((name, number_of(period)));
            runs.len()
        };
        if let Some(door) = door {
            door.pass().await;
        }
        format!("run {count}")
    };
    let app = Router::new().route("/report", routing::get(handler).layer(minute(&cache)));
    let (warmed, through) = (cache.clone(), app.clone());
    let schedule = cache.every(period).jitter(Duration::ZERO).name("report");
    let guard = schedule.start(move || warmed.warm(through.clone()).host("example.com").paths(["/report"]));
    Node { cache, app, guard }
}

fn count(runs: &Runs, of: &str) -> usize {
    runs.lock().unwrap().iter().filter(|(name, _)| *name == of).count()
}

#[tokio::test]
async fn two_nodes_run_a_schedule_once_a_period_and_neither_does_after_draining() {
    let server = Server::start();
    let runs = Runs::default();
    let nodes = [node("one", &server, &runs, PERIOD, None).await, node("other", &server, &runs, PERIOD, None).await];
    eventually("eight periods", async || runs.lock().unwrap().len() >= 8).await;
    let mut periods: Vec<_> = runs.lock().unwrap().iter().map(|(_, period)| *period).collect();
    let all = periods.len();
    periods.dedup();
    // A run that is late by its clock's resolution may count for the next period.
    assert!(periods.len() + 1 >= all, "runs in the periods {:?}", runs.lock().unwrap());
    assert!(periods[periods.len() - 1] - periods[0] >= all as u128 - 2, "more runs than periods: {:?}", runs.lock().unwrap());
    for node in &nodes {
        assert!(get(&node.app, "/report").await.is_hit(), "each node finds what one has stored");
    }

    // The node whose guard is dropped runs it no longer.
    let [one, other] = nodes;
    drop(one.guard);
    let (before, of_one) = (count(&runs, "other"), count(&runs, "one"));
    eventually("the other node goes on", async || count(&runs, "other") >= before + 3).await;
    assert!(count(&runs, "one") <= of_one + 1);

    other.cache.drain(MINUTE).await;
    eventually("the schedule ends", async || other.guard.has_ended()).await;
    let late = node("late", &server, &runs, PERIOD, None).await;
    late.cache.drain(MINUTE).await;
    eventually("the schedule ends", async || late.guard.has_ended()).await;
    assert!(count(&runs, "late") <= 1);
}

#[test]
fn another_node_takes_over_when_the_one_that_runs_a_schedule_is_killed() {
    let server = Server::start();
    let runs = Runs::default();
    let door = Gate::closed();
    // The node that hangs within a run, and keeps its turns meanwhile.
    let killed = Runtime::new().unwrap();
    let hanging = killed.block_on(node("killed", &server, &runs, LONG, Some(door.clone())));
    killed.block_on(door.arrival());
    let survivor = Runtime::new().unwrap();
    let other = survivor.block_on(node("other", &server, &runs, LONG, None));
    let began = number_of(LONG);
    survivor.block_on(eventually("three periods", async || number_of(LONG) > began + 3));
    assert_eq!(runs.lock().unwrap().len(), 1, "while it runs, no other node does");
    killed.shutdown_background();
    survivor.block_on(eventually("the other node takes over", async || count(&runs, "other") >= 2));
    survivor.block_on(async { assert!(get(&other.app, "/report").await.is_hit()) });
    drop((hanging, other));
}
