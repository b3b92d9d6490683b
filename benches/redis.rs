//! Hits in Redis against a raw `GET` of the same bytes, kept for as long, over the same kind of connection: 64 tasks, in rounds that
//! take turns.
//!
//! Starts a `redis-server` of its own.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::{Router, body::Body, extract::Path, routing::get};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use larder::{
    Cache, CacheService, CacheStatus, CacheTags, Error, Receipt, Redis,
    backend::{Backend, Epoch, Invalidation, Key, PutOutcome, ReadOutcome, Stored, Tag},
};
use larder_benches::{HOUR, KIB, Page as RealisticPage, RedisServer, Requests};
use redis::aio::MultiplexedConnection;
use tokio::{runtime::Builder, task::JoinSet};
use tower::{Layer as _, ServiceExt as _};

const TASKS: usize = 64;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(500);
/// One page that all tasks ask for, and more than are asked for at any moment.
const PAGES: [usize; 2] = [1, 1000];

fn main() {
    let server = RedisServer::start();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads to start");
    runtime.block_on(async {
        println!(
            "{TASKS} tasks, {ROUNDS} rounds of {ROUND:?} each; operations per second, the median, and the median ratio to GET"
        );
        for size in [KIB, 64 * KIB] {
            for pages in PAGES {
                compare(&server, size, pages).await;
            }
        }
    });
}

async fn compare(server: &RedisServer, size: usize, pages: usize) {
    let client = redis::Client::open(server.url()).expect("a valid URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a server that listens");
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.expect("a server that works");
    let body = noise(size);
    let of_route = filled(server, body.clone(), pages, true).await;
    let of_entry = filled(server, body, pages, false).await;
    for (number, page) in of_entry.all.iter().enumerate() {
        let mut set = redis::cmd("SET");
        // For some time, as everything that is cached.
        set.arg(format!("raw:{number}")).arg(&page.entry).arg("EX").arg(HOUR.as_secs());
        set.exec_async(&mut connection).await.expect("a server that works");
    }
    let raw_values = Raw { connection, names: (0..pages).map(|number| format!("raw:{number}")).collect() };
    for tag in ["raw:tag:0", "raw:tag:1"] {
        redis::cmd("SET")
            .arg(tag)
            .arg("0000000000000001")
            .exec_async(&mut raw_values.connection.clone())
            .await
            .expect("a server");
    }
    let realistic = Realistic::warm(server, size, pages).await;
    let (mut raw, mut hits) = (Vec::new(), [Vec::new(), Vec::new()]);
    let mut through_layer = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        raw.push(rate(&raw_values, get_raw).await);
        if let Some(realistic) = &realistic {
            through_layer[0].push(rate(&raw_values, get_with_versions).await);
            through_layer[1].push(rate(realistic, hit_through_layer).await);
        }
        for (pages, rates) in [&of_route, &of_entry].into_iter().zip(&mut hits) {
            rates.push(rate(pages, hit).await);
        }
    }
    let shape = format!("{:>3} KiB  {pages:>4} keys", size / KIB);
    println!("{shape}  {:<20} {:>9.0}", "GET", median(raw.clone()));
    for (name, rates) in ["tags of the route", "tags of the entry"].into_iter().zip(hits) {
        let ratios = rates.iter().zip(&raw).map(|(rate, raw)| rate / raw).collect();
        println!("{shape}  {name:<20} {:>9.0} {:>6.2}", median(rates), median(ratios));
    }
    if realistic.is_some() {
        for (name, rates) in ["GET and 2 versions", "layer, with Vary"].into_iter().zip(&through_layer) {
            let ratios = rates.iter().zip(&raw).map(|(rate, raw)| rate / raw).collect();
            println!("{shape}  {name:<20} {:>9.0} {:>6.2}", median(rates.clone()), median(ratios));
        }
        let ratios = through_layer[1].iter().zip(&through_layer[0]).map(|(rate, floor)| rate / floor).collect();
        println!("{shape}  {:<20} {:>16.2}", "layer to that floor", median(ratios));
    }
}

/// The realistic response, requested through the layer as an application does.
#[derive(Clone)]
struct Realistic {
    service: CacheService<RealisticPage>,
    requests: Arc<Requests>,
    pages: usize,
}

impl Realistic {
    /// Stores all pages, if they are of the size that the realistic response has.
    async fn warm(server: &RedisServer, size: usize, pages: usize) -> Option<Self> {
        if size != KIB {
            return None;
        }
        let patient = Redis::builder().read_timeout(HOUR).store_timeout(HOUR).invalidate_timeout(HOUR);
        let redis = patient.key_prefix("realistic").connect(&server.url()).await.expect("a valid URL");
        let cache = Cache::new(redis);
        let service = cache.layer().ttl(HOUR).layer(RealisticPage::varied());
        let this = Self { service, requests: Arc::new(Requests::for_one()), pages };
        for page in 0..pages {
            let Ok(response) = this.service.clone().oneshot(this.requests.fresh(page)).await;
            response.into_body().collect().await.expect("a body that never fails");
        }
        cache.invalidate_tags(["other"]).await.expect("a store that works");
        Some(this)
    }
}

