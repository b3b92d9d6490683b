//! Each outcome once, by name.

use std::{convert::Infallible, time::Duration};

use axum::{Router, routing};
use bytes::Bytes;
use http::{Method, StatusCode, header::ETAG};
use http_body_util::Full;
use larder::{Cache, CacheStatus, Forward, Outcome, Reason};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::outcomes;
use crate::support::{
    Gate, MINUTE, Runs, answering, cache, get, get_with, minute, numbered, page, paused::settled, request, send_empty, spawn_get,
};

/// Whether one request had this outcome, in the statistics of its cache.
fn assert_only(cache: &Cache, outcome: Outcome, before: &larder::Stats) {
    let since = cache.stats().since(before);
    let counts: Vec<_> = Outcome::ALL.iter().filter(|outcome| since.total().outcome(**outcome) > 0).collect();
    assert_eq!((counts, since.requests(), since.total().in_flight()), (vec![&outcome], 1, 0));
}

#[tokio::test]
async fn miss_and_hit() {
    let (cache, clock) = cache();
    let app = page(minute(&cache), numbered(&Runs::default()));
    let before = cache.stats();
    let miss = get(&app, "/page").await;
    assert_only(&cache, Outcome::Miss, &before);
    assert_eq!((miss.cache.unwrap().outcome(), miss.cache.unwrap().age()), (Outcome::Miss, None));

    let before = cache.stats();
    clock.advance(Duration::from_secs(7));
    let hit = get(&app, "/page").await;
    assert_only(&cache, Outcome::Hit, &before);
    assert_eq!((hit.cache.unwrap().outcome(), hit.cache.unwrap().age()), (Outcome::Hit, Some(7)));
    assert_eq!(cache.stats().hit_ratio(), Some(0.5));
}

#[tokio::test(start_paused = true)]
async fn stale_while_it_is_revalidated_and_when_the_handler_fails() {
    let (cache, clock) = cache();
    let runs = Runs::default();
    let handler = answering(move |_| match runs.begin() {
        3 => Err(StatusCode::INTERNAL_SERVER_ERROR),
        run => Ok(format!("run {run}")),
    });
    let app = page(minute(&cache).stale_while_revalidate(MINUTE).stale_if_error(3 * MINUTE), handler);
    get(&app, "/page").await;
    clock.advance(MINUTE + Duration::from_millis(100));
    let before = cache.stats();
    let stale = get(&app, "/page").await;
    settled().await;
    assert_only(&cache, Outcome::Stale, &before);
    assert_eq!(stale.cache.unwrap().outcome(), Outcome::Stale);

    clock.advance(3 * MINUTE);
    let before = cache.stats();
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::StaleOnError));
    assert_only(&cache, Outcome::Stale, &before);
    let ages = cache.stats();
    assert_eq!((ages.stale_ages().count(), ages.stale_ages().sum()), (2, 2 * MINUTE));
}

#[tokio::test]
async fn collapsed() {
    let ((cache, _), gate) = (cache(), Gate::closed());
    let door = gate.clone();
    let app = page(minute(&cache), move || async move {
        door.pass().await;
        "page"
    });
    let leader = spawn_get(&app, "/page");
    gate.arrival().await;
    let follower = spawn_get(&app, "/page");
    while cache.stats().waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let during = cache.stats();
    assert_eq!((during.requests(), during.total().in_flight(), during.fetches_in_flight()), (2, 2, 1));
    gate.open(1);
    leader.await.unwrap();
    assert_eq!(follower.await.unwrap().cache.unwrap().outcome(), Outcome::Collapsed);
    assert_eq!(outcomes(&cache), [(Outcome::Collapsed, 1), (Outcome::Miss, 1)]);
    let after = cache.stats();
    assert_eq!((after.waiting(), after.waits().count(), after.fetches_in_flight()), (0, 1, 0));
}

#[tokio::test]
async fn revalidated() {
    let (cache, clock) = cache();
    let handler = answering(|parts| match parts.headers.contains_key("if-none-match") {
        true => (StatusCode::NOT_MODIFIED, [(ETAG, "\"1\"")], ""),
        false => (StatusCode::OK, [(ETAG, "\"1\"")], "page"),
    });
    let app = page(minute(&cache), handler);
    get(&app, "/page").await;
    clock.advance(2 * MINUTE);
    let before = cache.stats();
    let answer = get(&app, "/page").await;
    assert_only(&cache, Outcome::Revalidated, &before);
    assert_eq!((answer.text(), answer.cache.unwrap().outcome()), ("page", Outcome::Revalidated));
}

