//! The URL in a key, for people.

use super::{
    KEY_VERSION, Key, NO_LENGTH,
    content::{CONTENT, CONTENT_FIELDS, DIGEST},
};

/// Returns the URL in a key, with the namespace and the revision if there are any, after the method of a request with content. What is not
/// printable is escaped.
///
/// The values of request fields come after the URL in a key, and are never shown: two keys with one URL differ in their digests. The end of a
/// key may be missing.
pub(crate) fn shown_url(key: &Key) -> String {
    url(key.as_bytes()).unwrap_or_else(|| "not a URL".to_owned())
}

fn url(key: &[u8]) -> Option<String> {
    /// The rules of a layer, in a key.
    const FINGERPRINT: usize = 8;
    let mut key = Reader { rest: key.strip_prefix(&[KEY_VERSION])?, is_cut: false };
    let (namespace, revision) = (key.part()?, key.part()?);
    let mut rules = key.byte()?;
    let mut method = None;
    if rules == CONTENT {
        method = key.part();
        key.rest = key.rest.get(DIGEST..)?;
        CONTENT_FIELDS.iter().for_each(|_| _ = key.part());
        rules = key.byte()?;
    }
    if rules == 1 {
        key.rest = key.rest.get(FINGERPRINT..)?;
    }
    let scheme = match key.byte()? {
        0 => Some(&b"http"[..]),
        1 => Some(&b"https"[..]),
        _ => key.part(),
    };
    let (authority, path, query) = (key.part(), key.part()?, key.part());
    let mut shown = match (scheme, authority) {
        (Some(scheme), Some(authority)) => format!("{}://{}", scheme.escape_ascii(), authority.escape_ascii()),
        _ => String::new(),
    };
    if let Some(method) = method {
        shown = format!("{} {shown}", method.escape_ascii());
    }
    shown += &path.escape_ascii().to_string();
    if let Some(query) = query {
        shown += &format!("?{}", query.escape_ascii());
    }
    if key.is_cut {
        shown.push('…');
    }
    for (name, value) in [("namespace", namespace), ("revision", revision)].iter().filter(|(_, value)| !value.is_empty()) {
        shown += &format!(" ({name} {})", value.escape_ascii());
    }
    Some(shown)
}

/// Reads a key from its beginning.
struct Reader<'k> {
    rest: &'k [u8],
    /// The last part is longer than what is there of it.
    is_cut: bool,
}

impl<'k> Reader<'k> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    /// Returns the next part; `None` if it is absent, or beyond the end.
    fn part(&mut self) -> Option<&'k [u8]> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        if length >= NO_LENGTH {
            self.rest = rest;
            return None;
        }
        self.is_cut |= length > rest.len();
        let (part, rest) = rest.split_at(length.min(rest.len()));
        self.rest = rest;
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key as rules write it, with the value of a field at its end.
    fn key(namespace: &str, authority: Option<&[u8]>, path: &str, query: Option<&[u8]>) -> Key {
        let mut key = Key::first(namespace, "");
        key.push_byte(1);
        key.extend(&[7; 8]);
        key.push_byte(0);
        key.push_option(authority);
        key.push(path.as_bytes());
        key.push_option(query);
        key.push_byte(0);
        key.push(b"field");
        key
    }

    #[test]
    fn url_is_shown_without_what_follows_it() {
        assert_eq!(shown_url(&key("", Some(b"a.example"), "/p", Some(b"q=1"))), "http://a.example/p?q=1");
        assert_eq!(shown_url(&key("shop", Some(b"a.example:8080"), "/", None)), "http://a.example:8080/ (namespace shop)");
        assert_eq!(shown_url(&key("", None, "/\u{e9}", None)), "/\\xc3\\xa9");
    }

    #[test]
    fn method_of_a_request_with_content_is_shown_and_its_content_is_not() {
        let plain = key("shop", Some(b"a.example"), "/graphql", None);
        let headers = [(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"))].into_iter().collect();
        let rules = crate::key::rules::KeyRules::default();
        let (key, _) =
            rules.with_content(&plain, Key::first("shop", "").as_bytes().len(), &http::Method::POST, &headers, b"secret");
        assert_eq!(shown_url(&key), "POST http://a.example/graphql (namespace shop)");
    }

    #[test]
    fn key_that_was_cut_or_is_none_of_a_url_shows_what_there_is() {
        let whole = key("", Some(b"a.example"), &format!("/{}", "x".repeat(300)), Some(b"q"));
        for end in 0..whole.as_bytes().len() {
            let shown = shown_url(&Key::from_bytes(&whole.as_bytes()[..end]));
            assert!(shown == "not a URL" || shown.starts_with("http://a.example/") || shown.ends_with('…'), "{end}: {shown}");
            assert!(!shown.contains("fie"), "{shown}");
        }
        assert!(shown_url(&Key::from_bytes(&whole.as_bytes()[..192])).ends_with("xxx…"));
        assert_eq!(shown_url(&Key::from_bytes(b"anything")), "not a URL");
    }
}
