//! The handle that applications hold, and its state.

mod advice;
pub(crate) mod bounded_map;
pub(crate) mod coding_slots;
pub(crate) mod connect;
pub(crate) mod detached;
pub(crate) mod drain;
pub(crate) mod fetch_lock;
pub(crate) mod fetch_slots;
pub(crate) mod fillers;
pub(crate) mod flights;
pub(crate) mod jobs;
pub(crate) mod known_layers;
pub(crate) mod lease;
mod leases;
pub(crate) mod limits;
pub(crate) mod mode;
#[cfg(feature = "otel")]
mod otel;
pub(crate) mod outage_log;
pub(crate) mod pending_write;
pub(crate) mod recent_variants;
pub(crate) mod seen_routes;
mod stats;
mod store_health;
pub(crate) mod turns;
pub(crate) mod uncacheable;
pub(crate) mod vary_hints;
pub(crate) mod warmed;
pub(crate) mod work;

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    advisor::observations::Observations,
    backend::{
        cache_mode::CacheMode,
        contract::{Backend, Invalidation, Receipt, Scope},
    },
    cache::{
        coding_slots::CodingSlots,
        fetch_slots::{FetchLimits, FetchSlot, FetchSlots},
        fillers::Fillers,
        flights::{Flights, WaiterLimits},
        jobs::Jobs,
        known_layers::KnownLayers,
        mode::ModeCell,
        recent_variants::RecentVariants,
        seen_routes::SeenRoutes,
        turns::Turns,
        uncacheable::Uncacheable,
        vary_hints::VaryHints,
        warmed::Warmed,
        work::{Work, WorkKind},
    },
    clock::{Clock, Timestamp},
    error::Error,
    http::cache_status::{Forward, Reason},
    key::{
        revision::{Prefix, Revision},
        secret::Secret,
    },
    lists::IntoTags,
    policy::settings::Settings,
    rewarm::{layers::RewarmedLayers, requests::Heat},
    stats::{decision::Listener, statistics::Statistics},
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
    pub(crate) namespace: String,
    /// The key of the digests that replace credentials in cache keys.
    pub(crate) secret: Secret,
    pub(crate) flights: Arc<Flights>,
    pub(crate) fetch_slots: Arc<FetchSlots>,
    pub(crate) uncacheable: Arc<Uncacheable>,
    pub(crate) codings: Arc<CodingSlots>,
    pub(crate) recent_variants: Arc<RecentVariants>,
    pub(crate) vary_hints: Arc<VaryHints>,
    /// How long a write continues without its client.
    pub(crate) abandoned_write_limit: Duration,
    pub(crate) mode: ModeCell,
    pub(crate) routes: Arc<SeenRoutes>,
    pub(crate) layers: Arc<KnownLayers<Inner>>,
    pub(crate) fillers: Arc<Fillers>,
    pub(crate) statistics: Arc<Statistics>,
    /// What observers have measured, and shadow verification has found.
    pub(crate) observations: Arc<Observations>,
    pub(crate) listener: Arc<Listener>,
    /// The value of the label `cache` in metrics.
    pub(crate) name: Arc<str>,
    pub(crate) work: Arc<Work>,
    /// The settings with which layers begin.
    pub(crate) defaults: Option<Arc<Settings>>,
    /// The beginning of all keys.
    pub(crate) prefix: Prefix,
    /// Warm-ups and schedules.
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) turns: Arc<Turns>,
    /// The layers whose requests are repeated after an invalidation.
    pub(crate) rewarmed: Arc<RewarmedLayers>,
    /// The requests by which the cache was warmed.
    pub(crate) warmed: Arc<Warmed>,
}

const FLIGHT_SHARDS: usize = 32;

impl Cache {
    /// Creates a cache in the memory of this process, of at most `max_bytes` bytes: bodies, headers, keys and bookkeeping.
    #[cfg(feature = "memory")]
    pub fn in_memory(max_bytes: u64) -> Self {
        Self::new(crate::backend::memory::Memory::new(max_bytes))
    }

