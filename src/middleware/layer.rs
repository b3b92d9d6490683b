//! The builder of the middleware.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, StatusCode, request, response};
use tower_layer::Layer;

use super::service::CacheService;
use crate::{
    cache::Cache,
    http::cache_status::StatusField,
    key::normalizers::Normalize,
    lists::{IntoNames, IntoTags},
    policy::{
        rules::Profile,
        settings::{Authorization, Collapsing, Settings},
    },
    tag::template::TagTemplate,
};

/// Longer than this nobody waits; a moment that far away can still be told.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Answers requests from a [`Cache`], and stores what handlers answer.
///
/// It is its own builder. Only GET and HEAD are answered from the cache; every other method goes to the handler, and if
/// it succeeds, what is stored for its URI is invalidated (RFC 9111 §4.4).
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, routing::get};
/// use larder::Cache;
///
/// # async fn list() {}
/// # async fn show() {}
/// let cache = Cache::in_memory(64 << 20);
/// let minute = cache.layer().ttl(Duration::from_secs(60));
///
/// let app: Router = Router::new()
///     .route("/posts", get(list).layer(minute.clone().tags(["posts"])))
///     .route("/posts/{id}", get(show).layer(minute.tags(["posts", "post:{id}"])));
/// # let _ = app;
/// ```
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct CacheLayer {
    cache: Cache,
    settings: Arc<Settings>,
}

impl Cache {
    /// A layer over this cache that stores what handlers themselves give a lifetime; [`CacheLayer::ttl`] gives one to the
    /// others.
    pub fn layer(&self) -> CacheLayer {
        CacheLayer::new(self)
    }
}

/// Lifetimes: what is stored, and how long it is fresh.
impl CacheLayer {
    /// The same as [`Cache::layer`].
    pub fn new(cache: &Cache) -> Self {
        let mut settings = Settings::default();
        settings.key.normalizers.secret = cache.inner.secret.clone();
        Self { cache: cache.clone(), settings: Arc::new(settings) }
    }

    /// Keeps responses fresh for `ttl` that say nothing of their own; default: they are not stored.
    ///
    /// It applies to 200, 203, 301 and 308; [`negative_ttl`](Self::negative_ttl) and [`ttl_for`](Self::ttl_for) cover
    /// others. A handler's own `Cache-Control`, `Expires` or [`CacheDirective`](crate::CacheDirective) goes before it, and nothing overrides its
    /// `no-store`, `private` or `Set-Cookie`.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.edit(|settings| settings.store.ttl = Some(ttl))
    }

    /// Keeps 404 and 410 for `ttl`; default: they are stored only if they say for how long.
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        self.edit(|settings| settings.store.negative_ttl = Some(ttl))
    }

    /// Keeps responses with this status for `ttl` unless they say otherwise; call it once for each, the last call for a status wins.
    /// It never applies to 206, 304 or 1xx.
    pub fn ttl_for(self, status: StatusCode, ttl: Duration) -> Self {
        self.edit(|settings| {
            settings.store.statuses.retain(|(named, _)| *named != status);
            settings.store.statuses.push((status, ttl));
        })
    }

    /// The longest that anything is kept, whatever it says itself; default: 24 hours, and no limit with [`strict`](Self::strict).
    pub fn max_ttl(self, max: Duration) -> Self {
        self.edit(|settings| settings.choices.max_ttl = Some(max))
    }

    /// The largest body that is stored, in bytes; default: 1 MiB. A larger one is forwarded as it comes.
    pub fn max_body(self, bytes: u64) -> Self {
        self.edit(|settings| settings.store.max_body = bytes)
    }

    /// Stores only responses for which `predicate` says so, given the head and, where it is known, the length of the body.
    pub fn store_if(self, predicate: impl Fn(&response::Parts, Option<u64>) -> bool + Send + Sync + 'static) -> Self {
        self.edit(|settings| settings.store.store_if = Some(Arc::new(predicate)))
    }

    /// Stores responses that set a cookie, without the cookie; default: they are not stored. The request that filled the
    /// cache still gets its cookie.
    pub fn strip_set_cookie(self, on: bool) -> Self {
        self.edit(|settings| settings.choices.strip_set_cookie = on)
    }
}

