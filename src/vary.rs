use std::{
    borrow::Cow,
    cmp::{Ordering, Reverse},
    sync::Arc,
};

use http::{
    HeaderMap, HeaderName,
    header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, VARY},
};

use crate::{
    http::field::{
        lines::joined_lines,
        scan::{count, split, trim},
    },
    key::{Key, secret::Secret},
};

/// The request fields that a response nominates (RFC 9111 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Vary {
    /// No field: one response for all.
    Nothing,
    /// These fields: lower case, sorted, none twice.
    Fields(Box<[HeaderName]>),
    /// `*`: nothing that a cache could know.
    Everything,
}

impl Vary {
    /// Reads every line, in any spelling. A member that is no field name is treated as `*`: what cannot be known cannot
    /// be matched.
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(VARY).iter();
        let members = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
        let mut fields = Vec::new();
        for member in members.filter(|member| !member.is_empty()) {
            match HeaderName::from_bytes(member) {
                Ok(name) if member != b"*" => fields.push(name),
                _ => return Self::Everything,
            }
        }
        fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        fields.dedup();
        if fields.is_empty() { Self::Nothing } else { Self::Fields(fields.into()) }
    }

    /// The fields, none for `*` as well.
    pub(crate) fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(fields) => fields,
            Self::Nothing | Self::Everything => &[],
        }
    }

    pub(crate) fn nominates(&self, field: &HeaderName) -> bool {
        match self {
            Self::Nothing => false,
            Self::Fields(fields) => fields.contains(field),
            Self::Everything => true,
        }
    }
}

/// How the values of a request field are compared when they select a response, for
/// [`CacheLayer::normalize`](crate::CacheLayer::normalize): a function of the value, or a [`LanguageMatcher`].
///
/// Two values with the same normal form select the same response. What [`normalize`](Self::normalize) returns is part of the cache key.
pub trait Normalize: Send + Sync + 'static {
    /// The normal form of a value; the value is empty if the request does not have the field.
    fn normalize(&self, value: &str) -> String;

    /// A description of the configuration, if two configurations may give different values the same normal form: layers with different
    /// identities never share an entry. Default: `None`, only the normal form counts.
    fn identity(&self) -> Option<String> {
        None
    }
}

impl<F: Fn(&str) -> String + Send + Sync + 'static> Normalize for F {
    fn normalize(&self, value: &str) -> String {
        self(value)
    }
}

/// How request fields are compared when they select among variants.
#[derive(Clone, Default)]
pub(crate) struct Normalizers {
    own: Vec<(HeaderName, Arc<dyn Normalize>)>,
    /// Whether lists are compared by their members, languages by their ranks (RFC 9111 §4.1).
    lists: bool,
    /// What keeps credentials among them unreadable.
    pub(crate) secret: Secret,
}

impl Normalizers {
    /// Sets the normal form of a field; the last call for a field wins.
    pub(crate) fn set(&mut self, field: HeaderName, normalizer: impl Normalize) {
        self.own.retain(|(name, _)| *name != field);
        self.own.push((field, Arc::new(normalizer)));
    }

    pub(crate) fn normalize_lists(&mut self) {
        self.lists = true;
    }

    /// Appends the configuration itself, in an encoding without ambiguity.
    pub(crate) fn describe(&self, description: &mut Key) {
        let mut own: Vec<_> = self.own.iter().map(|(field, normalizer)| (field.as_str(), normalizer.identity())).collect();
        own.sort();
        description.push_list(own.iter().map(|(field, _)| *field));
        own.iter().for_each(|(_, identity)| description.push_option(identity.as_deref().map(str::as_bytes)));
        description.push_byte(u8::from(self.lists));
    }

