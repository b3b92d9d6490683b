//! The refilling of a layer's entries after an invalidation.

use super::layer::CacheLayer;

/// After an invalidation.
impl CacheLayer {
    /// Fetches the `count` hottest entries again that an invalidation of tags, a URI, a route or everything has removed, in the background, so
    /// that the first visitor after a write gets a hit; default: 0, at most 256.
    ///
    /// The number is that of all routes that the layer is put around, with its clones; a further setter makes another layer. The hottest
    /// are those of [`Cache::hot_keys`](crate::Cache::hot_keys), then those that were stored last. The handler runs for each, four at
    /// once, in the node that invalidates; a client that asks meanwhile waits for that run. A run that began before the invalidation is not waited
    /// for. What is expired by `expire_tags` is not fetched.
    ///
    /// An entry is fetched at most ten times in a row, and then once a second: of more invalidations than that, the latest counts. An invalidation
    /// by the handler of a repeated request fetches nothing, so that two pages which invalidate each other are not fetched without end; if their
    /// handlers do it from tasks that they spawn, each is fetched once a second, for as long as they do.
    ///
    /// The layer keeps requests to repeat them: method, URI, host, forwarding fields, `Accept-Encoding`, the fields that select the response by
    /// [`vary_on`](Self::vary_on) and `Vary`, and the request's extensions, as layers outside have put them there. It never keeps a request
    /// whose response is for one user, whose response was selected by cookies, credentials or another field that names a user, or whose key
    /// needs any other field ([`key_with`](Self::key_with)). It keeps 16 times `count` requests, 64 at least and 1,024 at most, of one to two
    /// KiB each and their extensions.
    ///
    /// **All extensions are kept**, because the router's captures among them cannot be copied alone: the handler of a repeated request gets clones
    /// of what the first client's had, such as a user or a session. What they hold stays alive until the request is forgotten, at the latest with
    /// the layer or by [`Cache::drain`](crate::Cache::drain): a database transaction or a pooled connection in the extensions would stay
    /// open. Put the layer that adds these inside of this one, so that it runs for repeated requests, too.
    ///
    /// Request bodies must be of axum's type, or a `String`; requests with others are not repeated, and neither are those with content
    /// ([`cache_query`](Self::cache_query), [`cache_post`](Self::cache_post)). A hit costs no more.
    ///
    /// ```
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let layer = cache.layer().ttl(std::time::Duration::from_secs(60)).tags(["posts"]).rewarm(10);
    /// ```
    pub fn rewarm(self, count: usize) -> Self {
        self.edit(|settings| settings.rewarm = count.min(256))
    }
}
