//! Stores that several nodes share, and that outlive them.

use larder::{Cache, Memcached};

use crate::{
    node::{Node, insert_posts, write},
    server::{Database, Postgres},
    servers::memcached,
};

/// A busy machine is no reason to do without the store.
const PATIENT: &str = "read_timeout=20s&store_timeout=20s&invalidate_timeout=20s";

async fn node(store: &memcached::Memcached, database: &Database) -> Node {
    let store = Memcached::connect(&format!("{}?{PATIENT}", store.url())).await.unwrap();
    Node::over(Cache::new(store), &database.pool)
}

#[tokio::test]
async fn what_was_pushed_while_no_node_ran_is_applied_before_the_first_answer() {
    let (store, database) = (memcached::Memcached::start(), Postgres::shared().database().await);
    insert_posts(&database.pool, 0..2).await;
    let first = node(&store, &database).await;
    let follower = first.follower().shared_store("web").start(&database.pool).await.unwrap();
    first.store(0).await;
    first.store(1).await;
    follower.stop().await;
    drop(first);
    write(&database.pool, 0).await.unwrap();

    let second = node(&store, &database).await;
    let follower = second.follower().shared_store("web").start(&database.pool).await.unwrap();
    let (written, other) = (second.get(0).await, second.get(1).await);
    assert!(written.version == 1 && other.is_hit(), "{written:?} {other:?}");
    assert_eq!((follower.health().tags, follower.health().clears), (1, 0));
}

#[tokio::test]
async fn without_a_name_a_shared_store_starts_cold() {
    let (store, database) = (memcached::Memcached::start(), Postgres::shared().database().await);
    insert_posts(&database.pool, 0..1).await;
    let first = node(&store, &database).await;
    let follower = first.follow(&database.pool).await;
    first.store(0).await;
    follower.stop().await;
    write(&database.pool, 0).await.unwrap();
    let second = node(&store, &database).await;
    let _follower = second.follow(&database.pool).await;
    assert_eq!(second.get(0).await.version, 1);
}

#[tokio::test]
async fn a_position_of_another_run_of_the_server_is_not_used() {
    let mut server = Postgres::start(&["fsync=on"]);
    let (store, database) = (memcached::Memcached::start(), server.database().await);
    insert_posts(&database.pool, 0..1).await;
    let first = node(&store, &database).await;
    let follower = first.follower().shared_store("web").start(&database.pool).await.unwrap();
    first.store(0).await;
    follower.stop().await;
    server.kill();
    server.start_again();
    let second = node(&store, &database).await;
    let follower = second.follower().shared_store("web").start(&crate::server::pool(&database.url)).await.unwrap();
    assert_eq!((second.get(0).await.is_hit(), follower.health().clears), (false, 1));
}

#[tokio::test]
async fn nodes_with_one_store_may_all_follow() {
    let (store, database) = (memcached::Memcached::start(), Postgres::shared().database().await);
    insert_posts(&database.pool, 0..10).await;
    let nodes = [node(&store, &database).await, node(&store, &database).await];
    let mut followers = Vec::new();
    for node in &nodes {
        followers.push(node.follower().shared_store("web").start(&database.pool).await.unwrap());
    }
    for id in 0..10 {
        nodes[0].store(id).await;
        write(&database.pool, id).await.unwrap();
        nodes[1].wait_for(id, 1).await;
        if id == 5 {
            // The others go on without it.
            drop(followers.remove(0));
        }
    }
}
