//! The code that an advice comes to.

use std::time::Duration;

use http::HeaderName;

/// The settings of the layer that is advised.
#[derive(Debug, Default)]
pub(super) struct AdvisedLayer {
    /// `None` if responses state their lifetime.
    pub(super) ttl: Option<Duration>,
    pub(super) tags: Vec<String>,
    pub(super) ignore_query: Vec<String>,
    pub(super) vary_on: Vec<HeaderName>,
    pub(super) vary_on_cookies: Vec<String>,
    pub(super) bypass_on_cookies: Vec<String>,
    pub(super) ignore_cookies: bool,
    pub(super) strip_set_cookie: bool,
    pub(super) large_bodies: bool,
}

impl AdvisedLayer {
    /// Returns the layer in Rust.
    pub(super) fn code(&self) -> String {
        let mut code = String::from(".layer(cache.layer()");
        if let Some(ttl) = self.ttl {
            code += &format!(".ttl(Duration::from_secs({}))", ttl.as_secs());
        }
        let vary_on: Vec<String> = self.vary_on.iter().map(ToString::to_string).collect();
        let lists = [
            ("tags", &self.tags),
            ("ignore_query", &self.ignore_query),
            ("vary_on", &vary_on),
            ("vary_on_cookies", &self.vary_on_cookies),
            ("bypass_on_cookies", &self.bypass_on_cookies),
        ];
        for (setter, names) in lists.iter().filter(|(_, names)| !names.is_empty()) {
            let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            code += &format!(".{setter}([{}])", names.join(", "));
        }
        let switches = [
            (self.ignore_cookies, ".ignore_cookies(true)"),
            (self.strip_set_cookie, ".strip_set_cookie(true)"),
            (self.large_bodies, ".max_body(8 << 20)"),
        ];
        switches.iter().filter(|(on, _)| *on).for_each(|(_, setter)| code += setter);
        code + ")"
    }
}

/// Returns names of query parameters in the form of `ignore_query`: those that begin with `utm_` as one.
pub(super) fn query_names<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut short: Vec<String> = names.map(|name| if name.starts_with("utm_") { "utm_*" } else { name }.to_owned()).collect();
    short.sort();
    short.dedup();
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_grouped() {
        let names = query_names(["utm_source", "a\"b", "utm_medium"].into_iter());
        let layer = AdvisedLayer { ttl: Some(Duration::from_secs(60)), ignore_query: names, ..AdvisedLayer::default() };
        assert_eq!(layer.code(), r#".layer(cache.layer().ttl(Duration::from_secs(60)).ignore_query(["a\"b", "utm_*"]))"#);
    }
}
