//! The cookies that an application has set for one client.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request,
    header::{COOKIE, SET_COOKIE},
};

/// The cookies of one client of one application, by name. Paths, domains and lifetimes other than zero do not matter: the client sends them back
/// within the same attempt.
#[derive(Debug, Default)]
pub(super) struct CookieJar(Vec<(String, String)>);

impl CookieJar {
    /// Takes the cookies of a response.
    pub(super) fn take(&mut self, headers: &HeaderMap) {
        for line in headers.get_all(SET_COOKIE) {
            let line = String::from_utf8_lossy(line.as_bytes());
            let (pair, attributes) = line.split_once(';').unwrap_or((&line, ""));
            let Some((name, value)) = pair.split_once('=') else { continue };
            let (name, value) = (name.trim(), value.trim());
            self.0.retain(|(known, _)| known != name);
            let is_removed = attributes.split(';').any(|attribute| attribute.trim().eq_ignore_ascii_case("max-age=0"));
            if !is_removed {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// Adds the cookies to a request, in place of those with the same names.
    pub(super) fn add_to(&self, request: &mut Request<Bytes>) {
        if self.0.is_empty() {
            return;
        }
        let lines: Vec<_> =
            request.headers().get_all(COOKIE).iter().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect();
        let own = lines.iter().flat_map(|line| line.split(';')).map(str::trim).filter(|pair| {
            let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
            !pair.is_empty() && !self.0.iter().any(|(known, _)| known == name)
        });
        let kept = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        let pairs: Vec<_> = own.map(ToOwned::to_owned).chain(kept).collect();
        if let Ok(line) = HeaderValue::from_str(&pairs.join("; ")) {
            request.headers_mut().insert(COOKIE, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (SET_COOKIE, HeaderValue::from_static(line))).collect()
    }

    fn sent(jar: &CookieJar, own: &'static str) -> String {
        let mut request = Request::new(Bytes::new());
        request.headers_mut().insert(COOKIE, HeaderValue::from_static(own));
        jar.add_to(&mut request);
        request.headers()[COOKIE].to_str().unwrap().to_owned()
    }

    #[test]
    fn latest_value_of_a_cookie_is_sent() {
        let mut jar = CookieJar::default();
        assert_eq!(sent(&jar, "a=1; sid=0"), "a=1; sid=0");
        jar.take(&headers(&["sid=1; Path=/; HttpOnly", "lang = de"]));
        jar.take(&headers(&["sid=2", "malformed"]));
        assert_eq!(sent(&jar, "a=1; sid=0"), "a=1; lang=de; sid=2");
        jar.take(&headers(&["sid=; Max-Age=0"]));
        assert_eq!(sent(&jar, "a=1"), "a=1; lang=de");
    }
}
