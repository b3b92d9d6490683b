//! The setting of compression.

use super::layer::CacheLayer;
use crate::coding::options::CompressionOptions;

/// Compression of stored responses.
impl CacheLayer {
    /// Stores each response as it came and in each content coding that clients want, and serves every client the coding that it prefers; default:
    /// off. Needs the feature `compression`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// let layer = cache.layer().ttl(Duration::from_secs(60)).compress(true);
    /// ```
    ///
    /// A compressing layer outside the cache compresses at every hit. Here a coding is made once, by a task on a thread for blocking work, when
    /// the first client that prefers it hits the response; until it is stored, clients get a coding that exists, or none. At most half of the
    /// cores compress at a time; a coding for which none is free is made at a later hit.
    ///
    /// - **What is compressed**: stored 200s of at least 1 KiB with a media type that compresses (text, JSON, XML, SVG, WebAssembly, …), without
    ///   a `Content-Encoding`, `no-transform` or signature of their own. A coding that does not save a tenth is not served.
    ///   [`CompressionOptions`] sets codings, levels and the size.
    /// - **Which coding**: the one with the highest weight in `Accept-Encoding`, and of equal ones zstd before brotli before gzip. A client that accepts
    ///   no coding that exists gets the response without one, even if it excludes that by `identity;q=0`.
    /// - **What clients see**: `Vary: accept-encoding`; a strong `ETag` becomes another one for each coding (`"v1"`, `"v1-br-61c9d1c9a2f0b75e"`), a weak one stays; a
    ///   response without one has one in each coding. Preconditions, ranges and HEAD apply to the representation that the client
    ///   gets. Digest fields of the response without coding (`Repr-Digest`, …) are left out of the others.
    /// - **What handlers see**: `Accept-Encoding: identity`, in every fetch. So a compressing layer inside the cache compresses nothing that is
    ///   stored, and its responses have no variants by that field. One outside leaves a response with a `Content-Encoding` alone, and compresses
    ///   what is not stored and what bypasses the cache; larder then needs no layer inside.
    /// - **Cost**: memory or bytes in the store for each coding, a fifth to a third of the body for HTML and JSON, and 1 KiB for its header fields, all
    ///   counted in the limit of the store. An entry that becomes too large for the store with a coding stays without it. A read from a
    ///   remote store transfers all codings. After a refresh, codings are kept if the body
    ///   is the same, and are otherwise made again.
    /// - **Shared stores**: nodes with an earlier version of larder miss entries with codings. Without the feature, a node serves the codings
    ///   that others have stored, and makes none; a near tier meets codings that others add when its copy is gone. A response that was stored before the setting was switched on is served as it is.
    ///
    /// It means the same with [`strict`](Self::strict): the setting is the consent of the origin to the transformation (RFC 9110 §7.7).
    ///
    /// # Security
    ///
    /// Do not compress responses that contain a secret together with text that an attacker can choose, such as a CSRF token on a page that
    /// repeats the query: over TLS, the length of such responses reveals the secret (BREACH). A stored response is less exposed,
    /// since the attacker must make the handler run, not just a request, for each guess; but a query that is in the key does that. Pages for
    /// everybody have no secrets, so that the question arises with [`per_principal`](Self::per_principal) and [`vary_on_cookies`](Self::vary_on_cookies).
    pub fn compress(self, options: impl Into<CompressionOptions>) -> Self {
        let options = options.into();
        self.edit(|settings| settings.compression = (!options.codings.is_empty()).then_some(options))
    }
}
