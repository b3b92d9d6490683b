//! The builder of the middleware.

use std::{panic::Location, sync::Arc, time::Duration};

use http::{HeaderName, StatusCode, request, response};
use tower_layer::Layer;

use super::service::CacheService;
use crate::{
    cache::Cache,
    http::cache_status::StatusField,
    key::normalizers::Normalize,
    lists::{IntoNames, IntoTemplates, owned},
    policy::{
        settings::{Collapsing, Credentials, OnWrite, Settings},
        store_rules::Profile,
    },
    tag::template::TagTemplate,
};

/// Upper bound for wait limits; keeps `Instant + limit` from overflowing.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Answers requests from a [`Cache`], and stores the handlers' responses.
///
/// The layer is its own builder. It answers GET, HEAD and QUERY from the cache, and POST where it is told which of them only read
/// ([`cache_post`](Self::cache_post)); it forwards every other method to the handler. If an unsafe
/// method succeeds, the responses stored for its URI are invalidated (RFC 9111 §4.4); see
/// [`invalidate_on_write`](Self::invalidate_on_write).
///
/// | chapter | setters |
/// |---|---|
/// | lifetimes | [`ttl`](Self::ttl), [`negative_ttl`](Self::negative_ttl), [`ttl_for`](Self::ttl_for), [`max_ttl`](Self::max_ttl), [`max_body`](Self::max_body), [`store_if`](Self::store_if), [`strip_set_cookie`](Self::strip_set_cookie), [`drop_fields`](Self::drop_fields) |
/// | HTTP to the letter | [`strict`](Self::strict), [`trusted_clients`](Self::trusted_clients), [`auto_etag`](Self::auto_etag) |
/// | compression | `compress`, with the feature `compression` |
/// | staleness and stampedes | [`stale_while_revalidate`](Self::stale_while_revalidate), [`stale_if_error`](Self::stale_if_error), [`soft_timeout`](Self::soft_timeout), [`refresh_ahead`](Self::refresh_ahead), [`jitter`](Self::jitter), [`verify_hits`](Self::verify_hits), [`wait_limit`](Self::wait_limit), [`collapse`](Self::collapse), [`collapse_across_nodes`](Self::collapse_across_nodes) |
/// | tags and status | [`tags`](Self::tags), [`invalidate_on_write`](Self::invalidate_on_write), [`rewarm`](Self::rewarm), [`status_header`](Self::status_header), [`name`](Self::name) |
/// | which requests | [`bypass_on_cookies`](Self::bypass_on_cookies), [`bypass_if`](Self::bypass_if), [`hosts`](Self::hosts) |
/// | QUERY and POST | [`cache_query`](Self::cache_query), [`cache_post`](Self::cache_post), [`cache_post_if`](Self::cache_post_if), [`request_body_wait`](Self::request_body_wait), [`request_body`](Self::request_body) |
/// | what handlers see | [`sealed`](Self::sealed), [`ignore_fields`](Self::ignore_fields), [`ignore_identity_fields`](Self::ignore_identity_fields), [`ignore_host`](Self::ignore_host), [`scope`](Self::scope) |
/// | the key | [`vary_on`](Self::vary_on), [`vary_on_cookies`](Self::vary_on_cookies), [`per_principal`](Self::per_principal), [`key_with`](Self::key_with), [`normalize`](Self::normalize), [`ignore_query`](Self::ignore_query), [`only_query`](Self::only_query), [`sort_query`](Self::sort_query), [`no_vary_search`](Self::no_vary_search), [`ignore_cookies`](Self::ignore_cookies), [`ignore_authorization`](Self::ignore_authorization), [`max_variants`](Self::max_variants) |
/// | limits | [`max_tags`](Self::max_tags), [`max_variants`](Self::max_variants), [`max_request_fields`](Self::max_request_fields), [`max_query`](Self::max_query), [`stream_wait_limit`](Self::stream_wait_limit); in other chapters `max_ttl`, `max_body` and `wait_limit` |
///
/// Setters of lists add, setters of values replace, and the last call wins.
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
    /// Returns a layer over this cache. It stores responses that state a lifetime; [`CacheLayer::ttl`] gives the others one.
    #[track_caller]
    pub fn layer(&self) -> CacheLayer {
        CacheLayer::new(self)
    }

    /// Returns a handle to the same store whose layers begin with these settings; default: those of [`CacheLayer`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use larder::Cache;
    /// let cache = Cache::in_memory(64 << 20).with_defaults(|layer| layer.ttl(Duration::from_secs(60)).bypass_on_cookies(["sid"]));
    /// let posts = cache.layer().tags(["posts"]); // fresh for a minute
    /// let prices = cache.layer().ttl(Duration::from_secs(5)); // fresh for five seconds
    /// ```
    #[must_use]
    pub fn with_defaults(&self, set: impl FnOnce(CacheLayer) -> CacheLayer) -> Self {
        let CacheLayer { mut settings, .. } = set(self.layer());
        // Handlers that hold the cache would keep themselves alive by its defaults.
        Arc::make_mut(&mut settings).repeated = None;
        self.with(|inner| inner.defaults = Some(settings))
    }
}

