//! The method QUERY.

use axum::{body::Body, extract::Request};

use super::origin::{PROFILES, fresh};

#[tokio::test]
async fn s91_a_query_is_never_answered_from_another_ones_response() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        let query = |content: &'static str| {
            let request = Request::builder().method("QUERY").uri("/page").header("host", "example.com");
            request.header("content-type", "text/plain").body(Body::from(content)).unwrap()
        };
        assert_eq!(site.send(query("a")).await.text(), "answer 1");
        assert_eq!(site.send(query("b")).await.text(), "answer 2", "{profile:?}");
        assert_eq!(site.get().await.text(), "answer 3", "{profile:?}");
        assert_eq!(site.send(query("a")).await.text(), "answer 4", "{profile:?}");
        assert!(site.get().await.is_hit(), "{profile:?}: a query changes nothing");
    }
}
