//! A caching reverse proxy: larder around a hyper client.
//!
//! ```sh
//! cargo run --release --example reverse_proxy -- --listen 127.0.0.1:8001 --upstream http://127.0.0.1:8000 --profile strict
//! ```
//!
//! Responses are stored as their own headers say; the profile `strict` is RFC 9111 to the letter. Bodies are streamed both ways,
//! upgrades (WebSocket) are passed through, an upstream that fails is answered with 502 or 504, and no request is ever sent
//! twice.
//!
//! What a proxy has to remove from a request, add to it or rewrite in it is done before the cache is asked: otherwise the cache would
//! answer one request, and the upstream another.

use std::{
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::{Either, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use larder::{Cache, CacheLayer, Outcome, ResponseBody, Stats};
use tokio::{
    io::copy_bidirectional,
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};

#[derive(Debug, Parser)]
#[command(about = "A caching reverse proxy", version)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// What to answer for: http://HOST[:PORT].
    #[arg(long)]
    upstream: Uri,
    /// Which habits to follow.
    #[arg(long, value_enum, default_value_t = Profile::Default)]
    profile: Profile,
    /// For so many seconds after its freshness, answer from a stale response if the upstream fails.
    #[arg(long, value_name = "SECONDS")]
    stale_if_error: Option<u64>,
    /// Where to store.
    #[arg(long, value_name = "URL", default_value = "memory:256mb")]
    cache: String,
    /// The largest body to store, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    max_body: u64,
    /// How long the upstream may take for the head of its response.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    upstream_timeout: u64,
    /// Open a new connection to the upstream for each request.
    #[arg(long)]
    no_upstream_keepalive: bool,
    /// Do not tell clients what the cache did.
    #[arg(long)]
    no_cache_status: bool,
    /// At the end, print what the cache has counted.
    #[arg(long)]
    stats: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    Default,
    Strict,
}

impl Options {
    fn layer(&self, cache: &Cache) -> CacheLayer {
        let mut layer = cache.layer().max_body(self.max_body);
        if self.profile == Profile::Strict {
            layer = layer.strict();
        }
        if let Some(seconds) = self.stale_if_error {
            layer = layer.stale_if_error(Duration::from_secs(seconds));
        }
        if !self.no_cache_status {
            layer = layer.status_header(true);
        }
        layer
    }
}

type UpstreamBody = Either<Incoming, Full<Bytes>>;

/// From the cache, or a refusal.
type ProxyBody = Either<ResponseBody<UpstreamBody>, UpstreamBody>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let upstream = Upstream::new(&options)?;
    let cache = Cache::connect(&options.cache).await?;
    let cached = options.layer(&cache).layer(service_fn(move |request| upstream.clone().answer(request)));
    let entered = Arc::<AtomicU64>::default();
    let entering = Arc::clone(&entered);
    let service = ServiceBuilder::new().map_response(without_connection_fields).service(service_fn(move |request| {
        let (cached, entering) = (cached.clone(), Arc::clone(&entering));
        async move {
            match prepare(request) {
                Ok(request) => {
                    entering.fetch_add(1, Ordering::Relaxed);
                    cached.oneshot(request).await.map(|response| response.map(Either::Left))
                }
                Err(refusal) => Ok(refusal.map(Either::Right)),
            }
        }
    }));

    let listener = TcpListener::bind(options.listen).await?;
    println!("listening on http://{} for {}", listener.local_addr()?, options.upstream);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    let connections = GracefulShutdown::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // One that could not be accepted, for want of descriptors perhaps, is no reason to stop.
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let connection = server
                    .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service.clone()))
                    .into_owned();
                // What goes wrong on a connection is between its two ends.
                tokio::spawn({
                    let connection = connections.watch(connection);
                    async move { drop(connection.await) }
                });
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    drop(listener);
    let _ = timeout(Duration::from_secs(10), connections.shutdown()).await;
    if options.stats {
        println!("{}", counted(entered.load(Ordering::Relaxed), &cache.stats()));
    }
    Ok(())
}

/// The requests that the proxy has passed to the cache, and what the cache has counted of them.
fn counted(entered: u64, stats: &Stats) -> String {
    let outcomes = Outcome::ALL.iter().map(|outcome| (outcome.as_str(), stats.total().outcome(*outcome)));
    let counts = outcomes.chain([("in-flight", stats.total().in_flight())]).map(|(name, count)| format!(" {name}={count}"));
    format!("counted: entered={entered}{}", counts.collect::<String>())
}

