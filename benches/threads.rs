//! Whether a second thread slows the hits of the first by the statistics: two threads on two keys of one store, which count together, or each
//! in statistics of its own (`Cache::with_name`). Only the statistics differ; the store is shared in both cases.
//!
//! Best of several rounds, since other programs run on the machine as well: a slower round says something about them.

use std::{sync::Barrier, thread, time::Duration};

use axum::body::Body;
use http::Request;
use larder::{Cache, CacheService};
use larder_benches::{Handler, KIB, MIB, Requests, ask, layer_over, time_here, warm};
use tower::Layer as _;

const ROUNDS: usize = 25;
const HITS: u64 = 100_000;

type Service = CacheService<Handler>;

fn main() {
    let cache = Cache::in_memory(64 * MIB as u64);
    let service = |cache: &Cache| layer_over(cache, 2).layer(Handler::new(KIB));
    let (one, other) = (service(&cache), service(&cache.with_name("other")));
    let requests = Requests::for_many(2);
    [&one, &other].into_iter().for_each(|service| warm(&mut service.clone(), &requests));

    let cases: [(&str, Vec<&Service>); 3] = [
        ("one thread", vec![&one]),
        ("two threads, statistics of each its own", vec![&one, &other]),
        ("two threads, the same statistics", vec![&one, &one]),
    ];
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        for ((_, services), best) in cases.iter().zip(&mut best) {
            *best = (*best).min(round(services, &requests));
        }
    }
    for ((name, _), best) in cases.iter().zip(best) {
        println!("{name:<42} {:>7.1} ns a hit", best.as_secs_f64() * 1e9 / HITS as f64);
    }
}

/// How long the slowest thread takes for its hits, each thread on a key of its own.
fn round(services: &[&Service], requests: &Requests) -> Duration {
    let barrier = &Barrier::new(services.len());
    thread::scope(|scope| {
        let start = |(number, service): (usize, &&Service)| {
            let mut service = (*service).clone();
            let request = move || -> Request<Body> { requests.each().nth(number).expect("as many targets as threads") };
            scope.spawn(move || {
                barrier.wait();
                time_here(HITS, |_| request(), |request| ask(&mut service, request))
            })
        };
        let threads: Vec<_> = services.iter().enumerate().map(start).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).max().unwrap_or_default()
    })
}
