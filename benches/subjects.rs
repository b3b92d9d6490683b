//! What the realistic cases compare: the bare handler, the floor on each map, and larder.

use std::{convert::Infallible, fmt::Debug};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{Request, Response};
use larder::{Cache, Memory};
use tower::{Layer as _, Service};

use crate::{Page, TaggedFloorLayer, layer, layer_over, moka, quick, router};

/// All of them.
pub const SUBJECTS: [&str; 7] = ["bare", "moka", "quick", "larder", "larder-plain", "larder-quick", "larder-quick-plain"];

/// Something done with a service, whatever its type.
pub trait Measurement {
    /// What it finds.
    type Output;

    /// Does it.
    fn of<S, B>(self, service: S) -> Self::Output
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        B: HttpBody<Data = Bytes, Error: Debug> + 'static;
}

/// Measures one of [`SUBJECTS`] with a store of `max_bytes`, in a router or as a service of its own.
pub fn measure<M: Measurement>(subject: &str, in_router: bool, max_bytes: usize, measurement: M) -> Option<M::Output> {
    let page = if subject.ends_with("-plain") { Page::plain() } else { Page::varied() };
    let larder = || layer(max_bytes, 0);
    let larder_on_quick = || layer_over(&Cache::new(Memory::quick(max_bytes as u64)), 0);
    let on_moka = || TaggedFloorLayer::new(moka(max_bytes));
    let on_quick = || TaggedFloorLayer::new(quick(max_bytes));
    Some(match (subject, in_router) {
        ("bare", false) => measurement.of(page),
        ("bare", true) => measurement.of(page.router()),
        ("moka", false) => measurement.of(on_moka().layer(page)),
        ("moka", true) => measurement.of(router(page.route().layer(on_moka()))),
        ("quick", false) => measurement.of(on_quick().layer(page)),
        ("quick", true) => measurement.of(router(page.route().layer(on_quick()))),
        ("larder" | "larder-plain", false) => measurement.of(larder().layer(page)),
        ("larder" | "larder-plain", true) => measurement.of(router(page.route().layer(larder()))),
        ("larder-quick" | "larder-quick-plain", false) => measurement.of(larder_on_quick().layer(page)),
        ("larder-quick" | "larder-quick-plain", true) => measurement.of(router(page.route().layer(larder_on_quick()))),
        _ => return None,
    })
}
