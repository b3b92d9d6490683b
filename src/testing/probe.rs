//! A search for cache poisoning in an application.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
};

use bytes::{Buf as _, Bytes};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{AGE, CONTENT_TYPE, DATE, EXPIRES, HOST},
};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use tower_service::Service;

use super::{
    attack_vectors::{CANARIES, User, Vector},
    cookie_jar::CookieJar,
    probe_report::{Finding, ProbeReport},
};
use crate::{
    cache::Cache,
    http::cache_status::{CACHE_STATUS, CacheStatus, Reason},
};

/// Searches for cache poisoning: for a request of one client that changes the response that others receive.
///
/// Each of some 280 attempts builds the application with an empty in-memory cache. It sends a request with a canary in a header field
/// (about 160 fields, also those in which gateways name users), a cookie, the query, the path or the body, or with the credentials of a
/// [`user`](Self::user) or of one who has logged in ([`login`](Self::login)), and then a clean request. If the clean request is a hit whose response contains the canary, or differs in status,
/// header fields or body from the response of a clean application, then the response depends on a part of the request that is not in the
/// key. Floods of variants and requests that are refused must not end caching: after them, the second clean request has to be a hit.
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
    users: Vec<User>,
}

const CACHE_BYTES: u64 = 16 << 20;

/// The number of clean runs, which show which parts of a response are stable. Each has one request more than the one before: a part that counts
/// requests, such as a cookie that a layer outside of the cache sets, is not stable.
const CLEAN_RUNS: usize = 3;

