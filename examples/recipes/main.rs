//! Recipes: what real sites need, one file for each.
//!
//! ```sh
//! cargo run --example recipes -- site_with_sessions
//! ```
//!
//! The argument names the recipe, and so its file. `LISTEN` sets the address (default `127.0.0.1:3000`), `CACHE_URL` the store (default
//! `memory:64mb`). All recipes send `Cache-Status`, so that `curl -i` shows what the cache did.

mod filled_shell;
mod images;
mod import_job;
mod languages;
mod lists;
mod live_updates;
mod other_programs;
mod per_user_pages;
mod shared;
mod site_with_sessions;

use std::{env, error::Error};

use larder::Cache;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("CACHE_URL").unwrap_or_else(|_| "memory:64mb".to_owned());
    let cache = Cache::connect(&url).await?;
    let mut arguments = env::args().skip(1);
    let app = match arguments.next().as_deref() {
        Some("site_with_sessions") => site_with_sessions::app(&cache),
        Some("filled_shell") => filled_shell::app(&cache),
        Some("lists") => lists::app(&cache),
        Some("languages") => languages::app(&cache),
        Some("per_user_pages") => per_user_pages::app(&cache),
        Some("images") => images::app(&cache),
        Some("live_updates") => live_updates::app(&cache),
        Some("import_job") => import_job::app(&cache)?,
        Some("other_programs") => other_programs::app(&cache).await?,
        // Programs without a page: they invalidate, and end.
        Some("import") => return import_job::import(&cache, arguments.next().as_deref()).await,
        Some("invalidate") => return other_programs::invalidate(&cache, arguments.collect()).await,
        _ => return Err("name a recipe, such as `site_with_sessions`: the files of examples/recipes".into()),
    };

    let listener = TcpListener::bind(env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned())).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
