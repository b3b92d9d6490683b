//! The header fields of a request that matter to the cache, read in one pass.

use http::{HeaderMap, HeaderValue, header::HOST, request::Parts};

use super::{
    field::{
        name_filter::NameFilter,
        scan::{count, split, trim},
    },
    forwarded::{FORWARDING_FILTER, is_forwarding},
    identity_fields::{IDENTITY_FILTER, is_identity},
};

/// The header fields of a request that decide how the cache treats it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RequestFields<'r> {
    /// The size of all fields in bytes, counted as in HTTP/2 (RFC 9113 §6.5.2).
    pub(crate) size: usize,
    pub(crate) host: Option<&'r HeaderValue>,
    pub(crate) repeated_host: bool,
    pub(crate) cookie: bool,
    pub(crate) authorization: bool,
    /// It has content, by `Content-Length` or `Transfer-Encoding`.
    pub(crate) content: bool,
    /// A field overrides its method or URL.
    pub(crate) overridden: bool,
    /// It has `If-Match` or `If-Unmodified-Since`.
    pub(crate) precondition: bool,
    pub(crate) upgrade: bool,
    /// `Connection` names fields, which a proxy between cache and handler may remove (RFC 9110 §7.6.1).
    pub(crate) connection_options: bool,
    /// It has `If-None-Match`, `If-Modified-Since` or `Range`: a part of the response may be enough.
    pub(crate) conditional: bool,
    /// It has `Cache-Control` or `Pragma`.
    pub(crate) directives: bool,
    /// It has a field in which proxies report the target of a request.
    pub(crate) forwarded: bool,
    /// It has a field that names its user, beside `Authorization`.
    pub(crate) identity: bool,
}

/// Each field with its effect; the field that every request has comes first.
const FIELD_FLAGS: [(&str, SetFlag); 19] = [
    ("host", |fields, value| fields.repeated_host |= fields.host.replace(value).is_some()),
    ("connection", |fields, value| fields.connection_options |= !is_usual(value)),
    ("cookie", |fields, _| fields.cookie = true),
    ("authorization", |fields, _| fields.authorization = true),
    ("content-length", |fields, value| fields.content |= value.as_bytes() != b"0"),
    ("transfer-encoding", |fields, _| fields.content = true),
    ("x-http-method", |fields, _| fields.overridden = true),
    ("x-http-method-override", |fields, _| fields.overridden = true),
    ("x-method-override", |fields, _| fields.overridden = true),
    ("x-original-url", |fields, _| fields.overridden = true),
    ("x-rewrite-url", |fields, _| fields.overridden = true),
    ("if-match", |fields, _| fields.precondition = true),
    ("if-unmodified-since", |fields, _| fields.precondition = true),
    ("upgrade", |fields, _| fields.upgrade = true),
    ("if-modified-since", |fields, _| fields.conditional = true),
    ("if-none-match", |fields, _| fields.conditional = true),
    ("range", |fields, _| fields.conditional = true),
    ("cache-control", |fields, _| fields.directives = true),
    ("pragma", |fields, _| fields.directives = true),
];

/// The overhead that HTTP/2 counts for each field (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Returns whether `Connection` has only options that do not name a field of the request.
fn is_usual(connection: &HeaderValue) -> bool {
    const USUAL: [&[u8]; 5] = [b"keep-alive", b"close", b"te", b"upgrade", b"http2-settings"];
    let usual = |option: &[u8]| option.is_empty() || USUAL.iter().any(|usual| option.eq_ignore_ascii_case(usual));
    split(connection.as_bytes(), |byte| byte == b',').map(trim).all(usual)
}

type SetFlag = for<'r> fn(&mut RequestFields<'r>, &'r HeaderValue);

/// Rules out almost every field that has no effect.
static FILTER: NameFilter = {
    let mut names = [""; FIELD_FLAGS.len()];
    let mut at = 0;
    while at < FIELD_FLAGS.len() {
        names[at] = FIELD_FLAGS[at].0;
        at += 1;
    }
    NameFilter::of(&names).or(&FORWARDING_FILTER).or(&IDENTITY_FILTER)
};

impl<'r> RequestFields<'r> {
    pub(crate) fn read(headers: &'r HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            count(1);
            let name = name.as_str();
            fields.size += name.len() + value.len() + FIELD_OVERHEAD;
            if FILTER.passes(name) {
                fields.set_flag(name, value);
            }
        }
        fields
    }

    /// Reads only what [`authority`](Self::authority) needs.
    pub(crate) fn read_host(headers: &'r HeaderMap) -> Self {
        let mut hosts = headers.iter().filter(|(name, _)| **name == HOST).map(|(_, host)| host);
        Self { host: hosts.next(), repeated_host: hosts.next().is_some(), ..Self::default() }
    }

    fn set_flag(&mut self, name: &str, value: &'r HeaderValue) {
        match FIELD_FLAGS.iter().find(|(flagged, _)| *flagged == name) {
            Some((_, set_flag)) => set_flag(self, value),
            None => {
                self.forwarded |= is_forwarding(name);
                self.identity |= is_identity(name);
            }
        }
    }

    /// Returns the authority of the request, from its target (RFC 9112 §3.2.2) or from `Host`.
    pub(crate) fn authority(&self, parts: &'r Parts) -> Result<Option<&'r [u8]>, AmbiguousHost> {
        let host = self.host.map(HeaderValue::as_bytes);
        match parts.uri.authority().map(|authority| authority.as_str().as_bytes()) {
            _ if self.repeated_host => Err(AmbiguousHost),
            Some(authority) if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) => Err(AmbiguousHost),
            Some(authority) => Ok(Some(authority)),
            None => Ok(host),
        }
    }
}

/// The request has two different hosts: larder and the handler might each use another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AmbiguousHost;

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::http::{forwarded::FIELDS, identity_fields};

    #[test]
    fn filter_passes_every_field_that_has_an_effect() {
        let names = FIELD_FLAGS
            .iter()
            .map(|(name, _)| *name)
            .chain(FIELDS.iter().map(HeaderName::as_str))
            .chain(identity_fields::names());
        assert_eq!(names.filter(|name| !FILTER.passes(name)).collect::<Vec<_>>(), [""; 0]);
    }
}
