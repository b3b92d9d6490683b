//! The slow blog of the guide's chapter *Step by step*, measured at each step.
//!
//! ```sh
//! cargo run --release --example blog --features redis -- 3 redis://localhost
//! ```
//!
//! The arguments are the seconds for each step (default 1), and a Redis; without one, the steps with Redis are left out. Readers ask for one
//! post without a pause, on every node in turn. A writer changes the post five times a second. An answer is *outdated* if it is older than a change that was
//! acknowledged before its request began.

use std::{
    env,
    error::Error,
    iter, mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{FromRef, State},
    http::Request,
    routing::get,
};
use larder::Cache;
use tokio::time::Instant;
use tower::ServiceExt as _;

const QUERY: Duration = Duration::from_millis(50);
const READERS: usize = 8;

/// One post: how often it was changed, and how often it was queried.
#[derive(Clone, Default)]
struct Db(Arc<Counters>);

#[derive(Default)]
struct Counters {
    version: AtomicU64,
    queries: AtomicU64,
}

#[derive(Clone, FromRef)]
struct App {
    db: Db,
    cache: Cache,
}

async fn show(State(db): State<Db>) -> String {
    db.0.queries.fetch_add(1, SeqCst);
    let version = db.0.version.load(SeqCst);
    tokio::time::sleep(QUERY).await;
    version.to_string()
}

async fn save(State(db): State<Db>) {
    db.0.version.fetch_add(1, SeqCst);
}

async fn save_and_invalidate(State(app): State<App>) -> Result<(), larder::Error> {
    app.db.0.version.fetch_add(1, SeqCst);
    app.cache.invalidate_tags("post:7").await.map(drop)
}

async fn save_and_expire(State(app): State<App>) -> Result<(), larder::Error> {
    app.db.0.version.fetch_add(1, SeqCst);
    app.cache.expire_tags("post:7").await.map(drop)
}

/// The application of a step.
#[derive(Debug, Clone, Copy)]
enum Step {
    Nothing,
    Ttl,
    Tags,
    Stale,
}

fn node(step: Step, db: &Db, cache: &Cache) -> Router {
    let minute = cache.layer().ttl(Duration::from_secs(60)).tags(["post:7"]);
    let post = match step {
        Step::Nothing => get(show).put(save),
        // The layer does not cover what is chained after it: a write does not invalidate.
        Step::Ttl => get(show).layer(cache.layer().ttl(Duration::from_secs(1))).put(save),
        Step::Tags => get(show).put(save_and_invalidate).layer(minute),
        Step::Stale => {
            let stale = minute.stale_while_revalidate(Duration::from_secs(60)).invalidate_on_write(false);
            get(show).put(save_and_expire).layer(stale)
        }
    };
    Router::new().route("/posts/7", post).with_state(App { db: db.clone(), cache: cache.clone() })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let time = Duration::from_secs_f64(arguments.next().map_or(Ok(1.0), |seconds| seconds.parse())?);
    let redis = arguments.next();
    let memory = || Cache::in_memory(64 << 20);
    println!(
        "| step | nodes | requests | queries | median | 99 % within | outdated | for at most |\n|---|---|---|---|---|---|---|---|"
    );
    measure("nothing", Step::Nothing, &[memory()], time).await?;
    measure("`ttl` of a second", Step::Ttl, &[memory()], time).await?;
    measure("tags", Step::Tags, &[memory()], time).await?;
    measure("tags, stale while refreshed", Step::Stale, &[memory()], time).await?;
    measure("tags, a memory for each node", Step::Tags, &[memory(), memory()], time).await?;
    let Some(redis) = redis else { return Ok(()) };
    let separate = if redis.contains('?') { '&' } else { '?' };
    let connect = async |prefix: &str, options: &str| {
        // A prefix of its own: whatever else uses this Redis is left alone.
        Cache::connect(&format!("{prefix}{redis}{separate}key_prefix=blog-{}{options}", std::process::id())).await
    };
    measure("Redis", Step::Tags, &[connect("", "").await?], time).await?;
    measure("Redis", Step::Tags, &[connect("", "").await?, connect("", "").await?], time).await?;
    let (first, second) = (connect("tiered+", "&lease=1s").await?, connect("tiered+", "&lease=1s").await?);
    measure("Redis, near copies with a lease of a second", Step::Tags, &[first, second], time).await
}

/// What the readers saw.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    outdated: usize,
    longest: Duration,
}

/// When each change was acknowledged.
type Acknowledged = Arc<std::sync::Mutex<Vec<Instant>>>;

async fn measure(name: &str, step: Step, caches: &[Cache], time: Duration) -> Result<(), Box<dyn Error>> {
    let (db, acknowledged) = (Db::default(), Acknowledged::default());
    let nodes: Vec<_> = caches.iter().map(|cache| node(step, &db, cache)).collect();
    let end = Instant::now() + time;
    let writer = tokio::spawn(write(nodes[0].clone(), Arc::clone(&acknowledged), end));
    let readers =
        (0..READERS).map(|number| tokio::spawn(read(nodes[number % nodes.len()].clone(), Arc::clone(&acknowledged), end)));
    let mut seen = Seen::default();
    for reader in readers.collect::<Vec<_>>() {
        let more = reader.await?;
        seen.times.extend(more.times);
        seen.outdated += more.outdated;
        seen.longest = seen.longest.max(more.longest);
    }
    writer.await?;
    seen.times.sort_unstable();
    let within = |share: f64| millis(seen.times[((seen.times.len() - 1) as f64 * share) as usize]);
    let (requests, queries) = (seen.times.len(), db.0.queries.load(SeqCst));
    let (median, most, longest) = (within(0.5), within(0.99), millis(seen.longest));
    println!("| {name} | {} | {requests} | {queries} | {median} | {most} | {} | {longest} |", nodes.len(), seen.outdated);
    Ok(())
}

fn millis(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

async fn write(node: Router, acknowledged: Acknowledged, end: Instant) {
    // A change whose invalidation has failed, on a busy machine, is acknowledged with the next one.
    let mut changes = 0;
    while Instant::now() < end {
        let request = Request::put("/posts/7").body(Body::empty()).expect("a request");
        let response = node.clone().oneshot(request).await.expect("a router does not fail");
        changes += 1;
        if response.status().is_success() {
            acknowledged.lock().expect("no panic").extend(iter::repeat_n(Instant::now(), mem::take(&mut changes)));
        } else {
            eprintln!("a write was answered with {}", response.status());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn read(node: Router, acknowledged: Acknowledged, end: Instant) -> Seen {
    let mut seen = Seen::default();
    while Instant::now() < end {
        let (began, written) = (Instant::now(), acknowledged.lock().expect("no panic").len());
        let request = Request::get("/posts/7").body(Body::empty()).expect("a request");
        let response = node.clone().oneshot(request).await.expect("a router does not fail");
        let body = to_bytes(response.into_body(), 100).await.expect("a body");
        let version: usize = String::from_utf8_lossy(&body).parse().expect("a number");
        seen.times.push(began.elapsed());
        if version < written {
            seen.outdated += 1;
            let next = acknowledged.lock().expect("no panic")[version];
            seen.longest = seen.longest.max(began.duration_since(next));
        }
        // Other tasks run as well, though a hit does not wait.
        tokio::task::yield_now().await;
    }
    seen
}
