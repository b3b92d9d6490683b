//! What is about to be asked, once for all who ask for the same.
//!
//! A question may be joined until it is sent, and no longer: so what is answered is how things were after each had asked.

use std::{
    hash::BuildHasher as _,
    iter,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot::{self, Receiver, Sender};

use super::{moment::Moment, reading::Reading};
use crate::error::Error;

/// The questions that have not been sent yet.
#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: Vec<Question>,
    hasher: RandomState,
}

/// Some names, and who wants to know what stands under them.
#[derive(Debug)]
pub(super) struct Question {
    hash: u64,
    names: Vec<String>,
    askers: SmallVec<[Sender<Answer>; 1]>,
}

type Answer = Result<Arc<Moment>, Error>;

impl Questions {
    /// Asks, or joins those who ask the same; tells whether this is the first question of all.
    pub(super) fn join(&mut self, names: Vec<String>) -> (Receiver<Answer>, bool) {
        let (asker, answered) = oneshot::channel();
        let hash = self.hasher.hash_one(&names);
        match self.asked.iter_mut().find(|question| question.hash == hash && question.names == names) {
            Some(question) => question.askers.push(asker),
            None => self.asked.push(Question { hash, names, askers: smallvec![asker] }),
        }
        (answered, matches!(&self.asked[..], [only] if only.askers.len() == 1))
    }

    pub(super) fn into_inner(self) -> Vec<Question> {
        self.asked
    }
}

impl Question {
    /// Whether anybody still waits for the answer.
    pub(super) fn matters(&self) -> bool {
        self.askers.iter().any(|asker| !asker.is_closed())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Takes its own from the values that were read. Who has left meanwhile does not need it.
    pub(super) fn answer(self, clock: Reading, values: &mut impl Iterator<Item = Option<Bytes>>) {
        let values = values.take(self.names.len()).collect();
        let shared = (self.askers.len() > 1).then(OnceLock::new);
        let moment = Arc::new(Moment { clock, values, shared });
        let copies = iter::repeat_n(moment, self.askers.len());
        self.askers.into_iter().zip(copies).for_each(|(asker, moment)| _ = asker.send(Ok(moment)));
    }

    pub(super) fn fail(self, error: &Error) {
        self.askers.into_iter().for_each(|asker| _ = asker.send(Err(error.clone())));
    }
}
