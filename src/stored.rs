use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, response};
use smallvec::SmallVec;

use crate::{clock::Timestamp, conditional::has_validator, no_vary_search::SearchRule, tag::Tag};

/// A point in a backend's logical time: it grows with every invalidation, and knows nothing of wall clocks.
///
/// A clock that can be lost, as one in a remote store can, begins anew as another incarnation; numbers of different
/// incarnations say nothing about each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    number: u64,
    incarnation: u64,
}

impl Epoch {
    /// The epoch with this number, on a clock that is never lost.
    pub const fn new(number: u64) -> Self {
        Self::of(0, number)
    }

    /// The epoch with this number, on this incarnation of the clock.
    pub const fn of(incarnation: u64, number: u64) -> Self {
        Self { number, incarnation }
    }

    /// The epoch's number.
    pub const fn get(self) -> u64 {
        self.number
    }

    /// Which clock it was read on.
    pub const fn incarnation(self) -> u64 {
        self.incarnation
    }
}

/// What a backend keeps under one key: a response, or the list of variants of one (RFC 9111 §4.1).
///
/// Backends carry it and judge its [`born`](Self::born) and [`tags`](Self::tags); what it says is not theirs to
/// read.
pub struct Stored {
    born: Epoch,
    tags: Box<[Tag]>,
    validated_at: AtomicU64,
    /// Once somebody has asked.
    weight: OnceLock<usize>,
    content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Response(StoredResponse),
    Variants(Variants),
    /// How the latest response for a path treats the query.
    Search(SearchRule),
    /// Nothing: what stood here must not be used, not even stale.
    Vacant,
}

impl Stored {
    pub(crate) fn new(born: Epoch, tags: Vec<Tag>, content: Content) -> Self {
        Self { born, tags: tags.into(), validated_at: AtomicU64::new(0), weight: OnceLock::new(), content }
    }

    /// The epoch that was read before the handler was called.
    pub fn born(&self) -> Epoch {
        self.born
    }

    /// Every tag that can invalidate this, the automatic ones included.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The epoch up to which this copy is known to be usable: a note that the backend which holds it may keep.
    pub fn validated_at(&self) -> Epoch {
        Epoch::of(self.born.incarnation, self.validated_at.load(Ordering::Relaxed))
    }

    /// Notes that this copy was found usable at `epoch`.
    pub fn set_validated_at(&self, epoch: Epoch) {
        self.validated_at.store(epoch.number, Ordering::Relaxed);
    }

    /// When this may be forgotten: it will not be used from then on. What can be validated is of use for an hour longer than it may be
    /// served, since its handler need not make the body again.
    pub fn expires(&self) -> Timestamp {
        const FOR_VALIDATION: Duration = Duration::from_secs(3600);
        match &self.content {
            Content::Response(response) if has_validator(&response.head.headers) => {
                response.fresh_until + response.stale.longest().max(FOR_VALIDATION)
            }
            Content::Response(response) => response.fresh_until + response.stale.longest(),
            // As good as any other until the next response says something else.
            Content::Search(_) => Timestamp::from_millis(u64::MAX),
            Content::Vacant => Timestamp::from_millis(0),
            Content::Variants(variants) => variants.expires(),
        }
    }

    /// How many bytes this takes in memory, its own bookkeeping included.
    pub fn weight(&self) -> usize {
        *self.weight.get_or_init(|| {
            let tags: usize = self.tags.iter().map(|tag| size_of::<Tag>() + tag.as_str().len()).sum();
            size_of::<Self>() + tags + self.content.weight()
        })
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
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
            Self::Search(_) | Self::Vacant => 0,
        }
    }
}

/// A response as it will be sent again: nothing is parsed, formatted or rebuilt when it is.
#[derive(Debug, Clone)]
pub(crate) struct StoredResponse {
    /// With a slot for `Age`, so that a hit overwrites rather than inserts.
    pub(crate) head: response::Parts,
    pub(crate) body: Bytes,
    /// The moment at which the response was of age zero.
    pub(crate) generated: Timestamp,
    pub(crate) fresh_until: Timestamp,
    /// Whether it may answer a request with `Authorization` (RFC 9111 §3.5).
    pub(crate) answers_authorized: bool,
    pub(crate) stale: StaleWindows,
    /// Whether nobody may use it stale, not even who asks for it.
    pub(crate) forbids_stale: bool,
    pub(crate) immutable: bool,
    /// How long the handler took, in milliseconds.
    pub(crate) cost: u32,
}

