//! Which methods and status codes mean that something may have changed (RFC 9110 §9.2.1).

use http::{Method, StatusCode};

/// Returns whether a method is known to be safe (RFC 9110 §9.2.1). Unknown methods are not.
pub(crate) fn is_safe(method: &Method) -> bool {
    /// Methods that are registered as safe, but have no constant in `http`.
    const OTHERS: [&str; 4] = ["QUERY", "PROPFIND", "REPORT", "SEARCH"];
    method.is_safe() || OTHERS.contains(&method.as_str())
}

/// Returns whether a request with this response has succeeded.
pub(crate) fn is_success(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}
