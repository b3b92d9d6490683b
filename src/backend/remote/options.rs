//! The settings that every remote store has.

use std::time::Duration;

use super::deadline::Timeouts;
use crate::codec::compression::Compression;

/// The settings of a remote store, set by the methods that [`remote_setters`] adds to its builder.
#[derive(Debug, Clone)]
pub(crate) struct RemoteOptions {
    pub(crate) namespace: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeouts: Timeouts,
    pub(crate) compression: Compression,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            namespace: "larder".to_owned(),
            connect_timeout: Duration::from_secs(1),
            timeouts: Timeouts::default(),
            compression: Compression { threshold: Some(4 << 10), level: 1 },
        }
    }
}

/// Adds the setters of [`RemoteOptions`] to a builder that has them in its field `remote`; `namespace` documents which names the store
/// accepts.
macro_rules! remote_setters {
    ($builder:ty, namespace: $namespace:literal) => {
        impl $builder {
            /// The namespace of larder's keys; default: `larder`. Caches with different namespaces share neither entries nor
            /// invalidations.
            ///
            #[doc = $namespace]
            pub fn namespace(mut self, namespace: &str) -> Self {
                namespace.clone_into(&mut self.remote.namespace);
                self
            }

            /// The time limit of a lookup, after which the handler answers; default: 50 ms.
            pub fn read_timeout(mut self, limit: ::std::time::Duration) -> Self {
                self.remote.timeouts.read = limit;
                self
            }

            /// The time limit of storing a response, while its client waits; default: 100 ms.
            pub fn store_timeout(mut self, limit: ::std::time::Duration) -> Self {
                self.remote.timeouts.store = limit;
                self
            }

            /// The time limit of an invalidation, after which it fails; default: 1 s. It applies to each 1,000 tags of a larger one.
            pub fn invalidate_timeout(mut self, limit: ::std::time::Duration) -> Self {
                self.remote.timeouts.invalidate = limit;
                self
            }

            /// The time limit of connecting; default: 1 s.
            pub fn connect_timeout(mut self, limit: ::std::time::Duration) -> Self {
                self.remote.connect_timeout = limit;
                self
            }

            /// The number of consecutive failures after which larder stops using the store until it answers again; default: 5.
            pub fn failures(mut self, failures: u32) -> Self {
                self.remote.timeouts.failures = failures.max(1);
                self
            }

            /// Compresses bodies of at least this many bytes with zstd, if that saves a tenth of them; default: 4 KiB, `None` turns
            /// compression off.
            ///
            /// Without the feature `zstd`, bodies are stored uncompressed, and an entry that another node compressed is a miss.
            #[cfg(feature = "zstd")]
            pub fn compress_from(mut self, bytes: Option<usize>) -> Self {
                self.remote.compression.threshold = bytes;
                self
            }
        }
    };
}

pub(crate) use remote_setters;
