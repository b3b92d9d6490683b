//! The tags that are being written, in memory.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use foldhash::fast::RandomState;

use crate::{
    backend::write_marks::{Marked, WriteMarks},
    clock::Timestamp,
};

/// The marks of each tag that is being written, by the hash of the tag.
#[derive(Debug, Default)]
pub(super) struct Writers {
    /// The number of tags with marks: while nothing is being written, storing a response costs one load more.
    tags: AtomicUsize,
    marks: Mutex<HashMap<u64, WriteMarks, RandomState>>,
}

/// With more tags, those whose marks have lapsed are looked for. They are few unless guards are leaked.
const MANY_TAGS: usize = 4096;

impl Writers {
    /// Marks the tags. Returns tags whose marks had all lapsed, if there are many tags: the caller invalidates them, and they are no longer marked.
    pub(super) fn hold(&self, tags: impl Iterator<Item = u64>, writer: u64, until: Timestamp, now: Timestamp) -> Vec<u64> {
        let mut marks = self.lock();
        tags.for_each(|tag| marks.entry(tag).or_default().hold(writer, until));
        let mut lapsed = Vec::new();
        if marks.len() > MANY_TAGS {
            lapsed.extend(marks.iter().filter(|(_, marks)| marks.at(now) == Marked::Lapsed).map(|(tag, _)| *tag));
        }
        self.count(&marks);
        lapsed
    }

    pub(super) fn release(&self, tags: impl Iterator<Item = u64>, writer: u64) {
        self.change(tags, |marks| marks.release(writer));
    }

    /// Removes the marks of these tags that had lapsed at a time, after an invalidation that began then or later.
    pub(super) fn forget_lapsed(&self, tags: impl Iterator<Item = u64>, at: Timestamp) {
        self.change(tags, |marks| marks.forget_lapsed(at));
    }

    /// Returns the worst state of the tags, and those whose marks have all lapsed.
    pub(super) fn marked(&self, tags: impl Iterator<Item = u64>, now: impl FnOnce() -> Timestamp) -> (Marked, Vec<u64>) {
        // A fetch that is born after a writer's first invalidation has synchronized with it, and finds its tags counted.
        if self.tags.load(Ordering::Acquire) == 0 {
            return (Marked::Free, Vec::new());
        }
        let (marks, now) = (self.lock(), now());
        let states: Vec<_> = tags.filter_map(|tag| Some((tag, marks.get(&tag)?.at(now)))).collect();
        let worst = states.iter().map(|(_, state)| *state).max().unwrap_or(Marked::Free);
        (worst, states.into_iter().filter(|(_, state)| *state == Marked::Lapsed).map(|(tag, _)| tag).collect())
    }

    fn change(&self, tags: impl Iterator<Item = u64>, change: impl Fn(&mut WriteMarks)) {
        let mut marks = self.lock();
        for tag in tags {
            let Some(of_tag) = marks.get_mut(&tag) else { continue };
            change(of_tag);
            if of_tag.is_empty() {
                marks.remove(&tag);
            }
        }
        self.count(&marks);
    }

    fn count(&self, marks: &HashMap<u64, WriteMarks, RandomState>) {
        self.tags.store(marks.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, WriteMarks, RandomState>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