    /// Creates a cache over any store.
    ///
    /// Every cache begins in the mode of the environment variable `LARDER_MODE`, if it is set: `enabled`, `read-only` or `bypass`. Any other
    /// value is logged as an error, and the cache is enabled; [`connect`](Self::connect) returns an error.
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
            secret: Secret::default(),
            flights: Flights::new(FLIGHT_SHARDS, WaiterLimits::default()),
            fetch_slots: FetchSlots::new(FetchLimits::default()),
            uncacheable: Arc::default(),
            codings: Arc::default(),
            recent_variants: Arc::default(),
            vary_hints: Arc::default(),
            abandoned_write_limit: Duration::from_secs(60),
            mode: ModeCell::from_environment(),
            routes: Arc::default(),
            layers: Arc::default(),
            fillers: Arc::default(),
            statistics: Arc::default(),
            observations: Arc::default(),
            listener: Arc::default(),
            name: "larder".into(),
            work: Arc::default(),
            defaults: None,
            prefix: Prefix::new("", &Revision::new("")),
            jobs: Arc::default(),
            turns: Arc::default(),
            rewarmed: Arc::default(),
            warmed: Arc::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Returns a handle to the same store whose keys and tags are separate from those of all other namespaces.
    #[must_use]
    pub fn with_namespace(&self, namespace: &str) -> Self {
        self.with(|inner| {
            inner.namespace = namespace.to_owned();
            inner.tag_namespace = TagNamespace::new(namespace);
            inner.prefix = Prefix::new(namespace, &inner.prefix.revision);
        })
    }

    /// Returns a handle to the same store that does not find the responses of other revisions. With a build's identifier as the
    /// revision, each deployment starts with an empty cache: [`warm`](Self::warm) fills it before requests arrive. Tags are the same in all
    /// revisions. [`prepare_revision`](Self::prepare_revision) changes the revision of a running process.
    #[must_use]
    pub fn with_revision(&self, revision: &str) -> Self {
        self.with(|inner| inner.prefix = Prefix::new(&inner.namespace, &Revision::new(revision)))
    }

    /// Returns a handle to the same store whose keys hide credentials behind `secret`, and whose entries are authenticated by it; default:
    /// a random secret in each process for the keys, and no authentication.
    ///
    /// Cookies, principals and `Authorization` select entries by a digest that cannot be computed or reversed without the secret. Give
    /// all nodes that share a store the same secret: otherwise a response that one node stored for a user is not found by
    /// another node, nor after a restart. Make it long and random (`openssl rand -hex 32`), and keep it out of the store.
    /// It costs some hundred nanoseconds for each credential that a route adds to its keys.
    ///
    /// An entry that is stored outside of this process has an authentication code (HMAC-SHA256) over its key, epoch, tags and response. An
    /// entry without a right one is a miss, and is logged once: a writer to the store without the secret cannot forge a page,
    /// change one, or copy it to another key or namespace. It can bring back an entry that was there before, as long as none of its tags
    /// was invalidated. Entries that were stored before the secret was set are misses. A read or write of an entry costs a
    /// SHA-256 of it: about 1 µs for 1 KiB on a processor with SHA instructions.
    ///
    /// # Panics
    /// If `secret` is empty, as when an environment variable is not set.
    #[must_use]
    pub fn with_secret(&self, secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        assert!(!secret.is_empty(), "the secret of a cache is empty: give all nodes the same long, random one");
        self.with(|inner| inner.secret = Secret::shared(secret))
    }

    /// Returns a handle to the same store that reads the time from `clock`, for tests.
    #[must_use]
    pub fn with_clock(&self, clock: impl Into<Clock>) -> Self {
        let clock = clock.into();
        self.inner.backend.use_clock(&clock);
        self.with(|inner| inner.clock = clock)
    }

    /// Disables or enables the cache in this process while the application runs, for all handles to the same store and all their layers;
    /// [`set_mode_everywhere`](Self::set_mode_everywhere) does so on all nodes.
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

