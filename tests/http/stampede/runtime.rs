//! Where fetches live: in a runtime that may end, or without any; and in the span that they began in.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use larder::CacheStatus;
use tokio::runtime::{Builder, Runtime};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tracing::{Event, Instrument as _, Metadata, Subscriber, info_span, span};
use tracing_core::span::Current;

use super::{answers, ask_times};
use crate::support::{
    ChannelBody, Gate, MINUTE, Runs, cache, get, logs::subscribe, minute, numbered, page, paused::settled, read, request,
    spawn_get,
};

// Shutdown.

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_all().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
    ]
}

#[test]
fn runtime_that_ends_during_fetches_releases_their_followers() {
    for runtime in runtimes() {
        let ((cache, clock), gate, runs) = (cache(), Gate::closed(), Runs::default());
        let handler = {
            let (gate, runs) = (gate.clone(), runs.clone());
            move || async move {
                let run = runs.begin();
                if run > 1 {
                    gate.pass().await;
                }
                format!("run {run}")
            }
        };
        let app = page(minute(&cache).stale_while_revalidate(MINUTE).tags(["posts"]), handler);
        // A background refresh, a fetch without its client, one with its client, and those who wait for it.
        runtime.block_on(async {
            get(&app, "/page?stale").await;
            clock.advance(MINUTE);
            assert!(get(&app, "/page?stale").await.is_hit());
            let leaves = spawn_get(&app, "/page?left");
            for _ in 0..2 {
                gate.arrival().await;
            }
            leaves.abort();
            drop(ask_times(50, &app, "/page"));
            gate.arrival().await;
        });
        drop(runtime);

        // Nothing of it stands in the way of those who come to the next one.
        let next = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        gate.open(3);
        let runs_before = runs.count();
        next.block_on(async {
            for uri in ["/page", "/page?left"] {
                let began = tokio::time::Instant::now();
                assert!(get(&app, uri).await.is_stored(), "{uri}");
                assert_eq!(began.elapsed(), Duration::ZERO);
            }
            assert!(get(&app, "/page?stale").await.is_hit());
            settled().await;
        });
        assert_eq!(runs.count(), runs_before + 3);
    }
}

#[test]
fn follower_in_another_runtime_fetches_when_the_leaders_runtime_ends() {
    for runtime in runtimes() {
        let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
        let handler = {
            let (gate, runs) = (gate.clone(), runs.clone());
            move || async move {
                let run = runs.begin();
                if run == 1 {
                    gate.pass().await;
                }
                format!("run {run}")
            }
        };
        let app = page(minute(&cache).wait_limit(100 * MINUTE), handler);
        runtime.block_on(async {
            drop(spawn_get(&app, "/page"));
            gate.arrival().await;
        });
        let other = Builder::new_current_thread().enable_all().build().unwrap();
        let answers = other.block_on(async {
            let asked = ask_times(10, &app, "/page");
            tokio::task::yield_now().await;
            assert_eq!(runs.count(), 1);
            // A runtime must not be dropped within another.
            thread::spawn(move || drop(runtime)).join().unwrap();
            answers(asked).await
        });
        let texts: Vec<_> = answers.iter().map(crate::support::Answer::text).collect();
        assert_eq!(texts, ["run 2"; 10]);
    }
}

// No runtime.

/// Drives a future on a thread that knows of no runtime.
fn without_runtime<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let drive = || {
        let mut future = pin!(future);
        for _ in 0..1000 {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return output;
            }
        }
        panic!("it waits for something that never comes");
    };
    thread::scope(|scope| scope.spawn(drive).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

#[test]
fn without_a_runtime_the_cache_stores_and_answers() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let layer = minute(&cache).stale_while_revalidate(MINUTE).stale_if_error(MINUTE).soft_timeout(MINUTE).refresh_ahead(1e9);
    let app = page(layer, numbered(&runs));
    for text in ["run 1", "run 1"] {
        assert_eq!(without_runtime(get(&app, "/page")).text(), text);
    }
    // Without tokio there is no refresh in the background.
    clock.advance(MINUTE);
    assert_eq!(without_runtime(get(&app, "/page")).text(), "run 1");
    clock.advance(MINUTE);
    assert_eq!(without_runtime(get(&app, "/page")).text(), "run 2");
    assert!(without_runtime(get(&app, "/page")).is_hit());
    let status = without_runtime(cache.refresh(app.clone(), request(Method::GET, "/page", &[]))).unwrap();
    assert!(status.unwrap().is_stored());
    assert_eq!(without_runtime(get(&app, "/page")).text(), "run 3");
}

