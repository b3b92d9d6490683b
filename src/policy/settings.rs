//! The settings of one layer.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::request::Parts;

use super::rules::{Profile, SetCookie, StoreRules};
use crate::{
    http::cache_status::StatusField,
    key::rules::{Cookies, KeyRules},
    lists::{IntoNames, owned},
    tag::template::TagTemplate,
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
    pub(crate) max_variants: usize,
    pub(crate) status_field: StatusField,
    pub(crate) collapsing: Collapsing,
    /// How long a request waits for another request's fetch.
    pub(crate) wait_limit: Duration,
    /// How long the fetch lock of one node holds; `None` without a lock across nodes.
    pub(crate) across_nodes: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    /// The eagerness of early refreshes.
    pub(crate) refresh_ahead: Option<f64>,
    pub(crate) authorization: Authorization,
    /// Which clients' freshness directives are obeyed.
    pub(crate) trusted: Option<Predicate>,
    pub(crate) auto_etag: bool,
    pub(crate) no_vary_search: bool,
    /// Whether a handler has added tags of its own, which are not known before it has run.
    handler_tags: Arc<AtomicU8>,
    warned: Arc<Mutex<HashSet<String>>>,
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

/// The meaning of a request's `Authorization` on the route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// The response may be for its owner alone (RFC 9111 §3.5).
    #[default]
    Matters,
    /// It does not change the response.
    Ignored,
}

/// The given values of settings whose default depends on the profile. [`Settings::seal`] resolves them, so that the order of the
/// setters does not matter.
#[derive(Clone, Default)]
pub(crate) struct Choices {
    pub(crate) max_ttl: Option<Duration>,
    pub(crate) strip_set_cookie: bool,
    pub(crate) trusted: Option<Predicate>,
    cookies: Option<Cookies>,
}

impl Choices {
    /// Switches the ignoring of cookies on or off; off leaves named cookies as they are.
    pub(crate) fn ignore_cookies(&mut self, on: bool) {
        match (on, &self.cookies) {
            (true, _) => self.cookies = Some(Cookies::Ignored),
            (false, Some(Cookies::Named(_))) => {}
            (false, _) => self.cookies = Some(Cookies::Unknown),
        }
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
}

const SAFE_MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
const STRICT_MAX_TTL: Duration = Duration::from_secs(u32::MAX as u64);

impl Default for Settings {
    fn default() -> Self {
        Self {
            choices: Choices::default(),
            store: StoreRules::default(),
            key: KeyRules::default(),
            tags: Vec::new(),
            max_variants: 32,
            status_field: StatusField::default(),
            collapsing: Collapsing::default(),
            wait_limit: Duration::from_secs(2),
            across_nodes: None,
            soft_timeout: None,
            refresh_ahead: None,
            authorization: Authorization::default(),
            trusted: None,
            auto_etag: false,
            no_vary_search: false,
            handler_tags: Arc::default(),
            warned: Arc::default(),
        }
    }
}

impl Settings {
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
        self.key.seal();
    }

    /// Gives every setting whose default depends on the profile its value.
    fn resolve(&mut self) {
        let (strict, choices) = (self.store.profile == Profile::Strict, &self.choices);
        self.store.max_ttl = choices.max_ttl.unwrap_or(if strict { STRICT_MAX_TTL } else { SAFE_MAX_TTL });
        self.store.set_cookie = match (choices.strip_set_cookie, strict) {
            (true, _) => SetCookie::Strip,
            (false, true) => SetCookie::Keep,
            (false, false) => SetCookie::Refuse,
        };
        self.key.cookies = choices.cookies.clone().unwrap_or(if strict { Cookies::Ignored } else { Cookies::Unknown });
        self.key.normalizers.normalize_lists(strict);
        self.trusted = choices.trusted.clone().or_else(|| strict.then(|| Arc::new(|_: &Parts| true) as Predicate));
    }

    /// Calls `warn` on the first use of `about`.
    pub(crate) fn warn_once(&self, about: &str, warn: impl FnOnce()) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(about.to_owned()) {
            drop(warned);
            warn();
        }
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
