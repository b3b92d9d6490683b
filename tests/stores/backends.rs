//! Every backend that larder has passes the conformance suite, each in a line of its own.

use larder::{
    Memory,
    backend::{Backend as _, Invalidation, Tag},
    conformance::Suite,
    moka,
};

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    let memory = || async { Memory::new(256 << 20) };
    Suite::new(memory).keeps_bodies_up_to(4 << 20).holds_tags().run().await.assert();
}

#[tokio::test]
async fn memory_on_one_thread() {
    Suite::new(|| async { Memory::new(256 << 20) }).holds_tags().run().await.assert();
}

#[tokio::test]
async fn memory_that_forgets_tags() {
    forgets_tags(|| Memory::new(256 << 20)).await;
}

#[cfg(feature = "memory-quick")]
#[tokio::test(flavor = "multi_thread")]
async fn memory_quick() {
    let memory = || async { Memory::quick(256 << 20) };
    Suite::new(memory).keeps_bodies_up_to(4 << 20).holds_tags().run().await.assert();
}

#[cfg(feature = "memory-quick")]
#[tokio::test]
async fn memory_quick_on_one_thread() {
    Suite::new(|| async { Memory::quick(256 << 20) }).holds_tags().run().await.assert();
}

#[cfg(feature = "memory-quick")]
#[tokio::test]
async fn memory_quick_that_forgets_tags() {
    forgets_tags(|| Memory::quick(256 << 20)).await;
}

/// By the least-recently-used policy, and with other settings of the application's own.
#[tokio::test]
async fn memory_from_moka() {
    let memory = || async {
        let builder = moka::sync::Cache::builder().max_capacity(256 << 20).eviction_policy(moka::policy::EvictionPolicy::lru());
        Memory::from_moka(builder.initial_capacity(100).time_to_idle(std::time::Duration::from_secs(3600)))
    };
    Suite::new(memory).keeps_bodies_up_to(4 << 20).holds_tags().run().await.assert();
}

/// One that remembers so few tags that each invalidation makes it forget another.
async fn forgets_tags(memory: fn() -> Memory) {
    let others: Vec<_> = (0..8).map(|other| Tag::new(format!("other {other}")).unwrap()).collect();
    Suite::new(|| async { memory().tag_capacity(8) })
        .only(["evicted"])
        .evict_with(|memory, _| {
            let all_others = Invalidation::Tags(others.clone());
            async move { drop(memory.invalidate(&all_others).await) }
        })
        .run()
        .await
        .assert();
}

