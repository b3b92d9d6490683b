//! Programs that are not the web node, and invalidate in its Redis: a tool, a script in any language, and a small program of one's own.
//!
//! ```sh
//! export CACHE_URL=redis://localhost
//! cargo run --example recipes --features redis -- other_programs           # the web node
//! larder --store redis://localhost invalidate --tag rates                  # the tool, from the crate `larder-cli`
//! redis-cli FCALL larder_invalidate 0 larder rates                         # any client of Redis; `larder` is the key prefix
//! cargo run --example recipes --features redis -- invalidate rates         # this file
//! ```
//!
//! All three keep the promise: when they end with success, no later request is answered from an old response.

use std::{error::Error, time::Duration};

use axum::{Router, routing::get};
use larder::Cache;

pub(crate) async fn app(cache: &Cache) -> Result<Router, Box<dyn Error>> {
    // For `FCALL`; needs Redis 7, and one server. It is kept by the server, so any node may install it, as often as it likes.
    cache.install_function().await?;
    let hour = cache.layer().ttl(Duration::from_secs(3600)).tags(["rates"]).status_header(true);
    Ok(Router::new().route("/rates", get(rates).layer(hour)))
}

async fn rates() -> &'static str {
    "1 EUR = 1.17 USD"
}

/// The small program. It needs the URL of the web nodes, with the same key prefix and namespace.
pub(crate) async fn invalidate(cache: &Cache, tags: Vec<String>) -> Result<(), Box<dyn Error>> {
    let receipt = cache.invalidate_tags(tags).await?;
    // Nodes with near copies under a lease follow within its time: a script that goes on to purge a CDN waits for that.
    println!("invalidated for {:?}", receipt.scope);
    Ok(())
}