/// Lifetimes: which responses are stored, and how long they are fresh.
impl CacheLayer {
    /// The same as [`Cache::layer`].
    #[track_caller]
    pub fn new(cache: &Cache) -> Self {
        let mut settings = cache.inner.defaults.as_deref().cloned().unwrap_or_default();
        settings.made_at = Some(Location::caller());
        settings.seal();
        settings.key.normalizers.secret = cache.inner.secret.clone();
        settings.repeated = cache.inner.rewarmed.begin(settings.rewarm);
        Self { cache: cache.clone(), settings: Arc::new(settings) }
    }

    /// Keeps responses that state no lifetime fresh for `ttl`; default: they are not stored.
    ///
    /// It applies to 200, 203, 301 and 308; [`negative_ttl`](Self::negative_ttl) and [`ttl_for`](Self::ttl_for) cover other status
    /// codes. A handler's own `Cache-Control`, `Expires` or [`CacheDirective`](crate::CacheDirective) takes precedence; nothing
    /// overrides its `no-store`, `private` or `Set-Cookie`.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.edit(|settings| settings.store.ttl = Some(ttl))
    }

    /// Keeps 404 and 410 fresh for `ttl`; default: they are stored only if they state a lifetime.
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        self.edit(|settings| settings.store.negative_ttl = Some(ttl))
    }

    /// Keeps responses with this status code fresh for `ttl` unless they state a lifetime. Call it once for each code; the last call
    /// for a code wins. It never applies to 206, 304 or 1xx.
    pub fn ttl_for(self, status: StatusCode, ttl: Duration) -> Self {
        self.edit(|settings| {
            settings.store.statuses.retain(|(named, _)| *named != status);
            settings.store.statuses.push((status, ttl));
        })
    }

    /// Limits every lifetime, those of [`ttl`](Self::ttl) and [`CacheDirective::ttl`](crate::CacheDirective::ttl) included.
    ///
    /// Default: no limit for what the application says in Rust, and 24 hours for lifetimes that header fields of responses state, many
    /// of which are meant for browsers; no limit for them either with [`strict`](Self::strict). A field that is shortened by the default
    /// is logged once a route.
    pub fn max_ttl(self, max: Duration) -> Self {
        self.edit(|settings| settings.choices.max_ttl = Some(max))
    }

    /// Sets the size of the largest body that is stored, in bytes; default: 1 MiB. A larger body is forwarded as it arrives.
    ///
    /// A streamed body counts towards [`Cache::with_max_buffered_bytes`](crate::Cache::with_max_buffered_bytes) until it is complete;
    /// one larger than a third of that budget is not stored either.
    pub fn max_body(self, bytes: u64) -> Self {
        self.edit(|settings| settings.store.max_body = bytes)
    }

    /// Stores only responses for which `predicate` returns `true`. Its arguments are the head and, if known, the length of the body.
    pub fn store_if(self, predicate: impl Fn(&response::Parts, Option<u64>) -> bool + Send + Sync + 'static) -> Self {
        self.edit(|settings| settings.store.store_if = Some(Arc::new(predicate)))
    }

    /// Stores responses that set a cookie, without the cookie; default: they are not stored. The client whose request filled the
    /// cache still receives its cookie. The same applies to other fields that contain a credential, such as `X-CSRF-Token`,
    /// `X-Auth-Token` and `Authorization`.
    pub fn strip_set_cookie(self, on: bool) -> Self {
        self.edit(|settings| settings.choices.strip_set_cookie = on)
    }
}

