//! The settings of a warm-up.

use std::{error::Error as StdError, fmt, pin::Pin, sync::Arc};

use futures_core::Stream;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, uri::Scheme};
use http_body::Body;
use tower_service::Service;

use super::{
    requests::{Requests, Target},
    sitemap::locations,
};
use crate::{
    cache::{Cache, jobs::WarmProgress},
    error::Error,
    fetch::refresh::{Purpose, Refresh, RefreshOutcome, send},
    key::revision::NextRevision,
};

type Sending = Pin<Box<dyn Future<Output = Result<(StatusCode, RefreshOutcome), String>> + Send>>;

/// Sends a request through the layered service.
type SendOne = Box<dyn Fn(Request<String>, Refresh) -> Sending + Send>;

/// What is told of the progress.
pub(super) type OnProgress = Arc<dyn Fn(&WarmProgress) + Send + Sync>;

/// The most combinations of header fields for one page.
const MOST_COMBINATIONS: usize = 1000;

/// A warm-up that has not been started, made by [`Cache::warm`].
///
/// | chapter | setters |
/// |---|---|
/// | which pages | [`paths`](Self::paths), [`sitemap`](Self::sitemap), [`requests`](Self::requests), [`vary`](Self::vary) |
/// | as clients send them | [`host`](Self::host), [`scheme`](Self::scheme), [`header`](Self::header) |
/// | how much, how fast | [`skip_fresh`](Self::skip_fresh), [`concurrency`](Self::concurrency), [`budget`](Self::budget), [`limit`](Self::limit), [`stop_after_failures`](Self::stop_after_failures) |
/// | to watch it | [`name`](Self::name), [`on_progress`](Self::on_progress), `progress_bar` with the feature `progress` |
///
/// Lists add, values replace, and the last call wins.
#[must_use = "a warm-up does nothing until it is started"]
pub struct Warm {
    pub(super) cache: Cache,
    pub(super) send: SendOne,
    pub(super) requests: Requests,
    pub(super) revision: Option<NextRevision>,
    pub(super) purpose: Purpose,
    pub(super) name: Option<String>,
    pub(super) concurrency: usize,
    pub(super) budget: f64,
    pub(super) limit: u64,
    pub(super) most_failures: u64,
    pub(super) on_progress: Vec<OnProgress>,
}

impl Cache {
    /// Begins to describe a warm-up: requests that are sent through `app`, a service that contains layers of this cache, and whose responses
    /// the layers store.
    ///
    /// Give it the application as clients reach it, with everything around the layers: then the keys, the policy and the limits are those of
    /// client requests. A response that no client would find stored is not stored for a warm-up either. `app` must accept an empty `String`
    /// as the request body, as every axum `Router` does; around other services, map the body with `tower::util::MapRequest`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # use std::time::Duration;
    /// use axum::{Router, routing::get};
    /// use larder::Cache;
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// let minute = cache.layer().ttl(Duration::from_secs(60));
    /// let app: Router = Router::new().route("/posts/{id}", get(|| async { "…" }).layer(minute));
    ///
    /// let warming = cache.warm(app.clone()).host("example.com").paths(["/posts/1", "/posts/2", "/none"]).start();
    /// let report = warming.await;
    /// assert_eq!(report.to_string(), "2 stored, 1 not stored: no-layer (1)");
    /// # }
    /// ```
    pub fn warm<S, ResBody>(&self, app: S) -> Warm
    where
        S: Service<Request<String>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        ResBody: Body<Data: Send> + Send + 'static,
        ResBody::Error: Send,
    {
        let send_one = move |request, refresh| -> Sending {
            let app = app.clone();
            Box::pin(async move { send(app, request, refresh).await.map_err(|error| describe(&*error.into())) })
        };
        Warm {
            cache: self.clone(),
            send: Box::new(send_one),
            requests: Requests::default(),
            revision: None,
            purpose: Purpose::Replace,
            name: None,
            concurrency: 4,
            budget: 1.0,
            limit: u64::MAX,
            most_failures: u64::MAX,
            on_progress: Vec::new(),
        }
    }
}

/// Which pages.
impl Warm {
    /// Adds pages by path and query, such as `/posts?page=2`. Bytes that may not be in a URI are percent-encoded.
    pub fn paths<P: AsRef<str>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.requests
            .add_targets(paths.into_iter().map(|path| Target::Path { host: None, path: path.as_ref().to_owned() }).collect());
        self
    }

    /// Adds the pages of a sitemap, given as its text. They are requested with the hosts that the sitemap names, unless there is a
    /// [`host`](Self::host); the scheme of its URLs is ignored, as that is what a proxy in front may have removed.
    ///
    /// # Errors
    /// If the text is no sitemap: in particular if it is a sitemap index, which lists sitemaps instead of pages, or compressed.
    pub fn sitemap(mut self, xml: &str) -> Result<Self, Error> {
        self.requests.add_targets(locations(xml)?);
        Ok(self)
    }

    /// Adds requests as they are, with whatever selects their responses. Fields of [`header`](Self::header) are added where they are
    /// absent, and a host if there is none. The stream is read as requests are sent, so that it may be long.
    pub fn requests(mut self, requests: impl Stream<Item = Request<()>> + Send + 'static) -> Self {
        self.requests.add_stream(Box::pin(requests));
        self
    }

    /// Requests each page once for each of these values of a request field, as needed for responses with `Vary`. Several calls multiply:
    /// two languages and three encodings are six requests for each page.
    ///
    /// # Panics
    /// If `field` or a value is not valid in HTTP, or with more than 1,000 combinations.
    #[track_caller]
    pub fn vary<V: AsRef<str>>(mut self, field: impl AsRef<str>, values: impl IntoIterator<Item = V>) -> Self {
        let name = field_name(field.as_ref());
        let mut all = Vec::new();
        for value in values {
            all.push(field_value(value.as_ref()));
        }
        self.requests.vary.push((name, all));
        let combinations = self.requests.combinations();
        assert!(
            combinations <= MOST_COMBINATIONS,
            "a warm-up would request each page {combinations} times: {MOST_COMBINATIONS} is the most"
        );
        self
    }
}

