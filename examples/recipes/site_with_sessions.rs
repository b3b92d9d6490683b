//! An HTML site with a login. Its pages are the same for everybody and come from the cache; the name in the navigation bar and the CSRF
//! token come from a route of their own, which a script asks.
//!
//! Two rules keep users apart:
//! - The session layer is around the routes that need a session, and not around the pages: a page's handler has no session to read.
//! - The pages' layer ignores cookies and is sealed: their handlers do not see the cookie either.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Form, Json, Router,
    extract::{FromRef, Path, State},
    http::header::CACHE_CONTROL,
    response::{Html, IntoResponse, Redirect},
    routing::{get, post},
};
use larder::Cache;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::RwLock;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer, cookie::SameSite};

use crate::shared::{Failed, escaped, random_token};

/// The comments of each post.
type Comments = Arc<RwLock<HashMap<u32, Vec<String>>>>;

#[derive(Clone, FromRef)]
struct Site {
    comments: Comments,
    cache: Cache,
}

pub(crate) fn app(cache: &Cache) -> Router {
    let page = cache.layer().ttl(Duration::from_secs(300)).ignore_cookies(true).sealed(true).status_header(true);
    let pages = Router::new().route("/posts/{id}", get(show).layer(page.tags(["post:{id}"])));

    // Leave `with_secure` out where there is TLS.
    let sessions = SessionManagerLayer::new(MemoryStore::default()).with_secure(false).with_same_site(SameSite::Lax);
    let personal = Router::new()
        .route("/me", get(me))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/posts/{id}/comments", post(comment))
        .layer(sessions);
    pages.merge(personal).with_state(Site { comments: Comments::default(), cache: cache.clone() })
}

/// The shell: everything but what belongs to the reader.
async fn show(Path(id): Path<u32>, State(comments): State<Comments>) -> Html<String> {
    let comments: String = comments.read().await.get(&id).into_iter().flatten().map(|text| format!("<li>{text}")).collect();
    Html(format!(
        "<!doctype html><title>Post {id}</title>
        <nav>Logged in as <b id=me>nobody</b></nav>
        <h1>Post {id}</h1><ul>{comments}</ul>
        <form method=post action=/posts/{id}/comments><input name=text><input name=token type=hidden><button>Comment</button></form>
        <script>
            fetch('/me').then(response => response.json()).then(({{ name, token }}) => {{
                if (name) document.getElementById('me').textContent = name;
                document.querySelector('[name=token]').value = token;
            }});
        </script>"
    ))
}

/// What belongs to the reader. No layer of the cache, and no other cache keeps it.
async fn me(session: Session) -> Result<impl IntoResponse, Failed> {
    let (name, token) = (session.get::<String>("name").await?, session.get::<String>("token").await?);
    Ok(([(CACHE_CONTROL, "no-store")], Json(json!({ "name": name, "token": token }))))
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

/// The session begins here and not at the first visit. An application verifies a password first.
async fn login(session: Session, Form(login): Form<Login>) -> Result<Redirect, Failed> {
    session.cycle_id().await?;
    session.insert("name", login.name).await?;
    session.insert("token", random_token()?).await?;
    Ok(Redirect::to("/posts/1"))
}

async fn logout(session: Session) -> Result<Redirect, Failed> {
    session.flush().await?;
    Ok(Redirect::to("/posts/1"))
}

#[derive(Deserialize)]
struct Comment {
    text: String,
    token: String,
}

async fn comment(
    Path(id): Path<u32>,
    State(site): State<Site>,
    session: Session,
    Form(comment): Form<Comment>,
) -> Result<Redirect, Failed> {
    let (name, token) = (session.get::<String>("name").await?, session.get::<String>("token").await?);
    let (Some(name), true) = (name, token == Some(comment.token)) else { return Err(Failed::Forbidden) };
    let text = format!("{}: {}", escaped(&name), escaped(&comment.text));
    site.comments.write().await.entry(id).or_default().push(text);
    site.cache.invalidate_tags(format!("post:{id}")).await?;
    Ok(Redirect::to(&format!("/posts/{id}")))
}
