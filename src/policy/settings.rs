//! The settings of one layer.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::BuildHasher as _,
    panic::Location,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, StatusCode, request::Parts};

use super::{
    limits::{Limits, advice},
    post_rule::PostRule,
    store_rules::{Profile, SetCookie, StoreRules, UNLIMITED},
};
use crate::{
    body::request_body::ContentReader,
    coding::{compressible::is_compressible, options::CompressionOptions},
    http::cache_status::{Reason, StatusField},
    key::{cookies::Cookies, pattern::patterns, rules::KeyRules},
    lists::{IntoNames, owned},
    rewarm::requests::RepeatedRequests,
    router,
    tag::template::TagTemplate,
    throttle::Throttle,
};

type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// The settings of one layer.
#[derive(Clone)]
pub(crate) struct Settings {
    /// The values given for settings whose default depends on the profile.
    pub(crate) choices: Choices,
    pub(crate) store: StoreRules,
    pub(crate) key: KeyRules,
    pub(crate) tags: Vec<TagTemplate>,
    pub(crate) limits: Limits,
    pub(crate) status_field: StatusField,
    pub(crate) collapsing: Collapsing,
    pub(crate) on_write: OnWrite,
    /// How long a request waits for another request's fetch.
    pub(crate) wait_limit: Duration,
    /// How long the fetch lock of one node holds; `None` without a lock across nodes.
    pub(crate) across_nodes: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    /// The eagerness of early refreshes.
    pub(crate) refresh_ahead: Option<f64>,
    /// The meaning of `Authorization`.
    pub(crate) authorization: Credentials,
    /// The meaning of the fields in which gateways name the user, such as `X-Forwarded-User`.
    pub(crate) identity_fields: Credentials,
    pub(crate) verification: Verification,
    /// Whether the handler may run after a fresh hit. Computed by [`Self::seal`].
    pub(crate) acts_after_hits: bool,
    pub(crate) bypass_if: Option<Predicate>,
    /// Which POSTs a stored response may answer; `None` for none.
    pub(crate) post: Option<PostRule>,
    /// How the content of bodies is read that are not of the router's type.
    pub(crate) content_reader: Option<ContentReader>,
    /// Which clients' freshness directives are obeyed.
    pub(crate) trusted: Option<Predicate>,
    pub(crate) auto_etag: bool,
    /// In which codings responses are served.
    pub(crate) compression: Option<CompressionOptions>,
    pub(crate) no_vary_search: bool,
    /// How many entries are fetched again after an invalidation.
    pub(crate) rewarm: usize,
    /// The requests for that, of the one layer that has these settings: they hold its handlers.
    pub(crate) repeated: Option<Arc<RepeatedRequests>>,
    /// The route of requests without a matched one, in statistics.
    pub(crate) name: Option<Arc<str>>,
    /// The line of the application that made the layer.
    pub(crate) made_at: Option<&'static Location<'static>>,
    /// Whether functions of the application take part in the decision about a request, and may panic. Computed by [`Self::seal`].
    pub(crate) asks_application: bool,
    /// A hash of what is printed of the settings, by which layers that are made by one line differ. Computed when it is first used.
    hash: OnceLock<u64>,
    /// Whether a handler has added tags of its own, which are not known before it has run.
    handler_tags: Arc<AtomicU8>,
    /// What has been logged, and for which routes.
    warned: Arc<Mutex<HashMap<String, HashSet<String>>>>,
}

const UNKNOWN: u8 = 0;
const NEVER: u8 = 1;
const SEEN: u8 = 2;

/// Whether requests for the same key share a fetch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Collapsing {
    #[default]
    On,
    Off,
}

/// What the success of an unsafe method implies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OnWrite {
    /// The invalidation of its target URI (RFC 9111 §4.4).
    #[default]
    Invalidate,
    Nothing,
}

/// The meaning of fields that authenticate a request, on the route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// The response may be for its owner alone (RFC 9111 §3.5).
    #[default]
    Matter,
    /// They do not change the response.
    Ignored,
}

/// Which hits are compared with what the handler responds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verification {
    /// One hit in so many; 0 for none.
    pub(crate) one_in: u32,
    pub(crate) warnings: Arc<Throttle>,
}

/// The given values of settings whose default depends on the profile. [`Settings::seal`] resolves them, so that the order of the
/// setters does not matter.
#[derive(Clone, Default)]
pub(crate) struct Choices {
    pub(crate) max_ttl: Option<Duration>,
    pub(crate) strip_set_cookie: bool,
    pub(crate) trusted: Option<Predicate>,
    pub(crate) ignore_identity_fields: Option<bool>,
    cookies: Option<Cookies>,
}

impl Choices {
    /// Switches the ignoring of cookies on or off; off, no cookie is ignored.
    pub(crate) fn ignore_cookies(&mut self, on: bool) {
        self.cookies = Some(if on { Cookies::Ignored } else { Cookies::Unknown });
    }

    /// Adds cookies that select the response.
    pub(crate) fn name_cookies<S>(&mut self, names: impl IntoNames<S>) {
        let mut all = match self.cookies.take() {
            Some(Cookies::Named(present)) => present,
            _ => Vec::new(),
        };
        all.extend(owned(names));
        self.cookies = Some(Cookies::Named(all));
    }

    /// Adds cookies with which a request bypasses the cache. Without any name, every cookie is one of them: a list that is empty by mistake
    /// must not let users share responses.
    pub(crate) fn bypass_on_cookies<S>(&mut self, names: impl IntoNames<S>) {
        let mut all = match self.cookies.take() {
            Some(Cookies::BypassOn(present)) => present,
            _ => Vec::new(),
        };
        all.extend(patterns(names));
        self.cookies = Some(if all.is_empty() { Cookies::Unknown } else { Cookies::BypassOn(all) });
    }
}

