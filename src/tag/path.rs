//! The normal form of a path in tags.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

use crate::http::field::scan::count;

/// The ASCII characters that a segment of a path cannot contain as they are (RFC 3986 §3.3, `pchar`).
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Returns the one spelling of a path, so that equivalent URIs have the same tag (RFC 3986 §6.2.2): every character that may be in a
/// segment is plain, every other byte is percent-encoded in upper case, and there are no dot segments. A path that is normal already, as
/// almost all are, is borrowed.
///
/// It goes one step further than the RFC: `%40` is `@`, and so on for each reserved character but `/`. Routers give handlers the same
/// captures for both, so that an invalidation of one means the other, too.
pub(crate) fn normal_path(path: &str) -> Cow<'_, str> {
    count(path.len());
    if is_normal(path) { Cow::Borrowed(path) } else { Cow::Owned(normalized(path)) }
}

fn is_normal(path: &str) -> bool {
    let mut before = 0;
    let is_plain = |byte: u8| {
        let begins_with_dot = before == b'/' && byte == b'.';
        before = byte;
        PLAIN[usize::from(byte)] && !begins_with_dot
    };
    // Not a path: the target of `CONNECT` and of `OPTIONS *`.
    !path.starts_with('/') || path.bytes().all(is_plain)
}

/// The bytes that a normal path has as they are.
static PLAIN: [bool; 256] = {
    let (mut plain, others) = ([false; 256], b"/-._~!$&'()*+,;=:@");
    let mut byte = 0;
    while byte < 128 {
        plain[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        plain[others[at] as usize] = true;
        at += 1;
    }
    plain
};

fn normalized(path: &str) -> String {
    let mut kept: Vec<Cow<'_, str>> = Vec::new();
    let mut ends_in_dots = false;
    for segment in path.split('/').skip(1) {
        let segment = recoded(segment);
        ends_in_dots = matches!(&*segment, "." | "..");
        match &*segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    // A dot segment at the end names the directory.
    if ends_in_dots {
        kept.push(Cow::Borrowed(""));
    }
    format!("/{}", kept.join("/"))
}

fn recoded(segment: &str) -> Cow<'_, str> {
    let decoded: Cow<'_, [u8]> = percent_decode_str(segment).into();
    Cow::Owned(percent_encode(&decoded, ENCODED).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_paths_have_one_normal_form() {
        for (path, normal) in [
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/%70osts/%7e%2D", "/posts/~-"),
            ("/a%40b%2Fc", "/a@b%2Fc"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2E%2e/b", "/b"),
            ("/../..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a//b/", "/a//b/"),
            ("/a|b\"{c}", "/a%7Cb%22%7Bc%7D"),
            ("/100%/%zz/%%34%31", "/100%25/%25zz/%2541"),
            ("/%ff", "/%FF"),
            ("", ""),
            ("*", "*"),
        ] {
            assert_eq!(normal_path(path), normal, "{path}");
            assert_eq!(normal_path(normal), normal, "{path}");
        }
    }

    #[test]
    fn normal_path_is_not_copied() {
        for path in ["/", "/posts/7", "/a//b/", "/a@b,c;d=e+f!$&'()*~_-"] {
            assert!(matches!(normal_path(path), Cow::Borrowed(_)), "{path}");
        }
    }
}
