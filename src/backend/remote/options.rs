//! The settings that every remote store has.

use std::time::Duration;

use super::deadline::Timeouts;
use crate::{
    backend::url::{
        options::UrlOptions,
        value::{DURATION, FAILURES, NAME, SIZE_OR_OFF, TAGS},
    },
    codec::compression::Compression,
    error::Error,
};

/// The settings of a remote store, set by the methods that [`remote_setters`] adds to its builder.
#[derive(Debug, Clone)]
pub(crate) struct RemoteOptions {
    pub(crate) key_prefix: String,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeouts: Timeouts,
    pub(crate) compression: Compression,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            key_prefix: "larder".to_owned(),
            connect_timeout: Duration::from_secs(1),
            timeouts: Timeouts::default(),
            compression: Compression { threshold: Some(4 << 10), level: 1 },
        }
    }
}

impl RemoteOptions {
    /// Takes the options of the setters from a URL.
    pub(crate) fn read_url(&mut self, url: &mut UrlOptions) -> Result<(), Error> {
        url.set("key_prefix", NAME, &mut self.key_prefix)?;
        url.set("read_timeout", DURATION, &mut self.timeouts.read)?;
        url.set("store_timeout", DURATION, &mut self.timeouts.store)?;
        url.set("invalidate_timeout", DURATION, &mut self.timeouts.invalidate)?;
        url.set("connect_timeout", DURATION, &mut self.connect_timeout)?;
        url.set("failures", FAILURES, &mut self.timeouts.failures)?;
        url.set("max_owed_tags", TAGS, &mut self.timeouts.owed_tags)?;
        if let Some(threshold) = url.take("compress_from", SIZE_OR_OFF)? {
            self.compression.threshold = threshold;
            if !cfg!(feature = "zstd") {
                return Err(Error::invalid_input(
                    "the option `compress_from` needs larder's feature `zstd`: add it to the features in Cargo.toml",
                ));
            }
        }
        Ok(())
    }
}

/// Adds the setters of [`RemoteOptions`] to a builder that has them in its field `remote`; `key_prefix` documents which names the store
/// accepts.
macro_rules! remote_setters {
    ($builder:ty, key_prefix: $key_prefix:literal) => {
        impl $builder {
            /// The prefix of larder's keys in the store; default: `larder`. Caches with different prefixes share neither entries nor
            /// invalidations.
            ///
            /// To separate caches that share one connection, see [`Cache::with_namespace`](crate::Cache::with_namespace).
            ///
            #[doc = $key_prefix]
            pub fn key_prefix(mut self, key_prefix: &str) -> Self {
                key_prefix.clone_into(&mut self.remote.key_prefix);
                self
            }

            /// The time limit of a lookup, after which the handler answers; default: 50 ms. All reads of one lookup share it, also those of
            /// variants.
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

            /// The number of tags whose invalidation failed that are remembered until the store answers again; default: 65,536. If there are
            /// more, everything in the store is invalidated then.
            pub fn max_owed_tags(mut self, tags: usize) -> Self {
                self.remote.timeouts.owed_tags = tags;
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
