use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{backend::Invalidation, tag::Tag};

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
    soft: HashSet<Tag>,
}

const CAPACITY: usize = 65_536;
/// As many tags as are carried out together.
const BATCH: usize = 128;

impl Outbox {
    pub(super) fn add(&self, invalidation: Invalidation) {
        let mut owed = self.lock();
        match invalidation {
            Invalidation::Tags(tags) => owed.hard.extend(tags),
            Invalidation::ExpireTags(tags) => owed.soft.extend(tags),
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

    /// Takes what is to be carried out first; if that fails, it must be added again.
    ///
    /// It is taken before it is carried out: the same tag, invalidated again meanwhile, is owed again.
    pub(super) fn take(&self) -> Option<Invalidation> {
        let mut owed = self.lock();
        match () {
            () if mem::take(&mut owed.everything) => Some(Invalidation::Everything),
            () if !owed.hard.is_empty() => Some(Invalidation::Tags(batch(&mut owed.hard))),
            () if !owed.soft.is_empty() => Some(Invalidation::ExpireTags(batch(&mut owed.soft))),
            () => None,
        }
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
        assert!(matches!(outbox.take(), Some(Invalidation::Tags(tags)) if tags == [tag("a")]));
        outbox.add(Invalidation::Tags(vec![tag("a")]));
        assert_eq!(outbox.len(), 1);
        assert!(outbox.take().is_some());
        assert!(outbox.is_empty());
    }

    #[test]
    fn too_many_tags_become_everything() {
        let outbox = Outbox::default();
        for number in 0..=CAPACITY {
            outbox.add(Invalidation::ExpireTags(vec![tag(number.to_string())]));
        }
        assert_eq!(outbox.len(), 1);
        assert!(matches!(outbox.take(), Some(Invalidation::Everything)));
        assert!(outbox.take().is_none());
    }
}
