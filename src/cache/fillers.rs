//! Which service has filled a key last: two services that fill one key answer each other's clients.

use std::{
    any::type_name,
    collections::HashMap,
    fmt,
    hash::BuildHasher as _,
    panic::Location,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::quality::RandomState;

/// A service with a layer, as far as larder can distinguish it from others.
///
/// A router makes its services again for each route and each connection, from the same layer. So a service is known by what stays the same: the
/// line of code that made the layer, the settings of the layer, the matched route, and the type of what is inside. An application
/// that is built twice by the same code, such as once for each thread, is one service.
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) struct Filler<'f> {
    pub(crate) made_at: Option<&'static Location<'static>>,
    /// A hash of the settings.
    pub(crate) settings: u64,
    pub(crate) route: Option<&'f str>,
    /// The type of the inner service.
    pub(crate) inner: &'static str,
}

/// The services of a cache, and which of them has filled each of the latest keys: a table of fixed size, in which a key replaces another one.
pub(crate) struct Fillers {
    /// The number of each service and its name in logs, by its hash.
    services: RwLock<HashMap<u64, Service>>,
    hasher: RandomState,
    /// The upper bits of a key's digest, and the number of a service.
    latest: Box<[AtomicU64]>,
}

#[derive(Debug)]
struct Service {
    number: u64,
    name: Box<str>,
}

/// The number of keys that are remembered.
const KEYS: usize = 1024;

/// The bits of a number; 0 is no service. The digest's bits in their place select the position in the table.
const NUMBER: u64 = 0xffff;

/// The most services that are told apart.
const MOST: usize = 4096;

/// Returns how a service is told from others by its type.
pub(crate) fn inner_type<S>() -> &'static str {
    type_name::<S>()
}

impl Default for Fillers {
    fn default() -> Self {
        let latest = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        Self { services: RwLock::default(), hasher: RandomState::default(), latest }
    }
}

impl Fillers {
    /// Notes that a service has filled the key with this digest; returns the name of another service that filled it before, if that is
    /// remembered. Called when a response is stored, not on hits.
    pub(crate) fn note(&self, digest: u64, filler: &Filler<'_>) -> Option<Box<str>> {
        let number = self.number(filler)?;
        let key = digest & !NUMBER;
        let latest = &self.latest[(digest & NUMBER) as usize % KEYS];
        let before = latest.swap(key | number, Ordering::Relaxed);
        let other = before & NUMBER;
        if before & !NUMBER != key || other == 0 || other == number {
            return None;
        }
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.values().find(|service| service.number == other).map(|service| service.name.clone())
    }

    /// Returns the number of a service, from 1; `None` if there are too many.
    fn number(&self, filler: &Filler<'_>) -> Option<u64> {
        let hash = self.hasher.hash_one(filler);
        if let Some(service) = self.services.read().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            return Some(service.number);
        }
        // Rare: only the first response of a service comes here.
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        let number = services.len() as u64 + 1;
        if services.len() >= MOST {
            return None;
        }
        let new = || Service { number, name: filler.to_string().into() };
        Some(services.entry(hash).or_insert_with(new).number)
    }
}

impl fmt::Debug for Fillers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fillers").field("services", &self.services).finish_non_exhaustive()
    }
}

impl fmt::Display for Filler<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.made_at {
            Some(line) => write!(f, "that of the layer made at {line}")?,
            None => f.write_str("that of another layer")?,
        }
        self.route.map_or(Ok(()), |route| write!(f, " (route `{route}`)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn filler(settings: u64, route: &str) -> Filler<'_> {
        Filler { made_at: Some(Location::caller()), settings, route: Some(route), inner: inner_type::<()>() }
    }

    #[test]
    fn another_service_is_named_once_it_fills_the_same_key() {
        let fillers = Fillers::default();
        let (one, other) = (filler(1, "/"), filler(1, "/"));
        assert_eq!([fillers.note(7 << 16, &one), fillers.note(7 << 16, &one), fillers.note(8 << 16, &other)], [None, None, None]);
        // The second key has taken the place of the first.
        assert_eq!(fillers.note(7 << 16, &other), None);
        let named = fillers.note(7 << 16, &one).unwrap();
        assert!(named.contains("fillers.rs:") && named.contains("(route `/`)"), "{named}");
    }

    #[test]
    fn settings_routes_and_types_tell_services_apart() {
        let one = filler(1, "/");
        for other in [Filler { settings: 2, ..one }, Filler { route: None, ..one }, Filler { inner: inner_type::<u8>(), ..one }] {
            let fillers = Fillers::default();
            assert_eq!(fillers.note(7 << 16, &one), None);
            assert!(fillers.note(7 << 16, &other).is_some(), "{other:?}");
        }
    }

    #[test]
    fn services_beyond_the_limit_are_not_told_apart() {
        let fillers = Fillers::default();
        for settings in 0..MOST as u64 + 10 {
            fillers.note(settings << 16, &filler(settings, "/"));
        }
        assert_eq!(fillers.services.read().unwrap().len(), MOST);
    }
}
