//! Several servers.

use larder::Cache;

use super::{Node, Server};
use crate::{servers::memcached::url, support::Runs};

fn three() -> [Server; 3] {
    [Server::start(), Server::start(), Server::start()]
}

#[tokio::test]
async fn several_servers_share_the_work_and_keep_the_promise() {
    let servers = three();
    let all: Vec<_> = servers.iter().collect();
    let runs = Runs::default();
    let (a, b) = (Node::new(&all, &runs).await, Node::new(&all, &runs).await);
    for id in 0..100 {
        assert!(a.get(&format!("/pages/{id}")).await.is_stored());
    }
    for id in 0..100 {
        let uri = format!("/pages/{id}");
        assert!(b.get(&uri).await.is_hit(), "{uri}");
        b.cache.invalidate_tags([format!("page:{id}")]).await.unwrap();
        assert!(!a.get(&uri).await.is_hit(), "{uri}");
        assert!(b.get(&uri).await.is_hit(), "{uri}");
    }
    let items: Vec<_> = servers.iter().map(|server| server.items("larder:")).collect();
    let count = |items: &[String], kind| items.iter().filter(|name| name.starts_with(kind)).count();
    for items in &items {
        assert!(count(items, "larder:e:") > 10 && count(items, "larder:t:") > 20, "a server has hardly anything: {items:?}");
    }
    // At times the list of a server lacks an item that is there.
    assert!(count(&items.concat(), "larder:c:") <= 1, "the nodes do not agree where the clock is");
}

#[tokio::test]
async fn the_order_of_the_list_does_not_matter() {
    let servers = three();
    let runs = Runs::default();
    let a = Node::new(&[&servers[0], &servers[1], &servers[2]], &runs).await;
    let b = Node::new(&[&servers[2], &servers[0], &servers[1]], &runs).await;
    for id in 0..20 {
        a.get(&format!("/pages/{id}")).await;
        assert!(b.get(&format!("/pages/{id}")).await.is_hit());
    }
}

#[tokio::test]
async fn handlers_answer_while_one_of_several_servers_is_away() {
    let mut servers = three();
    let runs = Runs::default();
    let node = Node::new(&servers.iter().collect::<Vec<_>>(), &runs).await;
    for id in 0..20 {
        assert!(node.get(&format!("/pages/{id}")).await.is_stored());
    }
    servers[1].kill();
    for id in 0..20 {
        assert!(node.get(&format!("/pages/{id}")).await.status.is_success());
    }
    assert!(node.cache.clear().await.is_ok() || node.store.is_suspended());
    servers[1].start_again();
    node.recovered().await;
    for id in 0..20 {
        node.get(&format!("/pages/{id}")).await;
        assert!(node.get(&format!("/pages/{id}")).await.is_hit());
    }
}

/// What the documentation asks for when the list changes.
#[tokio::test]
async fn clearing_after_a_change_of_the_list_leaves_nothing_of_the_old_one() {
    let servers = three();
    let (all, two) = (url(&[&servers[0], &servers[1], &servers[2]]), url(&[&servers[0], &servers[1]]));
    let runs = Runs::default();
    let before = Node::on(larder::Memcached::connect(&all).await.unwrap(), &runs);
    for id in 0..20 {
        before.get(&format!("/pages/{id}")).await;
    }
    Cache::connect(&two).await.unwrap().clear().await.unwrap();
    let after = Node::on(larder::Memcached::connect(&two).await.unwrap(), &runs);
    let ran = runs.count();
    for id in 0..20 {
        assert!(!after.get(&format!("/pages/{id}")).await.is_hit());
        assert!(after.get(&format!("/pages/{id}")).await.is_hit());
    }
    assert_eq!(runs.count(), ran + 20);
}