/// HTTP to the letter.
impl CacheLayer {
    /// Follows RFC 9111 to the letter, in place of larder's safer habits:
    ///
    /// - any final status is stored that says for how long, and the usual ones by guess (a tenth of their age since
    ///   `Last-Modified`, a day at most; §4.2.2);
    /// - `CDN-Cache-Control` (RFC 9213) goes before `Cache-Control`;
    /// - a request's `no-cache`, `max-age`, `min-fresh`, `max-stale` and `Pragma` are obeyed (§5.2.1);
    /// - cookies and `Set-Cookie` are fields like any other (§7.3);
    /// - `private="field"` and `no-cache="field"` leave out the fields, not the response; no lifetime is cut to a day.
    ///
    /// It changes defaults only: `max_ttl`, `strip_set_cookie`, `trusted_clients`, `ignore_cookies` and `vary_on_cookies` have their
    /// effect whether they are called before it or after it.
    ///
    /// For a proxy whose upstream knows HTTP caching; for an application's own handlers the default is the better choice.
    pub fn strict(self) -> Self {
        self.edit(|settings| settings.store.profile = Profile::Strict)
    }

    /// Obeys the demands of these clients on freshness (`no-cache`, `max-age`, …; RFC 9111 §5.2.1), to let some of them reload;
    /// default: no client's, since any visitor could keep the cache from working, and every client's with [`strict`](Self::strict).
    /// The last call wins.
    pub fn trusted_clients(self, trusted: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        self.edit(|settings| settings.choices.trusted = Some(Arc::new(trusted)))
    }

    /// Gives each stored response without an `ETag` a strong one, made of its body when it is stored; clients that have it are
    /// answered with 304 from then on. Default: off.
    pub fn auto_etag(self, on: bool) -> Self {
        self.edit(|settings| settings.auto_etag = on)
    }
}

/// Staleness and stampedes: what happens when a response is about to expire, has expired, or is wanted by many at once.
impl CacheLayer {
    /// For so long after its freshness, or after one of its tags was [expired](crate::Cache::expire_tags) before that, answers from
    /// a stale response at once and fetches it anew in the background (RFC 5861 §3); default: not at all. A response's own
    /// `stale-while-revalidate` goes before it; `must-revalidate`, `proxy-revalidate` and `s-maxage` forbid it.
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        self.edit(|settings| settings.store.stale_while_revalidate = window)
    }

    /// For so long after its freshness, or after one of its tags was expired before that, answers from a stale response if the
    /// handler fails: with 500, 502, 503 or 504, with an error, or with a panic (RFC 5861 §4); default: not at all. A response's own
    /// `stale-if-error` goes before it; the same directives forbid it.
    pub fn stale_if_error(self, window: Duration) -> Self {
        self.edit(|settings| settings.store.stale_if_error = window)
    }

    /// Answers from a stale response if the handler needs longer than `limit`, where one of the two windows above allows a stale
    /// one; the handler goes on, and what it answers is stored. Default: waits for the handler.
    pub fn soft_timeout(self, limit: Duration) -> Self {
        self.edit(|settings| settings.soft_timeout = Some(limit.min(LONGEST_WAIT)))
    }

    /// Fetches a response anew in the background before it expires, with a chance that grows towards its end and with the time
    /// that its handler took (XFetch); default: off. `eagerness` 1.0 is the optimum of its authors; higher is earlier.
    pub fn refresh_ahead(self, eagerness: f64) -> Self {
        self.edit(|settings| settings.refresh_ahead = (eagerness > 0.0).then_some(eagerness))
    }

    /// Takes up to this share off each lifetime, by chance, so that what was stored together does not expire together;
    /// default: 0.
    pub fn jitter(self, share: f64) -> Self {
        self.edit(|settings| settings.store.jitter = share.clamp(0.0, 1.0))
    }

    /// How long a request waits for another's fetch of the same key before it asks the handler itself, without storing, a year at
    /// most; default: 2 seconds.
    pub fn wait_limit(self, limit: Duration) -> Self {
        self.edit(|settings| settings.wait_limit = limit.min(LONGEST_WAIT))
    }

    /// Lets one node fetch for all that share a store; default: each node fetches for itself, once.
    ///
    /// A node that misses claims the key in the store, and gives the claim back when its response is stored; others look for that
    /// response every 20 ms, for at most the [`wait_limit`](Self::wait_limit). Should the node die, its claim ends after `life`, which should
    /// be as long as the handler takes at most. It costs two round trips more with each miss, and works with Redis; with other stores it
    /// changes nothing. What is right does not depend on it.
    pub fn collapse_across_nodes(self, life: Duration) -> Self {
        self.edit(|settings| settings.across_nodes = Some(life))
    }

    /// Lets requests for the same key share one run of the handler; default: on. Without it, every request that is not answered from
    /// the cache runs its own handler.
    pub fn collapse(self, on: bool) -> Self {
        self.edit(|settings| settings.collapsing = if on { Collapsing::On } else { Collapsing::Off })
    }
}

