//! The layers of a cache, by the routes for which they have forwarded a request: what a dry run needs to know of them.
#![cfg_attr(not(feature = "admin"), allow(dead_code, reason = "only the operator's page asks"))]

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use foldhash::quality::RandomState;

use crate::policy::settings::Settings;

/// The most routes that are remembered.
const MOST: usize = 4096;

/// The name of layers outside of the router; routes begin with `/`.
const NO_ROUTE: &str = "";

/// The layer of each route, with what its handle of the cache refers to. It keeps no layer alive: settings may hold functions of the application
/// that hold the cache.
#[derive(Debug)]
pub(crate) struct KnownLayers<C>(RwLock<HashMap<Box<str>, KnownLayer<C>, RandomState>>);

#[derive(Debug)]
struct KnownLayer<C> {
    cache: Weak<C>,
    settings: Weak<Settings>,
}

/// A route, unless the layer is outside of the router, with what the layer's handle of the cache refers to, and its settings.
pub(crate) type LayerOfRoute<C> = (Option<Box<str>>, Arc<C>, Arc<Settings>);

impl<C> Default for KnownLayers<C> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<C> KnownLayers<C> {
    /// Notes the layer of a route; of several, the one that came first. Called when a handler runs, not on hits.
    pub(crate) fn note(&self, route: Option<&str>, cache: &Arc<C>, settings: &Arc<Settings>) {
        let name = route.unwrap_or(NO_ROUTE);
        let is_known = |layer: &KnownLayer<C>| layer.settings.strong_count() > 0 && layer.cache.strong_count() > 0;
        let layers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if layers.get(name).is_some_and(is_known) || layers.len() >= MOST {
            return;
        }
        drop(layers);
        // Rare: only the first request of a route comes here.
        let layer = KnownLayer { cache: Arc::downgrade(cache), settings: Arc::downgrade(settings) };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), layer);
    }

    /// Returns each route that is in use with its layer; the route of a layer outside of the router is `None`.
    pub(crate) fn all(&self) -> Vec<LayerOfRoute<C>> {
        let layers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = layers.iter().filter_map(|(route, layer)| {
            Some(((**route != *NO_ROUTE).then(|| route.clone()), layer.cache.upgrade()?, layer.settings.upgrade()?))
        });
        known.collect()
    }
}
