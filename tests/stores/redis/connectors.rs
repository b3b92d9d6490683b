//! Clients and pools that the application has already.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing};
use deadpool_redis::{Config, PoolConfig, Runtime};
use larder::{Cache, Redis};
use redis::Client;
use tokio::task::JoinSet;

use super::support::topology::{deadpool, patient};
use crate::{
    servers::{process::eventually, redis::Redis as Server},
    support::{Runs, get, minute, numbered},
};

fn app(cache: &Cache, runs: &Runs) -> Router {
    Router::new().route("/posts/{id}", routing::get(numbered(runs)).layer(minute(cache).tags(["posts", "post:{id}"])))
}

#[tokio::test]
async fn client_with_a_password_and_a_database_is_used_as_it_is() {
    let server = Server::start();
    server.run::<()>("CONFIG SET requirepass secret");
    let open = |url: String| Client::open(url).unwrap();
    let redis = patient().from_client(open(format!("redis://:secret@127.0.0.1:{}/3", server.port)));
    let cache = Cache::new(redis);
    let app = app(&cache, &Runs::default());
    assert!(get(&app, "/posts/1").await.is_stored());
    assert!(get(&app, "/posts/1").await.is_hit());
    let keyspace: String = redis::cmd("INFO")
        .arg("keyspace")
        .query(&mut open(format!("redis://:secret@127.0.0.1:{}", server.port)).get_connection().unwrap())
        .unwrap();
    assert!(keyspace.contains("db3:keys=") && !keyspace.contains("db0:"), "{keyspace}");

    let rejected = Cache::new(patient().from_client(open(server.url())));
    let error = rejected.invalidate_tags(["posts"]).await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("NOAUTH"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_of_a_pool_is_enough_for_many_requests() {
    let server = Server::start();
    let cache = Cache::new(patient().from_connector(deadpool(&server.url(), 1)));
    let runs = Runs::default();
    let app = app(&cache, &runs);
    for round in 1..=2 {
        let mut requests = JoinSet::new();
        for id in 0..200 {
            let app = app.clone();
            requests.spawn(async move { get(&app, &format!("/posts/{id}")).await });
        }
        let answers = requests.join_all().await;
        assert!(answers.iter().all(|answer| if round == 1 { answer.is_stored() } else { answer.is_hit() }), "{round}");
    }
    assert_eq!(runs.count(), 200);
}

#[tokio::test]
async fn while_the_application_uses_its_whole_pool_handlers_answer() {
    let server = Server::start();
    let mut config = Config::from_url(server.url());
    config.pool = Some(PoolConfig::new(1));
    let pool = config.create_pool(Some(Runtime::Tokio1)).unwrap();
    let lending = pool.clone();
    let redis = Redis::builder().read_timeout(Duration::from_millis(50)).from_connector(move || {
        let pool = lending.clone();
        async move { pool.get().await }
    });
    let (cache, runs) = (Cache::new(redis), Runs::default());
    let app = app(&cache, &runs);
    eventually("it is stored", async || get(&app, "/posts/1").await.is_hit()).await;

    let all = pool.get().await.unwrap();
    let before = runs.count();
    assert!(!get(&app, "/posts/1").await.is_hit());
    assert_eq!(runs.count(), before + 1);
    drop(all);
    eventually("the pool lends again", async || get(&app, "/posts/1").await.is_hit()).await;
}

#[tokio::test]
async fn connector_that_fails_is_like_a_server_that_is_away() {
    let server = Server::start();
    let (failures, client) = (Arc::new(AtomicU32::new(u32::MAX)), Client::open(server.url()).unwrap());
    let left = Arc::clone(&failures);
    let redis = patient().from_connector(move || {
        let (client, left) = (client.clone(), Arc::clone(&left));
        async move {
            match left.load(Ordering::Relaxed) {
                0 => client.get_multiplexed_async_connection().await.map_err(|error| error.to_string()),
                _ => Err("the token for Redis has expired".to_owned()),
            }
        }
    });
    let (cache, runs) = (Cache::new(redis.clone()), Runs::default());
    let app = app(&cache, &runs);
    assert!(!get(&app, "/posts/1").await.is_stored());
    let error = cache.invalidate_tags(["posts"]).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.is_unavailable() && source.contains("the token for Redis has expired"), "{error}: {source}");
    assert!(redis.is_suspended());

    failures.store(0, Ordering::Relaxed);
    eventually("it is used again", async || get(&app, "/posts/1").await.is_hit()).await;
}
