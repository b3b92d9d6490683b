//! An origin that answers by a script, and the cache in front of it, in either profile.

use std::{
    collections::VecDeque,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request::Parts};
use larder::{Cache, CacheLayer, CacheService, ManualClock};
use tower::{Layer as _, Service, ServiceExt as _};

use crate::support::{Answer, cache, read, request};

/// What the clock shows when a test begins, in seconds: Mon, 02 Nov 2026 08:00:00 GMT.
const BEGIN: u64 = 1_793_606_400;

pub(crate) const BEGINS: &str = "Mon, 02 Nov 2026 08:00:00 GMT";

/// No value at all, of those that were tried.
pub(crate) const NONE: [&str; 0] = [];

/// The date so many seconds after the beginning of the test.
pub(crate) fn date(seconds: i64) -> String {
    let seconds = BEGIN.checked_add_signed(seconds).unwrap();
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// How far larder goes beyond the RFCs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Default,
    Strict,
}

pub(crate) use Profile::{Default, Strict};

pub(crate) const PROFILES: [Profile; 2] = [Default, Strict];

impl Profile {
    /// A cache in front of an origin that gives these replies, one after the other, and then the last one forever.
    pub(crate) fn site(self, replies: impl IntoIterator<Item = Reply>) -> Site {
        self.site_with(|layer| layer, replies)
    }

    /// The same with further settings.
    pub(crate) fn site_with(self, set: impl FnOnce(CacheLayer) -> CacheLayer, replies: impl IntoIterator<Item = Reply>) -> Site {
        let (cache, clock) = cache();
        clock.set(UNIX_EPOCH + Duration::from_secs(BEGIN));
        let origin = Origin { script: Arc::new(Mutex::new(Script::new(replies))), clock: clock.clone() };
        let layer = match self {
            Default => cache.layer(),
            Strict => cache.layer().strict(),
        };
        let service = set(layer).layer(origin.clone());
        Site { cache, clock, origin, service }
    }
}

/// A page behind a cache.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) cache: Cache,
    clock: ManualClock,
    origin: Origin,
    service: CacheService<Origin>,
}

impl Site {
    /// Asks for the page.
    pub(crate) async fn get(&self) -> Answer {
        self.get_with(&[]).await
    }

    pub(crate) async fn get_with(&self, lines: &[(&str, &str)]) -> Answer {
        self.send(request(Method::GET, "/page", lines)).await
    }

    pub(crate) async fn head(&self) -> Answer {
        self.send(request(Method::HEAD, "/page", &[])).await
    }

    pub(crate) async fn method(&self, method: &str) -> Answer {
        self.send(request(method.parse().unwrap(), "/page", &[])).await
    }

    pub(crate) async fn send(&self, request: Request) -> Answer {
        self.attempt(request).await.unwrap()
    }

    /// Asks for the page of an origin that may be gone.
    pub(crate) async fn try_get(&self) -> Result<Answer, Gone> {
        self.attempt(request(Method::GET, "/page", &[])).await
    }

    async fn attempt(&self, request: Request) -> Result<Answer, Gone> {
        Ok(read(self.respond(request).await?).await)
    }

    /// The response with its body unread.
    pub(crate) async fn respond(&self, request: Request) -> Result<Response, Gone> {
        Ok(self.service.clone().oneshot(request).await?.map(Body::new))
    }

    /// Lets so many seconds pass.
    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Sets the clock back to so many seconds before the beginning.
    pub(crate) fn turn_back(&self, seconds: u64) {
        self.clock.set(SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN - seconds));
    }

    /// How often the origin has been asked.
    pub(crate) fn asked(&self) -> usize {
        self.origin.script.lock().unwrap().requests.len()
    }

    /// The origin's requests, the first one first.
    pub(crate) fn requests(&self) -> Vec<Parts> {
        self.origin.script.lock().unwrap().requests.clone()
    }

    /// A field of the latest request that the origin got.
    pub(crate) fn received(&self, field: &str) -> Option<String> {
        let requests = self.requests();
        let value = requests.last()?.headers.get(field)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
}

