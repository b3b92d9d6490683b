//! Redis away, slow, silent or deaf: handlers answer, and what was invalidated meanwhile does not come back.

use std::time::Duration;

use axum::{Router, routing};
use larder::{Cache, Reason, Redis, RedisBuilder};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use super::support::topology::{deadpool, everywhere, manager, patient};
use crate::{
    servers::{
        process::{eventually, free_port},
        proxy::{Fault, Proxy},
        redis::Redis as Server,
    },
    support::{Runs, get, minute, numbered},
};

fn app(cache: &Cache, runs: &Runs) -> Router {
    Router::new().route("/posts/{id}", routing::get(numbered(runs)).layer(minute(cache).tags(["posts", "post:{id}"])))
}

/// Short limits for what must fail.
fn hasty() -> RedisBuilder {
    Redis::builder().invalidate_timeout(Duration::from_millis(500))
}

/// A node that has no Redis: each request is answered by the handler, soon at once, and invalidations fail.
async fn assert_it_does_without(what: &str, cache: &Cache, redis: &Redis, app: &Router, runs: &Runs) {
    let mut asked = 0;
    while !redis.is_suspended() {
        let before = runs.count();
        let answer = get(app, "/posts/2").await;
        assert!(runs.count() > before && !answer.is_stored(), "{what}: {answer:?}");
        let reasons = [Reason::StoreTimeout, Reason::StoreError, Reason::StoreSuspended];
        assert!(answer.reason().is_some_and(|reason| reasons.contains(&reason)), "{what}: {answer:?}");
        asked += 1;
        assert!(asked < 100, "{what}: it goes on asking");
    }
    let began = Instant::now();
    for _ in 0..200 {
        let before = runs.count();
        let answer = get(app, "/posts/1").await;
        assert_eq!((runs.count(), answer.reason()), (before + 1, Some(Reason::StoreSuspended)), "{what}");
    }
    // 200 times the limit of a lookup would be 10 s.
    assert!(began.elapsed() < Duration::from_secs(5), "{what}: {:?} for 200 requests", began.elapsed());
    let error = cache.invalidate_tags(["post:1"]).await.unwrap_err();
    assert!(error.is_unavailable() || error.is_timeout(), "{what}: {error:?}");
}

/// What was invalidated during an outage: not served by the node that could not say so, nor by others once it could.
async fn outage(what: &str, server: &mut Server, mut begin: impl FnMut(&mut Server), mut end: impl FnMut(&mut Server)) {
    let runs = Runs::default();
    let redis = hasty().connect(&server.url()).await.unwrap();
    let (a, b) = (Cache::new(redis.clone()), Cache::new(patient().connect(&server.url()).await.unwrap()));
    let (app_a, app_b) = (app(&a, &runs), app(&b, &runs));
    eventually(what, async || get(&app_a, "/posts/1").await.is_hit()).await;
    let old = get(&app_b, "/posts/1").await.text().to_owned();
    begin(server);
    assert_it_does_without(what, &a, &redis, &app_a, &runs).await;
    end(server);
    eventually(what, async || {
        assert_ne!(get(&app_a, "/posts/1").await.text(), old, "{what}");
        !redis.is_suspended()
    })
    .await;
    for app in [&app_b, &app_a] {
        assert_ne!(get(app, "/posts/1").await.text(), old, "{what}");
        eventually(what, async || get(app, "/posts/1").await.is_hit()).await;
    }
    a.invalidate_tags(["post:1"]).await.unwrap();
}

#[tokio::test]
async fn stopped_or_dead_server_delays_no_request_and_restores_nothing() {
    let mut server = Server::start();
    outage("stopped", &mut server, |server| server.pause(), |server| server.resume()).await;
    outage("killed", &mut server, Server::kill, Server::start_again).await;
}

