use std::{
    borrow::Cow,
    collections::HashSet,
    fmt,
    ops::Range,
    panic::Location,
    ptr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, Method, Uri, header::COOKIE, request::Parts, uri::PathAndQuery};
use percent_encoding::percent_decode;

use crate::{
    cache_control::Demands,
    forwarded::push_forwarding,
    key::{Key, Scheme},
    no_vary_search::SearchRule,
    policy::StoreRules,
    query::QueryRule,
    request::Facts,
    router,
    status::{Forward, Reason, StatusField},
    tag::TagTemplate,
    vary::Normalizers,
};

type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;
type OfRequest = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// What one layer was told.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) store: StoreRules,
    pub(crate) tags: Vec<TagTemplate>,
    pub(crate) normalizers: Normalizers,
    pub(crate) max_variants: usize,
    pub(crate) status_field: StatusField,
    pub(crate) collapsing: Collapsing,
    /// How long a request waits for somebody else's fetch.
    pub(crate) wait_limit: Duration,
    /// How long a claim to fetch for all nodes holds.
    pub(crate) across_nodes: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    /// How eagerly what is about to become stale is refreshed.
    pub(crate) refresh_ahead: Option<f64>,
    pub(crate) query: QueryRule,
    pub(crate) vary_on: Vec<HeaderName>,
    pub(crate) cookies: Cookies,
    pub(crate) authorization: Authorization,
    pub(crate) principal: Option<OfRequest>,
    pub(crate) key_part: Option<OfRequest>,
    /// Whose demands on freshness are met.
    pub(crate) trusted: Option<Predicate>,
    pub(crate) auto_etag: bool,
    pub(crate) no_vary_search: bool,
    /// Where functions that shape keys were given: the same place, the same function.
    pub(crate) sites: Vec<&'static Location<'static>>,
    /// The settings that shape keys, in each key: layers that cut their keys differently never share an entry.
    shape: Vec<u8>,
    /// Whether handlers were seen to add tags of their own, which nobody knows before they have run.
    handler_tags: Arc<AtomicU8>,
    warned: Arc<Mutex<HashSet<String>>>,
}

const UNKNOWN: u8 = 0;
const NEVER: u8 = 1;
const SEEN: u8 = 2;

/// Whether requests for the same key share a fetch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Collapsing {
    #[default]
    On,
    Off,
}

/// What a request's cookies mean to the route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Cookies {
    /// They may mean anything: such a request bypasses the cache.
    #[default]
    Unknown,
    /// They mean nothing.
    Ignored,
    /// These select the response, the others mean nothing.
    Named(Vec<String>),
}

/// What a request's `Authorization` means to the route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// The response may be for its owner alone (RFC 9111 §3.5).
    #[default]
    Matters,
    /// Nothing.
    Ignored,
}

/// A request that may be answered from the cache.
///
/// It is large, so it stays where it began for as long as nothing is fetched.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) key: Key,
    /// The query and where it stands in the key, if a response may say that it does not matter.
    pub(crate) search: Option<Box<Search>>,
    /// Only responses that may be shared between users will do.
    pub(crate) authorized: bool,
    /// It has preconditions or a range.
    pub(crate) selective: bool,
    /// A layer of the same cache further out fetches for the same key.
    pub(crate) within: bool,
    /// What its client demands of a response, if anything.
    pub(crate) demands: Option<Box<Demands>>,
    pub(crate) method: LookMethod,
}

/// What it takes to make the key of another query.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) query: Option<String>,
    pub(crate) span: Range<usize>,
}

impl Look {
    /// Without anything so far; its key begins with what all keys of a cache begin with, and [`Settings::look`] adds the rest.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            key: Key::new(),
            search: None,
            authorized: false,
            selective: false,
            within: false,
            demands: None,
            method: LookMethod::Get,
        }
    }

    pub(crate) fn demands(&self) -> Demands {
        self.demands.as_deref().copied().unwrap_or_default()
    }

    /// The key under which `rule` has this request's response.
    pub(crate) fn key_by(&self, rule: &SearchRule) -> Option<Key> {
        let Search { query, span } = self.search.as_deref()?;
        Some(self.key.with_query(span, rule.apply(query.as_deref()).as_deref()))
    }

    /// Where the rule for this request's path is kept.
    pub(crate) fn rule_key(&self) -> Option<Key> {
        Some(self.key.without_query(&self.search.as_deref()?.span))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookMethod {
    Get,
    Head,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: StoreRules::default(),
            tags: Vec::new(),
            normalizers: Normalizers::default(),
            max_variants: 32,
            status_field: StatusField::default(),
            collapsing: Collapsing::default(),
            wait_limit: Duration::from_secs(2),
            across_nodes: None,
            soft_timeout: None,
            refresh_ahead: None,
            query: QueryRule::default(),
            vary_on: Vec::new(),
            cookies: Cookies::default(),
            authorization: Authorization::default(),
            principal: None,
            key_part: None,
            trusted: None,
            auto_etag: false,
            no_vary_search: false,
            sites: Vec::new(),
            shape: Vec::new(),
            handler_tags: Arc::default(),
            warned: Arc::default(),
        }
    }
}

