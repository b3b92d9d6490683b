//! What a hit allocates, one by one: each number is an upper limit and a lower one, so that a change that adds an allocation, or
//! saves one, has to say so here.
//!
//! Requests are built before anything is counted; dropping them is part of what is counted, as it is of every service.

use std::{
    convert::Infallible,
    future::{Future as _, ready},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use allocation_counter::{AllocationInfo, measure};
use axum::{Router, body::Body, extract::Request, response::Response, routing};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use larder::{Cache, CacheLayer, CacheStatus, Forward, ValuePolicy};
use tower::{Layer as _, Service};

use crate::support::{MINUTE, minute, request};

/// What one call allocates, from the call to the drop of its response; the response shows what it is in `check`.
fn allocations<S, B>(service: &mut S, request: Request, check: impl Fn(&http::Response<B>)) -> AllocationInfo
where
    S: Service<Request, Response = http::Response<B>, Error = Infallible>,
{
    let mut request = Some(request);
    measure(|| {
        let response = now(service, request.take().unwrap());
        check(&response);
    })
}

/// The answer of a service that never waits.
fn now<S: Service<Request, Error = Infallible>>(service: &mut S, request: Request) -> S::Response {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(response) => response.unwrap(),
        Poll::Pending => panic!("the service waits"),
    }
}

fn posts(fields: &[(&str, &str)]) -> Request {
    request(Method::GET, "/posts?page=2", fields)
}

fn is_hit<B>(response: &http::Response<B>) {
    assert!(CacheStatus::of(response).unwrap().is_hit());
}

fn is_bypass<B>(response: &http::Response<B>) {
    assert_eq!(CacheStatus::of(response).unwrap().forward(), Some(Forward::Bypass));
}

/// Fills the cache and warms up what is allocated once, and then counts a hit.
fn hit<S, B>(mut service: S) -> AllocationInfo
where
    S: Service<Request, Response = http::Response<B>, Error = Infallible>,
{
    for _ in 0..100 {
        now(&mut service, posts(&[]));
    }
    allocations(&mut service, posts(&[]), is_hit)
}

fn layer() -> CacheLayer {
    minute(&Cache::in_memory(64 << 20))
}

/// Answers with a body of `body` bytes and `fields` fields.
fn posts_of(body: usize, fields: usize) -> impl Posts {
    let body = Bytes::from_owner(vec![b'p'; body]);
    let fields: HeaderMap = (0..fields)
        .map(|field| (HeaderName::try_from(format!("x-field-{field}")).unwrap(), HeaderValue::from_static("value")))
        .collect();
    // Its clones allocate nothing, so that what is counted is not the handler's.
    let answer = Arc::new((fields, body));
    tower::service_fn(move |_| {
        let (fields, body) = &*answer;
        let mut response = Response::new(Body::from(body.clone()));
        *response.headers_mut() = fields.clone();
        ready(Ok(response))
    })
}

trait Posts: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static {}

impl<S> Posts for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

fn handler() -> impl Posts {
    posts_of(1024, 2)
}

/// The response's `HeaderMap`, cloned from the stored one: its index and its fields.
const FIELDS: u64 = 2;

/// The response's extensions with a `CacheStatus` in them: their box, their table, and the boxed status.
const STATUS: u64 = 3;

#[test]
fn a_hit_in_a_tower_stack_allocates_its_fields_and_its_status() {
    assert_eq!(hit(layer().layer(handler())).count_total, FIELDS + STATUS);
}

#[test]
fn a_hit_around_a_router_allocates_no_more() {
    let app: Router = Router::new().route_service("/posts", handler());
    assert_eq!(hit(layer().layer(app)).count_total, FIELDS + STATUS);
}

#[test]
fn a_hit_on_a_route_adds_what_axum_allocates_for_any_route() {
    /// The URI is copied for `OriginalUri`; the request's extensions are a box and a table, and hold three boxes: the original
    /// URI, the matched path, the captures.
    const MATCHING: u64 = 6;
    /// axum clones the route for each request: the boxed service of the layer, and in it the boxed handler. The future is
    /// boxed, and so is the body of its response.
    const BOXES: u64 = 4;
    /// The status in its box: the response has the box and the table of the request's extensions.
    const STATUS: u64 = 1;
    let app: Router = Router::new().route("/posts", routing::get_service(handler()).layer(layer()));
    assert_eq!(hit(app).count_total, MATCHING + BOXES + FIELDS + STATUS);
}

/// Overwriting `Age` must find its slot, also where the map has no room for one more field.
#[test]
fn a_hit_allocates_as_often_for_any_number_of_fields() {
    for fields in 0..20 {
        let counted = hit(layer().layer(posts_of(1024, fields)));
        assert_eq!(counted.count_total, FIELDS + STATUS, "{fields} fields of the handler's own");
    }
}

#[test]
fn a_hit_on_a_large_body_allocates_no_more_than_one_on_a_small_one() {
    let [small, large] = [1 << 10, 1 << 20].map(|body| hit(layer().layer(posts_of(body, 2))));
    assert_eq!((large.count_total, large.bytes_total), (small.count_total, small.bytes_total));
}

#[test]
fn a_bypass_allocates_nothing_but_its_status() {
    let cookie = || posts(&[("cookie", "session=1")]);
    let (mut bare, mut layered) = (handler(), layer().layer(handler()));
    now(&mut bare, cookie());
    now(&mut layered, cookie());

    let alone = allocations(&mut bare, cookie(), |_| {});
    let bypass = allocations(&mut layered, cookie(), is_bypass);

    assert_eq!(bypass.count_total, alone.count_total + STATUS);
}

/// The clone of the value is the application's.
#[test]
fn a_hit_on_a_value_allocates_nothing() {
    let cache = Cache::in_memory(64 << 20);
    let policy = ValuePolicy::ttl(MINUTE).tags(["posts"]);
    let value = || {
        let compute = || async { Ok::<_, Infallible>(Arc::new([0_u8; 1024])) };
        let call = pin!(cache.get_or_compute_in_memory("a name that is not short", &policy, compute));
        assert!(call.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    };
    value();
    value();
    assert_eq!(measure(value).count_total, 0);
}
