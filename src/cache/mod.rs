//! The handle that applications hold, and its state.

pub(crate) mod connect;
pub(crate) mod detached;
pub(crate) mod flights;
pub(crate) mod mode;
pub(crate) mod outage_log;
pub(crate) mod places;
pub(crate) mod uncacheable;

use std::{fmt, sync::Arc, time::Duration};

use http::Uri;

use crate::{
    backend::contract::{Backend, Invalidation, Receipt},
    cache::{
        flights::{Flights, WaiterLimits},
        mode::{CacheMode, ModeCell},
        places::{FetchLimits, Place, Places},
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
    space: TagNamespace,
    namespace: String,
    revision: String,
    /// What keeps credentials in keys unreadable.
    pub(crate) secret: Secret,
    pub(crate) flights: Arc<Flights>,
    pub(crate) places: Arc<Places>,
    pub(crate) uncacheable: Arc<Uncacheable>,
    switch: ModeCell,
    /// What all keys begin with.
    pub(crate) prefix: Vec<u8>,
}

const FLIGHT_SHARDS: usize = 32;

/// Longer than this nothing goes on; a moment that far away can still be told.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Cache {
    /// A cache in the memory of this process, of at most `max_bytes` bytes: bodies, headers, keys and bookkeeping.
    #[cfg(feature = "memory")]
    pub fn in_memory(max_bytes: u64) -> Self {
        Self::new(crate::backend::memory::Memory::new(max_bytes))
    }

    /// A cache in any store.
    pub fn new(backend: impl Backend) -> Self {
        Self::from_arc(Arc::new(backend))
    }

    /// Creates a cache over a store that the application also uses elsewhere.
    pub fn from_arc(backend: Arc<dyn Backend>) -> Self {
        let inner = Inner {
            backend,
            clock: Clock::default(),
            space: TagNamespace::default(),
            namespace: String::new(),
            revision: String::new(),
            secret: Secret::default(),
            flights: Flights::new(FLIGHT_SHARDS, WaiterLimits::default()),
            places: Places::new(FetchLimits::default()),
            uncacheable: Arc::default(),
            switch: ModeCell::default(),
            prefix: prefix("", ""),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A handle to the same store, whose keys and tags nobody else's meet.
    #[must_use]
    pub fn with_namespace(&self, namespace: &str) -> Self {
        self.with(|inner| {
            inner.namespace = namespace.to_owned();
            inner.space = TagNamespace::new(namespace);
        })
    }

    /// A handle to the same store that does not find what an earlier revision stored; a build's identifier makes each
    /// deployment start with an empty cache. Tags are the same in all revisions.
    #[must_use]
    pub fn with_revision(&self, revision: &str) -> Self {
        self.with(|inner| inner.revision = revision.to_owned())
    }

    /// A handle to the same store whose keys hide credentials behind `secret`; default: one that is random in each process.
    ///
    /// Cookies, principals and `Authorization` select entries, by a digest that nobody can compute or undo who does not know the
    /// secret. In a store that several nodes share, give all of them the same one, or what is stored for one user on one node
    /// is not found on another, nor after a restart. Make it long and random (`openssl rand -hex 32`), and keep it out of the store.
    /// It costs some hundred nanoseconds for each credential of a request that a route tells users apart by, and nothing elsewhere.
    ///
    /// # Panics
    /// If `secret` is empty: a variable that was not set must not look like one.
    #[must_use]
    pub fn with_secret(&self, secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        assert!(!secret.is_empty(), "the secret of a cache is empty: give all nodes the same long, random one");
        self.with(|inner| inner.secret = Secret::shared(secret))
    }

    /// A handle to the same store with at most `max` handlers of each route at once that run to fill it; default: 1024.
    ///
    /// Further requests queue in the order of arrival, for as long as a layer's [`wait_limit`](crate::CacheLayer::wait_limit) says, and run
    /// then all the same. A route is what a router calls one (`/posts/{id}`), or else a whole layer; one whose handlers hang delays no other.
    /// Only handlers count whose client waits, and background refreshes: not bodies that are streamed, not
    /// [abandoned fetches](Self::with_max_abandoned_fetches), and not requests that are not stored anyway.
    #[must_use]
    pub fn with_max_fetches(&self, max: usize) -> Self {
        self.limit_fetches(|limits| limits.per_route = max)
    }

    /// A handle to the same store that ends a fetch when no client has waited for it for so long, a year at most; default: 30 seconds.
    ///
    /// A fetch goes on when its client leaves, so that its response is stored. From that moment on, head and body together have this time;
    /// a background refresh has it from its start. Then the handler or its body is dropped, and the next request for the key
    /// fetches again at once.
    #[must_use]
    pub fn with_abandoned_fetch_limit(&self, limit: Duration) -> Self {
        self.limit_fetches(|limits| limits.abandoned_for = limit.min(LONGEST))
    }

    /// A handle to the same store with at most `count` fetches at once whose clients have left, which hold at most about `bytes` bytes of
    /// bodies; default: 256, and 16 MiB. A fetch beyond that ends when its client leaves, so that 0 ends each.
    #[must_use]
    pub fn with_max_abandoned_fetches(&self, count: usize, bytes: u64) -> Self {
        self.limit_fetches(|limits| (limits.abandoned, limits.abandoned_bytes) = (count, bytes))
    }

    /// A handle to the same store that holds at most about so many bytes of bodies that it has read ahead of their clients, to
    /// store them; default: 64 MiB.
    ///
    /// A body that is streamed is read as fast as it comes, whatever its client's pace, and takes up to half of what is free: a third of
    /// all if it is alone. Beyond that it is not stored, and its client reads it at its own pace.
    #[must_use]
    pub fn with_max_buffered_bytes(&self, bytes: u64) -> Self {
        self.limit_fetches(|limits| limits.buffered_bytes = bytes)
    }

    /// A handle to the same store that lets at most so many requests wait for another's fetch, for one key and in total;
    /// default: 10,000 and 100,000. Further ones ask the handler themselves.
    #[must_use]
    pub fn with_max_waiters(&self, per_key: usize, total: usize) -> Self {
        self.with(|inner| inner.flights = Flights::new(FLIGHT_SHARDS, WaiterLimits { per_key, total }))
    }

    /// A handle to the same store that reads the time from `clock`, for tests.
    #[must_use]
    pub fn with_clock(&self, clock: impl Into<Clock>) -> Self {
        self.with(|inner| inner.clock = clock.into())
    }

    /// Switches the cache off or on while the application runs, in part or as a whole, for all handles to the same store and all
    /// their layers. Invalidations are carried out in every mode, so that nothing is wrong when it is switched on again.
    ///
    /// ```
    /// use larder::{Cache, CacheMode};
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// cache.set_mode(CacheMode::Bypass);
    /// assert_eq!(cache.mode(), CacheMode::Bypass);
    /// ```
    pub fn set_mode(&self, mode: CacheMode) {
        self.inner.switch.set(mode);
    }

    /// How much of the cache is at work.
    pub fn mode(&self) -> CacheMode {
        self.inner.switch.mode()
    }

    /// Makes everything with one of `tags` unusable, for good: after this has returned `Ok`, no request that starts later,
    /// within the receipt's [`scope`](Receipt::scope), is answered from a response whose handler started before the call.
    ///
    /// Call it after the write has been committed. It costs the same for one entry and for a million. A call may have any number of
    /// tags: stores on other machines take 1,000 at a time, and the call returns when all are invalidated. Memory remembers the latest
    /// 65,536 tags one by one, and drops every response that is older than those. For a store that cannot be reached as many tags are
    /// kept until it answers; if there are more, everything in it is invalidated then.
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
    /// If a tag is empty or over 256 bytes, in which case nothing was invalidated; or if the backend could not
    /// promise the above.
    pub async fn invalidate_tags<S>(&self, tags: impl IntoTags<S>) -> Result<Receipt, Error> {
        let tags = self.tags(tags)?;
        self.invalidate(Invalidation::Tags(tags)).await
    }

    /// Makes everything with one of `tags` stale: it is answered by the handler again, or while the handler runs from
    /// the stale response, where a route allows that.
    ///
    /// The stale window (`stale-while-revalidate`, `stale-if-error`) begins with the expiry, or with the end of freshness if that was
    /// before; an expiry of something that is expired already does not extend it. The time is that of this cache's
    /// clock. Nodes compare it with their own: one that is ahead, or behind, is so for `max-age`, too.
    ///
    /// A tag that is expired all the time leaves a thinned record of it: a window may then end early, by half of its length at most
    /// if it is shorter than an hour.
    ///
    /// # Errors
    /// As [`invalidate_tags`](Self::invalidate_tags).
    pub async fn expire_tags<S>(&self, tags: impl IntoTags<S>) -> Result<Receipt, Error> {
        let tags = self.tags(tags)?;
        self.expire(tags).await
    }

    /// Makes everything unusable that is stored for `uri`, with any query and in all variants. A URI without a host,
    /// such as `/posts/7`, means that path on every host; the query of `uri` is not looked at.
    ///
    /// # Errors
    /// If `uri` is not a URI with a path, in which case nothing was invalidated; or if the backend could not promise it.
    pub async fn invalidate_uri(&self, uri: impl AsRef<str>) -> Result<Receipt, Error> {
        let tag = self.uri_tag(uri.as_ref())?;
        self.invalidate(Invalidation::Tags(vec![tag])).await
    }

    /// Makes everything unusable that is stored for a route, written as the router has it: `/posts/{id}`.
    ///
    /// # Errors
    /// If the backend could not promise it.
    pub async fn invalidate_route(&self, route: impl AsRef<str>) -> Result<Receipt, Error> {
        let tag = self.space().route(route.as_ref());
        self.invalidate(Invalidation::Tags(vec![tag])).await
    }

    /// Makes everything unusable that is stored now: in this handle's namespace, or in the whole store if it has none.
    ///
    /// # Errors
    /// If the backend could not promise it.
    pub async fn clear(&self) -> Result<Receipt, Error> {
        let everything = self.inner.space.everything();
        self.invalidate(everything.map_or(Invalidation::Everything, |tag| Invalidation::Tags(vec![tag]))).await
    }

    /// Makes everything with one of these tags stale from now on.
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

    /// Where a fetch counts that a layer with these settings makes for the route with this path.
    pub(crate) fn fetch_place(&self, settings: &Arc<Settings>, path: Option<&str>) -> Place {
        let layer = Arc::as_ptr(settings).addr();
        self.inner.places.on_route(&self.inner.prefix, layer, path)
    }

    pub(crate) fn space(&self) -> &TagNamespace {
        &self.inner.space
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
        let mut limits = self.inner.places.limits;
        change(&mut limits);
        self.with(|inner| inner.places = Places::new(limits))
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
