//! What waits and what runs is bounded, and no client can stand in the way of the others.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, handler::Handler, routing};
use http::Method;
use larder::{Memory, Reason};
use tokio::time::sleep;
use tower::ServiceExt as _;

use super::{WAIT_LIMIT, answers, ask_times};
use crate::support::{
    ChannelBody, Gate, MINUTE, Runs, cache, get, minute, page,
    paused::{settled, timed},
    request, spawn_get,
};

// Waiters.

/// A handler that lets its runs through the gate one by one.
fn gated(gate: &Gate, runs: &Runs) -> impl Handler<((),), ()> + use<> {
    let (gate, runs) = (gate.clone(), runs.clone());
    move || async move {
        let run = runs.begin();
        gate.pass().await;
        format!("run {run}")
    }
}

#[tokio::test(start_paused = true)]
async fn d5_of_ten_thousand_requests_behind_a_slow_handler_so_many_wait_as_may() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let app = page(minute(&cache.with_max_waiters(100, 1000)), gated(&gate, &runs));
    let asked = ask_times(10_000, &app, "/page");
    settled().await;
    assert_eq!(runs.count(), 10_000 - 100);

    gate.open(10_000);
    let answers = answers(asked).await;
    let alone = answers.iter().filter(|answer| answer.reason() == Some(Reason::WaitLimit)).count();
    let collapsed = answers.iter().filter(|answer| answer.cache.unwrap().is_collapsed()).count();
    assert_eq!((alone, collapsed), (10_000 - 100 - 1, 100));
    assert_eq!(get(&app, "/page").await.text(), "run 1");
}

#[tokio::test(start_paused = true)]
async fn d5_followers_of_all_keys_are_bounded_together() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let app = page(minute(&cache.with_max_waiters(100, 250)), gated(&gate, &runs));
    let asked = (0..2000).map(|number| spawn_get(&app, &format!("/page?x={}", number % 20))).collect();
    settled().await;
    assert_eq!(runs.count(), 2000 - 250);
    gate.open(2000);
    let answers = answers(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.cache.unwrap().is_collapsed()).count(), 250);
}

#[tokio::test(start_paused = true)]
async fn d5_follower_that_leaves_makes_room_for_another() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let app = page(minute(&cache.with_max_waiters(10, 10)), gated(&gate, &runs));
    let first = spawn_get(&app, "/page");
    settled().await;
    for _ in 0..20 {
        let waiting = ask_times(10, &app, "/page");
        settled().await;
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        settled().await;
    }
    assert_eq!(runs.count(), 1);
    let waiting = ask_times(10, &app, "/page");
    settled().await;
    gate.open(1);
    assert!(answers(waiting).await.iter().all(|answer| answer.text() == "run 1"));
    assert_eq!(first.await.unwrap().text(), "run 1");
}

/// A follower is no longer counted after its response, however the fetch ended.
#[tokio::test(start_paused = true)]
async fn d5_ended_fetch_leaves_no_follower_counted() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let handler = {
        let runs = runs.clone();
        move || async move {
            let run = runs.begin();
            sleep(Duration::from_millis(20)).await;
            assert!(run % 4 != 0, "some runs do not end well");
            let line = if run % 4 == 1 { "private" } else { "max-age=60" };
            ([("cache-control", line)], format!("run {run}"))
        }
    };
    let app = page(minute(&cache.with_max_waiters(10, 10)), handler);
    for number in 0..20 {
        for asked in ask_times(11, &app, &format!("/page?x={number}")) {
            let _ = asked.await;
        }
    }
    let before = runs.count();
    let uri = "/page?last";
    let asked = ask_times(11, &app, uri);
    settled().await;
    assert_eq!(runs.count(), before + 1);
    for asked in asked {
        let _ = asked.await;
    }
}

// Clients that leave.

