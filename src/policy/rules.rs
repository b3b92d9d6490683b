//! Which responses a layer stores: its settings.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, StatusCode, response};

use super::response_view::ResponseView;
use crate::http::cache_control::named_fields;

pub(crate) type Predicate = Arc<dyn Fn(&response::Parts, Option<u64>) -> bool + Send + Sync>;

/// What a route stores, and for how long.
#[derive(Clone)]
pub(crate) struct StoreRules {
    pub(crate) profile: Profile,
    pub(crate) ttl: Option<Duration>,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) statuses: Vec<(StatusCode, Duration)>,
    pub(crate) max_ttl: Duration,
    /// The share of a lifetime that chance may take away.
    pub(crate) jitter: f64,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) max_body: u64,
    pub(crate) set_cookie: SetCookie,
    pub(crate) store_if: Option<Predicate>,
}

/// How far larder goes beyond the RFCs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What the RFC would allow but has gone wrong too often is not stored.
    #[default]
    Safe,
    /// RFC 9111 to the letter.
    Strict,
}

/// What happens to a response that sets a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetCookie {
    /// It is stored like any other (RFC 9111 §7.3).
    Keep,
    /// It is not stored.
    Refuse,
    /// It is stored without the cookie.
    Strip,
}

impl Default for StoreRules {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            ttl: None,
            negative_ttl: None,
            statuses: Vec::new(),
            max_ttl: Duration::from_secs(24 * 60 * 60),
            jitter: 0.0,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            max_body: 1 << 20,
            set_cookie: SetCookie::Refuse,
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

/// Whether the directives leave out fields of the response rather than the response.
pub(crate) fn names_fields(rules: &StoreRules, response: &ResponseView<'_>, field: &HeaderName) -> bool {
    rules.profile == Profile::Strict && named_fields(&response.parts.headers, field).is_some()
}
