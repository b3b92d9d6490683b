//! An entry: the value that a store keeps under a key.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    epoch::Epoch,
    origin::Origin,
    response::{StaleWindows, StoredResponse},
    value::StoredValue,
    variants::Variants,
};
use crate::{
    clock::Timestamp,
    http::{conditional::has_validator, no_vary_search::QueryVariance},
    key::secret::Secret,
    tag::Tag,
};

/// An entry, what a backend keeps under a key: a response, the list of its variants (RFC 9111 §4.1), or a value of the application.
///
/// The content is opaque to backends. They store it, and decide by [`born`](Self::born) and [`tags`](Self::tags) whether it is valid.
pub struct Stored {
    born: Epoch,
    tags: Box<[Tag]>,
    validated_at: AtomicU64,
    /// By how much a response was made older in this copy, in milliseconds. Of a ghost, when the entry expires.
    aged_by: u64,
    /// Whether a hit on this copy was noted.
    is_noted: AtomicBool,
    /// Whether the memory store simulates lookups of it.
    is_sampled: AtomicBool,
    origin: Origin,
    /// Computed on first use; 0 before. In 32 bits: an entry of more than 4 GiB counts as that.
    weight: AtomicU32,
    /// Counts it while it is stored.
    counted_by: OnceLock<Arc<dyn CountEntries>>,
    content: Content,
}

/// Counts the entries of a store by their tags.
pub(crate) trait CountEntries: Send + Sync {
    /// Called when the last reference to an entry is dropped.
    fn removed(&self, tags: &[Tag]);
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Response(StoredResponse),
    Variants(Variants),
    /// The `No-Vary-Search` rule of the latest response for a path.
    QueryVariance(QueryVariance),
    /// A value that the application has computed.
    Value(StoredValue),
    /// Replaces a response that must not be used any more, not even stale.
    Tombstone,
}

impl Stored {
    pub(crate) fn new(born: Epoch, tags: Vec<Tag>, content: Content) -> Self {
        Self {
            born,
            tags: tags.into(),
            validated_at: AtomicU64::new(0),
            aged_by: 0,
            is_noted: AtomicBool::new(false),
            is_sampled: AtomicBool::new(false),
            origin: Origin::Own(Secret::OfProcess),
            weight: AtomicU32::new(0),
            counted_by: OnceLock::new(),
            content,
        }
    }

    /// Returns the epoch that was read before the handler was called.
    pub fn born(&self) -> Epoch {
        self.born
    }

    /// Returns all tags by which the entry can be invalidated, including those that larder adds.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// Returns the latest epoch at which this copy was found valid, as recorded by the backend that holds it; number 0 if none was.
    pub fn validated_at(&self) -> Epoch {
        Epoch::of(self.born.incarnation(), self.validated_at.load(Ordering::Relaxed))
    }

    /// Records that this copy was found valid at `epoch`, for the backend that holds it.
    pub fn set_validated_at(&self, epoch: Epoch) {
        self.validated_at.store(epoch.get(), Ordering::Relaxed);
    }

    /// Notes a hit on this copy; returns whether it is the first that is noted.
    pub(crate) fn note_hit(&self) -> bool {
        !self.is_noted.load(Ordering::Relaxed) && !self.is_noted.swap(true, Ordering::Relaxed)
    }

    #[allow(dead_code, reason = "only the memory store samples")]
    #[inline]
    pub(crate) fn is_sampled(&self) -> bool {
        self.is_sampled.load(Ordering::Relaxed)
    }

    #[allow(dead_code, reason = "only the memory store samples")]
    pub(crate) fn set_sampled(&self) {
        self.is_sampled.store(true, Ordering::Relaxed);
    }

    /// Returns an entry without content that dies and expires as this one does, and weighs `weight` bytes.
    #[allow(dead_code, reason = "only the memory store simulates")]
    pub(crate) fn ghost(&self, weight: usize) -> Self {
        let mut ghost = Self::new(self.born, self.tags.to_vec(), Content::Tombstone);
        ghost.aged_by = self.expires().as_millis();
        ghost.weight = AtomicU32::new(u32::try_from(weight).unwrap_or(u32::MAX));
        ghost
    }