/// As clients send them: what is in the key of a response must be as in the requests of clients. If it is not, and clients miss what was
/// warmed, a warning says once what differs.
impl Warm {
    /// Sets the host; default: none, or the host in the sitemap or the request.
    ///
    /// # Panics
    /// If it is not valid in a header field.
    #[track_caller]
    pub fn host(mut self, host: impl AsRef<str>) -> Self {
        self.requests.host = Some(field_value(host.as_ref()));
        self
    }

    /// Sets the scheme, for an application whose clients speak HTTP/2 with it: their requests have an absolute URI. Default: none, as in
    /// HTTP/1.1, which is the same as `http`. Behind a proxy that speaks HTTP/1.1 with the application, set the field in which it names
    /// the scheme by [`header`](Self::header) instead.
    ///
    /// # Panics
    /// If it is not a valid scheme.
    #[track_caller]
    pub fn scheme(mut self, scheme: impl AsRef<str>) -> Self {
        let scheme = scheme.as_ref();
        match scheme.parse::<Scheme>() {
            Ok(parsed) => self.requests.scheme = Some(parsed),
            Err(_) => panic!("`{scheme}` is not the scheme of a URI"),
        }
        self
    }

    /// Adds a field to all requests, such as `x-forwarded-proto: https` where a proxy adds it to the requests of clients; further calls add
    /// fields, and a second value of a name replaces the first.
    ///
    /// # Panics
    /// If name or value is not valid in HTTP.
    #[track_caller]
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.requests.headers.insert(field_name(name.as_ref()), field_value(value.as_ref()));
        self
    }
}

/// How much, and how fast.
impl Warm {
    /// Leaves fresh responses as they are, and requests only what is missing or stale. Default: every page is requested, and its response
    /// replaces the stored one. A lookup for each page remains.
    pub fn skip_fresh(mut self) -> Self {
        self.purpose = Purpose::FillGap;
        self
    }

    /// Limits the requests that run at once; default: 4, at least 1.
    ///
    /// While the handlers answer more slowly than at the start of the warm-up, fewer run: if among 20 runs two or more take more than
    /// twice as long as the 99th percentile of the first 20 runs of their route (and more than 10 ms), the number is halved; after 20
    /// runs without any, it grows by one. If that does not help with a single one, five times in a row, the warm-up ends with
    /// [`WarmEnd::SlowHandlers`](crate::WarmEnd).
    pub fn concurrency(mut self, most: usize) -> Self {
        self.concurrency = most.max(1);
        self
    }

    /// Limits the share of the time that requests may run, from 0.01 to 1.0; default: 1.0. With 0.25, each of the concurrent requests
    /// is followed by a pause three times as long, at most a minute, in which the handlers serve clients.
    pub fn budget(mut self, share: f64) -> Self {
        self.budget = if share.is_nan() { 1.0 } else { share.clamp(0.01, 1.0) };
        self
    }

    /// Limits the number of requests; default: no limit. A warm-up that has more ends with [`WarmEnd::Limit`](crate::WarmEnd).
    pub fn limit(mut self, requests: u64) -> Self {
        self.limit = requests;
        self
    }

    /// Ends the warm-up after so many failures: errors, panics and responses with a status of 500 or more. Default: it goes on.
    pub fn stop_after_failures(mut self, failures: u64) -> Self {
        self.most_failures = failures.max(1);
        self
    }
}

/// To watch it.
impl Warm {
    /// Names the warm-up, for logs and for the operator's page; default: `warm-up`. A [schedule](Cache::every) has a name of its own.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Calls `listener` after each request, on the task of the warm-up: it delays further requests, and must not wait. Further calls add
    /// listeners.
    pub fn on_progress(mut self, listener: impl Fn(&WarmProgress) + Send + Sync + 'static) -> Self {
        self.on_progress.push(Arc::new(listener));
        self
    }

    pub(super) fn for_revision(mut self, revision: NextRevision) -> Self {
        self.revision = Some(revision);
        self
    }
}

impl fmt::Debug for Warm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warm")
            .field("name", &self.name)
            .field("purpose", &self.purpose)
            .field("concurrency", &self.concurrency)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// An error with its causes on one line.
fn describe(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[track_caller]
fn field_name(name: &str) -> HeaderName {
    match name.parse() {
        Ok(name) => name,
        Err(_) => panic!("`{name}` is not the name of a header field: correct it where the warm-up is built"),
    }
}

#[track_caller]
fn field_value(value: &str) -> HeaderValue {
    match HeaderValue::from_str(value) {
        Ok(value) => value,
        Err(_) => panic!("`{}` is not the value of a header field: correct it where the warm-up is built", value.escape_debug()),
    }
}
