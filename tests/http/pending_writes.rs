//! Writes that are pending (`Cache::begin_write`), with an application whose database has a primary and a replica.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing};
use larder::{
    Cache, CacheLayer, Error, Memory, Reason, Receipt,
    backend::{Backend, Clock, Epoch, Invalidation, Key, PutOutcome, ReadOutcome, Stored, Tag, async_trait},
};
use tokio::time::sleep;

use crate::support::{Gate, MINUTE, cache, get, minute, paused::settled, spawn_get};

const SECOND: Duration = Duration::from_secs(1);

/// A row, as the primary has it and as a replica shows it.
#[derive(Debug, Clone, Default)]
struct Row {
    primary: Arc<AtomicU64>,
    replica: Arc<AtomicU64>,
}

impl Row {
    /// Commits the next version.
    fn commit(&self) {
        self.primary.fetch_add(1, Ordering::SeqCst);
    }

    /// Brings the replica up to date.
    fn replicate(&self) {
        self.replica.store(self.primary.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// An application that reads the row from the replica, and another page with another tag.
fn app(cache: &Cache, row: &Row, adjust: fn(CacheLayer) -> CacheLayer) -> Router {
    let replica = Arc::clone(&row.replica);
    let show = move || async move { format!("version {}", replica.load(Ordering::SeqCst)) };
    let layer = adjust(minute(cache));
    Router::new()
        .route("/post", routing::get(show).layer(layer.clone().tags(["post:7", "posts"])))
        .route("/other", routing::get(|| async { "other" }).layer(layer.tags(["posts"])))
}

fn strictly_fresh(layer: CacheLayer) -> CacheLayer {
    layer
}

#[tokio::test]
async fn nothing_is_stored_from_the_beginning_of_a_write_to_its_end() {
    let ((cache, _), row) = (cache(), Row::default());
    let app = app(&cache, &row, strictly_fresh);
    get(&app, "/post").await;
    get(&app, "/other").await;
    let write = cache.begin_write(["post:7"]).await.unwrap();
    for _ in 0..3 {
        let answer = get(&app, "/post").await;
        assert_eq!((answer.is_hit(), answer.reason()), (false, Some(Reason::PendingWrite)));
        assert!(get(&app, "/other").await.is_hit(), "a page without the tag");
    }
    row.commit();
    row.replicate();
    let receipt = write.done().await.unwrap();
    assert_eq!(receipt.tag_count, 1);
    assert!(get(&app, "/post").await.is_stored());
    let answer = get(&app, "/post").await;
    assert_eq!((answer.is_hit(), answer.text()), (true, "version 1"));
}

#[tokio::test]
async fn a_stale_page_is_served_during_a_write_where_its_route_allows_that() {
    let ((cache, _), row) = (cache(), Row::default());
    let app = app(&cache, &row, |layer| layer.stale_while_revalidate(MINUTE));
    get(&app, "/post").await;
    let write = cache.begin_write(["post:7"]).await.unwrap();
    let answer = get(&app, "/post").await;
    assert!(answer.is_hit() && answer.cache.unwrap().ttl().unwrap() <= 0, "{answer:?}");
    row.commit();
    row.replicate();
    write.done().await.unwrap();
    let answer = get(&app, "/post").await;
    assert_eq!((answer.is_hit(), answer.text()), (false, "version 1"));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_overlaps_a_write_on_either_side_is_not_stored() {
    let ((cache, _), gate) = (cache(), Gate::closed());
    let door = gate.clone();
    let slow = move || async move { door.pass().await };
    let app = Router::new().route("/slow", routing::get(slow).layer(minute(&cache).tags(["post:7"])));
    let before = spawn_get(&app, "/slow");
    gate.arrival().await;
    let write = cache.begin_write(["post:7"]).await.unwrap();
    gate.open(1);
    assert_eq!(before.await.unwrap().reason(), Some(Reason::PendingWrite));
    let during = spawn_get(&app, "/slow");
    gate.arrival().await;
    write.done().await.unwrap();
    gate.open(1);
    assert_eq!(during.await.unwrap().reason(), Some(Reason::Invalidated));
    gate.open(1);
    assert!(get(&app, "/slow").await.is_stored());
}

/// The gap that an invalidation after the commit leaves: what a later fetch reads from a replica that lags.
#[tokio::test]
async fn without_a_hold_a_row_of_a_lagging_replica_is_stored() {
    let ((cache, _), row) = (cache(), Row::default());
    let app = app(&cache, &row, strictly_fresh);
    let write = cache.begin_write(["post:7"]).await.unwrap();
    row.commit();
    write.done().await.unwrap();
    get(&app, "/post").await;
    row.replicate();
    let answer = get(&app, "/post").await;
    assert_eq!((answer.is_hit(), answer.text()), (true, "version 0"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_stored_during_the_hold_after_a_write() {
    let ((cache, clock), row) = (cache(), Row::default());
    let app = app(&cache, &row, strictly_fresh);
    let write = cache.begin_write(["post:7"]).await.unwrap().hold(2 * SECOND);
    row.commit();
    write.done().await.unwrap();
    let answer = get(&app, "/post").await;
    assert_eq!((answer.reason(), answer.text()), (Some(Reason::PendingWrite), "version 0"));
    row.replicate();
    clock.advance(SECOND);
    sleep(SECOND).await;
    assert_eq!(get(&app, "/post").await.reason(), Some(Reason::PendingWrite), "half of the time");
    sleep(SECOND + SECOND / 2).await;
    assert!(get(&app, "/post").await.is_stored());
    assert_eq!(get(&app, "/post").await.text(), "version 1");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_begins_during_the_hold_is_not_stored_after_it() {
    let ((cache, _), gate) = (cache(), Gate::closed());
    let door = gate.clone();
    let slow = move || async move { door.pass().await };
    let app = Router::new().route("/slow", routing::get(slow).layer(minute(&cache).tags(["post:7"])));
    let write = cache.begin_write(["post:7"]).await.unwrap().hold(SECOND);
    write.done().await.unwrap();
    let during = spawn_get(&app, "/slow");
    gate.arrival().await;
    sleep(2 * SECOND).await;
    gate.open(1);
    assert_eq!(during.await.unwrap().reason(), Some(Reason::Invalidated));
}

#[tokio::test]
async fn a_write_that_is_dropped_invalidates_in_the_background() {
    let ((cache, _), row) = (cache(), Row::default());
    let app = app(&cache, &row, |layer| layer.stale_while_revalidate(MINUTE));
    get(&app, "/post").await;
    let write = cache.begin_write(["post:7"]).await.unwrap();
    row.commit();
    row.replicate();
    drop(write);
    assert_eq!(cache.unfinished_work().invalidations, 1, "a shutdown waits for it");
    assert!(cache.drain(MINUTE).await.is_complete());
    let answer = get(&app, "/post").await;
    assert_eq!((answer.is_hit(), answer.text()), (false, "version 1"));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_dropped_holds_as_it_would_have() {
    let ((cache, _), row) = (cache(), Row::default());
    let app = app(&cache, &row, strictly_fresh);
    drop(cache.begin_write(["post:7"]).await.unwrap().hold(SECOND));
    settled().await;
    assert_eq!(get(&app, "/post").await.reason(), Some(Reason::PendingWrite));
    sleep(2 * SECOND).await;
    assert!(get(&app, "/post").await.is_stored());
}

/// A long transaction: the mark of a writer that lives does not lapse.
#[tokio::test(start_paused = true)]
async fn a_long_write_stays_pending() {
    let ((cache, clock), row) = (cache(), Row::default());
    let app = app(&cache, &row, strictly_fresh);
    let write = cache.begin_write(["post:7"]).await.unwrap();
    for _ in 0..20 {
        sleep(10 * SECOND).await;
        clock.advance(10 * SECOND);
        settled().await;
        assert_eq!(get(&app, "/post").await.reason(), Some(Reason::PendingWrite));
    }
    write.done().await.unwrap();
    assert!(get(&app, "/post").await.is_stored());
}

/// The mark of a process that has ended, in a store that outlives it.
#[tokio::test]
async fn a_tag_is_held_until_the_lease_of_a_writer_that_has_died_ends() {
    let store = Arc::new(Memory::new(1 << 20));
    let clock = larder::ManualClock::new();
    let (cache, row) = (Cache::from_arc(store.clone()).with_clock(&clock), Row::default());
    let app = app(&cache, &row, strictly_fresh);
    let tags = [Tag::new("t:post:7").unwrap()];
    store.hold_tags(&tags, 1, 30 * SECOND).await.unwrap();
    clock.advance(29 * SECOND);
    assert_eq!(get(&app, "/post").await.reason(), Some(Reason::PendingWrite));
    clock.advance(SECOND);
    assert_eq!(get(&app, "/post").await.reason(), Some(Reason::Invalidated), "the first one invalidates the tag");
    assert!(get(&app, "/post").await.is_stored());
}

#[tokio::test]
async fn a_tag_stays_held_until_the_last_of_its_writers_is_done() {
    let ((cache, _), row) = (cache(), Row::default());
    let app = app(&cache, &row, strictly_fresh);
    let first = cache.begin_write(["post:7"]).await.unwrap();
    let second = cache.begin_write(["posts"]).await.unwrap();
    let third = cache.begin_write(["post:7", "posts"]).await.unwrap();
    for write in [third, first, second] {
        assert_eq!(get(&app, "/post").await.reason(), Some(Reason::PendingWrite));
        write.done().await.unwrap();
    }
    assert!(get(&app, "/post").await.is_stored());
}

#[tokio::test]
async fn a_write_concerns_its_own_namespace() {
    let ((cache, _), row) = (cache(), Row::default());
    let app = app(&cache, &row, strictly_fresh);
    let _write = cache.with_namespace("other").begin_write(["post:7"]).await.unwrap();
    assert!(get(&app, "/post").await.is_stored());
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_during_a_write_are_all_answered_by_the_handler() {
    let ((cache, _), gate) = (cache(), Gate::closed());
    let door = gate.clone();
    let slow = move || async move { door.pass().await };
    let app = Router::new().route("/slow", routing::get(slow).layer(minute(&cache).tags(["post:7"])));
    let _write = cache.begin_write(["post:7"]).await.unwrap();
    let requests: Vec<_> = (0..5).map(|_| spawn_get(&app, "/slow")).collect();
    gate.arrival().await;
    gate.open(5);
    for request in requests {
        assert_eq!(request.await.unwrap().reason(), Some(Reason::PendingWrite));
    }
}

#[tokio::test]
async fn an_invalid_tag_begins_nothing() {
    let ((cache, _), row) = (cache(), Row::default());
    let app = app(&cache, &row, strictly_fresh);
    get(&app, "/post").await;
    let error = cache.begin_write(["post:7", ""]).await.unwrap_err();
    assert!(error.is_invalid_input());
    assert!(get(&app, "/post").await.is_hit());
}

/// A store in which a request is answered twice right after each invalidation.
#[derive(Debug)]
struct Busy {
    memory: Memory,
    app: Arc<OnceLock<Router>>,
}

#[async_trait]
impl Backend for Busy {
    async fn get(&self, key: &Key, hint: &[Tag]) -> Result<ReadOutcome, Error> {
        self.memory.get(key, hint).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.memory.put(key, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.memory.is_alive(born, tags).await
    }

    async fn hold_tags(&self, tags: &[Tag], writer: u64, life: Duration) -> Result<(), Error> {
        self.memory.hold_tags(tags, writer, life).await
    }

    async fn release_tags(&self, tags: &[Tag], writer: u64) -> Result<(), Error> {
        self.memory.release_tags(tags, writer).await
    }

    fn use_clock(&self, clock: &Clock) {
        self.memory.use_clock(clock);
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        let receipt = self.memory.invalidate(invalidation).await;
        let app = self.app.get().unwrap();
        get(app, "/post").await;
        get(app, "/post").await;
        receipt
    }
}

/// Its process was suspended, so that its mark has lapsed: the first request finds that, and the second one an old row.
#[tokio::test(start_paused = true)]
async fn a_writer_that_was_suspended_is_held_from_before_its_invalidation() {
    for is_dropped in [false, true] {
        let (router, clock, row) = (Arc::default(), larder::ManualClock::new(), Row::default());
        let store = Busy { memory: Memory::new(1 << 20), app: Arc::clone(&router) };
        let cache = Cache::new(store).with_clock(&clock);
        let app = router.get_or_init(|| app(&cache, &row, strictly_fresh));
        let write = cache.begin_write(["post:7"]).await.unwrap().hold(SECOND);
        clock.advance(MINUTE);
        row.commit();
        if is_dropped {
            drop(write);
            settled().await;
        } else {
            write.done().await.unwrap();
        }
        assert_eq!(get(app, "/post").await.reason(), Some(Reason::PendingWrite), "dropped: {is_dropped}");
        row.replicate();
        sleep(2 * SECOND).await;
        assert_eq!(get(app, "/post").await.text(), "version 1");
    }
}

/// A backend of another's, which has what it must have and no more.
#[derive(Debug)]
struct Plain(Memory);

#[async_trait]
impl Backend for Plain {
    async fn get(&self, key: &Key, hint: &[Tag]) -> Result<ReadOutcome, Error> {
        self.0.get(key, hint).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.0.put(key, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.0.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.0.invalidate(invalidation).await
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_store_that_does_not_hold_tags_the_end_of_the_hold_invalidates() {
    let (cache, row) = (Cache::new(Plain(Memory::new(1 << 20))), Row::default());
    let app = app(&cache, &row, strictly_fresh);
    let write = cache.begin_write(["post:7"]).await.unwrap().hold(SECOND);
    assert!(get(&app, "/post").await.is_stored());
    row.commit();
    write.done().await.unwrap();
    assert_eq!(get(&app, "/post").await.text(), "version 0", "what the replica has");
    assert!(get(&app, "/post").await.is_hit(), "it is stored");
    row.replicate();
    sleep(2 * SECOND).await;
    let answer = get(&app, "/post").await;
    assert_eq!((answer.is_hit(), answer.text()), (false, "version 1"));
}

#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn a_write_that_cannot_begin_leaves_nothing_pending() {
    use larder::testing::{Fault, Faulty, Operation};

    for failures in [1, 2] {
        let store = Faulty::new(Memory::new(1 << 20));
        let (cache, row) = (Cache::new(store.clone()), Row::default());
        let app = app(&cache, &row, strictly_fresh);
        // The mark, or the expiry after it, and what is tried in the background.
        store.fail_times(Operation::Invalidate, Fault::AnswerLost, failures);
        cache.begin_write(["post:7"]).await.unwrap_err();
        sleep(5 * SECOND).await;
        assert!(get(&app, "/post").await.is_stored(), "{failures} failures");
    }
}

#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn a_write_whose_invalidation_fails_is_invalidated_later() {
    use larder::testing::{Fault, Faulty, Operation};

    let store = Faulty::new(Memory::new(1 << 20));
    let (cache, row) = (Cache::new(store.clone()), Row::default());
    let app = app(&cache, &row, |layer| layer.stale_while_revalidate(MINUTE));
    get(&app, "/post").await;
    let write = cache.begin_write(["post:7"]).await.unwrap();
    row.commit();
    row.replicate();
    store.fail_times(Operation::Invalidate, Fault::Unavailable, 3);
    write.done().await.unwrap_err();
    assert_eq!(get(&app, "/post").await.text(), "version 0", "stale, as the route allows");
    sleep(5 * SECOND).await;
    let answer = get(&app, "/post").await;
    assert_eq!((answer.is_hit(), answer.text()), (false, "version 1"));
}

#[cfg(feature = "values")]
#[tokio::test]
async fn a_value_is_not_stored_during_a_write() {
    use larder::ValuePolicy;

    let ((cache, _), row) = (cache(), Row::default());
    let policy = ValuePolicy::ttl(MINUTE).tags(["post:7"]);
    let read = async || {
        let replica = Arc::clone(&row.replica);
        let compute = move || async move { Ok::<_, Error>(replica.load(Ordering::SeqCst)) };
        cache.get_or_compute("row", &policy, compute).await.unwrap()
    };
    assert_eq!(read().await, 0);
    let write = cache.begin_write(["post:7"]).await.unwrap().hold(MINUTE);
    row.commit();
    write.done().await.unwrap();
    assert_eq!(read().await, 0, "what the replica has");
    row.replicate();
    assert_eq!(read().await, 1);
}
