//! A runtime without tokio's timer: requests are answered, and nothing panics.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, Bytes},
    routing,
};
use http::Method;
use larder::{Cache, Reason};
use tokio::runtime::{Builder, Runtime};

use crate::support::{
    Answer, ChannelBody, Gate, MINUTE, Runs, cache, get, logs::Logs, minute, numbered, page, request, send, send_empty, spawn_get,
};

fn runtimes() -> [Runtime; 2] {
    [Builder::new_current_thread().build().unwrap(), Builder::new_multi_thread().worker_threads(2).build().unwrap()]
}

#[test]
fn pages_are_stored_and_the_log_says_what_is_missing() {
    for runtime in runtimes() {
        let ((cache, clock), runs) = (cache(), Runs::default());
        let layer = minute(&cache).stale_while_revalidate(MINUTE).stale_if_error(MINUTE).soft_timeout(MINUTE).refresh_ahead(1e9);
        let app = page(layer, numbered(&runs));
        let (logs, _guard) = Logs::collect();
        runtime.block_on(async {
            assert!(get(&app, "/page").await.is_stored());
            // It is not refreshed in the background, neither ahead nor when it is stale.
            assert!(get(&app, "/page").await.is_hit());
            clock.advance(MINUTE);
            assert_eq!(get(&app, "/page").await.text(), "run 1");
            clock.advance(MINUTE);
            assert_eq!(get(&app, "/page").await.text(), "run 2");
        });
        let lines = logs.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("`enable_time`"), "{lines:?}");
    }
}

#[test]
fn concurrent_requests_fetch_for_themselves() {
    for runtime in runtimes() {
        let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
        let (door, begun) = (gate.clone(), runs.clone());
        let app = page(minute(&cache), move || {
            let (run, door) = (begun.begin(), door.clone());
            async move {
                door.pass().await;
                format!("run {run}")
            }
        });
        runtime.block_on(async {
            let asked: Vec<_> = (0..10).map(|_| spawn_get(&app, "/page")).collect();
            for _ in 0..10 {
                gate.arrival().await;
            }
            gate.open(10);
            for answer in asked {
                assert!(answer.await.unwrap().text().starts_with("run "));
            }
            assert!(get(&app, "/page").await.is_hit());
        });
        assert_eq!(runs.count(), 10);
    }
}

/// An application that streams what a test sends.
fn streaming(cache: &Cache, body: ChannelBody) -> Router {
    page(minute(cache), crate::support::first_streams(body))
}

#[test]
fn body_without_a_length_is_forwarded() {
    for runtime in runtimes() {
        let ((cache, _), (frames, body)) = (cache(), ChannelBody::new());
        let app = streaming(&cache, body);
        runtime.block_on(async {
            let asked = spawn_get(&app, "/page");
            for piece in ["one ", "two"] {
                frames.send(piece);
                tokio::task::yield_now().await;
            }
            drop(frames);
            let answer: Answer = asked.await.unwrap();
            assert_eq!((answer.text(), answer.reason()), ("one two", Some(Reason::Incomplete)));
            assert_eq!(get(&app, "/page").await.text(), "later");
        });
    }
}

#[test]
fn request_whose_body_comes_late_is_answered() {
    for runtime in runtimes() {
        let ((cache, _), (frames, body)) = (cache(), ChannelBody::new());
        let app = page(minute(&cache), numbered(&Runs::default()));
        runtime.block_on(async {
            let mut late = request(Method::GET, "/page", &[]);
            *late.body_mut() = Body::new(body);
            let asked = tokio::spawn(async move { send(&app, late).await });
            tokio::task::yield_now().await;
            frames.send(Bytes::new());
            drop(frames);
            assert_eq!(asked.await.unwrap().text(), "run 1");
        });
    }
}

#[test]
fn write_goes_on_after_its_client_has_left_and_a_shutdown_waits_for_it() {
    for runtime in runtimes() {
        let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
        let (door, done) = (gate.clone(), runs.clone());
        let put = move || {
            let (door, done) = (door.clone(), done.clone());
            async move {
                door.pass().await;
                done.begin();
            }
        };
        let app = Router::new().route("/page", routing::put(put).layer(minute(&cache)));
        runtime.block_on(async {
            let write = tokio::spawn(async move { send_empty(&app, Method::PUT, "/page").await });
            gate.arrival().await;
            write.abort();
            assert!(write.await.unwrap_err().is_cancelled());
            assert_eq!(cache.unfinished_work().writes, 1);
            gate.open(1);
            assert!(cache.drain(Duration::from_secs(20)).await.is_complete());
        });
        assert_eq!(runs.count(), 1);
    }
}

#[test]
fn client_may_leave_a_fetch() {
    for runtime in runtimes() {
        let ((cache, _), gate) = (cache(), Gate::closed());
        let (door, runs) = (gate.clone(), Runs::default());
        let app = page(minute(&cache), move || {
            let (run, door) = (runs.begin(), door.clone());
            async move {
                if run == 1 {
                    door.pass().await;
                }
                format!("run {run}")
            }
        });
        runtime.block_on(async {
            let leaves = spawn_get(&app, "/page");
            gate.arrival().await;
            leaves.abort();
            assert!(leaves.await.unwrap_err().is_cancelled());
            assert_eq!(get(&app, "/page").await.text(), "run 2");
        });
    }
}

#[test]
fn remote_store_is_refused_with_an_explanation() {
    for runtime in runtimes() {
        for url in
            ["redis://127.0.0.1:1", "tiered+redis://127.0.0.1:1", "memcached://127.0.0.1:1", "tiered+memcached://127.0.0.1:1"]
        {
            if url.contains("redis") && !cfg!(feature = "redis") || url.contains("memcached") && !cfg!(feature = "memcached") {
                continue;
            }
            let error = runtime.block_on(Cache::connect(url)).unwrap_err();
            assert!(error.is_invalid_input() && error.to_string().contains("`enable_time`"), "{url}: {error}");
        }
    }
}
