//! Writers, databases and followers that fail.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use larder::CacheMode;
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    costs::is_soak,
    node::{HOUR, History, Node, insert_posts, write},
    server::{Postgres, pool},
    servers::{
        process::eventually,
        proxy::{Fault, Proxy},
    },
    writer::Writer,
};

#[tokio::test]
async fn a_writer_killed_between_commit_and_call_loses_nothing() {
    let database = Postgres::shared().database().await;
    insert_posts(&database.pool, 0..5).await;
    let nodes = [Node::new(&database.pool), Node::new(&database.pool)];
    let followers = [nodes[0].follow(&database.pool).await, nodes[1].follow(&database.pool).await];
    for id in 0..5 {
        nodes[0].store(id).await;
        nodes[1].store(id).await;
    }
    Writer::killed_after_each(&database.url, 0..5, async |id| {
        for node in &nodes {
            node.wait_for(id, 1).await;
        }
    })
    .await;
    assert!(followers.iter().all(|follower| follower.health().clears == 1));
}

/// Readers and writers of some posts, each read checked against what had been committed for longer than `bound`.
async fn read_and_write(node: &Node, database: &str, bound: Duration, mut faults: impl AsyncFnMut()) -> i64 {
    const POSTS: i64 = 8;
    let pool = pool(database);
    insert_posts(&pool, 0..POSTS).await;
    let histories: Vec<Arc<History>> = (0..POSTS).map(|_| Arc::default()).collect();
    let mut tasks = JoinSet::new();
    for (id, history) in (0..).zip(&histories) {
        let (history, pool) = (Arc::clone(history), pool.clone());
        tasks.spawn(async move {
            loop {
                // A write may fail and be committed all the same.
                if let Ok(Ok(version)) = timeout(Duration::from_secs(2), write(&pool, id)).await {
                    history.committed(version);
                }
                sleep(Duration::from_millis(3)).await;
            }
        });
    }
    for (id, history) in (0..).zip(&histories) {
        let (history, node) = (Arc::clone(history), node.clone());
        tasks.spawn(async move {
            loop {
                let began = Instant::now();
                if let Ok(Some(page)) = timeout(Duration::from_secs(2), node.try_get(id)).await {
                    history.read(page.version, began, bound);
                }
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
    tokio::select! {
        () = faults() => {}
        ended = tasks.join_next() => { ended.unwrap().unwrap(); }
    }
    histories.iter().map(History::reads).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgresql_killed_and_restarted_loses_nothing() {
    let (lease, rounds) = (Duration::from_millis(600), if is_soak() { 40 } else { 3 });
    let mut server = Postgres::start(&["fsync=on"]);
    let database = server.database().await;
    let node = Node::new(&database.pool);
    let follower = node.follower().lease(lease).start(&database.pool).await.unwrap();
    // A version is committed some time before its writer knows, and the clock of a cache is coarse: both are on the safe side of the check.
    let reads = read_and_write(&node, &database.url, lease + Duration::from_millis(50), async || {
        for round in 0..rounds {
            sleep(Duration::from_millis(500)).await;
            server.kill();
            if round % 2 == 0 {
                eventually("the cache is bypassed", async || node.cache.mode() == CacheMode::Bypass).await;
            }
            tokio::task::block_in_place(|| server.start_again());
            eventually("the cache is in use again", async || node.cache.mode() == CacheMode::Enabled).await;
        }
        sleep(Duration::from_millis(500)).await;
    });
    let reads = reads.await;
    let health = follower.health();
    println!("{reads} reads; {health}");
    assert!(reads > 500 && health.clears > rounds && health.last_error.is_some(), "{health}");
}

#[tokio::test]
async fn transaction_ids_that_a_crash_makes_available_again_are_noticed() {
    // The log reaches the disk only with a commit.
    let mut server = Postgres::start(&["fsync=on", "wal_writer_delay=10s", "bgwriter_delay=10s", "autovacuum=off"]);
    let database = server.database().await;
    insert_posts(&database.pool, 0..1).await;
    let node = Node::new(&database.pool);
    let follower = node.follower().lease(HOUR).start(&database.pool).await.unwrap();
    assert_eq!(node.store(0).await, 0);
    let met: i64 = {
        let mut transaction = database.pool.begin().await.unwrap();
        for _ in 0..20 {
            sqlx::query("SELECT pg_current_xact_id()").execute(&mut *transaction).await.unwrap();
            transaction.rollback().await.unwrap();
            transaction = database.pool.begin().await.unwrap();
        }
        sqlx::query_scalar("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
            .fetch_one(&mut *transaction)
            .await
            .unwrap()
    };
    crate::node::caught_up(&follower).await;
    server.kill();
    server.start_again();
    let written = eventually_write(&node, &database.url).await;
    let xact = "SELECT xact::text::bigint FROM larder_outbox ORDER BY id DESC LIMIT 1";
    let xact: i64 = sqlx::query_scalar(xact).fetch_one(&pool(&database.url)).await.unwrap();
    assert!(xact < met, "the test needs an id that was met before: {xact}, {met}");
    node.wait_for(0, written).await;
    assert_eq!((follower.health().clears, follower.health().tags), (2, 0), "by its id, the row was read before the crash");
}

async fn eventually_write(node: &Node, database: &str) -> i64 {
    assert!(node.get(0).await.is_hit(), "the lease has not ended");
    write(&pool(database), 0).await.unwrap()
}

#[tokio::test]
async fn a_crash_of_one_backend_is_noticed() {
    let server = Postgres::start(&["fsync=on"]);
    let database = server.database().await;
    insert_posts(&database.pool, 0..1).await;
    let node = Node::new(&database.pool);
    let follower = node.follower().lease(HOUR).start(&database.pool).await.unwrap();
    node.store(0).await;
    // The server recovers, and does not count as started again.
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&database.pool).await.unwrap();
    crate::server::signal("KILL", pid.try_into().unwrap());
    eventually("everything is invalidated", async || follower.health().clears == 2).await;
}

#[tokio::test]
async fn a_network_that_fails_ends_the_lease_of_its_node_alone() {
    let database = Postgres::shared().database().await;
    insert_posts(&database.pool, 0..1).await;
    let proxy = Proxy::start(Postgres::shared().port).await;
    let through = pool(&database.url.replace(&Postgres::shared().port.to_string(), &proxy.address.port().to_string()));
    // Both have their pages from the database itself, so that only the followers meet the faults.
    let (near, far) = (Node::new(&database.pool), Node::new(&database.pool));
    let _near = near.follow(&database.pool).await;
    let lease = Duration::from_millis(500);
    let follower = far.follower().lease(lease).start(&through).await.unwrap();
    for (round, fault) in (0..).zip([Fault::Silence, Fault::Cut, Fault::Deaf, Fault::HalfClosed]) {
        near.store(0).await;
        far.store(0).await;
        proxy.set(fault);
        write(&database.pool, 0).await.unwrap();
        eventually("the lease ends", async || far.cache.mode() == CacheMode::Bypass).await;
        assert_eq!(far.get(0).await.version, round + 1, "{fault:?}");
        assert_eq!(near.cache.mode(), CacheMode::Enabled);
        proxy.set(Fault::None);
        eventually("the cache is in use again", async || far.cache.mode() == CacheMode::Enabled).await;
        assert_eq!(far.get(0).await.version, round + 1, "{fault:?}");
        near.wait_for(0, round + 1).await;
    }
    let health = follower.health();
    assert!(health.clears == 1 && health.last_error.is_some(), "what was missed was applied, and nothing else: {health}");
}

#[tokio::test]
async fn a_follower_that_sleeps_serves_nothing_old_and_catches_up() {
    let database = Postgres::shared().database().await;
    insert_posts(&database.pool, 0..2).await;
    let node = Node::new(&database.pool);
    // It runs while its runtime is driven.
    let asleep = Builder::new_current_thread().enable_all().build().unwrap();
    let (started, pool) = (node.follower().lease(Duration::from_secs(1)), database.pool.clone());
    let (asleep, follower) = tokio::task::spawn_blocking(move || {
        let follower = asleep.block_on(started.start(&pool)).unwrap();
        (asleep, follower)
    })
    .await
    .unwrap();
    node.store(0).await;
    node.store(1).await;
    write(&database.pool, 0).await.unwrap();
    assert!(node.get(0).await.is_hit(), "within the lease, nothing is known yet");
    eventually("the lease ends", async || node.cache.mode() == CacheMode::Bypass).await;
    let page = node.get(0).await;
    assert!(page.version == 1 && page.status.contains("switched-off"), "{page:?}");
    assert!(!follower.health().is_healthy());
    tokio::task::spawn_blocking(move || asleep.block_on(sleep(Duration::from_millis(400)))).await.unwrap();
    // What was written is gone, and nothing else.
    let (written, other) = (node.get(0).await, node.get(1).await);
    assert!(written.version == 1 && other.is_hit(), "{written:?} {other:?}");
    assert_eq!(follower.health().clears, 1);
}

#[tokio::test]
async fn a_follower_that_sleeps_longer_than_rows_are_kept_invalidates_everything() {
    let database = Postgres::shared().database().await;
    insert_posts(&database.pool, 0..2).await;
    let (slow, fast) = (Node::new(&database.pool), Node::new(&database.pool));
    let asleep = Builder::new_current_thread().enable_all().build().unwrap();
    let (started, pool) = (slow.follower().lease(HOUR), database.pool.clone());
    let (asleep, follower) = tokio::task::spawn_blocking(move || {
        let follower = asleep.block_on(started.start(&pool)).unwrap();
        (asleep, follower)
    })
    .await
    .unwrap();
    slow.store(0).await;
    slow.store(1).await;
    write(&database.pool, 0).await.unwrap();
    let _trims = fast.follower().retention(Duration::from_secs(1)).start(&database.pool).await.unwrap();
    let rows =
        async || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM larder_outbox").fetch_one(&database.pool).await.unwrap();
    eventually("the row is deleted", async || rows().await == 0).await;
    assert!(slow.get(0).await.is_hit(), "the lease has not ended");
    tokio::task::spawn_blocking(move || asleep.block_on(sleep(Duration::from_millis(400)))).await.unwrap();
    assert_eq!(follower.health().clears, 2);
    assert_eq!(slow.get(0).await.version, 1);
}

#[tokio::test]
async fn a_cache_is_bypassed_without_its_follower() {
    let database = Postgres::shared().database().await;
    insert_posts(&database.pool, 0..1).await;
    let node = Node::new(&database.pool);
    let follower = node.follower().lease(Duration::from_millis(500)).start(&database.pool).await.unwrap();
    node.store(0).await;
    drop(follower);
    eventually("the lease ends", async || node.cache.mode() == CacheMode::Bypass).await;
    write(&database.pool, 0).await.unwrap();
    assert_eq!(node.get(0).await.version, 1);
    let _follower = node.follow(&database.pool).await;
    assert_eq!(node.cache.mode(), CacheMode::Enabled);
    assert_eq!(node.store(0).await, 1);
}
