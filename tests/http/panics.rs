//! Handlers that panic and clients that leave: other clients are not affected, and no work is left half done.

use std::{
    convert::Infallible,
    future::poll_fn,
    panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{Router, body::Body, routing};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::task::{JoinSet, yield_now};
use tower::ServiceExt as _;

use crate::support::{Gate, Runs, answering, cache, get, minute, numbered, page, request, spawn_get};

/// Panics without noise, since it is planned.
fn panic_as_planned() -> ! {
    resume_unwind(Box::new("planned"))
}

async fn panics() -> String {
    panic_as_planned()
}

/// A body that has to be waited for after its first frame, and then panics.
#[derive(Debug, Default)]
struct HalfABody {
    polls: usize,
}

impl http_body::Body for HalfABody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls += 1;
        match self.polls {
            1 => Poll::Ready(Some(Ok(Frame::data("half".into())))),
            2 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => panic_as_planned(),
        }
    }
}

#[tokio::test]
async fn a_body_that_panics_does_not_look_whole() {
    let (cache, _) = cache();
    let app = page(minute(&cache), || async { Body::new(HalfABody::default()) });

    let response = app.oneshot(request(Method::GET, "/page", &[])).await.unwrap();
    let end = tokio::spawn(response.into_body().collect()).await;

    assert!(!matches!(end, Ok(Ok(_))), "half a body ended like a whole one");
}

#[tokio::test]
async fn a_write_goes_on_when_its_client_panics() {
    let (cache, _) = cache();
    let (runs, gate) = (Runs::default(), Gate::closed());
    // It has committed when it arrives at the gate, and has something left to do.
    let commit = {
        let gate = gate.clone();
        move || async move { gate.pass().await }
    };
    let app = Router::new().route("/page", routing::get(numbered(&runs)).put(commit).layer(minute(&cache)));
    get(&app, "/page").await;

    let client = tokio::spawn({
        let (app, gate) = (app.clone(), gate.clone());
        async move {
            let write = app.oneshot(request(Method::PUT, "/page", &[]));
            tokio::join!(write, async {
                gate.arrival().await;
                panic_as_planned()
            })
        }
    });
    assert!(client.await.unwrap_err().is_panic());
    gate.open(1);
    for _ in 0..10 {
        yield_now().await;
    }

    assert!(!get(&app, "/page").await.is_hit(), "the write was dropped halfway, and what it changed is still served");
}

#[tokio::test]
async fn a_panic_that_is_caught_further_out_is_not_repeated() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let (cache, _) = cache();
    let app = Router::new().route("/page", routing::put(panics).layer(minute(&cache)));
    let usual = Arc::new(panic::take_hook());
    panic::set_hook(Box::new({
        let usual = Arc::clone(&usual);
        move |info| {
            if info.payload_as_str().is_some_and(|message| message.contains("resumed after panicking")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            usual(info);
        }
    }));

    let mut write = Box::pin(app.oneshot(request(Method::PUT, "/page", &[])));
    let caught = poll_fn(|cx| Poll::Ready(catch_unwind(AssertUnwindSafe(|| write.as_mut().poll(cx))))).await;
    assert!(caught.is_err());
    drop(write);
    for _ in 0..10 {
        yield_now().await;
    }

    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "what had panicked was polled again");
}

#[tokio::test]
async fn client_that_leaves_blocks_no_other_client() {
    let ((cache, _), gate) = (cache(), Gate::closed());
    let door = gate.clone();
    let app = page(minute(&cache), move || async move {
        door.pass().await;
        "page"
    });
    let first = spawn_get(&app, "/page");
    gate.arrival().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.open(1);
    let waiting: JoinSet<_> = (0..50).map(|_| spawn_get(&app, "/page")).collect::<Vec<_>>().into_iter().collect();
    for answer in waiting.join_all().await {
        assert_eq!(answer.unwrap().status, StatusCode::OK);
    }
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn handler_that_panics_blocks_no_client_and_stores_nothing() {
    let runs = Runs::default();
    let handler = answering(move |_| match runs.begin() {
        1 => panic!("the first one does"),
        run => format!("run {run}"),
    });
    let app = page(minute(&cache().0), handler);
    assert!(spawn_get(&app, "/page").await.unwrap_err().is_panic());
    assert_eq!(get(&app, "/page").await.text(), "run 2");
    assert!(get(&app, "/page").await.is_hit());
}