impl Settings {
    /// Completes `look` by what it takes to look for this request, or tells why that must go to the handler.
    pub(crate) fn look(&self, look: &mut Look, parts: &Parts, empty_body: bool) -> Result<(), (Forward, Reason)> {
        look.method = match parts.method {
            Method::GET => LookMethod::Get,
            Method::HEAD => LookMethod::Head,
            _ => return Err((Forward::Method, Reason::Method)),
        };
        let facts = Facts::read(&parts.headers);
        let principal = self.principal.as_ref().and_then(|principal| principal(parts));
        self.check(&facts, empty_body, principal.is_some()).map_err(|reason| (Forward::Bypass, reason))?;
        let span =
            self.push_key(&mut look.key, parts, &facts, principal.as_deref()).map_err(|reason| (Forward::Bypass, reason))?;
        look.search = self.no_vary_search.then(|| {
            let query = self.query.apply(router::original_uri(parts).query()).map(Cow::into_owned);
            Box::new(Search { query, span })
        });
        look.authorized = facts.authorization && self.authorization == Authorization::Matters && principal.is_none();
        look.selective = facts.selective;
        look.demands = facts.demanding.then(|| Box::new(self.demands(parts)));
        Ok(())
    }

    /// What the request may demand: of clients in general only that nobody be asked but the cache.
    fn demands(&self, parts: &Parts) -> Demands {
        let demands = Demands::parse(&parts.headers);
        if self.trusted.as_ref().is_some_and(|trusted| trusted(parts)) { demands } else { demands.of_anybody() }
    }

    /// What makes a request one that no shared response can answer.
    fn check(&self, facts: &Facts<'_>, empty_body: bool, known_principal: bool) -> Result<(), Reason> {
        let cookie = facts.cookie && self.cookies == Cookies::Unknown && !known_principal;
        let content = facts.content || !empty_body;
        match facts {
            Facts { repeated_host: true, .. } => Err(Reason::InvalidHost),
            Facts { overridden: true, .. } => Err(Reason::RequestOverride),
            _ if content => Err(Reason::RequestBody),
            Facts { precondition: true, .. } => Err(Reason::Precondition),
            Facts { upgrade: true, .. } => Err(Reason::Upgrade),
            _ if cookie => Err(Reason::RequestCookie),
            _ => Ok(()),
        }
    }

    /// Tells where the query stands.
    fn push_key(&self, key: &mut Key, parts: &Parts, facts: &Facts<'_>, principal: Option<&str>) -> Result<Range<usize>, Reason> {
        let uri = router::original_uri(parts);
        let scheme = Scheme::of(&parts.uri);
        if self.shape.is_empty() {
            key.push_byte(0);
        } else {
            key.push_byte(1);
            key.push(&self.shape);
        }
        key.push_scheme(&parts.uri, scheme);
        match facts.authority(parts).map_err(|_| Reason::InvalidHost)? {
            Some(authority) => key.push_authority(authority, scheme).map_err(|_| Reason::InvalidHost)?,
            None => key.push_option(None),
        }
        let span = self.push_target(key, uri);
        // A router that nests has cut a prefix off; what else was changed on the way, the handler sees and the key must hold.
        let rewritten =
            !ptr::eq(uri, &parts.uri) && (!uri.path().ends_with(parts.uri.path()) || uri.query() != parts.uri.query());
        key.push_byte(u8::from(rewritten));
        if rewritten {
            self.push_target(key, &parts.uri);
        }
        key.push_byte(u8::from(facts.forwarded));
        if facts.forwarded {
            push_forwarding(key, &parts.headers);
        }
        if !self.shape.is_empty() {
            self.push_own_parts(key, parts, principal)?;
        }
        Ok(span)
    }