    /// Appends the request's value of `field` to `key`, in its normal form.
    pub(crate) fn push(&self, key: &mut Key, headers: &HeaderMap, field: &HeaderName) {
        let value = joined_lines(headers, field);
        if field == AUTHORIZATION || field == COOKIE {
            return key.push_secret(&self.secret, value.as_deref());
        }
        if let Some((_, normalizer)) = self.own.iter().find(|(name, _)| name == field) {
            // An absent field is left to the function too: a language matcher has a default for it.
            let text = value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            return key.push(normalizer.normalize(&text).as_bytes());
        }
        match value {
            Some(value) if self.lists && field == ACCEPT_LANGUAGE => key.push(&normal_accept_language(&value)),
            Some(value) if self.lists && field != ACCEPT_ENCODING => key.push(&without_list_spaces(&value)),
            Some(value) if field == ACCEPT_ENCODING => key.push(&normal_accept_encoding(&value)),
            value => key.push_option(value.as_deref()),
        }
    }

    /// The key of the variant that this request selects.
    pub(crate) fn variant(&self, key: &Key, headers: &HeaderMap, fields: &[HeaderName]) -> Key {
        let mut variant = unvaried(key);
        for field in fields {
            variant.push(field.as_str().as_bytes());
            self.push(&mut variant, headers, field);
        }
        variant
    }
}

/// The key of the variant that a response without `Vary` is among others that have it.
pub(crate) fn unvaried(key: &Key) -> Key {
    let mut variant = key.clone();
    variant.push_byte(b'V');
    variant
}

impl std::fmt::Debug for Normalizers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.own.iter().map(|(field, _)| field)).finish()
    }
}

/// `Accept-Encoding` so that equal wishes are equal text: known codings, best first, without what nobody serves.
///
/// Compression dictionaries (RFC 9842) stay, since a handler that knows them answers differently. A value that does not keep to
/// the grammar stays as it is: who knows how the handler reads it.
fn normal_accept_encoding(value: &[u8]) -> Cow<'_, [u8]> {
    const KNOWN: [&str; 9] = ["*", "br", "compress", "dcb", "dcz", "deflate", "gzip", "identity", "zstd"];
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    let Some(members) = members.map(weighted).collect::<Option<Vec<_>>>() else { return Cow::Borrowed(value) };
    let anything = members.iter().any(|(coding, weight)| *coding == "*" && *weight > 0);
    let mut codings: Vec<(Reverse<u16>, &str)> = members
        .into_iter()
        .map(|(coding, weight)| (Reverse(weight), coding.strip_prefix("x-").unwrap_or(coding)))
        // A coding that is refused is one that is not named, unless all others are welcome; "identity" always is.
        .filter(|(Reverse(weight), coding)| *weight > 0 || anything || matches!(*coding, "identity" | "*"))
        .filter(|(_, coding)| KNOWN.contains(coding))
        .collect();
    codings.sort_unstable_by(by_preference);
    codings.dedup();
    Cow::Owned(ranked(&codings).into_bytes())
}

/// `Accept-Language` so that equal wishes are equal text: in lower case, best first.
fn normal_accept_language(value: &[u8]) -> Cow<'_, [u8]> {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    let Some(mut ranges) =
        members.map(|member| weighted(member).map(|(range, weight)| (Reverse(weight), range))).collect::<Option<Vec<_>>>()
    else {
        return Cow::Borrowed(value);
    };
    ranges.sort_unstable_by(by_preference);
    ranges.dedup();
    Cow::Owned(ranked(&ranges).into_bytes())
}

/// A list without the optional space around its commas (RFC 9110 §5.6.1); quoted strings stay as they are.
fn without_list_spaces(value: &[u8]) -> Vec<u8> {
    count(value.len());
    if value.contains(&b'"') {
        return value.to_vec();
    }
    split(value, |byte| byte == b',').map(trim).collect::<Vec<_>>().join(&b',')
}

fn by_preference(a: &(Reverse<u16>, &str), b: &(Reverse<u16>, &str)) -> Ordering {
    count(a.1.len().min(b.1.len()) + 1);
    a.cmp(b)
}

/// `a,b>c`: the order of preference matters, the numbers that express it don't.
fn ranked(codings: &[(Reverse<u16>, &str)]) -> String {
    let mut text = String::new();
    let mut above = None;
    for (Reverse(weight), coding) in codings {
        match above {
            Some(above) if above == *weight => text.push(','),
            Some(_) => text.push('>'),
            None => {}
        }
        above = Some(*weight);
        text.push_str(coding);
        if *weight == 0 {
            text.push('!');
        }
    }
    text
}

