//! A search for cache poisoning in an application.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{AGE, CONTENT_TYPE, DATE, EXPIRES, HOST},
};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use tower_service::Service;

use super::{
    attack_vectors::{CANARIES, Vector},
    probe_report::{Finding, ProbeReport},
};
use crate::{
    cache::Cache,
    http::cache_status::{CACHE_STATUS, CacheStatus, Reason},
};

/// Searches for cache poisoning: for a request of one client that changes the response that others receive.
///
/// Each of about 200 attempts builds the application with an empty in-memory cache. It sends a request with a canary in a header field
/// (about 90 fields), a cookie, the query, the path or the body, and then a clean request. If the clean request is a hit whose response
/// contains the canary, or differs in status, header fields or body from the response of a clean application, then the response depends on
/// a part of the request that is not in the key.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
/// use axum::{Router, http::HeaderMap, routing::get};
/// use larder::{Cache, testing::Probe};
///
/// fn app(cache: Cache) -> Router {
///     let minute = cache.layer().ttl(Duration::from_secs(60)).vary_on(["x-theme"]);
///     Router::new().route("/page", get(page).layer(minute))
/// }
///
/// async fn page(headers: HeaderMap) -> String {
///     let theme = headers.get("x-theme").and_then(|theme| theme.to_str().ok());
///     format!("<body class={:?}>", theme.unwrap_or("light")) // poisonous without `vary_on`
/// }
///
/// Probe::new(app).get("/page").run().await.assert();
/// # }
/// ```
///
/// The probe knows common names of fields and cookies. Add those of the application by [`field`](Self::field) and
/// [`cookie`](Self::cookie). Handlers run for each attempt, so they should be fast, and must tolerate malformed input.
#[must_use = "a probe does nothing until `run`"]
pub struct Probe<F> {
    build: F,
    pages: Vec<Uri>,
    with: HeaderMap,
    fields: Vec<HeaderName>,
    cookies: Vec<String>,
}

const CACHE_BYTES: u64 = 16 << 20;

/// The number of clean runs, which show which parts of a response are stable.
const CLEAN_RUNS: usize = 3;

impl<F> Probe<F> {
    /// Creates a probe for the application that `build` builds with a cache.
    pub fn new<S>(build: F) -> Self
    where
        F: Fn(Cache) -> S,
    {
        Self { build, pages: Vec::new(), with: HeaderMap::new(), fields: Vec::new(), cookies: Vec::new() }
    }

    /// Adds a page to probe, with its query.
    ///
    /// # Panics
    /// If `page` is not a URI.
    pub fn get(mut self, page: &str) -> Self {
        self.pages.push(page.parse().unwrap_or_else(|error| panic!("`{page}` is not a URI: {error}")));
        self
    }

    /// Adds a field to all requests, including the clean ones. `Host` is `example.com` by default.
    ///
    /// # Panics
    /// If the name or value is invalid.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).unwrap_or_else(|error| panic!("`{value}` is not a field value: {error}"));
        self.with.append(field_name(name), value);
        self
    }

    /// Adds a field to try.
    ///
    /// # Panics
    /// If the name or value is invalid.
    pub fn field(mut self, name: &str) -> Self {
        self.fields.push(field_name(name));
        self
    }

    /// Adds a cookie to try.
    pub fn cookie(mut self, name: &str) -> Self {
        self.cookies.push(name.to_owned());
        self
    }

    /// Runs all attempts.
    ///
    /// Requests have a body of type [`Full`], which a `Router` accepts. For an application with another body type,
    /// `tower::ServiceExt::map_request` converts the requests.
    pub async fn run<S, B>(self) -> ProbeReport
    where
        F: Fn(Cache) -> S,
        S: Service<Request<Full<Bytes>>, Response = Response<B>>,
        B: Body,
    {
        let after = |first: Request<Bytes>, then: Request<Bytes>| -> Pin<Box<dyn Future<Output = Option<Answer>> + '_>> {
            let mut app = (self.build)(Cache::in_memory(CACHE_BYTES));
            Box::pin(async move {
                // If the attack fails, nothing is stored.
                let _ = send(&mut app, first).await;
                send(&mut app, then).await
            })
        };
        let mut report = ProbeReport::default();
        for page in &self.pages {
            let client = Client { after: &after, page, with: &self.with };
            let vectors = Vector::all(page, &self.fields, &self.cookies);
            if let Err(reason) = client.try_all(vectors, &mut report).await {
                report.unstored.push((page.to_string(), reason));
            }
        }
        report
    }
}

fn field_name(name: &str) -> HeaderName {
    name.parse().unwrap_or_else(|error| panic!("`{name}` is not a field name: {error}"))
}

/// Returns the response to the second request after the first, by a new application.
type After<'p> = dyn Fn(Request<Bytes>, Request<Bytes>) -> Pin<Box<dyn Future<Output = Option<Answer>> + 'p>> + 'p;

/// Sends requests for one page.
struct Client<'p> {
    after: &'p After<'p>,
    page: &'p Uri,
    with: &'p HeaderMap,
}

/// A response, read to its end.
#[derive(Debug, Clone)]
struct Answer {
    code: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    cache: Option<CacheStatus>,
}

