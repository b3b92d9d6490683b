//! In files of their own, so that the benchmark and the fuzz target can have what is tested without them.

mod connection;
mod server;
mod wire;
