//! One case, so many times, for callgrind to count its instructions: `callgrind CASE TIMES`.
//!
//! `callgrind` alone lists the cases.

use std::{convert::Infallible, env, fmt::Debug, hint::black_box, process::ExitCode, sync::Arc};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{Request, Response};
use larder::backend::Stored;
use larder::{Cache, CacheStatus, ValuePolicy};
use larder_benches::{
    Entry, Floor, HOUR, Handler, KIB, MIB, Measurement, Page, RedisServer, Requests, ask, engine, layer, measure, now, router,
    runtime, stored, warm,
};
use tower::{Layer as _, Service};

/// Each is larder's or what it is compared with; `request` and `new-request` are what the others do besides.
///
/// `page-SUBJECT-…` is the realistic case: a `Page`, which varies by `Accept-Encoding` and has two tags of its own. The
/// subject is the bare handler, a floor on moka or quick_cache, larder, or larder in front of a page without `Vary`.
const CASES: &str = "request new-request moka floor floor-1m hit-1k hit-64k hit-1m hit-8-tags hit-in-router hit-around-router \
                     bare-router bare-miss floor-miss miss miss-2-tags miss-full floor-miss-full encode-1k decode-1k encode-1k-sealed \
                     decode-1k-sealed redis-hit value-hit hostile-query \
                     hostile-fields \
                     page-bare-hit page-moka-hit page-quick-hit page-larder-hit page-larder-plain-hit page-larder-quick-hit \
                     page-bare-miss page-moka-miss page-quick-miss page-larder-miss page-larder-plain-miss page-larder-quick-miss \
                     page-moka-miss-full page-quick-miss-full page-larder-miss-full page-larder-plain-miss-full \
                     page-bare-hit-in-router page-moka-hit-in-router page-quick-hit-in-router page-larder-hit-in-router \
                     page-bare-miss-in-router page-moka-miss-in-router page-quick-miss-in-router page-larder-miss-in-router";

