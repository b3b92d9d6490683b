//! The handle that applications hold, and its state.

pub(crate) mod connect;
pub(crate) mod detached;
pub(crate) mod fetch_slots;
pub(crate) mod flights;
pub(crate) mod mode;
pub(crate) mod outage_log;
pub(crate) mod uncacheable;

use std::{fmt, sync::Arc, time::Duration};

use http::Uri;

use crate::{
    backend::contract::{Backend, Invalidation, Receipt},
    cache::{
        fetch_slots::{FetchLimits, FetchSlot, FetchSlots},
        flights::{Flights, WaiterLimits},
        mode::{CacheMode, ModeCell},
        uncacheable::Uncacheable,
    },
    clock::{Clock, Timestamp},
    error::Error,
    http::{
        authority::{Scheme, normal_authority},
        cache_status::{Forward, Reason},
    },
    key::{Key, secret::Secret},
    lists::IntoTags,
    policy::settings::Settings,
    tag::{Tag, deduplicate, namespace::TagNamespace},
};

/// A response cache: a handle to one store, cheap to clone.
///
/// Clones, and the layers made from them, share the store; so do the handles that [`with_namespace`](Self::with_namespace) and
/// [`with_revision`](Self::with_revision) return, each with a separate set of keys.
///
/// ```
/// # use std::time::Duration;
/// use axum::{Router, routing::get};
/// use larder::Cache;
///
/// let cache = Cache::in_memory(64 << 20);
/// let minute = cache.layer().ttl(Duration::from_secs(60));
/// let app: Router = Router::new().route("/posts", get(|| async { "…" }).layer(minute.tags(["posts"])));
/// # let _ = app;
/// ```
#[derive(Clone)]
pub struct Cache {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Clone)]
pub(crate) struct Inner {
    pub(crate) backend: Arc<dyn Backend>,
    clock: Clock,
    tag_namespace: TagNamespace,
    namespace: String,
    revision: String,
    /// The key of the digests that replace credentials in cache keys.
    pub(crate) secret: Secret,
    pub(crate) flights: Arc<Flights>,
    pub(crate) fetch_slots: Arc<FetchSlots>,
    pub(crate) uncacheable: Arc<Uncacheable>,
    mode: ModeCell,
    /// The beginning of all keys.
    pub(crate) prefix: Vec<u8>,
}

const FLIGHT_SHARDS: usize = 32;

