//! What memcached forgets costs a miss, and never a stale answer.

use larder::Memcached;

use super::{Node, Server};
use crate::support::Runs;

/// Two nodes that both have `/pages/1`, as the first run answered it.
async fn stored(server: &Server, runs: &Runs) -> [Node; 2] {
    let nodes = [Node::new(&[server], runs).await, Node::new(&[server], runs).await];
    assert!(nodes[0].get("/pages/1").await.is_stored());
    assert!(nodes[1].get("/pages/1").await.is_hit());
    nodes
}

/// It is fetched again, and is then a hit on both nodes.
async fn assert_fetched_anew(nodes: &[Node; 2], runs: &Runs) {
    let before = runs.count();
    let refetched = nodes[1].get("/pages/1").await;
    assert_eq!(refetched.text(), format!("run {}", before + 1));
    assert!(refetched.is_stored(), "{refetched:?}");
    assert!(nodes[0].get("/pages/1").await.is_hit());
}

#[tokio::test]
async fn a_lost_record_of_a_tag_is_a_miss() {
    let server = Server::start();
    let runs = Runs::default();
    let nodes = stored(&server, &runs).await;
    for (run, record) in (2..).zip(server.items("larder:t:")) {
        assert!(nodes[0].get("/pages/1").await.is_hit());
        server.delete(&record);
        // Nothing was invalidated since this one has looked.
        assert!(nodes[0].get("/pages/1").await.is_hit());
        let refetched = Node::new(&[&server], &runs).await.get("/pages/1").await;
        assert!(refetched.is_stored() && refetched.text() == format!("run {run}"), "{refetched:?}");
    }
}

#[tokio::test]
async fn a_lost_record_of_a_tag_is_a_miss_once_anything_is_invalidated() {
    let server = Server::start();
    let runs = Runs::default();
    let nodes = stored(&server, &runs).await;
    for record in server.items("larder:t:") {
        server.delete(&record);
        nodes[1].cache.invalidate_tags(["elsewhere"]).await.unwrap();
        assert_fetched_anew(&nodes, &runs).await;
    }
}

#[tokio::test]
async fn an_invalidation_outlives_the_record_of_it() {
    let server = Server::start();
    let runs = Runs::default();
    let nodes = stored(&server, &runs).await;
    nodes[0].cache.invalidate_tags(["page:1"]).await.unwrap();
    server.items("larder:t:").iter().for_each(|record| server.delete(record));
    assert_fetched_anew(&nodes, &runs).await;
}

#[tokio::test]
async fn response_older_than_a_lost_invalidation_is_rejected() {
    let server = Server::start();
    let runs = Runs::default();
    let nodes = stored(&server, &runs).await;
    // The entry as it was, put back when everything else has gone on.
    let entries: Vec<_> = server.items("larder:e:").into_iter().map(|name| (server.value(&name).unwrap(), name)).collect();
    nodes[0].cache.invalidate_tags(["page:1"]).await.unwrap();
    server.items("larder:t:").iter().for_each(|record| server.delete(record));
    assert_fetched_anew(&nodes, &runs).await;
    entries.iter().for_each(|(value, name)| server.set(name, value));
    assert_fetched_anew(&nodes, &runs).await;
}

#[tokio::test]
async fn a_lost_clock_is_another_incarnation_and_everything_older_is_dead() {
    let server = Server::start();
    let runs = Runs::default();
    let nodes = stored(&server, &runs).await;
    let before = nodes[0].cache.invalidate_tags(["elsewhere"]).await.unwrap().epoch;
    server.delete(&server.items("larder:c:")[0]);
    assert_fetched_anew(&nodes, &runs).await;
    let after = nodes[0].cache.invalidate_tags(["elsewhere"]).await.unwrap().epoch;
    assert_ne!(before.incarnation(), after.incarnation());
}

#[tokio::test]
async fn invalid_clock_begins_a_new_incarnation() {
    let server = Server::start();
    let runs = Runs::default();
    let nodes = stored(&server, &runs).await;
    let clock = server.items("larder:c:").remove(0);
    for nonsense in ["", "noon", "12", "18446744073709551616", "-1"] {
        server.set(&clock, nonsense.as_bytes());
        assert_fetched_anew(&nodes, &runs).await;
        server.set(&clock, nonsense.as_bytes());
        nodes[0].cache.invalidate_tags(["page:1"]).await.unwrap();
        assert_fetched_anew(&nodes, &runs).await;
    }
}

/// memcached reads beyond the end of such a number, and does not count it up if it finds a minus sign there.
#[tokio::test]
async fn overflowing_clock_begins_a_new_incarnation() {
    let server = Server::start();
    let runs = Runs::default();
    // With a name of this length the clock leaves some of its piece of memory as it was.
    let store = Memcached::builder().key_prefix("app").connect(&server.url()).await.unwrap();
    let node = Node::on(store, &runs);
    assert!(node.get("/pages/1").await.is_stored());
    let clock = server.items("app:c:").remove(0);
    for number in ["9223372036854775808", "18446744073709551614"] {
        server.set(&clock, &[b'-'; 23]);
        server.delete(&clock);
        server.set(&clock, number.as_bytes());
        node.cache.invalidate_tags(["page:1"]).await.unwrap();
        assert!(node.get("/pages/1").await.is_stored());
        assert!(node.get("/pages/1").await.is_hit());
    }
}

#[tokio::test]
async fn a_clock_that_overflows_is_another_incarnation() {
    let server = Server::start();
    let runs = Runs::default();
    let nodes = stored(&server, &runs).await;
    let clock = server.items("larder:c:").remove(0);
    let number: u64 = String::from_utf8(server.value(&clock).unwrap()).unwrap().parse().unwrap();
    server.set(&clock, (number | u64::from(u32::MAX)).to_string().as_bytes());
    assert!(nodes[0].get("/pages/1").await.is_hit());
    nodes[0].cache.invalidate_tags(["elsewhere"]).await.unwrap();
    assert_fetched_anew(&nodes, &runs).await;
    nodes[0].cache.invalidate_tags(["page:1"]).await.unwrap();
    assert_fetched_anew(&nodes, &runs).await;
}

#[tokio::test]
async fn nothing_is_left_after_flush_all() {
    let server = Server::start();
    let runs = Runs::default();
    let nodes = stored(&server, &runs).await;
    server.flush();
    let before = runs.count();
    assert_eq!(nodes[1].get("/pages/1").await.text(), format!("run {}", before + 1));
}
