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
    handler::invalidate::Invalidate,
    http::{
        authority::{Scheme, normal_authority},
        cache_groups::{CACHE_GROUP_INVALIDATION, group_names},
        cache_status::Reason,
    },
    tag::Tag,
};

/// Carries out the invalidations that a response implies or requests, if its handler succeeded.
pub(crate) async fn invalidate_after(
    cache: &Cache,
    target: &TargetUri,
    method: &Method,
    response: &mut response::Parts,
) -> Result<(), Reason> {
    let requested = Invalidate::take(&mut response.extensions);
    if !is_success(response.status) {
        return Ok(());
    }
    let implied = if is_safe(method) { Vec::new() } else { implied_tags(cache, target, &response.headers) };
    if requested.is_none() && implied.is_empty() {
        return Ok(());
    }
    Box::pin(carry_out(cache, implied, requested)).await.map_err(|error| {
        // The write has succeeded, so that its response is returned unchanged; only the invalidation has failed.
        report(&error, Effect::NotInvalidated);
        Reason::InvalidationFailed
    })
}

pub(crate) fn is_success(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// Carries out as many of the invalidations as possible, and returns the first error.
pub(crate) async fn carry_out(cache: &Cache, mut tags: Vec<Tag>, requested: Option<Invalidate>) -> Result<(), Error> {
    let mut failure = None;
    let mut record = |outcome: Result<(), Error>| failure = failure.take().or(outcome.err());
    let mut expired = Vec::new();
    if let Some(requested) = requested {
        let mut take = |tag: Result<Tag, Error>, into: &mut Vec<Tag>| record(tag.map(|tag| into.push(tag)));
        requested.tags.iter().for_each(|tag| take(cache.space().tag(tag), &mut tags));
        requested.uris.iter().for_each(|uri| take(cache.uri_tag(uri), &mut tags));
        requested.expired.iter().for_each(|tag| take(cache.space().tag(tag), &mut expired));
        tags.extend(requested.routes.iter().map(|route| cache.space().route(route)));
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

/// Returns the tags of the target URI, of the URIs in `Location` and `Content-Location` on the same origin, and of the groups that the
/// response names (RFC 9875 §3).
fn implied_tags(cache: &Cache, target: &TargetUri, response: &HeaderMap) -> Vec<Tag> {
    let space = cache.space();
    let tag = |path: &str| match target.authority.as_str() {
        // Without a valid host, invalidate the path on every host.
        "" => space.path(path),
        authority => space.uri(authority, path),
    };
    let mut tags = vec![tag(&target.path)];
    for field in [LOCATION, CONTENT_LOCATION] {
        tags.extend(same_origin_path(target, response, &field).map(|path| tag(&path)));
    }
    let groups = group_names(response, &CACHE_GROUP_INVALIDATION);
    tags.extend(groups.iter().map(|group| space.group(&target.authority, group)));
    tags
}

/// Returns the path of the URI in the field, if it has the origin of the target; only such URIs may be invalidated (RFC 9111 §4.4).
fn same_origin_path(target: &TargetUri, response: &HeaderMap, field: &HeaderName) -> Option<String> {
    let reference = response.get(field)?.to_str().ok()?;
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

/// Resolves a relative path (RFC 3986 §5.2.3 and §5.2.4).
fn resolve(base: &str, reference: &str) -> String {
    if reference.is_empty() {
        return base.to_owned();
    }
    let directory = if reference.starts_with('/') { "" } else { base.rsplit_once('/').map_or("", |(directory, _)| directory) };
    let mut segments: Vec<&str> = directory.split('/').skip(1).collect();
    let reference = reference.strip_prefix('/').unwrap_or(reference);
    for segment in reference.split('/') {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    // A dot segment at the end names the directory.
    if matches!(reference.rsplit('/').next(), Some("." | "..")) {
        segments.push("");
    }
    format!("/{}", segments.join("/"))
}

/// Returns whether a method is known to be safe (RFC 9110 §9.2.1). Unknown methods are not.
pub(crate) fn is_safe(method: &Method) -> bool {
    /// Methods that are registered as safe, but have no constant in `http`.
    const OTHERS: [&str; 4] = ["QUERY", "PROPFIND", "REPORT", "SEARCH"];
    method.is_safe() || OTHERS.contains(&method.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_against_the_target() {
        for (reference, path) in
            [("/a/b", "/a/b"), ("7", "/posts/7"), ("../x", "/x"), ("./y", "/posts/y"), ("", "/posts/new"), (".", "/posts/")]
        {
            assert_eq!(resolve("/posts/new", reference), path, "{reference}");
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
