//! Values that any store keeps, encoded as CBOR (RFC 8949).

use std::{any::Any, io, mem};

use serde::{Serialize, de::DeserializeOwned};

use super::{Now, compute_after, form::Form, look_up_now, policy::ValuePolicy};
use crate::{cache::Cache, entry::value::WeighValue};

/// Values below a response, with the feature `values`.
impl Cache {
    /// Returns the value with this name from the cache, or computes and stores it.
    ///
    /// It is for what several responses need, such as the result of a slow query. It keeps the promise of the cache: after
    /// [`invalidate_tags`](Self::invalidate_tags) has returned `Ok`, no later call returns a value with one of these tags whose computation
    /// began before. And a handler that reads the value need not name its tags: they become tags of its response, as does everything
    /// that the computation itself [adds](crate::add_tags) or reads.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// use std::{convert::Infallible, time::Duration};
    /// use larder::{Cache, ValuePolicy};
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// let minute = ValuePolicy::ttl(Duration::from_secs(60)).tags(["posts"]);
    /// let top: Vec<u64> = match cache.get_or_compute("top10", &minute, || async { Ok::<_, Infallible>(vec![7, 3, 1]) }).await {
    ///     Ok(top) => top,
    /// };
    /// assert_eq!(top, [7, 3, 1]);
    /// cache.invalidate_tags("posts").await?; // and the next call computes it again
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # What is shared
    ///
    /// The name is the key, in the namespace and revision of this handle; no response has the same key. Concurrent callers share one
    /// computation, and one that nobody waits for any more continues, within the limits of abandoned fetches
    /// ([`with_abandoned_fetch_limit`](Self::with_abandoned_fetch_limit)). For this and for background refreshes, `compute` must own what it
    /// uses: clone handles into it. With Redis or memcached, all nodes share the value; each node computes it at most once at a time, or one for all with
    /// [`collapse_across_nodes`](ValuePolicy::collapse_across_nodes).
    ///
    /// In memory a value is kept as it is and cloned for each caller: wrap a large one in an `Arc`
    /// (serde's feature `rc`). Other stores keep it as CBOR, by the crate `ciborium`: fields have names there, so that nodes of two builds
    /// can share values under serde's rules (`#[serde(default)]` for a new field). A value of another type under the name, or bytes that do
    /// not decode, are a miss and logged once; so is a type that was renamed. A copy near a remote store is decoded once.
    ///
    /// # What is not stored
    ///
    /// An error is returned and not stored; within [`stale_if_error`](ValuePolicy::stale_if_error), a stale value is returned instead. If the
    /// store fails, each caller computes for itself. [`Cache::stats`](Self::stats) counts all of it under the policy's
    /// [label](ValuePolicy::label).
    ///
    /// # What a response inherits
    ///
    /// A response is fresh no longer than the values that its handler has read, and one that is made of a stale value is not stored
    /// ([`Reason::StaleValue`](crate::Reason::StaleValue)): else the lifetimes would add up. Neither is one that is made of a value of a cache
    /// over another store, whose invalidations would not reach it ([`Reason::OtherStore`](crate::Reason::OtherStore)). On Redis Cluster and
    /// memcached, where clock and tags do not change together, a response counts as born when the oldest value in it was: it is not stored if
    /// one of its tags was invalidated, or used for the first time, after that value was computed. Values with a short lifetime suit
    /// these stores better.
    ///
    /// In a task that the handler spawns, and in the stream of a body, nothing is inherited: use
    /// [`in_current_run`](crate::in_current_run) for tasks.
    ///
    /// # Errors
    /// The error of `compute`.
    pub async fn get_or_compute<T, E, F, R>(
        &self,
        name: impl AsRef<str>,
        policy: impl AsRef<ValuePolicy>,
        compute: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        E: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (name, policy) = (name.as_ref(), policy.as_ref());
        match look_up_now(self, name, policy, Some(decode::<T>)) {
            Now::Hit(value) => Ok(value),
            // Boxed: the future is large, and most calls return at once.
            Now::NoHit(lookup) => {
                Box::pin(compute_after(lookup, self, name, policy, Form::serialized(policy.weight), compute)).await
            }
        }
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Form<T> {
    /// Values that are encoded for stores outside of this process.
    fn serialized(weight: Option<usize>) -> Self {
        let weigh = weight.map_or(WeighValue::By(measure::<T>), WeighValue::As);
        Self { encode: Some(encode::<T>), decode: Some(decode::<T>), weigh }
    }
}

fn encode<T: Serialize + 'static>(value: &(dyn Any + Send + Sync)) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value.downcast_ref::<T>()?, &mut bytes).ok()?;
    Some(bytes)
}

fn decode<T: DeserializeOwned>(mut bytes: &[u8]) -> Option<T> {
    let value = ciborium::from_reader(&mut bytes).ok()?;
    bytes.is_empty().then_some(value)
}

fn measure<T: Serialize + 'static>(value: &(dyn Any + Send + Sync)) -> Option<usize> {
    let mut length = Length(0);
    ciborium::into_writer(value.downcast_ref::<T>()?, &mut length).ok()?;
    Some(mem::size_of::<T>() + 2 * length.0)
}

/// Counts the bytes that are written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