/// Fields that are not stored.
impl CacheLayer {
    /// Drops these response fields when a response is stored; the client whose request filled the cache still receives them. Further
    /// calls add fields.
    ///
    /// By default, larder drops the fields that are wrong for every later request: request and trace identifiers (`X-Request-Id`,
    /// `traceparent`, `CF-Ray`, …), durations (`Server-Timing`, `X-Runtime`) and quotas (`RateLimit-*`, `X-RateLimit-*`, `Retry-After`).
    /// [`strict`](Self::strict) keeps them.
    ///
    /// # Panics
    /// If a name is not that of a header field.
    #[track_caller]
    pub fn drop_fields<S>(self, fields: impl IntoNames<S>) -> Self {
        let mut names = field_names(fields);
        self.edit(|settings| settings.store.dropped.append(&mut names))
    }
}

/// HTTP to the letter.
impl CacheLayer {
    /// Follows RFC 9111 to the letter, instead of larder's safer defaults:
    ///
    /// - a response with any final status code is stored if it states a lifetime, and one with a heuristically cacheable code even if it
    ///   does not (a tenth of its age since `Last-Modified`, at most a day; §4.2.2);
    /// - `CDN-Cache-Control` (RFC 9213) takes precedence over `Cache-Control`;
    /// - the request directives `no-cache`, `max-age`, `min-fresh`, `max-stale` and `Pragma` are obeyed (§5.2.1);
    /// - cookies, `Set-Cookie` and the fields of [`ignore_identity_fields`](Self::ignore_identity_fields) have no special meaning (§7.3);
    /// - a write invalidates the URIs in `Location` and `Content-Location` whatever its status is (§4.4);
    /// - `private="field"` and `no-cache="field"` exclude the fields rather than the response; lifetimes are not limited to a day.
    ///
    /// It changes defaults only: `max_ttl`, `strip_set_cookie`, `trusted_clients`, `ignore_cookies` and `vary_on_cookies` have the same
    /// effect before and after it.
    ///
    /// Use it for a proxy whose upstream controls caching with HTTP; for an application's own handlers, prefer the default.
    pub fn strict(self) -> Self {
        self.edit(|settings| settings.store.profile = Profile::Strict)
    }

    /// Obeys the freshness directives of these clients (`no-cache`, `max-age`, …; RFC 9111 §5.2.1), for example to let an editor
    /// reload a page. Default: those of no client, because any visitor could disable the cache with them; those of every client with
    /// [`strict`](Self::strict). The last call wins.
    pub fn trusted_clients(self, trusted: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        self.edit(|settings| settings.choices.trusted = Some(Arc::new(trusted)))
    }

    /// Adds a weak `ETag`, a digest of the body, to each stored response without one, so that clients can revalidate with 304.
    /// Default: off. It is weak (RFC 9110 §8.8.1) because a layer outside the cache may compress the body.
    pub fn auto_etag(self, on: bool) -> Self {
        self.edit(|settings| settings.auto_etag = on)
    }
}

