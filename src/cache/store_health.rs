//! What operators need of the store: its health, and a function for other programs.

use super::Cache;
use crate::{backend::health::Health, error::Error};

impl Cache {
    /// Asks the store for a sign of life, and returns whether it answered, whether it is suspended, and how many invalidations are owed.
    ///
    /// It costs one round trip, also while the store is suspended, and has no effect on the cache. It takes `invalidate_timeout` at most,
    /// by default a second. A cache in memory is always healthy; a near tier is as healthy as the store behind it.
    ///
    /// While the store does not answer, the application still does: by its handlers, and for [`Health::grace_left`] by near copies. So use it for
    /// alerts and for readiness; for liveness it would restart nodes that work.
    ///
    /// ```
    /// use axum::{Router, extract::State, http::StatusCode, routing::get};
    /// use larder::Cache;
    ///
    /// async fn health(State(cache): State<Cache>) -> (StatusCode, String) {
    ///     let health = cache.health().await;
    ///     let status = if health.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    ///     (status, health.to_string())
    /// }
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// let internal: Router = Router::new().route("/health", get(health)).with_state(cache);
    /// # let _ = internal;
    /// ```
    pub async fn health(&self) -> Health {
        self.inner.backend.health().await
    }

    /// Registers a function on a Redis server by which any other program can invalidate tags safely:
    ///
    /// ```sh
    /// redis-cli FCALL larder_invalidate 0 larder posts post:7
    /// ```
    ///
    /// The arguments after the number of keys, 0, are the `key_prefix` of the [URL](Self::connect) and the tags as written in the
    /// application. For a cache with a [namespace](Self::with_namespace), another function takes the namespace after the prefix:
    ///
    /// ```sh
    /// redis-cli FCALL larder_invalidate_in 0 larder shop posts post:7
    /// ```
    ///
    /// The reply is the number of tags that stored responses may have: 0 if nothing with these tags is stored, or if namespace or tags are
    /// misspelled. It is an error if no cache with this key prefix has stored anything on the server.
    ///
    /// After the call has returned, no node uses an entry with one of the tags; a tiered node with a lease may do so until its lease
    /// ends. Registering once is enough: functions are stored and replicated like data. Redis 7 is required. A call with thousands of
    /// tags blocks the server for milliseconds; use several calls with 1,000 tags each.
    ///
    /// # Errors
    /// If the server cannot be reached, has no functions, or does not permit `FUNCTION LOAD`. If the store is not Redis, or is a Cluster,
    /// on which a function reaches only one node: let other programs call a route of the application instead.
    pub async fn install_function(&self) -> Result<(), Error> {
        self.inner.backend.install_function().await
    }
}
