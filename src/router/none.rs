//! The counterpart of `axum.rs` without the feature `axum`: no routes, no captures, no nesting.

use http::{Extensions, Uri, request::Parts};

use std::sync::Arc;

use super::captures::Captures;
use crate::body::{request_body::ReadContent, request_content::Content};

pub(crate) fn original_uri(parts: &Parts) -> &Uri {
    &parts.uri
}

pub(crate) fn rewrite_uris(parts: &mut Parts, rewrite: impl Fn(&Uri) -> Uri) {
    parts.uri = rewrite(&parts.uri);
}

pub(crate) fn route(_extensions: &Extensions) -> Option<&str> {
    None
}

pub(crate) async fn has_content<B>(_body: &mut B) -> Content {
    Content::Unclear
}

pub(crate) fn content_reader<B: 'static>() -> Option<Arc<dyn ReadContent<B>>> {
    None
}

pub(crate) fn empty_body<B: 'static>() -> Option<B> {
    let empty: Box<dyn std::any::Any> = Box::new(String::new());
    empty.downcast::<B>().ok().map(|body| *body)
}

pub(crate) fn captures(_parts: &mut Parts) -> Captures {
    Captures::default()
}
