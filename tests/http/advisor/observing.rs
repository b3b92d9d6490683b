//! An observer passes everything through, and observes what passes.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, routing};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Body as _;
use larder::{Cache, Reason, advisor::Verdict};

use crate::support::{ChannelBody, Runs, cache, fields, get, get_with, minute, numbered, request, send, send_empty};

fn observed(cache: &Cache, routes: Router) -> Router {
    routes.layer(cache.observer().layer())
}

#[tokio::test]
async fn responses_pass_unchanged_and_are_not_stored() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app =
        observed(&cache, Router::new().route("/page", routing::get(numbered(&runs)).post(|| async { StatusCode::CREATED })));
    assert_eq!([get(&app, "/page").await.text(), get(&app, "/page").await.text()], ["run 1", "run 2"]);
    assert_eq!(send_empty(&app, Method::POST, "/page").await.status, StatusCode::CREATED);
    assert_eq!(get(&app, "/none").await.status, StatusCode::NOT_FOUND);
    assert_eq!((cache.advice().requests(), cache.advice().route("/page").unwrap().requests()), (4, 2));
    assert_eq!(cache.stats().requests(), 0);
}

#[tokio::test]
async fn body_passes_frame_by_frame_with_its_trailers() {
    let (cache, _) = cache();
    let (frames, body) = ChannelBody::new();
    let handler = crate::support::first_streams(body);
    let app = observed(&cache, Router::new().route("/page", routing::get(handler)));
    let response = tower::ServiceExt::oneshot(app.clone(), request(Method::GET, "/page", &[])).await.unwrap();
    let mut body = response.into_body();
    frames.send("first");
    let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), Bytes::from("first"));
    frames.send_trailers(&[("x-checksum", "1")]);
    drop(frames);
    let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
    assert!(frame.is_trailers());
}

#[tokio::test]
async fn body_that_does_not_end_is_not_seen_and_counted() {
    let (cache, _) = cache();
    let endless = || async {
        let (frames, body) = ChannelBody::new();
        frames.send("event");
        std::mem::forget(frames);
        Body::new(body)
    };
    let app = observed(&cache, Router::new().route("/events", routing::get(endless)));
    for _ in 0..40 {
        drop(tower::ServiceExt::oneshot(app.clone(), request(Method::GET, "/events", &[])).await.unwrap());
    }
    let advice = cache.advice();
    let route = advice.route("/events").unwrap();
    assert_eq!((route.requests(), route.verdict()), (40, Verdict::TooFew));
    assert!(route.unseen().iter().any(|line| line.starts_with("40 bodies did not end")), "{:?}", route.unseen());
}

/// Equal bodies in different frames are equal.
#[tokio::test]
async fn frames_do_not_change_the_digest() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let handler = move || {
        let cut = runs.begin() % 7;
        let (start, end) = "abcdefg".split_at(cut);
        let (frames, body) = ChannelBody::new();
        frames.send(start);
        frames.send(end);
        std::future::ready(Body::new(body))
    };
    let app = observed(&cache, Router::new().route("/page", routing::get(handler)));
    for _ in 0..50 {
        get(&app, "/page").await;
    }
    let advice = cache.advice();
    let hour = advice.route("/page").unwrap().simulations()[4];
    assert_eq!((hour.hit_ratio(), hour.wrong_ratio()), (0.98, 0.0));
}

#[tokio::test]
async fn hits_of_a_layer_inside_are_not_observed() {
    let (cache, _) = cache();
    let app = observed(&cache, Router::new().route("/page", routing::get(|| async { "page" }).layer(minute(&cache))));
    for _ in 0..10 {
        get(&app, "/page").await;
    }
    let advice = cache.advice();
    let route = advice.route("/page").unwrap();
    assert_eq!((advice.requests(), route.requests()), (1, 1));
    assert!(route.unseen().iter().any(|line| line.starts_with("9 requests were answered by a layer")), "{:?}", route.unseen());
}

#[tokio::test]
async fn what_blocks_storing_is_said_with_larders_reasons() {
    let (cache, clock) = cache();
    let with = |lines: &'static [(&'static str, &'static str)]| {
        routing::get(move || std::future::ready(Ok::<_, Infallible>((fields(lines), "body"))))
    };
    let routes = Router::new()
        .route("/cookie", with(&[("set-cookie", "a=b")]))
        .route("/private", with(&[("cache-control", "private")]))
        .route("/everything", with(&[("vary", "*")]))
        .route("/stated", with(&[("cache-control", "max-age=60")]))
        .route("/plain", with(&[]));
    let app = observed(&cache, routes);
    for path in ["/cookie", "/private", "/everything", "/stated", "/plain"] {
        for _ in 0..50 {
            let lines: &[_] = if path == "/plain" { &[("authorization", "Bearer x")] } else { &[] };
            get_with(&app, path, lines).await;
            clock.advance(Duration::from_millis(100));
        }
    }
    let advice = cache.advice();
    let of = |route| {
        let route = advice.route(route).unwrap();
        (route.blocked().first().map(|blocked| (blocked.reason(), blocked.share())), route.verdict(), route.code())
    };
    let layer = |setting: &str| format!(".layer(cache.layer(){setting})");
    let (ttl, strip) = (layer(".ttl(Duration::from_secs(1))"), layer(".ttl(Duration::from_secs(1)).strip_set_cookie(true)"));
    assert_eq!(of("/cookie"), (Some((Reason::SetCookie, 1.0)), Verdict::Store, Some(strip.as_str())));
    assert_eq!(of("/private"), (Some((Reason::Private, 1.0)), Verdict::Forbidden, None));
    assert_eq!(of("/everything"), (Some((Reason::VaryStar, 1.0)), Verdict::Forbidden, None));
    assert_eq!(of("/stated"), (None, Verdict::Store, Some(layer("").as_str())));
    assert_eq!(of("/plain"), (Some((Reason::Authorization, 1.0)), Verdict::Store, Some(ttl.as_str())));
}

#[tokio::test]
async fn observer_goes_around_any_tower_service() {
    let (cache, _) = cache();
    let service = tower::ServiceBuilder::new()
        .layer(cache.observer().layer())
        .service_fn(|_: http::Request<Body>| async { Ok::<_, Infallible>(http::Response::new(Body::from("page"))) });
    for _ in 0..3 {
        let response = tower::ServiceExt::oneshot(service.clone(), request(Method::GET, "/a", &[])).await.unwrap();
        assert_eq!(http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes(), "page");
    }
    assert_eq!(cache.advice().routes()[0].route(), "no route");
}

#[tokio::test]
async fn failed_write_and_safe_methods_are_no_writes() {
    let (cache, clock) = cache();
    let runs = Runs::default();
    let routes = Router::new()
        .route("/page", routing::get(numbered(&runs)))
        .route("/fails", routing::post(|| async { StatusCode::CONFLICT }))
        .route("/search", routing::any(|| async {}));
    let app = observed(&cache, routes);
    for _ in 0..60 {
        get(&app, "/page").await;
        send(&app, request(Method::POST, "/fails", &[])).await;
        send(&app, request(Method::from_bytes(b"QUERY").unwrap(), "/search", &[])).await;
        clock.advance(Duration::from_millis(10));
    }
    assert_eq!(cache.advice().route("/page").unwrap().changes(), []);
}
