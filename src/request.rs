use http::{HeaderMap, HeaderValue, request::Parts};

use crate::{
    forwarded::is_forwarding,
    key::{Scheme, normal_authority},
    router,
};

/// What the header fields of a request say about its way through the cache, read in one pass.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts<'r> {
    pub(crate) host: Option<&'r HeaderValue>,
    pub(crate) repeated_host: bool,
    pub(crate) cookie: bool,
    pub(crate) authorization: bool,
    pub(crate) content: bool,
    pub(crate) overridden: bool,
    pub(crate) precondition: bool,
    pub(crate) upgrade: bool,
    /// It asks for less than the whole: a precondition, a range.
    pub(crate) selective: bool,
    /// It has `Cache-Control` or `Pragma`.
    pub(crate) demanding: bool,
    /// One of the fields is there with which a proxy tells where the request was sent.
    pub(crate) forwarded: bool,
}

impl<'r> Facts<'r> {
    pub(crate) fn read(headers: &'r HeaderMap) -> Self {
        let mut facts = Self::default();
        for (name, value) in headers {
            facts.note(name.as_str(), value);
        }
        facts
    }

    /// By length first: almost every field is told apart without looking at its name.
    fn note(&mut self, name: &str, value: &'r HeaderValue) {
        match name.len() {
            4 if name == "host" => self.repeated_host = self.host.replace(value).is_some(),
            5 if name == "range" => self.selective = true,
            6 if name == "cookie" => self.cookie = true,
            6 if name == "pragma" => self.demanding = true,
            7 if name == "upgrade" => self.upgrade = true,
            8 if name == "if-match" => self.precondition = true,
            13 if name == "if-none-match" => self.selective = true,
            13 if name == "cache-control" => self.demanding = true,
            13 if name == "authorization" => self.authorization = true,
            13 if name == "x-http-method" || name == "x-rewrite-url" => self.overridden = true,
            14 if name == "content-length" => self.content |= value.as_bytes() != b"0",
            14 if name == "x-original-url" => self.overridden = true,
            17 if name == "if-modified-since" => self.selective = true,
            17 if name == "transfer-encoding" => self.content = true,
            17 if name == "x-method-override" => self.overridden = true,
            19 if name == "if-unmodified-since" => self.precondition = true,
            22 if name == "x-http-method-override" => self.overridden = true,
            _ => self.forwarded |= is_forwarding(name),
        }
    }

    /// The authority that the request is for, from its target (RFC 9112 §3.2.2) or from `Host`.
    pub(crate) fn authority(&self, parts: &'r Parts) -> Result<Option<&'r [u8]>, UnclearHost> {
        let host = self.host.map(HeaderValue::as_bytes);
        match parts.uri.authority().map(|authority| authority.as_str().as_bytes()) {
            _ if self.repeated_host => Err(UnclearHost),
            Some(authority) if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) => Err(UnclearHost),
            Some(authority) => Ok(Some(authority)),
            None => Ok(host),
        }
    }
}

/// Two hosts: larder may go by one and the handler by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnclearHost;

/// What names the resource that a request is for, as it stands in tags.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl Target {
    /// A host that is missing or none is empty: such a target is invalidated only by its path.
    pub(crate) fn of(parts: &Parts) -> Self {
        let scheme = Scheme::of(&parts.uri);
        let authority = Facts::read(&parts.headers).authority(parts).ok().flatten();
        Self {
            scheme,
            authority: authority.and_then(|authority| normal_authority(authority, scheme)).unwrap_or_default(),
            path: router::original_uri(parts).path().to_owned(),
        }
    }
}
