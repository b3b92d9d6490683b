//! The backend under test, as the cases use it.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use super::{
    report::{Finding, Verdict, ensure},
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

pub(super) type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Something that only the author of a backend knows how to do.
pub(super) type Hook<'a, In, Out> = Arc<dyn Fn(In) -> Waiting<'a, Out> + 'a>;

/// A fresh backend under trial, and words for what requests and writers do to it.
pub(super) struct Subject<'a> {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) claims: Claims,
    pub(super) peer: Option<Hook<'a, (), Arc<dyn Backend>>>,
    pub(super) corrupt: Option<Hook<'a, Key, ()>>,
    pub(super) evict: Option<Hook<'a, Tag, ()>>,
    pub(super) lose_all: Option<Hook<'a, (), ()>>,
}

/// What a backend is said to do beyond what every one must.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claims {
    /// Bodies up to this size are kept.
    pub(super) body: usize,
    /// What has expired is forgotten.
    pub(super) expiry: bool,
}

/// A store that needs more than one fetch to make sure of its tags may take so many.
const FETCHES: usize = 3;

impl Subject<'_> {
    /// Fetches as a request does that misses, until it is found: takes the epoch, then stores. Gives the epoch of birth.
    ///
    /// The body is the name of the key.
    pub(super) async fn fill(&self, name: &str, tags: &[&str]) -> Verdict<Epoch> {
        let (key, tags) = (key(name), tags_of(tags));
        for _ in 0..FETCHES {
            let born = self.epoch(&key, &tags).await?;
            self.backend.put(&key, stored(born, tags.clone(), name.to_owned())).await?;
            if self.backend.get(&key, &tags).await?.found.is_some() {
                return Ok(born);
            }
        }
        Err(Finding::Broken(format!(
            "{} was stored {FETCHES} times with nothing invalidated meanwhile, and is not found",
            abridged(name)
        )))
    }

    /// Fetches until it is found as current.
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

    /// Begins a fetch, as a request does that misses.
    pub(super) async fn epoch(&self, key: &Key, known: &[Tag]) -> Verdict<Epoch> {
        let epoch = self.read(key, known).await?.epoch;
        epoch.ok_or_else(|| Finding::Broken("a read reports no epoch: nothing could ever be stored".to_owned()))
    }

    /// Ends a fetch: stores what was begun at that epoch.
    pub(super) async fn store(&self, name: &str, born: Epoch, tags: &[&str]) -> Verdict<PutOutcome> {
        Ok(self.backend.put(&key(name), stored(born, tags_of(tags), name.to_owned())).await?)
    }

    pub(super) async fn invalidate(&self, tags: &[&str]) -> Verdict<Receipt> {
        Ok(self.backend.invalidate(&Invalidation::Tags(tags_of(tags))).await?)
    }

    pub(super) async fn expire(&self, tags: &[&str]) -> Verdict<Receipt> {
        self.expire_at(tags, Clock::default().now()).await
    }

    pub(super) async fn expire_at(&self, tags: &[&str], at: Timestamp) -> Verdict<Receipt> {
        Ok(self.backend.invalidate(&expiry(tags, at)).await?)
    }

    /// Reads as the cache does: without waiting if that is possible.
    pub(super) async fn read(&self, key: &Key, known: &[Tag]) -> Verdict<ReadOutcome> {
        match self.backend.get_now(key) {
            Some(read) => Ok(read),
            None => Ok(self.backend.get(key, known).await?),
        }
    }

    /// What both ways to read find.
    async fn found(&self, key: &Key) -> Verdict<[Option<(Arc<Stored>, Validity)>; 2]> {
        let waited_for = self.backend.get(key, &[]).await?.found;
        let at_once = self.backend.get_now(key).map_or_else(|| waited_for.clone(), |read| read.found);
        Ok([at_once, waited_for])
    }

    /// Fails if `name` is found, by either way to read.
    pub(super) async fn must_miss(&self, name: &str, after: &str) -> Verdict {
        for (found, way) in self.found(&key(name)).await?.into_iter().zip(WAYS) {
            if let Some((stored, standing)) = found {
                let born = stored.born().get();
                return Err(Finding::Broken(format!("{way} finds {} ({standing:?}, born at {born}) {after}", abridged(name))));
            }
        }
        Ok(())
    }

    /// Fails if `name` is found `Current`, by either way to read.
    pub(super) async fn must_not_be_current(&self, name: &str, after: &str) -> Verdict {
        for (found, way) in self.found(&key(name)).await?.into_iter().zip(WAYS) {
            let current = found.is_some_and(|(_, standing)| standing == Validity::Valid);
            ensure!(!current, "{way} finds {} {after}", abridged(name));
        }
        Ok(())
    }

    /// Fails unless `name` is found as it was stored, by both ways to read.
    pub(super) async fn must_find(&self, name: &str, expected: Validity, after: &str) -> Verdict {
        for (found, way) in self.found(&key(name)).await?.into_iter().zip(WAYS) {
            let Some((stored, standing)) = found else {
                return Err(Finding::Broken(format!("{way} does not find {} {after}", abridged(name))));
            };
            ensure!(standing == expected, "{way} finds {} {standing:?} rather than {expected:?} {after}", abridged(name));
            let whole = body(&stored).is_some_and(|body| body == name);
            ensure!(whole, "{way} finds something else under {} {after}", abridged(name));
        }
        Ok(())
    }

    /// Fails unless exactly this is found under the key.
    pub(super) async fn must_be(&self, key: &Key, expected: &Stored, after: &str) -> Verdict {
        for (found, way) in self.found(key).await?.into_iter().zip(WAYS) {
            let Some((stored, _)) = found else {
                return Err(Finding::Broken(format!("{way} does not find what was stored {after}")));
            };
            if let Some(part) = difference(&stored, expected) {
                return Err(Finding::Broken(format!("{way} finds something with another {part} {after}")));
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

/// A name for messages: there are long ones.
pub(super) fn abridged(name: &str) -> String {
    const LONG: usize = 60;
    match name.len() {
        0..=LONG => format!("`{}`", name.escape_debug()),
        bytes => format!("`{}…` of {bytes} bytes", name.chars().take(20).collect::<String>().escape_debug()),
    }
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("backend", &self.backend).field("claims", &self.claims).finish_non_exhaustive()
    }
}