#[tokio::test]
async fn uncached_and_bypass() {
    let (cache, _) = cache();
    let app = page(cache.layer(), || async { "page" });
    let before = cache.stats();
    get(&app, "/page").await;
    assert_only(&cache, Outcome::Uncached, &before);
    for (method, headers) in [(Method::GET, &[("cookie", "a=b")][..]), (Method::POST, &[]), (Method::OPTIONS, &[])] {
        let before = cache.stats();
        crate::support::send(&app, request(method, "/page", headers)).await;
        assert_only(&cache, Outcome::Bypass, &before);
    }
    let stats = cache.stats();
    assert_eq!(stats.not_stored(), [(Reason::Method, 2), (Reason::RequestCookie, 1), (Reason::NoFreshness, 1)]);
    assert_eq!((stats.total().forwarded(Forward::Method), stats.total().forwarded(Forward::UriMiss)), (2, 1));
    assert_eq!(stats.hit_ratio(), Some(0.0));
}

#[tokio::test]
async fn unsatisfied() {
    let (cache, _) = cache();
    let app = page(minute(&cache).trusted_clients(|_| true), || async { "page" });
    let before = cache.stats();
    let answer = get_with(&app, "/page", &[("cache-control", "only-if-cached")]).await;
    assert_eq!((answer.status, answer.cache.unwrap().outcome()), (StatusCode::GATEWAY_TIMEOUT, Outcome::Unsatisfied));
    assert_only(&cache, Outcome::Unsatisfied, &before);
    assert_eq!((cache.stats().hit_ratio(), cache.stats().not_stored()), (None, vec![(Reason::OnlyIfCached, 1)]));
}

#[tokio::test]
async fn error_of_the_inner_service_and_its_panic() {
    let (cache, _) = cache();
    let failing = minute(&cache).layer(service_fn(|request: http::Request<Full<Bytes>>| async move {
        match request.uri().path() {
            "/panic" => std::panic::resume_unwind(Box::new("planned")),
            _ => Err::<http::Response<Full<Bytes>>, _>("refused"),
        }
    }));
    let ask = |method: Method, uri: &str| {
        let request = http::Request::builder().method(method).uri(uri).header("host", "example.com");
        failing.clone().oneshot(request.body(Full::default()).unwrap())
    };
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        let before = cache.stats();
        assert_eq!(ask(method.clone(), "/").await.unwrap_err(), "refused");
        assert_only(&cache, Outcome::Error, &before);
        let before = cache.stats();
        assert!(tokio::spawn(ask(method, "/panic")).await.unwrap_err().is_panic());
        assert_only(&cache, Outcome::Error, &before);
    }
}

#[tokio::test]
async fn panic_of_a_predicate_is_an_error() {
    let (cache, _) = cache();
    let app = page(minute(&cache).bypass_if(|_| std::panic::resume_unwind(Box::new("planned"))), || async { "page" });
    assert!(spawn_get(&app, "/page").await.unwrap_err().is_panic());
    assert_eq!(outcomes(&cache), [(Outcome::Error, 1)]);
}

#[tokio::test]
async fn abandoned() {
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        let ((cache, _), gate) = (cache(), Gate::closed());
        let door = gate.clone();
        let handler = move || async move { door.pass().await };
        let app = Router::new().route("/page", routing::any(handler).layer(minute(&cache)));
        let client = tokio::spawn({
            let app = app.clone();
            async move { send_empty(&app, method, "/page").await }
        });
        gate.arrival().await;
        assert_eq!((cache.stats().total().in_flight(), cache.stats().requests()), (1, 1));
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        assert_eq!(outcomes(&cache), [(Outcome::Abandoned, 1)]);
        gate.open(1);
    }
}

#[tokio::test]
async fn each_layer_counts_for_its_own_cache() {
    let ((outer, _), (inner, _)) = (cache(), cache());
    let app = page(minute(&inner), || async { "page" }).layer(minute(&outer));
    get(&app, "/page").await;
    get(&app, "/page").await;
    assert_eq!(outcomes(&inner), [(Outcome::Hit, 1), (Outcome::Miss, 1)]);
    assert_eq!(outcomes(&outer), [(Outcome::Uncached, 2)]);
}

#[tokio::test]
async fn no_response_leaves_without_an_outcome() {
    let (cache, _) = cache();
    let service = minute(&cache).layer(service_fn(|_: http::Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::default()))
    }));
    let request = http::Request::get("/").header("host", "a").body(Full::default()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(CacheStatus::of(&response).unwrap().outcome(), Outcome::Miss);
}
