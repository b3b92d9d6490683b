//! Images with two lifetimes: a short one for browsers, which nobody can invalidate, and a long one for larder, which can be told.
//!
//! - `/avatars/{user}` may be replaced. Browsers ask again after a minute, and usually receive a 304.
//! - `/thumbnails/{id}?width=…` is expensive to make, and is made in three widths only.
//! - `/assets/{digest}` has its content in its name, and never changes: a year for everybody.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{FromRef, Path, Query, State},
    http::{
        HeaderName, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use larder::{Cache, Error};
use serde::Deserialize;
use tokio::sync::RwLock;

type Images = Arc<RwLock<HashMap<String, Bytes>>>;

const WIDTHS: [u32; 3] = [100, 200, 400];
const LARDER_CACHE_CONTROL: HeaderName = HeaderName::from_static("larder-cache-control");
/// What browsers are told, and what larder is: the second field is not sent.
const MINUTE_AND_WEEK: [(HeaderName, &str); 2] = [(CACHE_CONTROL, "max-age=60"), (LARDER_CACHE_CONTROL, "max-age=604800")];
const IMMUTABLE: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "max-age=31536000, immutable")];

#[derive(Clone, FromRef)]
struct Site {
    images: Images,
    cache: Cache,
}

pub(crate) fn app(cache: &Cache) -> Router {
    // A header field's lifetime is limited to a day unless `max_ttl` says otherwise; bodies to 1 MiB.
    let image = cache.layer().max_ttl(Duration::from_secs(7 * 86_400)).max_body(4 << 20).status_header(true);
    // Images are the same for all. The entity tags let browsers ask whether one has changed.
    let image = image.ignore_cookies(true).auto_etag(true);
    Router::new()
        .route("/avatars/{user}", get(avatar).put(upload).layer(image.clone().ignore_query(["*"]).tags(["avatar:{user}"])))
        .route("/thumbnails/{user}", get(thumbnail).layer(image.clone().only_query(["width"]).tags(["avatar:{user}"])))
        .route("/assets/{digest}", get(asset).layer(image.ignore_query(["*"])))
        .with_state(Site { images: Images::default(), cache: cache.clone() })
}

async fn avatar(Path(user): Path<String>, State(images): State<Images>) -> Result<Response, StatusCode> {
    let image = images.read().await.get(&user).cloned().ok_or(StatusCode::NOT_FOUND)?;
    Ok((MINUTE_AND_WEEK, [(CONTENT_TYPE, "image/png")], image).into_response())
}

#[derive(Deserialize)]
struct Size {
    width: u32,
}

/// Any other width is refused: clients would fill the cache with sizes that nobody needs.
async fn thumbnail(
    Path(user): Path<String>,
    Query(size): Query<Size>,
    State(images): State<Images>,
) -> Result<Response, StatusCode> {
    if !WIDTHS.contains(&size.width) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let image = images.read().await.get(&user).cloned().ok_or(StatusCode::NOT_FOUND)?;
    let scaled = image.slice(..image.len().min(size.width as usize)); // in place of an expensive computation
    Ok((MINUTE_AND_WEEK, [(CONTENT_TYPE, "image/png")], scaled).into_response())
}

async fn asset(Path(digest): Path<String>) -> Response {
    (IMMUTABLE, [(CONTENT_TYPE, "text/css")], format!("/* {digest} */")).into_response()
}

/// One tag for the image in every size. Browsers show the new one after a minute at the latest.
async fn upload(Path(user): Path<String>, State(site): State<Site>, image: Bytes) -> Result<StatusCode, Error> {
    site.images.write().await.insert(user.clone(), image);
    site.cache.invalidate_tags(format!("avatar:{user}")).await?;
    Ok(StatusCode::NO_CONTENT)
}
