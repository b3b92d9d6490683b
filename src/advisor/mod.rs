//! Observe first: what a cache would do for an application that has none, and what to write for it. With a cache, which invalidation is
//! forgotten.
//!
//! [`Cache::observer`](crate::Cache::observer) makes the layer that observes, [`Cache::advice`](crate::Cache::advice) says what follows.
//!
//! # What is measured
//!
//! The handler answers every request, so an observer sees how often the same response is computed again. For each of the first 64 routes it
//! simulates five caches (1 s, 10 s, 1 min, 10 min and 1 h) for a sample of 1,024 keys, and counts *would-be hits*, and *would-be wrong answers*:
//! hits whose response differs from what the handler has just answered. Responses are compared by a digest of status, `Location` and body,
//! computed while the body passes. Keys are those of a layer with default settings, and of the fields that a response names in `Vary`.
//!
//! Each response is also compared with the one before it for the same URL, and with that for another query of the same path. From what
//! differed between the two requests (user, cookies, `Accept-Language`, `Accept`, host, query parameters) and from the successful writes that
//! came between them, the advisor finds what explains that responses differ: which parts of a request belong to the key, which do not, and
//! which write changes which route. A cause that is there by chance explains nothing once the true one is known.
//!
//! # What it costs
//!
//! Some microseconds a request, and the CRC of each body (0.1 ms for 1 MiB). At most about 250 KB a route, 16 MB for all 64, and 60 KB for the
//! latest 512 writes; typical routes need a tenth of that. Nothing grows with the number of requests, users or URLs.
//!
//! # What it cannot see
//!
//! - Changes that no request causes, such as those of a job or another process: they count as wrong answers without a cause.
//! - Writes on routes that no observer covers, and those of other processes.
//! - Bodies that do not end while they are observed, and 206 and 304. Each route says how many there were.
//! - A lifetime that is longer than the time observed.
//! - Whether users may see each other's responses. That all received equal ones does not prove it: read the advice before you take it.

mod advice;
mod body;
mod causes;
mod code;
mod conclusions;
mod differences;
mod display;
mod exchange;
#[cfg(feature = "admin")]
mod json;
mod key_sample;
pub(crate) mod observations;
pub(crate) mod observer;
mod route;
mod selector;
mod simulation;
mod tag_advice;
mod writes;

pub use self::{
    advice::{Advice, Blocked, Change, RouteAdvice, SimulatedCache, Verdict},
    body::ObservedBody,
    differences::Difference,
    observer::{Observer, ObserverFuture, ObserverLayer, ObserverService},
    selector::Selector,
    writes::WriteName,
};
pub(crate) use self::{exchange::captured, writes::RunningWrite};
