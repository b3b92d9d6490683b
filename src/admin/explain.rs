//! Explains what the layer of a route would decide about a request: a dry run that calls no handler and counts nothing.
//!
//! The layer is that of the route that the path matches, among the routes for which this process has run a handler before. Layers around
//! the application are not run: what they put into the extensions of requests, such as a user, is absent.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{AUTHORIZATION, COOKIE, HOST},
    request::Parts,
};
use serde::Serialize;

use super::text::visible;
use crate::{
    body::request_content::Content,
    cache::Cache,
    entry::stored::{self, FreshnessState, Stored},
    error::Error,
    http::{
        cache_status::{CacheStatus, Forward, Reason},
        forwarded::is_forwarding,
        semantics::is_safe,
    },
    invalidation::target_uri::TargetUri,
    key::{cookies::Cookies, shown_url::shown_url},
    lookup::{
        reuse::{PresentedRequest, Reuse},
        variants::Lookup,
    },
    policy::{cacheable_request::CacheableRequest, effect::Effect, settings::Settings},
    router::captures::Captures,
    stats::decision::digest,
    tag::Tag,
};

pub(super) use crate::policy::remedy::remedy;

/// What the layer would decide about a request.
#[derive(Debug, Default, Serialize)]
pub(super) struct Explanation {
    pub(super) method: String,
    /// Without the query, which may contain secrets.
    pub(super) path: String,
    /// The route whose layer decides.
    pub(super) route: Option<String>,
    /// `hit`, `stale`, `miss`, `bypass`, `unsatisfied`, or `unknown`.
    pub(super) verdict: &'static str,
    /// The verdict as a sentence.
    pub(super) summary: String,
    /// Why the request would be forwarded, by the token of RFC 9211.
    pub(super) forward: Option<&'static str>,
    pub(super) reason: Option<&'static str>,
    /// What would store the response, as a line of code.
    pub(super) remedy: Option<&'static str>,
    /// The parts of the key, without the values of fields.
    pub(super) key_parts: Vec<KeyPart>,
    pub(super) key_digest: Option<String>,
    /// The URL in the key, if the cache reveals its keys.
    pub(super) key: Option<String>,
    pub(super) entry: Option<Entry>,
    /// How many variants are stored for the URL, if it has several.
    pub(super) variants: Option<usize>,
    /// The request fields by which the stored responses vary.
    pub(super) vary: Vec<String>,
    /// The tags of the entry; without one, those that a response would have, apart from those that its handler adds.
    pub(super) tags: Vec<ExplainedTag>,
    pub(super) policy: Vec<KeyPart>,
    pub(super) notes: Vec<String>,
}

/// A part of a key, or a setting.
#[derive(Debug, Serialize)]
pub(super) struct KeyPart {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// The stored response that was found.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) status: u16,
    pub(super) age_seconds: u64,
    /// Negative if it is stale.
    pub(super) ttl_seconds: i64,
    pub(super) fresh: bool,
    pub(super) body_bytes: usize,
    pub(super) bytes_in_memory: usize,
    pub(super) handler_millis: u32,
    pub(super) answers_authorized_requests: bool,
    pub(super) stale_while_revalidate_seconds: f64,
    pub(super) stale_if_error_seconds: f64,
    pub(super) born_epoch: u64,
}

/// A tag, and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedTag {
    pub(super) tag: String,
    /// `valid`, `expired`, `unknown`; without an entry, `not stored`.
    pub(super) state: &'static str,
    /// How long ago this process has invalidated or expired it, if it is among the last 256 invalidations.
    pub(super) invalidated_seconds_ago: Option<u64>,
}

/// The request to explain.
#[derive(Default)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    /// Absent if it is not known, as on the page: a form does not keep every byte of it.
    pub(super) content: Option<Bytes>,
}