    /// Tells where the query stands.
    fn push_target(&self, key: &mut Key, uri: &Uri) -> Range<usize> {
        key.push(uri.path().as_bytes());
        let start = key.as_bytes().len();
        key.push_option(self.query.apply(uri.query()).as_deref().map(str::as_bytes));
        start..key.as_bytes().len()
    }

    fn push_own_parts(&self, key: &mut Key, parts: &Parts, principal: Option<&str>) -> Result<(), Reason> {
        let secret = &self.normalizers.secret;
        self.vary_on.iter().for_each(|field| self.normalizers.push(key, &parts.headers, field));
        if let Cookies::Named(names) = &self.cookies {
            names.iter().for_each(|name| key.push_secret(secret, cookie(&parts.headers, name).as_deref()));
        }
        key.push_secret(secret, principal.map(str::as_bytes));
        if let Some(key_part) = &self.key_part {
            key.push(key_part(parts).ok_or(Reason::KeyDeclined)?.as_bytes());
        }
        Ok(())
    }

    /// Gives the handler the query that the key was made from, so that what the key leaves out cannot change the
    /// response.
    pub(crate) fn rewrite(&self, parts: &mut Parts) {
        if !self.query.is_exact() && parts.uri.query().is_some() {
            router::rewrite_uris(parts, |uri| with_query(uri, self.query.apply(uri.query())));
        }
    }

    /// Notes whether a handler added tags of its own.
    pub(crate) fn note_handler_tags(&self, added: bool) {
        match self.handler_tags.load(Ordering::Relaxed) {
            UNKNOWN if !added => self.handler_tags.store(NEVER, Ordering::Relaxed),
            UNKNOWN | NEVER if added => self.handler_tags.store(SEEN, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Whether the tags that are known before the handler runs have been all, so far.
    pub(crate) fn tags_are_known_ahead(&self) -> bool {
        self.handler_tags.load(Ordering::Relaxed) == NEVER
    }

    /// To be called when settings have changed.
    pub(crate) fn reshape(&mut self) {
        self.handler_tags = Arc::default();
        let shape = self.describe_shape();
        self.shape = if shape == Self::default().describe_shape() { Vec::new() } else { shape };
    }

    fn describe_shape(&self) -> Vec<u8> {
        let fields: Vec<_> = self.vary_on.iter().map(HeaderName::as_str).collect();
        let sites: Vec<_> = self.sites.iter().map(|site| (site.file(), site.line(), site.column())).collect();
        format!("{:?}", (&self.query, fields, &self.cookies, sites)).into_bytes()
    }

    /// Warns about a route that is set up wrongly, once.
    pub(crate) fn warn_once(&self, about: &str, warn: impl FnOnce()) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(about.to_owned()) {
            drop(warned);
            warn();
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("store", &self.store)
            .field("tags", &self.tags)
            .field("query", &self.query)
            .field("vary_on", &self.vary_on)
            .field("cookies", &self.cookies)
            .finish_non_exhaustive()
    }
}

/// Every value of that cookie, over all lines: the handler may read the first of them or the last.
fn cookie(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';')).map(<[u8]>::trim_ascii);
    let values: Vec<_> = pairs.filter_map(|pair| value_of(pair, name.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(&b';'))
}

/// Spaces around the name and percent-encoding in it do not make it another: there are parsers that undo both, so the handler
/// may.
fn value_of<'p>(pair: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    percent_decode(pair[..equals].trim_ascii()).eq(name.iter().copied()).then_some(&pair[equals + 1..])
}

fn with_query(uri: &Uri, query: Option<Cow<'_, str>>) -> Uri {
    let path = uri.path();
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    // What was left out of a legal query leaves a legal one; if not, the handler sees what was sent.
    let Ok(target) = target.parse::<PathAndQuery>() else { return uri.clone() };
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use proptest::{collection::vec, option, prelude::*, sample::select};

    use super::*;
    use crate::forwarded::FIELDS;

    /// What a client may send, of the things that can select a response, in few enough spellings that two of them meet.
    #[derive(Debug, Clone)]
    struct Asked {
        head: bool,
        scheme: Option<&'static str>,
        authority: &'static str,
        /// With an authority in the target, `Host` repeats it: two hosts bypass.
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

    /// All but `Forwarded`, of which only a part counts.
    static FORWARDING: &[HeaderName] = FIELDS.split_at(1).1;

    const TENANT: HeaderName = HeaderName::from_static("x-tenant");
    const LANGUAGE: HeaderName = HeaderName::from_static("accept-language");
    const PRINCIPAL: &str = "x-principal";
    const PART: &str = "x-part";

    fn asked() -> impl Strategy<Value = Asked> {
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
            // Not every path is one that a URI may have.
            let path = path.replace('%', "%25");
            Asked { head, scheme, authority, host, path, query, forwarded, tenant, languages, cookies, principal, part }
        })
    }

