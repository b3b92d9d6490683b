//! `Cache-Status` (RFC 9211), and why a response was not stored or not taken from the cache.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Response};

/// The response field of RFC 9211.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What the cache did with one request; in the extensions of every response that passes a larder layer.
///
/// It prints as a member of the `Cache-Status` field (RFC 9211): `larder; fwd=uri-miss; stored; ttl=60`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStatus {
    outcome: Outcome,
    ttl: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Hit,
    Forwarded { why: Forward, stored: Stored },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Yes,
    /// It was stored already, and has been validated (`fwd-status=304`).
    Validated,
    /// Somebody else's fetch stored it.
    Collapsed,
    No(Reason),
}

/// Why a request went to the handler (`fwd`, RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Forward {
    /// The cache was configured not to handle this request.
    Bypass,
    /// The method's semantics require the handler.
    Method,
    /// Nothing is stored for this URI.
    UriMiss,
    /// Something is stored for this URI, but not for these request headers.
    VaryMiss,
    /// Something is stored that this request may not use.
    Request,
    /// What is stored is stale.
    Stale,
}

impl Forward {
    /// The token of RFC 9211 §2.2.
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
        /// Why a response was not taken from the cache and not stored either: every reason there is.
        ///
        /// It stands as `detail` in `Cache-Status`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, for documentation and dashboards.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The token that stands as `detail` in `Cache-Status`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $token,)+
                }
            }

            /// What it means, in a sentence.
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

reasons! {
    /// The method is neither GET nor HEAD.
    Method = "method",
    /// The answer to a HEAD request has no body to store.
    Head = "head",
    /// The request has a `Cookie` and the route does not say which cookies matter: `ignore_cookies` or `vary_on_cookies`.
    RequestCookie = "request-cookie",
    /// The request has `Authorization` and the response does not say that it may be shared (RFC 9111 §3.5).
    Authorization = "authorization",
    /// A GET or HEAD with a body (RFC 9110 §9.3.1).
    RequestBody = "request-body",
    /// The request says `no-store`.
    RequestNoStore = "request-no-store",
    /// The host is not a valid one, or there are two.
    InvalidHost = "invalid-host",
    /// The request asks for another method or URL by header, such as `X-HTTP-Method-Override`.
    RequestOverride = "request-override",
    /// The request has `If-Match` or `If-Unmodified-Since`, which are the handler's to judge.
    Precondition = "precondition",
    /// The request asks for another protocol.
    Upgrade = "upgrade",
    /// The request's `Connection` names other fields, which a proxy on the way to the handler may remove.
    ConnectionOptions = "connection-options",
    /// The request's header fields have more than 32 KiB together, counted as HTTP/2 does.
    RequestFieldsTooLarge = "request-fields-too-large",
    /// The query has more than 8,000 bytes, and the route has a rule for its parameters.
    QueryTooLong = "query-too-long",
    /// The route's own key function declined.
    KeyDeclined = "key-declined",
    /// The cache is switched off: [`CacheMode::Bypass`](crate::CacheMode::Bypass).
    SwitchedOff = "switched-off",
    /// Nothing is stored at present: [`CacheMode::ReadOnly`](crate::CacheMode::ReadOnly).
    ReadOnly = "read-only",
    /// The response says `no-store`.
    NoStore = "no-store",
    /// The response says `no-cache`: it would have to be validated before every use.
    NoCache = "no-cache",
    /// The response says `private`, or an inner layer marked it so.
    Private = "private",
    /// The response sets a cookie.
    SetCookie = "set-cookie",
    /// The response says `Vary: *`.
    VaryStar = "vary-star",
    /// The URL already has as many variants as it may.
    VariantLimit = "variant-limit",
    /// The status is not one that this route stores.
    Status = "status",
    /// Neither the response nor the route gives a lifetime.
    NoFreshness = "no-freshness",
    /// The response was stale when it came.
    Stale = "already-stale",
    /// The body is larger than the route stores.
    TooLarge = "too-large",
    /// The response is an endless stream, such as `text/event-stream`.
    EventStream = "event-stream",
    /// The route's `store_if` said no.
    StoreIf = "store-if",
    /// The response has more than 128 tags.
    TooManyTags = "too-many-tags",
    /// A tag is empty or over 256 bytes.
    InvalidTag = "invalid-tag",
    /// A tag template names a capture that the route does not have.
    MissingCapture = "missing-capture",
    /// The response allows one origin (CORS) and has no `Vary: Origin`.
    CorsOrigin = "cors-origin",
    /// The response's content security policy has a nonce, which must not be used twice.
    Nonce = "nonce",
    /// The body's length is not what `Content-Length` says.
    LengthMismatch = "length-mismatch",
    /// The body ended with an error, or the client left before its end.
    Incomplete = "incomplete",
    /// The request wants an answer from the cache alone, and there is none (RFC 9111 §5.2.1.7).
    OnlyIfCached = "only-if-cached",
    /// The handler says that what is stored has not changed, and it is not stored again.
    NotModified = "not-modified",
    /// The response is compressed with a dictionary and does not say so in `Vary` (RFC 9842 §6.2).
    Dictionary = "dictionary",
    /// A larder layer further in has dealt with it: its tags and its decision are not known out here.
    InnerLayer = "inner-layer",
    /// The response has trailers.
    Trailers = "trailers",
    /// It was invalidated while the handler ran.
    Invalidated = "invalidated",
    /// The handler asked for an invalidation that failed.
    InvalidationFailed = "invalidation-failed",
    /// The backend failed or took too long.
    Backend = "backend",
    /// As many bytes were read ahead of clients as may be: [`Cache::with_max_buffered_bytes`](crate::Cache::with_max_buffered_bytes).
    BufferLimit = "buffer-limit",
    /// The handler failed, and a stale response was answered in its place.
    StaleOnError = "stale-on-error",
    /// The handler took too long, and a stale response was answered in the meantime.
    StaleWhileSlow = "stale-while-slow",
    /// The request had waited too long for another's fetch, or too many waited, and asked the handler itself.
    WaitLimit = "wait-limit",
}

