//! Host and port of a request in their normal form.

use http::Uri;

/// An authority that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidHost;

/// Lower case of each byte that may stand in an authority without user information (RFC 3986 §3.2); 0 for the others.
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

/// What is known of a request's scheme: HTTP/1.1 does not tell, and counts as `http`.
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

/// Whether an authority is one, of the letters that almost all are made of; eight at a time, which the compiler makes one step of.
pub(crate) fn is_plain(authority: &[u8]) -> bool {
    let plain = |byte: u8| (byte.is_ascii_lowercase() | (b'-'..=b':').contains(&byte)) & (byte != b'/');
    let all_plain = |eight: &[u8; 8]| eight.iter().fold(true, |all, &byte| all & plain(byte));
    let Some(last) = authority.last_chunk() else { return false };
    let (chunks, _) = authority.as_chunks();
    chunks.iter().all(all_plain) && all_plain(last)
}

/// Whether an authority is one, and in lower case.
pub(crate) fn is_normal(authority: &[u8]) -> bool {
    !authority.is_empty() && authority.iter().all(|&byte| byte != 0 && HOST_BYTES[usize::from(byte)] == byte)
}

/// The authority as keys and tags have it, or `None` if it is not one.
pub(crate) fn normal_authority(authority: &[u8], scheme: Scheme) -> Option<String> {
    in_lower_case(scheme.without_default_port(authority))
}

pub(crate) fn in_lower_case(authority: &[u8]) -> Option<String> {
    let normal: Vec<u8> = authority.iter().map(|&byte| HOST_BYTES[usize::from(byte)]).collect();
    let valid = !normal.is_empty() && !normal.contains(&0);
    valid.then(|| String::from_utf8(normal).ok())?
}