#[tokio::test]
async fn a_network_that_fails_in_any_way_brings_nothing_back() {
    let server = Server::start();
    for fault in [Fault::Silence, Fault::Deaf, Fault::Cut, Fault::HalfClosed, Fault::Delay(Duration::from_secs(2))] {
        let what = format!("{fault:?}");
        let proxy = Proxy::start(server.port).await;
        let runs = Runs::default();
        let redis = hasty().key_prefix(&what.replace(['{', '}'], "")).connect(&proxy.url()).await.unwrap();
        let other = patient().key_prefix(&what.replace(['{', '}'], "")).connect(&server.url()).await.unwrap();
        let (a, b) = (Cache::new(redis.clone()), Cache::new(other));
        let (app_a, app_b) = (app(&a, &runs), app(&b, &runs));
        eventually(&what, async || get(&app_a, "/posts/1").await.is_hit()).await;
        let old = get(&app_b, "/posts/1").await.text().to_owned();
        let connections = proxy.connections();
        proxy.set(fault);
        // The first to notice is an invalidation.
        let error = a.invalidate_tags(["post:1"]).await.unwrap_err();
        assert!(error.is_unavailable() || error.is_timeout(), "{what}: {error:?}");
        assert!(redis.is_suspended(), "{what}");
        assert_it_does_without(&what, &a, &redis, &app_a, &runs).await;
        proxy.set(Fault::None);
        eventually(&what, async || {
            assert_ne!(get(&app_a, "/posts/1").await.text(), old, "{what}");
            !redis.is_suspended()
        })
        .await;
        assert!(fault != Fault::HalfClosed || proxy.connections() > connections, "{what}: on a new connection");
        for app in [&app_b, &app_a] {
            assert_ne!(get(app, "/posts/1").await.text(), old, "{what}");
            eventually(&what, async || get(app, "/posts/1").await.is_hit()).await;
        }
    }
}

/// Too slow to be read from, and not too slow to be told what it missed: other nodes must not wait for it to be fast again.
#[tokio::test]
async fn slow_server_receives_missed_invalidations() {
    let server = Server::start();
    let proxy = Proxy::start(server.port).await;
    let runs = Runs::default();
    let limits = Redis::builder().read_timeout(Duration::from_millis(50)).invalidate_timeout(Duration::from_secs(10));
    let slow = limits.connect(&proxy.url()).await.unwrap();
    let (a, b) = (Cache::new(slow.clone()), Cache::new(patient().connect(&server.url()).await.unwrap()));
    let app_b = app(&b, &runs);
    eventually("hits", async || get(&app_b, "/posts/1").await.is_hit()).await;
    let old = get(&app_b, "/posts/1").await.text().to_owned();
    proxy.set(Fault::Cut);
    a.invalidate_tags(["post:1"]).await.unwrap_err();
    proxy.set(Fault::Delay(Duration::from_millis(200)));
    eventually("it is told", async || get(&app_b, "/posts/1").await.text() != old).await;
    assert!(slow.is_suspended(), "lookups would wait for it");
    proxy.set(Fault::None);
    eventually("it is fast again", async || !slow.is_suspended()).await;
}

