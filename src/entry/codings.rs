//! The codings in which a stored response is served.

use std::sync::{Arc, LazyLock, OnceLock};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG},
    response,
};
use sha2::{Digest as _, Sha256};

use crate::{
    coding::{accepted::Accepted, content_coding::ContentCoding},
    http::field::decimal::decimal,
};

/// The codings of a response that were made so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Codings(Vec<Coded>);

/// A response in one coding.
#[derive(Debug, Clone)]
pub(crate) struct Coded {
    pub(crate) coding: ContentCoding,
    /// Empty if the coding was made and is not smaller: the response is not served in it.
    pub(crate) body: Bytes,
    /// The first bytes of the SHA-256 of the body.
    pub(crate) digest: Digest,
    /// Computed when it is first served.
    head: OnceLock<response::Parts>,
}

pub(crate) type Digest = [u8; 8];

impl Codings {
    /// No codings yet.
    pub(crate) fn none() -> Arc<Self> {
        static NONE: LazyLock<Arc<Codings>> = LazyLock::new(Arc::default);
        Arc::clone(&NONE)
    }

    /// Returns these codings and one more.
    pub(crate) fn with(&self, coded: Coded) -> Self {
        let others = self.0.iter().filter(|other| other.coding != coded.coding);
        Self(others.cloned().chain([coded.clone()]).collect())
    }

    /// Returns the same codings for a response with the same body and another head.
    pub(crate) fn with_other_head(&self) -> Self {
        Self(self.0.iter().map(|coded| Coded { head: OnceLock::new(), ..coded.clone() }).collect())
    }

    /// Returns whether the coding was made, even if the response is not served in it.
    pub(crate) fn has(&self, coding: ContentCoding) -> bool {
        self.0.iter().any(|coded| coded.coding == coding)
    }

    /// Returns the coding that a client gets; `order` is that of preference.
    #[inline]
    pub(crate) fn select(&self, accepted: Accepted, order: &[ContentCoding]) -> Option<&Coded> {
        let served = |coding: ContentCoding| self.0.iter().find(|coded| coded.coding == coding && !coded.body.is_empty());
        let best = accepted.best(order.iter().copied().filter(|coding| served(*coding).is_some()))?;
        served(best)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Coded> {
        self.0.iter()
    }

    /// Returns the approximate size in memory, in bytes, with a head for each coding.
    pub(crate) fn weight(&self, head: &response::Parts) -> usize {
        let fields = weight_of_fields(&head.headers);
        self.0.iter().map(|coded| size_of::<Coded>() + coded.body.len() + fields).sum()
    }
}

impl FromIterator<Coded> for Codings {
    fn from_iter<I: IntoIterator<Item = Coded>>(coded: I) -> Self {
        Self(coded.into_iter().collect())
    }
}

/// Equal bodies in equal codings.
impl PartialEq for Codings {
    fn eq(&self, other: &Self) -> bool {
        let kinds = |codings: &Self| codings.0.iter().map(|coded| (coded.coding, coded.digest)).collect::<Vec<_>>();
        kinds(self) == kinds(other)
    }
}

impl Coded {
    /// Creates the coding of a response; an empty `body` is one that is not smaller.
    pub(crate) fn new(coding: ContentCoding, body: Bytes) -> Self {
        let digest = *Sha256::digest(&body).first_chunk().expect("a SHA-256 has 32 bytes");
        Self::with_digest(coding, body, digest)
    }

    /// Creates the same when the digest is known.
    pub(crate) fn with_digest(coding: ContentCoding, body: Bytes, digest: Digest) -> Self {
        Self { coding, body, digest, head: OnceLock::new() }
    }

    /// Returns the head that is sent with this body, made of that of the response itself.
    #[inline]
    pub(crate) fn head(&self, identity: &response::Parts) -> &response::Parts {
        self.head.get_or_init(|| self.make_head(identity))
    }

    fn make_head(&self, identity: &response::Parts) -> response::Parts {
        /// Digests of the content or of the representation, which is another one in another coding (RFC 9530, RFC 3230).
        const DIGESTS: [HeaderName; 4] = [
            HeaderName::from_static("content-digest"),
            HeaderName::from_static("repr-digest"),
            HeaderName::from_static("digest"),
            HeaderName::from_static("content-md5"),
        ];
        let mut head = identity.clone();
        DIGESTS.iter().for_each(|field| drop(head.headers.remove(field)));
        if let Some(etag) = self.entity_tag(identity.headers.get(ETAG)) {
            head.headers.insert(ETAG, etag);
        }
        head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(self.coding.as_str()));
        head.headers.insert(CONTENT_LENGTH, decimal(self.body.len() as u64));
        head
    }

    /// Returns the entity tag of this representation; `None` if it has that of the response itself.
    ///
    /// A strong one must be another in each coding (RFC 9110 §8.8.3.3). It contains a digest, because another version or level of the
    /// encoder may make other bytes of the same response, and a client must not combine parts of both. A weak one is for all codings. A
    /// response without any gets one, so that no client resumes a download by the date, which all codings share (§13.1.5).
    fn entity_tag(&self, identity: Option<&HeaderValue>) -> Option<HeaderValue> {
        let opaque = match identity {
            None => &b""[..],
            Some(etag) => etag.as_bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?,
        };
        let mut tag = vec![b'"'];
        tag.extend_from_slice(opaque);
        tag.extend_from_slice(if opaque.is_empty() { b"" } else { b"-" });
        tag.extend_from_slice(self.coding.as_str().as_bytes());
        tag.push(b'-');
        for byte in self.digest {
            tag.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        tag.push(b'"');
        HeaderValue::from_bytes(&tag).ok()
    }
}

/// Returns the approximate size of header fields in memory, in bytes.
pub(crate) fn weight_of_fields(headers: &HeaderMap) -> usize {
    /// The size of a field in a `HeaderMap`, including its index.
    const FIELD: usize = 112;
    headers.iter().map(|(name, value)| FIELD + name.as_str().len() + value.len()).sum()
}