    /// Registers the store that counts this entry; `false` if this very store has done so before.
    #[cfg_attr(not(feature = "memory"), allow(dead_code, reason = "only the memory store counts"))]
    pub(crate) fn count_by(&self, counter: &Arc<dyn CountEntries>) -> bool {
        self.counted_by.set(Arc::clone(counter)).is_ok()
            || self.counted_by.get().is_some_and(|present| !Arc::ptr_eq(present, counter))
    }

    /// Returns when the backend may drop the entry, because it will not be used any more. A response with a validator is kept for at least
    /// an hour after it became stale: if the handler validates it, it need not build the body again.
    pub fn expires(&self) -> Timestamp {
        const FOR_VALIDATION: Duration = Duration::from_secs(3600);
        match &self.content {
            Content::Response(response) if has_validator(&response.head.headers) => {
                response.fresh_until + response.stale.longest().max(FOR_VALIDATION)
            }
            Content::Response(response) => response.fresh_until + response.stale.longest(),
            Content::Value(value) => value.fresh_until + value.stale.longest(),
            // Applies until the next response for the path has another rule.
            Content::QueryVariance(_) => Timestamp::from_millis(u64::MAX),
            Content::Tombstone => Timestamp::from_millis(self.aged_by),
            Content::Variants(variants) => variants.expires(),
        }
    }

    /// Returns the entry for a node that takes a copy of it when its clock shows `now`. A response or value that was generated later, by the clock
    /// of the node that stored it, counts as generated now: from now on, it is fresh for its whole lifetime at most, however wrong one of
    /// the clocks is. Its stale windows follow as they are.
    #[allow(dead_code, reason = "only the near tier takes copies")]
    pub(crate) fn copied_at(self: &Arc<Self>, now: Timestamp) -> Arc<Self> {
        let Some((generated, _)) = self.content.lifetime().filter(|(generated, _)| now < *generated) else {
            return Arc::clone(self);
        };
        let ahead = generated.since(now);
        let aged_by = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
        let content = match &self.content {
            Content::Response(response) => Content::Response(StoredResponse {
                generated: now,
                fresh_until: response.fresh_until - ahead,
                ..response.clone()
            }),
            Content::Value(value) => {
                Content::Value(StoredValue { generated: now, fresh_until: value.fresh_until - ahead, ..value.clone() })
            }
            content => content.clone(),
        };
        let origin = self.origin.clone();
        let mut copy = Self::new(self.born, self.tags.to_vec(), content);
        (copy.aged_by, copy.origin) = (aged_by, origin);
        Arc::new(copy)
    }

    /// Returns whether this is a copy of that entry with a response made older, which must not become younger when it is copied again.
    #[allow(dead_code, reason = "only the near tier takes copies")]
    pub(crate) fn is_aged_copy_of(&self, entry: &Self) -> bool {
        let aged = Duration::from_millis(self.aged_by);
        let (Some(copy), Some(of)) = (self.content.lifetime(), entry.content.lifetime()) else { return false };
        self.aged_by > 0 && self.born == entry.born && (copy.0 + aged, copy.1 + aged) == of
    }

    /// Returns whether both entries are the same response, in the same codings; for [`Backend::replace`](crate::backend::Backend::replace).
    pub fn is_same_response(&self, other: &Self) -> bool {
        let (Content::Response(one), Content::Response(two)) = (&self.content, &other.content) else { return false };
        self.born == other.born
            && (one.generated, one.fresh_until) == (two.generated, two.fresh_until)
            && one.head.headers == two.head.headers
            && one.codings == two.codings
            && one.body == two.body
    }

