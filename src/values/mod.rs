//! Values below a response: what handlers compute, such as the results of queries, in the same store and under the same promise.
//!
//! A value is an entry like a response, with its own kind of content and of key. The steps are those of a request: a lookup, then one
//! computation for all concurrent callers, which is stored with the epoch of the lookup.

mod call;
mod computation;
mod compute;
mod form;
mod key;
pub(crate) mod policy;
#[cfg(feature = "values")]
mod serialized;
mod wait;

use std::{future::Future, sync::Arc};

use self::{
    call::{Found, ValueCall, find},
    computation::Computation,
    form::Form,
    key::value_key,
    policy::ValuePolicy,
};
use crate::{backend::contract::ReadOutcome, cache::Cache};

/// Values below a response, in the memory of this process.
impl Cache {
    /// Does what `get_or_compute` does (with the feature `values`), for values that cannot be encoded, or need not be: any type that can be
    /// cloned. They never leave the memory of this process.
    ///
    /// A cache in memory keeps them. In a cache over Redis or memcached, with or without a near tier, they are not stored: a copy that is
    /// only in this process would not know what other nodes invalidate. Use a second cache in memory for them, and invalidate both; a
    /// response of the first cache that is made of such a value is not stored
    /// ([`Reason::OtherStore`](crate::Reason::OtherStore)).
    ///
    /// The memory store is bounded by bytes: state the size of the value, with all that it owns, by [`ValuePolicy::weight`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};
    /// use larder::{Cache, ValuePolicy};
    ///
    /// type Index = Arc<HashMap<String, Vec<u64>>>;
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// let policy = ValuePolicy::ttl(Duration::from_secs(60)).tags(["posts"]).weight(1 << 20);
    /// let build = || async { Ok::<_, Infallible>(Index::default()) };
    /// let index = cache.get_or_compute_in_memory("index", &policy, build).await;
    /// # let _ = index;
    /// # }
    /// ```
    ///
    /// # Errors
    /// The error of `compute`.
    pub async fn get_or_compute_in_memory<T, E, F, R>(
        &self,
        name: impl AsRef<str>,
        policy: impl AsRef<ValuePolicy>,
        compute: F,
    ) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
        E: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
    {
        let policy = policy.as_ref();
        get(self, name.as_ref(), policy, Form::in_memory(policy.weight), compute).await
    }
}

/// Returns a value from the cache, or computes it.
async fn get<T, E, C>(cache: &Cache, name: &str, policy: &ValuePolicy, form: Form<T>, compute: C) -> Result<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Send + 'static,
    C: Computation<T, E>,
{
    let call = || Arc::new(ValueCall::new(cache, name, policy, form));
    if cache.is_on().is_err() {
        return Box::pin(call().compute_without_cache(compute)).await;
    }
    // Boxed: the futures are large, and most calls return at once.
    match look_up_now(cache, name, policy, form) {
        Now::Hit(value) => Ok(value),
        Now::Read(read) => Box::pin(call().after_read(*read, compute)).await,
        Now::Waits => Box::pin(call().look_up(compute)).await,
    }
}

/// The result of a lookup that does not wait.
enum Now<T> {
    Hit(T),
    /// What was read is no hit.
    Read(Box<ReadOutcome>),
    /// The store has to wait for a reply.
    Waits,
}

/// Not a part of the future, which would hold the key.
#[inline(never)]
fn look_up_now<T>(cache: &Cache, name: &str, policy: &ValuePolicy, form: Form<T>) -> Now<T>
where
    T: Clone + Send + Sync + 'static,
{
    let Some(read) = cache.read_now(&value_key(cache, name)) else { return Now::Waits };
    match hit(cache, policy, &read, form) {
        Some(value) => Now::Hit(value),
        None => Now::Read(Box::new(read)),
    }
}

/// Returns a fresh value that is due for nothing, and counts it.
#[inline]
fn hit<T: Clone + Send + Sync + 'static>(cache: &Cache, policy: &ValuePolicy, read: &ReadOutcome, form: Form<T>) -> Option<T> {
    match find(cache, read, form) {
        Found::Value(found) if found.freshness.is_fresh() && !found.is_due(policy) => {
            let label = cache.inner.statistics.value_label(&policy.label);
            Some(found.hit(cache, label))
        }
        _ => None,
    }
}
