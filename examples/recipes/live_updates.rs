//! Server-sent events beside cached routes: pages come from the cache, and are told when to ask again.
//!
//! The order of a write matters: commit, invalidate, then announce. A client that asks because of the announcement receives the new price.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{FromRef, Path, State},
    http::StatusCode,
    response::sse::{Event, KeepAlive, Sse},
    routing::{get, put},
};
use futures_util::{Stream, stream::unfold};
use larder::{Cache, Error};
use tokio::sync::{
    RwLock,
    broadcast::{self, error::RecvError},
};

type Prices = Arc<RwLock<BTreeMap<String, u32>>>;

#[derive(Clone, FromRef)]
struct Exchange {
    prices: Prices,
    changes: broadcast::Sender<String>,
    cache: Cache,
}

pub(crate) fn app(cache: &Cache) -> Router {
    // What all clients ask for at once, after each announcement: one run of the handler answers them.
    let prices = cache.layer().ttl(Duration::from_secs(60)).tags(["prices"]).status_header(true);
    Router::new()
        .route("/prices", get(list).layer(prices))
        // No layer. With one, nothing would be stored, because the response is an event stream; but it would be counted as a miss.
        .route("/prices/events", get(events))
        .route("/prices/{name}", put(change))
        .with_state(Exchange { prices: Prices::default(), changes: broadcast::channel(64).0, cache: cache.clone() })
}

async fn list(State(prices): State<Prices>) -> Json<BTreeMap<String, u32>> {
    Json(prices.read().await.clone())
}

async fn events(State(changes): State<broadcast::Sender<String>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = unfold(changes.subscribe(), async |mut changes| {
        let event = match changes.recv().await {
            Ok(name) => Event::default().event("changed").data(name),
            // Too slow to be told of each change: whatever it was, ask for all.
            Err(RecvError::Lagged(_)) => Event::default().event("changed").data("*"),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), changes))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn change(Path(name): Path<String>, State(exchange): State<Exchange>, price: String) -> Result<StatusCode, Error> {
    let Ok(price) = price.parse() else { return Ok(StatusCode::BAD_REQUEST) };
    exchange.prices.write().await.insert(name.clone(), price); // commit
    exchange.cache.invalidate_tags(["prices"]).await?;
    // An error means that nobody listens. With several nodes, announce through what they share, such as Redis.
    let _ = exchange.changes.send(name);
    Ok(StatusCode::NO_CONTENT)
}
