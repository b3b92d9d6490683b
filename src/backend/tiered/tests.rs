//! Tests of the near tier.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::Tiered;
use crate::{
    backend::{
        SharedStore,
        contract::{Backend, Durability, Invalidation, PutOutcome, ReadOutcome, Receipt, Scope},
        memory::Memory,
        validity::Validity,
    },
    entry::{
        epoch::Epoch,
        stored::{Content, Stored},
    },
    error::Error,
    key::Key,
    tag::Tag,
};

/// A far store at chosen moments: what its clock shows, and what may be used.
#[derive(Debug)]
struct Moments {
    clock: Mutex<Epoch>,
    usable: Mutex<Option<Arc<Stored>>>,
}

impl Moments {
    fn set(&self, clock: Epoch, usable: Option<Arc<Stored>>) {
        *self.clock.lock().unwrap() = clock;
        *self.usable.lock().unwrap() = usable;
    }
}

#[async_trait]
impl Backend for Moments {
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
impl SharedStore for Moments {
    async fn epoch(&self) -> Result<Epoch, Error> {
        Ok(*self.clock.lock().unwrap())
    }
}

fn stored(born: Epoch) -> Arc<Stored> {
    Arc::new(Stored::new(born, Vec::new(), Content::Tombstone))
}

/// The clock is asked for, then lost and begun anew, then the entry is found: what was asked for is no proof for the new clock,
/// which comes to the same number later.
#[tokio::test]
async fn the_number_of_another_incarnation_proves_nothing() {
    let (key, copy) = (Key::from_bytes(b"page"), stored(Epoch::of(2, 2)));
    for is_copied_before in [false, true] {
        let far = Moments { clock: Mutex::new(Epoch::of(2, 2)), usable: Mutex::new(Some(Arc::clone(&copy))) };
        let tiered = Tiered::new(Memory::new(1 << 20), far);
        if is_copied_before {
            assert!(tiered.get(&key, &[]).await.unwrap().found.is_some());
        }
        tiered.far.set(Epoch::of(1, 9), Some(Arc::clone(&copy)));
        assert!(tiered.get(&key, &[]).await.unwrap().found.is_some());
        tiered.far.set(Epoch::of(2, 9), None);
        assert!(tiered.get(&key, &[]).await.unwrap().found.is_none(), "what was invalidated at 5 is taken for proven at 9");
    }
}

#[tokio::test]
async fn a_copy_is_used_as_long_as_the_clock_stands_and_no_longer() {
    let (key, copy) = (Key::from_bytes(b"page"), stored(Epoch::of(2, 2)));
    let far = Moments { clock: Mutex::new(Epoch::of(2, 2)), usable: Mutex::new(Some(copy)) };
    let tiered = Tiered::new(Memory::new(1 << 20), far);
    assert!(tiered.get(&key, &[]).await.unwrap().found.is_some());
    tiered.far.set(Epoch::of(2, 2), None);
    assert!(tiered.get(&key, &[]).await.unwrap().found.is_some(), "the far store was asked for more than its clock");
    for clock in [Epoch::of(2, 3), Epoch::of(3, 2)] {
        tiered.far.set(clock, None);
        assert!(tiered.get(&key, &[]).await.unwrap().found.is_none());
    }
}
