//! Which requests the cache answers, and what the handlers of its fetches see of them.

use http::request;

use super::layer::CacheLayer;
use crate::{
    key::pattern::patterns,
    lists::{IntoNames, owned},
};

/// Which requests the cache answers. Other requests bypass it: the handler answers, and nothing is stored.
///
/// A layer outside the cache can also forbid storing for one request, for example because a user has logged in: it adds
/// [`CacheDirective::no_store`](crate::CacheDirective::no_store) or [`private`](crate::CacheDirective::private) to the request's extensions.
impl CacheLayer {
    /// Lets requests with one of these cookies bypass the cache, and ignores all other cookies; a `*` at the end of a name matches any
    /// rest. Default: a request with any cookie bypasses the cache.
    ///
    /// This is the setting for a site whose visitors have cookies of analytics or consent, and whose users have a session: visitors are
    /// answered from the cache. The handler must read no other cookie, or be [`sealed`](Self::sealed). Further calls add names; replaces
    /// [`ignore_cookies`](Self::ignore_cookies) and [`vary_on_cookies`](Self::vary_on_cookies). As long as there is no name, for example
    /// because a list from a configuration is empty, any cookie makes a request bypass; [`ignore_cookies(false)`](Self::ignore_cookies) returns to
    /// that.
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let layer = cache.layer().bypass_on_cookies(["sid", "wordpress_logged_in_*"]);
    /// ```
    pub fn bypass_on_cookies<S>(self, names: impl IntoNames<S>) -> Self {
        self.edit(|settings| settings.choices.bypass_on_cookies(names))
    }

    /// Lets requests for which `bypass` returns `true` bypass the cache; default: none. It is called for each request that could be
    /// answered from the cache. The last call wins.
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let layer = cache.layer().bypass_if(|parts| parts.uri.path().starts_with("/preview/"));
    /// ```
    pub fn bypass_if(self, bypass: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        self.edit(|settings| settings.bypass_if = Some(std::sync::Arc::new(bypass)))
    }

    /// Answers only requests for these hosts from the cache; others bypass it. Default: any host, each with entries of its own, so that
    /// a client can fill the cache with random hosts. Write a port if it is not the default port. Further calls add hosts.
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let layer = cache.layer().hosts(["www.example.com", "example.com", "localhost:3000"]);
    /// ```
    pub fn hosts<S>(self, hosts: impl IntoNames<S>) -> Self {
        let mut hosts = owned(hosts);
        self.edit(|settings| settings.key.hosts.append(&mut hosts))
    }
}

/// What the handlers of fetches see: by default the request as it came, with host, lists and repeated fields in the form that is in the
/// key. Two requests that share an entry should look the same to the handler.
impl CacheLayer {
    /// Shares entries between all hosts; default: off. The handler of a fetch sees neither `Host` nor an authority in the URI, because its
    /// response is for all hosts. Writes then invalidate their path on every host.
    pub fn ignore_host(self, on: bool) -> Self {
        self.edit(|settings| settings.key.ignores_host = on)
    }

    /// Excludes these request fields from the key and from all rules, and hides them from the handler of a fetch; a `*` at the end of a
    /// name matches any rest. Further calls add names.
    ///
    /// Use it for a field that differs between proxies and changes no response, such as Traefik's `X-Forwarded-Server`. By default the
    /// fields in which proxies report the original target (`Forwarded`, `X-Forwarded-Host`, `X-Forwarded-Proto`, `CF-Visitor`, …) are in the key.
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let layer = cache.layer().ignore_fields(["x-forwarded-server", "x-envoy-*"]);
    /// ```
    pub fn ignore_fields<S>(self, names: impl IntoNames<S>) -> Self {
        let names: Vec<_> = owned(names).iter().map(|name| name.to_ascii_lowercase()).collect();
        self.edit(|settings| settings.key.ignored.extend(patterns(names)))
    }

    /// Ignores the fields in which gateways name the user of a request, for a route whose response does not depend on them: `X-Forwarded-User`,
    /// `Remote-User`, `Tailscale-User-Login`, `CF-Access-Jwt-Assertion`, `X-Api-Key`, client certificates, and some 70 others. Default: off,
    /// they count like `Authorization`; on with [`strict`](Self::strict).
    ///
    /// A field that is named in [`vary_on`](Self::vary_on) is in the key, and one in [`ignore_fields`](Self::ignore_fields) is hidden from the
    /// handler; neither needs this.
    pub fn ignore_identity_fields(self, on: bool) -> Self {
        self.edit(|settings| settings.choices.ignore_identity_fields = Some(on))
    }

    /// Shows the handlers of fetches only what is in the key; default: off.
    ///
    /// A handler then sees method, URI, `Host`, forwarding fields (`Forwarded` without addresses), the fields of [`vary_on`](Self::vary_on), the cookies of
    /// [`vary_on_cookies`](Self::vary_on_cookies), and a short list of fields that are harmless: `Accept-Encoding`, `Authorization`, `Range` and
    /// preconditions, `traceparent` and `tracestate`. It cannot put any other field of one client's request into a response for all.
    /// The request's extensions, where layers outside put users and sessions, stay as they are: hide them by type
    /// ([`hide_extension`](Self::hide_extension)), or use [`per_principal`](Self::per_principal) or a bypass for a handler that reads them. Requests that bypass the cache are passed on unchanged.
    pub fn sealed(self, on: bool) -> Self {
        self.edit(|settings| settings.key.sealed = on)
    }

    /// Hides the extension of type `T`, which a layer outside has put into requests, from the handlers of fetches, in addition to those named
    /// before; default: none.
    ///
    /// A session layer around the whole application puts its session into each request. A handler behind the cache that reads it, if only
    /// for a CSRF token in a form, would make a page of one user that all others get. With this setting its extractor fails instead, in the
    /// first test, and a layer outside still has the session. Requests that bypass the cache are passed on unchanged, and
    /// [`per_principal`](Self::per_principal), [`key_with`](Self::key_with) and [`bypass_if`](Self::bypass_if) see every extension.
    ///
    /// ```
    /// # #[derive(Clone)]
    /// # struct Session;
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let page = cache.layer().ignore_cookies(true).sealed(true).hide_extension::<Session>(); // that of tower-sessions, for example
    /// # let _ = page;
    /// ```
    ///
    /// A hit costs nothing more, a fetch one look into a map. Layers with and without it share no entries.
    pub fn hide_extension<T: Clone + Send + Sync + 'static>(self) -> Self {
        self.edit(|settings| settings.key.hidden_extensions.push(|extensions| drop(extensions.remove::<T>())))
    }

    /// Separates this layer's entries from those of layers with another scope; default: none.
    ///
    /// Entries are found by scheme, host, path and query. If two services answer the same URI differently and share a cache, such as a
    /// public and an internal listener, or versions of an API behind a layer that strips a prefix, give each a scope. Tags are the same
    /// in all scopes.
    ///
    /// If two services fill the same key, a warning names the lines that made their layers, once a route. It cannot come before each of
    /// them has filled the key once: a service that finds the other's fresh response is answered with it. Services with layers of the same settings
    /// that were made by one line of code, such as in a function, at the same route are not told apart, because a router makes its
    /// services again for each request and an application may be built several times. Nor are services in other processes.
    pub fn scope(self, scope: impl Into<String>) -> Self {
        let scope = scope.into();
        self.edit(|settings| settings.key.scope = (!scope.is_empty()).then_some(scope))
    }
}
