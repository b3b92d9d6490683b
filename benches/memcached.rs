//! A hit in memcached, beside what the same client takes to read the same bytes by a single `mg`: 64 tasks at once, on
//! one connection to a server of its own. `-- '64 KiB, 4'` leaves out what is not so titled.

#[path = "../tests/support/servers"]
#[allow(dead_code, unreachable_pub, reason = "tests use the rest")]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a server for tests")]
mod servers {
    pub mod memcached;
    pub mod process;
}

/// larder's own client: raw reads are made by the same code.
#[path = "../src/backend"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "larder uses the rest")]
mod backend {
    pub(crate) mod memcached {
        mod connection;
        mod driver;
        pub(crate) mod item_key;
        pub(crate) mod meta_protocol;
        mod queue;
        mod rendezvous;
        pub(crate) mod servers;
    }
    pub(crate) mod remote {
        pub(crate) mod shared_read;
    }
    pub(crate) mod store_stats {
        pub(crate) use larder::backend::StoreServer;
    }
}
mod key {
    pub(crate) use larder::backend::Key;
}
mod entry {
    pub(crate) mod stored {
        pub(crate) use larder::backend::Stored;
    }
}
/// What larder's client says when something is wrong.
#[path = "../src/error.rs"]
#[allow(dead_code, unreachable_pub, reason = "larder uses the rest")]
mod error;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use backend::memcached::{
    item_key::{ItemKey, ItemKeys},
    meta_protocol::{Cas, Condition, Reply, Value},
    servers::{Command, Servers},
};
use http_body_util::BodyExt as _;
use larder::{
    Cache, CacheService, CacheStatus, Error, Memcached, Receipt,
    backend::{Backend, Epoch, Invalidation, Key, PutOutcome, ReadOutcome, Stored, Tag},
};
use larder_benches::{HOUR, Handler, KIB, Page as RealisticPage, Requests};
use servers::memcached::Memcached as Server;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use tower::{Layer as _, ServiceExt as _};

const TASKS: usize = 64;

const ROUNDS: usize = 15;

/// What takes turns.
const WAYS: [Way; 6] = [Way::Raw, Way::RawRead, Way::RawAll, Way::Hit, Way::Floor, Way::Layer];

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!(
        "{TASKS} tasks; microseconds each, and of the client's CPU; ratios are medians of {ROUNDS} rounds, all ways in turn"
    );
    for (size, length, times, many) in [("1 KiB", KIB, 50_000, 1_000), ("64 KiB", 64 * KIB, 5_000, 200)] {
        for (tags, pages) in [(0, 1), (2, 1), (2, many)] {
            let title = format!("{size}, {} known tags, keys: {pages}", tags + 2);
            if std::env::args().skip(1).any(|wanted| !wanted.starts_with("--") && !title.contains(&wanted)) {
                continue;
            }
            let server = Server::start();
            let shop = Arc::new(runtime.block_on(Shop::open(&server, length, tags, pages)));
            let mut rounds: Vec<_> = (0..=ROUNDS).map(|_| WAYS.map(|way| time(&runtime, &shop, times, way))).collect();
            rounds.remove(0);
            assert_eq!(shop.pages[0].known.len(), tags + 2, "the tags of the URI and of its path beside the route's");
            println!("{title}");
            for (which, way) in WAYS.iter().enumerate() {
                let [wall, cpu] = [|cost: Cost| cost.wall, |cost: Cost| cost.cpu].map(|of| {
                    let ratio = |raw: usize| median(rounds.iter().map(|round| of(round[raw]) / of(round[which])));
                    let each = median(rounds.iter().map(|round| of(round[which])));
                    format!(
                        "{each:6.2} ({:.2} x mg, {:.2} x mg of entry and clock, {:.2} x mg of all, {:.2} x mg of entry and 2 versions)",
                        ratio(0),
                        ratio(1),
                        ratio(2),
                        ratio(4)
                    )
                });
                println!("  {:<21} {wall}\n  {:<21} {cpu}", way.name(), "  of the client's CPU");
            }
        }
    }
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// The entry alone.
    Raw,
    /// The entry and an item like the clock: what a hit reads while nothing is invalidated.
    RawRead,
    /// The entry, an item like the clock, and as many as there are known tags.
    RawAll,
    Hit,
    /// The entry and the versions of two tags, in one pipeline: what the realistic hit is compared with.
    Floor,
    /// The realistic response, of 1 KiB with `Vary`, through the layer.
    Layer,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Raw => "mg",
            Self::RawRead => "mg of entry and clock",
            Self::RawAll => "mg of all",
            Self::Hit => "hit",
            Self::Floor => "mg of entry, 2 versions",
            Self::Layer => "layer, 1 KiB, Vary",
        }
    }
}

/// Entries, each the same bytes twice: as larder keeps it, and under a name that only the client knows.
struct Shop {
    memcached: Memcached,
    pages: Vec<Page>,
    servers: Servers,
    /// What is as long as a record.
    small: ItemKey,
    realistic: CacheService<RealisticPage>,
    requests: Requests,
}

struct Page {
    number: usize,
    key: Key,
    known: Vec<Tag>,
    name: ItemKey,
    bytes: usize,
}

