//! Reads of the store that find authentic entries only.

use crate::{
    backend::{contract::ReadOutcome, validity::Validity},
    cache::Cache,
    error::Error,
    key::Key,
    tag::Tag,
};

impl Cache {
    /// Reads an entry without waiting; `None` if the backend has to wait for a reply.
    #[inline]
    pub(crate) fn read_now(&self, key: &Key) -> Option<ReadOutcome> {
        let mut read = self.inner.backend.get_now(key);
        // In place: taking the outcome out of the option would copy it.
        if let Some(read) = &mut read {
            self.authenticate(read);
        }
        read
    }

    /// Reads an entry.
    pub(crate) async fn read(&self, key: &Key, hint: &[Tag]) -> Result<ReadOutcome, Error> {
        let mut read = self.inner.backend.get(key, hint).await?;
        self.authenticate(&mut read);
        Ok(read)
    }

    /// Reads a copy that may answer although the store cannot be reached.
    pub(super) fn read_in_outage(&self, key: &Key) -> ReadOutcome {
        let copy = self.inner.backend.copy_in_outage(key);
        let mut read = ReadOutcome { found: copy.map(|copy| (copy, Validity::Valid)), epoch: None };
        self.authenticate(&mut read);
        read
    }

    /// Turns a hit on a forged entry into a miss.
    #[inline]
    fn authenticate(&self, read: &mut ReadOutcome) {
        if read.found.as_ref().is_some_and(|(stored, _)| !stored.origin().is_authentic(&self.inner.secret)) {
            self.reject(read);
        }
    }

    #[cold]
    fn reject(&self, read: &mut ReadOutcome) {
        read.found = None;
        if self.inner.secret.is_first_report() {
            tracing::warn!(
                "an entry in the cache's store was not written with the secret of this cache, and is not used: either not all nodes have \
                 the same `Cache::with_secret`, or another program writes to the store. Logged once."
            );
        }
    }
}