/// Staleness and stampedes: a response that is about to expire, that has expired, or that many requests need at the same time.
impl CacheLayer {
    /// Serves a stale response for up to `window` after it expires, and refreshes it in the background (RFC 5861 §3); default: zero.
    ///
    /// The window also begins when one of its tags is [expired](crate::Cache::expire_tags). A response's own
    /// `stale-while-revalidate` takes precedence; `must-revalidate`, `proxy-revalidate` and `s-maxage` forbid stale responses.
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        self.edit(|settings| settings.store.stale_while_revalidate = window)
    }

    /// Serves a stale response for up to `window` after it expires if the handler fails: with 500, 502, 503 or 504, with an error,
    /// or with a panic (RFC 5861 §4); default: zero.
    ///
    /// The window also begins when one of its tags is expired. A response's own `stale-if-error` takes precedence; the same
    /// directives as above forbid stale responses.
    pub fn stale_if_error(self, window: Duration) -> Self {
        self.edit(|settings| settings.store.stale_if_error = window)
    }

    /// Serves a stale response if the handler takes longer than `limit` and one of the two windows above allows it. The handler
    /// continues in the background, and its response is stored. Default: requests wait for the handler.
    pub fn soft_timeout(self, limit: Duration) -> Self {
        self.edit(|settings| settings.soft_timeout = Some(limit.min(LONGEST_WAIT)))
    }

    /// Refreshes a response in the background before it expires, with a probability that rises towards the end of its lifetime and
    /// with the handler's time (XFetch); default: off. An `eagerness` of 1.0 is optimal according to its authors; a higher one
    /// refreshes earlier.
    pub fn refresh_ahead(self, eagerness: f64) -> Self {
        self.edit(|settings| settings.refresh_ahead = (eagerness > 0.0).then_some(eagerness))
    }

    /// Verifies one of `one_in` fresh hits at random: the handler runs afterwards, in the background, and its response is compared with the one
    /// that was served. Default: 0, none.
    ///
    /// A difference that no invalidation explains within two seconds is a forgotten invalidation, or a response that is different each time. It is
    /// counted by route ([`RouteStats::verifications`](crate::RouteStats::verifications)), kept in [`Cache::recent_differences`], and logged as a
    /// warning with the writes that came between, once a minute: those on routes with a layer of this cache or an
    /// [observer](Cache::observer).
    ///
    /// Only status and body are compared, of requests without credentials and not of HEAD, on routes without [`per_principal`](Self::per_principal). The
    /// runs have the budget of background refreshes: a free slot of the route, see
    /// [`with_max_fetches`](Cache::with_max_fetches), and its time limit. Nothing is stored. With 1,000 the handler runs
    /// for a thousandth of the hits more. Switched off, it costs a hit nothing.
    pub fn verify_hits(self, one_in: u32) -> Self {
        if one_in > 0 {
            self.cache.inner.observations.writes.watch();
        }
        self.edit(|settings| settings.verification.one_in = one_in)
    }

    /// Shortens each lifetime by a random share of up to `share` (0 to 1), so that responses that were stored together do not expire
    /// together; default: 0.
    pub fn jitter(self, share: f64) -> Self {
        self.edit(|settings| settings.store.jitter = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) })
    }

    /// Limits how long requests wait for one fetch of their key; default: 2 seconds, at most a year. After that, one of the waiting
    /// requests runs the handler as well, and the others wait for either run: a handler that takes 3 seconds runs twice for 50
    /// concurrent requests. If a fetch has failed meanwhile, the waiting requests run the handler themselves, and their responses
    /// are not stored.
    pub fn wait_limit(self, limit: Duration) -> Self {
        self.edit(|settings| settings.wait_limit = limit.min(LONGEST_WAIT))
    }

    /// Lets one node fetch for all nodes that share a store; default: each node fetches once for itself.
    ///
    /// After a miss, a node acquires a fetch lock in the store and releases it when its response is stored. Other nodes poll for that
    /// response every 20 ms, for at most the [`wait_limit`](Self::wait_limit). If the node dies, its lock expires after `life`, a year at
    /// most, which should be the longest time that the handler takes. The lock costs two more round trips per miss with Redis, and three
    /// with memcached, which counts in whole seconds and keeps it for up to two seconds longer. In memory it has no effect. Correctness does not
    /// depend on it.
    pub fn collapse_across_nodes(self, life: Duration) -> Self {
        self.edit(|settings| settings.across_nodes = Some(life.min(LONGEST_WAIT)))
    }

    /// Lets concurrent requests for the same key share one run of the handler; default: on. If off, every request that the cache does
    /// not answer runs the handler.
    pub fn collapse(self, on: bool) -> Self {
        self.edit(|settings| settings.collapsing = if on { Collapsing::On } else { Collapsing::Off })
    }
}

