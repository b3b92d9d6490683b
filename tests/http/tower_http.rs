//! Every layer of tower-http composes with larder: outside of it and inside, in one `ServiceBuilder`, on a route, and around a
//! router; and the second request is a hit.
//!
//! Left out: `follow_redirect`, `decompression` as a client uses it and `set_request_header`'s typed variants are for clients, or the
//! same layer again; `redirect` is a service and has no response worth storing; `on_early_drop` is `trace` once more.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Ready,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, routing};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, SERVER, USER_AGENT},
};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use larder::{Cache, Reason};
use tower::{Layer as _, ServiceBuilder};
use tower_http::{
    add_extension::AddExtensionLayer,
    auth::{AsyncAuthorizeRequest, AsyncRequireAuthorizationLayer},
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::CorsLayer,
    decompression::{DecompressionLayer, RequestDecompressionLayer},
    limit::RequestBodyLimitLayer,
    map_request_body::MapRequestBodyLayer,
    map_response_body::MapResponseBodyLayer,
    metrics::InFlightRequestsLayer,
    normalize_path::NormalizePathLayer,
    propagate_header::PropagateHeaderLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    sensitive_headers::SetSensitiveHeadersLayer,
    services::ServeDir,
    set_header::{SetRequestHeaderLayer, SetResponseHeaderLayer},
    set_status::SetStatusLayer,
    timeout::{RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer, TimeoutLayer},
    trace::TraceLayer,
    validate_request::ValidateRequestHeaderLayer,
};

use crate::support::{Answer, Runs, get, minute, numbered, request, send, wire::serve};

const FIELD: HeaderName = HeaderName::from_static("x-field");
const VALUE: HeaderValue = HeaderValue::from_static("value");
const LONG: Duration = Duration::from_secs(60);

fn cache() -> Cache {
    Cache::in_memory(1 << 20)
}

fn site(route: routing::MethodRouter) -> Router {
    Router::new().route("/page", route)
}

/// Asks twice: the handler runs once, and the layer does not keep the second answer from being a hit.
async fn is_hit_at_second(place: &str, app: impl FnOnce(routing::MethodRouter) -> Router) {
    let runs = Runs::default();
    let app = app(routing::get(numbered(&runs)));
    let first = get(&app, "/page").await;
    assert_eq!((first.status, first.text()), (StatusCode::OK, "run 1"), "{place}");
    let second = get(&app, "/page").await;
    assert_eq!((second.text(), runs.count(), second.reason()), ("run 1", 1, None), "{place}");
}

/// Each place but the outside of one `ServiceBuilder`.
macro_rules! composes_apart {
    ($layer:expr) => {
        is_hit_at_second("outside, on a route", |get| site(get.layer::<_, Infallible>(minute(&cache())).layer($layer))).await;
        is_hit_at_second("outside, around a router", |get| site(get).layer(minute(&cache())).layer($layer)).await;
        is_hit_at_second("inside, on a route", |get| site(get.layer::<_, Infallible>($layer).layer(minute(&cache())))).await;
        is_hit_at_second("inside, around a router", |get| site(get).layer($layer).layer(minute(&cache()))).await;
        is_hit_at_second("inside, in a builder", |get| {
            site(get.layer(ServiceBuilder::new().layer(minute(&cache())).layer($layer)))
        })
        .await;
    };
}

macro_rules! composes {
    ($($test:ident: $layer:expr;)+) => {
        $(#[tokio::test]
        async fn $test() {
            is_hit_at_second("outside, in a builder", |get| {
                site(get.layer(ServiceBuilder::new().layer($layer).layer(minute(&cache()))))
            })
            .await;
            composes_apart!($layer);
        })+
    };
}

composes! {
    add_extension_composes: AddExtensionLayer::new(7_u8);
    async_authorization_composes: AsyncRequireAuthorizationLayer::new(Everyone(PhantomData));
    catch_panic_composes: CatchPanicLayer::new();
    compression_composes: CompressionLayer::new();
    cors_composes: CorsLayer::permissive();
    decompression_composes: DecompressionLayer::new();
    request_decompression_composes: RequestDecompressionLayer::new();
    body_limit_composes: RequestBodyLimitLayer::new(1 << 20);
    mapped_request_body_composes: MapRequestBodyLayer::new(Body::new);
    mapped_response_body_composes: MapResponseBodyLayer::new(Body::new);
    in_flight_metrics_compose: InFlightRequestsLayer::pair().0;
    normalized_path_composes: NormalizePathLayer::trim_trailing_slash();
    propagated_header_composes: PropagateHeaderLayer::new(FIELD);
    set_request_id_composes: SetRequestIdLayer::x_request_id(MakeRequestUuid);
    propagated_request_id_composes: PropagateRequestIdLayer::x_request_id();
    sensitive_headers_compose: SetSensitiveHeadersLayer::new([AUTHORIZATION]);
    set_response_header_composes: SetResponseHeaderLayer::overriding(SERVER, VALUE);
    set_request_header_composes: SetRequestHeaderLayer::overriding(USER_AGENT, VALUE);
    set_status_composes: SetStatusLayer::new(StatusCode::OK);
    timeout_composes: TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, LONG);
    response_body_timeout_composes: ResponseBodyTimeoutLayer::new(LONG);
    trace_composes: TraceLayer::new_for_http();
    validation_composes: ValidateRequestHeaderLayer::accept("text/plain");
}

