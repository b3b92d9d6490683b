//! A thousand endless streams whose clients have left, and as many handlers that hang: what the misses of other routes take, and when all of
//! it has been given back.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use larder::{Cache, CacheStatus};
use larder_benches::HOUR;
use tokio::{
    task::JoinSet,
    time::{Interval, interval, sleep},
};
use tower::ServiceExt as _;

const ABANDONED: usize = 1024;
const MISSES: usize = 2000;

/// Counts the handlers and bodies that exist.
#[derive(Clone, Default)]
struct Live(Arc<AtomicUsize>);

struct Guard(Live);

impl Live {
    fn enter(&self) -> Guard {
        self.0.fetch_add(1, Ordering::Relaxed);
        Guard(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A line each second.
struct Endless {
    ticks: Interval,
    _guard: Guard,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.ticks.poll_tick(cx));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{}\n")))))
    }
}

#[tokio::main(worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time, it does not decide by it")]
async fn main() {
    let (live, cache) = (Live::default(), Cache::in_memory(64 << 20));
    let app = application(&cache, &live);
    println!("misses of another route, {MISSES} each, one after another");
    report("alone", &app).await;
    let began = Instant::now();
    abandon(&app).await;
    println!("left {} handlers and streams running; {} of them go on without a client", 2 * ABANDONED, live.count());
    report("beside what was abandoned", &app).await;
    while live.count() > 0 && began.elapsed() < Duration::from_secs(45) {
        sleep(Duration::from_millis(100)).await;
    }
    println!("after {:.1?} there were {}", began.elapsed(), live.count());
    let clients = hang(&app);
    sleep(Duration::from_millis(500)).await;
    println!("{} handlers hang whose clients wait", live.count());
    report("beside handlers that hang", &app).await;
    drop(clients);
}

fn application(cache: &Cache, live: &Live) -> Router {
    let layer = cache.layer().ttl(HOUR);
    let (streams, hangs) = (live.clone(), live.clone());
    let stream = move || async move {
        (
            [("content-type", "application/x-ndjson")],
            Body::new(Endless { ticks: interval(Duration::from_secs(1)), _guard: streams.enter() }),
        )
    };
    let hang = move || async move {
        let _guard = hangs.enter();
        std::future::pending::<()>().await;
    };
    Router::new()
        .route("/stream", get(stream).layer(layer.clone()))
        .route("/hang", get(hang).layer(layer.clone()))
        .route("/page", get(|| async { "page" }).layer(layer))
}

async fn abandon(app: &Router) {
    for client in 0..ABANDONED {
        drop(ask(app.clone(), format!("/stream?{client}")).await);
    }
    let clients = hang(app);
    sleep(Duration::from_millis(500)).await;
    drop(clients);
    sleep(Duration::from_millis(100)).await;
}

fn hang(app: &Router) -> JoinSet<Response<Body>> {
    (0..ABANDONED).map(|client| ask(app.clone(), format!("/hang?{client}"))).collect()
}

async fn ask(app: Router, uri: String) -> Response<Body> {
    let request = Request::get(uri).header("host", "example.com").body(Body::empty()).expect("a valid request");
    app.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Stops early where each of them takes long.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time, it does not decide by it")]
async fn report(what: &str, app: &Router) {
    let (began, mut times, mut stored) = (Instant::now(), Vec::new(), 0);
    while times.len() < MISSES && began.elapsed() < Duration::from_secs(20) {
        let asked = Instant::now();
        let response = ask(app.clone(), format!("/page?{what}-{}", times.len()).replace(' ', "-")).await;
        stored += usize::from(CacheStatus::of(&response).is_some_and(CacheStatus::is_stored));
        let _ = response.into_body().collect().await;
        times.push(asked.elapsed());
    }
    times.sort();
    let percentile = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{what:<28} p50 {:>9.1?}  p99 {:>9.1?}  max {:>9.1?}  stored {stored} of {}",
        percentile(50),
        percentile(99),
        percentile(100),
        times.len()
    );
}
