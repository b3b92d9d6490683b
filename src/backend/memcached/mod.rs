//! Stored responses on memcached servers, shared by all nodes that use them.

mod connection;
mod driver;
pub(crate) mod item_key;
pub(crate) mod meta_protocol;
mod notes;
mod question;
mod queue;
pub(crate) mod registers;
pub(crate) mod rendezvous;
pub(crate) mod servers;
mod store;
#[cfg(test)]
mod tests;
pub(crate) mod url;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    SharedStore,
    contract::{Backend, Invalidation, PutOutcome, ReadOutcome, Receipt},
    remote::{RemoteStore as _, Resilient, Timeouts},
};
use crate::{
    codec::compression::Compression,
    entry::{epoch::Epoch, stored::Stored},
    error::Error,
    key::Key,
    tag::Tag,
};
use registers::MemcachedRegisters;
use store::{Options, Store};

/// Stored responses on memcached servers, version 1.6 or later, shared by every node that uses the same list of servers and the
/// same namespace.
///
/// The promise holds across all nodes while they have the same list of servers. A hit takes one round trip if nothing was
/// invalidated since this node met the entry last, or if the route knows all of its tags; else two. An invalidation takes four,
/// whatever the number of entries. memcached may forget whatever it likes, and be restarted or flushed: that costs misses,
/// never a stale answer.
///
/// Reads fail open: when a server is slow or away, handlers answer; a breaker sees to it that they need not wait first. An
/// invalidation that fails is an error, and is carried out as soon as the servers answer; until then this node uses nothing
/// from them.
///
/// What cannot be read as an entry of larder's is a miss, and counted. Whoever can write to the servers can put responses
/// there, though: they are to be reached by your nodes alone. The protocol has neither encryption nor, in this version,
/// passwords.
///
/// # Several servers
///
/// Each key is held by one server, chosen by its name and theirs (rendezvous hashing), as are the records of tags and the
/// clock. None stands in for another, and a response is judged by the clock and by all of its tags: while any server is
/// away, none of them is used. Several are for what one has no memory for, not for outages.
///
/// One server more, or less, moves the keys that come to it or were on it, about one in as many as there are servers, and no
/// others. But while nodes disagree about the list, one may look for the record of a tag on another server than the one on
/// which an invalidation has changed it; and a server that comes back to the list has records as they were when it left. So
/// a list is changed together with the [`namespace`](MemcachedBuilder::namespace): nodes with the old and the new one share
/// nothing, as after a [`clear`](crate::Cache::clear), and nothing is left of a server's earlier time on the list. While both
/// kinds are in service, an invalidation reaches the nodes of its own kind only: invalidate on both, or change all at once.
///
/// # Memory in front of it
///
/// [`Tiered`](crate::Tiered) looks at memcached's clock before each use of a copy:
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), larder::Error> {
/// use larder::{Cache, Memcached, Memory, Tiered};
///
/// let memcached = Memcached::connect("memcached://a,b").await?;
/// let cache = Cache::new(Tiered::new(Memory::new(64 << 20), memcached));
/// # let _ = cache;
/// # Ok(())
/// # }
/// ```
///
/// Nothing announces to a node what another has invalidated: with a lease, the promise could not be kept, and it does not compile.
///
/// ```compile_fail
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), larder::Error> {
/// use std::time::Duration;
/// use larder::{Cache, Memcached, Memory, Tiered};
///
/// let memcached = Memcached::connect("memcached://a,b").await?;
/// let cache = Cache::new(Tiered::new(Memory::new(64 << 20), memcached).lease(Duration::from_secs(1)));
/// # let _ = cache;
/// # Ok(())
/// # }
/// ```
///
/// # Its client
///
/// larder has a small client of its own. Of those on crates.io that speak the meta protocol and are kept up (`async-memcached` 0.9,
/// `memcache` 0.21) each takes a connection for one caller at a time, and gives it up when a caller stops waiting: with a limit of 50 ms a
/// server that is slow would be met by a storm of reconnecting. A hit needs the clock, an entry and records in one
/// pipeline, of different kinds, and shares the question for the clock, and that for the entry, with all hits of the same moment; values are to be
/// slices of what was received, not copies. Here, all requests share one connection per server; what they ask at
/// the same time is sent by one system call, and replies that nobody waits for any more are skipped. A connection on which
/// anything is out of order is given up whole.
#[derive(Clone)]
pub struct Memcached {
    store: Resilient<Store>,
}

/// How a store on memcached servers is to be used; made by [`Memcached::builder`].
#[derive(Debug, Clone)]
#[must_use = "it does nothing until it is connected"]
pub struct MemcachedBuilder {
    namespace: String,
    connect_limit: Duration,
    timeouts: Timeouts,
    options: Options,
}

impl Memcached {
    /// A store on the servers that `url` names, `memcached://a,b:11212`, with the defaults of [`MemcachedBuilder`]. Without a
    /// port, it is 11211.
    ///
    /// The servers need not be there yet: handlers answer until they are.
    ///
    /// # Errors
    /// If the URL cannot be read.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }

    /// Settings to begin with.
    pub fn builder() -> MemcachedBuilder {
        MemcachedBuilder {
            namespace: "larder".to_owned(),
            connect_limit: Duration::from_secs(1),
            timeouts: Timeouts::default(),
            options: Options { compression: Compression { threshold: Some(4 << 10), level: 1 }, max_value: 1 << 20 },
        }
    }

    /// Whether the servers are not asked at present, because they failed.
    pub fn is_suspended(&self) -> bool {
        self.store.is_open()
    }

    /// How many values under larder's keys could not be used because they were damaged, or somebody else's.
    pub fn corrupt_values(&self) -> u64 {
        self.store.remote().corrupt()
    }

    /// How many responses were not stored because they are too large.
    pub fn refused_values(&self) -> u64 {
        self.store.remote().refused()
    }
}

impl MemcachedBuilder {
    /// Whose keys these are; default: `larder`. Caches with different namespaces know nothing of each other. What is not
    /// readable, or longer than 61 bytes, does not show in the keys, and tells them apart all the same.
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// How long a look-up may take before the handler answers; default: 50 ms.
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.read = limit;
        self
    }

    /// How long storing a response may take before it is given up; default: 100 ms. The response's client waits as long.
    pub fn store_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.store = limit;
        self
    }

    /// How long an invalidation may take before it counts as failed; default: 1 s.
    pub fn invalidate_timeout(mut self, limit: Duration) -> Self {
        self.timeouts.invalidate = limit;
        self
    }

    /// How long making a connection may take; default: 1 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_limit = limit;
        self
    }

    /// How many failures in a row make larder leave the servers alone until they answer again; default: 5.
    pub fn failures(mut self, failures: u32) -> Self {
        self.timeouts.failures = failures.max(1);
        self
    }

    /// Compresses bodies of at least this many bytes with zstd, if that saves a tenth of them; default: 4 KiB, `None` turns
    /// compression off.
    ///
    /// Without the feature `zstd`, bodies are stored uncompressed, and an entry that another node compressed is a miss.
    #[cfg(feature = "zstd")]
    pub fn compress_from(mut self, bytes: Option<usize>) -> Self {
        self.options.compression.threshold = bytes;
        self
    }

    /// The largest value to be stored, after compression; default: 1 MiB, which is what memcached keeps at most unless it is
    /// started with another `-I`. A larger response is served, and not stored.
    pub fn max_value(mut self, bytes: usize) -> Self {
        self.options.max_value = bytes;
        self
    }

    /// Connects; see [`Memcached::connect`].
    ///
    /// # Errors
    /// If the URL cannot be read.
    pub async fn connect(self, url: &str) -> Result<Memcached, Error> {
        let addresses = url::addresses(url)?;
        let store = Store::new(MemcachedRegisters::new(&addresses, &self.namespace, self.connect_limit), self.options);
        let memcached = Memcached { store: Resilient::new(store, self.timeouts) };
        if let Err(error) = memcached.store.read(memcached.store.remote().epoch()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "memcached is not there yet; handlers answer until it is");
            memcached.store.trip();
        }
        Ok(memcached)
    }
}

#[async_trait]
impl Backend for Memcached {
    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        self.store.get(key, known).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.store.put(key, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.store.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.store.invalidate(invalidation).await
    }
}

#[async_trait]
impl SharedStore for Memcached {
    async fn epoch(&self) -> Result<Epoch, Error> {
        self.store.read(self.store.remote().clock()).await
    }
}

impl fmt::Debug for Memcached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.store, f)
    }
}
