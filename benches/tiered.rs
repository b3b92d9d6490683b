//! What is around Redis: copies in memory, an invalidation of many entries, and an outage.
//!
//! Starts `redis-server`s of its own.

use std::{
    future::Future,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, routing::get};
use http::Request;
use http_body_util::BodyExt as _;
use larder::{
    Cache, Memory, Redis, Tiered,
    backend::{Backend, Invalidation, Key, Tag},
    conformance::stored,
};
use larder_benches::{HOUR, KIB, RedisServer};
use tokio::{
    runtime::Builder,
    task::{JoinSet, yield_now},
    time::sleep,
};
use tower::ServiceExt as _;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(500);

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads to start");
    runtime.block_on(async {
        near_hits().await;
        copies_against_redis().await;
        invalidations().await;
        outage().await;
    });
}

/// Through a router, one task: memory alone, and memory in front of Redis by a lease.
async fn near_hits() {
    let server = RedisServer::start();
    let lease = Tiered::new(Memory::new(64 << 20), patient(&server).await).lease(HOUR);
    let apps = [application(&Cache::in_memory(64 << 20)), application(&Cache::new(lease))];
    for app in &apps {
        ask(app.clone()).await;
    }
    // Until the lease has begun, hits come from Redis.
    sleep(Duration::from_secs(1)).await;
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (app, took) in apps.iter().zip(&mut took) {
            took.push(1e9 / rate(1, app, ask).await);
        }
    }
    let [memory, lease] = took.map(median);
    println!("hit of 1 KiB through a router: memory {memory:.0} ns, lease {lease:.0} ns, {:.2} x", lease / memory);
}

/// At the backend, 64 tasks, 64 KiB: Redis alone, and a copy that a look at its clock proves.
async fn copies_against_redis() {
    let server = RedisServer::start();
    let redis = patient(&server).await;
    let strict = Arc::new(Tiered::new(Memory::new(64 << 20), redis.clone()));
    let (key, tags) = (Arc::new(Key::from_bytes(b"page")), [tag("a"), tag("b")]);
    let born = strict.get(&key, &tags).await.expect("a store that works").epoch.expect("a clock");
    strict.put(&key, stored(born, tags.to_vec(), noise(64 * KIB))).await.expect("a store that works");
    let (mut far, mut near) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        far.push(rate(64, &(redis.clone(), Arc::clone(&key)), hit).await);
        near.push(rate(64, &(Arc::clone(&strict), Arc::clone(&key)), hit).await);
    }
    println!("64 KiB, 64 tasks: Redis {:.0}/s, strict copy {:.0}/s", median(far), median(near));
}

/// One tag of so many entries.
async fn invalidations() {
    let server = RedisServer::start();
    let redis = patient(&server).await;
    let mut entries = 0;
    for goal in [1, 1_000, 1_000_000] {
        fill(&redis, entries..goal).await;
        entries = goal;
        let mut took: Vec<_> = Vec::new();
        for _ in 0..200 {
            let began = now();
            redis.invalidate(&Invalidation::Tags(vec![tag("all")])).await.expect("a store that works");
            took.push(began.elapsed().as_secs_f64() * 1e6);
        }
        println!("invalidation of a tag of {goal} entries: {:.0} µs", median(took));
    }
}

async fn fill(redis: &Redis, numbers: std::ops::Range<u32>) {
    let born = redis.get(&Key::from_bytes(b"-"), &[tag("all")]).await.expect("a store that works").epoch.expect("a clock");
    let mut tasks = JoinSet::new();
    for share in 0..64 {
        let (redis, numbers) = (redis.clone(), numbers.clone());
        tasks.spawn(async move {
            for number in numbers.filter(|number| number % 64 == share) {
                let key = Key::from_bytes(&number.to_le_bytes());
                redis.put(&key, stored(born, vec![tag("all")], "x")).await.expect("a store that works");
            }
        });
    }
    tasks.join_all().await;
}

/// Redis is killed under load: what a request takes more than its handler once the breaker is open.
async fn outage() {
    let mut server = RedisServer::start();
    let cache = Cache::new(Redis::connect(&server.url()).await.expect("a valid URL"));
    let app = application(&cache);
    ask(app.clone()).await;
    server.kill();
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let app = app.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            let end = now() + Duration::from_secs(3);
            while now() < end {
                let began = now();
                ask(app.clone()).await;
                took.push(began.elapsed().as_secs_f64() * 1e3);
                // Nothing of it waits once the breaker is open: without this, each task would keep a thread to itself.
                yield_now().await;
            }
            took
        });
    }
    let mut took = tasks.join_all().await.concat();
    took.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "Redis killed, 64 tasks, {} requests: p50 {:.2} ms, p99 {:.2} ms, slowest {:.1} ms",
        took.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn application(cache: &Cache) -> Router {
    let handler = get(|| async { ([("content-type", "text/plain"), ("etag", "\"1\"")], "x".repeat(KIB)) });
    Router::new().route("/page", handler.layer(cache.layer().ttl(HOUR).tags(["page"])))
}

async fn ask(app: Router) {
    let request = Request::get("/page").header("host", "www.example.com").body(Body::empty()).expect("a valid request");
    let Ok(response) = app.oneshot(request).await;
    black_box(response.into_body().collect().await.expect("a body that never fails"));
}

async fn hit<B: AsRefBackend>((backend, key): (B, Arc<Key>)) {
    let read = backend.backend().get(&key, &[]).await.expect("a store that works");
    assert!(black_box(read).found.is_some());
}

trait AsRefBackend {
    fn backend(&self) -> &dyn Backend;
}

impl AsRefBackend for Redis {
    fn backend(&self) -> &dyn Backend {
        self
    }
}

impl AsRefBackend for Arc<Tiered<Redis>> {
    fn backend(&self) -> &dyn Backend {
        &**self
    }
}

/// How often in a second `operation` is done by all tasks together.
async fn rate<T, F>(tasks: usize, on: &T, operation: fn(T) -> F) -> f64
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let began = now();
    let mut working = JoinSet::new();
    for _ in 0..tasks {
        let on = on.clone();
        working.spawn(async move {
            let mut done = 0_u32;
            while began.elapsed() < ROUND {
                operation(on.clone()).await;
                done += 1;
            }
            done
        });
    }
    let done: u32 = working.join_all().await.into_iter().sum();
    f64::from(done) / began.elapsed().as_secs_f64()
}

/// With limits that a busy machine does not reach.
async fn patient(server: &RedisServer) -> Redis {
    let limits = Redis::builder().read_timeout(HOUR).store_timeout(HOUR).invalidate_timeout(HOUR);
    limits.connect(&server.url()).await.expect("a valid URL")
}

fn tag(name: &str) -> Tag {
    Tag::new(name).expect("a valid tag")
}

/// Bytes that do not get smaller.
fn noise(size: usize) -> bytes::Bytes {
    let mut random = fastrand::Rng::with_seed(7);
    (0..size).map(|_| random.u8(..)).collect()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time, it does not decide by it")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
