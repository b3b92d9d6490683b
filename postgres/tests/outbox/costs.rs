//! Many writes: none is lost, and following them costs little.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use larder::{Cache, ValuePolicy};
use larder_postgres::{Follower, outbox};
use sqlx::PgPool;
use tokio::{runtime::Builder, task::JoinSet};

use crate::{
    node::{HOUR, caught_up},
    server::Postgres,
};

pub(crate) fn is_soak() -> bool {
    std::env::var_os("LARDER_SOAK").is_some()
}

/// Has a value of its own for each write, so that no invalidation can hide behind another one.
async fn store(cache: &Cache, tag: &str) {
    let policy = ValuePolicy::ttl(HOUR).tags([tag]);
    cache.get_or_compute_in_memory(tag, &policy, async || Ok::<_, Infallible>(())).await.unwrap();
}

/// Returns whether the value is still there; if not, it is there again after that.
async fn is_stored(cache: &Cache, tag: &str) -> bool {
    let (policy, computed) = (ValuePolicy::ttl(HOUR).tags([tag]), Arc::new(AtomicBool::new(false)));
    let noted = Arc::clone(&computed);
    let compute = async move || {
        noted.store(true, Ordering::SeqCst);
        Ok::<_, Infallible>(())
    };
    cache.get_or_compute_in_memory(tag, &policy, compute).await.unwrap();
    !computed.load(Ordering::SeqCst)
}

/// Commits one transaction for each tag, by several writers whose commits overlap. Every tenth is rolled back. Returns the tags that were committed.
async fn write_all(pool: &PgPool, tags: &[String]) -> HashSet<String> {
    const WRITERS: usize = 8;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (pool, own) = (pool.clone(), tags.iter().skip(writer).step_by(WRITERS).cloned().collect::<Vec<_>>());
        writers.spawn(async move {
            let mut committed = Vec::new();
            for (number, tag) in own.into_iter().enumerate() {
                let mut transaction = pool.begin().await.unwrap();
                outbox::push(&mut transaction, &tag).await.unwrap();
                if number % 10 == 9 {
                    transaction.rollback().await.unwrap();
                    continue;
                }
                if number % 7 == writer % 7 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                transaction.commit().await.unwrap();
                committed.push(tag);
            }
            committed
        });
    }
    writers.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_lost() {
    // Fewer tags at once than the memory store remembers one by one: beyond that, it would forget values that no one has invalidated.
    let (batches, writes) = if is_soak() { (12, 10_000) } else { (2, 1_500) };
    let database = Postgres::shared().database().await;
    let caches = [Cache::in_memory(256 << 20), Cache::in_memory(256 << 20)];
    let mut followers = Vec::new();
    for cache in &caches {
        followers.push(Follower::builder(cache).lease(HOUR).start(&database.pool).await.unwrap());
    }
    let (mut all, started) = (0, Instant::now());
    for batch in 0..batches {
        let tags: Vec<String> = (0..writes).map(|number| format!("write:{batch}:{number}")).collect();
        for (cache, tag) in caches.iter().flat_map(|cache| tags.iter().map(move |tag| (cache, tag))) {
            store(cache, tag).await;
        }
        // A transaction that runs as long as the batch is written.
        let mut long = database.pool.begin().await.unwrap();
        outbox::push(&mut long, format!("long:{batch}")).await.unwrap();
        let committed = write_all(&database.pool, &tags).await;
        long.commit().await.unwrap();
        all += committed.len();
        for (cache, follower) in caches.iter().zip(&followers) {
            caught_up(follower).await;
            for tag in &tags {
                assert_eq!(is_stored(cache, tag).await, !committed.contains(tag), "{tag}");
            }
        }
    }
    for follower in &followers {
        let health = follower.health();
        assert_eq!((health.tags, health.clears), ((all + batches) as u64, 1), "{health}");
    }
    println!("{all} transactions committed, one in ten more rolled back, on two nodes, in {:?}: none lost", started.elapsed());
}

/// The time for which this thread has run on a core.
fn thread_time() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_2000_writes_a_second_costs_less_than_a_tenth_of_a_core() {
    let span = Duration::from_secs(if is_soak() { 30 } else { 3 });
    let database = Postgres::shared().database().await;
    let cache = Cache::in_memory(64 << 20);
    let (pool, followed) = (database.pool.clone(), cache.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (report, reported) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let follower = Follower::builder(&followed).lease(HOUR).start(&pool).await.unwrap();
            let before = thread_time();
            report.send(()).unwrap();
            stopped.await.unwrap();
            (thread_time() - before, follower.health())
        })
    });
    tokio::task::spawn_blocking(move || reported.recv().unwrap()).await.unwrap();
    // 40 commits of one row each, every 20 ms.
    let (start, mut ticks, mut written) = (Instant::now(), tokio::time::interval(Duration::from_millis(20)), 0_u64);
    while start.elapsed() < span {
        ticks.tick().await;
        let mut rows = String::new();
        for _ in 0..40 {
            rows += &format!("BEGIN; INSERT INTO larder_outbox (tags) VALUES (ARRAY['post:{written}', 'posts']); COMMIT;");
            written += 1;
        }
        sqlx::raw_sql(sqlx::AssertSqlSafe(rows)).execute(&database.pool).await.unwrap();
    }
    let elapsed = start.elapsed();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.send(()).unwrap();
    let (used, health) = tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    let (rate, share) = (written as f64 / elapsed.as_secs_f64(), used.as_secs_f64() / elapsed.as_secs_f64());
    println!("{rate:.0} writes a second: the follower used {:.2} % of a core; {health}", 100.0 * share);
    assert!(health.tags >= written, "{health}");
    assert!(share < 0.1, "{share}");
}
