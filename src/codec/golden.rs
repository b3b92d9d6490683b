//! Entries in the format of version 1, in `tests/golden`: each later version decodes them, or treats them as misses.
//!
//! For a new version, increment `VERSION`, rename the files in these tests, and run `LARDER_WRITE_GOLDEN=1 cargo test --all-features
//! golden`, which writes the files that do not exist yet.

use std::{env, fs, path::Path};

use bytes::Bytes;
use http::HeaderName;

use super::{
    tests::{contents, entry, page},
    *,
};
use crate::{
    clock::Timestamp,
    coding::content_coding::ContentCoding,
    entry::{
        codings::{Coded, Codings},
        response::{StaleWindows, StoredResponse},
        selection::Selection,
        stored::Content,
        value::{StoredValue, ValueData},
        variants::Variants,
    },
    http::no_vary_search::{Order, Parameters, QueryVariance},
};

const ID: u64 = 0x1122_3344_5566_7788;

fn key() -> Key {
    Key::from_bytes(b"example.com/posts")
}

/// Reads a file; writes it first if it does not exist and `LARDER_WRITE_GOLDEN` is set.
pub(super) fn golden(name: &str, stored: &Stored, compression: Compression) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if env::var_os("LARDER_WRITE_GOLDEN").is_some() && !path.exists() {
        let Encoded { head, body } = encode_as(ID, &key(), stored, compression).unwrap();
        fs::write(&path, [head, body].concat()).unwrap();
    }
    fs::read(path).unwrap().into()
}

pub(super) fn assert_reads(bytes: &Bytes, stored: &Stored) {
    assert_eq!(contents(&decode_whole(&key(), bytes, DecodeLimits::default()).unwrap()), contents(stored));
}

fn response() -> Content {
    let mut response =
        page(b"{\"posts\":[1,2,3]}", &[("content-type", "application/json"), ("etag", "\"v1\""), ("x-latin", "caf\u{e9}")]);
    let mut session = http::HeaderValue::from_static("session");
    session.set_sensitive(true);
    response.head.headers.insert("x-session", session);
    response.head.headers.append("vary", "accept".parse().unwrap());
    response.head.headers.append("vary", "accept-language".parse().unwrap());
    Content::Response(response)
}

fn varying() -> Content {
    let Content::Response(response) = response() else { unreachable!("it is a response") };
    let selection = Selection::of(&[http::header::ACCEPT, http::header::ACCEPT_LANGUAGE], b"V and values");
    Content::Response(StoredResponse { selection: Some(selection), ..response })
}

fn coded() -> Content {
    let Content::Response(response) = varying() else { unreachable!("it is a response") };
    let gzip = Coded::new(ContentCoding::Gzip, Bytes::from_static(b"the body in gzip"));
    let codings =
        [gzip, Coded::new(ContentCoding::Brotli, Bytes::new()), Coded::new(ContentCoding::Zstd, Bytes::from_static(b"zstd"))];
    Content::Response(StoredResponse { codings: Some(Arc::new(codings.into_iter().collect())), ..response })
}

fn uncoded() -> Content {
    let Content::Response(response) = response() else { unreachable!("it is a response") };
    Content::Response(StoredResponse { codings: Some(Codings::none()), ..response })
}

fn variants() -> Content {
    let vary_lists = [vec![http::header::ACCEPT, http::header::ACCEPT_LANGUAGE], vec![HeaderName::from_static("x-own")], vec![]];
    Content::Variants(Variants {
        vary_lists: vary_lists.into_iter().map(Vec::into_boxed_slice).collect(),
        members: vec![([1; 16], Timestamp::from_millis(1_700_000_060_000)), ([2; 16], Timestamp::from_millis(u64::MAX))],
    })
}

fn rule() -> Content {
    let names = vec!["utm_source".to_owned(), "\u{e9}".to_owned(), String::new()];
    Content::QueryVariance(QueryVariance { parameters: Parameters::Kept(names), order: Order::Ignored })
}

fn value() -> Content {
    Content::Value(StoredValue {
        data: ValueData::encoded("alloc::vec::Vec<app::Post>", Bytes::from_static(b"\x83\x01\x02\x03")),
        generated: Timestamp::from_millis(1_700_000_000_000),
        fresh_until: Timestamp::from_millis(1_700_000_060_000),
        stale: StaleWindows { while_revalidate: 1_000, if_error: 360_000 },
        compute_millis: 120,
    })
}

fn all() -> [(&'static str, Content); 8] {
    [
        ("v1-value", value()),
        ("v1-coded", coded()),
        ("v1-uncoded", uncoded()),
        ("v1-varying", varying()),
        ("v1-response", response()),
        ("v1-variants", variants()),
        ("v1-search", rule()),
        ("v1-vacant", Content::Tombstone),
    ]
}

#[test]
fn golden_entries_of_version_1_are_read() {
    for (name, content) in all() {
        let stored = entry(content);
        assert_reads(&golden(name, &stored, Compression::OFF), &stored);
    }
}

/// A change of the written bytes must increment the version.
#[test]
fn golden_entries_of_version_1_are_what_is_written() {
    for (name, content) in all() {
        let stored = entry(content);
        let Encoded { head, body } = encode_as(ID, &key(), &stored, Compression::OFF).unwrap();
        assert_eq!([head, body].concat(), golden(name, &stored, Compression::OFF), "{name}");
    }
}

/// Scripts in the store read the head by these offsets.
#[test]
fn golden_head_has_its_fields_where_scripts_look_for_them() {
    let head = encode_as(ID, &key(), &entry(Content::Tombstone), Compression::OFF).unwrap().head;
    assert_eq!(head[..2], *b"L\x01");
    assert_eq!(head[2..10], ID.to_be_bytes());
    assert_eq!(head[10..18], 0x0102_0304_0506_0708_u64.to_be_bytes());
    assert_eq!(head[18..26], 1_700_000_000_000_123_u64.to_be_bytes());
    assert_eq!(head[26..28], [0, 3]);
    assert_eq!(head[28..37], *b"\0\x07t:posts");
    let (rest, checksum) = head.split_last_chunk().unwrap();
    assert_eq!(u32::from_be_bytes(*checksum), crc32fast::hash(rest));
}

#[test]
fn entry_of_a_later_version_is_a_miss() {
    let Encoded { mut head, mut body } = encode_as(ID, &key(), &entry(response()), Compression::OFF).unwrap();
    let current = Head::decode(&head).unwrap();
    body[1] = 2;
    assert_eq!(decode(&key(), current, &body.into(), DecodeLimits::default()).err(), Some(DecodeError::Version(2)));
    head[1] = 2;
    assert_eq!(Head::decode(&head).err(), Some(DecodeError::Version(2)));
    assert_eq!(Head::decode(b"L\xff and other bytes").err(), Some(DecodeError::Version(255)));
}
