//! Decides the access of a request.

use std::{net::IpAddr, sync::Arc};

use hmac::{Hmac, Mac as _};
use http::{header::AUTHORIZATION, request::Parts};
use sha2::Sha256;

use super::access::{Access, Granted};
use crate::{
    http::{forwarded::is_forwarding, request_fields::RequestFields},
    key::secret::keyed,
    router::peer,
};

type Authorize = Arc<dyn Fn(&Parts) -> Access + Send + Sync>;

/// The ways of authorization that an application has chosen.
#[derive(Clone, Default)]
pub(super) struct Guard {
    pub(super) authorize: Option<Authorize>,
    pub(super) bearer: Option<Bearer>,
    pub(super) local_only: bool,
}

/// A secret, as the code by which it is recognized.
#[derive(Clone)]
pub(super) struct Bearer {
    keyed: Hmac<Sha256>,
    expected: Vec<u8>,
}

impl Bearer {
    pub(super) fn new(secret: &[u8]) -> Self {
        let keyed = keyed(secret);
        let expected = keyed.clone().chain_update(secret).finalize().into_bytes().to_vec();
        Self { keyed, expected }
    }

    /// Compares in constant time: codes instead of the secrets, without a branch on their bytes.
    fn is(&self, presented: &[u8]) -> bool {
        self.keyed.clone().chain_update(presented).verify_slice(&self.expected).is_ok()
    }
}

impl Guard {
    /// Returns what a request may do; `None` if access is denied.
    pub(super) fn granted(&self, parts: &Parts) -> Option<Granted> {
        if self.local_only && !is_local(parts) {
            return None;
        }
        let access = match &self.authorize {
            Some(authorize) => authorize(parts),
            None if self.local_only && self.bearer.is_none() => Access::full("local"),
            None => Access::Denied,
        };
        let access = if access == Access::Denied && self.has_bearer(parts) { Access::full("bearer") } else { access };
        match access {
            Access::Granted(granted) => Some(granted),
            Access::Denied => None,
        }
    }

    fn has_bearer(&self, parts: &Parts) -> bool {
        self.bearer.as_ref().zip(token(parts)).is_some_and(|(bearer, token)| bearer.is(token))
    }
}

fn token(parts: &Parts) -> Option<&[u8]> {
    let value = parts.headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// Whether the client is on this machine, and no proxy on it has forwarded the request for another.
fn is_local(parts: &Parts) -> bool {
    let is_forwarded =
        parts.headers.keys().any(|field| is_forwarding(field.as_str()) || field == "x-forwarded-for" || field == "x-real-ip");
    peer(parts).is_some_and(|address| is_loopback(address.ip())) && !is_forwarded && has_local_host(parts)
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether the host is no name that a web site could have chosen.
fn has_local_host(parts: &Parts) -> bool {
    let Ok(Some(authority)) = RequestFields::read(&parts.headers).authority(parts) else { return false };
    let Ok(authority) = http::uri::Authority::try_from(authority) else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(is_loopback)
}