/// The head of a response, without extensions.
pub(crate) fn response_head(status: StatusCode, headers: HeaderMap) -> response::Parts {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = status;
    head.headers = headers;
    head
}

impl StoredResponse {
    /// The current age in whole seconds (RFC 9111 §4.2.3).
    pub(crate) fn age(&self, now: Timestamp) -> u64 {
        now.seconds_since(self.generated)
    }

    fn weight(&self) -> usize {
        /// What one field takes in a `HeaderMap`, its index included.
        const FIELD: usize = 112;
        let headers: usize = self.head.headers.iter().map(|(name, value)| FIELD + name.as_str().len() + value.len()).sum();
        headers + self.body.len()
    }
}

/// How fresh a response is at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Freshness {
    now: Timestamp,
    /// When it becomes stale, or became so.
    until: Timestamp,
    stale: StaleWindows,
}

impl Freshness {
    /// How fresh `response` is at `now`, if it was not expired before its time.
    pub(crate) fn of(response: &StoredResponse, now: Timestamp) -> Self {
        Self { now, until: response.fresh_until, stale: response.stale }
    }

    /// The same of what was expired at `since`, by a clock that may be ahead of this one.
    pub(crate) fn expired(self, since: Timestamp) -> Self {
        Self { until: self.until.min(since).min(self.now), ..self }
    }

    pub(crate) fn is_fresh(self) -> bool {
        self.now < self.until
    }

    /// Whether it may be used while it is fetched anew (RFC 5861 §3).
    pub(crate) fn is_usable_while_revalidating(self) -> bool {
        self.is_within(self.stale.while_revalidate)
    }

    /// Whether it may be used because it could not be fetched anew (RFC 5861 §4).
    pub(crate) fn is_usable_on_error(self) -> bool {
        self.is_within(self.stale.if_error)
    }

    /// No window allows no stale use, also of what was expired at this very moment.
    fn is_within(self, window: u32) -> bool {
        window > 0 && self.now < self.until + Duration::from_millis(u64::from(window) * 10)
    }

    /// Whole seconds of freshness that are left; negative once it is stale (RFC 9211 §2.4).
    pub(crate) fn ttl(self) -> i64 {
        let seconds = |later: Timestamp, earlier| i64::try_from(later.seconds_since(earlier)).unwrap_or(i64::MAX);
        seconds(self.until, self.now) - seconds(self.now, self.until)
    }
}

/// For how long after its freshness a response may still be used (RFC 5861).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StaleWindows {
    /// While it is being fetched anew, in hundredths of a second.
    pub(crate) while_revalidate: u32,
    /// When it could not be, likewise: a year and more has room.
    pub(crate) if_error: u32,
}

impl StaleWindows {
    pub(crate) fn new(while_revalidate: Duration, if_error: Duration) -> Self {
        let hundredths = |window: Duration| u32::try_from(window.as_millis().div_ceil(10)).unwrap_or(u32::MAX);
        Self { while_revalidate: hundredths(while_revalidate), if_error: hundredths(if_error) }
    }

    fn longest(self) -> Duration {
        Duration::from_millis(u64::from(self.while_revalidate.max(self.if_error)) * 10)
    }
}

/// The variants of one URI: which request fields select among them, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variants {
    /// The field lists of the `Vary` fields seen, newest first; names in lower case, sorted.
    pub(crate) nominations: SmallVec<[Box<[HeaderName]>; 1]>,
    /// Name and end of each variant.
    pub(crate) members: Vec<(Member, Timestamp)>,
}

/// What a variant is called among those of its URI, on every node: the first half of its key's SHA-256.
pub(crate) type Member = [u8; 16];

impl Variants {
    fn expires(&self) -> Timestamp {
        self.members.iter().map(|(_, expires)| *expires).max().unwrap_or(Timestamp::from_millis(0))
    }

    fn weight(&self) -> usize {
        let nominations: usize = self.nominations.iter().map(|names| names.len() * size_of::<HeaderName>() + 16).sum();
        nominations + self.members.len() * size_of::<(Member, Timestamp)>()
    }
}
