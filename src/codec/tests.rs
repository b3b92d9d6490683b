//! Tests of the codec.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AGE, CONTENT_LENGTH},
};
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{
    clock::Timestamp,
    coding::content_coding::ContentCoding,
    entry::{
        codings::{Coded, Codings},
        epoch::Epoch,
        response::{StaleWindows, StoredResponse, response_head},
        selection::Selection,
        stored::Content,
        value::{StoredValue, ValueData},
        variants::Variants,
    },
    http::no_vary_search::{Order, Parameters, QueryVariance},
    tag::Tag,
};

/// Returns the contents of an entry in comparable form.
pub(super) fn contents(stored: &Stored) -> impl PartialEq + std::fmt::Debug + use<> {
    let content = match stored.content() {
        Content::Response(response) => {
            let fields: Vec<_> = response
                .head
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.as_bytes().to_vec(), value.is_sensitive()))
                .collect();
            // The `Debug` of the map hides sensitive values.
            let response = StoredResponse { head: response_head(response.head.status, HeaderMap::new()), ..response.clone() };
            (format!("{response:?}"), fields)
        }
        Content::Value(value) => (format!("{value:?} {:?}", value.data.to_bytes()), Vec::new()),
        other => (format!("{other:?}"), Vec::new()),
    };
    (stored.born(), stored.tags().to_vec(), content)
}

fn key() -> impl Strategy<Value = Key> {
    vec(any::<u8>(), 0..300).prop_map(|bytes| Key::from_bytes(&bytes))
}

fn stored() -> impl Strategy<Value = Stored> {
    let tags = vec("\\PC{1,20}", 0..5);
    (any::<(u64, u64)>(), tags, content()).prop_map(|((incarnation, number), tags, content)| {
        Stored::new(Epoch::of(incarnation, number), tags.into_iter().map(Tag::unchecked).collect(), content)
    })
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        4 => response().prop_map(Content::Response),
        2 => variants().prop_map(Content::Variants),
        2 => rule().prop_map(Content::QueryVariance),
        2 => value().prop_map(Content::Value),
        1 => Just(Content::Tombstone),
    ]
}

fn response() -> impl Strategy<Value = StoredResponse> {
    let body = prop_oneof![vec(any::<u8>(), 0..200), "(a|b|cd){0,1000}".prop_map(String::into_bytes)];
    let times = any::<(u64, u64, u32, u32, u32)>();
    let parts = (100..1000_u16, headers(), body, option::of(selection()), option::of(codings()));
    (parts, times, any::<[bool; 4]>()).prop_map(|((status, mut headers, body, selection, codings), times, flags)| {
        let (generated, fresh_until, while_revalidate, if_error, handler_millis) = times;
        let [allows_authorization, must_not_serve_stale, immutable, outlives_max_age] = flags;
        headers.insert(CONTENT_LENGTH, body.len().into());
        StoredResponse {
            head: response_head(StatusCode::from_u16(status).unwrap(), headers),
            body: body.into(),
            codings,
            selection,
            generated: Timestamp::from_millis(generated),
            fresh_until: Timestamp::from_millis(fresh_until),
            allows_authorization,
            stale: StaleWindows { while_revalidate, if_error },
            must_not_serve_stale,
            immutable,
            outlives_max_age,
            handler_millis,
        }
    })
}

fn value() -> impl Strategy<Value = StoredValue> {
    let bytes = prop_oneof![vec(any::<u8>(), 0..200), "(a|b|cd){0,1000}".prop_map(String::into_bytes)];
    let times = any::<(u64, u64, u32, u32, u32)>();
    ("\\PC{0,30}", bytes, times).prop_map(|(type_name, bytes, times)| {
        let (generated, fresh_until, while_revalidate, if_error, compute_millis) = times;
        StoredValue {
            data: ValueData::encoded(&type_name, bytes.into()),
            generated: Timestamp::from_millis(generated),
            fresh_until: Timestamp::from_millis(fresh_until),
            stale: StaleWindows { while_revalidate, if_error },
            compute_millis,
        }
    })
}

fn codings() -> impl Strategy<Value = Arc<Codings>> {
    let coding = prop::sample::select(ContentCoding::ALL.to_vec());
    let coded = (coding, vec(any::<u8>(), 0..100)).prop_map(|(coding, body)| Coded::new(coding, body.into()));
    vec(coded, 0..4).prop_map(|coded| Arc::new(coded.into_iter().collect()))
}