/// The upper bound of time limits, which keeps `Instant + limit` from overflowing.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Cache {
    /// Creates a cache in the memory of this process, of at most `max_bytes` bytes: bodies, headers, keys and bookkeeping.
    #[cfg(feature = "memory")]
    pub fn in_memory(max_bytes: u64) -> Self {
        Self::new(crate::backend::memory::Memory::new(max_bytes))
    }

    /// Creates a cache over any store.
    pub fn new(backend: impl Backend) -> Self {
        Self::from_arc(Arc::new(backend))
    }

    /// Creates a cache over a store that the application also uses elsewhere.
    pub fn from_arc(backend: Arc<dyn Backend>) -> Self {
        let inner = Inner {
            backend,
            clock: Clock::default(),
            tag_namespace: TagNamespace::default(),
            namespace: String::new(),
            revision: String::new(),
            secret: Secret::default(),
            flights: Flights::new(FLIGHT_SHARDS, WaiterLimits::default()),
            fetch_slots: FetchSlots::new(FetchLimits::default()),
            uncacheable: Arc::default(),
            mode: ModeCell::default(),
            prefix: prefix("", ""),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns a handle to the same store whose keys and tags are separate from those of all other namespaces.
    #[must_use]
    pub fn with_namespace(&self, namespace: &str) -> Self {
        self.with(|inner| {
            inner.namespace = namespace.to_owned();
            inner.tag_namespace = TagNamespace::new(namespace);
        })
    }

    /// Returns a handle to the same store that does not find the responses of other revisions. With a build's identifier as the
    /// revision, each deployment starts with an empty cache. Tags are the same in all revisions.
    #[must_use]
    pub fn with_revision(&self, revision: &str) -> Self {
        self.with(|inner| inner.revision = revision.to_owned())
    }

    /// Returns a handle to the same store whose keys hide credentials behind `secret`; default: a random secret in each process.
    ///
    /// Cookies, principals and `Authorization` select entries by a digest that cannot be computed or reversed without the secret. Give
    /// all nodes that share a store the same secret: otherwise a response that one node stored for a user is not found by
    /// another node, nor after a restart. Make it long and random (`openssl rand -hex 32`), and keep it out of the store.
    /// It costs some hundred nanoseconds for each credential that a route adds to its keys, and nothing elsewhere.
    ///
    /// # Panics
    /// If `secret` is empty, as when an environment variable is not set.
    #[must_use]
    pub fn with_secret(&self, secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        assert!(!secret.is_empty(), "the secret of a cache is empty: give all nodes the same long, random one");
        self.with(|inner| inner.secret = Secret::shared(secret))
    }

    /// Returns a handle to the same store that runs at most `max` handlers of each route concurrently to fill the cache; default: 1024.
    ///
    /// Further requests queue in the order of arrival, for at most a layer's [`wait_limit`](crate::CacheLayer::wait_limit); then they
    /// run without a limit. A route is a path of the router (`/posts/{id}`), or a whole layer if there is no router; a route whose handlers
    /// hang delays no other. The limit counts handlers whose client waits, and background refreshes. It does not count bodies that are
    /// streamed, [abandoned fetches](Self::with_max_abandoned_fetches), and requests whose response cannot be stored.
    #[must_use]
    pub fn with_max_fetches(&self, max: usize) -> Self {
        self.limit_fetches(|limits| limits.per_route = max)
    }

    /// Returns a handle to the same store that ends a fetch `limit` after its client has left, a year at most; default: 30 seconds.
    ///
    /// A fetch continues when its client leaves, so that its response is stored. From then on, head and body together have this time;
    /// a background refresh has it from its start. At the limit the handler or its body is dropped, and the next request for the key
    /// fetches again.
    #[must_use]
    pub fn with_abandoned_fetch_limit(&self, limit: Duration) -> Self {
        self.limit_fetches(|limits| limits.abandoned_for = limit.min(LONGEST))
    }

    /// Returns a handle to the same store with at most `count` concurrent fetches whose clients have left, which buffer about `bytes` bytes
    /// of bodies at most; default: 256, and 16 MiB. A fetch beyond that ends when its client leaves; with 0, every fetch does.
    #[must_use]
    pub fn with_max_abandoned_fetches(&self, count: usize, bytes: u64) -> Self {
        self.limit_fetches(|limits| (limits.abandoned, limits.abandoned_bytes) = (count, bytes))
    }

    /// Returns a handle to the same store that buffers about `bytes` bytes at most of bodies that it reads ahead of their clients to
    /// store them; default: 64 MiB.
    ///
    /// A streamed body is read as fast as the handler produces it, even if its client is slower. It takes up to half of the free
    /// bytes: a third of all if it is the only one. A larger body is not stored, and is read at its client's speed.
    #[must_use]
    pub fn with_max_buffered_bytes(&self, bytes: u64) -> Self {
        self.limit_fetches(|limits| limits.buffered_bytes = bytes)
    }

    /// Returns a handle to the same store that lets at most `per_key` requests wait for the fetch of one key, and `total` requests
    /// altogether; default: 10,000 and 100,000. Further requests call the handler directly.
    #[must_use]
    pub fn with_max_waiters(&self, per_key: usize, total: usize) -> Self {
        self.with(|inner| inner.flights = Flights::new(FLIGHT_SHARDS, WaiterLimits { per_key, total }))
    }

    /// Returns a handle to the same store that reads the time from `clock`, for tests.
    #[must_use]
    pub fn with_clock(&self, clock: impl Into<Clock>) -> Self {
        self.with(|inner| inner.clock = clock.into())
    }

    /// Disables or enables the cache while the application runs, for all handles to the same store and all their layers.
    /// Invalidations are carried out in every mode, so that no outdated response is served when the cache is enabled again.
    ///
    /// ```
    /// use larder::{Cache, CacheMode};
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// cache.set_mode(CacheMode::Bypass);
    /// assert_eq!(cache.mode(), CacheMode::Bypass);
    /// ```
    pub fn set_mode(&self, mode: CacheMode) {
        self.inner.mode.set(mode);
    }

    /// Returns the mode.
    pub fn mode(&self) -> CacheMode {
        self.inner.mode.mode()
    }

    /// Invalidates every response with one of `tags`: after this has returned `Ok`, no request that starts later,
    /// within the receipt's [`scope`](Receipt::scope), is answered from a response whose handler started before the call.
    ///
    /// Call it after the write has been committed. It costs the same for one entry and for a million. A call may have any number of
    /// tags: remote stores take 1,000 per command, and the call returns when all are invalidated. The memory store remembers the latest
    /// 65,536 tags individually, and gives up responses that are older than those. For a remote store that is unreachable as many tags
    /// are queued until it answers; if there are more, everything in it is invalidated then.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// # let id = 7;
    /// cache.invalidate_tags((format!("post:{id}"), "posts")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If a tag is empty or over 256 bytes, in which case nothing was invalidated; or if the store failed, in which case the
    /// promise does not hold.
    pub async fn invalidate_tags<S>(&self, tags: impl IntoTags<S>) -> Result<Receipt, Error> {
        let tags = self.tags(tags)?;
        self.invalidate(Invalidation::Tags(tags)).await
    }

    /// Makes every response with one of `tags` stale: the handler runs again, and meanwhile the stale response is served where a route
    /// allows that.
    ///
    /// The stale window (`stale-while-revalidate`, `stale-if-error`) begins with the expiry, or with the end of freshness if that was
    /// earlier; further expiries do not extend it. The time is that of this cache's clock. Nodes compare it with their own clocks,
    /// as they do for `max-age`.
    ///
    /// Frequent expiries of one tag are recorded in a thinned history: a stale window may then end early, by half of its length at most
    /// if it is shorter than an hour.
    ///
    /// # Errors
    /// As [`invalidate_tags`](Self::invalidate_tags).
    pub async fn expire_tags<S>(&self, tags: impl IntoTags<S>) -> Result<Receipt, Error> {
        let tags = self.tags(tags)?;
        self.expire(tags).await
    }

    /// Invalidates every response for `uri`, with any query and in all variants. A URI without a host, such as `/posts/7`, means
    /// that path on every host; the query of `uri` is ignored.
    ///
    /// # Errors
    /// If `uri` is not a URI with a path, in which case nothing was invalidated; or if the store failed.
    pub async fn invalidate_uri(&self, uri: impl AsRef<str>) -> Result<Receipt, Error> {
        let tag = self.uri_tag(uri.as_ref())?;
        self.invalidate(Invalidation::Tags(vec![tag])).await
    }

    /// Invalidates every response of a route, written as in the router: `/posts/{id}`.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn invalidate_route(&self, route: impl AsRef<str>) -> Result<Receipt, Error> {
        let tag = self.space().route(route.as_ref());
        self.invalidate(Invalidation::Tags(vec![tag])).await
    }

    /// Invalidates every response: in this handle's namespace, or in the whole store if the handle has no namespace.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn clear(&self) -> Result<Receipt, Error> {
        let everything = self.inner.tag_namespace.everything();
        self.invalidate(everything.map_or(Invalidation::Everything, |tag| Invalidation::Tags(vec![tag]))).await
    }

    /// Makes every response with one of these tags stale from now on.
    pub(crate) async fn expire(&self, tags: Vec<Tag>) -> Result<Receipt, Error> {
        self.invalidate(Invalidation::ExpireTags { tags, at: self.now() }).await
    }

    pub(crate) async fn invalidate(&self, invalidation: Invalidation) -> Result<Receipt, Error> {
        self.inner.backend.invalidate(&invalidation).await
    }

    pub(crate) fn is_on(&self) -> Result<(), (Forward, Reason)> {
        match self.mode() {
            CacheMode::Enabled | CacheMode::ReadOnly => Ok(()),
            CacheMode::Bypass => Err((Forward::Bypass, Reason::SwitchedOff)),
        }
    }

    pub(crate) fn may_store(&self) -> Result<(), Reason> {
        match self.mode() {
            CacheMode::Enabled => Ok(()),
            CacheMode::ReadOnly | CacheMode::Bypass => Err(Reason::ReadOnly),
        }
    }

    pub(crate) fn shares_store_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner.backend, &other.inner.backend)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Creates the slot of a fetch by a layer with these settings, for the route with this path.
    pub(crate) fn fetch_slot(&self, settings: &Arc<Settings>, path: Option<&str>) -> FetchSlot {
        let layer = Arc::as_ptr(settings).addr();
        self.inner.fetch_slots.on_route(&self.inner.prefix, layer, path)
    }

    pub(crate) fn space(&self) -> &TagNamespace {
        &self.inner.tag_namespace
    }

    pub(crate) fn tags<S>(&self, tags: impl IntoTags<S>) -> Result<Vec<Tag>, Error> {
        let mut prefixed = Vec::new();
        tags.for_each_tag(|tag| prefixed.push(self.space().tag(tag)));
        let mut tags = prefixed.into_iter().collect::<Result<Vec<_>, _>>()?;
        deduplicate(&mut tags);
        Ok(tags)
    }

    pub(crate) fn uri_tag(&self, uri: &str) -> Result<Tag, Error> {
        let parsed: Uri = uri.parse().map_err(|error| {
            Error::invalid_input(format!("`{uri}` is not a URI: give a path such as `/posts/7`")).with_source(error)
        })?;
        if !parsed.path().starts_with('/') {
            return Err(Error::invalid_input(format!("`{uri}` has no path: begin it with `/`")));
        }
        match parsed.authority() {
            None => Ok(self.space().path(parsed.path())),
            Some(authority) => {
                let authority = normal_authority(authority.as_str().as_bytes(), Scheme::of(&parsed))
                    .ok_or_else(|| Error::invalid_input(format!("`{uri}` has no valid host")))?;
                Ok(self.space().uri(&authority, parsed.path()))
            }
        }
    }

    fn limit_fetches(&self, change: impl FnOnce(&mut FetchLimits)) -> Self {
        let mut limits = self.inner.fetch_slots.limits;
        change(&mut limits);
        self.with(|inner| inner.fetch_slots = FetchSlots::new(limits))
    }

    fn with(&self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner::clone(&self.inner);
        change(&mut inner);
        inner.prefix = prefix(&inner.namespace, &inner.revision);
        Self { inner: Arc::new(inner) }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("backend", &self.inner.backend)
            .field("namespace", &self.inner.namespace)
            .field("revision", &self.inner.revision)
            .finish_non_exhaustive()
    }
}

fn prefix(namespace: &str, revision: &str) -> Vec<u8> {
    Key::first(namespace, revision).as_bytes().to_vec()
}