/// Those of `values` for which what `reply` makes of them answers a second request, so many seconds after the first.
pub(crate) async fn reused<'v>(
    profile: Profile,
    seconds: u64,
    values: &[&'v str],
    reply: impl Fn(&'v str) -> Reply,
) -> Vec<&'v str> {
    let mut reused = Vec::new();
    for value in values {
        if is_reused(profile, seconds, reply(value)).await {
            reused.push(*value);
        }
    }
    reused
}

/// Whether a reply answers a second request, so many seconds after the first.
pub(crate) async fn is_reused(profile: Profile, seconds: u64, reply: Reply) -> bool {
    let site = profile.site([reply]);
    let first = site.get().await;
    site.pass(seconds);
    let second = site.get().await;
    assert!(first.body.is_empty() || (first.body == second.body) == (site.asked() == 1), "the same, or one that was asked for");
    site.asked() == 1
}

/// What an origin answers to one request.
#[derive(Clone)]
pub(crate) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    content: Content,
    /// How long it takes to answer.
    takes: Duration,
}

#[derive(Clone)]
enum Content {
    /// `answer 1`, `answer 2`, …: the number of the request.
    Numbered,
    Made(fn() -> Body),
    /// No answer at all: the connection closes.
    Gone,
}

/// A reply with these header lines; its body says `answer` and the number of the request.
pub(crate) fn reply(status: u16, lines: &[(&str, &str)]) -> Reply {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    Reply { status: StatusCode::from_u16(status).unwrap(), headers, content: Content::Numbered, takes: Duration::ZERO }
}

pub(crate) fn ok(lines: &[(&str, &str)]) -> Reply {
    reply(200, lines)
}

/// A reply that is fresh for a minute.
pub(crate) fn fresh() -> Reply {
    ok(&[("cache-control", "max-age=60")])
}

/// A reply with this `Cache-Control`.
pub(crate) fn controlled(directives: &str) -> Reply {
    ok(&[("cache-control", directives)])
}

/// An origin that closes the connection.
pub(crate) fn gone() -> Reply {
    Reply { content: Content::Gone, ..reply(200, &[]) }
}

impl Reply {
    /// With one more line.
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_ref()).unwrap());
        self
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Self { status: StatusCode::from_u16(status).unwrap(), ..self }
    }

    pub(crate) fn body(self, make: fn() -> Body) -> Self {
        Self { content: Content::Made(make), ..self }
    }

    /// After so many seconds.
    pub(crate) fn takes(self, seconds: u64) -> Self {
        Self { takes: Duration::from_secs(seconds), ..self }
    }

    fn answer(self, method: &Method, number: usize) -> Result<Response, Gone> {
        let empty = *method == Method::HEAD || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let body = match self.content {
            Content::Gone => return Err(Gone),
            _ if empty => Body::empty(),
            Content::Numbered => Body::from(format!("answer {number}")),
            Content::Made(make) => make(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        Ok(response)
    }
}

/// The connection to the origin was closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

#[derive(Debug, Clone)]
struct Origin {
    script: Arc<Mutex<Script>>,
    clock: ManualClock,
}

struct Script {
    replies: VecDeque<Reply>,
    requests: Vec<Parts>,
}

impl Script {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self { replies: replies.into_iter().collect(), requests: Vec::new() }
    }

    fn next(&mut self) -> Reply {
        match self.replies.len() {
            0 | 1 => self.replies[0].clone(),
            _ => self.replies.pop_front().unwrap(),
        }
    }
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl Service<Request> for Origin {
    type Response = Response;
    type Error = Gone;
    type Future = Ready<Result<Response, Gone>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut script = self.script.lock().unwrap();
        let method = request.method().clone();
        script.requests.push(request.into_parts().0);
        let reply = script.next();
        self.clock.advance(reply.takes);
        ready(reply.answer(&method, script.requests.len()))
    }
}
