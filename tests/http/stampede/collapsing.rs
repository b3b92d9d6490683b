//! Who shares a run of the handler, and who has one to itself.

use std::{
    collections::HashSet,
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    handler::Handler,
    response::{IntoResponseParts, Response},
    routing,
};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::Full;
use larder::{CacheStatus, Forward, Reason};
use tokio::{
    sync::Barrier,
    time::{sleep, timeout},
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{WAIT_LIMIT, answers, ask_times};
use crate::support::{
    Answer, ChannelBody, Frames, Gate, MINUTE, Runs, cache, fields, get, get_with, minute, numbered, page,
    paused::{settled, timed},
    read, request, send, spawn_get,
};

const HANDLER: Duration = Duration::from_millis(20);

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_for_a_cold_key_are_one_run() {
    let runs = Runs::default();
    let app = page(minute(&cache().0), slow(&runs));
    let (took, answers) = timed(answers(ask_times(1000, &app, "/page"))).await;

    assert_eq!(runs.count(), 1);
    assert!(answers.iter().all(|answer| answer.text() == "run 1"));
    assert!(took < HANDLER + Duration::from_millis(2), "{took:?}");
    let collapsed = |answer: &&Answer| answer.cache.unwrap().is_collapsed();
    assert_eq!(answers.iter().filter(collapsed).count(), 999);
    assert_eq!(answers.iter().filter(|answer| answer.is_stored()).count(), 1);
    assert!(answers.iter().all(|answer| answer.forward() == Some(Forward::UriMiss)));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_for_an_expired_key_are_one_run() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let app = page(minute(&cache), slow(&runs));
    get(&app, "/page").await;
    clock.advance(MINUTE);
    let answers = answers(ask_times(1000, &app, "/page")).await;

    assert_eq!(runs.count(), 2);
    assert!(answers.iter().all(|answer| answer.text() == "run 2" && answer.forward() == Some(Forward::Stale)));
}

#[tokio::test(start_paused = true)]
async fn requests_for_different_keys_do_not_wait_for_each_other() {
    let runs = Runs::default();
    let app = page(minute(&cache().0), slow(&runs));
    let asked = (0..100).map(|number| spawn_get(&app, &format!("/page?x={number}"))).collect();
    let (took, _) = timed(answers(asked)).await;
    assert_eq!(runs.count(), 100);
    assert!(took < HANDLER + Duration::from_millis(2), "{took:?}");
}

fn slow(runs: &Runs) -> impl Handler<((),), ()> + use<> {
    let runs = runs.clone();
    move || async move {
        let run = runs.begin();
        sleep(HANDLER).await;
        format!("run {run}")
    }
}

// What cannot be shared.

/// A page that is not stored, whose handlers end only when so many of them run at once.
fn meeting(runs: &Runs, together: usize) -> impl Handler<((),), ()> + use<> {
    let (runs, barrier) = (runs.clone(), Arc::new(Barrier::new(together)));
    move || async move {
        let run = runs.begin();
        // The first runs alone: its response is not known to be uncacheable yet.
        if run > 1 {
            barrier.wait().await;
        }
        ([("cache-control", "no-store")], format!("run {run}"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_for_a_url_known_as_uncacheable_run_at_once() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let app = page(minute(&cache), meeting(&runs, 1000));
    get(&app, "/page").await;
    for (round, later) in [0, 119].into_iter().enumerate() {
        clock.advance(Duration::from_secs(later));
        let (took, answers) = timed(timeout(WAIT_LIMIT, answers(ask_times(1000, &app, "/page")))).await;
        let answers = answers.expect("one waits for another");
        assert_eq!(took, Duration::ZERO);
        assert_eq!(runs.count(), 1 + 1000 * (round + 1));
        assert!(answers.iter().all(|answer| answer.reason() == Some(Reason::NoStore)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_uncacheable_answer_releases_everybody_at_once() {
    let runs = Runs::default();
    let app = page(minute(&cache().0), meeting(&runs, 999));
    let (took, answers) = timed(timeout(WAIT_LIMIT, answers(ask_times(1000, &app, "/page")))).await;
    assert_eq!(distinct(&answers.expect("one waits for another")), 1000);
    assert_eq!(took, Duration::ZERO);
}

fn distinct(answers: &[Answer]) -> usize {
    answers.iter().map(Answer::text).collect::<HashSet<_>>().len()
}

#[tokio::test(start_paused = true)]
async fn an_uncacheable_url_is_forgotten_after_two_minutes() {
    let ((cache, clock), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let app = page(minute(&cache), at_the_gate(&gate, &runs, |_| [("cache-control", "no-store")]));
    gate.open(1);
    get(&app, "/page").await;
    clock.advance(2 * MINUTE);

    let asked = ask_times(10, &app, "/page");
    settled().await;
    assert_eq!(runs.count(), 2);
    gate.open(10);
    assert_eq!(distinct(&answers(asked).await), 10);
}

#[tokio::test(start_paused = true)]
async fn an_uncacheable_url_is_forgotten_as_soon_as_something_is_stored_for_it() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let handler = at_the_gate(&gate, &runs, |run| [("cache-control", if run == 1 { "no-store" } else { "max-age=60" })]);
    let app = page(minute(&cache).tags(["posts"]), handler);
    gate.open(2);
    for _ in 0..2 {
        get(&app, "/page").await;
    }
    assert!(get(&app, "/page").await.is_hit());

    cache.invalidate_tags(["posts"]).await.unwrap();
    let asked = ask_times(10, &app, "/page");
    settled().await;
    gate.open(10);
    assert!(answers(asked).await.iter().all(|answer| answer.text() == "run 3"));
    assert_eq!(runs.count(), 3);
}

/// A handler that lets its run through the gate, and answers under the fields that `of` gives to that run.
fn at_the_gate<F>(gate: &Gate, runs: &Runs, of: impl Fn(usize) -> F + Clone + Send + Sync + 'static) -> impl Handler<((),), ()>
where
    F: IntoResponseParts + Send + 'static,
{
    let (gate, runs) = (gate.clone(), runs.clone());
    move || async move {
        let run = runs.begin();
        gate.pass().await;
        (of(run), format!("run {run}"))
    }
}

#[tokio::test(start_paused = true)]
async fn p10_followers_do_not_get_the_leaders_private_response() {
    for line in [("cache-control", "private"), ("cache-control", "no-cache"), ("set-cookie", "sid=1"), ("vary", "*")] {
        let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
        let app = page(minute(&cache), at_the_gate(&gate, &runs, move |_| [line]));
        let asked = ask_times(50, &app, "/page");
        settled().await;
        assert_eq!(runs.count(), 1);
        gate.open(50);
        assert_eq!(distinct(&answers(asked).await), 50, "{line:?}");
        assert_eq!(runs.count(), 50);
    }
}

/// Whatever shows only when the body passes shows too late for the header of this answer, but not for the next request.
#[tokio::test(start_paused = true)]
async fn url_with_uncacheable_streams_has_no_followers() {
    for trouble in ["too large", "trailers"] {
        let (bodies, handler) = streams();
        let app = page(minute(&cache().0).max_body(100), handler);
        let first = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
        let frames = bodies.lock().unwrap().remove(0);
        match trouble {
            "trailers" => frames.send_trailers(&[("x-checksum", "1")]),
            _ => frames.send("x".repeat(101)),
        }
        drop(frames);
        read(first).await;

        let (waiting, _) = (ask_times(3, &app, "/page"), settled().await);
        assert_eq!(bodies.lock().unwrap().len(), 3, "{trouble}");
        bodies.lock().unwrap().clear();
        answers(waiting).await;
    }
}

type Bodies = Arc<Mutex<Vec<Frames>>>;

/// A handler whose bodies are all in the hands of the test.
fn streams() -> (Bodies, impl Handler<((),), ()>) {
    let bodies = Bodies::default();
    let begun = bodies.clone();
    let handler = move || {
        let (frames, body) = ChannelBody::new();
        begun.lock().unwrap().push(frames);
        ready(Body::new(body))
    };
    (bodies, handler)
}

/// It is stored, to be validated or to be used during a refresh, but it answers no follower.
#[tokio::test(start_paused = true)]
async fn followers_of_a_response_stale_on_arrival_do_not_fetch_in_turn() {
    let stale: [&[(&str, &str)]; 3] = [
        &[("cache-control", "no-cache"), ("etag", "\"1\"")],
        &[("cache-control", "max-age=0"), ("etag", "\"1\"")],
        &[("cache-control", "max-age=0, stale-while-revalidate=60")],
    ];
    for lines in stale {
        let handler = move || async move {
            sleep(HANDLER).await;
            (fields(lines), "page")
        };
        let app = page(cache().0.layer(), handler);
        let (took, answers) = timed(answers(ask_times(100, &app, "/page"))).await;
        assert!(answers.iter().all(|answer| answer.text() == "page"));
        assert!(took < 3 * HANDLER, "{lines:?} took {took:?}");
    }
}

// Who does not join.

#[tokio::test(start_paused = true)]
async fn a_request_that_may_not_share_does_not_wait_for_one_that_does() {
    let strangers: [(Method, &[(&str, &str)]); 5] = [
        (Method::HEAD, &[]),
        (Method::GET, &[("authorization", "alice")]),
        (Method::GET, &[("cookie", "sid=1")]),
        (Method::GET, &[("cache-control", "no-store")]),
        (Method::POST, &[]),
    ];
    for (method, lines) in strangers {
        let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
        let handler = {
            let (gate, runs) = (gate.clone(), runs.clone());
            move || async move {
                let run = runs.begin();
                if run == 1 {
                    gate.pass().await;
                }
                ([("x-run", run.to_string())], format!("run {run}"))
            }
        };
        let app = Router::new().route("/page", routing::any(handler).layer(minute(&cache)));
        let first = spawn_get(&app, "/page");
        gate.arrival().await;

        let (took, answer) = timed(send(&app, request(method.clone(), "/page", lines))).await;
        assert_eq!(answer.header("x-run"), Some("2"), "{method} {lines:?}");
        assert_eq!(took, Duration::ZERO, "{method} {lines:?}");
        gate.open(1);
        assert_eq!(first.await.unwrap().text(), "run 1");
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_waits_for_one_that_may_not_share() {
    let strangers: [(Method, &[(&str, &str)]); 3] =
        [(Method::HEAD, &[]), (Method::GET, &[("authorization", "alice")]), (Method::GET, &[("cache-control", "no-store")])];
    for (method, lines) in strangers {
        let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
        let app = page(minute(&cache), gated_first(&gate, &runs));
        let first = tokio::spawn(app.clone().oneshot(request(method.clone(), "/page", lines)));
        gate.arrival().await;

        let (took, answer) = timed(get(&app, "/page")).await;
        assert_eq!((answer.text(), answer.is_stored(), took), ("run 2", true, Duration::ZERO), "{method} {lines:?}");
        gate.open(1);
        first.await.unwrap().unwrap();
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{method} {lines:?}");
    }
}

/// A handler whose first run waits at the gate; later ones answer at once.
fn gated_first(gate: &Gate, runs: &Runs) -> impl Handler<((),), ()> + use<> {
    let (gate, runs) = (gate.clone(), runs.clone());
    move || async move {
        let run = runs.begin();
        if run == 1 {
            gate.pass().await;
        }
        format!("run {run}")
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_without_collapsing_runs_every_handler_at_once() {
    let (runs, barrier) = (Runs::default(), Arc::new(Barrier::new(100)));
    let handler = {
        let runs = runs.clone();
        move || async move {
            barrier.wait().await;
            format!("run {}", runs.begin())
        }
    };
    let app = page(minute(&cache().0).collapse(false), handler);
    let (took, answers) = timed(timeout(WAIT_LIMIT, answers(ask_times(100, &app, "/page")))).await;
    assert_eq!(distinct(&answers.expect("one waits for another")), 100);
    assert_eq!((runs.count(), took), (100, Duration::ZERO));
    assert!(get(&app, "/page").await.is_hit());
}

// How long.

#[tokio::test(start_paused = true)]
async fn one_waiting_request_runs_the_handler_as_well_after_the_wait_limit() {
    for limit in [None, Some(Duration::from_millis(100)), Some(5 * MINUTE)] {
        let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
        let layer = minute(&cache);
        let layer = limit.map_or(layer.clone(), |limit| layer.wait_limit(limit));
        let app = page(layer, gated_first(&gate, &runs));
        let first = spawn_get(&app, "/page");
        gate.arrival().await;

        let (took, answers) = timed(answers(ask_times(50, &app, "/page"))).await;
        assert!(answers.iter().all(|answer| answer.text() == "run 2"));
        assert_eq!(answers.iter().filter(|answer| answer.is_stored()).count(), 1);
        assert_eq!(took, limit.unwrap_or(WAIT_LIMIT));
        assert!(get(&app, "/page").await.is_hit());

        gate.open(1);
        assert!(first.await.unwrap().is_stored());
        assert!(get(&app, "/page").await.is_hit());
        assert_eq!(runs.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_handler_runs_twice_for_fifty_requests() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let handler = {
        let runs = runs.clone();
        move || async move {
            let run = runs.begin();
            sleep(Duration::from_secs(3)).await;
            format!("run {run}")
        }
    };
    let app = page(minute(&cache), handler);
    let (took, answers) = timed(answers(ask_times(50, &app, "/page"))).await;
    // All but the request that overtakes are answered by the first run, which ends first.
    assert_eq!(answers.iter().filter(|answer| answer.text() == "run 1").count(), 49);
    assert_eq!((runs.count(), took), (2, Duration::from_secs(5)));
}

/// A run that hangs delays the requests that wait for it by the wait limit, however many there are.
#[tokio::test(start_paused = true)]
async fn each_wait_limit_begins_one_more_run_while_all_hang() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let app = page(minute(&cache), {
        let (gate, runs) = (gate.clone(), runs.clone());
        move || async move {
            let run = runs.begin();
            gate.pass().await;
            format!("run {run}")
        }
    });
    let asked = ask_times(50, &app, "/page");
    for limits in 1..=5 {
        sleep(WAIT_LIMIT).await;
        settled().await;
        assert_eq!(runs.count(), 1 + limits);
    }
    gate.open(1);
    let answered = timeout(WAIT_LIMIT / 2, async {
        while runs.count() < 6 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert!(answered.is_ok());
    settled().await;
    let done = asked.iter().filter(|asked| asked.is_finished()).count();
    // The run that has ended, and every request that waited; the other five requests lead runs that hang.
    assert_eq!(done, 45);
}

#[tokio::test(start_paused = true)]
async fn the_longest_limits_there_are_do_no_harm() {
    let ((cache, clock), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let layer = minute(&cache).wait_limit(Duration::MAX).soft_timeout(Duration::MAX).stale_while_revalidate(MINUTE);
    let app = page(layer, gated_first(&gate, &runs));
    let first = spawn_get(&app, "/page");
    gate.arrival().await;
    let waiting = spawn_get(&app, "/page");
    tokio::task::yield_now().await;
    gate.open(1);
    assert!(first.await.unwrap().is_stored());
    assert_eq!(waiting.await.unwrap().text(), "run 1");

    // Past the window, so that a request waits for the handler, and might do with what is stale.
    clock.advance(3 * MINUTE);
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

/// Whatever happens meanwhile: the limit counts from the request's arrival.
#[tokio::test(start_paused = true)]
async fn wait_limit_spans_all_fetches() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let handler = {
        let runs = runs.clone();
        move || async move {
            let run = runs.begin();
            sleep(Duration::from_millis(900)).await;
            if run < 10 {
                panic!("run {run} does not end well");
            }
            format!("run {run}")
        }
    };
    let app = page(minute(&cache), handler);
    let asked = ask_times(4, &app, "/page");
    sleep(WAIT_LIMIT + Duration::from_millis(1)).await;
    // Three have led in turn; the last one has had enough.
    assert_eq!(runs.count(), 4);
    for asked in asked {
        assert!(asked.await.unwrap_err().is_panic());
    }
}

/// What it brought would be stale when it came.
#[tokio::test(start_paused = true)]
async fn request_after_a_soft_expiry_does_not_join_an_older_fetch() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let layer = minute(&cache).tags(["posts"]);
    let app = Router::new()
        .route("/other", routing::get(|| async {}).layer(layer.clone()))
        .route("/slow", routing::get(gated_first(&gate, &runs)).layer(layer));
    // From here on the layer's tags are known as all there are.
    get(&app, "/other").await;
    let first = spawn_get(&app, "/slow");
    gate.arrival().await;

    cache.expire_tags(["posts"]).await.unwrap();
    let (took, answer) = timed(get(&app, "/slow")).await;
    assert_eq!((answer.text(), took), ("run 2", Duration::ZERO));
    gate.open(1);
    assert_eq!(first.await.unwrap().text(), "run 1");
    assert_eq!(get(&app, "/slow").await.text(), "run 2");
}

// Leaders that fail.

/// A brief memory of failures, for a handler that should not run again for each request behind it.
#[tokio::test(start_paused = true)]
async fn failure_with_a_lifetime_of_its_own_is_one_run_for_all() {
    let layers =
        [(minute(&cache().0), 101), (minute(&cache().0).ttl_for(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(1)), 1)];
    for (layer, expected) in layers {
        let runs = Runs::default();
        let begun = runs.clone();
        let app = page(layer, move || {
            begun.begin();
            async {
                sleep(HANDLER).await;
                (StatusCode::SERVICE_UNAVAILABLE, "down")
            }
        });
        let answers = answers(ask_times(100, &app, "/page")).await;
        assert!(answers.iter().all(|answer| answer.status == StatusCode::SERVICE_UNAVAILABLE));
        get(&app, "/page").await;
        assert_eq!(runs.count(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_followed_by_exactly_one_more_run() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let handler = {
        let (gate, runs) = (gate.clone(), runs.clone());
        move || async move {
            let run = runs.begin();
            gate.pass().await;
            assert!(run > 2, "run {run} does not end well");
            format!("run {run}")
        }
    };
    let app = page(minute(&cache), handler);
    let asked = ask_times(50, &app, "/page");
    for run in 1..=3 {
        settled().await;
        assert_eq!(runs.count(), run);
        gate.open(1);
    }
    let (mut panics, mut shared) = (0, 0);
    for asked in asked {
        match asked.await {
            Ok(answer) => shared += usize::from(answer.text() == "run 3"),
            Err(error) => panics += usize::from(error.is_panic()),
        }
    }
    assert_eq!((panics, shared, runs.count()), (2, 48, 3));
}

/// However quick that one is.
#[tokio::test(start_paused = true)]
async fn fetch_without_a_result_is_followed_by_exactly_one() {
    for invalidated in [false, true] {
        let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
        let handler = {
            let (gate, runs) = (gate.clone(), runs.clone());
            move || async move {
                let run = runs.begin();
                if run == 1 {
                    gate.pass().await;
                    assert!(invalidated, "run 1 does not end well");
                }
                format!("run {run}")
            }
        };
        let app = page(minute(&cache).tags(["posts"]), handler);
        let first = spawn_get(&app, "/page");
        let asked = ask_times(50, &app, "/page");
        settled().await;
        if invalidated {
            cache.invalidate_tags(["posts"]).await.unwrap();
        }
        gate.open(1);
        assert_eq!(first.await.is_err(), !invalidated);
        assert_eq!(distinct(&answers(asked).await), 1);
        assert_eq!(runs.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_service_is_followed_by_exactly_one_more_run() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let service = {
        let (gate, runs) = (gate.clone(), runs.clone());
        minute(&cache).layer(service_fn(move |_: Request| {
            let (gate, run) = (gate.clone(), runs.begin());
            async move {
                gate.pass().await;
                match run {
                    1 => Err("the handler's own error"),
                    run => Ok(Response::new(Full::<Bytes>::from(format!("run {run}")))),
                }
            }
        }))
    };
    let ask = || tokio::spawn(service.clone().oneshot(request(Method::GET, "/page", &[])));
    let asked: Vec<_> = (0..50).map(|_| ask()).collect();
    for run in 1..=2 {
        settled().await;
        assert_eq!(runs.count(), run);
        gate.open(1);
    }
    let (mut errors, mut collapsed) = (0, 0);
    for asked in asked {
        match asked.await.unwrap() {
            Ok(response) => collapsed += usize::from(CacheStatus::of(&response).unwrap().is_collapsed()),
            Err(error) => errors += usize::from(error == "the handler's own error"),
        }
    }
    assert_eq!((errors, collapsed, runs.count()), (1, 48, 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_varies_is_fetched_once_for_each_variant() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let handler = {
        let (gate, runs) = (gate.clone(), runs.clone());
        move |request: Request| {
            let (gate, runs) = (gate.clone(), runs.clone());
            async move {
                runs.begin();
                gate.pass().await;
                let language = request.headers()["accept-language"].to_str().unwrap().to_owned();
                (fields(&[("vary", "accept-language")]), language)
            }
        }
    };
    let app = page(minute(&cache), handler);
    let asked: Vec<_> = (0..30)
        .map(|number| {
            let (app, language) = (app.clone(), ["de", "en", "fr"][number % 3]);
            tokio::spawn(async move {
                let answer = get_with(&app, "/page", &[("accept-language", language)]).await;
                assert_eq!(answer.text(), language);
            })
        })
        .collect();
    settled().await;
    assert_eq!(runs.count(), 1);
    gate.open(1);
    settled().await;
    assert_eq!(runs.count(), 3);
    gate.open(2);
    for asked in asked {
        asked.await.unwrap();
    }
    assert_eq!(runs.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn followers_of_an_empty_response_get_an_empty_response() {
    let ((cache, _), gate, runs) = (cache(), Gate::closed(), Runs::default());
    let handler = {
        let (gate, runs) = (gate.clone(), runs.clone());
        move || async move {
            runs.begin();
            gate.pass().await;
            StatusCode::NO_CONTENT
        }
    };
    let app = page(cache.layer().ttl_for(StatusCode::NO_CONTENT, MINUTE), handler);
    let asked = ask_times(10, &app, "/page");
    settled().await;
    gate.open(1);
    assert!(answers(asked).await.iter().all(|answer| answer.status == StatusCode::NO_CONTENT && answer.text().is_empty()));
    assert_eq!(runs.count(), 1);
}

// Layers within layers.

/// They have the same key: if the inner one waited for the outer one's fetch, it would wait for itself.
#[tokio::test(start_paused = true)]
async fn two_layers_of_one_cache_around_each_other_do_not_wait_for_each_other() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let app = page(minute(&cache), numbered(&runs)).layer(minute(&cache));
    for run in 1..=3 {
        let (took, answer) = timed(get(&app, "/page")).await;
        assert_eq!((answer.text().to_owned(), took), (format!("run {run}"), Duration::ZERO));
        let again = get(&app, "/page").await;
        assert_eq!(again.text(), format!("run {run}"), "the first answer was not stored");
        clock.advance(3 * MINUTE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stampede_on_two_layers_of_one_cache_is_still_one_run() {
    let runs = Runs::default();
    let cache = cache().0;
    let app = page(minute(&cache), slow(&runs)).layer(minute(&cache));
    let (took, answers) = timed(answers(ask_times(100, &app, "/page"))).await;
    assert!(answers.iter().all(|answer| answer.text() == "run 1"));
    assert_eq!(runs.count(), 1);
    assert!(took < HANDLER + Duration::from_millis(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn handler_may_send_another_request_to_its_own_application() {
    let (cache, _) = cache();
    let part = Router::new().route("/part", routing::get(|| async { "part" }).layer(minute(&cache)));
    let whole = {
        let part = part.clone();
        move || async move { format!("whole of {}", get(&part, "/part").await.text()) }
    };
    let app = part.clone().route("/whole", routing::get(whole).layer(minute(&cache)));
    let (took, answers) = timed(answers(ask_times(20, &app, "/whole"))).await;
    assert!(answers.iter().all(|answer| answer.text() == "whole of part"));
    assert_eq!(took, Duration::ZERO);
    assert!(get(&part, "/part").await.is_hit());
}

/// A service that is slow to become ready is waited for once.
#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_is_waited_for_by_one() {
    let runs = Runs::default();
    let service = {
        let runs = runs.clone();
        service_fn(move |_: Request| {
            runs.begin();
            async {
                sleep(HANDLER).await;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("page")))
            }
        })
    };
    let limited = tower::ServiceBuilder::new()
        .layer(minute(&cache().0))
        .layer(tower::limit::ConcurrencyLimitLayer::new(1))
        .service(service);
    let asked: Vec<_> = (0..20).map(|_| tokio::spawn(limited.clone().oneshot(request(Method::GET, "/page", &[])))).collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(runs.count(), 1);
}
