//! Tests of the near tier.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::sleep;

use super::Tiered;
use crate::{
    backend::{
        FeedBatch, InvalidationFeed, SharedStore,
        contract::{Backend, Durability, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope},
        memory::Memory,
        validity::Validity,
    },
    clock::ManualClock,
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
}

impl FarStore {
    fn set(&self, clock: Epoch, usable: Option<Arc<Stored>>) {
        *self.clock.lock().unwrap() = clock;
        *self.usable.lock().unwrap() = usable;
    }
}

#[async_trait]
impl Backend for FarStore {
    async fn get(&self, _key: &Key, _known: &[Tag]) -> Result<ReadOutcome, Error> {
        let found = self.usable.lock().unwrap().clone().map(|stored| (stored, Validity::Valid));
        Ok(ReadOutcome { found, epoch: Some(*self.clock.lock().unwrap()) })
    }

    async fn put(&self, _key: &Key, _stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        Ok(PutOutcome::Stored)
    }

    async fn is_alive(&self, born: Epoch, _tags: &[Tag]) -> Result<bool, Error> {
        Ok(self.usable.lock().unwrap().as_ref().is_some_and(|usable| usable.born() == born))
    }

    async fn invalidate(&self, _invalidation: &Invalidation) -> Result<Receipt, Error> {
        Ok(Receipt::new(*self.clock.lock().unwrap(), 0, Scope::Nodes, Durability::Volatile))
    }
}

#[async_trait]
impl SharedStore for FarStore {
    async fn epoch(&self) -> Result<Epoch, Error> {
        Ok(*self.clock.lock().unwrap())
    }
}

#[async_trait]
impl InvalidationFeed for FarStore {
    async fn invalidations_since(&self, _last: Option<u64>) -> Result<FeedBatch, Error> {
        Ok(FeedBatch::new(self.epoch().await?, 0, Vec::new()))
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
        let far = FarStore { clock: Mutex::new(Epoch::of(2, 2)), usable: Mutex::new(Some(Arc::clone(&copy))) };
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
    let far = FarStore { clock: Mutex::new(Epoch::of(2, 2)), usable: Mutex::new(Some(copy)) };
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
        let far = FarStore { clock: Mutex::new(Epoch::of(2, 2)), usable: Mutex::new(Some(Arc::clone(&copy))) };
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
