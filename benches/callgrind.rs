//! One case, so many times, for callgrind to count its instructions: `callgrind CASE TIMES`.
//!
//! `callgrind` alone lists the cases.

use std::{env, fmt::Debug, hint::black_box, process::ExitCode};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{Request, Response};
use larder::Cache;
use larder::backend::Stored;
use larder_benches::{
    Entry, Floor, HOUR, Handler, KIB, MIB, RedisServer, Requests, ask, engine, layer, router, runtime, stored, warm,
};
use tower::{Layer as _, Service};

/// Each is larder's or what it is compared with; `request` and `new-request` are what the others do besides.
const CASES: &str = "request new-request moka floor floor-1m hit-1k hit-64k hit-1m hit-8-tags hit-in-router hit-around-router \
                     bare-router bare-miss floor-miss miss miss-2-tags miss-full floor-miss-full encode-1k decode-1k redis-hit hostile-query \
                     hostile-fields";

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
        "encode-1k" => encode(times),
        "decode-1k" => decode(times),
        "redis-hit" => redis_hit(times),
        "hostile-query" => hostile(&format!("/items/1?{}", "%41=&".repeat(1590)), "", times),
        "hostile-fields" => hostile("/items/1", &"\"\\".repeat(200_000), times),
        _ => return None,
    }
    Some(())
}

fn lookup(handler: &Handler, times: usize) {
    let key = b"www.example.com/items/0";
    let entries = engine(STORE);
    entries.insert(key[..].into(), Entry::new(handler.respond()).into());
    for _ in 0..times {
        black_box(entries.get(black_box(&key[..])));
    }
}

fn encode(times: usize) {
    let (key, stored) = stored(KIB);
    (0..times).for_each(|_| drop(stored.to_bytes(black_box(&key))));
}

/// With a copy of the bytes, as a client reads them from its connection.
fn decode(times: usize) {
    let (key, stored) = stored(KIB);
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

/// Hits in a real Redis, one after the other.
fn redis_hit(times: usize) {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let cache = Cache::connect(&server.url()).await.expect("a server that listens");
        let mut service = cache.layer().ttl(HOUR).tags(["items"]).layer(Handler::new(KIB));
        let requests = Requests::for_one();
        for at in 0..=times {
            black_box(service.call(requests.get(at)).await.expect("no error"));
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
