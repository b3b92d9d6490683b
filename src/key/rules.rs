//! The parts of a request that are in its cache key, and their encoding.

use std::{fmt, ops::Range, ptr, sync::Arc};

use http::{Extensions, HeaderMap, HeaderName, Uri, header::FORWARDED, request::Parts};
use sha2::{Digest as _, Sha256};

use super::{
    Key,
    cookies::{Cookies, cookie},
    normalizers::Normalizers,
    pattern::{self, Pattern, any_matches},
    query::QueryRule,
};
use crate::{
    http::{
        authority::Scheme,
        cache_status::Reason,
        field::lines::joined_lines,
        forwarded::{FIELDS, without_addresses},
        request_fields::RequestFields,
    },
    router,
};

pub(crate) type KeyFn = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// Selects the parts of a request that are in its key.
///
/// The bytes of a key are a format, because nodes of different builds share entries in one store. They depend only on the request, on
/// these rules and on [`KEY_VERSION`](crate::key::KEY_VERSION), never on names or source lines of the program. `tests/golden/keys-v2`
/// pins them.
#[derive(Clone, Default)]
pub(crate) struct KeyRules {
    pub(crate) query: QueryRule,
    pub(crate) vary_on: Vec<HeaderName>,
    pub(crate) cookies: Cookies,
    pub(crate) principal: Option<KeyFn>,
    /// A part that the application computes, and its name: layers whose parts have different names share no entry.
    pub(crate) part: Option<(String, KeyFn)>,
    pub(crate) normalizers: Normalizers,
    /// Request fields that have no effect, and that handlers do not see.
    pub(crate) ignored: Vec<Pattern>,
    /// The hosts that are served from the cache; any if there are none.
    pub(crate) hosts: Vec<String>,
    pub(crate) ignores_host: bool,
    /// Whether handlers see only what is in the key.
    pub(crate) sealed: bool,
    /// Remove extensions that handlers do not see, one for each type.
    pub(crate) hidden_extensions: Vec<fn(&mut Extensions)>,
    /// Separates the entries of services that share a cache and answer the same URIs differently.
    pub(crate) scope: Option<String>,
    /// Identifies these rules within a key; `None` for the default rules. Layers with different rules never share an entry.
    fingerprint: Option<Fingerprint>,
}

/// The first bytes of the SHA-256 of the description of the rules.
type Fingerprint = [u8; 8];

impl KeyRules {
    /// Computes the fingerprint. Must be called after each change of the rules.
    pub(crate) fn seal(&mut self) {
        let description = self.describe();
        self.fingerprint = (description != Self::default().describe())
            .then(|| *Sha256::digest(description.as_bytes()).first_chunk().expect("a SHA-256 has 32 bytes"));
    }

    /// Encodes the rules unambiguously. The return value of a function is part of each key, so only its name or identity counts here.
    fn describe(&self) -> Key {
        let mut description = Key::new();
        self.query.describe(&mut description);
        description.push_list(self.vary_on.iter().map(HeaderName::as_str));
        self.cookies.describe(&mut description);
        description.push_byte(u8::from(self.principal.is_some()));
        description.push_option(self.part.as_ref().map(|(name, _)| name.as_bytes()));
        self.normalizers.describe(&mut description);
        self.describe_additions(&mut description);
        description
    }

    /// Encodes the rules that were added later: absent ones leave the encoding of the others as it was.
    fn describe_additions(&self, description: &mut Key) {
        if !self.ignored.is_empty() {
            description.push_byte(b'f');
            pattern::describe(&self.ignored, description);
        }
        if self.ignores_host {
            description.push_byte(b'h');
        }
        if self.sealed {
            description.push_byte(b's');
        }
        if let Some(scope) = &self.scope {
            description.push_byte(b'n');
            description.push(scope.as_bytes());
        }
        // How many: the name of a type is one of the program.
        if !self.hidden_extensions.is_empty() {
            description.push_byte(b'e');
            description.push_list(self.hidden_extensions.iter().map(|_| ""));
        }
    }