/// Tags and status.
impl CacheLayer {
    /// Tags every response of the route. `{name}` is replaced by the route's capture of that name, decoded; `{{` and `}}` are literal
    /// braces. Further calls add tags.
    ///
    /// Of several captures with the same name, in nested routers, the innermost counts. From a layer outside of the nest it is not clear
    /// which one is meant: the response is served and not stored, as if there were none.
    ///
    /// If the route has no such capture, the response is served and not stored, and a warning names the capture once. Put the layer
    /// on the route or use `route_layer` or `Router::layer`: a layer around the whole router runs before routing, without captures.
    ///
    /// With the feature `typed-tags`, the macro `cache_tags!` makes templates that the compiler knows (`Tag::POST`).
    pub fn tags<S>(self, tags: impl IntoTemplates<S>) -> Self {
        self.edit(|settings| {
            tags.for_each_template(|tag, encodes| settings.tags.push(TagTemplate::parse(tag).encoding(encodes)));
        })
    }

    /// Lets a successful request with an unsafe method invalidate the responses stored for its URI (RFC 9111 §4.4); default: on.
    ///
    /// A 201 also invalidates the URIs on the same origin in its `Location` and `Content-Location`, and so does every success with
    /// [`strict`](Self::strict). By default, a redirect after a write does not: the page that it leads to has seldom changed.
    ///
    /// Switch it off for routes whose `POST` changes nothing that is stored, such as a search form: any visitor could invalidate their
    /// responses. What a response asks for, with [`Invalidate`](crate::Invalidate) or `Cache-Group-Invalidation`, is carried out in
    /// either case. For one response, see [`Invalidate::nothing`](crate::Invalidate::nothing).
    pub fn invalidate_on_write(self, on: bool) -> Self {
        self.edit(|settings| settings.on_write = if on { OnWrite::Invalidate } else { OnWrite::Nothing })
    }

    /// Sends `Cache-Status` (RFC 9211) with each response; default: off. The field reveals whether another client has requested the
    /// same resource (RFC 9211 §6). The response's extensions always contain it, as [`CacheStatus`](crate::CacheStatus).
    pub fn status_header(self, on: bool) -> Self {
        self.edit(|settings| settings.status_field = if on { StatusField::Sent } else { StatusField::default() })
    }

    /// Counts requests that have no matched route under this name in [`Cache::stats`]; default: `no route`. A layer around the whole
    /// router, or without a router, sees no routes.
    pub fn name(self, name: &str) -> Self {
        self.edit(|settings| settings.name = Some(name.into()))
    }
}

/// The key: which requests share a response. By default it consists of scheme, host, path and query, byte for byte, and of the
/// request fields that the response's `Vary` names.
impl CacheLayer {
    /// Excludes these query parameters from the key; a `*` at the end of a name matches any rest. The handler does not receive them
    /// either, because its response is for all. Further calls add names; replaces an earlier [`only_query`](Self::only_query).
    ///
    /// A query longer than [`max_query`](Self::max_query) bypasses the cache where a rule like this applies.
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let layer = cache.layer().ignore_query(["utm_*", "fbclid"]);
    /// ```
    pub fn ignore_query<S>(self, names: impl IntoNames<S>) -> Self {
        self.edit(|settings| settings.key.query = std::mem::take(&mut settings.key.query).ignore(names))
    }

    /// Excludes all query parameters but these from the key. The handler does not receive the others either. Further calls add names;
    /// replaces an earlier [`ignore_query`](Self::ignore_query).
    pub fn only_query<S>(self, names: impl IntoNames<S>) -> Self {
        self.edit(|settings| settings.key.query = std::mem::take(&mut settings.key.query).only(names))
    }

    /// Obeys the response field `No-Vary-Search`: requests whose queries differ only in parameters that it names share a response;
    /// default: off, every byte of the query is significant. Each miss costs one more lookup.
    pub fn no_vary_search(self, on: bool) -> Self {
        self.edit(|settings| settings.no_vary_search = on)
    }