/// Explains a request.
pub(super) async fn explain(cache: &Cache, question: Question) -> Result<Explanation, Error> {
    let Question { method, url, headers, content } = question;
    let uri = url
        .parse::<Uri>()
        .map_err(|_| Error::invalid_input("the URL is invalid: write a path, or a URL with scheme and host"))?;
    if !uri.path().starts_with('/') {
        return Err(Error::invalid_input("the URL has no path"));
    }
    let mut explanation = Explanation { method: method.to_string(), path: visible(uri.path()), ..Explanation::default() };
    let Some(layer) = layer_of(cache, uri.path()) else {
        explanation.verdict = "unknown";
        explanation.summary =
            "No layer of this cache is known for this path: either the route has none, or this process has run no handler \
                               behind it yet. Send one request, and ask again."
                .to_owned();
        return Ok(explanation);
    };
    explanation.route = layer.route.clone();
    if layer.route.is_none() {
        explanation.notes.push("The layer is outside of the router, so it has no route.".to_owned());
    }
    // HTTP/1.1 sends the path alone and the host as a field, HTTP/2 the whole URL: without `ignore_host` these are different keys for https.
    let forms = [origin_form(&uri, &headers), (uri.scheme_str() == Some("https")).then(|| whole(&uri, &headers)).flatten()];
    let mut decided = false;
    for parts in forms.into_iter().flatten() {
        let mut parts = with_method(parts, &method);
        let mut candidate = layer.decide(&mut parts, content.as_ref()).await?;
        if !decided || candidate.entry.is_some() {
            candidate.method = explanation.method.clone();
            candidate.path = explanation.path.clone();
            candidate.route = explanation.route.clone();
            candidate.notes.splice(0..0, explanation.notes.iter().cloned());
            let found = candidate.entry.is_some();
            decided = true;
            let notes = std::mem::take(&mut explanation.notes);
            explanation = candidate;
            if found {
                break;
            }
            explanation.notes = notes.into_iter().chain(std::mem::take(&mut explanation.notes)).collect();
            explanation.notes.dedup();
        }
    }
    Ok(explanation)
}

/// A layer with its route, and the captures of the path.
struct Layer {
    route: Option<String>,
    cache: Cache,
    settings: std::sync::Arc<Settings>,
    captures: Captures,
}

/// Returns the layer of the route that a path matches, else one outside of the router.
fn layer_of(cache: &Cache, path: &str) -> Option<Layer> {
    let known = cache.inner.layers.all();
    let mut routes = matchit::Router::new();
    for (at, (route, ..)) in known.iter().enumerate() {
        if let Some(route) = route {
            // Routes of several routers may be in conflict: then the first that was met counts.
            let _ = routes.insert(route.to_string(), at);
        }
    }
    let (at, captures) = match routes.at(path) {
        Ok(found) => (*found.value, found.params.iter().map(|(name, value)| (name.to_owned(), decoded(value))).collect()),
        Err(_) => (known.iter().position(|(route, ..)| route.is_none())?, Vec::new()),
    };
    let (route, inner, settings) = known.into_iter().nth(at)?;
    Some(Layer { route: route.map(String::from), cache: Cache { inner }, settings, captures: Captures::new(captures, "") })
}

fn decoded(capture: &str) -> String {
    percent_encoding::percent_decode_str(capture).decode_utf8_lossy().into_owned()
}

/// The request as HTTP/1.1 sends it.
fn origin_form(uri: &Uri, headers: &HeaderMap) -> Option<Parts> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str()).parse().ok()?;
    let mut parts = head(target, headers);
    if let Some(authority) = uri.authority()
        && !parts.headers.contains_key(HOST)
    {
        parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str()).ok()?);
    }
    Some(parts)
}

/// The request as HTTP/2 sends it.
fn whole(uri: &Uri, headers: &HeaderMap) -> Option<Parts> {
    Some(head(uri.clone(), headers))
}

fn head(uri: Uri, headers: &HeaderMap) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.uri, parts.headers) = (uri, headers.clone());
    parts
}

fn with_method(mut parts: Parts, method: &Method) -> Parts {
    parts.method = method.clone();
    parts
}

