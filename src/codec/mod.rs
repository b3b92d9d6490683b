//! The encoding of entries in shared stores: versioned, checksummed, and decoded with bounds checks only.

pub(crate) mod compression;
mod content;
pub(crate) mod cursor;
pub(crate) mod entry_body;
pub(crate) mod entry_head;
pub(crate) mod error;
mod response;
mod value;
#[cfg(feature = "zstd")]
pub(crate) mod zstd;
#[cfg(not(feature = "zstd"))]
#[path = "no_zstd.rs"]
pub(crate) mod zstd;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use bytes::Bytes;

use self::{
    entry_body::{decode_body, digest, encode_body},
    entry_head::encode_head,
};
use crate::{
    entry::{
        origin::{Origin, Seal},
        stored::Stored,
    },
    key::{Key, secret::Secret},
};

pub(crate) use self::{
    compression::{Compression, DecodeLimits},
    entry_head::Head,
    error::DecodeError,
};

/// An encoded entry, for stores that keep two values under a key: the head is enough to validate the entry, the body to serve it.
pub(crate) struct Encoded {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// Encodes an entry; `None` if it exceeds the format, such as by a tag of more than 65,535 bytes. It must not be stored then.
pub(crate) fn encode(key: &Key, stored: &Stored, compression: Compression) -> Option<Encoded> {
    encode_as(random_id(), key, stored, compression)
}

/// Decodes the body of an entry whose head is already decoded.
pub(crate) fn decode(key: &Key, head: Head, body: &Bytes, limits: DecodeLimits) -> Result<Stored, DecodeError> {
    let (content, code) = decode_body(head.id, key, body, limits)?;
    let origin = match code {
        None => Origin::Unsealed,
        Some(code) => {
            // A head has one encoding: this one.
            let encoded = encode_head(head.id, head.born, &head.tags).ok_or(DecodeError::Malformed)?;
            Origin::Sealed(Arc::new(Seal::new(digest(&encoded, body), code)))
        }
    };
    Ok(Stored::decoded(head.born, head.tags, content, origin))
}

/// Encodes head and body as one value.
pub(crate) fn encode_whole(key: &Key, stored: &Stored, compression: Compression) -> Option<Vec<u8>> {
    let Encoded { mut head, body } = encode(key, stored, compression)?;
    head.extend_from_slice(&body);
    Some(head)
}

/// Decodes an entry that [`encode_whole`] has encoded.
pub(crate) fn decode_whole(key: &Key, whole: &Bytes, limits: DecodeLimits) -> Result<Stored, DecodeError> {
    let (head, body) = Head::split(whole)?;
    decode(key, head, &whole.slice_ref(body), limits)
}

impl Stored {
    /// Encodes the entry for a backend outside of this process. [`from_bytes`](Self::from_bytes) decodes it on any node. The bytes contain
    /// the key, the tags and the whole response, uncompressed.
    ///
    /// Returns `None` if the entry exceeds the format, such as by a tag of more than 65,535 bytes; it must not be stored then.
    pub fn to_bytes(&self, key: &Key) -> Option<Vec<u8>> {
        encode_whole(key, self, Compression::OFF)
    }

    /// Decodes an entry that [`to_bytes`](Self::to_bytes) has encoded. The body and the header values of the response are slices of
    /// `bytes`, so nothing large is copied.
    ///
    /// Returns `None`, which the backend treats as a miss, for anything else: an entry for another key, in the format of another version,
    /// truncated or modified bytes, or a foreign value. Whether the entry is still valid, the backend must decide by
    /// [`born`](Self::born) and [`tags`](Self::tags).
    ///
    /// ```
    /// use larder::backend::{Key, Stored};
    ///
    /// assert!(Stored::from_bytes(&Key::from_bytes(b"key"), "a foreign value".into()).is_none());
    /// ```
    pub fn from_bytes(key: &Key, bytes: Bytes) -> Option<Self> {
        decode_whole(key, &bytes, DecodeLimits::default()).ok()
    }
}

fn encode_as(id: u64, key: &Key, stored: &Stored, compression: Compression) -> Option<Encoded> {
    let head = encode_head(id, stored.born(), stored.tags())?;
    let secret = match stored.origin() {
        Origin::Own(secret) => secret,
        // Encoded again by a store of the application, which is no node that the secret is for.
        Origin::Unsealed | Origin::Sealed(_) => &Secret::OfProcess,
    };
    let is_sealed = matches!(secret, Secret::Shared(_));
    let seal = |body: &[u8]| secret.authentication_code(&digest(&head, body));
    let body = encode_body(id, key, stored.content(), compression, is_sealed, seal)?;
    Some(Encoded { head, body })
}

/// Returns a random number: each `RandomState` has keys of its own.
fn random_id() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