#[cfg(feature = "redis")]
mod redis {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::Duration,
    };

    use bb8_redis::{RedisConnectionManager, bb8::Pool};
    use larder::{
        Memory, Redis, Tiered,
        backend::{Backend, Tag},
        conformance::Suite,
    };
    use redis::{Client, aio::ConnectionManager, cmd};

    use crate::{
        redis::support::topology::{deadpool, within},
        servers::redis as servers,
    };

    /// No case is about a time limit.
    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test(flavor = "multi_thread")]
    async fn single() {
        let server = servers::Redis::start();
        suite(&server.url(), &[&server]).run().await.assert();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sentinel() {
        let sentinel = servers::Sentinel::start();
        suite(&sentinel.url(), &[&sentinel.primary]).run().await.assert();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn cluster() {
        let cluster = servers::Cluster::start();
        suite(&cluster.url(), &cluster.nodes.iter().collect::<Vec<_>>()).run().await.assert();
    }

    /// Redis through a connection of the application's own.
    #[tokio::test(flavor = "multi_thread")]
    async fn manager() {
        let server = servers::Redis::start();
        let url = &server.url();
        let connect = move || async move {
            within(LIMIT).from_connection(ConnectionManager::new(Client::open(url.as_str()).unwrap()).await.unwrap())
        };
        suite_of(&[&server], connect).peer(move |_| connected(url)).run().await.assert();
    }

    /// Redis by a client of the application's own.
    #[tokio::test(flavor = "multi_thread")]
    async fn client() {
        let server = servers::Redis::start();
        let url = &server.url();
        let connect = move || async move { within(LIMIT).from_client(Client::open(url.as_str()).unwrap()) };
        suite_of(&[&server], connect).peer(move |_| connected(url)).run().await.assert();
    }

    /// Redis through a pool of the application's own, whose connections it lends one by one.
    #[tokio::test(flavor = "multi_thread")]
    async fn pool_of_deadpool() {
        let server = servers::Redis::start();
        let url = &server.url();
        let connect = move || async move { within(LIMIT).from_connector(deadpool(url, 2)) };
        suite_of(&[&server], connect).peer(move |_| connected(url)).run().await.assert();
    }

    /// Redis through a pool of the application's own, whose connections are multiplexed.
    #[tokio::test(flavor = "multi_thread")]
    async fn pool_of_bb8() {
        let server = servers::Redis::start();
        let url = &server.url();
        let connect = move || async move {
            let pool = Pool::builder().build_unchecked(RedisConnectionManager::new(url.as_str()).unwrap());
            within(LIMIT).from_connector(move || {
                let pool = pool.clone();
                async move { pool.get().await.map(|connection| connection.clone()) }
            })
        };
        suite_of(&[&server], connect).peer(move |_| connected(url)).run().await.assert();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tiered_strict() {
        let server = servers::Redis::start();
        let url = &server.url();
        let strict = move || async move { Tiered::new(Memory::new(64 << 20), connected(url).await) };
        suite_of(&[&server], strict).peer(move |_| strict()).run().await.assert();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tiered_cluster() {
        let cluster = servers::Cluster::start();
        let url = &cluster.url();
        let strict = move || async move { Tiered::new(Memory::new(64 << 20), connected(url).await) };
        suite_of(&cluster.nodes.iter().collect::<Vec<_>>(), strict).peer(move |_| strict()).run().await.assert();
    }

    /// Other nodes, and the store itself, are heard of only when the lease has ended: what they do to each other is not tried.
    #[tokio::test(flavor = "multi_thread")]
    async fn tiered_lease() {
        let server = servers::Redis::start();
        let url = &server.url();
        // A namespace for each case, not a flushed server: the node of the case before polls it for a moment, and a store that has lost what
        // a node has seen begins a new incarnation.
        let cases = &AtomicU64::new(0);
        Suite::new(move || async move {
            let namespace = format!("case-{}", cases.fetch_add(1, Ordering::Relaxed));
            let redis = within(LIMIT).key_prefix(&namespace).connect(url).await.unwrap();
            Tiered::new(Memory::new(64 << 20), redis).lease(Duration::from_millis(200))
        })
        .keeps_bodies_up_to(1 << 20)
        .holds_tags()
        .run()
        .await
        .assert();
    }

    /// The suite for the store of that URL, on servers that no other test uses.
    fn suite<'a>(url: &'a str, servers: &'a [&'a servers::Redis]) -> Suite<'a, Redis> {
        suite_of(servers, move || connected(url)).peer(move |_| connected(url)).forgets_expired().corrupt_with(
            move |_, _| async move {
                servers.iter().for_each(|server| damage_entries(server));
            },
        )
    }

    /// The suite for what `connect` makes on these servers.
    fn suite_of<'a, B: Backend, F: Future<Output = B> + 'a>(
        servers: &'a [&'a servers::Redis],
        connect: impl Fn() -> F + 'a,
    ) -> Suite<'a, B> {
        let empty = move || servers.iter().for_each(|server| server.run::<()>("FLUSHALL"));
        Suite::new(move || {
            empty();
            connect()
        })
        .keeps_bodies_up_to(1 << 20)
        .locks_fetches()
        .holds_tags()
        .evict_with(move |_, tag| async move { servers.iter().for_each(|server| evict_record(server, &tag)) })
        .lose_with(move |_| async move { empty() })
    }

    /// A node that has found its servers, which may take more than a read may.
    async fn connected(url: &str) -> Redis {
        let redis = within(LIMIT).connect(url).await.unwrap();
        while redis.is_suspended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        redis
    }

    /// A node of a cluster knows of it only if the slot is its own.
    fn evict_record(server: &servers::Redis, tag: &Tag) {
        let name = format!("larder:t:{}", tag.as_str());
        let _ = cmd("DEL").arg(name).query::<()>(&mut server.connection());
    }

    /// Flips a bit in the middle of every entry.
    fn damage_entries(server: &servers::Redis) {
        for key in server.run::<Vec<Vec<u8>>>("KEYS larder:e:*") {
            let mut entry: Vec<u8> = server.query(cmd("GET").arg(&key));
            let middle = entry.len() / 2;
            entry[middle] ^= 1;
            server.query::<()>(cmd("SET").arg(&key).arg(&entry[..]).arg("KEEPTTL"));
        }
    }
}