fn selection() -> impl Strategy<Value = Arc<Selection>> {
    let parts = (vec(name(), 0..4), vec(any::<u8>(), 0..40));
    parts.prop_map(|(fields, values): (Vec<_>, Vec<_>)| Selection::of(&fields, &values))
}

fn name() -> impl Strategy<Value = HeaderName> {
    prop_oneof!["x-[a-z]{1,3}", "(etag|vary|set-cookie|cache-control)"].prop_map(|name| name.parse().unwrap())
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let value = vec(prop_oneof![Just(b'\t'), 32..=126_u8, 128..=255_u8], 0..30);
    vec((name(), value, any::<bool>()), 0..12).prop_map(|fields| {
        let mut headers = HeaderMap::from_iter([(AGE, HeaderValue::from_static("0"))]);
        for (name, value, sensitive) in fields {
            let mut value = HeaderValue::from_bytes(&value).unwrap();
            value.set_sensitive(sensitive);
            headers.append(name, value);
        }
        headers
    })
}

fn variants() -> impl Strategy<Value = Variants> {
    let vary_lists = vec(vec(name(), 0..4).prop_map(Vec::into_boxed_slice), 0..4);
    let members = vec((any::<[u8; 16]>(), any::<u64>().prop_map(Timestamp::from_millis)), 0..10);
    (vary_lists, members).prop_map(|(vary_lists, members)| Variants { vary_lists: vary_lists.into(), members })
}

