//! The requests by which the cache was warmed: clients whose requests have other keys get none of it, and a warning says why.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    hash::BuildHasher as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use foldhash::quality::RandomState;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::HOST, request::Parts};

use crate::{
    http::{authority::Scheme, forwarded::FIELDS},
    key::Key,
    router,
};

/// The most targets that are remembered.
const MOST: usize = 4096;

/// So many misses for pages that were warmed under other keys are a mistake, and not a visitor with odd fields.
const SUSPICIOUS: u32 = 10;

/// The targets of warm-ups whose responses were stored, by path and query.
#[derive(Debug, Default)]
pub(crate) struct Warmed {
    count: AtomicUsize,
    targets: Mutex<HashMap<u64, (WarmedTarget, u64), RandomState>>,
    /// Misses that a warm-up with the right scheme, host and forwarding fields would have prevented.
    misses: AtomicU32,
}

/// What a request says about its target, apart from path and query.
#[derive(Debug)]
pub(crate) struct WarmedTarget {
    /// The digest of path and query.
    path: u64,
    is_https: bool,
    host: String,
    forwarding: Vec<(HeaderName, HeaderValue)>,
}

impl Warmed {
    /// Notes that a response was stored under `key` for a warm-up.
    pub(crate) fn note(&self, target: WarmedTarget, key: &Key) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if targets.len() < MOST || targets.contains_key(&target.path) {
            targets.insert(target.path, (target, key.digest()));
            self.count.store(targets.len(), Ordering::Relaxed);
        }
    }

    /// Called for a miss of a URI. Logs once, if pages that were warmed are requested with another scheme, host or forwarding fields.
    pub(crate) fn missed(&self, key: &Key, parts: &Parts) {
        if self.count.load(Ordering::Relaxed) > 0 && self.misses.load(Ordering::Relaxed) < SUSPICIOUS {
            self.compare(key, parts);
        }
    }

    #[cold]
    fn compare(&self, key: &Key, parts: &Parts) {
        let requested = WarmedTarget::of(parts);
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((warmed, digest)) = targets.get(&requested.path) else { return };
        let difference = warmed.difference(&requested);
        if *digest == key.digest() || difference.is_empty() {
            return;
        }
        if self.misses.fetch_add(1, Ordering::Relaxed) + 1 == SUSPICIOUS {
            tracing::warn!(
                path = router::original_uri(parts).path(),
                "clients miss pages that a warm-up has stored, because their requests differ from those of the warm-up: {difference}. \
                 Give the warm-up the host, the scheme and the forwarding fields that clients or the proxy in front send \
                 (`host`, `scheme`, `header`). Logged once."
            );
        }
    }
}

impl WarmedTarget {
    pub(crate) fn of(parts: &Parts) -> Self {
        let uri = router::original_uri(parts);
        let host = parts.uri.authority().map(|authority| authority.as_str().to_owned());
        let from_field = || parts.headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        Self {
            path: digest(uri),
            is_https: Scheme::of(&parts.uri) == Scheme::Https,
            host: host.or_else(from_field).unwrap_or_default().to_ascii_lowercase(),
            forwarding: forwarding(&parts.headers),
        }
    }

    /// Describes what differs; empty if nothing does.
    fn difference(&self, requested: &Self) -> String {
        let mut text = String::new();
        if self.is_https != requested.is_https {
            let scheme = |target: &Self| if target.is_https { "`https`" } else { "none or `http`" };
            add(&mut text, format_args!("scheme {} instead of {}", scheme(requested), scheme(self)));
        }
        if self.host != requested.host {
            add(&mut text, format_args!("host `{}` instead of `{}`", requested.host.escape_debug(), self.host.escape_debug()));
        }
        for (name, value) in requested.forwarding.iter().filter(|field| !self.forwarding.contains(field)) {
            add(&mut text, format_args!("with `{name}: {}`", String::from_utf8_lossy(value.as_bytes()).escape_debug()));
        }
        for (name, _) in self.forwarding.iter().filter(|(name, _)| requested.forwarding.iter().all(|(other, _)| other != name)) {
            add(&mut text, format_args!("without `{name}`"));
        }
        text
    }
}

fn add(text: &mut String, difference: fmt::Arguments<'_>) {
    let separator = if text.is_empty() { "" } else { ", " };
    let _ = write!(text, "{separator}{difference}");
}

fn forwarding(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    FIELDS.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect()
}

fn digest(uri: &Uri) -> u64 {
    static HASHER: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::default);
    HASHER.hash_one((uri.path(), uri.query()))
}
