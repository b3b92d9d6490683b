//! The names of larder's keys on a Redis server.

use crate::{error::Error, tag::Tag};

/// The names of larder's keys in one namespace.
#[derive(Debug, Clone)]
pub(super) struct KeyNames {
    pub(super) namespace: String,
    /// The logical clock. The braces place it in the slot of the stream.
    pub(super) clock: String,
    /// The stream of invalidations, for near tiers.
    pub(super) stream: String,
    /// The prefix of the name of each tag's record.
    pub(super) record: String,
    entry: String,
    fetch_lock: String,
}

impl KeyNames {
    pub(super) fn new(namespace: &str) -> Result<Self, Error> {
        if namespace.is_empty() || namespace.contains(['{', '}']) {
            return Err(Error::invalid_input(format!(
                "`{namespace}` is not a valid namespace in Redis: use a name without braces"
            )));
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            clock: format!("{{{namespace}}}:clock"),
            stream: format!("{{{namespace}}}:stream"),
            record: format!("{namespace}:t:"),
            entry: format!("{namespace}:e:"),
            fetch_lock: format!("{namespace}:c:"),
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
