//! Tags that many entries have are kept once.

use std::{
    hash::BuildHasher as _,
    sync::{LazyLock, Mutex, PoisonError, TryLockError},
};

use foldhash::fast::RandomState;

use super::Tag;

/// The latest tags, each in the place of its hash.
///
/// Most entries of a site have a tag or two that others have, too: of their route, or of a list. Shared, such a tag takes no memory. One that no
/// other entry has replaces one here.
pub(super) struct SharedTags([Mutex<Option<Tag>>; PLACES]);

const PLACES: usize = 256;

static TAGS: SharedTags = SharedTags::new();

/// Returns the tag with this name, which shares the memory of an equal one if there was one lately.
pub(super) fn shared(name: &str) -> Tag {
    TAGS.tag(name)
}

impl SharedTags {
    const fn new() -> Self {
        Self([const { Mutex::new(None) }; PLACES])
    }

    fn tag(&self, name: &str) -> Tag {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);
        let place = HASHER.hash_one(name) as usize % PLACES;
        let mut latest = match self.0[place].try_lock() {
            Ok(latest) => latest,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            // Not worth waiting for.
            Err(TryLockError::WouldBlock) => return Tag::unchecked(name),
        };
        match &*latest {
            Some(tag) if tag.as_str() == name => tag.clone(),
            _ => latest.insert(Tag::unchecked(name)).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_tags_share_memory_and_different_ones_do_not() {
        let tags = SharedTags::new();
        let posts = tags.tag("posts");
        assert_eq!(tags.tag("posts").as_str().as_ptr(), posts.as_str().as_ptr());
        for number in 0..10 * PLACES {
            let name = format!("post:{number}");
            assert_eq!(tags.tag(&name).as_str(), name);
        }
        assert_eq!(tags.tag("posts"), posts);
    }
}
