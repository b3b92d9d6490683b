//! A GraphQL server whose queries are sent by POST and answered from the cache, while its mutations invalidate them.
//!
//! ```sh
//! cargo run --example graphql_post
//! ```
//!
//! `LISTEN` sets the address (default `127.0.0.1:3000`).

use std::{
    env,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use larder::{Cache, CacheDirective, Invalidate};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

/// The titles of all posts.
type Posts = Arc<Mutex<Vec<String>>>;

#[derive(Deserialize)]
struct Operation {
    query: String,
    #[serde(default)]
    variables: Value,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::in_memory(64 << 20);
    let layer = cache.layer().tags(["posts"]).status_header(true);

    let app = Router::new()
        // Up to 64 KiB of each POST are read, to find its stored response.
        .route("/graphql", post(graphql).layer(layer.cache_post(64 << 10)))
        .with_state(Posts::default());

    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    println!("  curl -i http://{address}/graphql --json '{{\"query\": \"{{ posts }}\"}}'");
    println!(
        "  curl -i http://{address}/graphql --json '{{\"query\": \"mutation {{ add }}\", \"variables\": {{\"title\": \"New\"}}}}'"
    );
    axum::serve(listener, app).await?;
    Ok(())
}

/// Stands for a GraphQL library, which knows by its schema what each field is.
async fn graphql(State(posts): State<Posts>, Json(operation): Json<Operation>) -> Response {
    match operation.query.trim_start().split(['{', ' ', '(']).next() {
        // A query may be answered from the cache for a minute: its response says so.
        Some("" | "query") => (CacheDirective::ttl(Duration::from_secs(60)), list(&posts).await).into_response(),
        // A mutation says nothing of the kind, so it runs each time, and invalidates what is stored for its URL. Its tags reach other routes.
        Some("mutation") => (Invalidate::tags("posts"), add(&posts, &operation.variables)).into_response(),
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn list(posts: &Posts) -> Json<Value> {
    sleep(Duration::from_millis(300)).await; // a slow query
    Json(json!({ "data": { "posts": *posts.lock().unwrap_or_else(PoisonError::into_inner) } }))
}

fn add(posts: &Posts, variables: &Value) -> Json<Value> {
    let title = variables["title"].as_str().unwrap_or("untitled").to_owned();
    posts.lock().unwrap_or_else(PoisonError::into_inner).push(title);
    Json(json!({ "data": { "add": true } }))
}
