//! larder in stacks of tower services, and what its clones share.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    mem,
    task::{Context, Poll},
};

use axum::{Router, extract::Request, response::Response, routing};
use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use larder::CacheStatus;
use tokio::task::JoinSet;
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _, limit::ConcurrencyLimitLayer, service_fn};

use crate::support::{ChannelBody, MINUTE, Runs, cache, get, minute, numbered, page, request};

/// A service that is ready only where it was asked: a clone is not.
#[derive(Debug, Default)]
struct Particular {
    ready: bool,
}

impl Clone for Particular {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<Request> for Particular {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        assert!(mem::take(&mut self.ready), "poll_ready must be called first, on this very clone");
        ready(Ok(Response::new(Full::from(request.uri().to_string()))))
    }
}

#[tokio::test]
async fn only_the_clone_that_was_found_ready_is_called() {
    let (cache, _) = cache();
    let mut service = minute(&cache).layer(Particular::default());
    let requests = [
        (Method::GET, "/miss", &[][..]),
        (Method::GET, "/miss", &[]),
        (Method::GET, "/other", &[]),
        (Method::HEAD, "/head", &[]),
        (Method::POST, "/miss", &[]),
        (Method::GET, "/miss", &[("cookie", "bypass=1")]),
        (Method::OPTIONS, "/miss", &[]),
    ];
    for (method, uri, lines) in requests {
        let response = service.ready().await.unwrap().call(request(method, uri, lines)).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.is_empty() || body == uri);
    }
}

#[tokio::test]
async fn a_limit_on_concurrency_inside_the_cache_neither_panics_nor_hangs() {
    let slow = service_fn(|request: Request| async move {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(request.uri().to_string())))
    });
    let service = ServiceBuilder::new().layer(minute(&cache().0)).layer(ConcurrencyLimitLayer::new(2)).service(slow);
    let asked = (0..200).map(|number| {
        let (service, uri) = (service.clone(), format!("/{}", number % 20));
        let lines: &[(&str, &str)] = if number % 7 == 0 { &[("cookie", "bypass=1")] } else { &[] };
        let request = request(if number % 11 == 0 { Method::POST } else { Method::GET }, &uri, lines);
        async move { (service.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes(), uri) }
    });
    for (body, uri) in asked.collect::<JoinSet<_>>().join_all().await {
        assert_eq!(body, uri);
    }
}

#[tokio::test]
async fn a_plain_tower_service_may_have_any_body() {
    let (cache, _) = cache();
    let full = minute(&cache).layer(service_fn(async |_: http::Request<Full<Bytes>>| {
        Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::from("full")))
    }));
    let streamed = minute(&cache).layer(service_fn(async |_: http::Request<String>| {
        let (frames, body) = ChannelBody::new();
        frames.send("streamed");
        Ok::<_, Infallible>(http::Response::new(body))
    }));
    for hit in [false, true] {
        let request = http::Request::get("http://example.com/full").body(Full::default()).unwrap();
        let response = full.clone().oneshot(request).await.unwrap();
        assert_eq!(CacheStatus::of(&response).unwrap().is_hit(), hit);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "full");

        let request = http::Request::get("http://example.com/streamed").body(String::new()).unwrap();
        let response = streamed.clone().oneshot(request).await.unwrap();
        assert_eq!(CacheStatus::of(&response).unwrap().is_hit(), hit);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "streamed");
    }
}

#[tokio::test]
async fn an_error_of_the_inner_service_passes_and_leaves_nothing() {
    let runs = Runs::default();
    let service = minute(&cache().0).layer(service_fn(move |_: http::Request<String>| {
        ready(match runs.begin() {
            1 => Err("the handler's own error"),
            _ => Ok(http::Response::new(Full::<Bytes>::from("page"))),
        })
    }));
    let ask = || service.clone().oneshot(http::Request::get("http://example.com/").body(String::new()).unwrap());
    assert_eq!(ask().await.unwrap_err(), "the handler's own error");
    assert!(CacheStatus::of(&ask().await.unwrap()).unwrap().is_stored());
    assert!(CacheStatus::of(&ask().await.unwrap()).unwrap().is_hit());
}

#[tokio::test]
async fn layer_wraps_a_whole_router() {
    fn is_a_router(_: &Router) {}
    let app = Router::new().route("/page", routing::get(|| async { "page" })).layer(minute(&cache().0));
    is_a_router(&app);
    get(&app, "/page").await;
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn layers_of_a_cache_share_one_store() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let first = page(cache.layer().ttl(MINUTE), numbered(&runs));
    let second = page(cache.layer().ttl(2 * MINUTE), numbered(&runs));
    get(&first, "/page").await;
    assert!(get(&second, "/page").await.is_hit());
    cache.clone().invalidate_uri("/page").await.unwrap();
    assert_eq!(get(&second, "/page").await.text(), "run 2");
    assert_eq!(get(&first, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn a_layer_keeps_working_when_its_cache_and_its_clones_are_dropped() {
    let layer = {
        let (cache, _) = cache();
        let layer = minute(&cache);
        drop(layer.clone());
        layer
    };
    let app = page(layer, numbered(&Runs::default()));
    get(&app, "/page").await;
    assert!(get(&app, "/page").await.is_hit());
}