    /// Disables or enables the cache on every node that uses the same store: the store keeps the mode beside its logical clock, where
    /// nodes read it with each lookup, without a further round trip. It stays in force when nodes restart.
    ///
    /// The mode of a node is the stricter of this one and its own ([`set_mode`](Self::set_mode)). Nodes follow:
    ///
    /// | node | follows |
    /// |---|---|
    /// | that looks responses up in Redis or memcached, or has a strict near tier | with its next lookup, which already obeys the new mode |
    /// | with copies under a lease | within the lease |
    /// | that bypasses the cache, and so looks nothing up | within a second: while requests arrive, it reads the mode once a second |
    ///
    /// With a store in the memory of the process, or one without a place for the mode, it does what `set_mode` does, and returns
    /// [`Scope::Process`].
    ///
    /// While the store cannot be reached, each node keeps the last mode that it has read; a node that has read none uses its own. If the store
    /// loses the mode, by an eviction, a restart without its data, a failover to a replica that lacks it, or `FLUSHALL`, the
    /// mode is `Enabled` again; so is an unknown value. Nodes log each change of what they read. Other programs can set the mode in Redis:
    /// `SET {larder}:mode bypass`, with the store's `key_prefix` in the braces.
    ///
    /// # Errors
    /// If the store failed: the mode may have been changed or not, and is not set again later.
    pub async fn set_mode_everywhere(&self, mode: CacheMode) -> Result<Scope, Error> {
        let scope = self.inner.backend.set_shared_mode(mode).await?;
        if scope == Scope::Process {
            self.set_mode(mode);
        }
        Ok(scope)
    }

    /// Returns the mode in force: the stricter of [`own_mode`](Self::own_mode) and [`shared_mode`](Self::shared_mode); `Bypass` while a
    /// [`lease`](Self::lease) has ended.
    pub fn mode(&self) -> CacheMode {
        let by_leases = self.inner.mode.mode_by_leases(|| self.now());
        self.own_mode().max(self.shared_mode()).max(by_leases)
    }

    /// Returns the mode that [`set_mode`](Self::set_mode) or the environment has set for this process.
    pub fn own_mode(&self) -> CacheMode {
        self.inner.mode.mode()
    }

    /// Returns the mode of all nodes as this node has read it last ([`set_mode_everywhere`](Self::set_mode_everywhere)); `Enabled` for a
    /// store in the memory of the process.
    #[inline]
    pub fn shared_mode(&self) -> CacheMode {
        self.inner.backend.shared_mode()
    }

    /// Invalidates every response with one of `tags`: after this has returned `Ok`, no request that starts later,
    /// within the receipt's [`scope`](Receipt::scope), is answered from a response whose handler started before the call.
    ///
    /// Call it after the write has been committed. It costs the same for one entry and for a million. A call may have any number of
    /// tags: remote stores take 1,000 per command, and the call returns when all are invalidated. The memory store remembers the latest
    /// 65,536 tags of stored entries individually, and drops responses that are older than those. For a remote store that is unreachable as many tags
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
    /// If the store failed, in which case the promise does not hold. Or if a tag is empty or over 256 bytes: no stored response has it,
    /// and all other tags were invalidated. Otherwise a client could keep outdated responses alive by a name that makes one tag too
    /// long. The response part [`Invalidate`](crate::Invalidate) does the same.
    pub async fn invalidate_tags<S>(&self, tags: impl IntoTags<S>) -> Result<Receipt, Error> {
        let (tags, all_valid) = self.valid_tags(tags)?;
        let receipt = self.invalidate(Invalidation::Tags(tags)).await?;
        all_valid.map(|()| receipt)
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
        let (tags, all_valid) = self.valid_tags(tags)?;
        let receipt = self.expire(tags).await?;
        all_valid.map(|()| receipt)
    }

    /// Invalidates every response for `uri`, with any query and in all variants. A URI without a host, such as `/posts/7`, means
    /// that path on every host; the query of `uri` is ignored.
    ///
    /// All spellings of a URI are the same (RFC 3986 §6.2.2): `/café` and `/caf%c3%a9`, `/~a` and `/%7Ea`, `/a/../b` and `/b`.
    ///
    /// # Errors
    /// If no request can have the target `uri`, in which case nothing was invalidated: it has no path, a host without a scheme (`//host/p`), or a `*`
    /// as in a pattern (`/posts/*`; a literal one is `%2A`). Or if the store failed.
    pub async fn invalidate_uri(&self, uri: impl AsRef<str>) -> Result<Receipt, Error> {
        let tag = self.space().target(uri.as_ref())?;
        self.invalidate(Invalidation::Tags(vec![tag])).await
    }

