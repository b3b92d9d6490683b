//! Cookies: which of them select a response, and which make a request bypass the cache.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use percent_encoding::percent_decode;

use super::{
    Key,
    pattern::{self, Pattern, any_matches},
};
use crate::http::field::scan::{find, split, trim};

/// The effect of cookies on the responses of a route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Cookies {
    /// Unknown: a request with cookies bypasses the cache.
    #[default]
    Unknown,
    /// Cookies have no effect.
    Ignored,
    /// The cookies with these names select the response; others have no effect.
    Named(Vec<String>),
    /// A request with one of these cookies bypasses the cache; others have no effect.
    BypassOn(Vec<Pattern>),
}

impl Cookies {
    /// Appends the rule, in an unambiguous encoding.
    pub(crate) fn describe(&self, description: &mut Key) {
        match self {
            Self::Unknown => description.push_byte(0),
            Self::Ignored => description.push_byte(1),
            Self::Named(names) => {
                description.push_byte(2);
                description.push_list(names.iter().map(String::as_str));
            }
            Self::BypassOn(patterns) => {
                description.push_byte(3);
                pattern::describe(patterns, description);
            }
        }
    }

    /// Whether a request with these fields, which has cookies, bypasses the cache.
    pub(crate) fn bypass(&self, headers: &HeaderMap) -> bool {
        match self {
            // An empty field has no cookie.
            Self::Unknown => pairs(headers).any(|pair| !pair.is_empty()),
            Self::Ignored | Self::Named(_) => false,
            Self::BypassOn(patterns) => {
                pairs(headers).any(|pair| names_of(pair).iter().any(|name| any_matches(patterns, &String::from_utf8_lossy(name))))
            }
        }
    }

    /// Removes the cookies that do not select the response.
    pub(crate) fn hide_others(&self, headers: &mut HeaderMap) {
        let Self::Named(names) = self else { return drop(headers.remove(COOKIE)) };
        let is_named = |pair: &&[u8]| names.iter().any(|name| names_of(pair).iter().any(|own| **own == *name.as_bytes()));
        let kept: Vec<&[u8]> = pairs(headers).filter(is_named).collect();
        match HeaderValue::from_bytes(&kept.join(&b"; "[..])) {
            Ok(value) if !kept.is_empty() => drop(headers.insert(COOKIE, value)),
            _ => drop(headers.remove(COOKIE)),
        }
    }
}

/// Returns all values of a cookie, over all lines: a handler may use the first or the last. A pair whose name is spelled in another way
/// counts as a whole, because only some parsers take it for the cookie.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let values: Vec<_> = pairs(headers).filter_map(|pair| value_of(pair, name.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(&b';'))
}

/// Returns the pairs of all lines, without white space around them.
pub(crate) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(COOKIE).iter().flat_map(|line| split(line.as_bytes(), |byte| byte == b';')).map(trim)
}

/// The names that a handler may read in a pair: as it is, or without white space and percent-encoding, which some parsers remove.
fn names_of(pair: &[u8]) -> [Cow<'_, [u8]>; 2] {
    let name = find(pair, |byte| byte == b'=').map_or(pair, |equals| &pair[..equals]);
    [Cow::Borrowed(name), percent_decode(trim(name)).into()]
}

fn value_of(pair: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    /// No value begins with it.
    const OTHER_SPELLING: u8 = 0;
    let equals = find(pair, |byte| byte == b'=')?;
    if &pair[..equals] == name {
        return Some(pair[equals + 1..].to_vec());
    }
    percent_decode(trim(&pair[..equals])).eq(name.iter().copied()).then(|| [&[OTHER_SPELLING], pair].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(line: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(line))])
    }

    /// Handlers may take both for the cookie: the `cookie` crate trims names.
    #[test]
    fn another_spelling_of_a_name_is_neither_the_cookie_nor_absent() {
        let session = |line| cookie(&headers(line), "session");
        let plain = session("x=1; session=alice");
        assert_eq!(plain.as_deref(), Some(&b"alice"[..]));
        for other in ["session =alice", "session\t=alice", "%73ession=alice"] {
            assert!(session(other).is_some_and(|value| Some(value) != plain), "{other}");
        }
        assert_eq!(session("sessio=alice"), None);
    }

    #[test]
    fn every_spelling_of_a_named_cookie_bypasses() {
        let rule = Cookies::BypassOn(vec![Pattern::Exact("sid".to_owned()), Pattern::Prefix("wordpress_".to_owned())]);
        for line in ["sid=1", "_ga=2; sid=1", " sid =1", "s%69d=1", "sid", "wordpress_logged_in_x=1"] {
            assert!(rule.bypass(&headers(line)), "{line}");
        }
        assert!(!rule.bypass(&headers("_ga=sid; xsid=1; SID=2")));
    }
}