async fn hit_through_layer(realistic: Realistic) {
    let request = realistic.requests.fresh(fastrand::usize(..realistic.pages));
    let Ok(response) = realistic.service.oneshot(request).await;
    assert!(CacheStatus::of(&response).is_some_and(CacheStatus::is_hit), "{:?}", CacheStatus::of(&response));
    std::hint::black_box(response.into_body().collect().await.expect("a body that never fails"));
}

/// The floor: the value and the versions of two tags, in one pipeline.
async fn get_with_versions(mut raw: Raw) {
    let name = &raw.names[fastrand::usize(..raw.names.len())];
    let mut pipeline = redis::pipe();
    pipeline.cmd("GET").arg(name).cmd("MGET").arg("raw:tag:0").arg("raw:tag:1");
    let read: (Vec<u8>, [String; 2]) = pipeline.query_async(&mut raw.connection).await.expect("values");
    std::hint::black_box(read);
}

/// Values without anything around them.
#[derive(Clone)]
struct Raw {
    connection: MultiplexedConnection,
    names: Arc<[String]>,
}

async fn get_raw(mut raw: Raw) {
    let name = &raw.names[fastrand::usize(..raw.names.len())];
    let value: Vec<u8> = redis::cmd("GET").arg(name).query_async(&mut raw.connection).await.expect("a value");
    std::hint::black_box(value);
}

async fn hit(pages: Pages) {
    let page = &pages.all[fastrand::usize(..pages.all.len())];
    let read = pages.redis.get(&page.key, &page.known).await.expect("a store that works");
    assert!(std::hint::black_box(read).found.is_some());
}

/// Pages that are stored.
#[derive(Clone)]
struct Pages {
    redis: Redis,
    all: Arc<[Page]>,
}

struct Page {
    key: Key,
    known: Vec<Tag>,
    /// As it stands in Redis: head, fields and body.
    entry: Vec<u8>,
}

/// Pages in the cache, each with six fields and two tags besides the automatic ones.
async fn filled(server: &RedisServer, body: Bytes, pages: usize, of_route: bool) -> Pages {
    // On a busy machine the limits of every day would cut rounds short.
    let patient = Redis::builder().read_timeout(HOUR).store_timeout(HOUR).invalidate_timeout(HOUR);
    let namespace = format!("{} {pages} {of_route}", body.len());
    let redis = patient.key_prefix(&namespace).connect(&server.url()).await.expect("a valid URL");
    let recorder = Recorder { inner: redis.clone(), puts: Arc::default() };
    let puts = Arc::clone(&recorder.puts);
    let cache = Cache::new(recorder);
    let layer = cache.layer().ttl(HOUR);
    let layer = if of_route { layer.tags(["posts", "post:{id}"]) } else { layer };
    let handler = get(move |Path(id): Path<String>| async move {
        let tags = if of_route { CacheTags::default() } else { CacheTags::new(["posts".to_owned(), format!("post:{id}")]) };
        let fields = [("content-type", "text/plain"), ("etag", "\"1\""), ("cache-control", "max-age=3600"), ("x-a", "1")];
        (tags, fields, body)
    });
    let app = Router::new().route("/posts/{id}", handler.layer(layer));
    for id in 0..pages {
        let request = Request::get(format!("/posts/{id}")).header("host", "www.example.com");
        let Ok(response) = app.clone().oneshot(request.body(Body::empty()).expect("a valid request")).await;
        assert!(CacheStatus::of(&response).is_some_and(CacheStatus::is_stored), "{:?}", CacheStatus::of(&response));
        response.into_body().collect().await.expect("a body that never fails");
    }
    // The epoch moves on, so that nothing is judged by having been born just now.
    cache.invalidate_tags(["other"]).await.expect("a store that works");
    let puts = std::mem::take(&mut *puts.lock().expect("no thread panics"));
    let all: Arc<[_]> =
        puts.into_iter().map(|(key, tags, entry)| Page { key, known: if of_route { tags } else { Vec::new() }, entry }).collect();
    assert_eq!(all.len(), pages);
    Pages { redis, all }
}

/// How often in a second `operation` is done by all tasks together.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time, it does not decide by it")]
async fn rate<T, F>(on: &T, operation: fn(T) -> F) -> f64
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let on = on.clone();
        tasks.spawn(async move {
            let mut done = 0_u32;
            while began.elapsed() < ROUND {
                operation(on.clone()).await;
                done += 1;
            }
            done
        });
    }
    let done: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(done) / began.elapsed().as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Bytes that do not get smaller.
fn noise(size: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(7);
    (0..size).map(|_| random.u8(..)).collect()
}

/// Keys, tags and bytes of what was stored.
type Puts = Vec<(Key, Vec<Tag>, Vec<u8>)>;

/// Remembers what is stored.
#[derive(Debug)]
struct Recorder {
    inner: Redis,
    puts: Arc<Mutex<Puts>>,
}

#[async_trait]
impl Backend for Recorder {
    async fn get(&self, key: &Key, known: &[Tag]) -> Result<ReadOutcome, Error> {
        self.inner.get(key, known).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        let entry = stored.to_bytes(key).expect("a small entry");
        self.puts.lock().expect("no thread panics").push((key.clone(), stored.tags().to_vec(), entry));
        self.inner.put(key, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.inner.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.inner.invalidate(invalidation).await
    }
}
