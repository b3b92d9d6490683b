use crate::{error::Error, tag::Tag};

/// What larder's keys are called on a server.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The logical clock; the braces keep it and the stream in one slot of a Cluster.
    pub(super) clock: String,
    /// Invalidations, for near tiers that follow them.
    pub(super) stream: String,
    /// In front of the name of each tag.
    pub(super) record: String,
    entry: String,
    claim: String,
}

impl Names {
    pub(super) fn new(namespace: &str) -> Result<Self, Error> {
        if namespace.is_empty() || namespace.contains(['{', '}']) {
            return Err(Error::invalid_input(format!("`{namespace}` cannot be a namespace in Redis: use a name without braces")));
        }
        Ok(Self {
            clock: format!("{{{namespace}}}:clock"),
            stream: format!("{{{namespace}}}:stream"),
            record: format!("{namespace}:t:"),
            entry: format!("{namespace}:e:"),
            claim: format!("{namespace}:c:"),
        })
    }

    /// The entry of the key with this digest; the key itself stands in the entry, and is compared.
    pub(super) fn entry(&self, digest: &[u8; 32]) -> String {
        hexadecimal(&self.entry, digest)
    }

    /// The claim to fetch for the key with this digest.
    pub(super) fn lock_fetch(&self, digest: &[u8; 32]) -> String {
        hexadecimal(&self.claim, digest)
    }

    pub(super) fn record(&self, tag: &Tag) -> String {
        [&self.record, tag.as_str()].concat()
    }
}

/// Half of the digest: two keys that share it would take each other's place, as entries that are told apart when they are read.
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
