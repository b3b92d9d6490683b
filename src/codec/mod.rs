//! The form in which stored entries outlive a process: versioned, checksummed, read with nothing but length-checked slices.

pub(crate) mod compression;
mod content;
pub(crate) mod cursor;
pub(crate) mod entry_body;
pub(crate) mod entry_head;
pub(crate) mod error;
mod response;
#[cfg(feature = "zstd")]
pub(crate) mod zstd;
#[cfg(not(feature = "zstd"))]
#[path = "no_zstd.rs"]
pub(crate) mod zstd;

use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;

use self::{
    entry_body::{decode_body, encode_body},
    entry_head::encode_head,
};
use crate::{entry::stored::Stored, key::Key};

pub(crate) use self::{
    compression::{Compression, DecodeLimits},
    entry_head::Head,
    error::Corrupt,
};

/// An entry, for stores that can keep two values under one key: what is judged, and what is served.
pub(crate) struct Encoded {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// `None` if the format has no room for it, such as for a tag of more than 65,535 bytes: it is not to be stored then.
pub(crate) fn encode(key: &Key, stored: &Stored, compression: Compression) -> Option<Encoded> {
    encode_as(random_id(), key, stored, compression)
}

/// The entry whose head is known already.
pub(crate) fn decode(key: &Key, head: Head, body: &Bytes, limits: DecodeLimits) -> Result<Stored, Corrupt> {
    let content = decode_body(head.id, key, body, limits)?;
    Ok(Stored::new(head.born, head.tags, content))
}

/// Head and body as one value.
pub(crate) fn encode_whole(key: &Key, stored: &Stored, compression: Compression) -> Option<Vec<u8>> {
    let Encoded { mut head, body } = encode(key, stored, compression)?;
    head.extend_from_slice(&body);
    Some(head)
}

pub(crate) fn decode_whole(key: &Key, whole: &Bytes, limits: DecodeLimits) -> Result<Stored, Corrupt> {
    let (head, body) = Head::split(whole)?;
    decode(key, head, &whole.slice_ref(body), limits)
}

impl Stored {
    /// The bytes in which an entry outlives this process, for those who write a backend: [`from_bytes`](Self::from_bytes) reads
    /// them, on any node. They hold the key, the tags and the whole response.
    ///
    /// `None` if the format has no room for it, such as for a tag of more than 65,535 bytes; it must not be stored then.
    pub fn to_bytes(&self, key: &Key) -> Option<Vec<u8>> {
        encode_whole(key, self, Compression::OFF)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) has written; the response's body and header values are slices of `bytes`.
    ///
    /// `None`, which is a miss, if `bytes` are anything else: an entry for another key, one of a version of larder with another
    /// format, one that was cut or changed, or not an entry at all. Whether it may still be used, the backend judges by its
    /// [`born`](Self::born) and [`tags`](Self::tags).
    ///
    /// ```
    /// use larder::backend::{Key, Stored};
    ///
    /// assert!(Stored::from_bytes(&Key::from_bytes(b"key"), "somebody else's".into()).is_none());
    /// ```
    pub fn from_bytes(key: &Key, bytes: Bytes) -> Option<Self> {
        decode_whole(key, &bytes, DecodeLimits::default()).ok()
    }
}

fn encode_as(id: u64, key: &Key, stored: &Stored, compression: Compression) -> Option<Encoded> {
    let head = encode_head(id, stored.born(), stored.tags())?;
    let body = encode_body(id, key, stored.content(), compression)?;
    Some(Encoded { head, body })
}

/// Keyed by the operating system, another one each time.
fn random_id() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
