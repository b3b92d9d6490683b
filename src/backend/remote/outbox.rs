//! The invalidations that must be repeated on a remote store.

use std::{
    collections::{HashMap, HashSet},
    mem,
    ops::Deref,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{backend::contract::Invalidation, clock::Timestamp, tag::Tag};

/// The invalidations that a store is owed because it could not be told in time.
///
/// Their order does not matter, since each concerns everything that was stored before it is carried out. When there are too many
/// tags to remember, everything is owed.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<Owed>);

#[derive(Debug, Default)]
struct Owed {
    everything: bool,
    hard: HashSet<Tag>,
    /// With the time of the first expiry.
    soft: HashMap<Tag, Timestamp>,
}

/// An invalidation that is being carried out; owed again if that fails, or ends with its runtime.
#[derive(Debug)]
pub(super) struct Taken<'o> {
    outbox: &'o Outbox,
    /// `None` once it is settled.
    invalidation: Option<Invalidation>,
}

const CAPACITY: usize = 65_536;
/// As many tags as are carried out together.
const BATCH: usize = 128;

impl Outbox {
    pub(super) fn add(&self, invalidation: Invalidation) {
        let mut owed = self.lock();
        match invalidation {
            Invalidation::Tags(tags) => owed.hard.extend(tags),
            Invalidation::ExpireTags { tags, at } => tags.into_iter().for_each(|tag| owed.expire(tag, at)),
            Invalidation::Everything => owed.everything = true,
        }
        if owed.hard.len() + owed.soft.len() > CAPACITY {
            tracing::warn!("more than {CAPACITY} invalidated tags wait for the cache's store: everything will be invalidated");
            owed.everything = true;
        }
        if owed.everything {
            owed.hard.clear();
            owed.soft.clear();
        }
    }

    /// Takes what is to be carried out first; unless it is settled, it is owed again.
    ///
    /// It is taken before it is carried out: the same tag, invalidated again meanwhile, is owed again.
    pub(super) fn take(&self) -> Option<Taken<'_>> {
        let mut owed = self.lock();
        let invalidation = match () {
            () if mem::take(&mut owed.everything) => Some(Invalidation::Everything),
            () if !owed.hard.is_empty() => Some(Invalidation::Tags(batch(&mut owed.hard))),
            () if !owed.soft.is_empty() => Some(owed.take_expired()),
            () => None,
        };
        drop(owed);
        Some(Taken { outbox: self, invalidation: Some(invalidation?) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        let owed = self.lock();
        owed.hard.len() + owed.soft.len() + usize::from(owed.everything)
    }

    fn lock(&self) -> MutexGuard<'_, Owed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owed {
    fn expire(&mut self, tag: Tag, at: Timestamp) {
        self.soft.entry(tag).and_modify(|first| *first = at.min(*first)).or_insert(at);
    }

    /// What is carried out together counts as expired at the earliest time of all, which costs some of the others' stale window.
    fn take_expired(&mut self) -> Invalidation {
        let batch: Vec<_> = self.soft.iter().take(BATCH).map(|(tag, at)| (tag.clone(), *at)).collect();
        batch.iter().for_each(|(tag, _)| _ = self.soft.remove(tag));
        let at = batch.iter().map(|(_, at)| *at).min().unwrap_or(Timestamp::from_millis(0));
        Invalidation::ExpireTags { tags: batch.into_iter().map(|(tag, _)| tag).collect(), at }
    }
}

impl Taken<'_> {
    /// Notes that the store has it.
    pub(super) fn settle(mut self) {
        self.invalidation = None;
    }
}

impl Deref for Taken<'_> {
    type Target = Invalidation;

    fn deref(&self) -> &Invalidation {
        self.invalidation.as_ref().expect("it is there until it is settled, which takes it")
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(invalidation) = self.invalidation.take() {
            self.outbox.add(invalidation);
        }
    }
}

fn batch(tags: &mut HashSet<Tag>) -> Vec<Tag> {
    let batch: Vec<_> = tags.iter().take(BATCH).cloned().collect();
    batch.iter().for_each(|tag| _ = tags.remove(tag));
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(name: impl Into<String>) -> Tag {
        Tag::new(name.into()).unwrap()
    }

    #[test]
    fn what_is_owed_again_while_it_is_carried_out_stays_owed() {
        let outbox = Outbox::default();
        outbox.add(Invalidation::Tags(vec![tag("a")]));
        let taken = outbox.take().unwrap();
        assert!(matches!(&*taken, Invalidation::Tags(tags) if *tags == [tag("a")]));
        outbox.add(Invalidation::Tags(vec![tag("a")]));
        taken.settle();
        assert_eq!(outbox.len(), 1);
        outbox.take().unwrap().settle();
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_is_owed_twice_was_expired_when_it_was_owed_first() {
        let outbox = Outbox::default();
        for at in [7, 5, 9].map(Timestamp::from_millis) {
            outbox.add(Invalidation::ExpireTags { tags: vec![tag("a")], at });
        }
        let taken = outbox.take().unwrap();
        assert!(matches!(*taken, Invalidation::ExpireTags { at, .. } if at == Timestamp::from_millis(5)));
        taken.settle();
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_is_taken_and_not_settled_stays_owed() {
        let expired = Invalidation::ExpireTags { tags: vec![tag("a")], at: Timestamp::from_millis(5) };
        for owed in [Invalidation::Tags(vec![tag("a")]), expired, Invalidation::Everything] {
            let outbox = Outbox::default();
            outbox.add(owed);
            drop(outbox.take());
            assert_eq!(outbox.len(), 1);
        }
    }

    #[test]
    fn too_many_tags_become_everything() {
        let outbox = Outbox::default();
        for number in 0..=CAPACITY {
            outbox.add(Invalidation::ExpireTags { tags: vec![tag(number.to_string())], at: Timestamp::from_millis(0) });
        }
        assert_eq!(outbox.len(), 1);
        let taken = outbox.take().unwrap();
        assert!(matches!(*taken, Invalidation::Everything));
        taken.settle();
        assert!(outbox.take().is_none());
    }
}
