//! The reads that wait to be sent; callers that read the same keys share one.
//!
//! A caller can join a read only until it is sent, so every caller receives values that were read after its call.

use std::{
    hash::BuildHasher as _,
    iter, mem,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot::{self, Receiver, Sender};

use super::{clock::Reading, snapshot::Snapshot};
use crate::error::Error;

/// The reads that have not been sent yet.
#[derive(Debug, Default)]
pub(super) struct ReadBatch {
    asked: Vec<PendingRead>,
    hasher: RandomState,
}

/// The names of some keys, and the callers that wait for their values.
#[derive(Debug)]
pub(super) struct PendingRead {
    hash: u64,
    names: Keys,
    waiters: SmallVec<[Sender<Answer>; 1]>,
}

/// The names of the keys of one read: usually the entry's alone.
pub(super) type Keys = SmallVec<[String; 1]>;

pub(super) type Answer = Result<Arc<Snapshot>, Error>;

impl ReadBatch {
    /// Adds a read, or joins an equal one. Returns the position of the read if it was added.
    pub(super) fn join(&mut self, names: Keys) -> (Receiver<Answer>, Option<usize>) {
        let (waiter, answered) = oneshot::channel();
        let hash = self.hasher.hash_one(&names);
        match self.asked.iter_mut().find(|read| read.hash == hash && read.names == names) {
            Some(read) => {
                read.waiters.push(waiter);
                (answered, None)
            }
            None => {
                self.asked.push(PendingRead { hash, names, waiters: smallvec![waiter] });
                (answered, Some(self.asked.len()))
            }
        }
    }

    /// Removes and returns all reads, to be sent.
    pub(super) fn take(&mut self) -> Vec<PendingRead> {
        mem::take(&mut self.asked)
    }
}

impl PendingRead {
    /// Returns whether a caller still waits for the reply.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiters.iter().any(|waiter| !waiter.is_closed())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter().map(String::as_str)
    }

    /// Takes this read's values and sends them to its callers; those that were dropped are skipped.
    pub(super) fn answer(self, clock: Reading, values: &mut impl Iterator<Item = Option<Bytes>>) {
        let values = values.take(self.names.len()).collect();
        let shared = (self.waiters.len() > 1).then(OnceLock::new);
        let snapshot = Arc::new(Snapshot { clock, values, shared });
        let copies = iter::repeat_n(snapshot, self.waiters.len());
        self.waiters.into_iter().zip(copies).for_each(|(waiter, snapshot)| _ = waiter.send(Ok(snapshot)));
    }

    pub(super) fn fail(self, error: &Error) {
        self.waiters.into_iter().for_each(|waiter| _ = waiter.send(Err(error.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend::redis::clock::Term, entry::epoch::Epoch};

    const CLOCK: Reading = Reading { term: Term([0; 8]), epoch: Epoch::new(7), sequence: 0 };

    fn names(names: &[&str]) -> Keys {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn equal_reads_are_sent_once_and_answer_every_caller() {
        let mut batch = ReadBatch::default();
        let (first, number_of_first) = batch.join(names(&["entry", "tag"]));
        let (other, number_of_other) = batch.join(names(&["entry"]));
        let (again, number_of_again) = batch.join(names(&["entry", "tag"]));
        assert_eq!([number_of_first, number_of_other, number_of_again], [Some(1), Some(2), None]);

        let asked = batch.take();
        assert_eq!(asked.iter().flat_map(PendingRead::names).collect::<Vec<_>>(), ["entry", "tag", "entry"]);
        let mut values = ["a", "b", "c"].map(|value| Some(Bytes::from_static(value.as_bytes()))).into_iter();
        asked.into_iter().for_each(|read| read.answer(CLOCK, &mut values));

        let (first, other, again) = (first.await.unwrap().unwrap(), other.await.unwrap().unwrap(), again.await.unwrap().unwrap());
        assert_eq!(first.values[..], [Some("a".into()), Some("b".into())]);
        assert_eq!(other.values[..], [Some(Bytes::from("c"))]);
        assert!(Arc::ptr_eq(&first, &again) && first.shared.is_some() && other.shared.is_none());
    }

    #[tokio::test]
    async fn a_dropped_caller_does_not_affect_the_others() {
        let mut batch = ReadBatch::default();
        let (left, _) = batch.join(names(&["entry"]));
        let (stays, _) = batch.join(names(&["entry"]));
        let (alone, _) = batch.join(names(&["other"]));
        drop((left, alone));

        let [read, unwanted]: [PendingRead; 2] = batch.take().try_into().unwrap();
        assert!(read.is_wanted() && !unwanted.is_wanted());
        read.answer(CLOCK, &mut std::iter::once(None));
        assert_eq!(stays.await.unwrap().unwrap().values[..], [None]);
    }

    #[tokio::test]
    async fn a_failure_reaches_every_caller() {
        let mut batch = ReadBatch::default();
        let waiters = [batch.join(names(&["entry"])).0, batch.join(names(&["entry"])).0];
        batch.take().into_iter().for_each(|read| read.fail(&Error::unavailable("gone")));
        for waiter in waiters {
            assert!(waiter.await.unwrap().is_err());
        }
    }
}
