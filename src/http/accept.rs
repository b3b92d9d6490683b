//! The normal forms of `Accept-Encoding` and `Accept-Language`.

use std::{
    borrow::Cow,
    cell::RefCell,
    cmp::{Ordering, Reverse},
    sync::Arc,
};

use super::field::{
    latest::Latest,
    scan::{count, split, trim},
};
use crate::lists::{IntoNames, owned};

/// Normalizes `Accept-Encoding`, so that fields with equal preferences become equal: known codings only, in order of preference. A value
/// without a coding that larder knows accepts `identity`.
///
/// Compression dictionaries (RFC 9842) are kept, since a handler that supports them responds differently. Malformed values are kept
/// verbatim, because the handler may interpret them differently.
///
/// See [`with_normal_accept_encoding`], which copies nothing.
pub(crate) fn normal_accept_encoding(value: &[u8]) -> Cow<'_, [u8]> {
    with_normal_accept_encoding(value, |normal| match normal == value {
        true => Cow::Borrowed(value),
        false => Cow::Owned(normal.to_vec()),
    })
}

/// Passes the normal form of an `Accept-Encoding` to `user`.
///
/// Each thread remembers its latest values: computing one costs 4,500 instructions (`scripts/instructions`).
pub(crate) fn with_normal_accept_encoding<R>(value: &[u8], user: impl FnOnce(&[u8]) -> R) -> R {
    thread_local! {
        static LATEST: RefCell<Latest<Box<[u8]>>> = const { RefCell::new(Latest::new()) };
    }
    Latest::with(&LATEST, value, |value| compute_accept_encoding(value).as_ref().into(), |normal| user(normal))
}

fn compute_accept_encoding(value: &[u8]) -> Cow<'_, [u8]> {
    const KNOWN: [&str; 9] = ["*", "br", "compress", "dcb", "dcz", "deflate", "gzip", "identity", "zstd"];
    const IDENTITY: &str = "identity";
    let Some(text) = lower_case(value) else { return Cow::Borrowed(value) };
    let Some(members) = members(&text) else { return Cow::Borrowed(value) };
    let anything = members.iter().any(|(weight, coding)| *coding == "*" && weight.0 > 0);
    let mut codings: Vec<_> = members
        .into_iter()
        .map(|(weight, coding)| (weight, coding.strip_prefix("x-").unwrap_or(coding)))
        // A coding with weight 0 is like one that is not named, except if `*` accepts all others; `identity` is acceptable by default.
        .filter(|(Reverse(weight), coding)| *weight > 0 || anything || matches!(*coding, IDENTITY | "*"))
        .filter(|(_, coding)| KNOWN.contains(coding))
        .collect();
    codings.sort_unstable_by(by_preference);
    codings.dedup();
    match codings.as_slice() {
        [] => Cow::Borrowed(IDENTITY.as_bytes()),
        codings => Cow::Owned(ranked(codings).into_bytes()),
    }
}

/// Normalizes `Accept-Language`: lower case, in order of preference.
pub(crate) fn normal_accept_language(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(text) = lower_case(value) else { return Cow::Borrowed(value) };
    let Some(mut ranges) = members(&text) else { return Cow::Borrowed(value) };
    ranges.sort_unstable_by(by_preference);
    ranges.dedup();
    Cow::Owned(ranked(&ranges).into_bytes())
}

/// Returns the value in lower case; `None` if it is no text, which no two parsers need to read alike.
fn lower_case(value: &[u8]) -> Option<String> {
    let text = value.is_ascii().then(|| str::from_utf8(value).ok())??;
    Some(text.to_ascii_lowercase())
}

/// Parses a list of weighted members; `None` if one of them is malformed.
fn members(text: &str) -> Option<Vec<(Reverse<u16>, &str)>> {
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    members.map(|member| weighted(member).map(|(name, weight)| (Reverse(weight), name))).collect()
}

fn by_preference(a: &(Reverse<u16>, &str), b: &(Reverse<u16>, &str)) -> Ordering {
    count(a.1.len().min(b.1.len()) + 1);
    a.cmp(b)
}

/// Removes the optional white space around the commas of a list (RFC 9110 §5.6.1). A value with quoted strings is kept verbatim.
pub(crate) fn without_list_spaces(value: &[u8]) -> Vec<u8> {
    count(value.len());
    if value.contains(&b'"') {
        return value.to_vec();
    }
    split(value, |byte| byte == b',').map(trim).collect::<Vec<_>>().join(&b',')
}

/// Formats a sorted list as a field value, such as `a, b, c;q=0.999, d;q=0`: the order of preference matters, the weights that expressed it
/// do not.
fn ranked(members: &[(Reverse<u16>, &str)]) -> String {
    let (mut text, mut above, mut weight) = (String::new(), None, 1000_u16);
    for (Reverse(own), name) in members {
        if above.is_some_and(|above| above != *own) {
            // A list that is longer than a thousand ranks is longer than any field.
            weight = weight.saturating_sub(1).max(1);
        }
        above = Some(*own);
        text.push_str(if text.is_empty() { "" } else { ", " });
        text.push_str(name);
        match own {
            0 => text.push_str(";q=0"),
            _ if weight == 1000 => {}
            _ => text.push_str(&format!(";q=0.{weight:03}")),
        }
    }
    text
}