impl<F> Probe<F> {
    /// Creates a probe for the application that `build` builds with a cache.
    pub fn new<S>(build: F) -> Self
    where
        F: Fn(Cache) -> S,
    {
        Self { build, pages: Vec::new(), with: HeaderMap::new(), fields: Vec::new(), cookies: Vec::new(), users: Vec::new() }
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

    /// Adds a user, by the field with the user's credentials, such as `cookie` and `sid=…`: what the user gets must not reach others.
    ///
    /// The user requests the page twice, and sends the cookies that the application has set on the first time with the second.
    ///
    /// # Panics
    /// If the name or value is invalid.
    pub fn user(mut self, name: &str, value: &str) -> Self {
        let value = HeaderValue::from_str(value)
            .unwrap_or_else(|error| panic!("the credentials in `{name}` are not a field value: {error}"));
        self.users.push(User::Field(field_name(name), value));
        self
    }

    /// Adds a user who logs in: before the page, `form` is sent to `path` by `POST`, as `application/x-www-form-urlencoded`. The requests for the page
    /// have the cookies that the application has set in its response, and in further ones.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use axum::{Router, http::header::SET_COOKIE, routing::{get, post}};
    /// use larder::{Cache, testing::Probe};
    ///
    /// fn app(cache: Cache) -> Router {
    ///     let minute = cache.layer().ttl(std::time::Duration::from_secs(60)).bypass_on_cookies(["sid"]);
    ///     Router::new()
    ///         .route("/page", get(|| async { "for all" }).layer(minute))
    ///         .route("/login", post(|| async { [(SET_COOKIE, "sid=1; HttpOnly")] }))
    /// }
    ///
    /// Probe::new(app).get("/page").login("/login", "user=alice&password=secret").run().await.assert();
    /// # }
    /// ```
    ///
    /// # Panics
    /// If `path` is not a URI.
    pub fn login(mut self, path: &str, form: &str) -> Self {
        let target = path.parse().unwrap_or_else(|error| panic!("`{path}` is not a URI: {error}"));
        self.users.push(User::Login(target, form.to_owned()));
        self
    }

    /// Runs all attempts. Of each response, at most 1 MiB in 1,024 pieces is read.
    ///
    /// Requests have a body of type [`Full`], which a `Router` accepts. For an application with another body type,
    /// `tower::ServiceExt::map_request` converts the requests.
    pub async fn run<S, B>(self) -> ProbeReport
    where
        F: Fn(Cache) -> S,
        S: Service<Request<Full<Bytes>>, Response = Response<B>>,
        B: Body,
    {
        let after =
            |attack: Vec<Request<Bytes>>, clean: Vec<Request<Bytes>>| -> Pin<Box<dyn Future<Output = Option<Answer>> + '_>> {
                let mut app = (self.build)(Cache::in_memory(CACHE_BYTES));
                Box::pin(async move {
                    // The cookies of the attacker; each clean request is that of another client, who has none yet.
                    let mut cookies = CookieJar::default();
                    for mut request in attack {
                        cookies.add_to(&mut request);
                        // If an attack fails, nothing is stored.
                        if let Some(answer) = send(&mut app, request).await {
                            cookies.take(&answer.headers);
                        }
                    }
                    let mut last = None;
                    for request in clean {
                        last = send(&mut app, request).await;
                    }
                    last
                })
            };
        let mut report = ProbeReport::default();
        for page in &self.pages {
            let client = Client { after: &after, page, with: &self.with };
            let vectors = Vector::all(page, &self.fields, &self.cookies, &self.users);
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

/// Returns the response to the last of the clean requests, each of another client, after those of an attacker, by a new application.
type After<'p> = dyn Fn(Vec<Request<Bytes>>, Vec<Request<Bytes>>) -> Pin<Box<dyn Future<Output = Option<Answer>> + 'p>> + 'p;

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
        for before in 1..=CLEAN_RUNS {
            clean.push(self.clean(before).await.ok_or("the application failed")?.hit()?);
        }
        for vector in vectors {
            report.tried += 1;
            if self.effect(&vector, &clean).await.is_none() {
                continue;
            }
            // A difference may come from the time, or from the number of requests. Compare again, with another clean response.
            clean.extend(self.clean(vector.requests(|| self.request()).len()).await);
            if let Some(effect) = self.effect(&vector, &clean).await {
                report.findings.push(Finding::new(self.page.to_string(), vector, effect));
            }
        }
        Ok(())
    }

    /// Returns the response to a clean request after so many others.
    async fn clean(&self, before: usize) -> Option<Answer> {
        let requests = (0..=before).map(|_| self.request()).collect();
        (self.after)(Vec::new(), requests).await
    }

    /// Returns how the response to a clean request differs after a request with this vector.
    async fn effect(&self, vector: &Vector, clean: &[Answer]) -> Option<String> {
        // What an attack has removed, the first of two clean requests stores again.
        let clean_requests = (0..=usize::from(vector.is_denial())).map(|_| self.request()).collect();
        let answer = (self.after)(vector.requests(|| self.request()), clean_requests).await?;
        match (answer.is_hit(), vector.is_denial()) {
            (true, false) => answer.difference(clean),
            (false, true) => Some("the page is no longer answered from the cache".to_owned()),
            (true, true) | (false, false) => None,
        }
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
            Some(status) if status.is_stored() => Err(format!(
                "`{status}`. Its own response is stored, as that of the request before may have been: the two requests have different keys, or the \
                 response of the first could not be stored, or is already stale"
            )),
            Some(status) => Err(format!("`{status}`. {}", status.reason().map_or("", Reason::explanation)).trim_end().to_owned()),
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
    Some(Answer { code: parts.status, headers: parts.headers, body: read(body).await?, cache })
}

/// Reads a body, but not one that does not end.
async fn read<B: Body>(body: B) -> Option<Bytes> {
    const MAX_BYTES: usize = 1 << 20;
    const MAX_FRAMES: usize = 1024;
    let (mut body, mut read) = (pin!(body), Vec::new());
    for _ in 0..MAX_FRAMES {
        let Some(frame) = body.frame().await else { break };
        if let Ok(mut data) = frame.ok()?.into_data() {
            read.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        if read.len() > MAX_BYTES {
            break;
        }
    }
    Some(read.into())
}

impl<F> fmt::Debug for Probe<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("pages", &self.pages).finish_non_exhaustive()
    }
}
