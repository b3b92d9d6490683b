//! RFC 9530: digests.

use super::origin::{PROFILES, fresh};

const CONTENT_DIGEST: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";

#[tokio::test]
async fn s89_digests_are_stored_and_returned_as_they_came() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("content-digest", CONTENT_DIGEST).with("repr-digest", CONTENT_DIGEST)]);
        site.get().await;
        for answer in [site.get().await, site.head().await] {
            assert!(answer.is_hit(), "{profile:?}");
            assert_eq!(answer.header("repr-digest"), Some(CONTENT_DIGEST), "{profile:?}");
        }
        assert_eq!(site.get().await.header("content-digest"), Some(CONTENT_DIGEST), "{profile:?}");
    }
}

#[tokio::test]
async fn s89_a_part_has_no_digest_of_the_whole_content() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("content-digest", CONTENT_DIGEST).with("repr-digest", CONTENT_DIGEST)]);
        site.get().await;
        for (range, status) in [("bytes=0-1", 206), ("bytes=100-", 416)] {
            let part = site.get_with(&[("range", range)]).await;
            assert_eq!((part.status.as_u16(), part.header("content-digest")), (status, None), "{profile:?}");
        }
        let part = site.get_with(&[("range", "bytes=0-1")]).await;
        assert_eq!(part.header("repr-digest"), Some(CONTENT_DIGEST), "{profile:?}: it covers the whole representation");
    }
}