/// Parses a list member and its weight, in thousandths (RFC 9110 §12.4.2); `None` if it has any other parameter.
pub(crate) fn weighted(member: &str) -> Option<(&str, u16)> {
    count(member.len() + 1);
    let mut parts = member.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.contains(char::is_whitespace))?;
    let weight = match (parts.next(), parts.next()) {
        (None, _) => 1000,
        (Some(weight), None) => thousandths(weight.strip_prefix("q=")?)?,
        _ => return None,
    };
    Some((name, weight))
}

/// Parses a qvalue, in thousandths: 0 to 1 with at most three decimals.
pub(crate) fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let valid = matches!(whole, "0" | "1") && decimals.len() <= 3 && decimals.bytes().all(|digit| digit.is_ascii_digit());
    let weight = format!("{whole}{decimals:0<3}").parse().ok()?;
    (valid && weight <= 1000).then_some(weight)
}

/// Matches `Accept-Language` against the languages of the application (RFC 4647 §3.4, lookup); the first is the default.
///
/// Passed to [`CacheLayer::normalize`](crate::CacheLayer::normalize), it makes the cache store one response for each language instead of
/// one for each spelling of the field. The handler must select its language with the same matcher, or by a coarser rule.
///
/// ```
/// use larder::LanguageMatcher;
///
/// let languages = LanguageMatcher::new(["en", "de", "pt-BR"]);
/// assert_eq!(languages.best("de-AT, en;q=0.5"), "de");
/// assert_eq!(languages.best("pt-br"), "pt-BR");
/// assert_eq!(languages.best("ja"), "en");
/// ```
#[derive(Debug, Clone)]
pub struct LanguageMatcher(Arc<[String]>);

impl LanguageMatcher {
    /// Creates a matcher for these languages, written as in `Content-Language`; the first is the default.
    ///
    /// # Panics
    /// If `available` has none.
    pub fn new<S>(available: impl IntoNames<S>) -> Self {
        let languages = owned(available);
        assert!(!languages.is_empty(), "a language matcher needs at least one language, its default");
        Self(languages.into())
    }

    /// Returns the languages of the application; the first is the default.
    pub fn available(&self) -> &[String] {
        &self.0
    }

    /// Returns the language that fits an `Accept-Language` best, or the default.
    pub fn best(&self, accept_language: &str) -> &str {
        let mut best = (self.0[0].as_str(), 0);
        for (range, weight) in accept_language.split(',').filter_map(weighted).filter(|(range, _)| !range.is_empty()) {
            // Of equal weights, the first range counts.
            if weight > best.1
                && let Some(language) = lookup(&self.0, range)
            {
                best = (language, weight);
            }
        }
        best.0
    }
}

/// Shortens the range subtag by subtag until it equals a language (RFC 4647 §3.4).
pub(crate) fn lookup<'l>(available: &'l [String], range: &str) -> Option<&'l str> {
    let mut range = range;
    loop {
        count(available.len());
        if let Some(language) = available.iter().find(|language| language.eq_ignore_ascii_case(range)) {
            return Some(language.as_str());
        }
        let end = range.rfind('-');
        count(range.len() - end.unwrap_or_default());
        range = &range[..end?];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_encoding_has_one_form_for_equal_preferences() {
        let normal = |value: &str| normal_accept_encoding(value.as_bytes()).into_owned();
        assert_eq!(normal("gzip, deflate, br"), normal("BR;q=1.0,deflate , x-gzip, sdch, foo;q=0.3,"));
        assert_ne!(normal("gzip, br"), normal("gzip, br;q=0.5"));
        assert_eq!(normal("gzip;q=0.8, br;q=0.2"), normal("gzip, br;q=0.7"));
        assert_ne!(normal("gzip"), normal("gzip, identity;q=0"));
        assert_ne!(normal("gzip"), normal("gzip, dcb"));
        assert_eq!(normal("gzip;q=0"), normal(""));
        assert_eq!(normal("identity"), normal(""));
        assert_eq!(normal("sdch"), b"identity");
        assert_eq!(normal("gzip;q=0.3, br"), b"br, gzip;q=0.999");
        assert_eq!(normal("*, gzip;q=0, br;q=0.2"), b"*, br;q=0.999, gzip;q=0");
        assert_eq!(normal(&String::from_utf8(normal("zstd;q=0.1, br, gzip;q=0")).unwrap()), normal("br, zstd;q=0.5"));
        assert_ne!(normal("*;q=0.5"), normal("*;q=0.5, gzip;q=0"));
        assert_ne!(normal("gzip;q=nan"), normal(""));
        assert_ne!(normal("gzip;q=0.0001"), normal("br;q=0"));
    }
}
