use axum::{Router, routing};
use larder::{Cache, Memory, Redis, Scope, Tiered};

use super::support::topology::{LEASE, everywhere, patient};
use crate::{
    servers::{process::eventually, redis::Redis as Server},
    support::{Runs, get, minute, numbered},
};

fn app(cache: &Cache, runs: &Runs) -> Router {
    let layer = minute(cache).tags(["posts", "post:{id}"]);
    Router::new().route("/posts/{id}", routing::get(numbered(runs)).layer(layer))
}

#[tokio::test]
async fn debug_output_is_short_and_shows_neither_internals_nor_passwords() {
    for scheme in [
        "redis://user:secret@127.0.0.1:1",
        "redis+sentinel://user:secret@127.0.0.1:1/mymaster",
        "redis+cluster://user:secret@127.0.0.1:1",
    ] {
        let builder = Redis::builder().key_prefix("shop");
        let redis = builder.clone().connect(scheme).await.unwrap();
        let tiered = Tiered::new(Memory::new(1 << 20), redis.clone()).lease(LEASE);
        for shown in [
            format!("{redis:?}"),
            format!("{:?}", Cache::new(redis)),
            format!("{:?}", Cache::new(tiered)),
            format!("{builder:?}"),
        ] {
            assert!(shown.contains("shop") && shown.len() < 500, "{shown}");
            assert!(!["secret", "hasher", "RandomState", "seed"].iter().any(|internal| shown.contains(internal)), "{shown}");
        }
    }
}

#[test]
fn nodes_share_pages_until_an_invalidation() {
    everywhere(async |site| {
        let place = site.place;
        let runs = Runs::default();
        let (a, b) = site.nodes().await;
        let (app_a, app_b) = (app(&a, &runs), app(&b, &runs));
        let first = get(&app_a, "/posts/1").await;
        assert!(first.is_stored(), "{place:?}: {first:?}");
        for app in [&app_b, &app_a, &app_b] {
            let hit = get(app, "/posts/1").await;
            assert!(hit.is_hit(), "{place:?}: {hit:?}");
            assert_eq!(hit.text(), "run 1");
        }
        b.invalidate_tags(["post:1"]).await.unwrap();
        assert_eq!(get(&app_b, "/posts/1").await.text(), "run 2", "{place:?}");
        site.lease_ends().await;
        assert_eq!(get(&app_a, "/posts/1").await.text(), "run 2", "{place:?}");
        assert!(get(&app_b, "/posts/1").await.is_hit(), "{place:?}");
        b.clear().await.unwrap();
        assert_eq!(get(&app_b, "/posts/1").await.text(), "run 3", "{place:?}");
        site.lease_ends().await;
        assert_eq!(get(&app_a, "/posts/1").await.text(), "run 3", "{place:?}");
    });
}

#[test]
fn receipts_state_the_lease_of_the_nodes() {
    everywhere(async |site| {
        // A node without copies, such as a command-line tool.
        let tool = Cache::new(site.node().await.redis);
        let scope = async |cache: &Cache| cache.invalidate_tags("posts").await.unwrap().scope;
        assert_eq!(scope(&tool).await, Scope::Nodes, "{:?}", site.place);

        let leased = Cache::new(Tiered::new(Memory::new(1 << 20), site.node().await.redis).lease(LEASE));
        get(&app(&leased, &Runs::default()), "/posts/1").await;
        eventually("the lease is announced", async || scope(&tool).await == Scope::NodesWithin(LEASE)).await;
        assert_eq!(scope(&leased).await, Scope::NodesWithin(LEASE), "{:?}", site.place);
        assert_eq!(tool.clear().await.unwrap().scope, Scope::NodesWithin(LEASE), "{:?}", site.place);
    });
}

#[tokio::test]
async fn another_program_invalidates_in_one_line() {
    let server = Server::start();
    let redis = patient().connect(&server.url()).await.unwrap();
    redis.install_function().await.unwrap();
    let runs = Runs::default();
    let app = app(&Cache::new(redis), &runs);
    for path in ["/posts/7", "/posts/8"] {
        get(&app, path).await;
    }
    let invalidated: i64 = server.run("FCALL larder_invalidate 0 larder post:7 nobody");
    assert_eq!(invalidated, 1);
    assert_eq!(get(&app, "/posts/7").await.text(), "run 3");
    assert!(get(&app, "/posts/8").await.is_hit());
}

#[tokio::test]
async fn another_program_invalidates_in_a_namespace_and_notices_a_wrong_one() {
    let server = Server::start();
    let redis = patient().connect(&server.url()).await.unwrap();
    redis.install_function().await.unwrap();
    let cache = Cache::new(redis);
    let (shop, plain) = (app(&cache.with_namespace("shop"), &Runs::default()), app(&cache, &Runs::default()));
    for app in [&shop, &plain] {
        get(app, "/posts/7").await;
        assert!(get(app, "/posts/7").await.is_hit());
    }
    for (wrong, reply) in [
        ("FCALL larder_invalidate 0 shop post:7", None),
        ("FCALL larder_invalidate_in 0 shop larder post:7", None),
        ("FCALL larder_invalidate 0 larder", None),
        ("FCALL larder_invalidate_in 0 larder post:7", None),
        ("FCALL larder_invalidate_in 0 larder shpo post:7", Some(0)),
        ("FCALL larder_invalidate 0 larder shop", Some(0)),
    ] {
        assert_eq!(server.try_run::<i64>(wrong).ok(), reply, "{wrong}");
        assert!(get(&shop, "/posts/7").await.is_hit() && get(&plain, "/posts/7").await.is_hit(), "{wrong}");
    }
    assert_eq!(server.run::<i64>("EXISTS {shop}:clock"), 0);
    assert_eq!(server.run::<i64>("FCALL larder_invalidate_in 0 larder shop post:7"), 1);
    assert!(!get(&shop, "/posts/7").await.is_hit());
    assert!(get(&plain, "/posts/7").await.is_hit());
}
