//! The fetch locks of this node on memcached servers.

use std::time::Duration;

use super::{
    item_key::ItemKey,
    meta_protocol::{Cas, Condition, MAX_TTL, Reply, Value},
    registers::{checked, is_stored, refusal, value},
    servers::{Command, Servers},
};
use crate::{backend::contract::FetchLock, error::Error};

/// The fetch locks of this node. A lock has the node's unique token, so that no other node can release it.
#[derive(Debug)]
pub(super) struct FetchLockItems {
    node: String,
}

impl Default for FetchLockItems {
    fn default() -> Self {
        Self { node: format!("{:016x}", fastrand::u64(..)) }
    }
}

impl FetchLockItems {
    /// Stores the lock if there is none.
    pub(super) async fn lock(&self, servers: &Servers, key: &ItemKey, life: Duration) -> Result<FetchLock, Error> {
        let value = Value { data: self.node.as_bytes(), flags: 0 };
        let add = Command::Set { key, value, ttl: ttl(life), condition: Condition::Absent };
        Ok(if is_stored(&servers.send_one(add).await?)? { FetchLock::Acquired } else { FetchLock::Held })
    }

    /// Deletes the lock if it is this node's, and has not changed since it was read.
    pub(super) async fn unlock(&self, servers: &Servers, key: &ItemKey) -> Result<(), Error> {
        let held = value(servers.send_one(Command::Get { key, cas: Cas::Wanted }).await?)?;
        let Some((_, cas)) = held.filter(|(node, _)| *node == self.node.as_bytes()) else { return Ok(()) };
        match servers.send_one(Command::Delete { key, cas: checked(cas)? }).await? {
            Reply::Done { .. } | Reply::Miss | Reply::Changed => Ok(()),
            reply => Err(refusal(&reply)),
        }
    }
}

/// Returns the time to live of a lock in seconds. The clock of a server ticks once a second, so that an item may expire up to a second early.
fn ttl(life: Duration) -> u32 {
    let seconds = life.as_secs() + u64::from(life.subsec_nanos() > 0) + 1;
    u32::try_from(seconds).unwrap_or(MAX_TTL).min(MAX_TTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_lasts_at_least_its_life() {
        for (life, seconds) in [(0, 1), (1, 2), (1_000, 2), (1_001, 3), (u64::MAX, MAX_TTL)] {
            assert_eq!(ttl(Duration::from_millis(life)), seconds, "{life} ms");
        }
    }
}
