//! Whether a request has content. Over HTTP/2 its header fields need not say so, and a body that another layer has wrapped may not know
//! either.

use http_body::Body;

/// Whether a request has content (RFC 9110 §6.4), as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Absent,
    Present,
    /// Known only after the first frame.
    Unclear,
}

impl Content {
    /// Determines it from the body without reading it.
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