impl Layer {
    async fn decide(&self, parts: &mut Parts, content: Option<&Bytes>) -> Result<Explanation, Error> {
        let mut explanation = Explanation { policy: policy(&self.settings), ..Explanation::default() };
        let keyed = self.settings.content_limit(&parts.method);
        if let (Some(limit), None) = (keyed, content) {
            self.explain_without_content(&mut explanation, parts, limit);
            return Ok(explanation);
        }
        if keyed.is_none() && !is_safe(&parts.method) {
            explanation.write();
            return Ok(explanation);
        }
        explanation.key_parts = self.key_parts(parts);
        if parts.uri.authority().is_none() && !parts.headers.contains_key(HOST) && !self.settings.key.ignores_host {
            explanation.notes.push(
                "The URL has no host, and the requests of clients have one, which is in their keys: write the whole URL."
                    .to_owned(),
            );
        }
        if let Err((why, reason)) = self.cache.is_on() {
            explanation.forwarded(why, Some(reason));
            return Ok(explanation);
        }
        let mut request = CacheableRequest::new();
        let prefix = self.cache.inner.prefix.current();
        let classified = match (keyed, content) {
            (Some(limit), Some(content)) => {
                explanation.key_parts.push(content_part(content.len(), limit));
                match self.settings.effect(parts, Some(content)) {
                    Effect::Write => {
                        explanation.write();
                        return Ok(explanation);
                    }
                    Effect::ByResponse => explanation.notes.push(READS_BY_RESPONSE.to_owned()),
                    Effect::Read => {}
                }
                match content.len() <= limit {
                    true => self.settings.classify_content(&mut request, &prefix.built, parts, content),
                    false => Err((Forward::Bypass, Reason::RequestBodyTooLarge)),
                }
            }
            (_, Some(content)) if !content.is_empty() => {
                self.settings.classify(&mut request, &prefix.built, parts, Content::Present)
            }
            _ => self.settings.classify(&mut request, &prefix.built, parts, Content::Absent),
        };
        if let Err((why, reason)) = classified {
            explanation.forwarded(why, Some(reason));
            return Ok(explanation);
        }
        let reveals = self.cache.inner.listener.reveals_keys;
        explanation.key_digest = Some(digest(&request.key));
        explanation.key = reveals.then(|| shown_url(&request.key));
        let expected = self.expected_tags(parts);
        let lookup = self.cache.lookup(&self.settings, &request, &parts.headers, &expected).await?;
        self.describe(&mut explanation, &request, parts, &lookup, expected).await?;
        if let Err(reason) = self.cache.may_store() {
            explanation.notes.push(format!("A new response would not be stored: {}", reason.explanation()));
        }
        Ok(explanation)
    }

    /// Explains a QUERY or POST, as far as that is possible without its content.
    fn explain_without_content(&self, explanation: &mut Explanation, parts: &Parts, limit: usize) {
        explanation.key_parts = self.key_parts(parts);
        let value =
            format!("method, length, SHA-256, and the fields that describe it; up to {}", super::text::bytes(limit as u64));
        explanation.key_parts.push(KeyPart { name: "content", value });
        explanation.verdict = "unknown";
        explanation.summary =
            "The content of the request is part of its key, and was not given. The API takes it as `content`, and the tool \
                               as `--data`."
                .to_owned();
        if parts.method == Method::POST {
            let rule = "A POST is a read if its response states a lifetime of its own, or the function of `cache_post_if` says so. Any other \
                        is a write: if it succeeds, the responses stored for its URI are invalidated (RFC 9111 §4.4).";
            explanation.notes.push(rule.to_owned());
        }
    }