/// The longest lifetime that a response may state by its header fields: many are meant for browsers, and larder would keep a mistake.
const SAFE_MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Settings {
    fn default() -> Self {
        Self {
            choices: Choices::default(),
            store: StoreRules::default(),
            key: KeyRules::default(),
            tags: Vec::new(),
            limits: Limits::default(),
            status_field: StatusField::default(),
            collapsing: Collapsing::default(),
            on_write: OnWrite::default(),
            wait_limit: Duration::from_secs(2),
            across_nodes: None,
            soft_timeout: None,
            refresh_ahead: None,
            authorization: Credentials::default(),
            identity_fields: Credentials::default(),
            verification: Verification::default(),
            acts_after_hits: false,
            bypass_if: None,
            post: None,
            content_reader: None,
            trusted: None,
            auto_etag: false,
            compression: None,
            no_vary_search: false,
            rewarm: 0,
            repeated: None,
            name: None,
            made_at: None,
            asks_application: false,
            hash: OnceLock::new(),
            handler_tags: Arc::default(),
            warned: Arc::default(),
        }
    }
}

impl Settings {
    /// Returns the name under which a request is counted: of its route, else of its layer.
    #[inline]
    pub(crate) fn route_of<'p>(&'p self, parts: &'p Parts) -> Option<&'p str> {
        router::route(&parts.extensions).or(self.name.as_deref())
    }

    /// Whether functions of the application take part in the decision about a request, and may panic.
    fn functions_decide(&self) -> bool {
        self.bypass_if.is_some()
            || self.trusted.is_some()
            || self.key.principal.is_some()
            || self.key.part.is_some()
            || self.key.normalizers.are_custom()
    }

    /// Returns a hash of the settings that are printed, the same for each layer that has them in this process.
    pub(crate) fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| foldhash::quality::FixedState::default().hash_one((format!("{self:?}"), &self.name)))
    }

    /// Records whether a handler has added tags of its own.
    pub(crate) fn note_handler_tags(&self, added: bool) {
        match self.handler_tags.load(Ordering::Relaxed) {
            UNKNOWN if !added => self.handler_tags.store(NEVER, Ordering::Relaxed),
            UNKNOWN | NEVER if added => self.handler_tags.store(SEEN, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Whether, so far, all tags were known before the handler ran.
    pub(crate) fn tags_are_known_ahead(&self) -> bool {
        self.handler_tags.load(Ordering::Relaxed) == NEVER
    }

    /// Called after each change of the settings.
    pub(crate) fn seal(&mut self) {
        self.resolve();
        self.handler_tags = Arc::default();
        self.hash = OnceLock::new();
        self.asks_application = self.functions_decide();
        self.acts_after_hits = self.refresh_ahead.is_some() || self.verification.one_in > 0;
        self.key.seal();
    }

    /// Gives every setting whose default depends on the profile its value.
    fn resolve(&mut self) {
        let (strict, choices) = (self.store.profile == Profile::Strict, &self.choices);
        self.store.max_ttl = choices.max_ttl.map_or(UNLIMITED, |max| max.min(UNLIMITED));
        let stated = if strict { UNLIMITED } else { SAFE_MAX_TTL };
        self.store.max_stated_ttl = choices.max_ttl.map_or(stated, |_| self.store.max_ttl);
        self.store.set_cookie = match (choices.strip_set_cookie, strict) {
            (true, _) => SetCookie::Strip,
            (false, true) => SetCookie::Keep,
            (false, false) => SetCookie::Refuse,
        };
        self.key.cookies = choices.cookies.clone().unwrap_or(if strict { Cookies::Ignored } else { Cookies::Unknown });
        self.identity_fields = match choices.ignore_identity_fields.unwrap_or(strict) {
            true => Credentials::Ignored,
            false => Credentials::Matter,
        };
        self.key.normalizers.normalize_lists(strict);
        self.trusted = choices.trusted.clone().or_else(|| strict.then(|| Arc::new(|_: &Parts| true) as Predicate));
    }

    /// Whether larder serves this response in codings; `length` is the size of its body, if known.
    pub(crate) fn is_compressed(&self, status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> bool {
        self.compression.as_ref().is_some_and(|options| {
            length.is_none_or(|length| length >= options.min_body as u64) && is_compressible(status, headers)
        })
    }

    /// Logs once a route that a limit was met, if that is what `reason` says.
    pub(crate) fn warn_of_limit(&self, route: Option<&str>, reason: Reason) {
        let Some(advice) = advice(reason) else { return };
        self.warn_once(route, reason.as_str(), |route| {
            tracing::warn!(
                route,
                reason = reason.as_str(),
                "the cache met a limit on the route `{route}`, and did not store a response: {} {advice} Logged once a route.",
                reason.explanation(),
            );
        });
    }

    /// Calls `warn` with the name of the route, once for each route and each text of `about`.
    pub(crate) fn warn_once(&self, route: Option<&str>, about: &str, warn: impl FnOnce(&str)) {
        let route = route.unwrap_or("(no route: the layer is outside the router)");
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.get(about).is_some_and(|routes| routes.contains(route)) {
            return;
        }
        warned.entry(about.to_owned()).or_default().insert(route.to_owned());
        drop(warned);
        warn(route);
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("store", &self.store)
            .field("tags", &self.tags)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
