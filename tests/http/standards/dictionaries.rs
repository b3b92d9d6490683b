//! RFC 9842: compression dictionaries.

use super::origin::{PROFILES, fresh};

const DICTIONARY: [(&str, &str); 2] =
    [("accept-encoding", "gzip, dcb, dcz"), ("available-dictionary", ":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:")];

#[tokio::test]
async fn s90_dictionary_compressed_response_varies_by_dictionary() {
    for profile in PROFILES {
        let compressed = fresh().with("content-encoding", "dcb").with("vary", "accept-encoding, available-dictionary");
        let site = profile.site([compressed, fresh()]);
        site.get_with(&DICTIONARY).await;
        assert_eq!(site.get_with(&DICTIONARY).await.text(), "answer 1", "{profile:?}");
        let other = ("available-dictionary", ":AAAAAAv0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:");
        for lines in
            [&[][..], &[DICTIONARY[0]], &[DICTIONARY[1]], &[("accept-encoding", "gzip"), DICTIONARY[1]], &[DICTIONARY[0], other]]
        {
            assert_ne!(site.get_with(lines).await.text(), "answer 1", "{profile:?} {lines:?}");
        }
    }
}

#[tokio::test]
async fn s90_dictionary_compressed_response_without_vary_is_not_shared() {
    for profile in PROFILES {
        for coding in ["dcb", "dcz", "DCB", "gzip, dcz"] {
            for vary in ["", "accept-encoding", "available-dictionary"] {
                let site = profile.site([fresh().with("content-encoding", coding).with("vary", vary), fresh()]);
                site.get_with(&DICTIONARY).await;
                assert_ne!(site.get().await.text(), "answer 1", "{profile:?} {coding} {vary}");
                let other = [DICTIONARY[0], ("available-dictionary", ":AAAAAAv0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:")];
                assert_ne!(site.get_with(&other).await.text(), "answer 1", "{profile:?} {coding} {vary}");
            }
        }
    }
}
