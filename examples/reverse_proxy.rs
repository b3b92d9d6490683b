//! A caching reverse proxy: larder around a hyper client.
//!
//! ```sh
//! cargo run --release --example reverse_proxy -- --listen 127.0.0.1:8001 --upstream http://127.0.0.1:8000 --profile strict
//! ```
//!
//! Responses are stored as their own headers say; the profile `strict` is RFC 9111 to the letter. Bodies are streamed both ways,
//! upgrades (WebSocket) are passed through, an upstream that fails is answered with 502 or 504, and no request is ever sent
//! twice.

use std::{convert::Infallible, error::Error, net::SocketAddr, time::Duration};

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE, VIA},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use larder::{Cache, CacheLayer, ResponseBody};
use tokio::{
    io::copy_bidirectional,
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tower::{ServiceBuilder, service_fn};

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
            layer = layer.cache_status();
        }
        layer
    }
}

type UpstreamBody = Either<Incoming, Full<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let upstream = Upstream::new(&options)?;
    let cache = Cache::connect(&options.cache).await?;
    let service = ServiceBuilder::new()
        .map_response(without_connection_fields)
        .layer(options.layer(&cache))
        .service(service_fn(move |request| upstream.clone().answer(request)));

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
    Ok(())
}

/// The server behind.
#[derive(Clone)]
struct Upstream {
    client: Client<HttpConnector, Incoming>,
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

    async fn answer(self, mut request: Request<Incoming>) -> Result<Response<UpstreamBody>, Infallible> {
        let upgrading = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
        if self.prepare(&mut request, upgrading.is_some()).is_err() {
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
        if let Some(client) = upgrading.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
            let upstream = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                if let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) {
                    let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await;
                }
            });
        }
        Ok(response.map(Either::Left))
    }

    /// Makes a request for the upstream of one for us.
    fn prepare(&self, request: &mut Request<Incoming>, upgrading: bool) -> Result<(), http::Error> {
        let target = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        // Over HTTP/2 the host stands in the target alone.
        let host = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str())).transpose()?;
        *request.uri_mut() =
            Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone()).path_and_query(target).build()?;
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        let protocol = headers.get(UPGRADE).cloned();
        remove_connection_fields(headers);
        if let Some(protocol) = protocol.filter(|_| upgrading) {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, protocol);
        }
        if let Some(host) = host {
            headers.insert(HOST, host);
        }
        headers.append(VIA, HeaderValue::from_static("1.1 larder"));
        Ok(())
    }
}

fn failure(status: StatusCode, text: &'static str) -> Response<UpstreamBody> {
    let mut response = Response::new(Either::Right(Full::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
    response
}

/// The connection to the upstream is not that to the client. (What is stored, larder has freed of these fields already.)
fn without_connection_fields(mut response: Response<ResponseBody<UpstreamBody>>) -> Response<ResponseBody<UpstreamBody>> {
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
