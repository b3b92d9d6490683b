//! The simulated caches against an exact replay of the same requests.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{Router, extract::Path, routing};
use fastrand::Rng;
use http::Method;
use larder::{ManualClock, advisor::RouteAdvice};

use crate::support::{cache, get, send_empty};

/// One request as its client has seen it.
struct Logged {
    path: String,
    requested: SystemTime,
    received: SystemTime,
    body: String,
}

/// The shares of hits and of wrong answers of a cache with this lifetime, computed from the log.
fn replay(log: &[Logged], lifetime: Duration) -> (f64, f64) {
    let mut stored: HashMap<&str, &Logged> = HashMap::new();
    let (mut hits, mut wrong) = (0, 0);
    for request in log {
        match stored.get(request.path.as_str()) {
            Some(entry) if request.requested < entry.received + lifetime => {
                hits += 1;
                wrong += u32::from(entry.body != request.body);
            }
            _ => {
                stored.insert(&request.path, request);
            }
        }
    }
    (f64::from(hits) / log.len() as f64, f64::from(wrong) / log.len() as f64)
}

/// An application of items that some requests change, and its log.
async fn run(items: u64, requests: u32, pause: u64, app: &Router, clock: &ManualClock, rng: &mut Rng) -> Vec<Logged> {
    let mut log = Vec::new();
    for _ in 0..requests {
        clock.advance(Duration::from_millis(rng.u64(0..pause)));
        // Few items are requested often, and most seldom.
        let item = (items as f64).powf(rng.f64()) as u64;
        let path = format!("/items/{item}");
        if rng.u8(0..20) == 0 {
            send_empty(app, Method::PUT, &path).await;
        } else {
            let requested = clock.now();
            let body = get(app, &path).await.text().to_owned();
            log.push(Logged { path, requested, received: clock.now(), body });
        }
    }
    log
}

fn app(clock: &ManualClock) -> Router {
    let versions: Arc<Mutex<BTreeMap<u64, u64>>> = Arc::default();
    let (read, slow) = (Arc::clone(&versions), clock.clone());
    let show = move |Path(item): Path<u64>| {
        slow.advance(Duration::from_millis(20));
        let version = read.lock().unwrap().get(&item).copied();
        async move { format!("{item}: {version:?}") }
    };
    let update = move |Path(item): Path<u64>| {
        *versions.lock().unwrap().entry(item).or_default() += 1;
        async {}
    };
    Router::new().route("/items/{item}", routing::get(show).put(update))
}

fn assert_close(log: &[Logged], route: &RouteAdvice, points: f64) {
    for simulated in route.simulations() {
        let (hits, wrong) = replay(log, simulated.lifetime());
        let (by_hits, by_wrong) = (simulated.hit_ratio() - hits, simulated.wrong_ratio() - wrong);
        println!("{:?}: {hits:.4} {wrong:.4}, off by {by_hits:.4} {by_wrong:.4}", simulated.lifetime());
        assert!(by_hits.abs() <= points && by_wrong.abs() <= points, "{:?}: {by_hits} {by_wrong}", simulated.lifetime());
    }
}

#[tokio::test]
async fn ratios_are_exact_while_all_keys_are_in_the_sample() {
    let (cache, clock) = cache();
    let app = app(&clock).layer(cache.observer().layer());
    let log = run(400, 8_000, 1_500, &app, &clock, &mut Rng::with_seed(1)).await;
    let advice = cache.advice();
    let route = advice.route("/items/{item}").unwrap();
    let ratios: Vec<_> = route.simulations().iter().map(|cache| (cache.hit_ratio(), cache.wrong_ratio())).collect();
    assert!(ratios[0].0 > 0.01 && ratios[4].0 > 0.9 && ratios[4].1 > 0.1, "{ratios:?}");
    assert_close(&log, route, 1e-9);
}

#[tokio::test]
async fn ratios_of_a_sample_are_within_two_points() {
    // The sample differs in each run; the standard deviation of the error is a quarter of a point to half a point.
    for seed in 0..2 {
        let (cache, clock) = cache();
        let app = app(&clock).layer(cache.observer().layer());
        let log = run(3_000, 30_000, 300, &app, &clock, &mut Rng::with_seed(seed)).await;
        let keys = log.iter().map(|request| &request.path).collect::<std::collections::HashSet<_>>().len();
        assert!(keys > 2_000, "{keys}");
        let advice = cache.advice();
        let route = advice.route("/items/{item}").unwrap();
        assert!(route.unseen().iter().any(|line| line.starts_with("a sample of")), "{:?}", route.unseen());
        assert_close(&log, route, 0.02);
    }
}
