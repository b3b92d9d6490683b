//! The settings of a layer about storing.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, StatusCode, response};

use super::response_view::ResponseView;
use crate::http::cache_control::named_fields;

pub(crate) type Predicate = Arc<dyn Fn(&response::Parts, Option<u64>) -> bool + Send + Sync>;

/// Which responses a route stores, and for how long.
#[derive(Clone)]
pub(crate) struct StoreRules {
    pub(crate) profile: Profile,
    pub(crate) ttl: Option<Duration>,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) statuses: Vec<(StatusCode, Duration)>,
    /// The limit of every lifetime.
    pub(crate) max_ttl: Duration,
    /// The limit of lifetimes that header fields state.
    pub(crate) max_stated_ttl: Duration,
    /// The largest share of a lifetime that jitter removes, between 0 and 1.
    pub(crate) jitter: f64,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    /// In bytes.
    pub(crate) max_body: u64,
    pub(crate) set_cookie: SetCookie,
    /// Fields that are not stored.
    pub(crate) dropped: Vec<HeaderName>,
    pub(crate) store_if: Option<Predicate>,
}

/// 136 years: a `Duration` of more cannot be shortened by a random share without an overflow.
pub(super) const UNLIMITED: Duration = Duration::from_secs(u32::MAX as u64);

/// Whether larder is more careful than the RFCs require.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Does not store responses that RFC 9111 allows to store, but that have leaked or broken often in practice.
    #[default]
    Safe,
    /// Applies RFC 9111 literally.
    Strict,
}

/// The treatment of responses with `Set-Cookie` or another field that contains a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetCookie {
    /// Stored like any other response (RFC 9111 §7.3).
    Keep,
    /// Not stored.
    Refuse,
    /// Stored without these fields.
    Strip,
}

impl Default for StoreRules {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            ttl: None,
            negative_ttl: None,
            statuses: Vec::new(),
            max_ttl: UNLIMITED,
            max_stated_ttl: Duration::from_secs(24 * 60 * 60),
            jitter: 0.0,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            max_body: 1 << 20,
            set_cookie: SetCookie::Refuse,
            dropped: Vec::new(),
            store_if: None,
        }
    }
}

impl fmt::Debug for StoreRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreRules")
            .field("ttl", &self.ttl)
            .field("negative_ttl", &self.negative_ttl)
            .field("statuses", &self.statuses)
            .field("max_ttl", &self.max_ttl)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

/// Returns whether `private` and `no-cache` exclude only fields of the response (strict profile), not the whole response.
pub(crate) fn names_fields(rules: &StoreRules, response: &ResponseView<'_>, field: &HeaderName) -> bool {
    rules.profile == Profile::Strict && named_fields(&response.parts.headers, field).is_some()
}