#[derive(Debug)]
struct Everyone<R>(PhantomData<fn() -> R>);

impl<R> Clone for Everyone<R> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<B, R> AsyncAuthorizeRequest<B> for Everyone<R> {
    type RequestBody = B;
    type ResponseBody = R;
    type Future = Ready<Result<Request<B>, Response<R>>>;

    fn authorize(&mut self, request: Request<B>) -> Self::Future {
        std::future::ready(Ok(request))
    }
}

#[tokio::test]
async fn request_body_timeout_composes() {
    composes_apart!(RequestBodyTimeoutLayer::new(LONG));
    let layers = ServiceBuilder::new()
        .layer(RequestBodyTimeoutLayer::new(LONG))
        .layer(MapRequestBodyLayer::new(Body::new))
        .layer(minute(&cache()));
    is_hit_at_second("outside, in a builder", |get| site(get.layer(layers))).await;
}

/// Its body does not say that it is empty, and as a type that is not axum's it cannot be looked into: whether there is content
/// is not known.
#[tokio::test]
async fn body_of_unknown_type_and_size_bypasses() {
    let layers = ServiceBuilder::new().layer(RequestBodyTimeoutLayer::new(LONG)).layer(minute(&cache()));
    let app = site(routing::get(|body: Bytes| async { body }).layer(layers));
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::RequestBody));
    assert_eq!(send(&app, streamed(&["content"])).await.text(), "content");
}

#[tokio::test]
async fn served_directory_is_cached() {
    let files = ServeDir::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).precompressed_gzip();
    let inside = Router::new().nest_service("/files", minute(&cache()).layer(files.clone()));
    let around = Router::new().nest_service("/files", files).layer(minute(&cache()));
    for app in [inside, around] {
        let first = get(&app, "/files/lib.rs").await;
        assert!(first.is_stored(), "{:?}", first.reason());
        let second = get(&app, "/files/lib.rs").await;
        assert!(second.is_hit() && second.body == first.body);
    }
}

/// A GET whose body comes in these pieces, and does not say how many there are.
fn streamed(pieces: &[&'static str]) -> Request<Body> {
    let mut request = request(Method::GET, "/page", &[]);
    *request.body_mut() = Body::new(pieces_of(pieces));
    assert!(!request.body().is_end_stream() && request.body().size_hint().exact().is_none());
    request
}

/// A body of these pieces.
#[derive(Debug)]
struct Pieces(VecDeque<&'static str>);

fn pieces_of(pieces: &[&'static str]) -> Pieces {
    Pieces(pieces.iter().copied().collect())
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece.into()))))
    }
}

#[tokio::test]
async fn body_that_turns_out_empty_is_no_content() {
    let runs = Runs::default();
    let app = site(routing::get(numbered(&runs)).layer(minute(&cache())));
    for pieces in [&[][..], &[""], &["", ""]] {
        assert_eq!(send(&app, streamed(pieces)).await.text(), "run 1");
    }
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn body_that_turns_out_to_have_content_bypasses_and_comes_whole() {
    let app = site(routing::get(|body: Bytes| async { body }).layer(minute(&cache())));
    for pieces in [&["one", "two", ""][..], &["", "onetwo"], &["o", "", "netwo"]] {
        let answer: Answer = send(&app, streamed(pieces)).await;
        assert_eq!((answer.text(), answer.reason()), ("onetwo", Some(Reason::RequestBody)));
    }
    assert!(get(&app, "/page").await.text().is_empty());
}

#[tokio::test]
async fn http2_get_with_an_empty_data_frame_is_cached_and_with_content_bypasses() {
    let layer = minute(&cache()).status_header(true);
    let address = serve(site(routing::get(|body: Bytes| async { body }).layer(layer))).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let ask = async |pieces: &[&'static str]| {
        let request = Request::get(format!("http://{address}/page")).body(pieces_of(pieces)).unwrap();
        let response = client.request(request).await.unwrap();
        let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    };
    assert!(ask(&[]).await.0.contains("stored"));
    assert!(ask(&[]).await.0.contains("hit"));
    let (status, body) = ask(&["one", "two"]).await;
    assert!(status.contains("request-body") && body == "onetwo", "{status} {body:?}");
}
