use axum::{Router, routing};
use larder::Cache;

use crate::{
    servers::redis::Redis as Server,
    support::{Runs, get, minute, numbered},
};

fn app(cache: &Cache, runs: &Runs) -> Router {
    let layer = minute(cache).tags(["posts", "post:{id}"]);
    Router::new().route("/posts/{id}", routing::get(numbered(runs)).layer(layer))
}

#[tokio::test]
async fn what_one_node_stores_another_answers() {
    let server = Server::start();
    let runs = Runs::default();
    let (a, b) = (Cache::connect(&server.url()).await.unwrap(), Cache::connect(&server.url()).await.unwrap());
    let (app_a, app_b) = (app(&a, &runs), app(&b, &runs));
    let first = get(&app_a, "/posts/1").await;
    assert!(first.is_stored(), "{first:?}");
    let second = get(&app_b, "/posts/1").await;
    assert!(second.is_hit(), "{second:?}");
    assert_eq!(second.text(), "run 1");
    b.invalidate_tags(["post:1"]).await.unwrap();
    let third = get(&app_a, "/posts/1").await;
    assert_eq!(third.text(), "run 2");
    assert!(third.is_stored(), "{third:?}");
    assert!(get(&app_b, "/posts/1").await.is_hit());
}
