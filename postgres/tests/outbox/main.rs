//! The outbox against a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "in a test it is an assertion; real servers take real time")]

mod costs;
mod examples;
mod faults;
mod node;
mod order;
mod server;
mod servers;
mod shared_stores;
mod start;
mod triggers;
mod writer;
