//! RFC 8246: `immutable`.

use super::origin::{PROFILES, Strict, controlled, fresh, is_reused};

#[tokio::test]
async fn s88_fresh_immutable_response_is_not_validated() {
    for profile in PROFILES {
        for directives in ["max-age=60, immutable", "max-age=60, IMMUTABLE", "max-age=60, immutable=x"] {
            assert!(is_reused(profile, 59, controlled(directives).with("etag", "\"a\"")).await, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s88_reload_does_not_validate_an_immutable_response_unless_it_insists() {
    for (demand, asked) in [("max-age=0", 1), ("max-age=5", 1), ("no-cache", 2)] {
        let site = Strict.site([controlled("max-age=60, immutable")]);
        site.get().await;
        site.pass(10);
        site.get_with(&[("cache-control", demand)]).await;
        assert_eq!(site.asked(), asked, "{demand}");
    }
}

#[tokio::test]
async fn s88_stale_immutable_response_is_validated() {
    for profile in PROFILES {
        let site = profile.site([controlled("max-age=60, immutable").with("etag", "\"a\"")]);
        site.get().await;
        site.pass(61);
        site.get().await;
        assert_eq!(site.received("if-none-match").as_deref(), Some("\"a\""), "{profile:?}");
        assert!(!is_reused(profile, 0, controlled("immutable")).await, "{profile:?}: it is no lifetime");
    }
}

#[tokio::test]
async fn s88_immutable_in_a_request_means_nothing() {
    let site = Strict.site([fresh()]);
    site.get().await;
    assert!(site.get_with(&[("cache-control", "immutable")]).await.is_hit());
    site.pass(61);
    assert!(!site.get_with(&[("cache-control", "immutable")]).await.is_hit());
}
