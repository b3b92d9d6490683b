//! A store on memcached servers, shared by all nodes that use them.
//!
//! larder has its own client. Of the crates that speak the meta protocol and are maintained (`async-memcached` 0.9, `memcache` 0.21),
//! each reserves a connection for one caller at a time and closes it when the caller is dropped: with a limit of 50 ms, every lookup
//! on a slow server would cost a new connection. A hit also needs the clock, an entry and tag records in one pipeline, shares the
//! reads of clock and entry with concurrent hits, and uses the value as a slice of the received bytes. Here, all requests share one
//! connection per server, concurrent commands are sent by one system call, and replies to dropped callers are skipped.

mod connection;
mod driver;
pub(crate) mod fetch_lock;
pub(crate) mod item_key;
pub(crate) mod meta_protocol;
mod queue;
pub(crate) mod registers;
pub(crate) mod rendezvous;
pub(crate) mod servers;
mod store;
#[cfg(test)]
mod tests;
pub(crate) mod url;

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::{
    SharedStore,
    remote::{
        RemoteStore as _, Resilient, forward_backend,
        options::{RemoteOptions, remote_setters},
    },
};
use crate::{
    backend::url::{options::UrlOptions, value::SIZE},
    entry::epoch::Epoch,
    error::Error,
    timer,
};
use registers::MemcachedRegisters;
use store::Store;

/// A store on memcached servers, version 1.6 or later, shared by every node that uses the same list of servers and the same
/// key prefix.
///
/// The promise holds across all nodes that have the same list of servers. A hit takes one round trip if nothing was invalidated
/// since this node read the entry last, or if the node knows the entry's tags: from the route, or because it read or stored the
/// entry before. Otherwise it takes two. An invalidation takes four, regardless of the number of entries. memcached may evict
/// anything, and may be restarted or flushed: that costs misses, never a stale answer.
///
/// Reads fail open: while a server is slow or unreachable, handlers answer. After a few failures, a circuit breaker opens, so that
/// requests do not wait for the servers first. An invalidation that fails returns an error, and is repeated as soon as the servers
/// answer; until then this node uses no entry from them.
///
/// A value that is not an entry of larder is a miss, and is counted. However, a client that can write to the servers can store
/// responses there, unless the cache has a [secret](crate::Cache::with_secret), and can change the records of invalidations: make the servers reachable for your nodes only. The protocol has no encryption, and larder does not
/// authenticate itself.
///
/// # Several servers
///
/// Each key is held by one server, chosen by rendezvous hashing, and so are the clock and the tag records. Servers do not
/// replace each other, and the validity of a response depends on the clock and on all of its tags: while any server is
/// unreachable, none of them is used. So use several servers for capacity, not for availability.
///
/// Adding or removing a server moves only the keys that it holds, about one in as many as there are servers. But while nodes disagree
/// about the list, one may read a tag's record on another server than the one on which an invalidation changed it; and a server that
/// returns to the list has the records of the time when it left. So change the list together with the
/// [`key_prefix`](MemcachedBuilder::key_prefix): nodes with the old and the new key prefix share nothing, as after a
/// [`clear`](crate::Cache::clear), and no earlier entry of a returning server is used. While both kinds of nodes are in service, an
/// invalidation reaches only the nodes of its own kind: invalidate on both, or replace all nodes together.
///
/// # A near tier in memory
///
/// [`Tiered`](crate::Tiered) reads memcached's clock before each use of a copy:
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
/// memcached has no feed of invalidations, so a lease could not keep the promise, and does not compile:
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
#[derive(Clone)]
pub struct Memcached {
    store: Resilient<Store>,
    key_prefix: Arc<str>,
    /// The number of servers.
    servers: usize,
}

/// The settings of a store on memcached servers; created by [`Memcached::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it connects"]
pub struct MemcachedBuilder {
    remote: RemoteOptions,
    max_value: usize,
}

impl Memcached {
    /// Creates a store on the servers of a URL, `memcached://a,b:11212`, with the default settings of [`MemcachedBuilder`]. The
    /// default port is 11211.
    ///
    /// The query may have the options of [`Cache::connect`](crate::Cache::connect). The servers need not be reachable yet: handlers
    /// answer until they are.
    ///
    /// # Errors
    /// If the URL is invalid, or if the timer of the runtime is off.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().connect(url).await
    }

    /// Returns the default settings.
    pub fn builder() -> MemcachedBuilder {
        MemcachedBuilder { remote: RemoteOptions::default(), max_value: 1 << 20 }
    }

    /// Returns whether the servers are not used at present, because they failed.
    pub fn is_suspended(&self) -> bool {
        self.store.is_open()
    }

    /// Returns the number of values under larder's keys that could not be used, because they were damaged or not written by larder.
    pub fn corrupt_values(&self) -> u64 {
        self.store.remote().corrupt()
    }

    /// Returns the number of responses that were not stored because they were too large.
    pub fn refused_values(&self) -> u64 {
        self.store.remote().refused()
    }
}

remote_setters!(
    MemcachedBuilder,
    key_prefix: "It begins each key if it is printable and not longer than 61 bytes. Any other prefix is part of their \
                digest only."
);

impl MemcachedBuilder {
    /// The largest value to be stored, after compression; default: 1 MiB, which is memcached's own default (`-I`). A larger response
    /// is served, and not stored.
    pub fn max_value(mut self, bytes: usize) -> Self {
        self.max_value = bytes;
        self
    }

    /// Connects; see [`Memcached::connect`]. Options in the URL take precedence over the builder.
    ///
    /// # Errors
    /// If the URL is invalid, or if the timer of the runtime is off.
    pub async fn connect(self, url: &str) -> Result<Memcached, Error> {
        let (address, options) = UrlOptions::split(url)?;
        self.connect_to(address, options).await
    }

    /// Connects to the servers of a URL whose options are split off.
    pub(crate) async fn connect_to(mut self, address: &str, mut options: UrlOptions) -> Result<Memcached, Error> {
        let addresses = url::addresses(address)?;
        self.read_url(&mut options)?;
        options.finish()?;
        timer::check()?;
        let RemoteOptions { key_prefix, connect_timeout, timeouts, compression } = self.remote;
        let registers = MemcachedRegisters::new(&addresses, &key_prefix, connect_timeout);
        let store = Resilient::new(Store::new(registers, compression, self.max_value), timeouts);
        if let Err(error) = store.read(store.remote().epoch()).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "memcached is unreachable; handlers answer until it is reachable"
            );
            store.trip();
        }
        Ok(Memcached { store, key_prefix: key_prefix.into(), servers: addresses.len() })
    }

    /// Takes the options of the setters from a URL.
    fn read_url(&mut self, url: &mut UrlOptions) -> Result<(), Error> {
        self.remote.read_url(url)?;
        if let Some(bytes) = url.take("max_value", SIZE)? {
            self.max_value = bytes.try_into().unwrap_or(usize::MAX);
        }
        Ok(())
    }
}

forward_backend!(Memcached {
    async fn install_function(&self) -> Result<(), Error> {
        Err(Error::invalid_input("memcached has no functions: let other programs call a route of the application"))
    }
});

#[async_trait]
impl SharedStore for Memcached {
    async fn epoch(&self) -> Result<Epoch, Error> {
        self.store.read(self.store.remote().clock()).await
    }

    fn is_suspended(&self) -> bool {
        self.store.is_open()
    }
}

impl fmt::Debug for Memcached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memcached")
            .field("servers", &self.servers)
            .field("key_prefix", &self.key_prefix)
            .field("suspended", &self.is_suspended())
            .finish_non_exhaustive()
    }
}
