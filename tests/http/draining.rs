//! A graceful shutdown waits for what must not be lost.

use std::time::Duration;

use axum::{
    Router,
    routing::{self, MethodRouter},
};
use http::Method;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::support::{
    ChannelBody, Gate, MINUTE, Runs, cache, first_streams, get, minute, numbered, page,
    paused::{settled, timed},
    send_empty,
};

const LIMIT: Duration = Duration::from_secs(10);

/// Answers a PUT once the door is open.
fn writing(door: &Gate) -> MethodRouter {
    let door = door.clone();
    routing::put(move || async move { door.pass().await })
}

#[tokio::test]
async fn a_write_whose_client_has_left_is_done_after_shutdown() {
    let (cache, _) = cache();
    let (runs, door) = (Runs::default(), Gate::closed());
    let app = Router::new().route("/page", writing(&door).get(numbered(&runs)).layer(minute(&cache)));
    get(&app, "/page").await;
    assert!(get(&app, "/page").await.is_hit());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, app.clone()).with_graceful_shutdown(async { _ = stopped.await });
    let server = tokio::spawn(server.into_future());
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"PUT /page HTTP/1.1\r\nhost: example.com\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    door.arrival().await;
    drop(client);
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    assert_eq!(cache.unfinished_work().writes, 1);
    assert!(get(&app, "/page").await.is_hit(), "the write has not ended");

    let draining = tokio::spawn(async move { cache.drain(LIMIT).await });
    door.open(1);
    let report = draining.await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.completed.writes, report.completed.invalidations), (1, 1));
    assert!(!get(&app, "/page").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn draining_ends_at_its_limit_and_says_what_is_left() {
    let (cache, _) = cache();
    let door = Gate::closed();
    let app = Router::new().route("/page", writing(&door).layer(minute(&cache.with_namespace("shop"))));
    let write = tokio::spawn(async move { send_empty(&app, Method::PUT, "/page").await });
    door.arrival().await;
    let (took, report) = timed(cache.drain(LIMIT)).await;
    assert_eq!(took, LIMIT);
    assert!(!report.is_complete());
    assert_eq!((report.unfinished.writes, report.completed.writes), (1, 0));
    assert_eq!(report.unfinished, cache.unfinished_work());
    door.open(1);
    write.await.unwrap();
    assert!(cache.unfinished_work().is_zero());
    let (took, report) = timed(cache.drain(Duration::MAX)).await;
    assert!(report.is_complete() && took.is_zero());
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_a_response_that_is_being_stored() {
    let (cache, _) = cache();
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache), first_streams(body));
    let first = tokio::spawn({
        let app = app.clone();
        async move { get(&app, "/page").await }
    });
    settled().await;
    assert_eq!(cache.unfinished_work().stores, 1);
    let draining = tokio::spawn({
        let cache = cache.clone();
        async move { cache.drain(LIMIT).await }
    });
    frames.send("whole");
    drop(frames);
    assert_eq!(first.await.unwrap().text(), "whole");
    assert_eq!(draining.await.unwrap().completed.stores, 1);
    assert_eq!(get(&app, "/page").await.text(), "whole");
}

#[tokio::test]
async fn no_refresh_is_started_once_draining_began() {
    let (cache, clock) = cache();
    let runs = Runs::default();
    let app = page(minute(&cache).stale_while_revalidate(MINUTE), numbered(&runs));
    get(&app, "/page").await;
    assert!(cache.drain(LIMIT).await.is_complete());
    clock.advance(MINUTE + Duration::from_secs(1));
    for _ in 0..3 {
        assert_eq!(get(&app, "/page").await.text(), "run 1");
        tokio::task::yield_now().await;
    }
    assert_eq!(runs.count(), 1);
}