const STORE: usize = 1024 * MIB;
/// For `…-full`: so small that every miss evicts.
const FULL: usize = 4 * MIB;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(case), Some(Ok(times))) = (arguments.next(), arguments.next().map(|times| times.parse())) else {
        println!("{CASES}");
        return ExitCode::SUCCESS;
    };
    if run(&case, times).is_none() {
        eprintln!("`{case}` is no case: {CASES}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(case: &str, times: usize) -> Option<()> {
    let runtime = runtime();
    let _entered = runtime.enter();
    let one = Requests::for_one();
    let handler = Handler::new(KIB);
    let stored = |size| layer(STORE, 0).layer(Handler::new(size));
    match case {
        "request" => (0..times).for_each(|at| drop(black_box(one.get(at)))),
        "new-request" => (0..times).for_each(|at| drop(black_box(one.fresh(at)))),
        "moka" => lookup(&handler, times),
        "floor" => hit(Floor::new(handler, STORE), times),
        "floor-1m" => hit(Floor::new(Handler::new(MIB), STORE), times),
        "hit-1k" => hit(stored(KIB), times),
        "hit-64k" => hit(stored(64 * KIB), times),
        "hit-1m" => hit(stored(MIB), times),
        "hit-8-tags" => hit(layer(STORE, 8).layer(handler), times),
        "hit-in-router" => hit(router(handler.route().layer(layer(STORE, 0))), times),
        "hit-around-router" => hit(layer(STORE, 0).layer(handler.router()), times),
        "bare-router" => ask_again(handler.router(), times),
        "bare-miss" => miss(handler, times),
        "floor-miss" => miss(Floor::new(handler, STORE), times),
        "miss" => miss(stored(KIB), times),
        "miss-2-tags" => miss(layer(STORE, 2).layer(handler), times),
        "miss-full" => miss(layer(FULL, 0).layer(handler), times),
        "floor-miss-full" => miss(Floor::new(handler, FULL), times),
        "encode-1k" => encode(None, times),
        "decode-1k" => decode(None, times),
        "encode-1k-sealed" => encode(Some("secret"), times),
        "decode-1k-sealed" => decode(Some("secret"), times),
        "redis-hit" => redis_hit(times),
        "value-hit" => value_hit(times),
        "hostile-query" => hostile(&format!("/items/1?{}", "%41=&".repeat(1590)), "", times),
        "hostile-fields" => hostile("/items/1", &"\"\\".repeat(200_000), times),
        _ => return page(case.strip_prefix("page-")?, times),
    }
    Some(())
}

/// A realistic case: `SUBJECT-{hit|miss|miss-full}`, and `-in-router` or not.
fn page(case: &str, times: usize) -> Option<()> {
    let (case, in_router) = case.strip_suffix("-in-router").map_or((case, false), |case| (case, true));
    let (case, max_bytes) = case.strip_suffix("-full").map_or((case, STORE), |case| (case, FULL));
    let (subject, work) = case.rsplit_once('-').filter(|(_, work)| ["hit", "miss"].contains(work))?;
    measure(subject, in_router, max_bytes, Count { hits: work == "hit", is_cached: subject != "bare", times })
}

/// Requests for callgrind to count.
struct Count {
    hits: bool,
    is_cached: bool,
    times: usize,
}

impl Measurement for Count {
    type Output = ();

    fn of<S, B>(self, mut service: S)
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        B: HttpBody<Data = Bytes, Error: Debug> + 'static,
    {
        if self.is_cached {
            warm(&mut service, &Requests::for_one());
        }
        if self.hits { ask_again(service, self.times) } else { miss(service, self.times) }
    }
}

fn lookup(handler: &Handler, times: usize) {
    let key = b"www.example.com/items/0";
    let entries = engine(STORE);
    entries.insert(key[..].into(), Entry::new(handler.respond()).into());
    for _ in 0..times {
        black_box(entries.get(black_box(&key[..])));
    }
}

fn encode(secret: Option<&str>, times: usize) {
    let (key, stored) = stored(KIB, secret);
    (0..times).for_each(|_| drop(stored.to_bytes(black_box(&key))));
}

/// With a copy of the bytes, as a client reads them from its connection.
fn decode(secret: Option<&str>, times: usize) {
    let (key, stored) = stored(KIB, secret);
    let bytes = stored.to_bytes(&key).expect("a small entry");
    (0..times).for_each(|_| drop(Stored::from_bytes(black_box(&key), Bytes::copy_from_slice(&bytes))));
}

/// A hostile request: as many short parameters as a query may have, under every rule for queries, or 400 KB of one field.
fn hostile(uri: &str, field: &str, times: usize) {
    let layer = layer(STORE, 0).ignore_query(["utm_*", "fbclid"]).sort_query(true).no_vary_search(true).trusted_clients(|_| true);
    let mut service = layer.layer(Handler::new(KIB));
    for _ in 0..times {
        let request = Request::get(uri).header("host", "www.example.com").header("cache-control", field);
        black_box(ask(&mut service, request.body(Body::empty()).expect("a valid request")));
    }
}

/// Hits on a value in memory, each with a clone of its `Arc`.
fn value_hit(times: usize) {
    let cache = Cache::in_memory(STORE as u64);
    let policy = ValuePolicy::ttl(HOUR).tags(["posts", "post:1"]);
    for _ in 0..times {
        let compute = || async { Ok::<_, Infallible>(Arc::new(vec![0_u8; KIB])) };
        let value = now(cache.get_or_compute_in_memory(black_box("posts of one author"), &policy, compute));
        black_box(value).expect("no error");
    }
}

/// Hits in a real Redis, one after the other.
fn redis_hit(times: usize) {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // Under valgrind, a reply may take longer than the limit of every day.
        let cache = Cache::connect(&format!("{}?read_timeout=20s", server.url())).await.expect("a server that listens");
        let mut service = cache.layer().ttl(HOUR).layer(Page::varied());
        let requests = Requests::for_one();
        for at in 0..times + 3 {
            let response = service.call(requests.get(at)).await.expect("no error");
            assert!(at < 3 || CacheStatus::of(&response).is_some_and(CacheStatus::is_hit));
            black_box(response);
        }
    });
}

fn hit<S, B>(mut service: S, times: usize)
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug>,
    B: HttpBody<Data = Bytes, Error: Debug>,
{
    warm(&mut service, &Requests::for_one());
    ask_again(service, times);
}

fn ask_again<S, B>(mut service: S, times: usize)
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug>,
    B: HttpBody<Data = Bytes, Error: Debug>,
{
    let one = Requests::for_one();
    for at in 0..times {
        black_box(ask(&mut service, one.get(at)));
    }
}

fn miss<S, B>(mut service: S, times: usize)
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug>,
    B: HttpBody<Data = Bytes, Error: Debug>,
{
    let requests = Requests::for_one();
    for number in 0..times {
        black_box(ask(&mut service, requests.fresh(number)));
    }
    // To empty the store at the end is no part of a miss.
    std::mem::forget(service);
}
