use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AGE, CONTENT_LENGTH},
};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    clock::Timestamp,
    no_vary_search::{Order, Parameters, SearchRule},
    stored::{Content, Epoch, StaleWindows, StoredResponse, Variants},
    tag::Tag,
};

/// Everything that an entry says, to be compared.
fn facts(stored: &Stored) -> impl PartialEq + std::fmt::Debug + use<> {
    let content = match stored.content() {
        Content::Response(response) => {
            let fields: Vec<_> = response
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.as_bytes().to_vec(), value.is_sensitive()))
                .collect();
            // The map's own `Debug` hides what is sensitive.
            let response = StoredResponse { headers: HeaderMap::new(), ..response.clone() };
            (format!("{response:?}"), fields)
        }
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
        2 => rule().prop_map(Content::Search),
        1 => Just(Content::Vacant),
    ]
}

fn response() -> impl Strategy<Value = StoredResponse> {
    let body = prop_oneof![vec(any::<u8>(), 0..200), "(a|b|cd){0,2000}".prop_map(String::into_bytes)];
    let times = any::<(u64, u64, u32, u32, u32)>();
    (100..1000_u16, headers(), body, times, any::<[bool; 3]>()).prop_map(|(status, mut headers, body, times, flags)| {
        let (generated, fresh_until, while_revalidate, if_error, cost) = times;
        let [answers_authorized, forbids_stale, immutable] = flags;
        headers.insert(CONTENT_LENGTH, body.len().into());
        headers.insert(AGE, HeaderValue::from_static("0"));
        StoredResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.into(),
            generated: Timestamp::from_millis(generated),
            fresh_until: Timestamp::from_millis(fresh_until),
            answers_authorized,
            stale: StaleWindows { while_revalidate, if_error },
            forbids_stale,
            immutable,
            cost,
        }
    })
}

fn name() -> impl Strategy<Value = HeaderName> {
    prop_oneof!["x-[a-z]{1,3}", "(etag|vary|set-cookie|cache-control)"].prop_map(|name| name.parse().unwrap())
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let value = vec(prop_oneof![Just(b'\t'), 32..=126_u8, 128..=255_u8], 0..30);
    vec((name(), value, any::<bool>()), 0..12).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value, sensitive) in fields {
            let mut value = HeaderValue::from_bytes(&value).unwrap();
            value.set_sensitive(sensitive);
            headers.append(name, value);
        }
        headers
    })
}

fn variants() -> impl Strategy<Value = Variants> {
    let nominations = vec(vec(name(), 0..4).prop_map(Vec::into_boxed_slice), 0..4);
    let members = vec((any::<[u8; 16]>(), any::<u64>().prop_map(Timestamp::from_millis)), 0..10);
    (nominations, members).prop_map(|(nominations, members)| Variants { nominations: nominations.into(), members })
}

fn rule() -> impl Strategy<Value = SearchRule> {
    (any::<[bool; 2]>(), vec("\\PC{0,5}", 0..4)).prop_map(|([kept, ordered], names)| SearchRule {
        parameters: if kept { Parameters::Kept(names) } else { Parameters::Ignored(names) },
        order: if ordered { Order::Matters } else { Order::Ignored },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_decoded_is_what_was_encoded(key in key(), stored in stored()) {
        let Encoded { head, body } = encode(&key, &stored, Compression::OFF).unwrap();
        let decoded = decode(&key, Head::decode(&head).unwrap(), &body.into(), Limits::default()).unwrap();
        prop_assert_eq!(facts(&decoded), facts(&stored));
        let whole = Stored::from_bytes(&key, stored.to_bytes(&key).unwrap().into()).unwrap();
        prop_assert_eq!(facts(&whole), facts(&stored));
    }
}