    /// Two that differ in a few things at most.
    fn pair() -> impl Strategy<Value = (Asked, Asked)> {
        (asked(), asked(), vec(prop::bool::weighted(0.15), 12)).prop_map(|(one, other, differs)| {
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

    impl Asked {
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

        /// What every layer tells requests apart by, in words of its own.
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

        /// What a layer that looks at all of it tells requests apart by besides.
        fn selection(&self) -> impl PartialEq + use<> {
            let pairs = self.cookies.iter().flat_map(|line| line.split(';')).map(str::trim);
            let cookie = |name: &str| {
                let values = pairs.clone().filter_map(|pair| pair.split_once('=')).filter(|(named, _)| *named == name);
                values.map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
            };
            (list(self.tenant.iter()), self.language(), [cookie("a"), cookie("b")], self.principal.clone(), self.part.clone())
        }

        /// The normal form that [`settings`] gives to `Accept-Language`: absent is like empty.
        fn language(&self) -> usize {
            list(self.languages.iter()).unwrap_or_default().len()
        }
    }

    /// Several lines are one list, and the space around a line is nothing (RFC 9110 §5.2, §5.5).
    fn list<'v>(lines: impl Iterator<Item = &'v String>) -> Option<String> {
        let lines: Vec<_> = lines.map(|line| line.trim()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    fn text(parts: &Parts, name: &str) -> Option<String> {
        parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    /// Everything that can be in a key is in it.
    fn settings() -> Settings {
        let mut settings = Settings {
            vary_on: vec![TENANT, LANGUAGE],
            cookies: Cookies::Named(vec!["a".to_owned(), "b".to_owned()]),
            principal: Some(Arc::new(|parts| text(parts, PRINCIPAL))),
            key_part: Some(Arc::new(|parts| text(parts, PART))),
            ..Settings::default()
        };
        settings.normalizers.add(LANGUAGE, |value| value.len().to_string());
        settings.reshape();
        settings
    }

    fn key(settings: &Settings, asked: &Asked) -> Key {
        let mut look = Look::new();
        look.key.extend(b"prefix");
        settings.look(&mut look, &asked.parts(), true).unwrap();
        look.key
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn two_requests_share_a_key_only_if_nothing_that_selects_tells_them_apart((one, other) in pair()) {
            let settings = settings();
            let same = one.resource() == other.resource() && one.selection() == other.selection();
            prop_assert_eq!(key(&settings, &one) == key(&settings, &other), same);
        }

        #[test]
        fn without_settings_the_resource_alone_selects((one, other) in pair()) {
            let mut settings = Settings { cookies: Cookies::Ignored, ..Settings::default() };
            settings.reshape();
            prop_assert_eq!(key(&settings, &one) == key(&settings, &other), one.resource() == other.resource());
        }

        #[test]
        fn two_layers_that_cut_keys_differently_never_share_one((one, other) in pair()) {
            let plain = Settings::default();
            let part = |asked: &Asked, settings: &Settings| {
                let parts = asked.parts();
                let mut key = Key::from_bytes(b"prefix");
                let span = settings.push_key(&mut key, &parts, &Facts::read(&parts.headers), None).unwrap();
                (key, span)
            };
            prop_assert_ne!(part(&one, &plain), part(&other, &settings()));
        }
    }

    /// Handlers do not mind the space: the `cookie` crate trims names.
    #[test]
    fn space_around_the_name_of_a_cookie_does_not_hide_it() {
        let cookies = |line: &'static str| {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(line))]);
            cookie(&headers, "session")
        };
        assert_eq!(cookies("session =alice"), cookies("session=alice"));
        assert_eq!(cookies("x=1; session\t=alice"), cookies("session=alice"));
    }
}
