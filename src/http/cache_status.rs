//! `Cache-Status` (RFC 9211), and the reasons why a response was not served from the cache or not stored.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::outcome::Outcome;

/// The response field (RFC 9211).
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The outcome of one request: a hit, or why it was forwarded and whether the response is stored.
///
/// It is in the extensions of every response that passes a larder layer, see [`of`](Self::of). `Display` formats it as a member of the
/// `Cache-Status` field (RFC 9211): `larder; fwd=uri-miss; stored; ttl=60`.
///
/// It is small and `Copy`, and has neither the route nor the key. axum has the route in the extensions of the request, for a middleware that
/// counts by both:
///
/// ```
/// use axum::{Router, extract::{MatchedPath, Request}, middleware::{self, Next}, response::Response};
/// use larder::CacheStatus;
///
/// async fn count(request: Request, next: Next) -> Response {
///     let route = request.extensions().get::<MatchedPath>().cloned();
///     let response = next.run(request).await;
///     if let (Some(route), Some(status)) = (route, CacheStatus::of(&response)) {
///         println!("{}: {}", route.as_str(), status.outcome().as_str());
///     }
///     response
/// }
///
/// let app: Router = Router::new().layer(middleware::from_fn(count));
/// # let _ = app;
/// ```
///
/// [`Cache::with_decision_listener`](crate::Cache::with_decision_listener) is called with the route, and with the key on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStatus {
    decision: Decision,
    /// The number of tags of the stored response.
    tags: u16,
    /// The age of the stored response that answers, in seconds; [`NO_AGE`] if none does.
    age: u32,
    /// The duration of the handler run that has made the stored response, in milliseconds.
    handler_millis: u32,
    ttl: Option<i64>,
}

const NO_AGE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Hit,
    StaleHit,
    /// A fresh near copy answered because the store cannot be reached.
    OutageHit,
    Forwarded {
        why: Forward,
        stored: Storage,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storage {
    Yes,
    /// The handler has validated the stored response (`fwd-status=304`).
    Validated,
    /// The fetch of another request answered this one.
    Collapsed,
    No(Reason),
}

/// Why a request was forwarded to the handler (`fwd`, RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Forward {
    /// The cache was configured not to handle this request.
    Bypass,
    /// The method's semantics require the handler.
    Method,
    /// No response is stored for this URI.
    UriMiss,
    /// A response is stored for this URI, but none for these request headers.
    VaryMiss,
    /// A response is stored that this request may not use.
    Request,
    /// The stored response is stale.
    Stale,
}

impl Forward {
    /// Every reason to forward a request, in the order of their definition.
    pub const ALL: &'static [Self] = &[Self::Bypass, Self::Method, Self::UriMiss, Self::VaryMiss, Self::Request, Self::Stale];

    /// Returns the token of RFC 9211 §2.2.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $token:literal,)+) => {
        /// Why a response was neither a hit nor stored, or is a hit in spite of an outage; in `Cache-Status`, the parameter `detail`.
        ///
        /// [`StaleOnError`](Self::StaleOnError) and [`StaleWhileSlow`](Self::StaleWhileSlow) come with a stale response from the cache, all
        /// others with the handler's response or with an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, for documentation and dashboards.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Returns the token that `Cache-Status` has as `detail`. Tokens do not change between versions.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $token,)+
                }
            }

            /// Returns an explanation for people: one sentence of plain text.
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