    /// Appends the parts of a request to `key`, and returns the range of the query within the key.
    pub(crate) fn push(
        &self,
        key: &mut Key,
        parts: &Parts,
        fields: &RequestFields<'_>,
        principal: Option<&str>,
    ) -> Result<Range<usize>, Reason> {
        let uri = router::original_uri(parts);
        let scheme = Scheme::of(&parts.uri);
        match &self.fingerprint {
            None => key.push_byte(0),
            Some(fingerprint) => {
                key.push_byte(1);
                key.extend(fingerprint);
            }
        }
        key.push_scheme(&parts.uri, scheme);
        match self.authority(parts, fields, scheme)? {
            Some(authority) => key.push_authority(authority, scheme).map_err(|_| Reason::InvalidHost)?,
            None => key.push_option(None),
        }
        let span = self.push_target(key, uri);
        // A nested router removes a prefix of the path. Any other rewrite may change the response, so it belongs to the key.
        let rewritten =
            !ptr::eq(uri, &parts.uri) && (!uri.path().ends_with(parts.uri.path()) || uri.query() != parts.uri.query());
        key.push_byte(u8::from(rewritten));
        if rewritten {
            self.push_target(key, &parts.uri);
        }
        let forwarded = fields.forwarded && self.has_forwarding(&parts.headers);
        key.push_byte(u8::from(forwarded));
        if forwarded {
            self.push_forwarding(key, &parts.headers);
        }
        if self.fingerprint.is_some() {
            self.push_configured_parts(key, parts, principal)?;
        }
        Ok(span)
    }

    /// Returns the authority that is in the key; an error if the request has none that the route accepts.
    fn authority<'r>(&self, parts: &'r Parts, fields: &RequestFields<'r>, scheme: Scheme) -> Result<Option<&'r [u8]>, Reason> {
        let authority = fields.authority(parts).map_err(|_| Reason::InvalidHost)?;
        if !self.hosts.is_empty() {
            let host = authority.map(|authority| scheme.without_default_port(authority)).unwrap_or_default();
            if !self.hosts.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(host)) {
                return Err(Reason::UnknownHost);
            }
        }
        Ok(authority.filter(|_| !self.ignores_host))
    }

    /// Whether a field does not count, and is not shown to the handler.
    pub(crate) fn ignores(&self, field: &str) -> bool {
        any_matches(&self.ignored, field)
    }

    /// Whether a request that has forwarding fields has one that counts.
    fn has_forwarding(&self, headers: &HeaderMap) -> bool {
        self.ignored.is_empty() || FIELDS.iter().any(|field| headers.contains_key(field) && !self.ignores(field.as_str()))
    }

    /// Appends the forwarding fields ([`FIELDS`]) of a request, by position and value.
    pub(crate) fn push_forwarding(&self, key: &mut Key, headers: &HeaderMap) {
        for (number, field) in (1..).zip(&FIELDS).filter(|(_, field)| !self.ignores(field.as_str())) {
            if let Some(value) = joined_lines(headers, field) {
                key.push_byte(number);
                key.push(&if field == FORWARDED { without_addresses(&value) } else { value });
            }
        }
        key.push_byte(0);
    }

    /// Appends path and query, and returns the range of the query within the key.
    fn push_target(&self, key: &mut Key, uri: &Uri) -> Range<usize> {
        key.push(uri.path().as_bytes());
        let start = key.as_bytes().len();
        key.push_option(self.query.apply(uri.query()).as_deref().map(str::as_bytes));
        start..key.as_bytes().len()
    }

    /// Appends the parts that the configuration adds.
    fn push_configured_parts(&self, key: &mut Key, parts: &Parts, principal: Option<&str>) -> Result<(), Reason> {
        let secret = &self.normalizers.secret;
        self.vary_on.iter().for_each(|field| self.normalizers.push(key, &parts.headers, field));
        if let Cookies::Named(names) = &self.cookies {
            names.iter().for_each(|name| key.push_secret(secret, cookie(&parts.headers, name).as_deref()));
        }
        key.push_secret(secret, principal.map(str::as_bytes));
        if let Some((_, part)) = &self.part {
            key.push(part(parts).ok_or(Reason::KeyDeclined)?.as_bytes());
        }
        Ok(())
    }
}