/// Tags and status.
impl CacheLayer {
    /// Tags every response of the route; `{name}` stands for the route's capture of that name, decoded, and `{{`, `}}` for
    /// braces. It adds to tags given before.
    ///
    /// A capture that the route does not have: the response is served and not stored, and a warning names it once. Put the
    /// layer on the route or use `route_layer`; around a whole router no route is known yet.
    pub fn tags<S>(self, tags: impl IntoTags<S>) -> Self {
        self.edit(|settings| tags.for_each_tag(|tag| settings.tags.push(TagTemplate::parse(tag))))
    }

    /// Sends `Cache-Status` (RFC 9211) with each response; default: it is only in the response's extensions, because it tells
    /// clients whether somebody asked before them.
    pub fn status_header(self, on: bool) -> Self {
        self.edit(|settings| settings.status_field = if on { StatusField::Sent } else { StatusField::default() })
    }
}

/// Keys: which requests share a response. By default scheme, host, path and query, byte for byte, and the request fields
/// that the response's `Vary` names.
impl CacheLayer {
    /// Leaves these query parameters out of the key; `*` at the end of a name stands for anything. The handler does not see
    /// them either, since its response is for all. Further calls add names; it replaces an earlier [`only_query`](Self::only_query).
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let layer = cache.layer().ignore_query(["utm_*", "fbclid"]);
    /// ```
    pub fn ignore_query<S>(self, names: impl IntoNames<S>) -> Self {
        self.edit(|settings| settings.key.query = std::mem::take(&mut settings.key.query).ignore(names))
    }

    /// Leaves all query parameters out of the key but these. The handler does not see the others either. Further calls add names; it
    /// replaces an earlier [`ignore_query`](Self::ignore_query).
    pub fn only_query<S>(self, names: impl IntoNames<S>) -> Self {
        self.edit(|settings| settings.key.query = std::mem::take(&mut settings.key.query).only(names))
    }

    /// Obeys `No-Vary-Search`: queries that differ only in what a response says makes no difference share it; default: every byte
    /// of the query counts. Each miss costs one look-up more.
    pub fn no_vary_search(self, on: bool) -> Self {
        self.edit(|settings| settings.no_vary_search = on)
    }

    /// Sorts the query by the names of its parameters, so that their order does not matter; default: off.
    pub fn sort_query(self, on: bool) -> Self {
        self.edit(|settings| settings.key.query = std::mem::take(&mut settings.key.query).sorted(on))
    }

    /// Adds the values of these request fields to the key, as if every response named them in `Vary`. Further calls add fields.
    ///
    /// # Panics
    /// If a name is not that of a header field.
    #[track_caller]
    pub fn vary_on<S>(self, fields: impl IntoNames<S>) -> Self {
        let mut given = Vec::new();
        fields.for_each_name(|field| given.push(field.to_owned()));
        let mut names = Vec::with_capacity(given.len());
        for field in &given {
            // Not within the closure above, where a panic would not name the caller's line.
            names.push(field_name(field));
        }
        self.edit(|settings| settings.key.vary_on.append(&mut names))
    }