/// The server behind.
#[derive(Clone)]
struct Upstream {
    client: Client<HttpConnector, Body>,
    authority: Authority,
    timeout: Duration,
}

impl Upstream {
    fn new(options: &Options) -> Result<Self, Box<dyn Error>> {
        let authority = options.upstream.authority().filter(|_| options.upstream.scheme() == Some(&Scheme::HTTP));
        let authority = authority.ok_or("--upstream must be an http:// URL, such as http://127.0.0.1:8000")?.clone();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let mut builder = Client::builder(TokioExecutor::new());
        // A request that may have reached the upstream is not sent again without its client's knowledge.
        builder.retry_canceled_requests(false);
        if options.no_upstream_keepalive {
            builder.pool_max_idle_per_host(0);
        }
        Ok(Self { client: builder.build(connector), authority, timeout: Duration::from_secs(options.upstream_timeout) })
    }

    async fn answer(self, mut request: Request<Body>) -> Result<Response<UpstreamBody>, Infallible> {
        let upgrading = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
        if self.direct(&mut request).is_err() {
            return Ok(failure(StatusCode::BAD_REQUEST, "the request's target cannot be passed on\n"));
        }
        let mut response = match timeout(self.timeout, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                eprintln!("{}: {error}: {:?}", self.authority, error.source().map(ToString::to_string));
                return Ok(failure(StatusCode::BAD_GATEWAY, "the upstream could not be reached, or broke off\n"));
            }
            Err(_) => return Ok(failure(StatusCode::GATEWAY_TIMEOUT, "the upstream took too long\n")),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) = upgrading else {
                return Ok(failure(StatusCode::BAD_GATEWAY, "the upstream changed the protocol without being asked\n"));
            };
            let upstream = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                if let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) {
                    let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await;
                }
            });
        }
        Ok(response.map(Either::Left))
    }

    /// Sends a request to the upstream, whatever host it is for: its fields stay as they are.
    fn direct(&self, request: &mut Request<Body>) -> Result<(), http::Error> {
        let target = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() =
            Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone()).path_and_query(target).build()?;
        *request.version_mut() = Version::HTTP_11;
        Ok(())
    }
}

/// Makes of a request what the upstream is to get, or refuses it. The cache sees nothing else.
#[expect(clippy::result_large_err, reason = "a refusal is rare, and is sent at once")]
fn prepare(request: Request<Incoming>) -> Result<Request<Body>, Response<UpstreamBody>> {
    if request.method() == Method::CONNECT {
        let mut refusal = failure(StatusCode::METHOD_NOT_ALLOWED, "this is no proxy for other servers\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        return Err(refusal);
    }
    if request.headers().get_all(HOST).iter().count() > 1 {
        return Err(failure(StatusCode::BAD_REQUEST, "a request is for one host\n"));
    }
    let (mut parts, body) = request.into_parts();
    // The target's authority takes precedence over `Host` (RFC 9112 §3.2.2); HTTP/2 has only the former.
    let host = parts.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str())).transpose();
    let host = host.map_err(|_| failure(StatusCode::BAD_REQUEST, "the host is none\n"))?;
    let to_websocket = asks_for_websocket(&parts);
    remove_connection_fields(&mut parts.headers);
    parts.headers.remove(TRAILER);
    if to_websocket {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    if let Some(host) = host {
        parts.headers.insert(HOST, host);
    }
    parts.headers.append(VIA, HeaderValue::from_static("1.1 larder"));
    Ok(Request::from_parts(parts, Body::new(WithoutTrailers(body))))
}

/// Of all protocols, this alone is passed through: what a tunnel carries, no cache sees.
fn asks_for_websocket(request: &http::request::Parts) -> bool {
    let mut protocols = request.headers.get_all(UPGRADE).iter();
    let websocket = protocols.next().is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"));
    websocket && protocols.next().is_none() && request.method == Method::GET && request.version == Version::HTTP_11
}

/// Request trailers are fields that come after the cache has made its key.
struct WithoutTrailers(Incoming);

impl hyper::body::Body for WithoutTrailers {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.0).poll_frame(cx);
        polled.map(|frame| frame.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

fn failure(status: StatusCode, text: &'static str) -> Response<UpstreamBody> {
    let mut response = Response::new(Either::Right(Full::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The connection to the upstream is not that to the client. (What is stored, larder has freed of these fields already.)
fn without_connection_fields(mut response: Response<ProxyBody>) -> Response<ProxyBody> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        remove_connection_fields(response.headers_mut());
    }
    response
}

fn remove_connection_fields(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named.iter().chain(&[CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE]) {
        headers.remove(name);
    }
}
