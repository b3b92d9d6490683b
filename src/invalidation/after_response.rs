//! The invalidations that follow from a response (RFC 9111 §4.4, RFC 9875).

use http::{
    HeaderMap, HeaderName, Method, StatusCode,
    header::{CONTENT_LOCATION, LOCATION},
    response,
};

use super::target_uri::TargetUri;
use crate::{
    backend::contract::Invalidation,
    cache::{
        Cache,
        outage_log::{Effect, report},
    },
    error::Error,
    handler::invalidate::{Invalidate, NothingImplied},
    http::{
        authority::{Scheme, normal_authority},
        cache_groups::{CACHE_GROUP_INVALIDATION, group_names},
        cache_status::Reason,
        semantics::{is_safe, is_success},
    },
    policy::{
        settings::{OnWrite, Settings},
        store_rules::Profile,
    },
    tag::Tag,
};

/// Carries out the invalidations that a response implies or requests, if its handler succeeded.
pub(crate) async fn invalidate_after(
    cache: &Cache,
    settings: &Settings,
    target: &TargetUri,
    method: &Method,
    response: &mut response::Parts,
) -> Result<(), Reason> {
    let requested = Invalidate::take(&mut response.extensions);
    // With an error of the cache, the handler has carried out its write, and only the invalidation has failed.
    if !is_success(response.status) && response.extensions.get::<Error>().is_none() {
        return Ok(());
    }
    let implied = if is_safe(method) { Vec::new() } else { implied_tags(cache, settings, target, response) };
    if requested.is_none() && implied.is_empty() {
        return Ok(());
    }
    Box::pin(carry_out(cache, implied, requested)).await.map_err(|error| {
        // The write has succeeded, so that its response is returned unchanged; only the invalidation has failed.
        report(&error, Effect::NotInvalidated);
        Reason::InvalidationFailed
    })
}

/// Carries out as many of the invalidations as possible, and returns the first error of the store, otherwise that of the first invalid
/// tag, URI or route.
pub(crate) async fn carry_out(cache: &Cache, mut tags: Vec<Tag>, requested: Option<Invalidate>) -> Result<(), Error> {
    let mut failure: Option<Error> = None;
    let mut record = |outcome: Result<(), Error>| match (outcome, &failure) {
        (Err(error), None) => failure = Some(error),
        (Err(error), Some(first)) if first.is_invalid_input() && !error.is_invalid_input() => failure = Some(error),
        _ => {}
    };
    let mut expired = Vec::new();
    if let Some(requested) = requested {
        let mut take = |tag: Result<Tag, Error>, into: &mut Vec<Tag>| record(tag.map(|tag| into.push(tag)));
        requested.tags.iter().for_each(|tag| take(cache.space().tag(tag), &mut tags));
        requested.uris.iter().for_each(|uri| take(cache.space().target(uri), &mut tags));
        requested.expired.iter().for_each(|tag| take(cache.space().tag(tag), &mut expired));
        requested.routes.iter().for_each(|route| take(cache.route_tag(route), &mut tags));
        if requested.everything {
            record(cache.clear().await.map(drop));
        }
    }
    if !expired.is_empty() {
        record(cache.expire(expired).await.map(drop));
    }
    if !tags.is_empty() {
        record(cache.invalidate(Invalidation::Tags(tags)).await.map(drop));
    }
    failure.map_or(Ok(()), Err)
}

/// Returns the tags that a successful write invalidates: those of the URIs that it implies, and of the groups that its response names
/// (RFC 9875 §3).
fn implied_tags(cache: &Cache, settings: &Settings, target: &TargetUri, response: &response::Parts) -> Vec<Tag> {
    let space = cache.space();
    let groups = group_names(&response.headers, &CACHE_GROUP_INVALIDATION);
    let groups = groups.iter().map(|group| space.group(&target.authority, group));
    if settings.on_write == OnWrite::Nothing || NothingImplied::is_in(&response.extensions) {
        return groups.collect();
    }
    let tag = |path: &str| match target.authority.as_str() {
        // Without a valid host, invalidate the path on every host.
        "" => space.path(path),
        authority => space.uri(authority, path),
    };
    // The locations are optional (RFC 9111 §4.4). A redirect after a write leads to a page, such as the home page after a login, that
    // the write has not changed.
    let locations = response.status == StatusCode::CREATED || settings.store.profile == Profile::Strict;
    let locations = locations.then_some([LOCATION, CONTENT_LOCATION]).into_iter().flatten();
    let locations = locations.filter_map(|field| same_origin_path(target, &response.headers, &field));
    [tag(&target.path)].into_iter().chain(locations.map(|path| tag(&path))).chain(groups).collect()
}

/// Returns the path of the URI in the field, if it has the origin of the target; only such URIs may be invalidated (RFC 9111 §4.4).
fn same_origin_path(target: &TargetUri, response: &HeaderMap, field: &HeaderName) -> Option<String> {
    // Some applications send a path as raw UTF-8.
    let reference = str::from_utf8(response.get(field)?.as_bytes()).ok()?;
    let reference = reference.split(['?', '#']).next().unwrap_or(reference);
    let (scheme, rest) = match reference.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), Some(rest)),
        None => (None, reference.strip_prefix("//")),
    };
    let Some(rest) = rest else { return Some(resolve(&target.path, reference)) };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = match scheme.map(str::to_ascii_lowercase).as_deref() {
        None => target.scheme,
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        Some(_) => return None,
    };
    // An HTTP/1.1 request does not say whether it came over TLS. Then only the host is compared.
    let same_scheme = scheme == target.scheme || target.scheme == Scheme::Http;
    let same_authority = normal_authority(authority.as_bytes(), scheme)? == target.authority;
    (same_scheme && same_authority).then(|| resolve("/", if path.is_empty() { "/" } else { path }))
}

/// Resolves a relative path (RFC 3986 §5.2.3). Its dot segments remain: the tag is made without them.
fn resolve(base: &str, reference: &str) -> String {
    match reference {
        "" => base.to_owned(),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{}/{relative}", base.rsplit_once('/').map_or("", |(directory, _)| directory)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::path::normal_path;

    #[test]
    fn references_resolve_against_the_target() {
        for (reference, path) in
            [("/a/b", "/a/b"), ("7", "/posts/7"), ("../x", "/x"), ("./y", "/posts/y"), ("", "/posts/new"), (".", "/posts/")]
        {
            assert_eq!(normal_path(&resolve("/posts/new", reference)), path, "{reference}");
        }
    }

    #[test]
    fn s67_only_the_same_origin_is_invalidated() {
        let target = TargetUri { scheme: Scheme::Http, authority: "example.com".into(), path: "/posts".into() };
        let path = |location: &'static str| {
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
            same_origin_path(&target, &headers, &LOCATION)
        };
        assert_eq!(path("/posts/7?x=1").as_deref(), Some("/posts/7"));
        assert_eq!(path("http://EXAMPLE.com:80/posts/7").as_deref(), Some("/posts/7"));
        assert_eq!(path("//example.com/posts/7").as_deref(), Some("/posts/7"));
        assert_eq!(path("http://other.example/posts/7"), None);
        assert_eq!(path("//other.example/posts/7"), None);
        assert_eq!(path("ftp://example.com/posts/7"), None);
        assert_eq!(path("/posts/7?from=https://other.example/").as_deref(), Some("/posts/7"));
        assert_eq!(path("//example.com").as_deref(), Some("/"));
    }
}