#[test]
fn closed_connections_are_replaced() {
    everywhere(async |site| {
        let runs = Runs::default();
        let (a, b) = (site.node().await, site.node().await);
        let (app_a, app_b) = (app(&a.cache, &runs), app(&b.cache, &runs));
        for round in 0..5 {
            for app in [&app_a, &app_b] {
                eventually("hits", async || get(app, "/posts/1").await.is_hit()).await;
            }
            let old = get(&app_b, "/posts/1").await.text().to_owned();
            site.run_everywhere(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal"));
            // Not even one fails.
            let outcome = a.cache.invalidate_tags(["post:1"]).await;
            outcome.unwrap_or_else(|error| panic!("{:?} {round}: {error:?}", site.place));
            assert!(!a.redis.is_suspended());
            site.lease_ends().await;
            for app in [&app_a, &app_b] {
                assert_ne!(get(app, "/posts/1").await.text(), old, "{:?} {round}", site.place);
            }
        }
    });
}

/// A server that closes what is idle for a second, as many are told to.
#[tokio::test]
async fn no_operation_fails_because_the_server_has_closed_an_idle_connection() {
    let server = Server::start_with(&["--timeout", "1"]);
    let shared = patient().from_connection(manager(&server.url()).await);
    let pool = patient().from_connector(deadpool(&server.url(), 2));
    let caches = [Cache::new(patient().connect(&server.url()).await.unwrap()), Cache::new(shared), Cache::new(pool)];
    for round in 0..4 {
        for cache in &caches {
            let (runs, idle) = (Runs::default(), || sleep(Duration::from_millis(2500)));
            let app = app(cache, &runs);
            idle().await;
            match round {
                0 | 2 => _ = cache.invalidate_tags(["post:1"]).await.unwrap(),
                _ => {
                    let stored = get(&app, "/posts/1").await;
                    assert!(stored.is_stored() || stored.is_hit(), "{stored:?}");
                    idle().await;
                    let found = get(&app, "/posts/1").await;
                    assert!(found.is_hit(), "{found:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_comes_up_later_is_found() {
    let port = free_port();
    let redis = hasty().connect(&format!("redis://127.0.0.1:{port}")).await.unwrap();
    assert!(redis.is_suspended());
    let (cache, runs) = (Cache::new(redis.clone()), Runs::default());
    let app = app(&cache, &runs);
    assert_it_does_without("never up", &cache, &redis, &app, &runs).await;
    let _server = Server::start_at(port);
    eventually("up", async || get(&app, "/posts/1").await.is_hit()).await;
    cache.invalidate_tags(["post:1"]).await.unwrap();
    assert!(!get(&app, "/posts/1").await.is_hit());
}

#[tokio::test]
async fn more_invalidations_than_can_be_remembered_become_one_of_everything() {
    let mut server = Server::start();
    let runs = Runs::default();
    let redis = hasty().connect(&server.url()).await.unwrap();
    let (a, b) = (Cache::new(redis.clone()), Cache::new(patient().connect(&server.url()).await.unwrap()));
    let app_b = app(&b, &runs);
    eventually("hits", async || get(&app_b, "/posts/1").await.is_hit()).await;
    let old = get(&app_b, "/posts/1").await.text().to_owned();
    server.pause();
    a.invalidate_tags((0..70_000).map(|number| format!("tag {number}"))).await.unwrap_err();
    server.resume();
    eventually("it is told", async || !redis.is_suspended()).await;
    assert_ne!(get(&app_b, "/posts/1").await.text(), old);
    server.kill();
}

#[test]
fn thousands_of_tags_are_invalidated_at_once() {
    everywhere(async |site| {
        let runs = Runs::default();
        let (a, b) = site.nodes().await;
        let (app_a, app_b) = (app(&a, &runs), app(&b, &runs));
        for app in [&app_a, &app_b] {
            get(app, "/posts/4999").await;
        }
        let receipt = b.invalidate_tags((0..5000).map(|id| format!("post:{id}"))).await;
        assert_eq!(receipt.unwrap().tag_count, 5000, "{:?}", site.place);
        site.lease_ends().await;
        for app in [&app_a, &app_b] {
            assert_eq!(get(app, "/posts/4999").await.text(), "run 2", "{:?}", site.place);
        }
    });
}

/// Relays connections to a server whose handshake reports another version. Returns the URL.
async fn with_version(server: &Server, version: &'static str) -> String {
    let info: String = server.run("INFO server");
    let actual = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap();
    let actual = actual.rsplit_once('.').unwrap().0.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, port) = (format!("redis://{}", listener.local_addr().unwrap()), server.port);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let actual = actual.clone();
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
                tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
                let mut buffer = vec![0; 64 << 10];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    let reply = with_version_in_reply(&buffer[..read], &actual, version);
                    if to_client.write_all(&reply).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// Replaces the version in the reply to a handshake: a string of the clock, 32 bytes, and the version.
fn with_version_in_reply(reply: &[u8], actual: &str, version: &str) -> Vec<u8> {
    let clock = reply.strip_prefix(format!("${}\r\n", 32 + actual.len()).as_bytes());
    match clock.and_then(|clock| clock.strip_suffix(format!("{actual}\r\n").as_bytes())) {
        Some(clock) if clock.len() == 32 => {
            [format!("${}\r\n", 32 + version.len()).as_bytes(), clock, version.as_bytes(), b"\r\n"].concat()
        }
        _ => reply.to_vec(),
    }
}

#[tokio::test]
async fn a_server_before_redis_6_2_is_refused() {
    let server = Server::start();
    let message = "this server is Redis 6.0: larder needs 6.2 or later";
    let old = with_version(&server, "6.0").await;
    let error = patient().connect(&old).await.unwrap_err();
    assert_eq!(error.to_string(), message);
    let cache = Cache::new(patient().from_connection(manager(&old).await));
    let error = cache.invalidate_tags(["posts"]).await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string() == message, "{error:?}");

    let supported = patient().connect(&with_version(&server, "6.2").await).await.unwrap();
    Cache::new(supported).invalidate_tags(["posts"]).await.unwrap();
}
