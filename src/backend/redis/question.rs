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

use super::{clock::Reading, snapshot::Moment};
use crate::error::Error;

/// The reads that have not been sent yet.
#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: Vec<Question>,
    hasher: RandomState,
}

/// The names of some keys, and the callers that wait for their values.
#[derive(Debug)]
pub(super) struct Question {
    hash: u64,
    names: Keys,
    askers: SmallVec<[Sender<Answer>; 1]>,
}

/// The names of the keys of one read: usually the entry's alone.
pub(super) type Keys = SmallVec<[String; 1]>;

pub(super) type Answer = Result<Arc<Moment>, Error>;

impl Questions {
    /// Adds a read, or joins an equal one. Returns the position of the read if it was added.
    pub(super) fn join(&mut self, names: Keys) -> (Receiver<Answer>, Option<usize>) {
        let (asker, answered) = oneshot::channel();
        let hash = self.hasher.hash_one(&names);
        match self.asked.iter_mut().find(|question| question.hash == hash && question.names == names) {
            Some(question) => {
                question.askers.push(asker);
                (answered, None)
            }
            None => {
                self.asked.push(Question { hash, names, askers: smallvec![asker] });
                (answered, Some(self.asked.len()))
            }
        }
    }

    /// Removes and returns all reads, to be sent.
    pub(super) fn take(&mut self) -> Vec<Question> {
        mem::take(&mut self.asked)
    }
}

impl Question {
    /// Returns whether a caller still waits for the reply.
    pub(super) fn matters(&self) -> bool {
        self.askers.iter().any(|asker| !asker.is_closed())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter().map(String::as_str)
    }

    /// Takes this read's values and sends them to its callers; those that were dropped are skipped.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend::redis::clock::Term, entry::epoch::Epoch};

    const CLOCK: Reading = Reading { term: Term([0; 8]), epoch: Epoch::new(7), sequence: 0 };

    fn names(names: &[&str]) -> Keys {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn the_same_question_is_asked_once_and_answered_to_all() {
        let mut questions = Questions::default();
        let (first, number_of_first) = questions.join(names(&["entry", "tag"]));
        let (other, number_of_other) = questions.join(names(&["entry"]));
        let (again, number_of_again) = questions.join(names(&["entry", "tag"]));
        assert_eq!([number_of_first, number_of_other, number_of_again], [Some(1), Some(2), None]);

        let asked = questions.take();
        assert_eq!(asked.iter().flat_map(Question::names).collect::<Vec<_>>(), ["entry", "tag", "entry"]);
        let mut values = ["a", "b", "c"].map(|value| Some(Bytes::from_static(value.as_bytes()))).into_iter();
        asked.into_iter().for_each(|question| question.answer(CLOCK, &mut values));

        let (first, other, again) = (first.await.unwrap().unwrap(), other.await.unwrap().unwrap(), again.await.unwrap().unwrap());
        assert_eq!(first.values[..], [Some("a".into()), Some("b".into())]);
        assert_eq!(other.values[..], [Some(Bytes::from("c"))]);
        assert!(Arc::ptr_eq(&first, &again) && first.shared.is_some() && other.shared.is_none());
    }

    #[tokio::test]
    async fn who_leaves_takes_nothing_from_those_who_stay() {
        let mut questions = Questions::default();
        let (left, _) = questions.join(names(&["entry"]));
        let (stays, _) = questions.join(names(&["entry"]));
        let (alone, _) = questions.join(names(&["other"]));
        drop((left, alone));

        let [question, unwanted]: [Question; 2] = questions.take().try_into().unwrap();
        assert!(question.matters() && !unwanted.matters());
        question.answer(CLOCK, &mut std::iter::once(None));
        assert_eq!(stays.await.unwrap().unwrap().values[..], [None]);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all() {
        let mut questions = Questions::default();
        let askers = [questions.join(names(&["entry"])).0, questions.join(names(&["entry"])).0];
        questions.take().into_iter().for_each(|question| question.fail(&Error::unavailable("gone")));
        for asker in askers {
            assert!(asker.await.unwrap().is_err());
        }
    }
}