    /// Sorts the query by the names of its parameters, so that their order is not significant; default: off.
    pub fn sort_query(self, on: bool) -> Self {
        self.edit(|settings| settings.key.query = std::mem::take(&mut settings.key.query).sorted(on))
    }

    /// Adds the values of these request fields to the key, as if every response named them in `Vary`. Further calls add fields.
    ///
    /// # Panics
    /// If a name is not that of a header field.
    #[track_caller]
    pub fn vary_on<S>(self, fields: impl IntoNames<S>) -> Self {
        let mut names = field_names(fields);
        self.edit(|settings| settings.key.vary_on.append(&mut names))
    }

    /// Normalizes a request field before it is compared for `vary_on` and for a response's `Vary`. The normalizer is a function of the
    /// field's value (`""` if absent), or a [`LanguageMatcher`](crate::LanguageMatcher). The last call for a field wins. The handler
    /// of a fetch sees the normal form in place of the field.
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

    /// Answers requests with cookies from the cache, for a route that does not read cookies. Default: `false`, a request with any cookie
    /// bypasses the cache; with [`strict`](Self::strict), `true`.
    ///
    /// Either replaces an earlier [`vary_on_cookies`](Self::vary_on_cookies) or [`bypass_on_cookies`](Self::bypass_on_cookies), each of which
    /// ignores all cookies that it does not name: with `false`, a route returns to the default from what
    /// [`Cache::with_defaults`](crate::Cache::with_defaults) says about cookies.
    ///
    /// ```
    /// # use larder::Cache;
    /// let cache = Cache::in_memory(64 << 20).with_defaults(|layer| layer.bypass_on_cookies(["sid"]));
    /// let blog = cache.layer(); // visitors with other cookies than `sid` share its responses
    /// let account = cache.layer().ignore_cookies(false); // a request with any cookie bypasses the cache
    /// ```
    pub fn ignore_cookies(self, on: bool) -> Self {
        self.edit(|settings| settings.choices.ignore_cookies(on))
    }

    /// Adds the values of these cookies to the key, for a route that reads no other cookie. Further calls add names; replaces an earlier
    /// [`ignore_cookies`](Self::ignore_cookies) or [`bypass_on_cookies`](Self::bypass_on_cookies).
    pub fn vary_on_cookies<S>(self, names: impl IntoNames<S>) -> Self {
        self.edit(|settings| settings.choices.name_cookies(names))
    }

    /// Answers requests with `Authorization` from the cache, for a route that does not read it. Default: only a response with `public`,
    /// `s-maxage` or `must-revalidate` answers such a request (RFC 9111 §3.5).
    pub fn ignore_authorization(self, on: bool) -> Self {
        self.edit(|settings| {
            settings.authorization = if on { Credentials::Ignored } else { Credentials::default() };
        })
    }

    /// Stores separate responses for each principal. `principal` returns the identity that the request has authenticated as; it must
    /// consider everything that authenticates a request, because `Authorization` and cookies have no other effect then. For `None`,
    /// an anonymous request, the usual rules apply. Nodes that share a store need the same [`Cache::with_secret`].
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

    /// Adds a named part to the key; a request for which `part` returns `None` bypasses the cache. The last call wins.
    ///
    /// The key contains the name and the value, so layers whose parts have different names share no entry. Choose another name when
    /// the meaning of a value changes.
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

    pub(super) fn edit(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        change(settings);
        settings.seal();
        settings.repeated = self.cache.inner.rewarmed.begin(settings.rewarm);
        self
    }
}

#[track_caller]
fn field_names<S>(fields: impl IntoNames<S>) -> Vec<HeaderName> {
    let fields = owned(fields);
    let mut names = Vec::with_capacity(fields.len());
    for field in &fields {
        // Not within a closure, where a panic would not name the caller's line.
        names.push(field_name(field));
    }
    names
}

/// Panics on an invalid name: a misspelled field would silently merge responses that differ.
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