impl Reason {
    /// Whether it lies in the response, so that the next one for the same key will most likely not be stored either.
    pub(crate) fn is_the_response(self) -> bool {
        use Reason::{
            CorsOrigin, Dictionary, EventStream, InnerLayer, InvalidTag, MissingCapture, NoCache, NoFreshness, NoStore, Nonce,
            Private, SetCookie, Stale, Status, StoreIf, TooLarge, TooManyTags, Trailers, VariantLimit, VaryStar,
        };
        matches!(
            self,
            CorsOrigin
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
                | VariantLimit
                | VaryStar
        )
    }
}

impl CacheStatus {
    /// The status of a response, or `None` if it did not pass a larder layer.
    ///
    /// With several layers it is that of the outermost.
    pub fn of<B>(response: &Response<B>) -> Option<&Self> {
        response.extensions().get()
    }

    /// Whether the response was answered from the cache.
    pub fn is_hit(&self) -> bool {
        self.outcome == Outcome::Hit
    }

    /// Why the handler was asked; `None` for a hit.
    pub fn forward(&self) -> Option<Forward> {
        match self.outcome {
            Outcome::Hit => None,
            Outcome::Forwarded { why, .. } => Some(why),
        }
    }

    /// Whether the handler's response is stored, or is being stored as its body passes.
    pub fn is_stored(&self) -> bool {
        matches!(self.outcome, Outcome::Forwarded { stored: Stored::Yes | Stored::Validated, .. })
    }

    /// Whether the request was answered by the fetch that another request for the same key had begun.
    pub fn is_collapsed(&self) -> bool {
        matches!(self.outcome, Outcome::Forwarded { stored: Stored::Collapsed, .. })
    }

    /// Whether the handler said that what is stored has not changed, which made it fresh again (RFC 9111 §4.3.4).
    pub fn is_validated(&self) -> bool {
        matches!(self.outcome, Outcome::Forwarded { stored: Stored::Validated, .. })
    }

    /// Why the handler's response is not stored; `None` if it is, and for a hit.
    pub fn reason(&self) -> Option<Reason> {
        match self.outcome {
            Outcome::Forwarded { stored: Stored::No(reason), .. } => Some(reason),
            _ => None,
        }
    }

    /// How many seconds of freshness remain; `None` where nothing is stored.
    pub fn ttl(&self) -> Option<i64> {
        self.ttl
    }

    pub(crate) fn hit(ttl: i64) -> Self {
        Self { outcome: Outcome::Hit, ttl: Some(ttl) }
    }

    pub(crate) fn stored(why: Forward, ttl: i64) -> Self {
        Self { outcome: Outcome::Forwarded { why, stored: Stored::Yes }, ttl: Some(ttl) }
    }

    pub(crate) fn validated(why: Forward, ttl: i64) -> Self {
        Self { outcome: Outcome::Forwarded { why, stored: Stored::Validated }, ttl: Some(ttl) }
    }

    pub(crate) fn collapsed(why: Forward, ttl: i64) -> Self {
        Self { outcome: Outcome::Forwarded { why, stored: Stored::Collapsed }, ttl: Some(ttl) }
    }

    /// A stale response, answered because the handler failed or took too long.
    pub(crate) fn stale(reason: Reason, ttl: i64) -> Self {
        Self { outcome: Outcome::Forwarded { why: Forward::Stale, stored: Stored::No(reason) }, ttl: Some(ttl) }
    }

    pub(crate) fn not_stored(why: Forward, reason: Reason) -> Self {
        Self { outcome: Outcome::Forwarded { why, stored: Stored::No(reason) }, ttl: None }
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

/// Whether a layer sends `Cache-Status`: it tells clients whether somebody asked before them (RFC 9211 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StatusField {
    #[default]
    Hidden,
    Sent,
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("larder")?;
        match self.outcome {
            Outcome::Hit => f.write_str("; hit")?,
            Outcome::Forwarded { why, stored } => {
                write!(f, "; fwd={}", why.as_str())?;
                match stored {
                    Stored::Yes => f.write_str("; stored")?,
                    Stored::Validated => f.write_str("; fwd-status=304; stored")?,
                    Stored::Collapsed => f.write_str("; collapsed")?,
                    Stored::No(reason) => write!(f, "; detail={}", reason.as_str())?,
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
        assert_eq!(CacheStatus::hit(-3).to_string(), "larder; hit; ttl=-3");
        assert_eq!(CacheStatus::collapsed(Forward::UriMiss, 60).to_string(), "larder; fwd=uri-miss; collapsed; ttl=60");
        let refused = CacheStatus::not_stored(Forward::Bypass, Reason::RequestCookie);
        assert_eq!(refused.to_string(), "larder; fwd=bypass; detail=request-cookie");
    }
}