#[tokio::test(start_paused = true)]
async fn d6_hundred_leaving_clients_do_not_keep_a_response_out_of_the_store() {
    let store = Arc::new(Memory::new(1 << 20));
    let (gate, runs) = (Gate::closed(), Runs::default());
    let app = page(minute(&larder::Cache::from_arc(store.clone())), gated(&gate, &runs));
    let mut waiting = Vec::new();
    for _ in 0..100 {
        let leaves = spawn_get(&app, "/page");
        waiting.push(spawn_get(&app, "/page"));
        settled().await;
        leaves.abort();
        settled().await;
    }
    assert_eq!(runs.count(), 1);
    gate.open(1);
    assert!(answers(waiting).await.iter().all(|answer| answer.text() == "run 1"));
    assert!(get(&app, "/page").await.is_hit());
    assert_eq!((runs.count(), store.entries()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn d6_each_of_a_hundred_fetches_ends_that_lost_its_client() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let app = page(minute(&cache).tags(["posts"]), gated(&gate, &runs));
    for run in 1..=100 {
        let leaves = spawn_get(&app, "/page");
        gate.arrival().await;
        let waiting = ask_times(3, &app, "/page");
        settled().await;
        leaves.abort();
        assert!(leaves.await.unwrap_err().is_cancelled());
        gate.open(1);
        assert!(answers(waiting).await.iter().all(|answer| answer.text() == format!("run {run}")));
        assert!(get(&app, "/page").await.is_hit());
        cache.invalidate_tags(["posts"]).await.unwrap();
    }
    assert_eq!(runs.count(), 100);
}

#[tokio::test(start_paused = true)]
async fn d6_bodies_of_clients_that_left_after_the_headers_are_stored() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let senders = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let (runs, senders) = (runs.clone(), senders.clone());
        move || async move {
            runs.begin();
            let (frames, body) = ChannelBody::new();
            senders.lock().unwrap().push(frames);
            Body::new(body)
        }
    };
    let app = page(minute(&cache).tags(["posts"]), handler);
    for round in 1..=100 {
        let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
        let waiting = ask_times(3, &app, "/page");
        settled().await;
        drop(response);
        settled().await;
        assert_eq!(runs.count(), round);
        let frames = senders.lock().unwrap().pop().unwrap();
        frames.send("whole ");
        settled().await;
        frames.send("page");
        drop(frames);
        assert!(answers(waiting).await.iter().all(|answer| answer.text() == "whole page"));
        assert!(get(&app, "/page").await.is_hit());
        cache.invalidate_tags(["posts"]).await.unwrap();
    }
}

// Fetches.

