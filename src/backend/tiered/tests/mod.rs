//! Tests of the near tier.

mod outages;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::sleep};

use super::Tiered;
use crate::{
    backend::{
        FeedBatch, InvalidationFeed, SharedStore,
        cache_mode::CacheMode,
        contract::{Backend, Durability, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope},
        memory::Memory,
        validity::Validity,
    },
    clock::{ManualClock, Timestamp},
    entry::{
        epoch::Epoch,
        stored::{Content, Stored},
    },
    error::Error,
    key::Key,
    tag::Tag,
};

/// A far store whose clock and entry are set by the test.
#[derive(Debug)]
struct FarStore {
    clock: Mutex<Epoch>,
    usable: Mutex<Option<Arc<Stored>>>,
    /// Whether it fails.
    is_down: AtomicBool,
    is_suspended: AtomicBool,
    mode: Mutex<CacheMode>,
    /// How many reads it was asked for.
    reads: AtomicUsize,
    /// Invalidations wait for it, if there is one.
    invalidating: Option<Notify>,
}

impl FarStore {
    fn new(clock: Epoch, usable: Option<Arc<Stored>>) -> Self {
        let (is_down, is_suspended, mode, reads, invalidating) = Default::default();
        Self { clock: Mutex::new(clock), usable: Mutex::new(usable), is_down, is_suspended, mode, reads, invalidating }
    }

    fn read(&self) -> Result<(), Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.answers()
    }

    fn answers(&self) -> Result<(), Error> {
        if self.is_down.load(Ordering::Relaxed) { Err(Error::timeout("the store is down")) } else { Ok(()) }
    }

    fn set(&self, clock: Epoch, usable: Option<Arc<Stored>>) {
        *self.clock.lock().unwrap() = clock;
        *self.usable.lock().unwrap() = usable;
    }
}

#[async_trait]
impl Backend for FarStore {
    async fn get(&self, _key: &Key, _known: &[Tag]) -> Result<ReadOutcome, Error> {
        self.read()?;
        let found = self.usable.lock().unwrap().clone().map(|stored| (stored, Validity::Valid));
        Ok(ReadOutcome { found, epoch: Some(*self.clock.lock().unwrap()) })
    }

    async fn put(&self, _key: &Key, _stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        Ok(PutOutcome::Stored)
    }

    async fn is_alive(&self, born: Epoch, _tags: &[Tag]) -> Result<bool, Error> {
        self.read()?;
        Ok(self.usable.lock().unwrap().as_ref().is_some_and(|usable| usable.born() == born))
    }

    async fn invalidate(&self, _invalidation: &Invalidation) -> Result<Receipt, Error> {
        if let Some(invalidating) = &self.invalidating {
            invalidating.notified().await;
        }
        self.answers()?;
        Ok(Receipt::new(*self.clock.lock().unwrap(), 0, Scope::Nodes, Durability::Volatile))
    }

    fn shared_mode(&self) -> CacheMode {
        *self.mode.lock().unwrap()
    }
}

#[async_trait]
impl SharedStore for FarStore {
    async fn epoch(&self) -> Result<Epoch, Error> {
        self.read()?;
        Ok(*self.clock.lock().unwrap())
    }

    fn is_suspended(&self) -> bool {
        self.is_suspended.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl InvalidationFeed for FarStore {
    async fn invalidations_since(&self, _last: Option<u64>) -> Result<FeedBatch, Error> {
        self.answers()?;
        Ok(FeedBatch::new(*self.clock.lock().unwrap(), 0, Vec::new()))
    }
}

fn stored(born: Epoch) -> Arc<Stored> {
    Arc::new(Stored::new(born, Vec::new(), Content::Tombstone))
}

/// The clock is read, then lost and begun again, then the entry is read. The first reading does not validate the copy for the new
/// incarnation, which reaches the same number later.
#[tokio::test]
async fn an_epoch_of_another_incarnation_does_not_validate_a_copy() {
    let (key, copy) = (Key::from_bytes(b"page"), stored(Epoch::of(2, 2)));
    for has_copy in [false, true] {
        let far = FarStore::new(Epoch::of(2, 2), Some(Arc::clone(&copy)));
        let tiered = Tiered::new(Memory::new(1 << 20), far);
        if has_copy {
            assert!(tiered.get(&key, &[]).await.unwrap().found.is_some());
        }
        tiered.far.set(Epoch::of(1, 9), Some(Arc::clone(&copy)));
        assert!(tiered.get(&key, &[]).await.unwrap().found.is_some());
        tiered.far.set(Epoch::of(2, 9), None);
        assert!(
            tiered.get(&key, &[]).await.unwrap().found.is_none(),
            "a copy that was invalidated at 5 counts as validated at 9"
        );
    }
}

#[tokio::test]
async fn a_copy_is_used_while_the_clock_is_unchanged_and_no_longer() {
    let (key, copy) = (Key::from_bytes(b"page"), stored(Epoch::of(2, 2)));
    let far = FarStore::new(Epoch::of(2, 2), Some(copy));
    let tiered = Tiered::new(Memory::new(1 << 20), far);
    assert!(tiered.get(&key, &[]).await.unwrap().found.is_some());
    tiered.far.set(Epoch::of(2, 2), None);
    assert!(tiered.get(&key, &[]).await.unwrap().found.is_some(), "the tier read more than the clock of the far store");
    for clock in [Epoch::of(2, 3), Epoch::of(3, 2)] {
        tiered.far.set(clock, None);
        assert!(tiered.get(&key, &[]).await.unwrap().found.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_measured_by_the_clock_of_the_tier() {
    const SPAN: Duration = Duration::from_secs(1);
    const MOMENT: Duration = Duration::from_millis(1);
    let (key, copy) = (Key::from_bytes(b"page"), stored(Epoch::of(2, 2)));
    let clock = ManualClock::new();
    let tiered = || {
        let far = FarStore::new(Epoch::of(2, 2), Some(Arc::clone(&copy)));
        Tiered::new(Memory::new(1 << 20), far)
    };
    for tiered in [tiered().with_clock(&clock).lease(SPAN), tiered().lease(SPAN).with_clock(&clock)] {
        tiered.get(&key, &[]).await.unwrap();
        // Only while this test sleeps does the follower poll.
        sleep(SPAN).await;
        tiered.get(&key, &[]).await.unwrap();
        clock.advance(SPAN - MOMENT);
        assert!(tiered.get_now(&key).is_some());
        clock.advance(MOMENT);
        assert!(tiered.get_now(&key).is_none(), "a copy was used after the lease had ended");
        sleep(SPAN).await;
        assert!(tiered.get_now(&key).is_some(), "the lease was not renewed");
    }
}