    async fn describe(
        &self,
        explanation: &mut Explanation,
        request: &CacheableRequest,
        parts: &Parts,
        lookup: &Lookup,
        expected: Vec<Tag>,
    ) -> Result<(), Error> {
        let now = self.cache.now();
        let presented = PresentedRequest { request, headers: &parts.headers, settings: &self.settings, now };
        match presented.reuse(lookup) {
            Reuse::Serve(_, status) | Reuse::ServeAndVerify(_, status) => explanation.answered(status, ""),
            Reuse::ServeAndRevalidate(_, status) => {
                explanation.answered(status, " The handler runs in the background, to refresh it.");
            }
            Reuse::Validate(why) | Reuse::Fetch(why) => explanation.forwarded(why, None),
            Reuse::OnlyIfCached(why) => {
                explanation.forwarded(why, Some(Reason::OnlyIfCached));
                explanation.verdict = "unsatisfied";
            }
        }
        let primary = self.cache.read(&request.key, &expected).await?;
        if let Some((list, _)) = &primary.found
            && let stored::Content::Variants(variants) = list.content()
        {
            explanation.variants = Some(variants.members.len());
            let fields = variants.vary_lists.iter().flat_map(|fields| fields.iter());
            explanation.vary = fields.map(HeaderName::to_string).collect();
        }
        match lookup.response() {
            Some((stored, response)) => {
                if let Some(selection) = &response.selection
                    && explanation.vary.is_empty()
                {
                    explanation.vary = selection.fields.iter().map(HeaderName::to_string).collect();
                }
                let validity = lookup.found.as_ref().map(|(_, validity)| *validity);
                let freshness = FreshnessState::of(response, now);
                let freshness = match validity {
                    Some(crate::backend::validity::Validity::Stale { since }) => freshness.expired(since),
                    _ => freshness,
                };
                explanation.entry = Some(Entry {
                    status: response.head.status.as_u16(),
                    age_seconds: response.age(now),
                    ttl_seconds: freshness.ttl(),
                    fresh: freshness.is_fresh(),
                    body_bytes: response.body.len(),
                    bytes_in_memory: stored.weight(),
                    handler_millis: response.handler_millis,
                    answers_authorized_requests: response.allows_authorization,
                    stale_while_revalidate_seconds: f64::from(response.stale.while_revalidate) / 100.0,
                    stale_if_error_seconds: f64::from(response.stale.if_error) / 100.0,
                    born_epoch: stored.born().get(),
                });
                explanation.tags = self.states(stored).await;
            }
            None => explanation.tags = expected.iter().filter_map(|tag| self.tag(tag, "not stored")).collect(),
        }
        if explanation.tags.iter().any(|tag| tag.state == "not stored" && tag.invalidated_seconds_ago.is_some()) {
            explanation
                .notes
                .push("A tag of this URL was invalidated lately: that may be why no response is stored for it.".to_owned());
        }
        Ok(())
    }

    /// The tags of an entry, each with its state.
    async fn states(&self, stored: &Stored) -> Vec<ExplainedTag> {
        let mut states = Vec::new();
        for tag in stored.tags() {
            let alive = self.cache.inner.backend.is_alive(stored.born(), std::slice::from_ref(tag)).await;
            let state = match alive {
                Ok(true) => "valid",
                Ok(false) => "expired",
                Err(_) => "unknown",
            };
            states.extend(self.tag(tag, state));
        }
        states
    }

    fn tag(&self, tag: &Tag, state: &'static str) -> Option<ExplainedTag> {
        let shown = self.cache.space().shown(tag)?;
        let past = self.cache.recent_invalidations(usize::MAX);
        let invalidated = past.iter().find(|past| past.tags.is_empty() || past.tags.contains(&shown));
        let ago = invalidated.map(|past| self.cache.now().as_millis().saturating_sub(past.at_millis) / 1000);
        Some(ExplainedTag { tag: visible(&shown), state, invalidated_seconds_ago: ago })
    }

    /// The tags that a response would have, without those that its handler adds.
    fn expected_tags(&self, parts: &Parts) -> Vec<Tag> {
        let space = self.cache.space();
        let target = TargetUri::of(parts, self.settings.key.ignores_host);
        let by_template = self.settings.tags.iter().filter_map(|template| space.tag(&template.expand(&self.captures).ok()?).ok());
        let of_target = [space.uri(&target.authority, &target.path), space.path(&target.path)];
        let route = self.route.as_deref().map(|route| space.route(route));
        by_template.chain(of_target).chain(route).chain(space.everything()).collect()
    }

