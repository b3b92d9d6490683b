//! Whether a response is worth a coding.

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE},
};

use crate::http::field::lines::members;

/// Signs fields of the response (RFC 9421), which a coding would change.
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// Returns whether a response may be served in a coding, and is worth it: a 200 with a media type that compresses, without a coding of its
/// own, and without `no-transform` (RFC 9110 §7.7).
pub(crate) fn is_compressible(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::OK
        && headers.get(CONTENT_TYPE).is_some_and(|media_type| has_compressible_type(media_type.as_bytes()))
        && ![CONTENT_ENCODING, CONTENT_RANGE, SIGNATURE_INPUT].iter().any(|field| headers.contains_key(field))
        && !forbids_transformation(headers)
}

fn forbids_transformation(headers: &HeaderMap) -> bool {
    members(headers, &CACHE_CONTROL).any(|member| member.eq_ignore_ascii_case(b"no-transform"))
}

/// Returns whether bodies of the media type usually shrink: text, and the formats in which text or numbers are written. Images, audio,
/// video, archives and most fonts are compressed already.
fn has_compressible_type(media_type: &[u8]) -> bool {
    const TYPES: [&str; 19] = [
        "application/atom",
        "application/ecmascript",
        "application/graphql",
        "application/javascript",
        "application/json",
        "application/json-seq",
        "application/jsonl",
        "application/rtf",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/xml",
        "application/yaml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/vnd.microsoft.icon",
        "image/x-icon",
    ];
    let essence = media_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let Ok(essence) = str::from_utf8(essence).map(str::to_ascii_lowercase) else { return false };
    let is_text = essence.starts_with("text/") && essence != "text/event-stream";
    is_text || TYPES.contains(&essence.as_str()) || ["+json", "+xml", "+text"].iter().any(|suffix| essence.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn compressible(fields: &[(&'static str, &'static str)]) -> bool {
        let fields = fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        is_compressible(StatusCode::OK, &fields.collect())
    }

    #[test]
    fn text_is_compressible_and_what_is_compressed_already_is_not() {
        for (media_type, expected) in [
            ("text/html; charset=utf-8", true),
            ("TEXT/CSS", true),
            ("application/json", true),
            ("application/problem+json;v=1", true),
            ("image/svg+xml", true),
            ("text/event-stream", false),
            ("image/png", false),
            ("video/mp4", false),
            ("font/woff2", false),
            ("application/zip", false),
            ("application/grpc", false),
            ("application/octet-stream", false),
            ("", false),
        ] {
            assert_eq!(compressible(&[("content-type", media_type)]), expected, "{media_type}");
        }
        assert!(!compressible(&[]));
    }

    #[test]
    fn no_coding_is_added_to_what_must_stay_as_it_is() {
        for field in [
            ("content-encoding", "gzip"),
            ("cache-control", "max-age=60, No-Transform"),
            ("content-range", "bytes 0-1/2"),
            ("signature-input", "sig=(\"content-digest\")"),
        ] {
            assert!(!compressible(&[("content-type", "text/html"), field]), "{field:?}");
        }
        let html = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/html"))]);
        assert!(!is_compressible(StatusCode::NOT_FOUND, &html));
    }
}
