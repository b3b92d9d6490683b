//! The tags of a response.

use http::{HeaderMap, header::CACHE_CONTROL, request};

use super::target_uri::TargetUri;
use crate::{
    handler::cache_tags::CacheTags,
    http::{
        cache_control::CacheControl,
        cache_groups::{CACHE_GROUPS, group_names},
        cache_status::Reason,
    },
    policy::{response_view::ResponseView, settings::Settings},
    router,
    tag::{MAX_TAGS, Tag, deduplicate, namespace::TagNamespace},
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
}

impl RequestTags {
    pub(crate) fn of(settings: &Settings, space: &TagNamespace, parts: &mut request::Parts) -> Self {
        let target = TargetUri::of(parts);
        let target_tags = target_tags(space, &target, router::route(&parts.extensions));
        let route_tags = if settings.tags.is_empty() { Ok(Vec::new()) } else { route_tags(settings, space, parts) };
        Self { target, target_tags, route_tags, headers: parts.headers.clone() }
    }

    /// Returns the tags that the response will have, without those that the handler adds.
    pub(crate) fn known_tags(&self) -> Vec<Tag> {
        let route_tags = self.route_tags.as_deref().unwrap_or_default();
        route_tags.iter().chain(&self.target_tags).cloned().collect()
    }

    /// Returns whether the request has `no-store`, the one request directive that is always honored (RFC 9111 §5.2.1.5).
    pub(crate) fn says_no_store(&self) -> bool {
        self.headers.contains_key(CACHE_CONTROL) && CacheControl::parse(&self.headers, &CACHE_CONTROL).no_store
    }

    /// Returns every tag of the response, or the reason why it cannot be tagged: a response that cannot be invalidated is not stored.
    pub(crate) fn all_tags(
        &self,
        settings: &Settings,
        space: &TagNamespace,
        response: &ResponseView<'_>,
    ) -> Result<Vec<Tag>, Reason> {
        let mut tags = self.route_tags.clone()?;
        let from_route = tags.len();
        if let Some(from_handler) = response.parts.extensions.get::<CacheTags>() {
            for tag in from_handler.iter() {
                tags.push(space.tag(tag).map_err(|_| refused_tag(tag))?);
            }
        }
        if response.may_have(&CACHE_GROUPS) {
            let groups = group_names(&response.parts.headers, &CACHE_GROUPS);
            tags.extend(groups.iter().map(|group| space.group(&self.target.authority, group)));
        }
        settings.note_handler_tags(tags.len() > from_route);
        deduplicate(&mut tags);
        if tags.len() > MAX_TAGS {
            tracing::warn!(
                path = self.target.path,
                tags = tags.len(),
                "a response has more than {MAX_TAGS} tags and is not stored"
            );
            return Err(Reason::TooManyTags);
        }
        // Not deduplicated: the tags of the target have prefixes that no user's tag can have.
        tags.reserve_exact(self.target_tags.len());
        tags.extend_from_slice(&self.target_tags);
        Ok(tags)
    }
}

fn target_tags(space: &TagNamespace, target: &TargetUri, route: Option<&str>) -> Vec<Tag> {
    let uri = [space.uri(&target.authority, &target.path), space.path(&target.path)];
    uri.into_iter().chain(route.map(|route| space.route(route))).chain(space.everything()).collect()
}

fn route_tags(settings: &Settings, space: &TagNamespace, parts: &mut request::Parts) -> Result<Vec<Tag>, Reason> {
    let captures = router::captures(parts);
    let captures: Vec<(&str, &str)> = captures.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let route = router::route(&parts.extensions).unwrap_or("(no route: the layer is outside the router)");
    let expand = |template: &crate::tag::template::TagTemplate| {
        let name = template.expand(&captures).map_err(|capture| missing_capture(settings, route, capture))?;
        space.tag(&name).map_err(|_| refused_tag(&name))
    };
    settings.tags.iter().map(expand).collect()
}

fn missing_capture(settings: &Settings, route: &str, capture: &str) -> Reason {
    settings.warn_once(&format!("{route} {capture}"), || {
        tracing::warn!(
            route,
            capture,
            "a tag names the capture `{{{capture}}}`, which the route `{route}` does not have: its responses are not stored"
        );
    });
    Reason::MissingCapture
}

fn refused_tag(tag: &str) -> Reason {
    tracing::warn!(bytes = tag.len(), "a response has a tag that is empty or too long, and is not stored");
    Reason::InvalidTag
}
