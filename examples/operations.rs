//! An application with a login, and behind it the operator's page; its metrics are for Prometheus.
//!
//! ```sh
//! OPERATOR_PASSWORD=secret VIEWER_PASSWORD=public cargo run --example operations --features admin
//! ```
//!
//! Log in at `/login` as `operator`, who may do everything, or as `viewer`, who may look. The page is at `/ops/cache`: a client that is not logged
//! in gets a 404. `/metrics` has the text format of Prometheus.
//!
//! `LISTEN` sets the address (default `127.0.0.1:3000`), `CACHE_URL` the store (default `memory:64mb`), and `LARDER_TOKEN` a secret with which
//! the tool `larder` may use the page: `larder --admin http://127.0.0.1:3000/ops/cache --token … stats`.

use std::{
    collections::HashMap,
    env,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Form, Router,
    extract::{Path, Query, Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, COOKIE, SET_COOKIE},
        request::Parts,
    },
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use larder::{
    Cache,
    admin::{Access, Admin},
};
use serde::Deserialize;
use tokio::{net::TcpListener, time::sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("CACHE_URL").unwrap_or_else(|_| "memory:64mb".to_owned());
    let cache = Cache::connect(&url).await?;
    let sessions = Sessions::default();
    let site = site(&cache);

    let mut admin = Admin::new(&cache).authorize(access).refresh_through(site.clone());
    if let Ok(token) = env::var("LARDER_TOKEN") {
        admin = admin.bearer(token);
    }
    let app = site
        .merge(login(&sessions))
        .route("/metrics", get(metrics).with_state(cache))
        .nest_service("/ops/cache", admin.into_router())
        // Around everything: the page finds the user in the extensions of its requests.
        .layer(middleware::from_fn_with_state(sessions, identify));

    let address = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// Decides who may use the operator's page.
fn access(request: &Parts) -> Access {
    match request.extensions.get::<User>() {
        Some(user) if user.is_operator => Access::full(user.name),
        Some(user) => Access::read_only(user.name),
        None => Access::Denied, // answered with 404
    }
}

/// The pages that are cached, with their tags.
fn site(cache: &Cache) -> Router {
    // The pages are the same for everybody, logged in or not.
    let minute = cache.layer().ttl(Duration::from_secs(60)).ignore_cookies(true).status_header(true);
    let posts = Posts::default();
    let show = get(show).layer(minute.clone().tags(["posts", "post:{id}"]));
    Router::new()
        .route("/", get(index).layer(minute.tags(["posts"])))
        .route("/posts/{id}", show.put(update))
        // Says nothing about its freshness, so it is not stored: the page shows why, and what would change it.
        .route("/search", get(search).layer(cache.layer().ignore_cookies(true)))
        .with_state(Site { posts, cache: cache.clone() })
}

#[derive(Clone)]
struct Site {
    posts: Posts,
    cache: Cache,
}

type Posts = Arc<Mutex<HashMap<u32, String>>>;

async fn index() -> Html<String> {
    sleep(Duration::from_millis(50)).await;
    Html((1..=9).map(|id| format!("<p><a href=/posts/{id}>Post {id}</a>\n")).collect())
}

async fn show(Path(id): Path<u32>, State(site): State<Site>) -> String {
    sleep(Duration::from_millis(20)).await;
    lock(&site.posts).get(&id).cloned().unwrap_or_else(|| format!("The text of post {id}."))
}

/// Changes a post first, and then invalidates it.
async fn update(Path(id): Path<u32>, State(site): State<Site>, text: String) -> Result<StatusCode, larder::Error> {
    lock(&site.posts).insert(id, text);
    site.cache.invalidate_tags([format!("post:{id}")]).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn search(Query(query): Query<HashMap<String, String>>) -> String {
    format!("{} posts were found", query.len())
}

/// The metrics have routes as labels, and nothing of a request. Where they must not be public, serve them on another port.
async fn metrics(State(cache): State<Cache>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], cache.stats().prometheus())
}

/// Someone who is logged in.
#[derive(Debug, Clone, Copy)]
struct User {
    name: &'static str,
    is_operator: bool,
}

/// Who is logged in, by the secret in the cookie. An application has its own login, which also hashes passwords and ends sessions.
#[derive(Debug, Clone, Default)]
struct Sessions(Arc<Mutex<HashMap<String, User>>>);

const SESSION: &str = "session";

impl Sessions {
    fn begin(&self, user: User) -> Result<String, getrandom::Error> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret)?;
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        lock(&self.0).insert(secret.clone(), user);
        Ok(secret)
    }

    fn user(&self, headers: &HeaderMap) -> Option<User> {
        let cookies = headers.get(COOKIE)?.to_str().ok()?;
        let secret = cookies.split("; ").find_map(|cookie| cookie.strip_prefix(SESSION)?.strip_prefix('='))?;
        lock(&self.0).get(secret).copied()
    }
}

/// Puts the user of a session into the extensions of the request.
async fn identify(State(sessions): State<Sessions>, mut request: Request, next: Next) -> Response {
    if let Some(user) = sessions.user(request.headers()) {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

fn login(sessions: &Sessions) -> Router {
    Router::new().route("/login", get(ask).merge(post(begin))).with_state(sessions.clone())
}

async fn ask() -> Html<&'static str> {
    Html(
        "<!doctype html><title>Log in</title><form method=post>\
         <p><label>Name <input name=name autocomplete=username></label>\
         <p><label>Password <input name=password type=password autocomplete=current-password></label>\
         <p><button>Log in</button></form>",
    )
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

async fn begin(State(sessions): State<Sessions>, Form(credentials): Form<Credentials>) -> Result<Response, StatusCode> {
    let user = verified(&credentials).ok_or(StatusCode::UNAUTHORIZED)?;
    let secret = sessions.begin(user).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    // With `Secure` as well, where there is TLS.
    let cookie = format!("{SESSION}={secret}; Path=/; HttpOnly; SameSite=Lax");
    Ok(([(SET_COOKIE, cookie)], Redirect::to("/ops/cache/")).into_response())
}

/// Compares with the passwords in the environment. A name without a password cannot log in.
fn verified(credentials: &Credentials) -> Option<User> {
    let users = [
        (User { name: "operator", is_operator: true }, "OPERATOR_PASSWORD"),
        (User { name: "viewer", is_operator: false }, "VIEWER_PASSWORD"),
    ];
    let (user, variable) = users.into_iter().find(|(user, _)| user.name == credentials.name)?;
    let password = env::var(variable).ok().filter(|password| !password.is_empty())?;
    is_same(password.as_bytes(), credentials.password.as_bytes()).then_some(user)
}

/// Compares in a time that depends on the lengths alone.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
