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
use crate::{backend::contract::ReadOutcome, cache::Cache, dependencies::Dependencies, entry::value::DecodeValue, key::Key};

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
        let (name, policy) = (name.as_ref(), policy.as_ref());
        match look_up_now(self, name, policy, None) {
            Now::Hit(value) => Ok(value),
            // Boxed: the future is large, and most calls return at once.
            Now::NoHit(lookup) => {
                Box::pin(compute_after(lookup, self, name, policy, Form::in_memory(policy.weight), compute)).await
            }
        }
    }
}

/// The result of a lookup that does not wait.
enum Now<T> {
    Hit(T),
    NoHit(NoHit),
}

/// Why a lookup that does not wait is no hit.
enum NoHit {
    /// What was read is no hit.
    Read(Box<ReadOutcome>),
    /// The store has to wait for a reply.
    Waits,
    /// The cache is switched off.
    Off,
}

/// Returns a fresh value that is due for nothing, and counts it.
///
/// Not a part of the future, which would hold the key.
#[inline(never)]
fn look_up_now<T>(cache: &Cache, name: &str, policy: &ValuePolicy, decode: Option<DecodeValue<T>>) -> Now<T>
where
    T: Clone + Send + Sync + 'static,
{
    let is_in_run = Dependencies::is_collecting();
    let is_as_built = !is_in_run && cache.is_on_as_built();
    if !is_as_built && cache.is_on().is_err() {
        return Now::NoHit(NoHit::Off);
    }
    let mut key = Key::new();
    if is_as_built {
        key.push_under(&cache.inner.prefix.built_for_values, name.as_bytes());
    } else {
        key = value_key(cache, name);
    }
    let read = cache.read_now(&key);
    if let Some(Found::Value(found)) = read.as_ref().map(|read| find(cache, read, decode))
        && found.freshness.is_fresh()
        && !found.is_due(policy)
    {
        return Now::Hit(found.hit(cache, policy, is_in_run));
    }
    Now::NoHit(read.map_or(NoHit::Waits, |read| NoHit::Read(Box::new(read))))
}

/// Returns a value after a lookup that was no hit: computed by this call or another one, or stale.
async fn compute_after<T, E, C>(
    lookup: NoHit,
    cache: &Cache,
    name: &str,
    policy: &ValuePolicy,
    form: Form<T>,
    compute: C,
) -> Result<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Send + 'static,
    C: Computation<T, E>,
{
    let call = Arc::new(ValueCall::new(cache, name, policy, form));
    match lookup {
        NoHit::Read(read) => call.after_read(*read, compute).await,
        NoHit::Waits => call.look_up(compute).await,
        NoHit::Off => call.compute_without_cache(compute).await,
    }
}
