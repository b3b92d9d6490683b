//! Lists in pages, and a search. Every page of a list is an entry of its own, and one invalidation reaches all of them.
//!
//! What a client can invent is kept out of the key: other parameters, their order, pages that do not exist, and other spellings of the same
//! search.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRef, Query, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use larder::{Cache, Error};
use serde::Deserialize;
use tokio::sync::RwLock;

type Products = Arc<RwLock<Vec<String>>>;

const PAGE: usize = 20;
const LONGEST_SEARCH: usize = 80;

#[derive(Clone, FromRef)]
struct Shop {
    products: Products,
    cache: Cache,
}

pub(crate) fn app(cache: &Cache) -> Router {
    let products = (1..=50).map(|number| format!("product {number}")).collect();
    let layer = cache.layer().tags(["products"]).sort_query(true).status_header(true);
    // There are few pages and many searches: those are kept for a shorter time, and shown once more while they are computed again.
    let pages = layer.clone().ttl(Duration::from_secs(600)).only_query(["page", "order"]);
    let searches = layer.ttl(Duration::from_secs(30)).only_query(["q", "page"]).stale_while_revalidate(Duration::from_secs(30));
    Router::new()
        // The layer is last, so that it covers `post`.
        .route("/products", get(list).post(add).layer(pages))
        .route("/search", get(search).layer(searches))
        .with_state(Shop { products: Arc::new(RwLock::new(products)), cache: cache.clone() })
}

#[derive(Deserialize)]
struct Listing {
    page: Option<usize>,
    #[serde(default)]
    order: Order,
}

/// An enum, so that an order that does not exist is refused with a 400, which is not stored.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Oldest,
    Newest,
}

async fn list(Query(listing): Query<Listing>, State(products): State<Products>) -> Response {
    let mut products = products.read().await.clone();
    if listing.order == Order::Newest {
        products.reverse();
    }
    page_of(&products, listing.page)
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
    page: Option<usize>,
}

async fn search(Query(search): Query<Search>, RawQuery(query): RawQuery, State(products): State<Products>) -> Response {
    let words: Vec<_> = search.q.split_whitespace().map(str::to_lowercase).collect();
    let wanted = words.join(" ");
    if wanted.is_empty() || wanted.len() > LONGEST_SEARCH {
        return StatusCode::BAD_REQUEST.into_response();
    }
    // One spelling has the results, and all others lead there. The layer has sorted the parameters.
    let normal = normal_query(&wanted, search.page);
    if query != Some(normal.clone()) {
        return Redirect::permanent(&format!("/search?{normal}")).into_response();
    }
    let found: Vec<_> = products.read().await.iter().filter(|product| product.contains(&wanted)).cloned().collect();
    page_of(&found, search.page)
}

fn normal_query(wanted: &str, page: Option<usize>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(page) = page.filter(|page| *page > 1) {
        query.append_pair("page", &page.to_string());
    }
    query.append_pair("q", wanted).finish()
}

/// A page with nothing on it is a 404, which is not stored: clients cannot fill the cache with pages that do not exist.
fn page_of(products: &[String], page: Option<usize>) -> Response {
    let page = page.unwrap_or(1).saturating_sub(1);
    let shown: Vec<_> = products.iter().skip(page.saturating_mul(PAGE)).take(PAGE).map(String::as_str).collect();
    match shown.is_empty() && page > 0 {
        true => StatusCode::NOT_FOUND.into_response(),
        false => shown.join("\n").into_response(),
    }
}

/// A new product moves all that come after it: every page of every order, and every search.
async fn add(State(shop): State<Shop>, name: String) -> Result<StatusCode, Error> {
    shop.products.write().await.push(name.to_lowercase());
    shop.cache.invalidate_tags(["products"]).await?;
    Ok(StatusCode::CREATED)
}
