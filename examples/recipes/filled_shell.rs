//! The same as `site_with_sessions` without a script: a layer outside the cache fills the reader's name and CSRF token into the cached page.
//!
//! The marks in the page contain `<`, which escaped text cannot. So a comment that contains a mark is not filled in, and cannot send a
//! reader's token anywhere.

use std::time::Duration;

use axum::{
    Extension, Form, Router,
    body::to_bytes,
    extract::{Path, Request},
    http::{
        HeaderValue, StatusCode,
        header::{
            ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
            LAST_MODIFIED, RANGE,
        },
    },
    middleware::{Next, from_fn},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use larder::Cache;
use serde::Deserialize;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer, cookie::SameSite};

use crate::shared::{Failed, escaped, random_token};

const NAME: &str = "<!--name-->";
const TOKEN: &str = "<!--token-->";

pub(crate) fn app(cache: &Cache) -> Router {
    let page = cache.layer().ttl(Duration::from_secs(300)).ignore_cookies(true).sealed(true).status_header(true);
    // Leave `with_secure` out where there is TLS.
    let sessions = SessionManagerLayer::new(MemoryStore::default()).with_secure(false).with_same_site(SameSite::Lax);
    Router::new()
        .route("/posts/{id}", get(show).layer(page.tags(["post:{id}"])))
        // Outside the cache, since it is added later: it runs for hits as well.
        .layer(from_fn(fill))
        .route("/login", post(login))
        .route("/like", post(like))
        .layer(sessions)
}

async fn show(Path(id): Path<u32>) -> Html<String> {
    Html(format!(
        "<!doctype html><title>Post {id}</title>
        <nav>Logged in as <b>{NAME}</b></nav>
        <h1>Post {id}</h1>
        <form method=post action=/like><input name=token type=hidden value=\"{TOKEN}\"><button>Like</button></form>"
    ))
}

/// Fills in what belongs to the reader. The session is taken out of the request, so that no cached handler can read it.
async fn fill(Extension(session): Extension<Session>, mut request: Request, next: Next) -> Result<Response, Failed> {
    request.extensions_mut().remove::<Session>();
    // A part of a page cannot be filled in, nor a compressed one. That it has not changed says nothing about the reader.
    for field in [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE, ACCEPT_ENCODING] {
        request.headers_mut().remove(field);
    }
    let response = next.run(request).await;
    let is_html = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_html || response.status() != StatusCode::OK {
        return Ok(response);
    }

    let name = session.get::<String>("name").await?.unwrap_or_else(|| "nobody".to_owned());
    let token = session.get::<String>("token").await?.unwrap_or_default();
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.map_err(|_| Failed::Internal)?;
    let page = String::from_utf8_lossy(&body).replace(NAME, &escaped(&name)).replace(TOKEN, &token);
    // Of this reader alone from here on: for browsers, and for every cache in front.
    for field in [CONTENT_LENGTH, ETAG, LAST_MODIFIED] {
        parts.headers.remove(field);
    }
    parts.headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    Ok((parts, page).into_response())
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

/// An application verifies a password first.
async fn login(session: Session, Form(login): Form<Login>) -> Result<Redirect, Failed> {
    session.cycle_id().await?;
    session.insert("name", login.name).await?;
    session.insert("token", random_token()?).await?;
    Ok(Redirect::to("/posts/1"))
}

#[derive(Deserialize)]
struct Like {
    token: String,
}

async fn like(session: Session, Form(like): Form<Like>) -> Result<StatusCode, Failed> {
    match session.get::<String>("token").await? {
        Some(token) if token == like.token => Ok(StatusCode::NO_CONTENT),
        _ => Err(Failed::Forbidden),
    }
}
