use axum::{Router, routing};
use larder::Cache;

use super::support::topology::{everywhere, patient};
use crate::{
    servers::redis::Redis as Server,
    support::{Runs, get, minute, numbered},
};

fn app(cache: &Cache, runs: &Runs) -> Router {
    let layer = minute(cache).tags(["posts", "post:{id}"]);
    Router::new().route("/posts/{id}", routing::get(numbered(runs)).layer(layer))
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
    assert_eq!(invalidated, 2);
    assert_eq!(get(&app, "/posts/7").await.text(), "run 3");
    assert!(get(&app, "/posts/8").await.is_hit());
}
