//! Every request is counted exactly once: those with an outcome and those in flight are those that entered.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Path,
    response::{IntoResponse as _, Response},
    routing,
};
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use larder::{Cache, Outcome, Stats};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinSet, yield_now},
};
use tower::{ServiceExt as _, service_fn};

use crate::support::{MINUTE, request, wire::serve};

fn ended(stats: &Stats) -> u64 {
    Outcome::ALL.iter().map(|outcome| stats.total().outcome(*outcome)).sum()
}

/// A small generator, so that a failure can be repeated by its seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Waits a little, and then answers, fails, panics or streams.
async fn act(Path(act): Path<u64>) -> Response {
    for _ in 0..act % 4 {
        yield_now().await;
    }
    match act {
        0 => std::panic::resume_unwind(Box::new("planned")),
        1 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        2 => StatusCode::NOT_FOUND.into_response(),
        3 | 4 => Body::new(SlowBody { polls: 0 }).into_response(),
        _ => format!("act {act}").into_response(),
    }
}

/// A body that lets other tasks run before each of its frames.
struct SlowBody {
    polls: usize,
}

impl http_body::Body for SlowBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls += 1;
        match self.polls {
            16 => Poll::Ready(None),
            polls if polls % 2 == 0 => Poll::Ready(Some(Ok(Frame::data("frame".into())))),
            _ => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

fn app(cache: &Cache) -> Router {
    let layer = cache
        .layer()
        .ttl(Duration::from_millis(20))
        .stale_while_revalidate(Duration::from_millis(20))
        .stale_if_error(Duration::from_millis(20))
        .soft_timeout(Duration::from_millis(1))
        .refresh_ahead(1.0)
        .bypass_if(|parts| {
            if parts.headers.contains_key("x-panic") {
                std::panic::resume_unwind(Box::new("planned"));
            }
            parts.headers.contains_key("x-bypass")
        });
    Router::new().route("/act/{act}", routing::any(act).layer(layer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn holds_for_requests_that_are_cancelled_fail_and_panic() {
    let cache = Cache::in_memory(1 << 20);
    let app = app(&cache);
    let entered = Arc::new(AtomicU64::new(0));
    // Counts what enters the layer, and nothing that is cancelled before.
    let counting = {
        let entered = Arc::clone(&entered);
        service_fn(move |request: axum::extract::Request| {
            let app = app.clone();
            entered.fetch_add(1, Ordering::SeqCst);
            app.oneshot(request)
        })
    };
    let mut clients = JoinSet::new();
    for seed in 0..12 {
        let counting = counting.clone();
        clients.spawn(async move {
            let mut draw = Draw(seed);
            for _ in 0..400 {
                let method = [Method::GET, Method::GET, Method::GET, Method::HEAD, Method::POST, Method::OPTIONS]
                    [draw.below(6) as usize]
                    .clone();
                let headers: &[_] = match draw.below(12) {
                    0 => &[("x-bypass", "1")],
                    1 => &[("x-panic", "1")],
                    2 => &[("cookie", "a=b")],
                    _ => &[],
                };
                let request = request(method, &format!("/act/{}", draw.below(10)), headers);
                let counting = counting.clone();
                let reads = draw.below(3);
                let asked = tokio::spawn(async move {
                    let mut body = counting.oneshot(request).await.unwrap().into_body();
                    for _ in 0..reads * 6 {
                        if body.frame().await.is_none() {
                            break;
                        }
                    }
                });
                if draw.below(3) == 0 {
                    for _ in 0..draw.below(4) {
                        yield_now().await;
                    }
                    asked.abort();
                }
                _ = asked.await;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
        // At any moment, none is counted twice and no number is negative.
        let stats = cache.stats();
        assert!(stats.requests() <= entered.load(Ordering::SeqCst), "{stats:?}");
    }
    let stats = cache.stats();
    assert_eq!((stats.requests(), stats.total().in_flight()), (entered.load(Ordering::SeqCst), 0), "{stats:?}");
    assert_eq!(ended(&stats), stats.requests());
    for outcome in [Outcome::Hit, Outcome::Miss, Outcome::Uncached, Outcome::Bypass, Outcome::Error, Outcome::Abandoned] {
        assert!(stats.total().outcome(outcome) > 0, "no request was {outcome:?}: {stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn holds_for_real_connections_some_of_which_break() {
    let cache = Cache::in_memory(1 << 20);
    let entered = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&entered);
    let app = app(&cache).layer(tower::layer::layer_fn(move |inner: routing::Route| {
        let entered = Arc::clone(&counting);
        service_fn(move |request: axum::extract::Request| {
            let inner = inner.clone();
            if request.uri().path() != "/end" {
                entered.fetch_add(1, Ordering::SeqCst);
            }
            inner.oneshot(request)
        })
    }));
    let address = serve(app).await;
    let mut clients = JoinSet::new();
    for seed in 100..112 {
        clients.spawn(async move {
            let mut draw = Draw(seed);
            for _ in 0..40 {
                let mut connection = TcpStream::connect(address).await.unwrap();
                let uri = draw.below(10);
                let request = format!("GET /act/{uri} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
                connection.write_all(request.as_bytes()).await.unwrap();
                if draw.below(3) > 0 {
                    _ = connection.read_to_end(&mut Vec::new()).await;
                }
            }
        });
    }
    clients.join_all().await;
    // Connections that broke are noticed by the server's tasks in their own time.
    let settled = async {
        loop {
            let stats = cache.stats();
            if stats.total().in_flight() == 0 && stats.requests() == entered.load(Ordering::SeqCst) && ended(&stats) > 240 {
                return stats;
            }
            yield_now().await;
        }
    };
    let stats = tokio::time::timeout(MINUTE, settled).await.expect("a request was not counted, or twice");
    assert_eq!(ended(&stats), stats.requests());
}