reasons! {
    /// The method is none that the route answers from the cache: GET, HEAD, QUERY, and POST where it says so (`cache_post`).
    Method = "method",
    /// The response to a HEAD request has no body to store.
    Head = "head",
    /// The request has a `Cookie`, and the route does not declare which cookies matter (`ignore_cookies`, `vary_on_cookies`), or declares that
    /// this one does (`bypass_on_cookies`).
    RequestCookie = "request-cookie",
    /// The request has `Authorization` or another field that names its user, and the response does not allow shared caches to store it (RFC 9111 §3.5).
    Authorization = "authorization",
    /// The request is a GET or HEAD with content (RFC 9110 §9.3.1).
    RequestBody = "request-body",
    /// The content of the request is larger than what the route reads to find the stored response (`cache_query`, `cache_post`).
    RequestBodyTooLarge = "request-body-too-large",
    /// The content of the request did not arrive within the route's `request_body_wait`.
    RequestBodyTooSlow = "request-body-too-slow",
    /// The content of the request ended with an error, or its length differs from `Content-Length`.
    RequestBodyIncomplete = "request-body-incomplete",
    /// The content of the request has trailers.
    RequestTrailers = "request-trailers",
    /// The limit on bytes of the content of requests was reached (`Cache::with_max_request_bytes`).
    RequestBodyLimit = "request-body-limit",
    /// The content of the request decides, and its body has a type that the layer cannot make again after reading it (`request_body`).
    RequestBodyType = "request-body-type",
    /// The request is a QUERY without `Content-Type`, which its handler must refuse (RFC 10008 §2).
    NoContentType = "no-content-type",
    /// The request has the directive `no-store`.
    RequestNoStore = "request-no-store",
    /// The host of the request is invalid, or the request has two different hosts.
    InvalidHost = "invalid-host",
    /// A header field overrides the method or URL of the request, such as `X-HTTP-Method-Override`.
    RequestOverride = "request-override",
    /// The request has `If-Match` or `If-Unmodified-Since`, which only the handler can evaluate.
    Precondition = "precondition",
    /// The request has `Upgrade`: it asks for another protocol.
    Upgrade = "upgrade",
    /// The request's `Connection` names other fields, which a proxy between cache and handler may remove.
    ConnectionOptions = "connection-options",
    /// The header fields of the request are larger in total than the route's `max_request_fields`, counted as in HTTP/2.
    RequestFieldsTooLarge = "request-fields-too-large",
    /// The query is longer than the route's `max_query`, and the route has a rule for query parameters.
    QueryTooLong = "query-too-long",
    /// The function of `key_with` returned `None`.
    KeyDeclined = "key-declined",
    /// The host of the request is not among the `hosts` of the route.
    UnknownHost = "unknown-host",
    /// The route's `bypass_if` returned `true`.
    BypassIf = "bypass-if",
    /// A layer outside the cache has added a `CacheDirective` to the request that forbids to store its response.
    RequestDirective = "request-directive",
    /// The cache is switched off (`CacheMode::Bypass`), or its lease has ended (`Cache::lease`).
    SwitchedOff = "switched-off",
    /// The cache stores nothing at present (`CacheMode::ReadOnly`).
    ReadOnly = "read-only",
    /// The response has the directive `no-store`.
    NoStore = "no-store",
    /// The response has the directive `no-cache`: it would have to be validated before each use.
    NoCache = "no-cache",
    /// The response has the directive `private`, or an inner layer marked it as private.
    Private = "private",
    /// The response sets a cookie.
    SetCookie = "set-cookie",
    /// The response has a field that contains a credential, such as `X-CSRF-Token` or `Authorization`: see `strip_set_cookie`.
    Credential = "credential",
    /// The response has `Vary: *`.
    VaryStar = "vary-star",
    /// The response has `Vary`, and the route stores no variants (`max_variants(0)`).
    VariantLimit = "variant-limit",
    /// The response to a POST states no lifetime of its own, or asks for an invalidation: the request counts as a write.
    Write = "write",
    /// The route does not store responses with this status.
    Status = "status",
    /// Neither the response nor the route sets a freshness lifetime.
    NoFreshness = "no-freshness",
    /// The response was already stale when it arrived, or states a lifetime of zero.
    Stale = "already-stale",
    /// The route sets a lifetime of zero: with `ttl`, `negative_ttl`, `ttl_for` or `max_ttl`.
    ZeroTtl = "zero-ttl",
    /// The body is larger than the route's `max_body`, or than the store accepts.
    TooLarge = "too-large",
    /// The response is an endless stream, such as `text/event-stream`.
    EventStream = "event-stream",
    /// The route's `store_if` returned `false`.
    StoreIf = "store-if",
    /// The response has more tags than the route's `max_tags`.
    TooManyTags = "too-many-tags",
    /// A tag is empty or longer than 256 bytes.
    InvalidTag = "invalid-tag",
    /// A tag template names a capture that the route does not have.
    MissingCapture = "missing-capture",
    /// A tag template names a capture that the route has more than once, and it is not clear which one is meant.
    AmbiguousCapture = "ambiguous-capture",
    /// The response's `Content-Security-Policy` has a nonce, which must not be used twice.
    Nonce = "nonce",
    /// The length of the body differs from `Content-Length`.
    LengthMismatch = "length-mismatch",
    /// The body ended with an error, or the client left before its end.
    Incomplete = "incomplete",
    /// The request has `only-if-cached`, and no stored response can answer it (RFC 9111 §5.2.1.7).
    OnlyIfCached = "only-if-cached",
    /// The handler returned a 304 for another representation than the stored one, which therefore stays as it is.
    NotModified = "not-modified",
    /// The response is compressed with a dictionary, and its `Vary` does not say so (RFC 9842 §6.2).
    Dictionary = "dictionary",
    /// An inner larder layer handled the response, and only that layer knows its tags.
    InnerLayer = "inner-layer",
    /// The response has trailers.
    Trailers = "trailers",
    /// The handler used a cached value that is stale, or ceased to be fresh meanwhile.
    StaleValue = "stale-value",
    /// The handler used a cached value of another store, whose invalidations do not reach this response.
    OtherStore = "other-store",
    /// The response was invalidated while the handler ran.
    Invalidated = "invalidated",
    /// One of the response's tags is being written (`Cache::begin_write`), or was written a moment ago (`PendingWrite::hold`).
    PendingWrite = "pending-write",
    /// The handler requested an invalidation, and it failed.
    InvalidationFailed = "invalidation-failed",
    /// The store did not answer within its time limit.
    StoreTimeout = "store-timeout",
    /// The store could not be reached, or answered with an error.
    StoreError = "store-error",
    /// The store is not used for the moment, because it has failed.
    StoreSuspended = "store-suspended",
    /// The store cannot be reached, and a copy in the memory of this node answered instead (`Tiered::outage_grace`).
    StoreOutage = "store-outage",
    /// The limit on buffered response bytes was reached (`Cache::with_max_buffered_bytes`).
    BufferLimit = "buffer-limit",
    /// The handler failed, and a stale response was served instead.
    StaleOnError = "stale-on-error",
    /// The handler took too long, and a stale response was served meanwhile.
    StaleWhileSlow = "stale-while-slow",
    /// The request waited too long for the fetch of another, or too many requests were waiting: it was forwarded to the handler.
    WaitLimit = "wait-limit",
}

