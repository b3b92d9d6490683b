//! The parts of a request that may select its response.

use std::{fmt, hash::BuildHasher as _};

use foldhash::quality::FixedState;
use http::{
    HeaderMap, HeaderName,
    header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION},
};

use crate::{http::identity_fields::is_identity, key::cookies::pairs};

/// A part of a request that may select its response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// `Authorization`, or a field in which a gateway names the user.
    Credentials,
    /// The host.
    Host,
    /// `Accept-Language`.
    AcceptLanguage,
    /// `Accept`.
    Accept,
    /// `Accept-Encoding`.
    AcceptEncoding,
    /// The cookie with this name.
    Cookie(String),
    /// The parameter of the query with this name.
    Query(String),
}

impl Selector {
    /// The request field, if it is a single one.
    pub(super) fn field(&self) -> Option<HeaderName> {
        match self {
            Self::AcceptLanguage => Some(ACCEPT_LANGUAGE),
            Self::Accept => Some(ACCEPT),
            Self::AcceptEncoding => Some(ACCEPT_ENCODING),
            Self::Credentials | Self::Host | Self::Cookie(_) | Self::Query(_) => None,
        }
    }

    /// Whether a cookie or parameter by its name serves analytics or advertising.
    pub(super) fn is_tracking(&self) -> bool {
        const NAMES: [&str; 17] = [
            "fbclid", "gclid", "gbraid", "wbraid", "dclid", "msclkid", "yclid", "twclid", "ttclid", "igshid", "mc_cid", "mc_eid",
            "_gl", "_fbp", "_fbc", "_gcl_au", "_hjid",
        ];
        let (Self::Cookie(name) | Self::Query(name)) = self else { return false };
        NAMES.contains(&name.as_str()) || name.starts_with("utm_") || name.starts_with("_ga") || name.starts_with("_pk_")
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials => f.write_str("user"),
            Self::Host => f.write_str("host"),
            Self::AcceptLanguage => f.write_str("`Accept-Language`"),
            Self::Accept => f.write_str("`Accept`"),
            Self::AcceptEncoding => f.write_str("`Accept-Encoding`"),
            Self::Cookie(name) => write!(f, "the cookie `{name}`"),
            Self::Query(name) => write!(f, "the query parameter `{name}`"),
        }
    }
}

/// The most cookies, and the most parameters, of one request that are told apart.
const MOST_NAMES: usize = 16;

/// The longest name of a cookie or parameter that is told apart.
const LONGEST_NAME: usize = 64;

/// Returns the parts of a request that may select its response, with hashes of their values.
pub(super) fn selectors(headers: &HeaderMap, query: Option<&str>, authority: &[u8]) -> Vec<(Selector, u32)> {
    let mut all = vec![(Selector::Host, hash(authority))];
    for selector in [Selector::AcceptLanguage, Selector::Accept, Selector::AcceptEncoding] {
        if let Some(value) = selector.field().and_then(|field| headers.get(field)) {
            all.push((selector, hash(value.as_bytes())));
        }
    }
    let credentials = headers.iter().filter(|(name, _)| *name == AUTHORIZATION || is_identity(name.as_str()));
    let credentials = credentials.fold(0, |sum: u32, (_, value)| sum.rotate_left(5) ^ hash(value.as_bytes()));
    if credentials != 0 {
        all.push((Selector::Credentials, credentials));
    }
    let cookies =
        pairs(headers).filter_map(|pair| str::from_utf8(pair).ok()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    add(&mut all, cookies, Selector::Cookie);
    let parameters = query.into_iter().flat_map(|query| query.split('&')).filter(|parameter| !parameter.is_empty());
    add(&mut all, parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, ""))), Selector::Query);
    all
}

/// Adds named values; several values of one name count together.
fn add<'n>(
    all: &mut Vec<(Selector, u32)>,
    values: impl Iterator<Item = (&'n str, &'n str)>,
    selector: impl Fn(String) -> Selector,
) {
    let begin = all.len();
    for (name, value) in values.filter(|(name, _)| is_named(name)) {
        let (selector, value) = (selector(name.to_owned()), hash(value.as_bytes()));
        match all[begin..].iter().position(|(present, _)| *present == selector) {
            Some(at) => all[begin + at].1 = all[begin + at].1.rotate_left(5) ^ value,
            None if all.len() - begin < MOST_NAMES => all.push((selector, value)),
            None => return,
        }
    }
}

/// Whether a name can be told apart and shown: clients choose names.
fn is_named(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'`')
}

/// A hash of a value; never zero.
pub(super) fn hash(value: &[u8]) -> u32 {
    (FixedState::default().hash_one(value) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::COOKIE};

    use super::*;

    #[test]
    fn parts_have_one_value_each() {
        let headers = HeaderMap::from_iter([
            (COOKIE, HeaderValue::from_static("sid=1; _ga=2")),
            (AUTHORIZATION, HeaderValue::from_static("Basic x")),
        ]);
        let all = selectors(&headers, Some("q=a&q=b&&utm_source=x"), b"a.example");
        let names: Vec<String> = all.iter().map(|(selector, _)| selector.to_string()).collect();
        let parameter = |name: &str| format!("the query parameter `{name}`");
        let cookie = |name: &str| format!("the cookie `{name}`");
        assert_eq!(names, ["host".into(), "user".into(), cookie("sid"), cookie("_ga"), parameter("q"), parameter("utm_source")]);
        assert_eq!(all.iter().filter(|(selector, _)| selector.is_tracking()).count(), 2);
        let swapped = selectors(&headers, Some("q=b&q=a"), b"a.example");
        assert_ne!(all[4], swapped[4]);
    }

    #[test]
    fn names_that_would_disturb_a_terminal_are_left_out() {
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes("a\u{9b}31m=1; b`=2; c=3".as_bytes()).unwrap())]);
        let all = selectors(&headers, None, b"");
        assert_eq!(all[1..].iter().map(|(selector, _)| selector).collect::<Vec<_>>(), [&Selector::Cookie("c".to_owned())]);
    }

    #[test]
    fn names_of_one_request_are_bounded() {
        let query: String = (0..1_000).map(|number| format!("p{number}=1&")).collect();
        assert_eq!(selectors(&HeaderMap::new(), Some(&query), b"").len(), 1 + MOST_NAMES);
    }
}
