use axum::{Router, routing};
use larder::Cache;

use crate::{
    places::patient,
    servers::redis::Cluster,
    support::{Runs, get, minute, numbered},
};

/// A tag whose record is on another node than the clock, which so knows nothing of what happens to it; and which node.
fn tag_away_from_the_clock(cluster: &Cluster) -> (String, usize) {
    let node = |key: &str| (cluster.nodes[0].run::<usize>(&format!("CLUSTER KEYSLOT {key}")) / 5461).min(2);
    let clock = node("{larder}:clock");
    let placed = (0..).map(|number| (format!("post:{number}"), node(&format!("larder:t:t:post:{number}"))));
    placed.into_iter().find(|(_, at)| *at != clock).unwrap()
}

async fn cache(cluster: &Cluster) -> Cache {
    Cache::new(patient().connect(&cluster.url()).await.unwrap())
}

fn app(cache: &Cache, runs: &Runs, tag: &str) -> Router {
    Router::new().route("/", routing::get(numbered(runs)).layer(minute(cache).tags([tag])))
}

#[tokio::test]
async fn a_primary_that_is_one_again_knows_nothing_from_before() {
    let cluster = Cluster::start().with_replicas();
    let (tag, at) = tag_away_from_the_clock(&cluster);
    let (cache, runs) = (cache(&cluster).await, Runs::default());
    let app = app(&cache, &runs, &tag);
    assert!(get(&app, "/").await.is_stored());
    cluster.promote(&cluster.nodes[at + 3]);
    cache.invalidate_tags([tag]).await.unwrap();
    cluster.promote(&cluster.nodes[at]);
    assert_eq!(get(&app, "/").await.text(), "run 2");
    assert!(get(&app, "/").await.is_hit());
}

#[tokio::test]
async fn a_node_that_restarts_from_its_disk_knows_nothing_from_before() {
    let mut cluster = Cluster::start_with(&["--cluster-node-timeout", "60000"]);
    let (tag, at) = tag_away_from_the_clock(&cluster);
    let (before, runs) = (cache(&cluster).await, Runs::default());
    assert!(get(&app(&before, &runs, &tag), "/").await.is_stored());
    cluster.nodes[at].run::<()>("SAVE");
    before.invalidate_tags([&*tag]).await.unwrap();
    cluster.nodes[at].kill();
    cluster.nodes[at].start_again();
    cluster.wait_until_ready();
    // One whose connections are whole: a failed look-up would run the handler, too.
    let after = cache(&cluster).await;
    assert_eq!(get(&app(&after, &runs, &tag), "/").await.text(), "run 2");
    assert!(get(&app(&after, &runs, &tag), "/").await.is_hit());
}
