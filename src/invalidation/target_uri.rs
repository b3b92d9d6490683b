//! The URI that a request is for (RFC 9111 §2), as tags name it.

use http::request::Parts;

use crate::{
    http::{
        authority::{Scheme, normal_authority},
        request_fields::RequestFields,
    },
    router,
};

/// What names the resource that a request is for, as it stands in tags.
#[derive(Debug, Clone)]
pub(crate) struct TargetUri {
    pub(crate) scheme: Scheme,
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl TargetUri {
    /// A host that is missing or none is empty: such a target is invalidated only by its path.
    pub(crate) fn of(parts: &Parts) -> Self {
        let scheme = Scheme::of(&parts.uri);
        let authority = RequestFields::read(&parts.headers).authority(parts).ok().flatten();
        Self {
            scheme,
            authority: authority.and_then(|authority| normal_authority(authority, scheme)).unwrap_or_default(),
            path: router::original_uri(parts).path().to_owned(),
        }
    }
}
