use axum::{Router, routing};
use larder::Cache;

use crate::{
    places::everywhere,
    support::{Runs, get, minute, numbered},
};

fn app(cache: &Cache, runs: &Runs) -> Router {
    let layer = minute(cache).tags(["posts", "post:{id}"]);
    Router::new().route("/posts/{id}", routing::get(numbered(runs)).layer(layer))
}

#[test]
fn what_one_node_stores_another_answers_until_it_is_invalidated() {
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
