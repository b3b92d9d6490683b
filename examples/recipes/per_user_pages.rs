//! A page of each user's own, stored once for each user: `axum-login` outside the cache says who asks, and the key contains the answer.
//!
//! Worth it where one user asks for the same slow page again and again. Nodes that share a store need the same `Cache::with_secret`.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Form, Router,
    extract::{FromRef, State},
    http::{StatusCode, header::CACHE_CONTROL, request::Parts},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use axum_login::{AuthManagerLayerBuilder, AuthUser, AuthnBackend, login_required};
use larder::{Cache, CacheTags};
use serde::Deserialize;
use tokio::sync::RwLock;
use tower_sessions::{MemoryStore, SessionManagerLayer};

type Orders = Arc<RwLock<HashMap<String, Vec<String>>>>;
type AuthSession = axum_login::AuthSession<Users>;

#[derive(Clone, FromRef)]
struct Shop {
    orders: Orders,
    cache: Cache,
}

pub(crate) fn app(cache: &Cache) -> Router {
    let own = cache.layer().ttl(Duration::from_secs(300)).per_principal(principal).status_header(true);
    // Leave `with_secure` out where there is TLS.
    let sessions = SessionManagerLayer::new(MemoryStore::default()).with_secure(false);
    Router::new()
        // An order changes the page of one user: the URL, which all users have in common, is not invalidated.
        .route("/orders", get(orders).post(order).layer(own.invalidate_on_write(false)))
        // Outside the cache: it has to see every request, hits included.
        .route_layer(login_required!(Users))
        .route("/login", post(login))
        .layer(AuthManagerLayerBuilder::new(Users, sessions).build())
        .with_state(Shop { orders: Orders::default(), cache: cache.clone() })
}

/// Everything that distinguishes one user's page from another's.
fn principal(request: &Parts) -> Option<String> {
    Some(request.extensions.get::<AuthSession>()?.user.as_ref()?.id())
}

/// `private` for browsers and the caches in front; `Larder-Cache-Control` is for larder alone, and is not sent.
async fn orders(auth: AuthSession, State(orders): State<Orders>) -> Result<Response, StatusCode> {
    let user = auth.user.ok_or(StatusCode::UNAUTHORIZED)?;
    let orders = orders.read().await.get(&user.name).cloned().unwrap_or_default();
    let lifetimes = [(CACHE_CONTROL.as_str(), "private, no-cache"), ("larder-cache-control", "max-age=300")];
    let page = format!("orders of {}: {}", user.name, orders.join(", "));
    Ok((CacheTags::new(user.tag()), lifetimes, page).into_response())
}

async fn order(auth: AuthSession, State(shop): State<Shop>, what: String) -> Result<StatusCode, Response> {
    let user = auth.user.ok_or_else(|| StatusCode::UNAUTHORIZED.into_response())?;
    shop.orders.write().await.entry(user.name.clone()).or_default().push(what);
    shop.cache.invalidate_tags(user.tag()).await.map_err(IntoResponse::into_response)?;
    Ok(StatusCode::CREATED)
}

async fn login(mut auth: AuthSession, Form(credentials): Form<Credentials>) -> Result<Redirect, StatusCode> {
    let user = auth.authenticate(credentials).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let user = user.ok_or(StatusCode::UNAUTHORIZED)?;
    auth.login(&user).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Redirect::to("/orders"))
}

#[derive(Debug, Clone)]
struct User {
    name: String,
}

impl User {
    fn tag(&self) -> String {
        format!("orders:{}", self.name)
    }
}

impl AuthUser for User {
    type Id = String;

    fn id(&self) -> String {
        self.name.clone()
    }

    fn session_auth_hash(&self) -> &[u8] {
        b"the hash of the password"
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Credentials {
    name: String,
}

/// Every short name is a user, without a password: an application has a table, and verifies.
#[derive(Debug, Clone)]
struct Users;

impl AuthnBackend for Users {
    type User = User;
    type Credentials = Credentials;
    type Error = Infallible;

    async fn authenticate(&self, credentials: Credentials) -> Result<Option<User>, Infallible> {
        self.get_user(&credentials.name).await
    }

    async fn get_user(&self, name: &String) -> Result<Option<User>, Infallible> {
        Ok((1..=40).contains(&name.len()).then(|| User { name: name.clone() }))
    }
}
