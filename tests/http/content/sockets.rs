//! Content over a real connection.

use axum::{Router, body::Body, extract::Request, response::IntoResponse as _, routing};
use http::StatusCode;
use http_body_util::BodyExt as _;
use larder::CacheDirective;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::mpsc::{self, UnboundedReceiver},
};

use super::LIMIT;
use crate::support::{
    MINUTE, cache,
    wire::{read_until, serve},
};

const HEAD: &str = "POST /graphql HTTP/1.1\r\nhost: example.com\r\ncontent-type: application/json\r\n";

/// An application that reports what its handler gets.
fn reporting() -> (Router, UnboundedReceiver<Result<String, ()>>) {
    let (report, reports) = mpsc::unbounded_channel();
    let handler = move |request: Request| async move {
        let read = Body::new(request.into_body()).collect().await;
        let content = read.map(|read| String::from_utf8(read.to_bytes().into()).unwrap()).map_err(drop);
        report.send(content.clone()).unwrap();
        match content {
            Ok(content) => (CacheDirective::ttl(MINUTE), format!("<{content}>")).into_response(),
            Err(()) => StatusCode::BAD_REQUEST.into_response(),
        }
    };
    let layer = cache().0.layer().cache_post(LIMIT).status_header(true);
    (Router::new().route("/graphql", routing::post(handler).layer(layer)), reports)
}

async fn ask(connection: &mut TcpStream, text: &str, end: &str) -> String {
    connection.write_all(text.as_bytes()).await.unwrap();
    read_until(connection, end).await
}

#[tokio::test]
async fn content_with_a_length_and_in_chunks_is_the_same() {
    let (app, mut reports) = reporting();
    let mut connection = TcpStream::connect(serve(app).await).await.unwrap();
    let missed = ask(&mut connection, &format!("{HEAD}content-length: 4\r\n\r\nread"), "<read>").await;
    assert!(missed.contains("cache-status: larder; fwd=uri-miss; stored"), "{missed}");
    let chunked = format!("{HEAD}transfer-encoding: chunked\r\n\r\n2\r\nre\r\n2\r\nad\r\n0\r\n\r\n");
    let hit = ask(&mut connection, &chunked, "<read>").await;
    assert!(hit.contains("cache-status: larder; hit"), "{hit}");
    let large = "x".repeat(1000);
    let passed = ask(&mut connection, &format!("{HEAD}content-length: 1000\r\n\r\n{large}"), &format!("<{large}>")).await;
    assert!(passed.contains("fwd=bypass; detail=request-body-too-large"), "{passed}");
    assert_eq!((reports.recv().await, reports.recv().await), (Some(Ok("read".to_owned())), Some(Ok(large))));
}

#[tokio::test]
async fn a_client_that_expects_to_continue_is_told_to() {
    let (app, _reports) = reporting();
    let mut connection = TcpStream::connect(serve(app).await).await.unwrap();
    for expected in ["fwd=uri-miss; stored", "hit"] {
        let request = format!("{HEAD}content-length: 4\r\nexpect: 100-continue\r\n\r\n");
        assert_eq!(ask(&mut connection, &request, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        let answer = ask(&mut connection, "read", "<read>").await;
        assert!(answer.contains(expected), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_reaches_the_handler_as_an_error_and_stores_nothing() {
    let (app, mut reports) = reporting();
    let address = serve(app).await;
    for head in [format!("{HEAD}content-length: 8\r\n\r\nread"), format!("{HEAD}transfer-encoding: chunked\r\n\r\n4\r\nread\r\n")]
    {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.shutdown().await.unwrap();
        assert_eq!(reports.recv().await, Some(Err(())));
    }
    let mut connection = TcpStream::connect(address).await.unwrap();
    let missed = ask(&mut connection, &format!("{HEAD}content-length: 4\r\n\r\nread"), "<read>").await;
    assert!(missed.contains("fwd=uri-miss; stored"), "{missed}");
}