#[tokio::test(start_paused = true)]
async fn d12_cold_start_runs_max_fetches_in_order_of_arrival() {
    const LIMIT: usize = 10;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let begun = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let (running, most, begun) = (running.clone(), most.clone(), begun.clone());
        move |request: Request| async move {
            begun.lock().unwrap().push(request.uri().query().unwrap().parse::<usize>().unwrap());
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(20)).await;
            running.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let app = page(minute(&cache().0.with_max_fetches(LIMIT)), handler);
    // Three requests for each of 500 keys.
    let asked = (0..1500).map(|number| spawn_get(&app, &format!("/page?{}", number % 500))).collect();
    let (took, answers) = timed(answers(asked)).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_stored()).count(), 500);
    assert_eq!(most.load(Ordering::SeqCst), LIMIT);
    assert_eq!(*begun.lock().unwrap(), (0..500).collect::<Vec<_>>());
    assert!(took < WAIT_LIMIT, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn d12_a_miss_that_has_queued_for_too_long_runs_and_is_stored() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let app = page(minute(&cache.with_max_fetches(1)), gated(&gate, &runs));
    let first = spawn_get(&app, "/page?1");
    gate.arrival().await;
    let second = spawn_get(&app, "/page?2");
    sleep(WAIT_LIMIT - Duration::from_millis(1)).await;
    assert_eq!(runs.count(), 1);
    gate.arrival().await;
    // As nothing has moved, the next one does not queue at all.
    let third = spawn_get(&app, "/page?3");
    settled().await;
    assert_eq!(runs.count(), 3);
    gate.open(3);
    for asked in [first, second, third] {
        assert!(asked.await.unwrap().is_stored());
    }
    assert!(get(&app, "/page?2").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn d12_hits_and_unstorable_requests_need_no_place() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let handler = {
        let (gate, runs) = (gate.clone(), runs.clone());
        move |request: Request| async move {
            runs.begin();
            if request.uri().query() == Some("slow") {
                gate.pass().await;
            }
            [("cache-control", if request.uri().query() == Some("private") { "private" } else { "max-age=60" })]
        }
    };
    let layer = minute(&cache.with_max_fetches(1));
    let app = Router::new().route("/page", routing::any(handler).layer(layer));
    get(&app, "/page?hit").await;
    get(&app, "/page?private").await;
    let slow = spawn_get(&app, "/page?slow");
    gate.arrival().await;
    for (method, uri) in
        [(Method::GET, "/page?hit"), (Method::GET, "/page?private"), (Method::POST, "/page"), (Method::HEAD, "/page")]
    {
        let (took, response) = timed(app.clone().oneshot(request(method.clone(), uri, &[]))).await;
        response.unwrap();
        assert_eq!(took, Duration::ZERO, "{method} {uri}");
    }
    gate.open(1);
    slow.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn d12_a_place_is_given_back_however_the_fetch_ends() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let handler = {
        let runs = runs.clone();
        move |request: Request| async move {
            runs.begin();
            match request.uri().query().unwrap() {
                "panics" => panic!("this one does"),
                "never" => std::future::pending().await,
                "slow" => sleep(Duration::from_millis(20)).await,
                _ => {}
            }
            let (frames, body) = ChannelBody::new();
            frames.send("page");
            let line = if request.uri().query() == Some("private") { "private" } else { "max-age=60" };
            ([("cache-control", line)], Body::new(body))
        }
    };
    let app = page(minute(&cache.with_max_fetches(1)), handler);
    for end in ["panics", "private", "streams", "slow", "queues"] {
        let asked = spawn_get(&app, &format!("/page?{end}"));
        if end == "slow" {
            settled().await;
            asked.abort();
        }
        let _ = asked.await;
        let (took, answer) = timed(get(&app, &format!("/page?after-{end}"))).await;
        assert!(answer.is_stored(), "{end}");
        assert!(took <= Duration::from_millis(20), "{end}: {took:?}");
    }
    clock.advance(MINUTE);
}

/// Its client has left, and no other request waits for its response.
#[tokio::test(start_paused = true)]
async fn d12_a_request_that_leaves_the_queue_does_not_run() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let app = page(minute(&cache.with_max_fetches(1)), gated(&gate, &runs));
    let first = spawn_get(&app, "/page?1");
    gate.arrival().await;
    let queued: Vec<_> = (0..10).map(|number| spawn_get(&app, &format!("/page?left-{number}"))).collect();
    let last = spawn_get(&app, "/page?last");
    settled().await;
    queued.iter().for_each(tokio::task::JoinHandle::abort);
    settled().await;
    gate.open(2);
    assert_eq!(first.await.unwrap().text(), "run 1");
    assert_eq!(last.await.unwrap().text(), "run 2");
    assert_eq!(runs.count(), 2);
}

/// Clients that leave the queue do not lose the places of those who want the same.
#[tokio::test(start_paused = true)]
async fn d12_follower_takes_the_turn_of_a_leader_that_leaves() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let app = page(minute(&cache.with_max_fetches(1)), gated(&gate, &runs));
    let first = spawn_get(&app, "/page?1");
    gate.arrival().await;
    let leaves = spawn_get(&app, "/page?2");
    let waiting = ask_times(5, &app, "/page?2");
    settled().await;
    leaves.abort();
    settled().await;
    gate.open(2);
    first.await.unwrap();
    assert!(answers(waiting).await.iter().all(|answer| answer.text() == "run 2"));
    assert_eq!(runs.count(), 2);
}
