//! A miss: every request is for a key that is not there, and the store is full, so that each one evicts another.

use std::{cell::Cell, fmt::Debug, time::Duration};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use http::{Request, Response};
use larder_benches::{Floor, Handler, KIB, MIB, Requests, ask, layer, router, runtime, time_here};
use tower::{Layer as _, Service};

const STORE: usize = 16 * MIB;

fn miss(c: &mut Criterion) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let group = &mut c.benchmark_group("miss/1KiB");
    group.sample_size(30).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    let handler = Handler::new(KIB);
    case(group, "bare", handler.clone());
    case(group, "floor", Floor::new(handler.clone(), STORE));
    case(group, "service", layer(STORE, 0).layer(handler.clone()));
    case(group, "service-2-tags", layer(STORE, 2).layer(handler.clone()));
    case(group, "bare-router", handler.router());
    case(group, "in-router", router(handler.route().layer(layer(STORE, 0))));
    case(group, "around-router", layer(STORE, 0).layer(handler.router()));
}

fn case<S, B>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut service: S)
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug>,
    B: HttpBody<Data = Bytes, Error: Debug>,
{
    let requests = Requests::for_one();
    let next = Cell::new(0);
    let fresh = |_| requests.fresh(next.replace(next.get() + 1));
    group.bench_function(name, |b| b.iter_custom(|times| time_here(times, fresh, |request| ask(&mut service, request))));
}

criterion_group!(benches, miss);
criterion_main!(benches);
