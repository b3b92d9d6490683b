//! One Redis, and one connection to it, for the sessions of an application and for its cache.
//!
//! ```sh
//! REDIS_URL=redis://localhost cargo run --example shared_redis --features redis
//! ```
//!
//! `LISTEN` sets the address (default `127.0.0.1:3000`).

use std::{env, error::Error, time::Duration};

use axum::{
    Router,
    extract::{FromRef, Path, State},
    http::{HeaderMap, StatusCode, header::COOKIE},
    routing::{get, post},
};
use larder::{Cache, Redis};
use redis::{AsyncCommands, Client, RedisResult, aio::ConnectionManager};
use tokio::net::TcpListener;

#[derive(Clone, FromRef)]
struct App {
    sessions: Sessions,
    cache: Cache,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost".to_owned());
    let manager = ConnectionManager::new(Client::open(url)?).await?;
    let cache = Cache::new(Redis::from_connection(manager.clone()));

    let minute = cache.layer().ttl(Duration::from_secs(60)).status_header(true);
    let app = Router::new()
        // The same for all: requests with a session are answered from the cache as well.
        .route("/news", get(news).layer(minute.ignore_cookies(true).tags(["news"])))
        .route("/news/new", post(publish))
        .route("/login/{user}", post(login))
        .route("/whoami", get(whoami))
        .with_state(App { sessions: Sessions(manager), cache });

    let listener = TcpListener::bind(env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned())).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn news() -> &'static str {
    "nothing happened"
}

async fn publish(State(cache): State<Cache>) -> StatusCode {
    match cache.invalidate_tags(["news"]).await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn login(
    State(sessions): State<Sessions>,
    Path(user): Path<String>,
) -> Result<([(&'static str, String); 1], String), StatusCode> {
    let session = sessions.begin(&user).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(([("set-cookie", format!("session={session}; Path=/; HttpOnly; SameSite=Lax"))], format!("hello, {user}")))
}

async fn whoami(State(sessions): State<Sessions>, headers: HeaderMap) -> Result<String, StatusCode> {
    let cookie = headers.get(COOKIE).and_then(|cookie| cookie.to_str().ok());
    let mut cookies = cookie.into_iter().flat_map(|cookie| cookie.split("; "));
    let session = cookies.find_map(|cookie| cookie.strip_prefix("session=")).ok_or(StatusCode::UNAUTHORIZED)?;
    let user = sessions.user(session).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    user.ok_or(StatusCode::UNAUTHORIZED)
}

/// What the application had before: sessions under keys of its own.
#[derive(Clone)]
struct Sessions(ConnectionManager);

impl Sessions {
    async fn begin(&self, user: &str) -> RedisResult<String> {
        let session = format!("{:032x}", fastrand::u128(..)); // an application takes a generator for secrets
        let () = self.0.clone().set_ex(format!("session:{session}"), user, 3600).await?;
        Ok(session)
    }

    async fn user(&self, session: &str) -> RedisResult<Option<String>> {
        self.0.clone().get(format!("session:{session}")).await
    }
}