/// A list member and its weight in thousandths (RFC 9110 §12.4.2); `None` if its parameters are anything else.
fn weighted(member: &str) -> Option<(&str, u16)> {
    count(member.len() + 1);
    let mut parts = member.split(';').map(str::trim);
    let name = parts.next()?;
    let weight = match (parts.next(), parts.next()) {
        (None, _) => 1000,
        (Some(weight), None) => thousandths(weight.strip_prefix("q=")?)?,
        _ => return None,
    };
    Some((name, weight))
}

/// A qvalue: 0 to 1, with at most three decimals.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let valid = matches!(whole, "0" | "1") && decimals.len() <= 3 && decimals.bytes().all(|digit| digit.is_ascii_digit());
    let weight = format!("{whole}{decimals:0<3}").parse().ok()?;
    (valid && weight <= 1000).then_some(weight)
}

/// Matches `Accept-Language` against the languages that the application has (RFC 4647 §3.4, lookup); the first is the default.
///
/// Given to [`CacheLayer::normalize`](crate::CacheLayer::normalize), it makes one cached response for each language instead of one for each
/// spelling of the field. The handler must choose its language with the same matcher, or by a rule that is coarser.
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
    /// A matcher for these languages, written as in `Content-Language`.
    ///
    /// # Panics
    /// If there is none.
    pub fn new<L: Into<String>>(available: impl IntoIterator<Item = L>) -> Self {
        let available: Arc<[String]> = available.into_iter().map(Into::into).collect();
        assert!(!available.is_empty(), "a language matcher needs at least one language, its default");
        Self(available)
    }

    /// The languages that the application has; the first is the default.
    pub fn available(&self) -> &[String] {
        &self.0
    }

    /// The language that fits an `Accept-Language` best.
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

impl Normalize for LanguageMatcher {
    fn normalize(&self, value: &str) -> String {
        self.best(value).to_owned()
    }

    fn identity(&self) -> Option<String> {
        Some(format!("languages {}", self.available().join(",")))
    }
}

/// Shortens the range subtag by subtag until a language has that name.
fn lookup<'l>(available: &'l [String], range: &str) -> Option<&'l str> {
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
    use http::HeaderValue;

    use super::*;

    fn vary(lines: &[&'static str]) -> Vary {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(VARY, HeaderValue::from_static(line));
        }
        Vary::parse(&headers)
    }

    #[test]
    fn p5_a_star_in_any_spelling_is_a_star() {
        for lines in [&[" *"][..], &["* ,Foo"], &["Foo", "*"], &["\t*\t"], &["foo,*"], &[",,*"]] {
            assert_eq!(vary(lines), Vary::Everything, "{lines:?}");
        }
    }

    #[test]
    fn a_member_that_is_no_name_is_a_star() {
        assert_eq!(vary(&["accept encoding"]), Vary::Everything);
    }

    #[test]
    fn s30_names_are_compared_without_case_over_all_lines() {
        assert_eq!(vary(&["Accept, ACCEPT-language", "", "accept"]), vary(&["accept-language,accept"]));
        assert_eq!(vary(&["", " , "]), Vary::Nothing);
    }

    #[test]
    fn accept_encoding_has_one_form_for_equal_wishes() {
        let normal = |value: &str| normal_accept_encoding(value.as_bytes()).into_owned();
        assert_eq!(normal("gzip, deflate, br"), normal("BR;q=1.0,deflate , x-gzip, sdch, foo;q=0.3,"));
        assert_ne!(normal("gzip, br"), normal("gzip, br;q=0.5"));
        assert_eq!(normal("gzip;q=0.8, br;q=0.2"), normal("gzip, br;q=0.7"));
        assert_ne!(normal("gzip"), normal("gzip, identity;q=0"));
        assert_ne!(normal("gzip"), normal("gzip, dcb"));
        assert_eq!(normal("gzip;q=0"), normal(""));
        assert_ne!(normal("*;q=0.5"), normal("*;q=0.5, gzip;q=0"));
        assert_ne!(normal("gzip;q=nan"), normal(""));
        assert_ne!(normal("gzip;q=0.0001"), normal("br;q=0"));
    }
}