#[test]
fn without_a_runtime_everybody_fetches_for_themselves() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let handler = {
        let (gate, runs) = (gate.clone(), runs.clone());
        move || async move {
            let run = runs.begin();
            gate.pass().await;
            format!("run {run}")
        }
    };
    let app = page(minute(&cache), handler);
    let texts = without_runtime(async {
        let mut asked: Vec<_> = (0..10).map(|_| Box::pin(get(&app, "/page"))).collect();
        let mut open = false;
        let mut texts = Vec::new();
        poll_fn(|cx| {
            asked.retain_mut(|asked| match asked.as_mut().poll(cx) {
                Poll::Ready(answer) => {
                    texts.push(answer.text().to_owned());
                    false
                }
                Poll::Pending => true,
            });
            if !open {
                assert_eq!(runs.count(), 10);
                gate.open(10);
                open = true;
            }
            if asked.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        texts
    });
    assert_eq!(texts.len(), 10);
    assert!(without_runtime(get(&app, "/page")).is_hit());
}

#[test]
fn without_a_runtime_a_streamed_body_is_forwarded() {
    let app = page(minute(&cache().0), || async {
        let (frames, body) = ChannelBody::new();
        frames.send("page");
        Body::new(body)
    });
    for _ in 0..2 {
        assert_eq!(without_runtime(get(&app, "/page")).text(), "page");
    }
}

/// Dropped there, it cannot continue, but no request may wait for it.
#[test]
fn without_a_runtime_a_client_may_leave() {
    let ((cache, _), gate) = (cache(), Gate::closed());
    let (runs, door) = (Runs::default(), gate.clone());
    let handler = move || async move {
        let run = runs.begin();
        if run == 1 {
            door.pass().await;
        }
        format!("run {run}")
    };
    let app = page(minute(&cache), handler);
    let mut leaves = Box::pin(get(&app, "/page"));
    assert!(leaves.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(leaves);
    assert_eq!(without_runtime(get(&app, "/page")).text(), "run 2");
}

/// A fetch that began in a runtime may be given up outside of it.
#[test]
fn fetch_dropped_outside_its_runtime_releases_its_followers() {
    let ((cache, _), gate) = (cache(), Gate::closed());
    let (runs, door) = (Runs::default(), gate.clone());
    let service = minute(&cache).layer(service_fn(move |_: Request| {
        let (run, gate) = (runs.begin(), door.clone());
        async move {
            if run == 1 {
                gate.pass().await;
            }
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(format!("run {run}"))))
        }
    }));
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let ask = || Box::pin(service.clone().oneshot(request(Method::GET, "/page", &[])));
    let mut first = ask();
    runtime.block_on(poll_fn(|cx| {
        assert!(first.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    }));
    drop(first);
    let response = runtime.block_on(ask()).unwrap();
    assert!(CacheStatus::of(&response).unwrap().is_stored());
    assert_eq!(runtime.block_on(response.into_body().collect()).unwrap().to_bytes(), "run 2");
}

// Spans.

/// Knows the name of the span that a thread is in, and nothing else.
#[derive(Debug, Clone, Default)]
struct Names {
    next: Arc<AtomicU64>,
    known: Arc<Mutex<Vec<&'static Metadata<'static>>>>,
}

thread_local! {
    static ENTERED: RefCell<Vec<span::Id>> = const { RefCell::new(Vec::new()) };
}

impl Subscriber for Names {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && !metadata.target().starts_with("larder")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut known = self.known.lock().unwrap();
        known.push(attributes.metadata());
        span::Id::from_u64(self.next.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &span::Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.clone()));
    }

    fn exit(&self, span: &span::Id) {
        ENTERED.with_borrow_mut(|entered| {
            let at = entered.iter().rposition(|other| other == span);
            at.map(|at| entered.remove(at));
        });
    }

    fn current_span(&self) -> Current {
        let innermost = ENTERED.with_borrow(|entered| entered.last().cloned());
        let metadata = |id: &span::Id| self.known.lock().unwrap()[usize::try_from(id.into_u64()).unwrap() - 1];
        innermost.map_or_else(Current::none, |id| {
            let metadata = metadata(&id);
            Current::new(id, metadata)
        })
    }
}

