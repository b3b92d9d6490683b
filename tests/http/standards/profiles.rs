//! Where the default profile is more careful than the RFCs, and what the strict one does there.

use larder::Reason;

use super::origin::{Default, PROFILES, Strict, controlled, fresh, is_reused};
use crate::support::{Answer, ChannelBody, request};

#[tokio::test]
async fn a_response_that_sets_a_cookie_is_stored_by_the_strict_profile_alone() {
    let setting = || fresh().with("set-cookie", "a=1").with("set-cookie", "b=2");
    assert_eq!(Default.site([setting()]).get().await.reason(), Some(Reason::SetCookie));
    let site = Strict.site([setting()]);
    site.get().await;
    let hit = site.get().await;
    assert!(hit.is_hit());
    assert_eq!(hit.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
}

#[tokio::test]
async fn a_request_with_a_cookie_is_like_any_other_to_the_strict_profile_alone() {
    for (profile, asked) in [(Default, 2), (Strict, 1)] {
        let site = profile.site([fresh()]);
        site.get_with(&[("cookie", "a=1")]).await;
        site.get_with(&[("cookie", "a=2")]).await;
        assert_eq!(site.asked(), asked, "{profile:?}");
    }
}

#[tokio::test]
async fn a_lifetime_of_more_than_a_day_is_cut_by_the_default_profile_alone() {
    const DAY: u64 = 24 * 60 * 60;
    for (profile, expected) in [(Default, false), (Strict, true)] {
        assert!(is_reused(profile, DAY - 1, controlled("max-age=1000000")).await, "{profile:?}");
        assert_eq!(is_reused(profile, DAY, controlled("max-age=1000000")).await, expected, "{profile:?}");
    }
}

#[tokio::test]
async fn only_the_strict_profile_stores_nonces() {
    let nonce = || fresh().with("content-security-policy", "script-src 'nonce-abc'");
    for (profile, expected) in [(Default, false), (Strict, true)] {
        assert_eq!(is_reused(profile, 0, nonce()).await, expected, "{profile:?}");
    }
}

#[tokio::test]
async fn an_endless_stream_is_stored_by_no_profile() {
    for profile in PROFILES {
        for media_type in ["text/event-stream", "multipart/x-mixed-replace; boundary=x"] {
            assert!(!is_reused(profile, 0, fresh().with("content-type", media_type)).await, "{profile:?} {media_type}");
        }
    }
}

/// Reads a body up to its last byte, and no further.
async fn up_to_its_last_byte(response: axum::response::Response, length: usize) {
    use http_body_util::BodyExt as _;
    let (mut body, mut read) = (response.into_body(), 0);
    while read < length {
        read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
}

fn streamed() -> axum::body::Body {
    let (frames, body) = ChannelBody::new();
    ["stre", "amed"].into_iter().for_each(|part| frames.send(part));
    axum::body::Body::new(body)
}

#[tokio::test]
async fn response_whose_last_byte_has_left_answers_the_next_request() {
    for profile in PROFILES {
        for reply in [fresh(), fresh().with("content-length", "8"), fresh().body(streamed).with("content-length", "8")] {
            let site = profile.site([reply]);
            let response = site.respond(request(http::Method::GET, "/page", &[])).await.unwrap();
            up_to_its_last_byte(response, 8).await;
            assert!(site.get().await.is_hit(), "{profile:?}");
        }
    }
}

#[tokio::test]
async fn strict_layer_accepts_further_settings() {
    let site = Strict.site_with(|layer| layer.strip_set_cookie(true), [fresh().with("set-cookie", "a=1")]);
    let first: Answer = site.get().await;
    assert_eq!(first.header("set-cookie"), Some("a=1"));
    let hit = site.get().await;
    assert_eq!((hit.is_hit(), hit.header("set-cookie")), (true, None));
}