    /// Compares a request field, in `vary_on` and in a response's `Vary`, by its normal form: what a function returns for its value (`""`
    /// if it is absent), or the language that a [`LanguageMatcher`](crate::LanguageMatcher) chooses. The last call for a field wins. The
    /// handler must not use more of the value than that.
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let layer = cache.layer().normalize("accept-language", larder::LanguageMatcher::new(["en", "de"]));
    /// ```
    ///
    /// # Panics
    /// If `field` is not the name of a header field.
    #[track_caller]
    pub fn normalize(self, field: impl AsRef<str>, normalizer: impl Normalize) -> Self {
        let field = field_name(field.as_ref());
        self.edit(|settings| settings.key.normalizers.set(field, normalizer))
    }

    /// Answers requests with cookies from the cache, because the route does not look at them; default: a request with a
    /// `Cookie` goes to the handler and nothing is stored. `true` replaces an earlier [`vary_on_cookies`](Self::vary_on_cookies); `false`
    /// leaves one in force.
    pub fn ignore_cookies(self, on: bool) -> Self {
        self.edit(|settings| settings.choices.ignore_cookies(on))
    }

    /// Adds the values of these cookies to the key; the route does not look at any other. Further calls add names; it replaces an
    /// earlier [`ignore_cookies`](Self::ignore_cookies).
    pub fn vary_on_cookies<S>(self, names: impl IntoNames<S>) -> Self {
        self.edit(|settings| settings.choices.name_cookies(names))
    }

    /// Answers requests with `Authorization` from the cache, because the route does not look at it; default: such a request is
    /// answered only from responses with `public`, `s-maxage` or `must-revalidate` (RFC 9111 §3.5).
    pub fn ignore_authorization(self, on: bool) -> Self {
        self.edit(|settings| {
            settings.authorization = if on { Authorization::Ignored } else { Authorization::default() };
        })
    }

    /// Gives each principal responses of its own: `principal` names whoever the response is for, by everything about the
    /// request that authenticates. `Authorization` and cookies matter in no other way then. `None` is an anonymous
    /// request, to which the usual rules apply. Nodes that share a store need the same [`Cache::with_secret`].
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// #[derive(Clone)]
    /// struct User { id: u64 }
    ///
    /// // An authenticating layer outside the cache has put the user there.
    /// let layer = cache.layer().per_principal(|parts| Some(parts.extensions.get::<User>()?.id.to_string()));
    /// ```
    pub fn per_principal(self, principal: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.edit(|settings| settings.key.principal = Some(Arc::new(principal)))
    }

    /// Adds a part of your own to the key, under a name; a request for which it is `None` bypasses the cache. The last call wins.
    ///
    /// The name and what `part` returns are in the key, so layers whose parts have different names share no entry. Give another name when
    /// the same result comes to mean something else.
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let layer = cache.layer().key_with("device", |parts| {
    ///     let mobile = parts.headers.get("user-agent")?.to_str().ok()?.contains("Mobile");
    ///     Some(if mobile { "mobile" } else { "desktop" }.to_owned())
    /// });
    /// ```
    pub fn key_with(
        self,
        name: impl Into<String>,
        part: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.edit(|settings| settings.key.part = Some((name.into(), Arc::new(part))))
    }

    /// The most variants (by `Vary`) that one URL may have; default: 32. More are served and not stored.
    pub fn max_variants(self, max: usize) -> Self {
        self.edit(|settings| settings.max_variants = max)
    }

    fn edit(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        change(settings);
        settings.seal();
        self
    }
}

/// A key must not silently be wider than its author thinks, so a slip in a name stops the start.
#[track_caller]
fn field_name(name: &str) -> HeaderName {
    match name.parse() {
        Ok(name) => name,
        Err(_) => panic!("`{name}` is not the name of a header field: correct it where the cache layer is built"),
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CacheService::new(inner, self.cache.clone(), Arc::clone(&self.settings))
    }
}
