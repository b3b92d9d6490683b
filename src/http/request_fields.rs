//! What the fields of a request say to the cache, read in one pass.

use http::{HeaderMap, HeaderValue, request::Parts};

use super::{
    field::{
        name_filter::NameFilter,
        scan::{count, split, trim},
    },
    forwarded::{FORWARDING_INITIALS, is_forwarding},
};

/// What the header fields of a request say about its way through the cache, read in one pass.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RequestFields<'r> {
    /// Of all fields together, as HTTP/2 counts it (RFC 9113 §6.5.2).
    pub(crate) size: usize,
    pub(crate) host: Option<&'r HeaderValue>,
    pub(crate) repeated_host: bool,
    pub(crate) cookie: bool,
    pub(crate) authorization: bool,
    pub(crate) content: bool,
    pub(crate) overridden: bool,
    pub(crate) precondition: bool,
    pub(crate) upgrade: bool,
    /// `Connection` names fields, which a proxy on the way to the handler may remove (RFC 9110 §7.6.1).
    pub(crate) connection_options: bool,
    /// It asks for less than the whole: a precondition, a range.
    pub(crate) selective: bool,
    /// It has `Cache-Control` or `Pragma`.
    pub(crate) demanding: bool,
    /// One of the fields is there with which a proxy tells where the request was sent.
    pub(crate) forwarded: bool,
}

/// What each field has to say; the one that every request has stands first.
const FIELD_FLAGS: [(&str, Note); 19] = [
    ("host", |facts, value| facts.repeated_host |= facts.host.replace(value).is_some()),
    ("connection", |facts, value| facts.connection_options |= !is_usual(value)),
    ("cookie", |facts, _| facts.cookie = true),
    ("authorization", |facts, _| facts.authorization = true),
    ("content-length", |facts, value| facts.content |= value.as_bytes() != b"0"),
    ("transfer-encoding", |facts, _| facts.content = true),
    ("x-http-method", |facts, _| facts.overridden = true),
    ("x-http-method-override", |facts, _| facts.overridden = true),
    ("x-method-override", |facts, _| facts.overridden = true),
    ("x-original-url", |facts, _| facts.overridden = true),
    ("x-rewrite-url", |facts, _| facts.overridden = true),
    ("if-match", |facts, _| facts.precondition = true),
    ("if-unmodified-since", |facts, _| facts.precondition = true),
    ("upgrade", |facts, _| facts.upgrade = true),
    ("if-modified-since", |facts, _| facts.selective = true),
    ("if-none-match", |facts, _| facts.selective = true),
    ("range", |facts, _| facts.selective = true),
    ("cache-control", |facts, _| facts.demanding = true),
    ("pragma", |facts, _| facts.demanding = true),
];

/// The largest size of a request's header fields that are read at all. nginx accepts as much by default, Node half of it.
///
/// What a request costs before the handler runs, the size of its key included, is bounded by it.
pub(crate) const MAX_FIELDS_SIZE: usize = 32 << 10;

/// What HTTP/2 counts for each field beside its name and value (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Whether `Connection` has only options that name no field of the request itself.
fn is_usual(connection: &HeaderValue) -> bool {
    const USUAL: [&[u8]; 5] = [b"keep-alive", b"close", b"te", b"upgrade", b"http2-settings"];
    let usual = |option: &[u8]| option.is_empty() || USUAL.iter().any(|usual| option.eq_ignore_ascii_case(usual));
    split(connection.as_bytes(), |byte| byte == b',').map(trim).all(usual)
}

type Note = for<'r> fn(&mut RequestFields<'r>, &'r HeaderValue);

/// Almost every field of a request is told apart by this alone.
static NOTED: NameFilter = {
    let mut names = [""; FIELD_FLAGS.len()];
    let mut at = 0;
    while at < FIELD_FLAGS.len() {
        names[at] = FIELD_FLAGS[at].0;
        at += 1;
    }
    NameFilter::of(&names).and_all_with(&FORWARDING_INITIALS)
};

impl<'r> RequestFields<'r> {
    pub(crate) fn read(headers: &'r HeaderMap) -> Self {
        let mut facts = Self::default();
        for (name, value) in headers {
            count(1);
            facts.size += name.as_str().len() + value.len() + FIELD_OVERHEAD;
            if NOTED.passes(name.as_str()) {
                facts.note(name.as_str(), value);
            }
        }
        facts
    }

    fn note(&mut self, name: &str, value: &'r HeaderValue) {
        match FIELD_FLAGS.iter().find(|(noted, _)| *noted == name) {
            Some((_, note)) => note(self, value),
            None => self.forwarded |= is_forwarding(name),
        }
    }

    /// The authority that the request is for, from its target (RFC 9112 §3.2.2) or from `Host`.
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

/// Two hosts: larder may go by one and the handler by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AmbiguousHost;

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::http::forwarded::FIELDS;

    #[test]
    fn no_field_that_says_something_is_passed_over() {
        let names = FIELD_FLAGS.iter().map(|(name, _)| *name).chain(FIELDS.iter().map(HeaderName::as_str));
        assert_eq!(names.filter(|name| !NOTED.passes(name)).collect::<Vec<_>>(), [""; 0]);
    }
}
