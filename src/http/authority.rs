//! Host and port of a request, in normal form.

use http::Uri;

/// The authority is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidHost;

/// The lower-case form of each byte that is allowed in an authority without user information (RFC 3986 §3.2); 0 for all others.
pub(crate) const HOST_BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        let allowed =
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':' | b'[' | b']' | b'%' | b'!' | b'$');
        if allowed {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// The scheme of a request. HTTP/1.1 requests do not state it, and count as `http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
    Other,
}

impl Scheme {
    pub(crate) fn of(uri: &Uri) -> Self {
        match uri.scheme() {
            None => Self::Http,
            Some(scheme) if *scheme == http::uri::Scheme::HTTP => Self::Http,
            Some(scheme) if *scheme == http::uri::Scheme::HTTPS => Self::Https,
            Some(_) => Self::Other,
        }
    }

    pub(crate) fn without_default_port(self, authority: &[u8]) -> &[u8] {
        let stripped = match self {
            Self::Http => authority.strip_suffix(b":80"),
            Self::Https => authority.strip_suffix(b":443"),
            Self::Other => authority.strip_suffix(b":"),
        };
        stripped.unwrap_or(authority)
    }
}

/// Returns whether an authority is valid and in normal form, for lower-case letters, digits, `-`, `.` and `:` only; `false` if it has
/// other bytes, or fewer than eight. Compares eight bytes at a time, which the compiler turns into vector instructions.
pub(crate) fn is_plain(authority: &[u8]) -> bool {
    let plain = |byte: u8| (byte.is_ascii_lowercase() | (b'-'..=b':').contains(&byte)) & (byte != b'/');
    let all_plain = |eight: &[u8; 8]| eight.iter().fold(true, |all, &byte| all & plain(byte));
    let Some(last) = authority.last_chunk() else { return false };
    let (chunks, _) = authority.as_chunks();
    chunks.iter().all(all_plain) && all_plain(last)
}

/// Returns whether an authority is valid and in lower case.
pub(crate) fn is_normal(authority: &[u8]) -> bool {
    !authority.is_empty() && authority.iter().all(|&byte| byte != 0 && HOST_BYTES[usize::from(byte)] == byte)
}

/// Returns the authority in the form that keys and tags contain; `None` if it is invalid.
pub(crate) fn normal_authority(authority: &[u8], scheme: Scheme) -> Option<String> {
    in_lower_case(scheme.without_default_port(authority))
}

/// Returns the authority in lower case; `None` if it is invalid.
pub(crate) fn in_lower_case(authority: &[u8]) -> Option<String> {
    if is_plain(authority) {
        return str::from_utf8(authority).ok().map(str::to_owned);
    }
    let normal: Vec<u8> = authority.iter().map(|&byte| HOST_BYTES[usize::from(byte)]).collect();
    let valid = !normal.is_empty() && !normal.contains(&0);
    valid.then(|| String::from_utf8(normal).ok())?
}
