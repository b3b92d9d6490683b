//! The backend under test, with operations for the cases.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{
    report::{NotPassed, Verdict, ensure},
    sample_entry::{body, difference, stored},
};
use crate::{
    backend::{
        contract::{Backend, Invalidation, PutOutcome, ReadOutcome, Receipt},
        validity::Validity,
    },
    clock::{Clock, Timestamp},
    entry::{epoch::Epoch, stored::Stored},
    key::Key,
    tag::Tag,
};

pub(super) type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// An operation that the author of a backend provides.
pub(super) type Hook<'a, In, Out> = Arc<dyn Fn(In) -> LocalBoxFuture<'a, Out> + 'a>;

/// A fresh backend, with the operations of requests and writers.
pub(super) struct BackendUnderTest<'a> {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) claims: Claims,
    pub(super) peer: Option<Hook<'a, (), Arc<dyn Backend>>>,
    pub(super) corrupt: Option<Hook<'a, Key, ()>>,
    pub(super) evict: Option<Hook<'a, Tag, ()>>,
    pub(super) lose_all: Option<Hook<'a, (), ()>>,
}

/// The declared abilities of a backend beyond the contract.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claims {
    /// Bodies up to this size are stored, in bytes.
    pub(super) body: usize,
    /// Expired entries are removed.
    pub(super) expiry: bool,
    /// A fetch lock is held by one node at a time.
    pub(super) locks: bool,
    /// Tags can be held.
    pub(super) holds: bool,
}

/// How many fetches a store may need until an entry is found: some create the records of its tags first.
const FETCHES: usize = 3;

