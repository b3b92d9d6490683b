//! The target URI of a request (RFC 9111 §2), in the form that tags use.

use http::request::Parts;

use crate::{
    http::{
        authority::{Scheme, normal_authority},
        request_fields::RequestFields,
    },
    router,
};

/// The target URI of a request, in the form that tags use.
#[derive(Debug, Clone)]
pub(crate) struct TargetUri {
    pub(crate) scheme: Scheme,
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl TargetUri {
    /// Determines the target URI of a request. The authority is empty if the host is missing or invalid: such a target is invalidated
    /// only by its path.
    ///
    /// For a layer that `ignores_host` there is no host either.
    pub(crate) fn of(parts: &Parts, ignores_host: bool) -> Self {
        let scheme = Scheme::of(&parts.uri);
        let authority = RequestFields::read_host(&parts.headers).authority(parts).ok().flatten().filter(|_| !ignores_host);
        Self {
            scheme,
            authority: authority.and_then(|authority| normal_authority(authority, scheme)).unwrap_or_default(),
            path: router::original_uri(parts).path().to_owned(),
        }
    }
}
