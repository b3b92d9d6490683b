use std::{
    borrow::Cow,
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, HeaderName, Method, Uri, header::COOKIE, request::Parts, uri::PathAndQuery};

use crate::{
    key::{Key, Scheme},
    policy::StoreRules,
    query::QueryRule,
    request::{FORWARDED, Facts},
    router,
    status::{Forward, Reason, StatusField},
    tag::TagTemplate,
    vary::Normalizers,
};

type OfRequest = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// What one layer was told.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) store: StoreRules,
    pub(crate) tags: Vec<TagTemplate>,
    pub(crate) normalizers: Normalizers,
    pub(crate) max_variants: usize,
    pub(crate) status_field: StatusField,
    pub(crate) query: QueryRule,
    pub(crate) vary_on: Vec<HeaderName>,
    pub(crate) cookies: Cookies,
    pub(crate) authorization: Authorization,
    pub(crate) principal: Option<OfRequest>,
    pub(crate) key_part: Option<OfRequest>,
    /// The settings that shape keys, in each key: layers that cut their keys differently never share an entry.
    shape: Vec<u8>,
    warned: Arc<Mutex<HashSet<String>>>,
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
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) key: Key,
    /// Only responses that may be shared between users will do.
    pub(crate) authorized: bool,
    pub(crate) method: LookMethod,
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
            query: QueryRule::default(),
            vary_on: Vec::new(),
            cookies: Cookies::default(),
            authorization: Authorization::default(),
            principal: None,
            key_part: None,
            shape: Vec::new(),
            warned: Arc::default(),
        }
    }
}

impl Settings {
    /// How to look for this request, or why it must go to the handler.
    pub(crate) fn look(&self, prefix: &[u8], parts: &Parts, empty_body: bool) -> Result<Look, (Forward, Reason)> {
        let method = match parts.method {
            Method::GET => LookMethod::Get,
            Method::HEAD => LookMethod::Head,
            _ => return Err((Forward::Method, Reason::Method)),
        };
        let facts = Facts::read(&parts.headers);
        let principal = self.principal.as_ref().and_then(|principal| principal(parts));
        self.check(&facts, empty_body, principal.is_some()).map_err(|reason| (Forward::Bypass, reason))?;
        let key = self.key(prefix, parts, &facts, principal.as_deref()).map_err(|reason| (Forward::Bypass, reason))?;
        let authorized = facts.authorization && self.authorization == Authorization::Matters && principal.is_none();
        Ok(Look { key, authorized, method })
    }

    /// What makes a request one that no shared response can answer.
    fn check(&self, facts: &Facts<'_>, empty_body: bool, known_principal: bool) -> Result<(), Reason> {
        let refused = [
            (facts.repeated_host, Reason::InvalidHost),
            (facts.overridden, Reason::RequestOverride),
            (facts.content || !empty_body, Reason::RequestBody),
            (facts.precondition, Reason::Precondition),
            (facts.upgrade, Reason::Upgrade),
            (facts.cookie && self.cookies == Cookies::Unknown && !known_principal, Reason::RequestCookie),
        ];
        refused.iter().find(|(refused, _)| *refused).map_or(Ok(()), |(_, reason)| Err(*reason))
    }

    fn key(&self, prefix: &[u8], parts: &Parts, facts: &Facts<'_>, principal: Option<&str>) -> Result<Key, Reason> {
        let uri = router::original_uri(parts);
        let scheme = Scheme::of(&parts.uri);
        let mut key = Key::begin(prefix);
        key.push(&self.shape);
        key.push_scheme(&parts.uri, scheme);
        match facts.authority(parts).map_err(|_| Reason::InvalidHost)? {
            Some(authority) => key.push_authority(authority, scheme).map_err(|_| Reason::InvalidHost)?,
            None => key.push_option(None),
        }
        key.push(uri.path().as_bytes());
        key.push_option(self.query.apply(uri.query()).as_deref().map(str::as_bytes));
        key.push_byte(u8::from(facts.forwarded));
        if facts.forwarded {
            FORWARDED.iter().for_each(|field| self.normalizers.push(&mut key, &parts.headers, field));
        }
        if !self.shape.is_empty() {
            self.push_own_parts(&mut key, parts, principal)?;
        }
        Ok(key)
    }

    fn push_own_parts(&self, key: &mut Key, parts: &Parts, principal: Option<&str>) -> Result<(), Reason> {
        self.vary_on.iter().for_each(|field| self.normalizers.push(key, &parts.headers, field));
        if let Cookies::Named(names) = &self.cookies {
            names.iter().for_each(|name| key.push_secret(cookie(&parts.headers, name).as_deref()));
        }
        key.push_secret(principal.map(str::as_bytes));
        if let Some(key_part) = &self.key_part {
            key.push(key_part(parts).ok_or(Reason::KeyDeclined)?.as_bytes());
        }
        Ok(())
    }

    /// Gives the handler the query that the key was made from, so that what the key leaves out cannot change the
    /// response (SECURITY W4).
    pub(crate) fn rewrite(&self, parts: &mut Parts) {
        if !self.query.is_exact() && parts.uri.query().is_some() {
            router::rewrite_uris(parts, |uri| with_query(uri, self.query.apply(uri.query())));
        }
    }

    /// To be called when settings have changed.
    pub(crate) fn reshape(&mut self) {
        let shape = self.describe_shape();
        self.shape = if shape == Self::default().describe_shape() { Vec::new() } else { shape };
    }

    fn describe_shape(&self) -> Vec<u8> {
        let names = |names: &[HeaderName]| names.iter().map(HeaderName::to_string).collect::<Vec<_>>();
        let normalized: Vec<_> = self.normalizers.names().cloned().collect();
        format!(
            "{:?}",
            (
                &self.query,
                names(&self.vary_on),
                names(&normalized),
                &self.cookies,
                self.principal.is_some(),
                self.key_part.is_some()
            )
        )
        .into_bytes()
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
    let values: Vec<_> = pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).collect();
    (!values.is_empty()).then(|| values.join(&b';'))
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
