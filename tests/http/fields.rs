//! Fields, lengths, trailers and extensions of a response.

use std::{future::ready, sync::Arc};

use axum::{
    Extension, Router,
    body::Body,
    extract::Path,
    response::{IntoResponse as _, Response},
    routing,
};
use bytes::Bytes;
use http::{HeaderValue, Method};
use http_body_util::{BodyExt as _, Full};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::support::{
    ChannelBody, Runs, answering, cache, fields, first_streams, get, minute, numbered_with, page, read, request,
    wire::{get_until, serve},
};

#[tokio::test]
async fn a_header_value_beyond_ascii_survives() {
    let value = HeaderValue::from_bytes(b"caf\xe9 \xff\x80").unwrap();
    let sent = value.clone();
    let app = page(minute(&cache().0), answering(move |_| ([("x-name", sent.clone())], "page")));
    get(&app, "/page").await;
    let hit = get(&app, "/page").await;
    assert!(hit.is_hit());
    assert_eq!(hit.headers["x-name"], value);
}

#[tokio::test]
async fn every_line_of_a_header_survives_in_its_order() {
    let lines = [("link", "<a>"), ("link", "<b>"), ("x-empty", ""), ("link", "<a>")];
    let app = page(minute(&cache().0), numbered_with(&Runs::default(), &lines));
    get(&app, "/page").await;
    let hit = get(&app, "/page").await;
    assert_eq!(hit.headers.get_all("link").iter().collect::<Vec<_>>(), ["<a>", "<b>", "<a>"]);
    assert_eq!(hit.header("x-empty"), Some(""));
}

#[tokio::test]
async fn a_hit_has_its_length_on_the_wire_and_is_not_chunked() {
    let (frames, body) = ChannelBody::new();
    frames.send("stre");
    frames.send("amed");
    drop(frames);
    let address = serve(page(minute(&cache().0), first_streams(body))).await;
    let connection = TcpStream::connect(address).await.unwrap();
    let miss = get_until(&connection, "0\r\n\r\n").await;
    assert!(miss.contains("transfer-encoding: chunked"), "{miss}");
    let hit = get_until(&connection, "\r\n\r\nstreamed").await;
    assert!(hit.contains("content-length: 8") && !hit.contains("transfer-encoding"), "{hit}");
}

/// Answers with a body and trailers after it, and reads all of it.
async fn with_trailers(head: http::response::Builder, body: Body) -> (crate::support::Answer, bool) {
    let responses = std::sync::Mutex::new(Some(head.body(body).unwrap()));
    let app = page(
        minute(&cache().0),
        answering({
            let responses = Arc::new(responses);
            move |_| responses.lock().unwrap().take().unwrap_or_else(|| "later".into_response())
        }),
    );
    let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    let arrived = collected.trailers().is_some_and(|trailers| trailers["x-checksum"] == "1");
    (get(&app, "/page").await, arrived)
}

/// A body of four bytes and trailers, once as it comes and once whole at once.
fn bodies_with_trailers() -> [(&'static str, Body); 2] {
    let (frames, streamed) = ChannelBody::new();
    frames.send("page");
    frames.send_trailers(&[("x-checksum", "1")]);
    let whole = Full::<Bytes>::from("page").with_trailers(ready(Some(Ok(fields(&[("x-checksum", "1")])))));
    [("streamed", Body::new(streamed)), ("whole", Body::new(whole))]
}

#[tokio::test]
async fn response_with_trailers_is_forwarded_and_not_stored() {
    for (name, body) in bodies_with_trailers() {
        let (second, arrived) = with_trailers(Response::builder(), body).await;
        assert_eq!((arrived, second.text()), (true, "later"), "{name}");
    }
}

// HTTP/2 allows both a length and trailers.
#[tokio::test]
async fn trailers_after_a_body_of_known_length_are_forwarded() {
    for (name, body) in bodies_with_trailers() {
        let (_, arrived) = with_trailers(Response::builder().header("content-length", 4), body).await;
        assert!(arrived, "{name}");
    }
}

#[tokio::test]
async fn response_that_announces_trailers_is_not_stored() {
    for (name, body) in bodies_with_trailers() {
        let head = Response::builder().header("content-length", 4).header("trailer", "x-checksum");
        let (second, _) = with_trailers(head, body).await;
        assert_eq!(second.text(), "later", "{name}");
    }
}

#[tokio::test]
async fn extensions_and_captures_survive_the_layer() {
    #[derive(Clone)]
    struct User(&'static str);
    let handler = |Path(id): Path<u64>, Extension(user): Extension<User>| async move {
        (Extension(user.clone()), format!("{id} {}", user.0))
    };
    let app = Router::new().route("/users/{id}", routing::any(handler).layer(minute(&cache().0))).layer(Extension(User("alice")));
    for (method, lines) in [(Method::GET, &[][..]), (Method::POST, &[]), (Method::GET, &[("cookie", "bypass=1")])] {
        let response = app.clone().oneshot(request(method, "/users/7", lines)).await.unwrap();
        assert_eq!(response.extensions().get::<User>().unwrap().0, "alice");
        assert_eq!(read(response).await.text(), "7 alice");
    }
}

#[tokio::test]
async fn fields_of_one_exchange_are_not_stored() {
    let dropped = [
        "retry-after",
        "ratelimit",
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "ratelimit-policy",
        "request-id",
        "x-trace-id",
        "x-runtime",
        "x-response-time",
        "x-amzn-trace-id",
        "x-amzn-requestid",
        "x-amz-request-id",
        "x-amz-cf-id",
        "x-azure-ref",
        "x-cloud-trace-context",
        "x-vercel-id",
        "fly-request-id",
        "cf-ray",
        "x-ratelimit-remaining",
        "x-rate-limit-reset",
        "x-b3-traceid",
        "x-of-this-application",
    ];
    let lines = dropped.map(|name| (name, "1"));
    let runs = Runs::default();
    let app = page(minute(&cache().0).drop_fields("X-Of-This-Application"), numbered_with(&runs, &lines));
    let first = get(&app, "/page").await;
    let hit = get(&app, "/page").await;
    assert!(hit.is_hit());
    for name in dropped {
        assert_eq!((first.header(name), hit.header(name)), (Some("1"), None), "{name}");
    }
}

#[tokio::test]
async fn response_with_a_credential_is_not_stored_unless_it_is_stripped() {
    for name in [
        "authorization",
        "x-csrf-token",
        "csrf-token",
        "x-xsrf-token",
        "x-auth-token",
        "x-access-token",
        "x-session-token",
        "x-amz-security-token",
        "x-refresh-token",
    ] {
        let app = page(minute(&cache().0), numbered_with(&Runs::default(), &[(name, "secret")]));
        let refused = get(&app, "/page").await;
        assert_eq!((refused.reason(), refused.header(name)), (Some(larder::Reason::Credential), Some("secret")), "{name}");
        assert!(!get(&app, "/page").await.is_hit(), "{name}");

        let app = page(minute(&cache().0).strip_set_cookie(true), numbered_with(&Runs::default(), &[(name, "secret")]));
        assert_eq!(get(&app, "/page").await.header(name), Some("secret"), "{name}");
        let hit = get(&app, "/page").await;
        assert_eq!((hit.is_hit(), hit.header(name)), (true, None), "{name}");
    }
}

#[test]
#[should_panic(expected = "not the name of a header field")]
fn invalid_name_of_a_dropped_field_stops_the_start() {
    let _ = minute(&cache().0).drop_fields("not a name");
}
