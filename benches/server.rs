//! An application to put under load: `server KIND [--workers N] [--port N]`. It prints its address when it is ready.
//!
//! The kinds: `bare`, `cached` with larder around the router, `off` with a layer that bypasses; and the same three behind
//! the layers that many applications have, as `stack-bare`, `stack-cached` and `stack-off`.

use std::{
    collections::HashMap,
    convert::Infallible,
    env,
    net::Ipv4Addr,
    process::ExitCode,
    sync::{LazyLock, RwLock},
};

use axum::{
    Json, Router, ServiceExt,
    extract::{Path, Request},
    response::{IntoResponse, Response},
    routing::get,
};
use http::header::{self, COOKIE, HeaderName};
use larder::{Cache, CacheLayer, CacheMode, CacheTags};
use larder_benches::{HOUR, MIB};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder};
use tower_http::{
    compression::CompressionLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    trace::TraceLayer,
};

const USAGE: &str = "usage: server [stack-]bare|cached|off [--workers N] [--port N]";

fn main() -> ExitCode {
    let Some(options) = Options::parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.workers).enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(start(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    has_stack: bool,
    /// The mode of the cache, where there is one.
    mode: Option<CacheMode>,
    workers: usize,
    port: u16,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let kind = arguments.next()?;
        let (kind, has_stack) = kind.strip_prefix("stack-").map_or((kind.as_str(), false), |kind| (kind, true));
        let mode = match kind {
            "bare" => None,
            "cached" => Some(CacheMode::Enabled),
            "off" => Some(CacheMode::Bypass),
            _ => return None,
        };
        let mut options = Self { has_stack, mode, workers: 1, port: 0 };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--workers" => options.workers = arguments.next()?.parse().ok().filter(|workers| *workers > 0)?,
                "--port" => options.port = arguments.next()?.parse().ok()?,
                _ => return None,
            }
        }
        Some(options)
    }
}

async fn start(options: &Options) -> std::io::Result<()> {
    let router = Router::new().route("/items/{id}", get(show)).with_state(());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
    println!("{}", listener.local_addr()?);
    match (options.mode.map(layer), options.has_stack) {
        (None, false) => serve(listener, router).await,
        (None, true) => serve(listener, stack(ServiceBuilder::new().layer(CompressionLayer::new()).service(router))).await,
        // Around the router rather than in it: a hit is answered before any route is looked for.
        (Some(layer), false) => {
            let responses = ServiceBuilder::new().map_response(IntoResponse::into_response);
            serve(listener, responses.layer(layer).service(router)).await
        }
        // Around the compression as well: each coding is stored, and no hit is compressed again.
        (Some(layer), true) => {
            let cached = ServiceBuilder::new().layer(layer).layer(CompressionLayer::new()).service(router);
            serve(listener, stack(cached)).await
        }
    }
}

async fn serve<S>(listener: TcpListener, service: S) -> std::io::Result<()>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    axum::serve(listener, ServiceExt::<Request>::into_make_service(service)).await
}

fn layer(mode: CacheMode) -> CacheLayer {
    let cache = Cache::in_memory(64 * MIB as u64);
    cache.set_mode(mode);
    cache.layer().ttl(HOUR).ignore_cookies(true)
}

/// The layers of many applications: request ids, tracing and a session.
fn stack<S, R>(
    inner: S,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
where
    S: Service<Request, Response = Response<R>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
    R: http_body::Body<Data = bytes::Bytes, Error: Into<axum::BoxError> + std::fmt::Display> + Send + 'static,
{
    ServiceBuilder::new()
        .map_response(IntoResponse::into_response)
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(TraceLayer::new_for_http())
        .layer(PropagateRequestIdLayer::x_request_id())
        .map_request(with_session)
        .service(inner)
}

/// What a session layer with a store in memory does: it finds the session of a cookie.
#[derive(Debug, Clone)]
struct Session(#[expect(dead_code, reason = "the handler has no use for it")] u64);

fn with_session(mut request: Request) -> Request {
    static SESSIONS: LazyLock<RwLock<HashMap<String, Session>>> =
        LazyLock::new(|| RwLock::new((0..1000).map(|user| (format!("{user:032x}"), Session(user))).collect()));
    let cookies = request.headers().get(COOKIE).and_then(|cookies| cookies.to_str().ok()).unwrap_or_default();
    let id = cookies.split("; ").find_map(|cookie| cookie.strip_prefix("session="));
    let session = id.and_then(|id| SESSIONS.read().expect("no thread panicked").get(id).cloned());
    if let Some(session) = session {
        request.extensions_mut().insert(session);
    }
    request
}

type Items = Json<Vec<(u64, &'static str, bool)>>;

/// About 1 KiB of JSON with six fields and two tags, and no database behind it.
async fn show(Path(id): Path<u64>) -> (CacheTags, [(HeaderName, &'static str); 4], Items) {
    let fields = [
        (header::CACHE_CONTROL, "max-age=3600"),
        (header::ETAG, "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
        (header::LAST_MODIFIED, "Sat, 05 Nov 1994 08:49:37 GMT"),
        (header::VARY, "accept-encoding"),
    ];
    let items = (id..id + 24).map(|id| (id, "an item with a name of some length", id % 2 == 0)).collect();
    (CacheTags::new(["items".to_owned(), format!("item:{id}")]), fields, Json(items))
}
