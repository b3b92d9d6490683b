use http::Method;

/// Whether a method is known to change nothing (RFC 9110 §9.2.1); of an unknown one that is not assumed.
pub(crate) fn is_safe(method: &Method) -> bool {
    /// Registered as safe, but without a constant in `http`.
    const OTHERS: [&str; 4] = ["QUERY", "PROPFIND", "REPORT", "SEARCH"];
    method.is_safe() || OTHERS.contains(&method.as_str())
}
