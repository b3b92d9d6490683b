//! Values below a response: what handlers compute, in the same store and under the same promise.

mod calls;
mod inexact;
mod responses;
mod stale;
mod stampede;

use std::{convert::Infallible, time::Duration};

use axum::Router;
use larder::{Cache, CacheLayer, ValuePolicy};

use crate::support::{MINUTE, Runs, page};

/// A policy for a minute, with the tag `posts`.
pub(crate) fn policy() -> ValuePolicy {
    ValuePolicy::ttl(MINUTE).tags(["posts"])
}

/// Returns the value `top` of the cache, which is the number of its computation.
pub(crate) async fn top(cache: &Cache, policy: &ValuePolicy, runs: &Runs) -> usize {
    let runs = runs.clone();
    let Ok(top) = cache.get_or_compute("top", policy, || async move { Ok::<_, Infallible>(runs.begin()) }).await;
    top
}

/// An application whose page is made of that value.
pub(crate) fn page_of_top(layer: CacheLayer, values: &Cache, policy: ValuePolicy, runs: &Runs) -> Router {
    let (values, runs) = (values.clone(), runs.clone());
    let handler = move || {
        let (values, policy, runs) = (values.clone(), policy.clone(), runs.clone());
        async move { format!("top {}", top(&values, &policy, &runs).await) }
    };
    page(layer, handler)
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
