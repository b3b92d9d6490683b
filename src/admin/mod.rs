//! The operator's page, and its API in JSON: what the cache does, why a URL is not cached, and the actions of an operator.
//!
//! The page is a router that an application mounts where it likes. It exists only with authorization: without
//! [`authorize`](Admin::authorize), [`bearer`](Admin::bearer) or [`local_only`](Admin::local_only) there is no
//! [`into_router`](Admin::into_router).
//!
//! ```
//! use axum::{Router, http::request::Parts, routing::get};
//! use larder::{Cache, admin::{Access, Admin}};
//!
//! # #[derive(Clone)]
//! # struct User { name: String, is_admin: bool }
//! // Put into the extensions by the application's own login.
//! fn access(parts: &Parts) -> Access {
//!     match parts.extensions.get::<User>() {
//!         Some(user) if user.is_admin => Access::full(&user.name),
//!         Some(user) => Access::read_only(&user.name),
//!         None => Access::Denied, // answered with 404
//!     }
//! }
//!
//! let cache = Cache::in_memory(64 << 20);
//! let layer = cache.layer().ttl(std::time::Duration::from_secs(60));
//! let app: Router = Router::new()
//!     .route("/posts", get(|| async { "…" }).layer(layer))
//!     .nest_service("/ops/cache", Admin::new(&cache).authorize(access).into_router());
//! # let _ = app;
//! ```
//!
//! `Router::nest` works as well; with `nest_service`, so does `/ops/cache/` with a slash at its end.
//!
//! # What it shows
//!
//! Numbers, routes, tags, the addresses of the servers of a store, and eight digits of the digests of keys. If the cache
//! [reveals](crate::Cache::with_revealed_keys) its keys, also their URLs with the queries. It never shows a body, a cookie, a credential or the
//! value of a request field other than the host. Tags and the errors of a store are for operators only.
//!
//! # The API
//!
//! Everything is under `api/`, in JSON. Numbers are those of [`Stats`](crate::Stats), counted since the process began.
//!
//! | request | answer |
//! |---|---|
//! | `GET api/stats` | totals, with the hit ratio, the mode and what the stores have counted |
//! | `GET api/routes` | the same for each route, with the reasons why responses were not stored, and their explanations |
//! | `GET api/hot` | hot keys, hot misses and hot tags |
//! | `GET api/memory` | the [memory curve](crate::Cache::memory_curve): the hit ratio with half, twice and four times the memory |
//! | `GET api/invalidations` | the last 256 invalidations of this process |
//! | `GET api/advice` | what [observers](crate::advisor) advise |
//! | `GET api/jobs` | warm-ups and schedules of this process, with their progress |
//! | `GET api/health` | the health of the store, with 503 if it is not healthy |
//! | `GET api/live` | sampled decisions as server-sent events, at most twenty a second |
//! | `POST api/explain` | `{"url": "…", "method": "GET", "headers": {"accept-language": "de"}}`: what the layer would decide, without running the handler; of a QUERY or POST, `"content"` is the text that it sends |
//! | `POST api/invalidate` | one of `{"tags": ["posts"]}`, `{"uri": "/posts/7"}`, `{"route": "/posts/{id}"}` |
//! | `POST api/expire` | `{"tags": ["posts"]}` |
//! | `POST api/refresh` | `{"uri": "https://example.com/posts/7"}`, if there is [`refresh_through`](Admin::refresh_through) |
//! | `POST api/cancel-job` | `{"job": "7"}`, the `id` of a job: ends it in this process |
//! | `POST api/mode` | `{"mode": "bypass"}` for this process, or `{"mode": "bypass", "everywhere": true}` for all nodes, as [`Cache::set_mode_everywhere`](crate::Cache::set_mode_everywhere) |
//! | `POST api/clear` | `{"confirm": "…"}`, the namespace of the cache, or its name if it has none |
//!
//! An action that fails is answered with 422 if the input was invalid, and else with 503; `happened` says what it did before it failed. 403 means
//! that the principal may not do it, or that the request came from another site.
//!
//! # Security
//!
//! A request without access is answered with 404, as if there were nothing. Every POST must come from the page itself, by `Sec-Fetch-Site` or
//! `Origin`; programs send neither. Responses are never stored, by browsers or by a larder layer around the application, and their
//! `Content-Security-Policy` admits only the page's own style and script. Each action is a `tracing` event with the target `larder::admin` and
//! the name of the principal.

mod access;
mod actions;
mod api;
mod explain;
mod guard;
mod history;
mod input;
mod jobs;
mod live;
mod page;
mod router;
mod same_site;
mod screens;
mod state;
mod text;

use std::{marker::PhantomData, sync::Arc};

use http::request::Parts;

pub use self::access::{Access, Action, Granted};
use self::{
    guard::{Bearer, Guard},
    state::Refresher,
};
use crate::cache::Cache;

/// The operator's page of a cache, and its API; see the [module](self).
///
/// It begins [`Unprotected`]; a way of authorization makes it [`Protected`].
#[must_use = "it does nothing until its router is mounted"]
pub struct Admin<Protection = Unprotected> {
    cache: Cache,
    guard: Guard,
    refresher: Option<Refresher>,
    protection: PhantomData<Protection>,
}

/// The state of an [`Admin`] without a way of authorization: it has no `into_router`.
#[derive(Debug, Clone, Copy)]
pub struct Unprotected;

/// The state of an [`Admin`] that has a way of authorization.
#[derive(Debug, Clone, Copy)]
pub struct Protected;

impl Admin {
    /// Creates the page of a cache: of its statistics, and of the namespace of this handle.
    pub fn new(cache: &Cache) -> Self {
        Self { cache: cache.clone(), guard: Guard::default(), refresher: None, protection: PhantomData }
    }
}

impl<Protection> Admin<Protection> {
    /// Asks `authorize` for the access of each request, by its head: what layers around the application have put into its extensions, or
    /// a cookie. It is called for each request to the page, and should be fast. A further call replaces it.
    pub fn authorize(self, authorize: impl Fn(&Parts) -> Access + Send + Sync + 'static) -> Admin<Protected> {
        self.protected(|guard| guard.authorize = Some(Arc::new(authorize)))
    }

    /// Grants full access to requests with `Authorization: Bearer …` and this secret, for programs such as the command-line tool. The
    /// comparison takes the same time for all wrong secrets. With [`authorize`](Self::authorize), either suffices.
    ///
    /// # Panics
    /// If `secret` is empty, as when an environment variable is not set.
    pub fn bearer(self, secret: impl AsRef<[u8]>) -> Admin<Protected> {
        let secret = secret.as_ref();
        assert!(!secret.is_empty(), "the secret of the operator's page is empty: make it long and random");
        self.protected(|guard| guard.bearer = Some(Bearer::new(secret)))
    }

    /// Admits only clients on this machine. Alone it grants them full access as `local`; with another way, both are required.
    ///
    /// The server must give the address of its clients: `axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())`. Without it,
    /// and for requests that a proxy has forwarded, access is denied. The host must be `localhost` or an address of this machine, so that
    /// no web site reaches the page by a name of its own (DNS rebinding).
    pub fn local_only(self) -> Admin<Protected> {
        self.protected(|guard| guard.local_only = true)
    }

    fn protected(mut self, change: impl FnOnce(&mut Guard)) -> Admin<Protected> {
        change(&mut self.guard);
        Admin { cache: self.cache, guard: self.guard, refresher: self.refresher, protection: PhantomData }
    }
}

impl<Protection> std::fmt::Debug for Admin<Protection> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("cache", &self.cache).finish_non_exhaustive()
    }
}