/// The name of the span that the caller is in.
fn span_name() -> Option<&'static str> {
    tracing::Span::current().metadata().map(Metadata::name)
}

/// A page that says within which span its handler began, and within which it ended.
fn telling_spans(gate: &Gate, seen: &Arc<Mutex<Vec<[Option<&'static str>; 2]>>>, layer: larder::CacheLayer) -> Router {
    let (gate, seen) = (gate.clone(), seen.clone());
    page(layer, move || async move {
        let began = span_name();
        gate.pass().await;
        seen.lock().unwrap().push([began, span_name()]);
    })
}

#[tokio::test(start_paused = true)]
async fn abandoned_fetch_stays_in_the_span_of_its_request() {
    let _guard = subscribe(Names::default());
    let (gate, seen) = (Gate::closed(), Arc::default());
    let app = telling_spans(&gate, &seen, minute(&cache().0));
    let asking = app.clone();
    let leaves = tokio::spawn(async move { get(&asking, "/page").await }.instrument(info_span!("request")));
    gate.arrival().await;
    leaves.abort();
    settled().await;
    gate.open(1);
    settled().await;
    assert_eq!(*seen.lock().unwrap(), [[Some("request"); 2]]);
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn a_background_refresh_stays_in_the_span_of_the_request_that_began_it() {
    let _guard = subscribe(Names::default());
    let ((cache, clock), gate, seen) = (cache(), Gate::closed(), Arc::default());
    let app = telling_spans(&gate, &seen, minute(&cache).stale_while_revalidate(MINUTE));
    gate.open(1);
    get(&app, "/page").instrument(info_span!("first")).await;
    clock.advance(MINUTE);
    assert!(get(&app, "/page").instrument(info_span!("second")).await.is_hit());
    gate.open(1);
    settled().await;
    assert_eq!(*seen.lock().unwrap(), [[Some("first"); 2], [Some("second"); 2]]);
}

#[tokio::test(start_paused = true)]
async fn fetch_behind_a_stale_response_stays_in_the_span_of_its_request() {
    let _guard = subscribe(Names::default());
    let ((cache, clock), gate, seen) = (cache(), Gate::closed(), Arc::default());
    let layer = minute(&cache).stale_if_error(MINUTE).soft_timeout(Duration::from_millis(100));
    let app = telling_spans(&gate, &seen, layer);
    gate.open(1);
    get(&app, "/page").instrument(info_span!("first")).await;
    clock.advance(MINUTE);
    get(&app, "/page").instrument(info_span!("second")).await;
    gate.open(1);
    settled().await;
    assert_eq!(*seen.lock().unwrap(), [[Some("first"); 2], [Some("second"); 2]]);
}

/// The body is read in the span of its request too.
#[tokio::test(start_paused = true)]
async fn a_streamed_body_is_read_in_the_span_of_its_request() {
    let _guard = subscribe(Names::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let app = {
        let seen = seen.clone();
        page(minute(&cache().0), move || async move { Body::new(Telling { seen, left: 3 }) })
    };
    let response = app.oneshot(request(Method::GET, "/page", &[])).instrument(info_span!("request")).await.unwrap();
    assert_eq!(read(response).await.text(), "...");
    assert_eq!(*seen.lock().unwrap(), [Some("request"); 4]);
}

/// A body that tells in which span it is read.
struct Telling {
    seen: Arc<Mutex<Vec<Option<&'static str>>>>,
    left: usize,
}

impl http_body::Body for Telling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.seen.lock().unwrap().push(span_name());
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b".")))))
    }
}