    /// Returns the approximate size in memory, in bytes, including larder's own data. Computed once per entry.
    pub fn weight(&self) -> usize {
        let known = self.weight.load(Ordering::Relaxed);
        if known > 0 {
            return known as usize;
        }
        let tags: usize = self.tags.iter().map(|tag| size_of::<Tag>() + tag.as_str().len()).sum();
        let weight = size_of::<Self>() + tags + self.content.weight();
        self.weight.store(u32::try_from(weight).unwrap_or(u32::MAX), Ordering::Relaxed);
        weight
    }

    /// Creates an entry that was decoded.
    pub(crate) fn decoded(born: Epoch, tags: Vec<Tag>, content: Content, origin: Origin) -> Self {
        let mut stored = Self::new(born, tags, content);
        stored.origin = origin;
        stored
    }

    /// Sets the secret by which this entry is sealed if it is encoded.
    pub(crate) fn seal_with(&mut self, secret: &Secret) {
        self.origin = Origin::Own(secret.clone());
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if let Some(counter) = self.counted_by.get() {
            counter.removed(&self.tags);
        }
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("born", &self.born).field("tags", &self.tags).finish_non_exhaustive()
    }
}

impl Content {
    fn weight(&self) -> usize {
        match self {
            Self::Response(response) => response.weight(),
            Self::Variants(variants) => variants.weight(),
            Self::Value(value) => value.weight(),
            Self::QueryVariance(_) | Self::Tombstone => 0,
        }
    }

    /// Returns when a response or value was generated, and until when it is fresh.
    fn lifetime(&self) -> Option<(Timestamp, Timestamp)> {
        match self {
            Self::Response(response) => Some((response.generated, response.fresh_until)),
            Self::Value(value) => Some((value.generated, value.fresh_until)),
            Self::Variants(_) | Self::QueryVariance(_) | Self::Tombstone => None,
        }
    }
}

/// The freshness of a stored response or value at one point in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FreshnessState {
    now: Timestamp,
    /// When it becomes stale, or became stale.
    until: Timestamp,
    stale: StaleWindows,
}

impl FreshnessState {
    /// Computes the freshness of a response whose tags have not been expired.
    pub(crate) fn of(response: &StoredResponse, now: Timestamp) -> Self {
        Self { now, until: response.fresh_until, stale: response.stale }
    }

    /// Computes the freshness of a value whose tags have not been expired.
    #[inline]
    pub(crate) fn of_value(value: &StoredValue, now: Timestamp) -> Self {
        Self { now, until: value.fresh_until, stale: value.stale }
    }

    /// Returns until when it is fresh, or was.
    #[inline]
    pub(crate) fn until(self) -> Timestamp {
        self.until
    }

    /// Returns the same for a response whose tags were expired at `since`, by a clock that may be ahead of this one.
    #[inline]
    pub(crate) fn expired(self, since: Timestamp) -> Self {
        Self { until: self.until.min(since).min(self.now), ..self }
    }

    #[inline]
    pub(crate) fn is_fresh(self) -> bool {
        self.now < self.until
    }

    /// Returns whether the response may be served while it is revalidated (RFC 5861 §3).
    pub(crate) fn is_usable_while_revalidating(self) -> bool {
        self.is_within(self.stale.while_revalidate)
    }

    /// Returns whether the response may be served because revalidation has failed (RFC 5861 §4).
    pub(crate) fn is_usable_on_error(self) -> bool {
        self.is_within(self.stale.if_error)
    }

    /// A window of zero allows no stale use, not even of a response that was expired at this very moment.
    fn is_within(self, window: u32) -> bool {
        window > 0 && self.now < self.until + Duration::from_millis(u64::from(window) * 10)
    }

    /// Returns the remaining freshness in whole seconds, negative once the response is stale (RFC 9211 §2.4).
    pub(crate) fn ttl(self) -> i64 {
        let seconds = |later: Timestamp, earlier| i64::try_from(later.seconds_since(earlier)).unwrap_or(i64::MAX);
        seconds(self.until, self.now) - seconds(self.now, self.until)
    }
}