impl BackendUnderTest<'_> {
    /// Stores an entry as a miss does, by reading the epoch first, until it is found. Returns its epoch of birth.
    ///
    /// The name is both the key and the body.
    pub(super) async fn fill(&self, name: &str, tags: &[&str]) -> Verdict<Epoch> {
        let (key, tags) = (key(name), tags_of(tags));
        for _ in 0..FETCHES {
            let born = self.epoch(&key, &tags).await?;
            self.backend.put(&key, stored(born, tags.clone(), name.to_owned())).await?;
            if self.backend.get(&key, &tags).await?.found.is_some() {
                return Ok(born);
            }
        }
        Err(NotPassed::Broken(format!(
            "{} was stored {FETCHES} times without an invalidation meanwhile, and is not found",
            abridged(name)
        )))
    }

    /// Stores an entry again until it is found valid.
    pub(super) async fn fill_again(&self, name: &str, tags: &[&str]) -> Verdict {
        for _ in 0..FETCHES {
            let born = self.epoch(&key(name), &tags_of(tags)).await?;
            self.store(name, born, tags).await?;
            if self.must_find(name, Validity::Valid, "").await.is_ok() {
                break;
            }
        }
        Ok(())
    }

    /// Begins a fetch, as a miss does: returns the epoch.
    pub(super) async fn epoch(&self, key: &Key, known: &[Tag]) -> Verdict<Epoch> {
        let epoch = self.read(key, known).await?.epoch;
        epoch.ok_or_else(|| NotPassed::Broken("a read reports no epoch, so no entry can be stored".to_owned()))
    }

    /// Ends a fetch: stores an entry that was born at `born`.
    pub(super) async fn store(&self, name: &str, born: Epoch, tags: &[&str]) -> Verdict<PutOutcome> {
        Ok(self.backend.put(&key(name), stored(born, tags_of(tags), name.to_owned())).await?)
    }

    pub(super) async fn invalidate(&self, tags: &[&str]) -> Verdict<Receipt> {
        Ok(self.backend.invalidate(&Invalidation::Tags(tags_of(tags))).await?)
    }

    /// Ends a case about holds if the backend does not hold tags.
    pub(super) fn must_hold(&self) -> Verdict {
        match self.claims.holds {
            true => Ok(()),
            false => Err(NotPassed::Skipped("needs a store that holds tags: `Suite::holds_tags`")),
        }
    }

    pub(super) async fn hold(&self, tags: &[&str], writer: u64, life: Duration) -> Verdict {
        Ok(self.backend.hold_tags(&tags_of(tags), writer, life).await?)
    }

    pub(super) async fn release(&self, tags: &[&str], writer: u64) -> Verdict {
        Ok(self.backend.release_tags(&tags_of(tags), writer).await?)
    }

    pub(super) async fn expire(&self, tags: &[&str]) -> Verdict<Receipt> {
        self.expire_at(tags, Clock::default().now()).await
    }

    pub(super) async fn expire_at(&self, tags: &[&str], at: Timestamp) -> Verdict<Receipt> {
        Ok(self.backend.invalidate(&expiry(tags, at)).await?)
    }

    /// Reads as the cache does: by `get_now` if that returns an outcome, otherwise by `get`.
    pub(super) async fn read(&self, key: &Key, known: &[Tag]) -> Verdict<ReadOutcome> {
        match self.backend.get_now(key) {
            Some(read) => Ok(read),
            None => Ok(self.backend.get(key, known).await?),
        }
    }

    /// Returns the results of `get_now` and `get`.
    async fn found(&self, key: &Key) -> Verdict<[Option<(Arc<Stored>, Validity)>; 2]> {
        let waited_for = self.backend.get(key, &[]).await?.found;
        let at_once = self.backend.get_now(key).map_or_else(|| waited_for.clone(), |read| read.found);
        Ok([at_once, waited_for])
    }

    /// Fails if `get_now` or `get` finds `name`.
    pub(super) async fn must_miss(&self, name: &str, after: &str) -> Verdict {
        for (found, way) in self.found(&key(name)).await?.into_iter().zip(WAYS) {
            if let Some((stored, validity)) = found {
                let born = stored.born().get();
                return Err(NotPassed::Broken(format!("{way} finds {} ({validity:?}, born at {born}) {after}", abridged(name))));
            }
        }
        Ok(())
    }

    /// Fails if `get_now` or `get` finds `name` as `Valid`.
    pub(super) async fn must_not_be_valid(&self, name: &str, after: &str) -> Verdict {
        for (found, way) in self.found(&key(name)).await?.into_iter().zip(WAYS) {
            let is_valid = found.is_some_and(|(_, validity)| validity == Validity::Valid);
            ensure!(!is_valid, "{way} finds {} {after}", abridged(name));
        }
        Ok(())
    }

    /// Fails unless both `get_now` and `get` find `name`, with the expected validity and its own body.
    pub(super) async fn must_find(&self, name: &str, expected: Validity, after: &str) -> Verdict {
        for (found, way) in self.found(&key(name)).await?.into_iter().zip(WAYS) {
            let Some((stored, validity)) = found else {
                return Err(NotPassed::Broken(format!("{way} does not find {} {after}", abridged(name))));
            };
            ensure!(validity == expected, "{way} finds {} {validity:?} rather than {expected:?} {after}", abridged(name));
            let whole = body(&stored).is_some_and(|body| body == name);
            ensure!(whole, "{way} finds another body under {} {after}", abridged(name));
        }
        Ok(())
    }

    /// Fails unless both `get_now` and `get` find an entry equal to `expected`.
    pub(super) async fn must_be(&self, key: &Key, expected: &Stored, after: &str) -> Verdict {
        for (found, way) in self.found(key).await?.into_iter().zip(WAYS) {
            let Some((stored, _)) = found else {
                return Err(NotPassed::Broken(format!("{way} does not find the stored entry {after}")));
            };
            if let Some(part) = difference(&stored, expected) {
                return Err(NotPassed::Broken(format!("{way} finds an entry with another {part} {after}")));
            }
        }
        Ok(())
    }
}

const WAYS: [&str; 2] = ["`get_now`", "`get`"];

pub(super) fn expiry(tags: &[&str], at: Timestamp) -> Invalidation {
    Invalidation::ExpireTags { tags: tags_of(tags), at }
}

pub(super) fn key(name: &str) -> Key {
    Key::from_bytes(name.as_bytes())
}

pub(super) fn tags_of(names: &[&str]) -> Vec<Tag> {
    // Stores see tags that no user may name: those of long paths.
    names.iter().map(|name| Tag::unchecked(*name)).collect()
}

/// Shortens a name for messages.
pub(super) fn abridged(name: &str) -> String {
    const LONG: usize = 60;
    match name.len() {
        0..=LONG => format!("`{}`", name.escape_debug()),
        bytes => format!("`{}…` of {bytes} bytes", name.chars().take(20).collect::<String>().escape_debug()),
    }
}

impl fmt::Debug for BackendUnderTest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendUnderTest").field("backend", &self.backend).field("claims", &self.claims).finish_non_exhaustive()
    }
}
