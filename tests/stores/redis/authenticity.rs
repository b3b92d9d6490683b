//! Entries that somebody else has written to Redis.

use axum::{Router, routing};
use larder::{Cache, Memory, Tiered};
use redis::cmd;

use super::support::topology::patient;
use crate::{
    servers::redis::Redis as Server,
    support::{Runs, get, logs::Logs, minute, numbered},
};

fn app(cache: &Cache, runs: &Runs) -> Router {
    let page = routing::get(numbered(runs));
    Router::new().route("/a", page.clone()).route("/b", page).route_layer(minute(cache).tags(["page"]))
}

async fn cache(server: &Server) -> Cache {
    Cache::new(patient().connect(&server.url()).await.unwrap())
}

#[tokio::test]
async fn an_entry_without_the_secret_is_a_miss_and_logged_once() {
    let (logs, _guard) = Logs::collect();
    let server = Server::start();
    let forger = cache(&server).await;
    for (forged_by, what) in [(forger.clone(), "without a secret"), (forger.with_secret("another"), "with another secret")] {
        let tier = Tiered::new(Memory::new(1 << 20), patient().connect(&server.url()).await.unwrap());
        for victim in [cache(&server).await, Cache::new(tier)] {
            let victim = victim.with_secret("secret");
            victim.clear().await.unwrap();
            let forged = app(&forged_by, &Runs::default());
            assert!(get(&forged, "/a").await.is_stored() && get(&forged, "/a").await.is_hit(), "{what}");
            let runs = Runs::default();
            runs.begin();
            let app = app(&victim, &runs);
            for _ in 0..5 {
                assert_eq!(get(&app, "/a").await.text(), "run 2", "{what}");
            }
            assert!(get(&app, "/a").await.is_hit(), "{what}: its own entry");
            let node = cache(&server).await.with_secret("secret");
            assert_eq!(get(&self::app(&node, &runs), "/a").await.text(), "run 2", "{what}: an entry of a node with the secret");
            assert_eq!(logs.take().len(), 1, "{what}");
        }
    }
}

#[tokio::test]
async fn an_entry_that_was_moved_or_changed_is_a_miss() {
    let server = Server::start();
    let cache = cache(&server).await.with_secret("secret");
    let runs = Runs::default();
    let app = app(&cache, &runs);
    let mut connection = connection_to(&server).await;
    let (first, second) = (get(&app, "/a").await, get(&app, "/b").await);
    assert!(first.is_stored() && second.is_stored());
    let names: Vec<Vec<u8>> = cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    let mut entries = Vec::new();
    for name in names {
        let value: Result<Vec<u8>, _> = cmd("GET").arg(&name).query_async(&mut connection).await;
        if let Ok(value) = value
            && value.windows(5).any(|part| part == b"run 1" || part == b"run 2")
        {
            entries.push((name, value));
        }
    }
    assert_eq!(entries.len(), 2);
    for (index, (name, own)) in entries.iter().enumerate() {
        let other = &entries[1 - index].1;
        let mut changed = own.clone();
        let last = changed.len() - 1;
        changed[last] = b'9';
        for value in [other, &own[..own.len() - 1].to_vec(), &changed] {
            let before = runs.count();
            () = cmd("SET").arg(name).arg(value).query_async(&mut connection).await.unwrap();
            for path in ["/a", "/b"] {
                assert_ne!(get(&app, path).await.text(), "run 9");
            }
            assert_eq!(runs.count(), before + 1, "one of the two pages is made again");
        }
    }
}

async fn connection_to(server: &Server) -> redis::aio::MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}
