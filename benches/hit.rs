//! A hit: larder in three places, the floor under it, the bare application over it.

use std::{fmt::Debug, time::Duration};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use http::header::{IF_NONE_MATCH, RANGE};
use http::{Request, Response};
use larder_benches::{Entry, Floor, Handler, KIB, MIB, Requests, engine, layer, router, time, time_here, warm};
use tower::{Layer as _, Service};

const STORE: usize = 256 * MIB;

/// Where the time of a hit goes, one key, 1 KiB, one thread.
fn places(c: &mut Criterion) {
    let group = &mut group(c, "hit/1KiB");
    let (handler, one) = (Handler::new(KIB), Requests::for_one());
    let key = b"www.example.com/items/0";
    let entries = engine(STORE);
    entries.insert(key[..].into(), Entry::new(handler.respond()).into());
    group.bench_function("moka", |b| b.iter(|| entries.get(&key[..])));
    group.bench_function("drop-request", |b| b.iter_custom(|times| time_here(times, |at| one.get(at), drop)));
    case(group, "floor", Floor::new(handler.clone(), STORE), &one, 1);
    case(group, "service", layer(STORE, 0).layer(handler.clone()), &one, 1);
    case(group, "in-router", router(handler.route().layer(layer(STORE, 0))), &one, 1);
    case(group, "around-router", layer(STORE, 0).layer(handler.router()), &one, 1);
    measure(group, "bare-router", &handler.router(), &one, 1);
}

fn bodies(c: &mut Criterion) {
    let group = &mut group(c, "hit/body");
    for (name, size) in [("64KiB", 64 * KIB), ("1MiB", MIB)] {
        let (handler, one) = (Handler::new(size), Requests::for_one());
        case(group, format!("{name}/floor"), Floor::new(handler.clone(), STORE), &one, 1);
        case(group, format!("{name}/service"), layer(STORE, 0).layer(handler), &one, 1);
    }
}

fn tags(c: &mut Criterion) {
    let group = &mut group(c, "hit/tags");
    for tags in [2, 8] {
        case(group, tags.to_string(), layer(STORE, tags).layer(Handler::new(KIB)), &Requests::for_one(), 1);
    }
}

/// What a client's own wishes add to a hit: a variant, "not modified", a part.
fn selective(c: &mut Criterion) {
    let group = &mut group(c, "hit/selective");
    let etag = "\"33a64df551425fcc55e4d42a148795d9f25f89d4\"";
    let handler = Handler::new(KIB);
    case(group, "whole", layer(STORE, 0).layer(handler.clone()), &Requests::for_one(), 1);
    case(group, "vary", layer(STORE, 0).layer(handler.clone().varied()), &Requests::for_one(), 1);
    case(group, "etag", layer(STORE, 0).layer(handler.clone()), &Requests::for_one().with(IF_NONE_MATCH, etag), 1);
    case(group, "range", layer(STORE, 0).layer(handler), &Requests::for_one().with(RANGE, "bytes=100-199"), 1);
}

fn keys_and_threads(c: &mut Criterion) {
    let group = &mut group(c, "hit/keys-threads");
    let handler = Handler::new(KIB);
    for (name, requests, threads) in [
        ("1-key/2-threads", Requests::for_one(), 2),
        ("10k-zipf/1-thread", Requests::for_many(10_000), 1),
        ("10k-zipf/2-threads", Requests::for_many(10_000), 2),
    ] {
        case(group, format!("{name}/floor"), Floor::new(handler.clone(), STORE), &requests, threads);
        case(group, format!("{name}/service"), layer(STORE, 2).layer(handler.clone()), &requests, threads);
    }
}

fn case<S, B>(group: &mut Group<'_>, name: impl Into<String>, mut service: S, requests: &Requests, threads: usize)
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug> + Clone + Send,
    B: HttpBody<Data = Bytes, Error: Debug>,
{
    warm(&mut service, requests);
    measure(group, name, &service, requests, threads);
}

fn measure<S, B>(group: &mut Group<'_>, name: impl Into<String>, service: &S, requests: &Requests, threads: usize)
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug> + Clone + Send,
    B: HttpBody<Data = Bytes, Error: Debug>,
{
    group.bench_function(name, |b| b.iter_custom(|times| time(service, requests, threads, times)));
}

type Group<'c> = BenchmarkGroup<'c, WallTime>;

fn group<'c>(c: &'c mut Criterion, name: &str) -> Group<'c> {
    let mut group = c.benchmark_group(name);
    group.sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group
}

criterion_group!(benches, places, bodies, tags, selective, keys_and_threads);
criterion_main!(benches);