impl Client<'_> {
    async fn try_all(&self, vectors: Vec<Vector>, report: &mut ProbeReport) -> Result<(), String> {
        let mut clean = Vec::new();
        for _ in 0..CLEAN_RUNS {
            clean.push(self.clean().await.ok_or("the application failed")?.hit()?);
        }
        for vector in vectors {
            report.tried += 1;
            if self.effect(&vector, &clean).await.is_none() {
                continue;
            }
            // A difference may come from the time. Compare again, with another clean response.
            clean.extend(self.clean().await);
            if let Some(effect) = self.effect(&vector, &clean).await {
                report.findings.push(Finding::new(self.page.to_string(), vector, effect));
            }
        }
        Ok(())
    }

    async fn clean(&self) -> Option<Answer> {
        (self.after)(self.request(), self.request()).await
    }

    /// Returns how the response to a clean request differs after a request with this vector.
    async fn effect(&self, vector: &Vector, clean: &[Answer]) -> Option<String> {
        let mut attack = self.request();
        vector.apply(&mut attack);
        let answer = (self.after)(attack, self.request()).await?;
        if answer.is_hit() { answer.difference(clean) } else { None }
    }

    fn request(&self) -> Request<Bytes> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.page.clone();
        *request.headers_mut() = self.with.clone();
        request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static("example.com"));
        request
    }
}

impl Answer {
    fn is_hit(&self) -> bool {
        self.cache.is_some_and(|status| status.is_hit())
    }

    /// Returns the answer, or why the second of two clean requests is not a hit.
    fn hit(self) -> Result<Self, String> {
        match self.cache {
            _ if self.is_hit() => Ok(self),
            None => Err("its response did not pass a larder layer".to_owned()),
            Some(status) => Err(format!("`{status}`. {}", status.reason().map_or("", Reason::explanation))),
        }
    }

    /// Returns a difference from the clean answers, in a part in which those agree with each other.
    fn difference(&self, clean: &[Self]) -> Option<String> {
        let first = &clean[0];
        let codes_agree = clean.iter().all(|clean| clean.code == first.code);
        let bodies_agree = clean.iter().all(|clean| clean.body == first.body);
        if let Some(canary) = self.canary(clean) {
            return Some(canary);
        }
        if codes_agree && self.code != first.code {
            return Some(format!("the status is {} rather than {}", self.code, first.code));
        }
        let kind = self.field_difference(clean, |name| *name == CONTENT_TYPE);
        kind.or_else(|| (bodies_agree && self.body != first.body).then(|| "the body differs".to_owned()))
            .or_else(|| self.field_difference(clean, |name| !changes_with_time(name)))
    }

    fn canary(&self, clean: &[Self]) -> Option<String> {
        let is_new = |canary: &&&str| !clean.iter().any(|clean| contains(&clean.body, canary));
        if let Some(canary) = CANARIES.iter().filter(is_new).find(|canary| contains(&self.body, canary)) {
            return Some(format!("the body contains `{canary}`"));
        }
        let fields = self.headers.iter().filter(|(name, _)| !changes_with_time(name));
        fields
            .flat_map(|(name, value)| CANARIES.iter().map(move |canary| (name, value, canary)))
            .find(|(_, value, canary)| contains(value.as_bytes(), canary))
            .map(|(name, _, canary)| format!("the field `{name}` contains `{canary}`"))
    }

    fn field_difference(&self, clean: &[Self], counts: impl Fn(&HeaderName) -> bool) -> Option<String> {
        let first = &clean[0];
        let lines = |answer: &Self, name: &HeaderName| answer.headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        let differs = |name: &&HeaderName| {
            let expected = lines(first, name);
            clean.iter().all(|clean| lines(clean, name) == expected) && lines(self, name) != expected
        };
        let name = self.headers.keys().chain(first.headers.keys()).filter(|name| counts(name)).find(differs)?;
        let shown = |answer: &Self| answer.headers.get(name).map_or("absent".to_owned(), |value| format!("{value:?}"));
        Some(format!("the field `{name}` is {} rather than {}", shown(self), shown(first)))
    }
}

fn changes_with_time(name: &HeaderName) -> bool {
    [AGE, DATE, EXPIRES, CACHE_STATUS].contains(name)
}

/// Ignores the letter case, which handlers may change.
fn contains(text: &[u8], canary: &str) -> bool {
    text.windows(canary.len()).any(|window| window.eq_ignore_ascii_case(canary.as_bytes()))
}

/// `None` if the application failed.
async fn send<S, B>(app: &mut S, request: Request<Bytes>) -> Option<Answer>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    B: Body,
{
    poll_fn(|cx| app.poll_ready(cx)).await.ok()?;
    let response = app.call(request.map(Full::from)).await.ok()?;
    let cache = CacheStatus::of(&response).copied();
    let (parts, body) = response.into_parts();
    Some(Answer { code: parts.status, headers: parts.headers, body: body.collect().await.ok()?.to_bytes(), cache })
}

impl<F> fmt::Debug for Probe<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("pages", &self.pages).finish_non_exhaustive()
    }
}
