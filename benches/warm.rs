//! What a warm-up of 10,000 pages does to live requests: their latency alone, beside the warm-up, and alone again.
//!
//! Live requests arrive at a steady rate whether or not earlier ones have been answered, and their latency counts from the time at which
//! they were to arrive, so that a stall is not left out. They ask for 2,000 pages that are fresh for two seconds, so that some hit and
//! some run the handler; the warm-up asks for 10,000 others.
//!
//! `cargo bench -p larder-benches --bench warm [-- SHARE]`: SHARE is the budget of the warm-up, from 0.01 to 1 (default).

use std::{hint::black_box, time::Duration};

use axum::{Router, body::Body, extract::Path, routing::get};
use http::Request;
use larder::{Cache, CacheStatus};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tower::ServiceExt as _;

const LIVE_PAGES: u64 = 2_000;
const WARMED_PAGES: u64 = 10_000;
const INTERVAL: Duration = Duration::from_millis(2);
/// As long as the warm-up takes with four requests at once.
const ALONE: Duration = Duration::from_secs(20);
const FRESH: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    // Cargo adds an argument of its own.
    let budget = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1.0);
    let cache = Cache::in_memory(256 << 20);
    let app: Router = Router::new()
        .route("/live/{page}", get(page).layer(cache.layer().ttl(FRESH)))
        .route("/warmed/{page}", get(page).layer(cache.layer().ttl(Duration::from_secs(3600))));

    // The first requests of a process are slower.
    live(&app, sleep(ALONE / 4)).await;
    live(&app, sleep(ALONE)).await.print("alone");
    let begun = Instant::now();
    let paths: Vec<String> = (0..WARMED_PAGES).map(|page| format!("/warmed/{page}")).collect();
    let warming = cache.warm(app.clone()).host("example.com").paths(paths).budget(budget).start();
    let mut report = None;
    let beside = live(&app, async { report = Some(warming.await) }).await;
    beside.print("beside a warm-up");
    live(&app, sleep(ALONE)).await.print("alone again");
    if let Some(report) = report {
        println!("the warm-up, with a budget of {budget}: {report}, in {:.1?} from its start on", begun.elapsed() - ALONE);
    }
}

/// A page that waits for a database, and takes some time to render.
async fn page(Path(page): Path<u64>) -> String {
    const QUERY: Duration = Duration::from_millis(5);
    const RENDERING: u64 = 40_000;
    sleep(QUERY).await;
    let text = (0..RENDERING).fold(page, |hash, step| black_box(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step));
    format!("{text:x}").repeat(64)
}

/// The latencies of live requests, in order.
struct Latencies {
    sorted: Vec<Duration>,
    hits: usize,
}

impl Latencies {
    fn print(&self, when: &str) {
        let part = |share: f64| self.sorted[(self.sorted.len() as f64 * share) as usize];
        let (count, hits) = (self.sorted.len(), self.hits * 100 / self.sorted.len());
        println!(
            "{when:<18} {count} requests, {hits} % hits: p50 {:.2?}, p90 {:.2?}, p99 {:.2?}",
            part(0.5),
            part(0.9),
            part(0.99)
        );
    }
}

/// Sends live requests until `end`.
async fn live(app: &Router, end: impl Future<Output = ()>) -> Latencies {
    let mut requests = JoinSet::new();
    let mut arrival = Instant::now();
    let mut end = std::pin::pin!(end);
    loop {
        arrival += INTERVAL;
        tokio::select! {
            () = &mut end => break,
            () = sleep_until(arrival) => {}
        }
        let app = app.clone();
        requests.spawn(async move {
            let request = Request::get(format!("/live/{}", fastrand::u64(..LIVE_PAGES))).header("host", "example.com");
            let response =
                app.oneshot(request.body(Body::empty()).expect("a valid request")).await.unwrap_or_else(|never| match never {});
            (arrival.elapsed(), CacheStatus::of(&response).is_some_and(CacheStatus::is_hit))
        });
    }
    let answers = requests.join_all().await;
    let hits = answers.iter().filter(|(_, hit)| *hit).count();
    let mut sorted: Vec<Duration> = answers.into_iter().map(|(latency, _)| latency).collect();
    sorted.sort_unstable();
    Latencies { sorted, hits }
}