fn rule() -> impl Strategy<Value = QueryVariance> {
    (any::<[bool; 2]>(), vec("\\PC{0,5}", 0..4)).prop_map(|([kept, ordered], names)| QueryVariance {
        parameters: if kept { Parameters::Kept(names) } else { Parameters::Ignored(names) },
        order: if ordered { Order::Matters } else { Order::Ignored },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoded_entry_equals_the_encoded_one(key in key(), stored in stored()) {
        let Encoded { head, body } = encode(&key, &stored, Compression::OFF).unwrap();
        let decoded = decode(&key, Head::decode(&head).unwrap(), &body.into(), DecodeLimits::default()).unwrap();
        prop_assert_eq!(contents(&decoded), contents(&stored));
        let whole = Stored::from_bytes(&key, stored.to_bytes(&key).unwrap().into()).unwrap();
        prop_assert_eq!(contents(&whole), contents(&stored));
    }

    #[test]
    fn w9_entry_for_another_key_is_refused(key in key(), other in key(), stored in stored()) {
        prop_assume!(key != other);
        let whole = stored.to_bytes(&key).unwrap().into();
        prop_assert_eq!(decode_whole(&other, &whole, DecodeLimits::default()).err(), Some(DecodeError::OtherKey));
    }

    #[test]
    fn head_and_body_of_different_writes_are_refused(key in key(), stored in stored()) {
        let [one, other] = [(); 2].map(|()| encode(&key, &stored, Compression::OFF).unwrap());
        let mixed = decode(&key, Head::decode(&one.head).unwrap(), &other.body.into(), DecodeLimits::default());
        prop_assert_eq!(mixed.err(), Some(DecodeError::OtherWrite));
    }

    /// An attacker who can write to the store can compute checksums.
    #[test]
    fn c5_modified_body_with_a_right_checksum_is_decoded_or_refused(
        key in key(), stored in stored(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let Encoded { head, mut body } = encode(&key, &stored, Compression::OFF).unwrap();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        seal(&mut body);
        let _ = decode(&key, Head::decode(&head).unwrap(), &body.into(), DecodeLimits::default());
    }
}

proptest! {
    // Each case decodes about a thousand entries.
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn c4_truncated_entry_is_refused(key in key(), stored in stored()) {
        let whole = Bytes::from(stored.to_bytes(&key).unwrap());
        for length in 0..whole.len() {
            prop_assert!(decode_whole(&key, &whole.slice(..length), DecodeLimits::default()).is_err(), "{} of {}", length, whole.len());
        }
        prop_assert!(decode_whole(&key, &[&whole[..], b"\0"].concat().into(), DecodeLimits::default()).is_err());
    }

    #[test]
    fn c4_entry_with_a_flipped_bit_is_refused(key in key(), stored in stored()) {
        let mut whole = stored.to_bytes(&key).unwrap();
        for bit in 0..whole.len() * 8 {
            whole[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Stored::from_bytes(&key, Bytes::copy_from_slice(&whole)).is_none(), "bit {}", bit);
            whole[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// Sets the right checksum of a body.
pub(super) fn seal(body: &mut [u8]) {
    let checksum = crc32fast::hash(&[&body[..12], &body[16..]].concat());
    body[12..16].copy_from_slice(&checksum.to_be_bytes());
}

/// A response in which each part differs from its default.
pub(super) fn page(body: &[u8], fields: &[(&'static str, &str)]) -> StoredResponse {
    let mut headers = HeaderMap::from_iter([(AGE, HeaderValue::from_static("0"))]);
    headers.extend(fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())));
    headers.insert(CONTENT_LENGTH, body.len().into());
    StoredResponse {
        head: response_head(StatusCode::OK, headers),
        body: Bytes::copy_from_slice(body),
        codings: None,
        selection: None,
        generated: Timestamp::from_millis(1_700_000_000_000),
        fresh_until: Timestamp::from_millis(1_700_000_060_000),
        allows_authorization: true,
        stale: StaleWindows { while_revalidate: 1000, if_error: 360_000 },
        must_not_serve_stale: false,
        immutable: true,
        outlives_max_age: false,
        handler_millis: 12,
    }
}

pub(super) fn entry(content: Content) -> Stored {
    let tags = ["t:posts", "uri:example.com/posts", "t:caf\u{e9}"].map(Tag::unchecked).to_vec();
    Stored::new(Epoch::of(0x0102_0304_0506_0708, 1_700_000_000_000_123), tags, content)
}

/// Decodes a response after `change` has modified its encoded body, with the right checksum.
fn changed(response: StoredResponse, change: impl FnOnce(&mut Vec<u8>)) -> Result<Stored, DecodeError> {
    let key = Key::from_bytes(b"key");
    let Encoded { head, mut body } = encode(&key, &entry(Content::Response(response)), Compression::OFF).unwrap();
    change(&mut body);
    seal(&mut body);
    decode(&key, Head::decode(&head).unwrap(), &body.into(), DecodeLimits::default())
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
    bytes[at..][..new.len()].copy_from_slice(new);
}

#[test]
fn w10_control_bytes_in_a_stored_field_are_refused() {
    let response = || page(b"body", &[("x-field", "abcdef")]);
    assert!(changed(response(), |body| replace(body, b"abcdef", b"uvwxyz")).is_ok());
    for (old, new) in [(b"abcdef", b"a\r\nb:c"), (b"abcdef", b"abcde\0"), (b"x-fiel", b"x-f:el"), (b"x-fiel", b"x\nfiel")] {
        let changed = changed(response(), |body| replace(body, old, new));
        assert_eq!(changed.err(), Some(DecodeError::Malformed), "{}", new.escape_ascii());
    }
}

#[test]
fn w10_stored_field_cannot_contradict_the_length_of_the_body() {
    let with = |name: &'static str, value: &'static str| {
        let mut response = page(b"fifteen bytes..", &[]);
        response.head.headers.insert(name, HeaderValue::from_static(value));
        changed(response, |_| {}).err()
    };
    assert_eq!(with("content-length", "15"), None);
    for (name, value) in [
        ("content-length", "14"),
        ("content-length", "+15"),
        ("content-length", "15, 15"),
        ("content-length", ""),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
    ] {
        assert_eq!(with(name, value), Some(DecodeError::Malformed), "{name}: {value}");
    }
}

#[test]
fn decoded_response_begins_with_the_slot_for_age() {
    let mut response = page(b"body", &[("etag", "\"a\"")]);
    response.head.headers.remove(AGE);
    let stored = changed(response, |_| {}).unwrap();
    let Content::Response(response) = stored.content() else { panic!("{stored:?}") };
    assert_eq!(response.head.headers.keys().next(), Some(&AGE));
    let room = response.head.headers.capacity();
    assert!(room < 8, "room for {room}");
}

#[test]
fn decoded_body_and_fields_are_slices_of_the_input() {
    let key = Key::from_bytes(b"key");
    let whole = Bytes::from(entry(Content::Response(page(b"body", &[("etag", "\"a\"")]))).to_bytes(&key).unwrap());
    let stored = Stored::from_bytes(&key, whole.clone()).unwrap();
    let Content::Response(response) = stored.content() else { panic!("{stored:?}") };
    let range = whole.as_ptr_range();
    assert!(range.contains(&response.body.as_ptr()));
    assert!(range.contains(&response.head.headers["etag"].as_bytes().as_ptr()));
}

#[test]
fn entry_beyond_the_limits_of_the_format_is_not_encoded() {
    let key = Key::from_bytes(b"key");
    let with = |tags: Vec<Tag>| Stored::new(Epoch::new(1), tags, Content::Tombstone).to_bytes(&key);
    let longest = Tag::unchecked("x".repeat(65_535));
    assert!(Stored::from_bytes(&key, with(vec![longest]).unwrap().into()).is_some());
    assert_eq!(with(vec![Tag::unchecked("x".repeat(65_536))]), None);
    assert_eq!(with(vec![Tag::unchecked("x"); 65_536]), None);
}

#[test]
fn d9_body_beyond_the_limit_is_refused() {
    let key = Key::from_bytes(b"key");
    let whole = entry(Content::Response(page(&[b'x'; 1000], &[]))).to_bytes(&key).unwrap().into();
    assert!(decode_whole(&key, &whole, DecodeLimits { body: 1000 }).is_ok());
    assert_eq!(decode_whole(&key, &whole, DecodeLimits { body: 999 }).err(), Some(DecodeError::TooLarge));
}

/// A count is checked against the remaining bytes before an allocation.
#[test]
fn c5_count_beyond_the_remaining_bytes_is_refused() {
    let key = Key::from_bytes(b"key");
    let with = |content: Content, at_end: &[u8]| {
        let Encoded { head, mut body } = encode(&key, &entry(content), Compression::OFF).unwrap();
        body.truncate(body.len() - at_end.len());
        body.extend_from_slice(at_end);
        seal(&mut body);
        decode(&key, Head::decode(&head).unwrap(), &body.into(), DecodeLimits::default()).err()
    };
    let variants = || Content::Variants(Variants::default());
    assert_eq!(with(variants(), &[0; 8]), None);
    assert_eq!(with(variants(), &[0, 0, 0, 0, 255, 255, 255, 255]), Some(DecodeError::Truncated));
    assert_eq!(with(variants(), &[255, 255, 255, 255, 0, 0, 0, 0]), Some(DecodeError::Truncated));
    assert_eq!(with(variants(), &[0, 0, 0, 2, 0, 0, 0, 0]), Some(DecodeError::Truncated));
}

fn sealed(secret: &str, mut stored: Stored) -> Encoded {
    stored.seal_with(&Secret::shared(secret.as_bytes()));
    encode_as(7, &Key::from_bytes(b"key"), &stored, Compression::OFF).unwrap()
}

#[test]
fn only_an_unchanged_entry_is_authentic_to_holders_of_its_secret() {
    let is_authentic = |head: &[u8], body: &[u8], secret: &Secret| {
        let body = Bytes::copy_from_slice(body);
        let decoded = decode(&Key::from_bytes(b"key"), Head::decode(head).unwrap(), &body, DecodeLimits::default()).unwrap();
        decoded.origin().is_authentic(secret)
    };
    let secret = Secret::shared(b"secret");
    let page = || entry(Content::Response(page(b"body", &[("x-field", "value")])));
    let Encoded { head, body } = sealed("secret", page());
    assert!(is_authentic(&head, &body, &secret) && is_authentic(&head, &body, &Secret::default()));
    assert!(!is_authentic(&head, &body, &Secret::shared(b"another")));

    let unsealed = encode_as(7, &Key::from_bytes(b"key"), &page(), Compression::OFF).unwrap();
    assert!(!is_authentic(&unsealed.head, &unsealed.body, &secret) && is_authentic(&head, &unsealed.body, &Secret::default()));
    let mut changed = body.clone();
    replace(&mut changed, b"value", b"other");
    seal(&mut changed);
    assert!(!is_authentic(&head, &changed, &secret), "a field");

    let later = Stored::new(Epoch::of(0x0102_0304_0506_0708, 1_800_000_000_000_000), page().tags().to_vec(), Content::Tombstone);
    let untagged = Stored::new(page().born(), Vec::new(), Content::Tombstone);
    for (what, other) in [("its epoch", later), ("its tags", untagged)] {
        assert!(!is_authentic(&sealed("secret", other).head, &body, &secret), "{what}");
    }
}