    /// What the key consists of; of fields and cookies the names only.
    fn key_parts(&self, parts: &Parts) -> Vec<KeyPart> {
        let rules = &self.settings.key;
        let mut all = Vec::new();
        let mut add = |name, value: String| all.push(KeyPart { name, value });
        let presence =
            |name: &HeaderName| format!("{name} ({})", if parts.headers.contains_key(name) { "sent" } else { "absent" });
        add("scheme", parts.uri.scheme_str().unwrap_or("as HTTP/1.1 sends it: none").to_owned());
        let host = if rules.ignores_host { "ignored" } else { "its host, in lower case" };
        add("host", host.to_owned());
        add("path", visible(parts.uri.path()));
        let query = match (parts.uri.query(), rules.query.apply(parts.uri.query())) {
            (None, _) => "none".to_owned(),
            (Some(sent), Some(kept)) if sent == kept => format!("as sent, {} bytes", sent.len()),
            (Some(sent), Some(kept)) => format!("{} of {} bytes, after the rules of the layer", kept.len(), sent.len()),
            (Some(sent), None) => format!("none of {} bytes, after the rules of the layer", sent.len()),
        };
        add("query", query);
        let forwarding: Vec<_> =
            parts.headers.keys().filter(|field| is_forwarding(field.as_str())).map(HeaderName::to_string).collect();
        if !forwarding.is_empty() {
            add("fields of proxies", forwarding.join(", "));
        }
        if !rules.vary_on.is_empty() {
            add("vary_on", rules.vary_on.iter().map(presence).collect::<Vec<_>>().join(", "));
        }
        match &rules.cookies {
            Cookies::Named(names) => add("cookies", format!("{}, as digests", names.join(", "))),
            _ if parts.headers.contains_key(COOKIE) => add("cookies", "not in the key".to_owned()),
            _ => {}
        }
        if rules.principal.is_some() {
            add("principal", "as a digest; the layers that find it out are not run here".to_owned());
        }
        if let Some((name, _)) = &rules.part {
            add("key_with", visible(name));
        }
        if let Some(scope) = &rules.scope {
            add("scope", visible(scope));
        }
        if parts.headers.contains_key(AUTHORIZATION) {
            add("authorization", "sent; not in the key, and decides what may answer".to_owned());
        }
        all
    }
}

const READS_BY_RESPONSE: &str = "It is a read if its response states a lifetime of its own. Otherwise it is a write: if it succeeds, the \
                                 responses stored for its URI are invalidated (RFC 9111 §4.4).";

fn content_part(length: usize, limit: usize) -> KeyPart {
    let of = super::text::bytes(limit as u64);
    KeyPart {
        name: "content",
        value: format!("{length} bytes of up to {of}: method, length, SHA-256, and the fields that describe it"),
    }
}

fn policy(settings: &Settings) -> Vec<KeyPart> {
    let seconds = |duration: std::time::Duration| super::text::duration(duration);
    let store = &settings.store;
    let mut policy =
        vec![KeyPart { name: "ttl", value: store.ttl.map_or_else(|| "only what responses state".to_owned(), seconds) }];
    if !store.stale_while_revalidate.is_zero() {
        policy.push(KeyPart { name: "stale_while_revalidate", value: seconds(store.stale_while_revalidate) });
    }
    if !store.stale_if_error.is_zero() {
        policy.push(KeyPart { name: "stale_if_error", value: seconds(store.stale_if_error) });
    }
    policy.push(KeyPart { name: "max_body", value: super::text::bytes(store.max_body) });
    policy
}

impl Explanation {
    fn answered(&mut self, status: CacheStatus, and: &str) {
        let age = status.age().unwrap_or_default();
        let stale = status.ttl().is_some_and(|ttl| ttl < 0);
        self.verdict = if stale { "stale" } else { "hit" };
        let what = if stale { "stale" } else { "fresh" };
        self.summary = format!("A {what} stored response answers, {age} s old.{and}");
    }

    fn write(&mut self) {
        self.forwarded(Forward::Method, Some(Reason::Method));
        self.notes.push("If it succeeds, the responses stored for its URI are invalidated (RFC 9111 §4.4).".to_owned());
    }

    fn forwarded(&mut self, why: Forward, reason: Option<Reason>) {
        self.verdict = if matches!(why, Forward::Bypass | Forward::Method) { "bypass" } else { "miss" };
        self.forward = Some(why.as_str());
        self.reason = reason.map(Reason::as_str);
        self.remedy = reason.and_then(remedy);
        self.summary = match (reason, why) {
            (Some(reason), _) => reason.explanation().to_owned(),
            (None, Forward::UriMiss) => "No response is stored for this URI: the handler runs.".to_owned(),
            (None, Forward::VaryMiss) => {
                "A response is stored for this URI, but none for these request fields: the handler runs.".to_owned()
            }
            (None, Forward::Request) => {
                "A response is stored that this request may not use, because of its credentials or directives: the handler runs."
                    .to_owned()
            }
            (None, Forward::Stale) => "The stored response is stale, and may not be served: the handler runs.".to_owned(),
            (None, Forward::Bypass | Forward::Method) => "The request is forwarded without the cache.".to_owned(),
        };
    }
}
