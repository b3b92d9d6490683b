//! The invalidations that must be repeated on a remote store.

use std::{
    collections::{HashMap, HashSet},
    mem,
    ops::Deref,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{backend::contract::Invalidation, clock::Timestamp, tag::Tag};

/// The invalidations that failed, and must be carried out before the store is used again.
///
/// Their order does not matter, since each invalidates everything that is stored before it is carried out. If there are too many tags
/// to remember, they are replaced by an invalidation of everything.
#[derive(Debug)]
pub(super) struct Outbox {
    /// The largest number of tags.
    capacity: usize,
    owed: Mutex<Owed>,
}

#[derive(Debug, Default)]
struct Owed {
    everything: bool,
    hard: HashSet<Tag>,
    /// The time of the first expiry of each tag.
    soft: HashMap<Tag, Timestamp>,
    /// The number of tags that are being carried out; one for everything.
    taken: usize,
}

/// An invalidation that is being carried out. If it is dropped before it is settled, it returns to the outbox.
#[derive(Debug)]
pub(super) struct Taken<'o> {
    outbox: &'o Outbox,
    /// `None` after it was settled.
    invalidation: Option<Invalidation>,
    count: usize,
}

/// The number of tags that are carried out together.
const BATCH: usize = 128;

impl Outbox {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, owed: Mutex::default() }
    }

    pub(super) fn add(&self, invalidation: Invalidation) {
        let mut owed = self.lock();
        match invalidation {
            Invalidation::Tags(tags) => owed.hard.extend(tags),
            Invalidation::ExpireTags { tags, at } => tags.into_iter().for_each(|tag| owed.expire(tag, at)),
            Invalidation::Everything => owed.everything = true,
        }
        if !owed.everything && owed.hard.len() + owed.soft.len() > self.capacity {
            tracing::warn!(
                "more than {} tags wait to be invalidated in the cache's store: everything will be invalidated (`max_owed_tags`)",
                self.capacity
            );
            owed.everything = true;
        }
        if owed.everything {
            owed.hard.clear();
            owed.soft.clear();
        }
    }

    /// Removes some of the invalidations, to be carried out.
    ///
    /// They are removed first: if a tag is invalidated again while they are carried out, it is added again.
    pub(super) fn take(&self) -> Option<Taken<'_>> {
        let mut owed = self.lock();
        let invalidation = match () {
            () if mem::take(&mut owed.everything) => Some(Invalidation::Everything),
            () if !owed.hard.is_empty() => Some(Invalidation::Tags(batch(&mut owed.hard))),
            () if !owed.soft.is_empty() => Some(owed.take_expired()),
            () => None,
        }?;
        let count = owed_tags(&invalidation);
        owed.taken += count;
        drop(owed);
        Some(Taken { outbox: self, invalidation: Some(invalidation), count })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of tags that wait; one for everything.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns the number of tags that wait or are being carried out; one for everything.
    pub(super) fn owed(&self) -> usize {
        let owed = self.lock();
        owed.len() + owed.taken
    }

    fn lock(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owed {
    fn len(&self) -> usize {
        self.hard.len() + self.soft.len() + usize::from(self.everything)
    }

    fn expire(&mut self, tag: Tag, at: Timestamp) {
        self.soft.entry(tag).and_modify(|first| *first = at.min(*first)).or_insert(at);
    }

    /// Tags that are carried out together expire at the earliest time of all, which shortens the stale windows of the others.
    fn take_expired(&mut self) -> Invalidation {
        let batch: Vec<_> = self.soft.iter().take(BATCH).map(|(tag, at)| (tag.clone(), *at)).collect();
        batch.iter().for_each(|(tag, _)| _ = self.soft.remove(tag));
        let at = batch.iter().map(|(_, at)| *at).min().unwrap_or(Timestamp::from_millis(0));
        Invalidation::ExpireTags { tags: batch.into_iter().map(|(tag, _)| tag).collect(), at }
    }
}

impl Taken<'_> {
    /// Marks the invalidation as carried out.
    pub(super) fn settle(mut self) {
        self.invalidation = None;
    }
}

impl Deref for Taken<'_> {
    type Target = Invalidation;

    fn deref(&self) -> &Invalidation {
        self.invalidation.as_ref().expect("`settle` consumes the value")
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(invalidation) = self.invalidation.take() {
            self.outbox.add(invalidation);
        }
        self.outbox.lock().taken -= self.count;
    }
}

/// Returns the number of tags of an invalidation; one for everything.
pub(super) fn owed_tags(invalidation: &Invalidation) -> usize {
    invalidation.tags().len().max(1)
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
    fn a_tag_that_is_added_while_it_is_carried_out_stays() {
        let outbox = Outbox::new(1000);
        outbox.add(Invalidation::Tags(vec![tag("a")]));
        let taken = outbox.take().unwrap();
        assert!(matches!(&*taken, Invalidation::Tags(tags) if *tags == [tag("a")]));
        outbox.add(Invalidation::Tags(vec![tag("a")]));
        assert_eq!((outbox.len(), outbox.owed()), (1, 2));
        taken.settle();
        assert_eq!((outbox.len(), outbox.owed()), (1, 1));
        outbox.take().unwrap().settle();
        assert!(outbox.is_empty() && outbox.owed() == 0);
    }

    #[test]
    fn the_first_expiry_of_a_tag_is_kept() {
        let outbox = Outbox::new(1000);
        for at in [7, 5, 9].map(Timestamp::from_millis) {
            outbox.add(Invalidation::ExpireTags { tags: vec![tag("a")], at });
        }
        let taken = outbox.take().unwrap();
        assert!(matches!(*taken, Invalidation::ExpireTags { at, .. } if at == Timestamp::from_millis(5)));
        taken.settle();
        assert!(outbox.is_empty());
    }

    #[test]
    fn an_invalidation_that_is_not_settled_returns() {
        let expired = Invalidation::ExpireTags { tags: vec![tag("a")], at: Timestamp::from_millis(5) };
        for owed in [Invalidation::Tags(vec![tag("a")]), expired, Invalidation::Everything] {
            let outbox = Outbox::new(1000);
            outbox.add(owed);
            drop(outbox.take());
            assert_eq!((outbox.len(), outbox.owed()), (1, 1));
        }
    }

    #[test]
    fn too_many_tags_become_everything() {
        let outbox = Outbox::new(1000);
        for number in 0..=1000 {
            outbox.add(Invalidation::ExpireTags { tags: vec![tag(number.to_string())], at: Timestamp::from_millis(0) });
        }
        assert_eq!(outbox.len(), 1);
        let taken = outbox.take().unwrap();
        assert!(matches!(*taken, Invalidation::Everything));
        taken.settle();
        assert!(outbox.take().is_none());
    }
}
