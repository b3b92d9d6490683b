//! Whether a request has content, which its header fields may not say: over HTTP/2 they need not, and a body that another layer
//! has wrapped may not say either.

use http_body::Body;

/// What is known of a request's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Absent,
    Present,
    /// Only the body's first frame says it.
    Unclear,
}

impl Content {
    /// What the body says, without being read.
    pub(crate) fn of(body: &impl Body) -> Self {
        if body.is_end_stream() {
            return Self::Absent;
        }
        let size = body.size_hint();
        match size.exact() {
            Some(0) => Self::Absent,
            _ if size.lower() > 0 => Self::Present,
            _ => Self::Unclear,
        }
    }
}