    /// Invalidates every response of a route, written as in the router and with the prefixes of nested routers: `/posts/{id}`.
    ///
    /// larder does not know the routes of the application. A warning is logged, once for each route, if this process has met
    /// requests for other routes and none for this one. Without the feature `axum`, responses have no route.
    ///
    /// # Errors
    /// If `route` cannot be a route of axum 0.8, in which case nothing was invalidated: it does not begin with `/`, or has a capture as in axum
    /// 0.7 (`/posts/:id`). Or if the store failed.
    pub async fn invalidate_route(&self, route: impl AsRef<str>) -> Result<Receipt, Error> {
        let tag = self.route_tag(route.as_ref())?;
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
        let _unfinished = self.inner.work.begin(WorkKind::Invalidation);
        let began = Instant::now();
        let outcome = self.inner.backend.invalidate(&invalidation).await;
        self.inner.statistics.invalidations.ended(self.now(), &invalidation, &outcome, began.elapsed());
        let removes = !matches!(invalidation, Invalidation::ExpireTags { .. });
        if removes && outcome.is_ok() && !self.inner.work.is_draining() {
            self.inner.rewarmed.invalidated(&invalidation, || self.heat());
        }
        outcome
    }

    /// Returns how often the hottest keys were requested lately, by their digests.
    pub(crate) fn heat(&self) -> Heat {
        self.inner.statistics.hot.heat(self.now())
    }

    pub(crate) fn is_on(&self) -> Result<(), (Forward, Reason)> {
        match self.mode() {
            CacheMode::Enabled | CacheMode::ReadOnly => Ok(()),
            CacheMode::Bypass => Err((Forward::Bypass, Reason::SwitchedOff)),
        }
    }

    /// Whether the cache is on, and keys begin as when the handles were made. If not, [`is_on`](Self::is_on) says which of the two.
    #[inline]
    pub(crate) fn is_on_as_built(&self) -> bool {
        self.inner.mode.mode_as_built(|| self.now()).is_some_and(|own| own.max(self.shared_mode()) != CacheMode::Bypass)
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

    /// Returns what identifies the store while this handle exists.
    #[inline]
    pub(crate) fn store_address(&self) -> usize {
        Arc::as_ptr(&self.inner.backend).addr()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Creates the slot of a fetch by a layer with these settings, for the route with this path.
    pub(crate) fn fetch_slot(&self, settings: &Arc<Settings>, path: Option<&str>) -> FetchSlot {
        let layer = Arc::as_ptr(settings).addr();
        self.inner.fetch_slots.on_route(&self.inner.prefix.built, layer, path)
    }

    pub(crate) fn space(&self) -> &TagNamespace {
        &self.inner.tag_namespace
    }

    /// Returns the valid tags, with the error of the first invalid one; an error if none is valid.
    fn valid_tags<S>(&self, tags: impl IntoTags<S>) -> Result<(Vec<Tag>, Result<(), Error>), Error> {
        let (mut valid, mut all_valid) = (Vec::new(), Ok(()));
        tags.for_each_tag(|tag| match self.space().tag(tag) {
            Ok(tag) => valid.push(tag),
            Err(error) => all_valid = all_valid.clone().and(Err(error)),
        });
        if valid.is_empty() {
            all_valid.clone()?;
        }
        deduplicate(&mut valid);
        Ok((valid, all_valid))
    }

    /// Returns the tag of a route that the application names.
    pub(crate) fn route_tag(&self, route: &str) -> Result<Tag, Error> {
        let tag = self.space().named_route(route)?;
        self.inner.routes.check(route);
        Ok(tag)
    }

    pub(crate) fn with(&self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner::clone(&self.inner);
        change(&mut inner);
        Self { inner: Arc::new(inner) }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("backend", &self.inner.backend)
            .field("namespace", &self.inner.namespace)
            .field("revision", &self.inner.prefix.revision.current().name)
            .finish_non_exhaustive()
    }
}
