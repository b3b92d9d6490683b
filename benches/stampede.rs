//! A thousand requests at once for a page whose handler takes 20 ms: how often it runs, and how long they take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body, http::header::CACHE_CONTROL, routing::get};
use http::Request;
use http_body_util::BodyExt as _;
use larder::Cache;
use larder_benches::HOUR;
use tokio::{runtime::Builder, task::JoinSet, time::sleep};
use tower::ServiceExt as _;

const REQUESTS: usize = 1000;
const HANDLER: Duration = Duration::from_millis(20);
const ROUNDS: usize = 20;

fn main() {
    println!("{REQUESTS} requests at once, handler {HANDLER:?}, {ROUNDS} rounds; the median of the rounds, and the worst");
    println!("{:<28} {:>6} {:>10} {:>10} {:>10} {:>10}", "", "runs", "p50", "p99", "worst p99", "max");
    for threads in [1, 2] {
        for page in [Page::Cold, Page::NewlyUncacheable, Page::Uncacheable, Page::Bare] {
            let rounds: Vec<_> = (0..ROUNDS).map(|_| round(threads, page)).collect();
            let median = |figure: fn(&Round) -> Duration| percentile(rounds.iter().map(figure).collect(), 50);
            let worst = rounds.iter().map(|round| round.p99).max().unwrap_or_default();
            println!(
                "{:<28} {:>6} {:>10.1?} {:>10.1?} {:>10.1?} {:>10.1?}",
                format!("{page:?}, {threads} thread(s)"),
                rounds.iter().map(|round| round.runs).max().unwrap_or_default(),
                median(|round| round.p50),
                median(|round| round.p99),
                worst,
                median(|round| round.max),
            );
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// No request has been made for it before.
    Cold,
    /// No request has been made for it before, and it has `no-store`.
    NewlyUncacheable,
    /// It says `no-store`, as it said before.
    Uncacheable,
    /// It has no cache: what the machine does with a thousand handlers.
    Bare,
}

/// What one stampede came to.
struct Round {
    runs: usize,
    p50: Duration,
    p99: Duration,
    max: Duration,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time, it does not decide by it")]
fn round(threads: usize, page: Page) -> Round {
    let runs = Arc::new(AtomicUsize::new(0));
    let app = application(page, &runs);
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build().expect("threads to start");
    runtime.block_on(async {
        // Timers and threads are there, and what can be known of the page is.
        ask(app.clone(), if page == Page::Uncacheable { "/page" } else { "/other" }).await;
        runs.store(0, Ordering::Relaxed);
        let began = Instant::now();
        let mut asked = JoinSet::new();
        for _ in 0..REQUESTS {
            let app = app.clone();
            asked.spawn(async move {
                ask(app, "/page").await;
                began.elapsed()
            });
        }
        let took = asked.join_all().await;
        Round {
            runs: runs.load(Ordering::Relaxed),
            p50: percentile(took.clone(), 50),
            p99: percentile(took.clone(), 99),
            max: percentile(took, 100),
        }
    })
}

fn application(page: Page, runs: &Arc<AtomicUsize>) -> Router {
    let runs = runs.clone();
    let control = if page == Page::Cold { "max-age=3600" } else { "no-store" };
    let handler = get(move || async move {
        runs.fetch_add(1, Ordering::Relaxed);
        sleep(HANDLER).await;
        ([(CACHE_CONTROL, control)], "x".repeat(1024))
    });
    let layer = Cache::in_memory(64 << 20).layer().ttl(HOUR);
    let route = if page == Page::Bare { handler } else { handler.layer(layer) };
    Router::new().route("/page", route.clone()).route("/other", route)
}

async fn ask(app: Router, path: &str) {
    let request = Request::get(path).header("host", "www.example.com").body(Body::empty()).expect("a valid request");
    let Ok(response) = app.oneshot(request).await;
    response.into_body().collect().await.expect("a body that never fails");
}

fn percentile(mut durations: Vec<Duration>, percent: usize) -> Duration {
    durations.sort_unstable();
    durations[(durations.len() * percent / 100).min(durations.len() - 1)]
}
