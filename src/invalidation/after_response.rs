//! What a response invalidates (RFC 9111 §4.4, RFC 9875).

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

/// Carries out what a response implies or asks for, if its handler succeeded.
pub(crate) async fn invalidate_after(
    cache: &Cache,
    target: &TargetUri,
    method: &Method,
    response: &mut response::Parts,
) -> Result<(), Reason> {
    let asked = Invalidate::take(&mut response.extensions);
    if !is_success(response.status) {
        return Ok(());
    }
    let implied = if is_safe(method) { Vec::new() } else { implied_tags(cache, target, &response.headers) };
    if asked.is_none() && implied.is_empty() {
        return Ok(());
    }
    Box::pin(carry_out(cache, implied, asked)).await.map_err(|error| {
        // The write itself is done and its client must hear so; what could not be kept is the promise of freshness.
        report(&error, Effect::NotInvalidated);
        Reason::InvalidationFailed
    })
}

pub(crate) fn is_success(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// Carries out everything that can be, and reports the first thing that could not.
pub(crate) async fn carry_out(cache: &Cache, mut tags: Vec<Tag>, asked: Option<Invalidate>) -> Result<(), Error> {
    let mut failure = None;
    let mut note = |outcome: Result<(), Error>| failure = failure.take().or(outcome.err());
    let mut expired = Vec::new();
    if let Some(asked) = asked {
        let mut take = |tag: Result<Tag, Error>, into: &mut Vec<Tag>| note(tag.map(|tag| into.push(tag)));
        asked.tags.iter().for_each(|tag| take(cache.space().tag(tag), &mut tags));
        asked.uris.iter().for_each(|uri| take(cache.uri_tag(uri), &mut tags));
        asked.expired.iter().for_each(|tag| take(cache.space().tag(tag), &mut expired));
        tags.extend(asked.routes.iter().map(|route| cache.space().route(route)));
        if asked.everything {
            note(cache.clear().await.map(drop));
        }
    }
    if !expired.is_empty() {
        note(cache.expire(expired).await.map(drop));
    }
    if !tags.is_empty() {
        note(cache.invalidate(Invalidation::Tags(tags)).await.map(drop));
    }
    failure.map_or(Ok(()), Err)
}

/// The target URI itself, what `Location` and `Content-Location` name on the same origin, and the groups that the response
/// names (RFC 9875 §3).
fn implied_tags(cache: &Cache, target: &TargetUri, response: &HeaderMap) -> Vec<Tag> {
    let space = cache.space();
    let tag = |path: &str| match target.authority.as_str() {
        // Without a host that is one, no host is spared.
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

/// The path that the field names, if it is one of the target's own origin; another's is none of our business.
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
    // Over HTTP/1.1 a request does not say whether it came by TLS; then the host decides.
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
    // A dot at the end names the directory.
    if matches!(reference.rsplit('/').next(), Some("." | "..")) {
        segments.push("");
    }
    format!("/{}", segments.join("/"))
}

/// Whether a method is known to change nothing (RFC 9110 §9.2.1); of an unknown one that is not assumed.
pub(crate) fn is_safe(method: &Method) -> bool {
    /// Registered as safe, but without a constant in `http`.
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
