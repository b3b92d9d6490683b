//! Streamed bodies, on their way and in the store.

use std::{future::ready, sync::Arc};

use axum::{Router, body::Body, routing};
use bytes::Bytes;
use http::{Method, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use larder::{CacheStatus, Reason};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::support::{
    ChannelBody, answering, cache, first_streams, get, minute, page, request, send_empty,
    wire::{get_until, read_until, serve},
};

#[tokio::test]
async fn an_event_stream_delivers_its_first_event_before_there_is_a_second() {
    for method in [Method::GET, Method::POST] {
        let (frames, body) = ChannelBody::new();
        let stream = first_streams(body);
        let handler = move || async move { ([(CONTENT_TYPE, "Text/Event-Stream; charset=utf-8")], stream().into_inner()) };
        let app = Router::new().route("/page", routing::any(handler).layer(minute(&cache().0)));

        let response = app.clone().oneshot(request(method.clone(), "/page", &[])).await.unwrap();
        assert!(!CacheStatus::of(&response).unwrap().is_stored());
        let mut body = response.into_body();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            frames.send(event);
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), event, "{method}");
        }
        drop(frames);
        assert!(body.frame().await.is_none());
        assert_eq!(send_empty(&app, method, "/page").await.text(), "later");
    }
}

#[tokio::test]
async fn an_event_reaches_a_real_client_before_the_next_one_exists() {
    let (frames, body) = ChannelBody::new();
    let stream = first_streams(body);
    let handler = move || async move { ([(CONTENT_TYPE, "text/event-stream")], stream().into_inner()) };
    let address = serve(page(minute(&cache().0), handler)).await;
    let connection = TcpStream::connect(address).await.unwrap();
    frames.send("data: 1\n\n");
    assert!(get_until(&connection, "data: 1\n\n\r\n").await.contains("text/event-stream"));
    frames.send("data: 2\n\n");
    read_until(&connection, "data: 2\n\n\r\n").await;
}

#[tokio::test]
async fn the_first_byte_of_a_miss_leaves_before_the_last_exists() {
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache().0), first_streams(body));
    let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
    assert!(CacheStatus::of(&response).unwrap().is_stored());
    let mut body = response.into_body();
    for part in ["first, ", "last"] {
        frames.send(part);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    assert_eq!(get(&app, "/page").await.text(), "later", "what has not ended is not stored");
}

#[tokio::test]
async fn a_streamed_response_is_stored_before_its_client_sees_the_end() {
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache().0), first_streams(body));
    let mut body = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap().into_body();
    frames.send("streamed");
    drop(frames);
    while body.frame().await.is_some() {}
    let second = get(&app, "/page").await;
    assert_eq!((second.text(), second.is_hit(), second.header("content-length")), ("streamed", true, Some("8")));
}

#[tokio::test]
async fn stream_of_known_length_is_stored_before_its_last_byte_leaves() {
    let (frames, body) = ChannelBody::new();
    let stream = first_streams(body);
    let app = page(minute(&cache().0), move || async move { ([("content-length", "8")], stream().into_inner()) });
    let mut body = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap().into_body();
    for part in ["stre", "amed"] {
        frames.send(part);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    assert_eq!(get(&app, "/page").await.text(), "streamed");
}

#[tokio::test]
async fn body_whose_client_left_halfway_is_not_stored() {
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache().0), first_streams(body));
    let mut body = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap().into_body();
    frames.send("half");
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(get(&app, "/page").await.text(), "later");
}

#[tokio::test]
async fn body_that_breaks_off_is_not_stored() {
    let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let handler = answering(move |_| {
        if !first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return Body::from("later");
        }
        Body::new(
            Full::<Bytes>::from("half").map_err(axum::Error::new).with_trailers(ready(Some(Err(axum::Error::new("broken"))))),
        )
    });
    let app = page(minute(&cache().0), handler);
    let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(get(&app, "/page").await.text(), "later");
}

#[tokio::test]
async fn a_body_over_the_limit_is_forwarded_whole_and_not_stored() {
    let app = page(minute(&cache().0).max_body(1000), || async { vec![b'x'; 1001] });
    for _ in 0..2 {
        let answer = get(&app, "/page").await;
        assert_eq!((answer.status, answer.body.len(), answer.reason()), (StatusCode::OK, 1001, Some(Reason::TooLarge)));
    }
}

#[tokio::test]
async fn a_body_of_just_the_limit_is_stored() {
    let app = page(minute(&cache().0).max_body(1000), || async { vec![b'x'; 1000] });
    get(&app, "/page").await;
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_stream_over_the_limit_is_neither_held_back_nor_cut_nor_stored() {
    let (frames, body) = ChannelBody::new();
    let app = page(minute(&cache().0).max_body(6), first_streams(body));
    let mut body = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap().into_body();
    for part in ["1234", "5678", "9"] {
        frames.send(part);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
    drop(frames);
    assert!(body.frame().await.is_none());
    assert_eq!(get(&app, "/page").await.text(), "later");
}