impl Reason {
    /// Returns whether the cause is the response itself: then the next response for the same key will most likely not be stored either.
    pub(crate) fn concerns_response(self) -> bool {
        use Reason::{
            AmbiguousCapture, Credential, Dictionary, EventStream, InnerLayer, InvalidTag, MissingCapture, NoCache, NoFreshness,
            NoStore, Nonce, Private, SetCookie, Stale, Status, StoreIf, TooLarge, TooManyTags, Trailers, VaryStar, Write,
            ZeroTtl,
        };
        matches!(
            self,
            AmbiguousCapture
                | Credential
                | Dictionary
                | EventStream
                | InnerLayer
                | InvalidTag
                | MissingCapture
                | NoCache
                | NoFreshness
                | NoStore
                | Nonce
                | Private
                | SetCookie
                | Stale
                | Status
                | StoreIf
                | TooLarge
                | TooManyTags
                | Trailers
                | VaryStar
                | Write
                | ZeroTtl
        )
    }
}

impl CacheStatus {
    /// Returns the status of a response; `None` if the response did not pass a larder layer.
    ///
    /// With nested layers, it is the status of the outermost.
    pub fn of<B>(response: &Response<B>) -> Option<&Self> {
        response.extensions().get()
    }

    /// Returns whether the response was served from the cache: fresh, or stale while it is revalidated in the background.
    pub fn is_hit(&self) -> bool {
        matches!(self.decision, Decision::Hit | Decision::StaleHit | Decision::OutageHit)
    }

    /// Returns whether a near copy answered because the store cannot be reached (`Tiered::outage_grace`): what other nodes have
    /// invalidated meanwhile is not known. It is a hit.
    pub fn is_outage_hit(&self) -> bool {
        self.decision == Decision::OutageHit
    }

