//! The tags of URIs and routes that an application names.

use http::Uri;

use super::{Tag, namespace::TagNamespace};
use crate::{
    error::Error,
    http::authority::{Scheme, normal_authority},
};

impl TagNamespace {
    /// Returns the tag of a URI, or of a path on every host; an error if no request can have that target.
    pub(crate) fn target(&self, uri: &str) -> Result<Tag, Error> {
        if uri.starts_with("//") {
            return Err(refused(uri, "has no scheme: write `https://` before the host, or begin the path with a single `/`"));
        }
        let parsed: Uri = uri.parse().map_err(|error| {
            refused(uri, "is not a URI: give a path such as `/posts/7`, and percent-encode it").with_source(error)
        })?;
        let path = parsed.path();
        if !path.starts_with('/') {
            return Err(refused(uri, "has no path: begin it with `/`"));
        }
        if path.contains(['{', '}']) {
            return Err(refused(
                uri,
                "is not a URI: use `invalidate_route` for a route, or write a literal brace as `%7B` or `%7D`",
            ));
        }
        if is_pattern(path) {
            return Err(refused(
                uri,
                "looks like a pattern, and larder has none: give the pages a tag of their own, or write a literal `*` as `%2A`",
            ));
        }
        let Some(authority) = parsed.authority() else { return Ok(self.path(path)) };
        let authority = normal_authority(authority.as_str().as_bytes(), Scheme::of(&parsed));
        authority.map(|authority| self.uri(&authority, path)).ok_or_else(|| refused(uri, "has no valid host"))
    }

    /// Returns the tag of a route; an error if it cannot be a route of axum 0.8.
    pub(crate) fn named_route(&self, route: &str) -> Result<Tag, Error> {
        if !route.starts_with('/') {
            return Err(refused(route, "is not a route: begin it with `/`, as in `/posts/{id}`"));
        }
        match route.split('/').find(|segment| segment.starts_with([':', '*'])) {
            Some(old) => Err(refused(
                route,
                &format!("is not a route of axum 0.8: `{old}` is written with braces there, as in `{{id}}` and `{{*rest}}`"),
            )),
            None => Ok(self.route(route)),
        }
    }
}

fn is_pattern(path: &str) -> bool {
    path.split('/').any(|segment| segment.starts_with('*') || segment.ends_with('*'))
}

fn refused(uri: &str, why: &str) -> Error {
    Error::invalid_input(format!("`{uri}` {why}"))
}
