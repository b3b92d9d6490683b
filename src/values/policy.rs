//! How long a value is kept, and by which tags it is invalidated.

use std::{sync::Arc, time::Duration};

use crate::{entry::response::StaleWindows, lists::IntoTags, stats::route_table::CountedName};

/// How a value is cached: its lifetime, its tags, and what happens around its end.
///
/// It is its own builder. Create it once, and pass a reference, to it or to an `Arc` of it; what depends on the arguments of a call, such as the tag of an id, is
/// added to a clone, or by [`add_tags`](crate::add_tags) within the computation.
///
/// ```
/// use std::time::Duration;
/// use larder::ValuePolicy;
///
/// let policy = ValuePolicy::ttl(Duration::from_secs(60))
///     .tags(["posts"])
///     .stale_while_revalidate(Duration::from_secs(10))
///     .label("top posts");
/// # let _ = policy;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ValuePolicy {
    pub(super) ttl: Duration,
    pub(super) stale_while_revalidate: Duration,
    pub(super) stale_if_error: Duration,
    pub(super) refresh_ahead: Option<f64>,
    pub(super) jitter: f64,
    pub(super) tags: Vec<Arc<str>>,
    pub(super) wait_limit: Duration,
    pub(super) soft_timeout: Option<Duration>,
    /// How long the fetch lock of one node holds; `None` without a lock across nodes.
    pub(super) across_nodes: Option<Duration>,
    pub(super) label: Arc<CountedName>,
    pub(super) weight: Option<usize>,
}

/// A year, which every duration is limited to.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl ValuePolicy {
    /// Creates the policy for values that are fresh for `ttl` after their computation, a year at most; with zero, they are not stored unless
    /// a stale window follows.
    pub fn ttl(ttl: Duration) -> Self {
        Self {
            ttl: ttl.min(LONGEST),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            refresh_ahead: None,
            jitter: 0.0,
            tags: Vec::new(),
            wait_limit: Duration::from_secs(2),
            soft_timeout: None,
            across_nodes: None,
            label: label(""),
            weight: None,
        }
    }

    /// Adds tags, by which the value and every response that is made of it are invalidated. They are taken literally: braces have no meaning
    /// here. A value with an empty tag, one of more than 256 bytes, or more than 128 tags is returned and not stored.
    pub fn tags<S>(mut self, tags: impl IntoTags<S>) -> Self {
        tags.for_each_tag(|tag| self.tags.push(tag.into()));
        self
    }

    /// Returns a stale value for up to `window` after it ceased to be fresh or one of its tags was
    /// [expired](crate::Cache::expire_tags), and computes it in the background; default: zero, a year at most.
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        Self { stale_while_revalidate: window.min(LONGEST), ..self }
    }

    /// Returns a stale value for up to `window` if its computation fails or panics; default: zero, a year at most.
    pub fn stale_if_error(self, window: Duration) -> Self {
        Self { stale_if_error: window.min(LONGEST), ..self }
    }

    /// Computes a fresh value again in the background before it becomes stale, with a probability that rises towards the end of its lifetime
    /// and with the time of its computation; default: off. See [`CacheLayer::refresh_ahead`](crate::CacheLayer::refresh_ahead).
    pub fn refresh_ahead(self, eagerness: f64) -> Self {
        Self { refresh_ahead: (eagerness > 0.0).then_some(eagerness), ..self }
    }

    /// Shortens each lifetime by a random share of up to `share` (0 to 1), so that values that were computed together do not become stale
    /// together; default: 0.
    pub fn jitter(self, share: f64) -> Self {
        Self { jitter: if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }, ..self }
    }

    /// Limits how long callers wait for the computation of another; default: 2 seconds, a year at most. After that, one of them computes the
    /// value as well, and the others wait for either.
    pub fn wait_limit(self, limit: Duration) -> Self {
        Self { wait_limit: limit.min(LONGEST), ..self }
    }

    /// Returns a stale value if the computation takes longer than `limit`, a year at most, and one of the two stale windows allows it. The
    /// computation continues in the background, within the limits of abandoned fetches, and its value is stored. Default: callers wait for the
    /// computation.
    ///
    /// Within [`stale_while_revalidate`](Self::stale_while_revalidate) a stale value is returned without any wait: the limit matters after that,
    /// within a longer [`stale_if_error`](Self::stale_if_error). See [`CacheLayer::soft_timeout`](crate::CacheLayer::soft_timeout).
    pub fn soft_timeout(self, limit: Duration) -> Self {
        Self { soft_timeout: Some(limit.min(LONGEST)), ..self }
    }

    /// Lets one node compute for all nodes that share a store; default: each node computes once for itself.
    ///
    /// After a miss, a node acquires a fetch lock in the store, and releases it when its value is stored. Other nodes poll for that value every
    /// 20 ms, for at most the [`wait_limit`](Self::wait_limit). If the node dies, its lock expires after `life`, a year at most, which should be
    /// the longest time that the computation takes. The lock costs two more round trips per miss with Redis, and three with memcached. In memory
    /// it has no effect, and none on [`Cache::get_or_compute_in_memory`](crate::Cache::get_or_compute_in_memory). Correctness does not depend on
    /// it. See [`CacheLayer::collapse_across_nodes`](crate::CacheLayer::collapse_across_nodes).
    pub fn collapse_across_nodes(self, life: Duration) -> Self {
        Self { across_nodes: Some(life.min(LONGEST)), ..self }
    }

    /// Counts the calls under `value LABEL` in [`Cache::stats`](crate::Cache::stats) and in metrics; default: `value`. The limit of
    /// [`Cache::with_max_fetches`](crate::Cache::with_max_fetches) applies to each label. Choose a fixed text, not one with an id: only
    /// 256 labels are counted one by one.
    pub fn label(self, name: &str) -> Self {
        Self { label: label(name), ..self }
    }

    /// States the size of the value in memory, in bytes, by which the memory store is bounded.
    ///
    /// Default: twice its encoded size, plus the size of its type. For
    /// [`Cache::get_or_compute_in_memory`](crate::Cache::get_or_compute_in_memory), which encodes nothing, the size of its type alone: state it
    /// there for everything that owns memory, such as a `Vec` or an `Arc`.
    pub fn weight(self, bytes: usize) -> Self {
        Self { weight: Some(bytes), ..self }
    }

    pub(super) fn stale_windows(&self) -> StaleWindows {
        StaleWindows::new(self.stale_while_revalidate, self.stale_if_error)
    }

    /// The lifetime, shortened by the share `draw` of the jitter.
    pub(super) fn lifetime(&self, draw: f64) -> Duration {
        self.ttl.mul_f64(1.0 - (self.jitter * draw).clamp(0.0, 1.0))
    }
}

/// So that calls take a policy, a reference to one, and an `Arc` or a reference to an `Arc`.
impl AsRef<Self> for ValuePolicy {
    fn as_ref(&self) -> &Self {
        self
    }
}

fn label(name: &str) -> Arc<CountedName> {
    Arc::new(if name.is_empty() { CountedName::new("value") } else { CountedName::new(format!("value {name}")) })
}
