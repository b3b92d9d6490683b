//! Values under larder's keys that larder did not put there.

use larder::Memcached;

use super::{Node, Server};
use crate::support::Runs;

#[tokio::test]
async fn c4_a_foreign_or_damaged_entry_is_a_miss_and_counted() {
    let server = Server::start();
    let runs = Runs::default();
    let node = Node::new(&[&server], &runs).await;
    assert!(node.get("/pages/1").await.is_stored());
    let entry = server.items("larder:e:").into_iter().max_by_key(|name| server.value(name).unwrap().len()).unwrap();
    let value = server.value(&entry).unwrap();
    let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), b"foreign".to_vec(), b"VA 5\r\n".repeat(1000)];
    damaged.push(value[..value.len() - 1].to_vec());
    for at in (0..value.len()).step_by(7) {
        let mut bytes = value.clone();
        bytes[at] ^= 1;
        damaged.push(bytes);
    }
    for bytes in &damaged {
        let counted = node.store.corrupt_values();
        server.set(&entry, bytes);
        let answer = node.get("/pages/1").await;
        assert!(!answer.is_hit(), "{bytes:?}");
        assert!(answer.is_stored());
        assert!(node.store.corrupt_values() > counted);
    }
    assert!(node.get("/pages/1").await.is_hit());
}

#[tokio::test]
async fn c4_an_entry_of_another_key_is_a_miss() {
    let server = Server::start();
    let runs = Runs::default();
    let node = Node::new(&[&server], &runs).await;
    assert!(node.get("/pages/1").await.is_stored());
    let first = server.items("larder:e:");
    assert!(node.get("/pages/2").await.is_stored());
    let second: Vec<_> = server.items("larder:e:").into_iter().filter(|name| !first.contains(name)).collect();
    let value = first.iter().map(|name| server.value(name).unwrap()).max_by_key(Vec::len).unwrap();
    second.iter().for_each(|name| server.set(name, &value));
    let answer = node.get("/pages/2").await;
    assert!(!answer.is_hit() && answer.text() == "run 3", "{answer:?}");
}

#[tokio::test]
async fn c4_a_foreign_record_is_dead_and_replaced() {
    let server = Server::start();
    let runs = Runs::default();
    let node = Node::new(&[&server], &runs).await;
    assert!(node.get("/pages/1").await.is_stored());
    let records = server.items("larder:t:");
    let other = server.value(&records[1]).unwrap();
    // Also another tag's record: whatever a server answers by mistake is not believed.
    for foreign in [&b""[..], b"7", &other] {
        server.set(&records[0], foreign);
        node.cache.invalidate_tags(["elsewhere"]).await.unwrap();
        assert!(!node.get("/pages/1").await.is_hit(), "{foreign:?}");
        assert!(node.get("/pages/1").await.is_hit());
        server.set(&records[0], foreign);
        node.cache.invalidate_tags(["pages"]).await.unwrap();
        assert!(!node.get("/pages/1").await.is_hit());
        assert!(node.get("/pages/1").await.is_hit());
    }
}

#[tokio::test]
async fn server_without_versions_is_not_used() {
    let server = Server::start_with(&["-C"]);
    let runs = Runs::default();
    let node = Node::new(&[&server], &runs).await;
    for run in 1..4 {
        let answer = node.get("/pages/1").await;
        assert!(!answer.is_hit() && answer.text() == format!("run {run}"), "{answer:?}");
    }
}

#[tokio::test]
async fn namespaces_share_a_server_and_nothing_else() {
    let server = Server::start();
    let runs = Runs::default();
    let mut nodes = Vec::new();
    for namespace in ["a", "a b", "a\r\nflush_all\r\n", "", &"long".repeat(100)] {
        let store = Memcached::builder().key_prefix(namespace).connect(&server.url()).await.unwrap();
        nodes.push(Node::on(store, &runs));
    }
    for (run, node) in (1..).zip(&nodes) {
        assert_eq!(node.get("/pages/1").await.text(), format!("run {run}"));
    }
    nodes[0].cache.invalidate_tags(["pages"]).await.unwrap();
    nodes[1].cache.clear().await.unwrap();
    for (run, node) in (1..).zip(&nodes).skip(2) {
        let answer = node.get("/pages/1").await;
        assert!(answer.is_hit() && answer.text() == format!("run {run}"), "{answer:?}");
    }
}
