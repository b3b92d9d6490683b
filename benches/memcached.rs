//! A hit in memcached, beside what the same client takes to read the same bytes by a single `mg`: 64 tasks at once, on
//! one connection to a server of its own.

#[path = "../tests/support/servers"]
#[allow(dead_code, unreachable_pub, reason = "tests use the rest")]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a server for tests")]
mod servers {
    pub mod memcached;
    pub mod process;
}

/// larder's own client: raw reads are made by the same code.
#[path = "../src/backend/memcached"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "larder uses the rest")]
mod client {
    mod connection;
    pub(crate) mod name;
    mod ring;
    pub(crate) mod server;
    pub(crate) mod wire;
}
/// What larder's client says when something is wrong.
#[path = "../src/error.rs"]
#[allow(dead_code, unreachable_pub, reason = "larder uses the rest")]
mod error;

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use client::{
    name::{Name, Names},
    server::{Command, Servers},
    wire::{Condition, Reply, Version},
};
use larder::{
    Backend, Cache, Epoch, Error, Key, Memcached, Receipt, Stored, Tag,
    backend::{Invalidation, Put, Read},
};
use larder_benches::{HOUR, Handler, KIB, Requests};
use servers::memcached::Memcached as Server;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use tower::{Layer as _, ServiceExt as _};

const TASKS: u64 = 64;

const ROUNDS: usize = 15;

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("{TASKS} tasks, microseconds each; ratios are medians of {ROUNDS} rounds in which all take turns");
    for (size, length, times) in [("1 KiB", KIB, 50_000), ("64 KiB", 64 * KIB, 5_000)] {
        for tags in [0, 4] {
            let server = Server::start();
            let entry = Arc::new(runtime.block_on(Entry::store(&server, length, tags)));
            let known = entry.known.len();
            let mut rounds: Vec<[f64; 3]> = (0..=ROUNDS).map(|_| entry.round(&runtime, times)).collect();
            rounds.remove(0);
            let [raw, all, hit] = [0, 1, 2].map(|which| median(rounds.iter().map(|round| round[which])));
            let of_raw = median(rounds.iter().map(|round| round[0] / round[2]));
            let of_all = median(rounds.iter().map(|round| round[1] / round[2]));
            println!(
                "{size}, {known} known tags: mg {raw:.2}, mg of entry, clock and {known} records {all:.2}, hit {hit:.2}: \
                 {of_raw:.2} and {of_all:.2} x as many hits"
            );
        }
    }
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// One entry, the same bytes twice: as larder keeps it, and under a name that only the client knows.
struct Entry {
    memcached: Memcached,
    key: Key,
    known: Vec<Tag>,
    servers: Servers,
    name: Name,
    /// What is as long as a record.
    small: Name,
    bytes: usize,
}

impl Entry {
    /// With `tags` tags beside those that every entry has.
    async fn store(server: &Server, length: usize, tags: usize) -> Self {
        let memcached = Memcached::builder().compress_from(None).read_timeout(HOUR).connect(&server.url()).await.expect("a URL");
        let recorder = Recorder { memcached: memcached.clone(), put: Arc::default(), known: Arc::default() };
        let layer = Cache::new(recorder.clone()).layer().ttl(HOUR).tags((0..tags).map(|tag| format!("tag-{tag}")));
        let service = layer.layer(Handler::new(length));
        service.oneshot(Requests::for_one().get(0)).await.expect("a service that never fails");
        let (key, stored) = recorder.put.lock().expect("no panic").take().expect("something was stored");
        let known = recorder.known.lock().expect("no panic").clone();
        let bytes = stored.to_bytes(&key).expect("it has few tags");
        let servers = Servers::new(&[server.address().into()], HOUR);
        let name = Names::new("raw").entry(key.as_bytes());
        let small = Names::new("raw").tag("small");
        let record = Command::Set { name: &small, data: &[0; 38], ttl: 0, condition: Condition::Always };
        servers.ask_one(record).await.expect("the server answers");
        let set = Command::Set { name: &name, data: &bytes, ttl: 0, condition: Condition::Always };
        let reply = servers.ask_one(set).await.expect("the server answers");
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        Self { memcached, key, known, servers, name, small, bytes: bytes.len() }
    }

    fn round(self: &Arc<Self>, runtime: &Runtime, times: u64) -> [f64; 3] {
        let round = [
            time(runtime, self, times, Self::raw),
            time(runtime, self, times, Self::raw_all),
            time(runtime, self, times, Self::hit),
        ];
        round.map(|took| took.as_secs_f64() * 1e6 / times as f64)
    }

    async fn raw(self: Arc<Self>) {
        let reply = self.servers.ask_one(Command::Get { name: &self.name, version: Version::Untold }).await;
        assert!(matches!(reply, Ok(Reply::Value { data, .. }) if data.len() == self.bytes));
    }

    /// As many small items beside it as a hit reads, and as much of them.
    async fn raw_all(self: Arc<Self>) {
        let get = |name, version| Command::Get { name, version };
        let mut commands = vec![get(&self.name, Version::Untold), get(&self.small, Version::Untold)];
        commands.extend(self.known.iter().map(|_| get(&self.small, Version::Told)));
        let replies = self.servers.ask(&commands).await.expect("the server answers");
        assert!(matches!(&replies[0], Reply::Value { data, .. } if data.len() == self.bytes));
    }

    async fn hit(self: Arc<Self>) {
        let read = self.memcached.get(&self.key, &self.known).await.expect("the server answers");
        assert!(read.found.is_some());
    }
}

/// How long it takes until all tasks together have done it `times` times.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time, it does not decide by it")]
fn time<F>(runtime: &Runtime, entry: &Arc<Entry>, times: u64, what: fn(Arc<Entry>) -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let started = Instant::now();
        for task in 0..TASKS {
            let (entry, share) = (Arc::clone(entry), times / TASKS + u64::from(task < times % TASKS));
            tasks.spawn(async move {
                for _ in 0..share {
                    what(Arc::clone(&entry)).await;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("no task panics");
        }
        started.elapsed()
    })
}

/// What was stored, and where.
type Page = (Key, Arc<Stored>);

/// Notes what a layer asks of its store.
#[derive(Debug, Clone)]
struct Recorder {
    memcached: Memcached,
    put: Arc<Mutex<Option<Page>>>,
    known: Arc<Mutex<Vec<Tag>>>,
}

#[async_trait]
impl Backend for Recorder {
    async fn get(&self, key: &Key, known: &[Tag]) -> Result<Read, Error> {
        if !known.is_empty() {
            *self.known.lock().expect("no panic") = known.to_vec();
        }
        self.memcached.get(key, known).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<Put, Error> {
        *self.put.lock().expect("no panic") = Some((key.clone(), Arc::clone(&stored)));
        self.memcached.put(key, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.memcached.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.memcached.invalidate(invalidation).await
    }
}