#[cfg(feature = "memcached")]
mod memcached {
    use std::{
        collections::HashSet,
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use larder::{Memcached, Memory, Tiered, backend::Backend, conformance::Suite};

    use crate::servers::memcached as servers;

    #[tokio::test(flavor = "multi_thread")]
    async fn single() {
        entries(&[server()]).run().await.assert();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tiered() {
        suite(&[server()], |memcached| Tiered::new(Memory::new(64 << 20), memcached)).run().await.assert();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn several() {
        entries(&[server(), server(), server()]).run().await.assert();
    }

    fn server() -> servers::Memcached {
        servers::Memcached::start_with(&["-I", "4m"])
    }

    /// Each backend is empty because its namespace is new.
    fn suite<B: Backend>(servers: &[servers::Memcached], of: fn(Memcached) -> B) -> Suite<'_, B> {
        let url = servers::url(&servers.iter().collect::<Vec<_>>());
        let namespace = std::sync::Arc::new(AtomicU32::new(0));
        let connect = move |next| {
            let (number, url) = (namespace.fetch_add(next, Ordering::Relaxed) + next, url.clone());
            // On a busy machine, the limits of every day would make a case fail that is about something else.
            let limit = Duration::from_secs(20);
            let builder = Memcached::builder().read_timeout(limit).store_timeout(limit).invalidate_timeout(limit);
            let builder = builder.key_prefix(&format!("suite-{number}")).max_value(4 << 20);
            async move { of(builder.connect(&url).await.unwrap()) }
        };
        let peer = connect.clone();
        Suite::new(move || connect(1))
            .keeps_bodies_up_to(1 << 20)
            .locks_fetches()
            .holds_tags()
            .peer(move |_| peer(0))
            .evict_with(move |_, _| async move { each(servers, ":t:", servers::Memcached::delete) })
            .lose_with(move |_| async move { servers.iter().for_each(servers::Memcached::flush) })
    }

    /// The suite for memcached alone, where what becomes of an entry there can be seen.
    fn entries(servers: &[servers::Memcached]) -> Suite<'_, Memcached> {
        suite(servers, |memcached| memcached)
            .forgets_expired()
            .corrupt_with(move |_, _| async move { each(servers, ":e:", damage) })
    }

    /// Changes every item of a kind once, in every namespace.
    ///
    /// A list of a server leaves out an item that is in use or moved at the moment, and nothing tells how many there
    /// are: expired ones count. So lists are taken until many in a row have nothing new.
    fn each(servers: &[servers::Memcached], kind: &str, change: fn(&servers::Memcached, &str)) {
        for server in servers {
            let mut changed = HashSet::new();
            let mut lists_without_news = 0;
            while lists_without_news < 20 {
                let listed = server.listed("suite-").into_iter().filter(|name| name.contains(kind));
                let new: Vec<_> = listed.filter(|name| !changed.contains(name)).collect();
                lists_without_news = if new.is_empty() { lists_without_news + 1 } else { 0 };
                new.iter().for_each(|name| change(server, name));
                changed.extend(new);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Flips a bit in the middle, unless it has been forgotten meanwhile.
    fn damage(server: &servers::Memcached, name: &str) {
        let Some(mut entry) = server.value(name) else { return };
        let middle = entry.len() / 2;
        entry[middle] ^= 1;
        server.set(name, &entry);
    }
}
