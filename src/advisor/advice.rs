//! The advice, as values.

use std::time::Duration;

use super::{selector::Selector, writes::WriteName};
use crate::http::cache_status::Reason;

/// What an [`Observer`](super::Observer) advises, made by [`Cache::advice`](crate::Cache::advice).
///
/// `Display` writes it for a terminal; with the feature `admin`, `to_json` as JSON.
#[derive(Debug, Clone)]
pub struct Advice {
    pub(super) routes: Vec<RouteAdvice>,
    pub(super) requests: u64,
    pub(super) handler_time: Duration,
    pub(super) beyond: u64,
    pub(super) beyond_time: Duration,
    pub(super) size: usize,
}

impl Advice {
    /// Returns the advice for each route: first those that a cache would help, by the handlers' time that it would save.
    pub fn routes(&self) -> &[RouteAdvice] {
        &self.routes
    }

    /// Returns the advice for one route, such as `/posts/{id}`.
    pub fn route(&self, name: &str) -> Option<&RouteAdvice> {
        self.routes.iter().find(|route| route.route == name)
    }

    /// Returns the number of requests that handlers have answered, writes included.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Returns how long handlers have run for all requests, writes included, to the heads of their responses.
    pub fn handler_time(&self) -> Duration {
        self.handler_time
    }

    /// Returns the number of GET requests for routes beyond the first 64, which are not measured, and how long their handlers have run.
    pub fn not_measured(&self) -> (u64, Duration) {
        (self.beyond, self.beyond_time)
    }

    /// Returns the approximate size of all measurements in memory, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }
}

/// The advice for the GET requests of one route.
#[derive(Debug, Clone)]
pub struct RouteAdvice {
    pub(super) route: String,
    pub(super) verdict: Verdict,
    pub(super) requests: u64,
    pub(super) handler_time: Duration,
    pub(super) share: f64,
    pub(super) simulations: Vec<SimulatedCache>,
    pub(super) expected: Option<SimulatedCache>,
    pub(super) differs_by: Vec<(Selector, f64)>,
    pub(super) needless_query: Vec<String>,
    pub(super) needless_share: f64,
    pub(super) changes: Vec<Change>,
    pub(super) tags: Vec<String>,
    pub(super) blocked: Vec<Blocked>,
    pub(super) code: Option<String>,
    pub(super) unseen: Vec<String>,
}

/// Whether a route should be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// A layer would save handler time.
    Store,
    /// Its responses differ by user.
    PerUser,
    /// Requests are hardly ever repeated within an hour, or within the time observed.
    Rare,
    /// Its responses change more often than they are repeated, without a write that would say so.
    Volatile,
    /// Its responses must not be stored, by what they say themselves.
    Forbidden,
    /// There were too few requests to say.
    TooFew,
}

impl Verdict {
    /// Returns the name, such as `store`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::PerUser => "per-user",
            Self::Rare => "rare",
            Self::Volatile => "volatile",
            Self::Forbidden => "forbidden",
            Self::TooFew => "too-few",
        }
    }
}

impl RouteAdvice {
    /// Returns the route as the router has it; `no route` without a router.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// Returns whether the route should be cached.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Returns the number of GET requests that the handler has answered.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Returns how long the handler has run for them.
    pub fn handler_time(&self) -> Duration {
        self.handler_time
    }

    /// Returns the share of the time of all handlers.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Returns the handler time that the advice would have saved; zero if the advice is to leave the route as it is.
    pub fn saving(&self) -> Duration {
        let ratio = self.expected.filter(|_| self.verdict == Verdict::Store).map_or(0.0, |expected| expected.hit_ratio);
        self.handler_time.mul_f64(ratio.clamp(0.0, 1.0))
    }

    /// Returns what simulated caches with larder's default key have counted, one for each lifetime.
    pub fn simulations(&self) -> &[SimulatedCache] {
        &self.simulations
    }

    /// Returns what to expect of a cache with the advised settings and lifetime.
    pub fn expected(&self) -> Option<SimulatedCache> {
        self.expected
    }

    /// Returns the parts of requests by which responses differ although the URL is the same, without those that responses name in `Vary`, each
    /// with the share of differences that it explains.
    pub fn differs_by(&self) -> &[(Selector, f64)] {
        &self.differs_by
    }

    /// Returns the query parameters that change no response, for [`ignore_query`](crate::CacheLayer::ignore_query).
    pub fn needless_query(&self) -> &[String] {
        &self.needless_query
    }

    /// Returns the writes that change responses of the route.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Returns the tags to give the route, as templates.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Returns why a layer with default settings and a lifetime would not store responses, the most frequent reason first.
    pub fn blocked(&self) -> &[Blocked] {
        &self.blocked
    }

    /// Returns the code to write; `None` if the advice is to leave the route as it is.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Returns what was not seen, as sentences.
    pub fn unseen(&self) -> &[String] {
        &self.unseen
    }
}

/// What a simulated cache has counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimulatedCache {
    pub(super) lifetime: Duration,
    pub(super) hit_ratio: f64,
    pub(super) wrong_ratio: f64,
    pub(super) is_covered: bool,
}

impl SimulatedCache {
    /// Returns how long its responses are fresh.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Returns the share of requests that it would have answered.
    pub fn hit_ratio(&self) -> f64 {
        self.hit_ratio
    }

    /// Returns the share of requests that it would have answered with something else than the handler.
    pub fn wrong_ratio(&self) -> f64 {
        self.wrong_ratio
    }

    /// Returns whether the route was observed for at least this lifetime.
    pub fn is_covered(&self) -> bool {
        self.is_covered
    }
}

/// A write that changes responses of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub(super) write: WriteName,
    pub(super) share: f64,
    pub(super) tag: String,
    pub(super) written_tag: String,
}

impl Change {
    /// Returns the write.
    pub fn write(&self) -> &WriteName {
        &self.write
    }

    /// Returns the share of the changes of the route's responses that it explains.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Returns the tag to give the route, as a template: `post:{id}`.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Returns the tag that the write invalidates, with the captures of its own route.
    pub fn written_tag(&self) -> &str {
        &self.written_tag
    }
}

/// A reason why responses of a route would not be stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blocked {
    pub(super) reason: Reason,
    pub(super) share: f64,
    pub(super) remedy: Option<&'static str>,
}

impl Blocked {
    /// Returns the reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the share of responses.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Returns the setting that changes it, if there is one.
    pub fn remedy(&self) -> Option<&'static str> {
        self.remedy
    }
}
