//! An application to put under load, with larder around it or without: `server --bare|--cached [--workers N] [--port N]`.
//!
//! It prints its address when it is ready.

use std::{env, net::Ipv4Addr, process::ExitCode};

use axum::{
    Json, Router, ServiceExt,
    extract::{Path, Request},
    response::IntoResponse,
    routing::get,
};
use larder::Cache;
use larder_benches::{HOUR, MIB};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

fn main() -> ExitCode {
    let Some(options) = Options::parse(env::args().skip(1)) else {
        eprintln!("usage: server --bare|--cached [--workers N] [--port N]");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.workers).enable_io().build();
    match runtime.and_then(|runtime| runtime.block_on(serve(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    cached: bool,
    workers: usize,
    port: u16,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { cached: false, workers: 1, port: 0 };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bare" => options.cached = false,
                "--cached" => options.cached = true,
                "--workers" => options.workers = arguments.next()?.parse().ok().filter(|workers| *workers > 0)?,
                "--port" => options.port = arguments.next()?.parse().ok()?,
                _ => return None,
            }
        }
        Some(options)
    }
}

async fn serve(options: &Options) -> std::io::Result<()> {
    let bare = Router::new().route("/items/{id}", get(show));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
    println!("{}", listener.local_addr()?);
    if options.cached {
        // Around the router rather than in it: a hit is answered before any route is looked for.
        let layer = Cache::in_memory(64 * MIB as u64).layer().ttl(HOUR);
        let cached = ServiceBuilder::new().map_response(IntoResponse::into_response).layer(layer).service(bare);
        axum::serve(listener, ServiceExt::<Request>::into_make_service(cached)).await
    } else {
        axum::serve(listener, bare).await
    }
}

/// About 1 KiB of JSON, and no database behind it: the cheapest handler that a cache may have to compete with.
async fn show(Path(id): Path<u64>) -> Json<Vec<(u64, &'static str, bool)>> {
    Json((id..id + 24).map(|id| (id, "an item with a name of some length", id % 2 == 0)).collect())
}
