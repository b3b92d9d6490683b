//! Tests of the memcached client. They are in files of their own because the benchmark and the fuzz target compile the files of the
//! client by their paths.

mod connection;
mod server;
mod settings;
mod wire;
