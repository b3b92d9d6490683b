//! Pages in several languages under one URL. A layer outside the cache decides on the language, and says so in one field with one of three
//! values: the cache needs one entry for each of them, however browsers spell their preferences.
//!
//! A site with the language in its paths (`/de/about`) needs nothing of this.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{FromRef, Path, Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_LANGUAGE, CONTENT_LANGUAGE, COOKIE, VARY},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use larder::{Cache, CacheTags, Error, LanguageMatcher};
use tokio::sync::RwLock;

/// The first is the default.
const LANGUAGES: [&str; 3] = ["en", "de", "fr"];

type Texts = Arc<RwLock<HashMap<String, String>>>;

#[derive(Clone, FromRef)]
struct Site {
    texts: Texts,
    cache: Cache,
}

pub(crate) fn app(cache: &Cache) -> Router {
    let texts = [("en", "Hello"), ("de", "Hallo"), ("fr", "Bonjour")];
    let texts = texts.map(|(language, text)| (language.to_owned(), text.to_owned())).into();
    let page = cache.layer().ttl(Duration::from_secs(3600)).vary_on(["accept-language"]).ignore_cookies(true).sealed(true);
    Router::new()
        .route("/", get(greet).layer(page.status_header(true)))
        .layer(from_fn(decide))
        .route("/texts/{language}", put(translate))
        .with_state(Site { texts: Arc::new(RwLock::new(texts)), cache: cache.clone() })
}

/// The visitor's own choice, a cookie, or else what the browser prefers.
async fn decide(mut request: Request, next: Next) -> Response {
    let preferred = request.headers().get(ACCEPT_LANGUAGE).and_then(|field| field.to_str().ok()).unwrap_or_default();
    let matcher = LanguageMatcher::new(LANGUAGES);
    let wanted = chosen(request.headers()).unwrap_or_else(|| matcher.best(preferred));
    let language = LANGUAGES.into_iter().find(|language| *language == wanted).unwrap_or(LANGUAGES[0]);
    request.headers_mut().insert(ACCEPT_LANGUAGE, HeaderValue::from_static(language));

    let mut response = next.run(request).await;
    // For the caches in front, which do not know of the decision. The layer has named `Accept-Language` itself.
    response.headers_mut().append(VARY, HeaderValue::from_static("cookie"));
    response
}

fn chosen(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?;
    let language = cookies.split("; ").find_map(|cookie| cookie.strip_prefix("language="))?;
    LANGUAGES.contains(&language).then_some(language)
}

/// The tag names the language, so that a translator's correction leaves the other languages alone.
async fn greet(headers: HeaderMap, State(texts): State<Texts>) -> impl IntoResponse {
    let language = headers.get(ACCEPT_LANGUAGE).and_then(|field| field.to_str().ok()).unwrap_or(LANGUAGES[0]).to_owned();
    let text = texts.read().await.get(&language).cloned().unwrap_or_default();
    (CacheTags::new(format!("texts:{language}")), [(CONTENT_LANGUAGE, language)], text)
}

async fn translate(Path(language): Path<String>, State(site): State<Site>, text: String) -> Result<StatusCode, Error> {
    if !LANGUAGES.contains(&language.as_str()) {
        return Ok(StatusCode::NOT_FOUND);
    }
    site.texts.write().await.insert(language.clone(), text);
    site.cache.invalidate_tags(format!("texts:{language}")).await?;
    Ok(StatusCode::NO_CONTENT)
}