    /// Returns the outcome of the request in one word, by which [`Cache::stats`](crate::Cache::stats) counts it: a label for an
    /// application's own metrics.
    ///
    /// It is never [`Error`](Outcome::Error) or [`Abandoned`](Outcome::Abandoned), with which there is no response.
    #[inline]
    pub fn outcome(&self) -> Outcome {
        match self.decision {
            Decision::Hit | Decision::OutageHit => Outcome::Hit,
            Decision::StaleHit => Outcome::Stale,
            Decision::Forwarded { why, stored } => outcome_of_forwarded(why, stored),
        }
    }

    /// Returns the age of the stored response that answered, in seconds (RFC 9111 §4.2.3); `None` if the handler's response did.
    pub fn age(&self) -> Option<u64> {
        (self.age != NO_AGE).then_some(u64::from(self.age))
    }

    /// Returns why the request was forwarded to the handler; `None` for a hit.
    pub fn forward(&self) -> Option<Forward> {
        match self.decision {
            Decision::Hit | Decision::StaleHit | Decision::OutageHit => None,
            Decision::Forwarded { why, .. } => Some(why),
        }
    }

    /// Returns whether the handler's response is stored, or will be stored once its body is complete.
    pub fn is_stored(&self) -> bool {
        matches!(self.decision, Decision::Forwarded { stored: Storage::Yes | Storage::Validated, .. })
    }

    /// Returns whether the fetch of another request for the same key answered this request.
    pub fn is_collapsed(&self) -> bool {
        matches!(self.decision, Decision::Forwarded { stored: Storage::Collapsed, .. })
    }

    /// Returns whether the handler validated the stored response by a 304, which made it fresh again (RFC 9111 §4.3.4).
    pub fn is_validated(&self) -> bool {
        matches!(self.decision, Decision::Forwarded { stored: Storage::Validated, .. })
    }

    /// Returns why no response was stored for this request; `None` if one was, and for a hit. The one exception is a hit with the reason
    /// [`StoreOutage`](Reason::StoreOutage).
    pub fn reason(&self) -> Option<Reason> {
        match self.decision {
            Decision::Forwarded { stored: Storage::No(reason), .. } => Some(reason),
            Decision::OutageHit => Some(Reason::StoreOutage),
            _ => None,
        }
    }

    /// Returns the remaining freshness in seconds, negative for a stale response; `None` if no stored response is involved.
    pub fn ttl(&self) -> Option<i64> {
        self.ttl
    }

    pub(crate) fn hit(ttl: i64) -> Self {
        Self::new(Decision::Hit, Some(ttl))
    }

    /// The status of a stale response that is served without waiting for the handler.
    pub(crate) fn stale_hit(ttl: i64) -> Self {
        Self::new(Decision::StaleHit, Some(ttl))
    }

    pub(crate) fn stored(why: Forward, ttl: i64) -> Self {
        Self::new(Decision::Forwarded { why, stored: Storage::Yes }, Some(ttl))
    }

    pub(crate) fn validated(why: Forward, ttl: i64) -> Self {
        Self::new(Decision::Forwarded { why, stored: Storage::Validated }, Some(ttl))
    }

    pub(crate) fn collapsed(why: Forward, ttl: i64) -> Self {
        Self::new(Decision::Forwarded { why, stored: Storage::Collapsed }, Some(ttl))
    }

    /// The status of a stale response that is served because the handler failed or took too long.
    pub(crate) fn stale(reason: Reason, ttl: i64) -> Self {
        Self::new(Decision::Forwarded { why: Forward::Stale, stored: Storage::No(reason) }, Some(ttl))
    }

    pub(crate) fn not_stored(why: Forward, reason: Reason) -> Self {
        Self::new(Decision::Forwarded { why, stored: Storage::No(reason) }, None)
    }

    const fn new(decision: Decision, ttl: Option<i64>) -> Self {
        Self { decision, tags: 0, age: NO_AGE, handler_millis: 0, ttl }
    }

    /// Adds the age of the stored response that answers, in seconds, and how long its handler ran.
    pub(crate) fn answered_from(mut self, age: u64, handler_millis: u32) -> Self {
        self.age = age.min(u64::from(NO_AGE) - 1) as u32;
        self.handler_millis = handler_millis;
        self
    }

    /// Turns the status of a hit into that of one on a near copy while the store cannot be reached.
    pub(crate) fn in_outage(self) -> Self {
        Self { decision: Decision::OutageHit, ..self }
    }

