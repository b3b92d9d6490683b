//! The names of larder's keys on a Redis server.

use crate::{error::Error, tag::Tag};

/// The names of larder's keys with one prefix.
#[derive(Debug, Clone)]
pub(super) struct KeyNames {
    pub(super) key_prefix: String,
    /// The logical clock. The braces place it in the slot of the stream.
    pub(super) clock: String,
    /// The mode of all nodes, by its name. In the slot of the clock, with which it is read.
    pub(super) mode: String,
    /// The stream of invalidations, for near tiers.
    pub(super) stream: String,
    /// The leases of near tiers.
    pub(super) leases: String,
    /// The prefix of the name of each tag's record.
    pub(super) record: String,
    /// The prefix of the name of the writers that hold a tag.
    pub(super) writers: String,
    entry: String,
    fetch_lock: String,
}

impl KeyNames {
    pub(super) fn new(key_prefix: &str) -> Result<Self, Error> {
        if key_prefix.is_empty() || key_prefix.contains(['{', '}']) {
            return Err(Error::invalid_input(format!(
                "`{key_prefix}` is not a valid key prefix in Redis: use a name without braces"
            )));
        }
        Ok(Self {
            key_prefix: key_prefix.to_owned(),
            clock: format!("{{{key_prefix}}}:clock"),
            mode: format!("{{{key_prefix}}}:mode"),
            stream: format!("{{{key_prefix}}}:stream"),
            leases: format!("{{{key_prefix}}}:leases"),
            record: format!("{key_prefix}:t:"),
            writers: format!("{key_prefix}:w:"),
            entry: format!("{key_prefix}:e:"),
            fetch_lock: format!("{key_prefix}:c:"),
        })
    }

    /// Returns the name of the entry for a key with this digest. The entry contains the key itself, which is compared on reading.
    pub(super) fn entry(&self, digest: &[u8; 32]) -> String {
        hexadecimal(&self.entry, digest)
    }

    /// Returns the name of the fetch lock for a key with this digest.
    pub(super) fn fetch_lock(&self, digest: &[u8; 32]) -> String {
        hexadecimal(&self.fetch_lock, digest)
    }

    pub(super) fn record(&self, tag: &Tag) -> String {
        [&self.record, tag.as_str()].concat()
    }
}

/// Appends half of the digest in hexadecimal. Two keys that share it would replace each other's entries; neither would read the other's.
fn hexadecimal(prefix: &str, digest: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut name = String::with_capacity(prefix.len() + 32);
    name.push_str(prefix);
    for byte in &digest[..16] {
        name.push(char::from(DIGITS[usize::from(byte >> 4)]));
        name.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    name
}
