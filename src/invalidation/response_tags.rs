//! The tags of a response.

use http::{HeaderMap, header::CACHE_CONTROL, request};

use super::target_uri::TargetUri;
use crate::{
    cache::Cache,
    dependencies::Collected,
    handler::cache_tags::CacheTags,
    http::{
        cache_control::CacheControl,
        cache_groups::{CACHE_GROUPS, group_names},
        cache_status::Reason,
    },
    policy::{response_view::ResponseView, settings::Settings},
    router::{self, captures::Unresolved},
    tag::{Tag, deduplicate, namespace::TagNamespace},
};

/// The facts about a response that are known before its handler has run.
pub(crate) struct RequestTags {
    pub(crate) target: TargetUri,
    /// The tags of the target's URI, path, route and namespace, which every response to the request has.
    pub(crate) target_tags: Vec<Tag>,
    /// The tags that the route's templates give with the captures of the request.
    pub(crate) route_tags: Result<Vec<Tag>, Reason>,
    /// The fields of the request, for the response's `Vary`.
    pub(crate) headers: HeaderMap,
    /// Whether the request has `no-store`, the one request directive that is always honored (RFC 9111 §5.2.1.5).
    pub(crate) no_store: bool,
}

impl RequestTags {
    pub(crate) fn of(settings: &Settings, cache: &Cache, parts: &mut request::Parts) -> Self {
        let (space, target) = (cache.space(), TargetUri::of(parts, settings.key.ignores_host));
        let route = router::route(&parts.extensions);
        route.into_iter().for_each(|route| cache.inner.routes.note(route));
        let target_tags = target_tags(space, &target, route);
        let route_tags = if settings.tags.is_empty() { Ok(Vec::new()) } else { route_tags(settings, space, parts) };
        let headers = parts.headers.clone();
        let no_store = headers.contains_key(CACHE_CONTROL) && CacheControl::parse(&headers, &CACHE_CONTROL).no_store;
        Self { target, target_tags, route_tags, headers, no_store }
    }

    /// Returns the tags that the response will have, without those that the handler adds.
    pub(crate) fn known_tags(&self) -> Vec<Tag> {
        let route_tags = self.route_tags.as_deref().unwrap_or_default();
        route_tags.iter().chain(&self.target_tags).cloned().collect()
    }

    /// Forgets the cache directives of a client, which are about its own response.
    pub(crate) fn forget_directives(&mut self) {
        self.headers.remove(CACHE_CONTROL);
        self.no_store = false;
    }

    /// Returns every tag of the response, or the reason why it cannot be tagged: a response that cannot be invalidated is not stored.
    pub(crate) fn all_tags(
        &self,
        settings: &Settings,
        space: &TagNamespace,
        response: &ResponseView<'_>,
        used: &Collected,
    ) -> Result<Vec<Tag>, Reason> {
        let from_route = self.route_tags.as_deref().map_err(|reason| *reason)?;
        let from_handler = response.parts.extensions.get::<CacheTags>().map(CacheTags::iter).into_iter().flatten();
        // Of the right size for most responses: another one is copied when it is stored.
        let mut tags = Vec::with_capacity(from_route.len() + from_handler.clone().count() + self.target_tags.len());
        tags.extend_from_slice(from_route);
        for tag in from_handler {
            tags.push(space.tag(tag).map_err(|_| Reason::InvalidTag)?);
        }
        if response.may_have(&CACHE_GROUPS) {
            let groups = group_names(&response.parts.headers, &CACHE_GROUPS);
            tags.extend(groups.iter().map(|group| space.group(&self.target.authority, group)));
        }
        for name in &used.names {
            tags.push(space.tag(name).map_err(|_| Reason::InvalidTag)?);
        }
        // That of the namespace is among the tags of the target.
        let everything = space.everything();
        tags.extend(used.tags.iter().filter(|tag| Some(*tag) != everything.as_ref()).cloned());
        settings.note_handler_tags(tags.len() > from_route.len());
        deduplicate(&mut tags);
        if tags.len() > settings.limits.tags {
            return Err(Reason::TooManyTags);
        }
        // Not deduplicated: the tags of the target have prefixes that no user's tag can have.
        tags.reserve_exact(self.target_tags.len());
        tags.extend_from_slice(&self.target_tags);
        Ok(tags)
    }
}

fn target_tags(space: &TagNamespace, target: &TargetUri, route: Option<&str>) -> Vec<Tag> {
    let mut tags = Vec::with_capacity(4);
    tags.extend(space.uri_and_path(&target.authority, &target.path));
    tags.extend(route.map(|route| space.route(route)));
    tags.extend(space.everything());
    tags
}

fn route_tags(settings: &Settings, space: &TagNamespace, parts: &mut request::Parts) -> Result<Vec<Tag>, Reason> {
    let captures = router::captures(parts);
    let route = router::route(&parts.extensions);
    let expand = |template: &crate::tag::template::TagTemplate| {
        let name = template.expand(&captures).map_err(|(capture, why)| unresolved(settings, route, capture, why))?;
        space.tag(&name).map_err(|_| Reason::InvalidTag)
    };
    settings.tags.iter().map(expand).collect()
}

fn unresolved(settings: &Settings, route: Option<&str>, capture: &str, why: Unresolved) -> Reason {
    let (reason, problem) = match why {
        Unresolved::Missing => (Reason::MissingCapture, "does not have"),
        Unresolved::Ambiguous => (
            Reason::AmbiguousCapture,
            "has more than once: rename one of them, or put the layer inside the nested router, where the innermost one counts",
        ),
    };
    settings.warn_once(route, &format!("capture {capture}"), |route| {
        tracing::warn!(
            route,
            capture,
            "a tag names the capture `{{{capture}}}`, which the route `{route}` {problem}; its responses are not stored"
        );
    });
    reason
}