    /// Adds the number of tags of the response.
    pub(crate) fn with_tags(mut self, count: usize) -> Self {
        self.tags = count.min(usize::from(u16::MAX)) as u16;
        self
    }

    /// Returns the number of tags of the stored response, as far as it is known.
    pub(crate) fn tags(&self) -> u16 {
        self.tags
    }

    /// Returns how long the handler ran for the stored response that answers, in milliseconds.
    #[inline]
    pub(crate) fn handler_millis(&self) -> u32 {
        self.handler_millis
    }

    /// Returns the time that a handler would have taken for this response, in milliseconds; 0 if one has run for this request.
    pub(crate) fn saved_millis(&self) -> u32 {
        match self.decision {
            Decision::Hit | Decision::StaleHit | Decision::OutageHit | Decision::Forwarded { stored: Storage::Collapsed, .. } => {
                self.handler_millis
            }
            Decision::Forwarded { .. } => 0,
        }
    }

    /// Appends the field, after the members of caches nearer to the origin (RFC 9211 §2).
    pub(crate) fn append_to(self, field: StatusField, headers: &mut HeaderMap) {
        if field == StatusField::Sent {
            headers.append(CACHE_STATUS, self.to_field_value());
        }
    }

    fn to_field_value(self) -> HeaderValue {
        HeaderValue::from_str(&self.to_string()).expect("tokens and digits are a legal field value")
    }
}

#[inline(never)]
fn outcome_of_forwarded(why: Forward, stored: Storage) -> Outcome {
    match stored {
        Storage::Yes => Outcome::Miss,
        Storage::Validated => Outcome::Revalidated,
        Storage::Collapsed => Outcome::Collapsed,
        Storage::No(Reason::StaleOnError | Reason::StaleWhileSlow) => Outcome::Stale,
        Storage::No(Reason::OnlyIfCached) => Outcome::Unsatisfied,
        Storage::No(_) if matches!(why, Forward::Bypass | Forward::Method) => Outcome::Bypass,
        Storage::No(_) => Outcome::Uncached,
    }
}

/// Whether a layer sends `Cache-Status`, which discloses that another client has requested the page before (RFC 9211 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StatusField {
    #[default]
    Hidden,
    Sent,
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("larder")?;
        match self.decision {
            Decision::Hit | Decision::StaleHit => f.write_str("; hit")?,
            Decision::OutageHit => write!(f, "; hit; detail={}", Reason::StoreOutage.as_str())?,
            Decision::Forwarded { why, stored } => {
                write!(f, "; fwd={}", why.as_str())?;
                match stored {
                    Storage::Yes => f.write_str("; stored")?,
                    Storage::Validated => f.write_str("; fwd-status=304; stored")?,
                    Storage::Collapsed => f.write_str("; collapsed")?,
                    Storage::No(reason) => write!(f, "; detail={}", reason.as_str())?,
                }
            }
        }
        self.ttl.map_or(Ok(()), |ttl| write!(f, "; ttl={ttl}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_a_member_of_rfc_9211() {
        assert_eq!(CacheStatus::hit(57).to_string(), "larder; hit; ttl=57");
        assert_eq!(CacheStatus::stored(Forward::UriMiss, 60).to_string(), "larder; fwd=uri-miss; stored; ttl=60");
        assert_eq!(CacheStatus::hit(57).in_outage().to_string(), "larder; hit; detail=store-outage; ttl=57");
        assert_eq!(CacheStatus::hit(-3).to_string(), "larder; hit; ttl=-3");
        assert_eq!(CacheStatus::collapsed(Forward::UriMiss, 60).to_string(), "larder; fwd=uri-miss; collapsed; ttl=60");
        let refused = CacheStatus::not_stored(Forward::Bypass, Reason::RequestCookie);
        assert_eq!(refused.to_string(), "larder; fwd=bypass; detail=request-cookie");
    }

    #[test]
    fn explanations_are_plain_sentences_without_rustdoc_links() {
        for reason in Reason::ALL {
            let text = reason.explanation();
            assert!(!text.contains(['[', ']']), "{reason:?}: {text}");
            assert!(text.starts_with(char::is_uppercase) && text.ends_with('.') && !text.contains('\n'), "{reason:?}: {text}");
            assert_eq!(text.matches('`').count() % 2, 0, "{reason:?}: {text}");
        }
    }
}