impl Shop {
    /// With `tags` tags beside those that every entry has.
    async fn open(server: &Server, length: usize, tags: usize, pages: usize) -> Self {
        let memcached = Memcached::builder().compress_from(None).read_timeout(HOUR).connect(&server.url()).await.expect("a URL");
        let servers = Servers::new(&[server.address().into()], HOUR);
        let small = ItemKeys::new("raw").tag("small");
        let record =
            Command::Set { key: &small, value: Value { data: &[0; 38], flags: 0 }, ttl: 0, condition: Condition::Always };
        servers.send_one(record).await.expect("the server answers");
        let realistic =
            Cache::new(memcached.clone()).with_namespace("realistic").layer().ttl(HOUR).layer(RealisticPage::varied());
        let mut shop = Self { memcached, pages: Vec::new(), servers, small, realistic, requests: Requests::for_one() };
        for number in 0..pages {
            let page = shop.stock(length, tags, number).await;
            shop.pages.push(page);
            shop.ask(number).await;
        }
        shop
    }

    async fn stock(&self, length: usize, tags: usize, number: usize) -> Page {
        let recorder = Recorder { memcached: self.memcached.clone(), put: Arc::default(), known: Arc::default() };
        let layer = Cache::new(recorder.clone()).layer().ttl(HOUR).tags((0..tags).map(|tag| format!("tag-{tag}")));
        let service = layer.layer(Handler::new(length));
        service.oneshot(Requests::for_one().fresh(number)).await.expect("a service that never fails");
        let (key, stored) = recorder.put.lock().expect("no panic").take().expect("something was stored");
        let known = recorder.known.lock().expect("no panic").clone();
        let bytes = stored.to_bytes(&key).expect("it has few tags");
        let name = ItemKeys::new("raw").entry(key.as_bytes());
        let set = Command::Set { key: &name, value: Value { data: &bytes, flags: 0 }, ttl: 0, condition: Condition::Always };
        let reply = self.servers.send_one(set).await.expect("the server answers");
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        Page { number, key, known, name, bytes: bytes.len() }
    }

    async fn hit_through_layer(&self, page: &Page) {
        assert!(self.ask(page.number).await, "a hit");
    }

    /// Requests a realistic page and reads it to its end; returns whether it was a hit.
    async fn ask(&self, number: usize) -> bool {
        let Ok(response) = self.realistic.clone().oneshot(self.requests.fresh(number)).await;
        let is_hit = CacheStatus::of(&response).is_some_and(CacheStatus::is_hit);
        response.into_body().collect().await.expect("a body that never fails");
        is_hit
    }

    async fn go(&self, way: Way, page: &Page) {
        match way {
            Way::Raw => self.raw(page).await,
            Way::RawRead => self.raw_with(page, 0).await,
            Way::RawAll => self.raw_with(page, page.known.len()).await,
            Way::Hit => self.hit(page).await,
            Way::Floor => self.raw_with(page, 1).await,
            Way::Layer => self.hit_through_layer(page).await,
        }
    }

    async fn raw(&self, page: &Page) {
        let reply = self.servers.send_one(Command::Get { key: &page.name, cas: Cas::Omitted }).await;
        assert!(matches!(reply, Ok(Reply::Value { data, .. }) if data.len() == page.bytes));
    }

    /// With an item like the clock beside it, and so many like records.
    async fn raw_with(&self, page: &Page, records: usize) {
        let get = |key, cas| Command::Get { key, cas };
        let mut commands = vec![get(&page.name, Cas::Omitted), get(&self.small, Cas::Omitted)];
        commands.extend((0..records).map(|_| get(&self.small, Cas::Wanted)));
        let replies = self.servers.send(&commands).await.expect("the server answers");
        assert!(matches!(&replies[0], Reply::Value { data, .. } if data.len() == page.bytes));
    }

    async fn hit(&self, page: &Page) {
        let read = self.memcached.get(&page.key, &page.known).await.expect("the server answers");
        assert!(read.found.is_some());
    }
}

/// What one of many took, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

/// What it takes until all tasks together have done it `times` times, each of them as one in so many.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time, it does not decide by it")]
fn time(runtime: &Runtime, shop: &Arc<Shop>, times: usize, way: Way) -> Cost {
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let (started, cpu) = (Instant::now(), cpu_time());
        for task in 0..TASKS {
            let shop = Arc::clone(shop);
            tasks.spawn(async move {
                for at in (task..times).step_by(TASKS) {
                    shop.go(way, &shop.pages[at % shop.pages.len()]).await;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("no task panics");
        }
        let each = |took: Duration| took.as_secs_f64() * 1e6 / times as f64;
        Cost { wall: each(started.elapsed()), cpu: each(cpu_time().saturating_sub(cpu)) }
    })
}

/// What this process's threads have spent on a processor, in the kernel and out of it; nothing where that is not to be learnt.
fn cpu_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    spent.filter_map(|spent| spent.split(' ').next()?.parse().ok()).map(Duration::from_nanos).sum()
}

/// What was stored, and where.
type Kept = (Key, Arc<Stored>);

/// Notes what a layer asks of its store.
#[derive(Debug, Clone)]
struct Recorder {
    memcached: Memcached,
    put: Arc<Mutex<Option<Kept>>>,
    known: Arc<Mutex<Vec<Tag>>>,
}

#[async_trait]
impl Backend for Recorder {
    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        if !known.is_empty() {
            *self.known.lock().expect("no panic") = known.to_vec();
        }
        self.memcached.get(key, known).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
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
