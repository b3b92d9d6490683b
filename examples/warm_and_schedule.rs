//! Fifty pages are stored before the first visitor comes, and a slow report is computed once a minute by one of two nodes for both.
//!
//! ```sh
//! cargo run --example warm_and_schedule --features progress
//! CACHE_URL=redis://localhost cargo run --example warm_and_schedule --features progress,redis
//! ```
//!
//! `LISTEN` sets the address (default `127.0.0.1:3000`), `PERIOD_MILLIS` the period of the report.

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Path, routing::get};
use larder::{Cache, ScheduleGuard};
use tokio::{net::TcpListener, time::sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("CACHE_URL").unwrap_or_else(|_| "memory:64mb".to_owned());
    let period = env::var("PERIOD_MILLIS").ok().and_then(|millis| millis.parse().ok()).unwrap_or(60_000);
    let period = Duration::from_millis(period);
    let listener = TcpListener::bind(env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned())).await?;
    // What clients send as `Host`: it is in the key. Behind a proxy, it is the name of the site, with the proxy's forwarding fields.
    let host = listener.local_addr()?.to_string();

    // Two nodes in one process: with Redis, each has a connection of its own; with memory, they are two handles to one store.
    let one = Cache::connect(&url).await?;
    let other = if url.starts_with("memory") { one.clone() } else { Cache::connect(&url).await? };
    let reports = Arc::new(AtomicUsize::new(0));
    let app = app(&one, "one", &reports);
    let _schedules =
        [refreshed(&one, app.clone(), &host, period), refreshed(&other, self::app(&other, "the other", &reports), &host, period)];

    let pages = (1..=50).map(|page| format!("/pages/{page}")).chain(["/report".to_owned()]);
    let mut warming = one.warm(app.clone()).host(&host).paths(pages).concurrency(8).progress_bar().start();
    match warming.before_serving(Duration::from_secs(20)).await {
        Some(report) => println!("{report}"),
        None => println!("serving, while the cache is being warmed"),
    }

    println!("listening on http://{host}");
    axum::serve(listener, app).await?;
    Ok(())
}

fn app(cache: &Cache, node: &'static str, reports: &Arc<AtomicUsize>) -> Router {
    let layer = cache.layer().status_header(true);
    let reports = Arc::clone(reports);
    let report = move || async move {
        sleep(Duration::from_millis(100)).await; // a slow query
        format!("report {}, computed by node {node}", reports.fetch_add(1, Ordering::Relaxed) + 1)
    };
    Router::new()
        // Longer than the period: no visitor comes between two runs and finds nothing. Over a tiered store little longer, since the lifetime
        // bounds how old the copy near another node can be.
        .route("/report", get(report).layer(layer.clone().ttl(Duration::from_secs(300))))
        .route("/pages/{page}", get(page).layer(layer.ttl(Duration::from_secs(600))))
}

async fn page(Path(page): Path<u32>) -> String {
    sleep(Duration::from_millis(20)).await;
    format!("page {page}")
}

/// The schedule runs as long as its guard lives. Of all nodes that have it, one runs it in each period.
fn refreshed(cache: &Cache, app: Router, host: &str, period: Duration) -> ScheduleGuard {
    let (warmed, host) = (cache.clone(), host.to_owned());
    cache.every(period).name("report").start(move || warmed.warm(app.clone()).host(&host).paths(["/report"]))
}