impl fmt::Debug for KeyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRules")
            .field("query", &self.query)
            .field("vary_on", &self.vary_on)
            .field("cookies", &self.cookies)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use http::{
        HeaderValue, Method, Request,
        header::{ACCEPT_ENCODING, COOKIE},
    };
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::*;
    use crate::{
        http::{accept::LanguageMatcher, forwarded::FIELDS},
        key::{KEY_VERSION, normalizers::Normalize, pattern::patterns, secret::Secret},
    };

    /// The parts of a request that can select a response, in so few spellings that equal ones occur.
    #[derive(Debug, Clone)]
    struct Sample {
        head: bool,
        scheme: Option<&'static str>,
        authority: &'static str,
        /// If the target has an authority, `Host` repeats it: a request with two hosts bypasses the cache.
        host: Option<&'static str>,
        path: String,
        query: Option<String>,
        forwarded: Vec<(usize, String)>,
        tenant: Vec<String>,
        languages: Vec<String>,
        cookies: Vec<String>,
        principal: Option<String>,
        part: String,
    }

    /// All fields but `Forwarded`, of which only a part counts.
    static FORWARDING: &[HeaderName] = FIELDS.split_at(1).1;

    const TENANT: HeaderName = HeaderName::from_static("x-tenant");
    const LANGUAGE: HeaderName = HeaderName::from_static("accept-language");
    const PRINCIPAL: &str = "x-principal";
    const PART: &str = "x-part";

    fn sample() -> impl Strategy<Value = Sample> {
        let authority = || select(&["a", "A", "a:80", "a:443", "a:8080", "aa", "a.b", "[::1]", "[::1]:80"]);
        let value = || "[ab,; =/]{0,3}";
        let target = (
            any::<bool>(),
            option::of(select(&["http", "https", "ws"])),
            authority(),
            option::of(authority()),
            "/[a/%]{0,3}",
            option::of("[ab&=?]{0,3}"),
        );
        let fields = (
            vec((0..FORWARDING.len(), value()), 0..3),
            vec(value(), 0..3),
            vec(value(), 0..3),
            vec("(a|b|ab|)(=[ab]{0,2})?(; ?(a|b)=[ab]{0,2})?", 0..3),
            option::of(value()),
            value(),
        );
        (target, fields).prop_map(|((head, scheme, authority, host, path, query), rest)| {
            let (forwarded, tenant, languages, cookies, principal, part) = rest;
            // Not every generated path is valid in a URI.
            let path = path.replace('%', "%25");
            Sample { head, scheme, authority, host, path, query, forwarded, tenant, languages, cookies, principal, part }
        })
    }

    /// Two samples that differ in at most a few parts.
    fn pair() -> impl Strategy<Value = (Sample, Sample)> {
        (sample(), sample(), vec(prop::bool::weighted(0.15), 12)).prop_map(|(one, other, differs)| {
            let mut mixed = one.clone();
            macro_rules! mix {
                ($($at:literal: $field:ident),+) => {
                    $(if differs[$at] { mixed.$field = other.$field; })+
                };
            }
            mix!(0: head, 1: scheme, 2: authority, 3: host, 4: path, 5: query, 6: forwarded, 7: tenant);
            mix!(8: languages, 9: cookies, 10: principal, 11: part);
            (one, mixed)
        })
    }

    impl Sample {
        fn parts(&self) -> Parts {
            let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
            let origin = self.scheme.map(|scheme| format!("{scheme}://{}", self.authority)).unwrap_or_default();
            let method = if self.head { Method::HEAD } else { Method::GET };
            let mut parts =
                Request::builder().method(method).uri(format!("{origin}{}{query}", self.path)).body(()).unwrap().into_parts().0;
            let mut add = |name: &HeaderName, value: &str| {
                parts.headers.append(name, HeaderValue::from_str(value).unwrap());
            };
            let host = self.host.map(|host| if self.scheme.is_some() { self.authority } else { host });
            host.iter().for_each(|host| add(&http::header::HOST, host));
            self.forwarded.iter().for_each(|(field, value)| add(&FORWARDING[*field], value));
            self.tenant.iter().for_each(|value| add(&TENANT, value));
            self.languages.iter().for_each(|value| add(&LANGUAGE, value));
            self.cookies.iter().for_each(|value| add(&COOKIE, value));
            self.principal.iter().for_each(|value| add(&HeaderName::from_static(PRINCIPAL), value));
            add(&HeaderName::from_static(PART), &self.part);
            parts
        }

        /// The parts by which every layer distinguishes requests, computed independently of the code under test.
        fn resource(&self) -> impl PartialEq + use<> {
            let scheme = self.scheme.unwrap_or("http");
            let authority = if self.scheme.is_some() { Some(self.authority) } else { self.host };
            let default_port = match scheme {
                "http" => ":80",
                "https" => ":443",
                _ => ":",
            };
            let authority = authority.map(|authority| authority.trim_end_matches(default_port).to_lowercase());
            let forwarded: Vec<_> = (0..FORWARDING.len())
                .map(|field| list(self.forwarded.iter().filter(|(of, _)| *of == field).map(|(_, value)| value)))
                .collect();
            (scheme, authority, self.path.clone(), self.query.clone(), forwarded)
        }

        /// The further parts by which a layer with all rules distinguishes requests.
        fn selection(&self) -> impl PartialEq + use<> {
            let pairs = self.cookies.iter().flat_map(|line| line.split(';')).map(str::trim);
            let cookie = |name: &str| {
                let values = pairs.clone().filter_map(|pair| pair.split_once('=')).filter(|(named, _)| *named == name);
                values.map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
            };
            (list(self.tenant.iter()), self.language(), [cookie("a"), cookie("b")], self.principal.clone(), self.part.clone())
        }

        /// The normal form that [`rules`] gives to `Accept-Language`: absent is like empty.
        fn language(&self) -> usize {
            list(self.languages.iter()).unwrap_or_default().len()
        }
    }

    /// Joins the lines of a field into one list, without the white space around them (RFC 9110 §5.2, §5.5).
    fn list<'v>(lines: impl Iterator<Item = &'v String>) -> Option<String> {
        let lines: Vec<_> = lines.map(|line| line.trim()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    fn text(parts: &Parts, name: &str) -> Option<String> {
        parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    /// Rules with every optional part of the key.
    fn rules() -> KeyRules {
        let mut rules = KeyRules {
            vary_on: vec![TENANT, LANGUAGE],
            cookies: Cookies::Named(vec!["a".to_owned(), "b".to_owned()]),
            principal: Some(Arc::new(|parts| text(parts, PRINCIPAL))),
            part: Some(("part".to_owned(), Arc::new(|parts| text(parts, PART)))),
            ..KeyRules::default()
        };
        rules.normalizers.set(LANGUAGE, |value: &str| value.len().to_string());
        rules.seal();
        rules
    }

    fn key(rules: &KeyRules, sample: &Sample) -> Key {
        let (mut key, parts) = (Key::new(), sample.parts());
        let principal = rules.principal.as_ref().and_then(|principal| principal(&parts));
        rules.push(&mut key, &parts, &RequestFields::read(&parts.headers), principal.as_deref()).unwrap();
        key
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn requests_share_a_key_only_if_every_selecting_part_is_equal((one, other) in pair()) {
            let rules = rules();
            let same = one.resource() == other.resource() && one.selection() == other.selection();
            prop_assert_eq!(key(&rules, &one) == key(&rules, &other), same);
        }

        #[test]
        fn a_variant_is_selected_exactly_by_requests_with_its_values(
            values in vec(vec("(gzip|br|identity|\\*|x)?(;q=0([.]5)?)?,? ?", 0..3), 2),
            more in any::<bool>(),
            lists in any::<bool>(),
        ) {
            let fields: &[HeaderName] = if more { &[ACCEPT_ENCODING, LANGUAGE] } else { &[ACCEPT_ENCODING] };
            let [one, other] = [0, 1].map(|at| -> HeaderMap {
                values[at].iter().map(|value| (ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap())).collect()
            });
            let mut rules = KeyRules::default();
            rules.normalizers.normalize_lists(lists);
            let (one, selection) = (rules.selection(&one, fields), rules.selection(&other, fields));
            prop_assert_eq!(rules.selects(&other, fields, one.as_bytes()), one == selection);
        }

        #[test]
        fn without_rules_only_the_resource_selects((one, other) in pair()) {
            let mut rules = KeyRules { cookies: Cookies::Ignored, ..KeyRules::default() };
            rules.seal();
            prop_assert_eq!(key(&rules, &one) == key(&rules, &other), one.resource() == other.resource());
        }

        #[test]
        fn layers_with_different_rules_never_share_a_key((one, other) in pair()) {
            prop_assert_ne!(key(&KeyRules::default(), &one), key(&rules(), &other));
        }
    }

    fn sealed(mut rules: KeyRules) -> KeyRules {
        rules.normalizers.secret = Secret::shared(b"golden");
        rules.seal();
        rules
    }

    fn with_normalizer(normalizer: impl Normalize) -> KeyRules {
        let mut rules = KeyRules { vary_on: vec![LANGUAGE], ..KeyRules::default() };
        rules.normalizers.set(LANGUAGE, normalizer);
        rules
    }

    /// Each rule that a layer can have, by name.
    fn golden_rules() -> Vec<(&'static str, KeyRules)> {
        let query = |query: QueryRule| KeyRules { query, ..KeyRules::default() };
        let part =
            |name: &str| KeyRules { part: Some((name.to_owned(), Arc::new(|_| Some("x".to_owned())))), ..KeyRules::default() };
        let mut lists = KeyRules { vary_on: vec![LANGUAGE], ..KeyRules::default() };
        lists.normalizers.normalize_lists(true);
        let rules = [
            ("default", KeyRules::default()),
            ("ignore-query", query(QueryRule::default().ignore(["utm_*", "b"]))),
            ("only-query", query(QueryRule::default().only(["a"]))),
            ("sort-query", query(QueryRule::default().sorted(true))),
            ("vary-on", KeyRules { vary_on: vec![TENANT, LANGUAGE], ..KeyRules::default() }),
            ("ignore-cookies", KeyRules { cookies: Cookies::Ignored, ..KeyRules::default() }),
            ("cookies", KeyRules { cookies: Cookies::Named(vec!["a".to_owned()]), ..KeyRules::default() }),
            ("principal", KeyRules { principal: Some(Arc::new(|parts| text(parts, PRINCIPAL))), ..KeyRules::default() }),
            ("part", part("device")),
            ("other-part", part("tenant")),
            ("normalize", with_normalizer(|value: &str| value.len().to_string())),
            ("languages", with_normalizer(LanguageMatcher::new(["en", "de"]))),
            ("strict", lists),
            ("ignore-fields", KeyRules { ignored: patterns(["x-forwarded-*"]), ..KeyRules::default() }),
            ("ignore-host", KeyRules { ignores_host: true, ..KeyRules::default() }),
            ("sealed", KeyRules { sealed: true, ..KeyRules::default() }),
            ("hide-extension", KeyRules { hidden_extensions: vec![|_| ()], ..KeyRules::default() }),
            ("scope", KeyRules { scope: Some("admin".to_owned()), ..KeyRules::default() }),
            ("bypass-on-cookies", KeyRules { cookies: Cookies::BypassOn(patterns(["sid"])), ..KeyRules::default() }),
        ];
        rules.into_iter().map(|(name, rules)| (name, sealed(rules))).collect()
    }

    fn golden_requests() -> [(&'static str, Parts); 4] {
        let parts = |request: http::request::Builder| request.body(()).unwrap().into_parts().0;
        [
            ("plain", parts(Request::get("/p").header("host", "A.example"))),
            ("query", parts(Request::get("/p?b=1&a=2&utm_x=3").header("host", "a.example:8080"))),
            ("absolute", parts(Request::get("https://a.example:443/"))),
            (
                "fields",
                parts(
                    Request::get("/p")
                        .header("host", "a.example")
                        .header("x-forwarded-proto", "https")
                        .header("forwarded", "for=1;host=b")
                        .header("cookie", "a=1; b=2")
                        .header("accept-language", "de, en;q=0.5")
                        .header(TENANT, "t")
                        .header(PRINCIPAL, "alice"),
                ),
            ),
        ]
    }

    /// Nodes of different builds share entries only while these bytes stay the same. A deliberate change needs a new `KEY_VERSION`,
    /// for which `LARDER_WRITE_GOLDEN=1` writes a new file.
    #[test]
    fn the_bytes_of_keys_are_pinned() {
        let mut lines = String::new();
        for (rules_name, rules) in golden_rules() {
            for (request_name, parts) in golden_requests() {
                let mut key = Key::first("shop", "r1");
                let principal = rules.principal.as_ref().and_then(|principal| principal(&parts));
                rules.push(&mut key, &parts, &RequestFields::read(&parts.headers), principal.as_deref()).unwrap();
                writeln!(lines, "{rules_name} {request_name} {}", key.as_bytes().escape_ascii()).unwrap();
            }
        }
        let path = format!("{}/tests/golden/keys-v{KEY_VERSION}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("LARDER_WRITE_GOLDEN").is_some() && !std::fs::exists(&path).unwrap() {
            std::fs::write(&path, &lines).unwrap();
        }
        assert_eq!(lines, std::fs::read_to_string(path).unwrap());
    }

    #[test]
    fn no_two_sets_of_rules_share_a_key() {
        let (_, parts) = &golden_requests()[0];
        let mut seen = std::collections::HashSet::new();
        for (name, rules) in golden_rules() {
            let mut key = Key::new();
            rules.push(&mut key, parts, &RequestFields::read(&parts.headers), None).unwrap();
            assert!(seen.insert(key), "{name}");
        }
    }
}
