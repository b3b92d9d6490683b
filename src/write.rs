use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri,
    header::{CONTENT_LOCATION, LOCATION},
    request, response,
};
use http_body::Body;
use tower_service::Service;

use crate::{
    backend::Invalidation,
    body::ResponseBody,
    cache::Cache,
    error::Error,
    groups::{CACHE_GROUP_INVALIDATION, group_names},
    invalidate::Invalidate,
    key::{Scheme, normal_authority},
    method::is_safe,
    policy::LARDER_CACHE_CONTROL,
    request::Target,
    settings::Settings,
    status::{CacheStatus, Forward, Reason},
    tag::Tag,
};

/// Lets a request that may change something through, and invalidates what it changed before its response leaves
/// (RFC 9111 §4.4).
pub(crate) async fn write_through<S, ReqBody, ResBody>(
    mut inner: S,
    cache: Cache,
    settings: Arc<Settings>,
    parts: request::Parts,
    body: ReqBody,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    let target = Target::of(&parts);
    let method = parts.method.clone();
    let (mut parts, body) = inner.call(Request::from_parts(parts, body)).await?.into_parts();
    let reason = match invalidate_after(&cache, &target, &method, &mut parts).await {
        Ok(()) => Reason::Method,
        Err(reason) => reason,
    };
    parts.headers.remove(LARDER_CACHE_CONTROL);
    CacheStatus::not_stored(Forward::Method, reason).attach(settings.status_field, &mut parts);
    Ok(Response::from_parts(parts, ResponseBody::passing(body)))
}

/// Carries out what a response implies or asks for, if its handler succeeded.
pub(crate) async fn invalidate_after(
    cache: &Cache,
    target: &Target,
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
    carry_out(cache, implied, asked).await.map_err(|error| {
        report(&error);
        Reason::InvalidationFailed
    })
}

/// Carries out what the response to a safe request asks for.
pub(crate) async fn invalidate_as_asked<B: Body, E>(
    cache: Cache,
    asked: Invalidate,
    response: Response<ResponseBody<B>>,
) -> Result<Response<ResponseBody<B>>, E> {
    if is_success(response.status())
        && let Err(error) = carry_out(&cache, Vec::new(), Some(asked)).await
    {
        report(&error);
    }
    Ok(response)
}

fn is_success(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// The write itself is done and its client must hear so; what could not be kept is the promise of freshness.
fn report(error: &Error) {
    tracing::error!(error = error as &dyn std::error::Error, "an invalidation that a response asked for failed");
}

async fn carry_out(cache: &Cache, mut tags: Vec<Tag>, asked: Option<Invalidate>) -> Result<(), Error> {
    let mut expired = Vec::new();
    if let Some(asked) = asked {
        tags.extend(cache.tags(&asked.tags)?);
        for uri in &asked.uris {
            tags.push(cache.uri_tag(uri)?);
        }
        expired = cache.tags(&asked.expired)?;
        if asked.everything {
            cache.clear().await?;
        }
    }
    if !expired.is_empty() {
        cache.invalidate(Invalidation::ExpireTags(expired)).await?;
    }
    if !tags.is_empty() {
        cache.invalidate(Invalidation::Tags(tags)).await?;
    }
    Ok(())
}

/// The target URI itself, what `Location` and `Content-Location` name on the same origin, and the groups that the response
/// names (RFC 9875 §3).
fn implied_tags(cache: &Cache, target: &Target, response: &HeaderMap) -> Vec<Tag> {
    let space = cache.space();
    let mut tags = vec![space.uri(&target.authority, &target.path)];
    for field in [LOCATION, CONTENT_LOCATION] {
        tags.extend(same_origin_path(target, response, &field).map(|path| space.uri(&target.authority, &path)));
    }
    let groups = group_names(response, &CACHE_GROUP_INVALIDATION);
    tags.extend(groups.iter().map(|group| space.group(target.scheme.as_str(), &target.authority, group)));
    tags
}

/// The path that the field names, if it is one of the target's own origin; another's is none of our business.
fn same_origin_path(target: &Target, response: &HeaderMap, field: &HeaderName) -> Option<String> {
    let reference = response.get(field)?.to_str().ok()?;
    if let Some(network_path) = reference.strip_prefix("//") {
        let (authority, path) = network_path.split_at(network_path.find('/').unwrap_or(network_path.len()));
        let authority = normal_authority(authority.as_bytes(), target.scheme)?;
        return (authority == target.authority).then(|| without_query(path).to_owned());
    }
    if reference.contains("://") {
        let uri: Uri = reference.parse().ok()?;
        let scheme = Scheme::of(&uri);
        let authority = normal_authority(uri.authority()?.as_str().as_bytes(), scheme)?;
        // Over HTTP/1.1 a request does not say whether it came by TLS; then the host decides.
        let same_scheme = scheme == target.scheme || target.scheme == Scheme::Http;
        return (same_scheme && authority == target.authority).then(|| uri.path().to_owned());
    }
    Some(resolve(&target.path, without_query(reference)))
}

fn without_query(reference: &str) -> &str {
    reference.split(['?', '#']).next().unwrap_or(reference)
}

/// Resolves a relative path (RFC 3986 §5.2.3 and §5.2.4).
fn resolve(base: &str, reference: &str) -> String {
    if reference.is_empty() {
        return base.to_owned();
    }
    let directory = if reference.starts_with('/') { "" } else { base.rsplit_once('/').map_or("", |(directory, _)| directory) };
    let mut segments: Vec<&str> = directory.split('/').skip(1).collect();
    for segment in reference.trim_start_matches('/').split('/') {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_against_the_target() {
        for (reference, path) in [("/a/b", "/a/b"), ("7", "/posts/7"), ("../x", "/x"), ("./y", "/posts/y"), ("", "/posts/new")] {
            assert_eq!(resolve("/posts/new", reference), path, "{reference}");
        }
    }

    #[test]
    fn s67_only_the_same_origin_is_invalidated() {
        let target = Target { scheme: Scheme::Http, authority: "example.com".into(), path: "/posts".into() };
        let path = |location: &'static str| {
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
            same_origin_path(&target, &headers, &LOCATION)
        };
        assert_eq!(path("/posts/7?x=1").as_deref(), Some("/posts/7"));
        assert_eq!(path("http://EXAMPLE.com:80/posts/7").as_deref(), Some("/posts/7"));
        assert_eq!(path("//example.com/posts/7").as_deref(), Some("/posts/7"));
        assert_eq!(path("http://other.example/posts/7"), None);
        assert_eq!(path("//other.example/posts/7"), None);
    }
}
