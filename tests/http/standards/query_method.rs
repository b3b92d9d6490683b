//! The method QUERY (RFC 10008).

use axum::{body::Body, extract::Request};

use super::origin::{PROFILES, Site, fresh};
use crate::support::Answer;

async fn ask(site: &Site, lines: &[(&str, &str)], content: &'static str) -> Answer {
    let mut request = Request::builder().method("QUERY").uri("/page").header("host", "example.com");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    site.send(request.body(Body::from(content)).unwrap()).await
}

const TEXT: (&str, &str) = ("content-type", "text/plain");

#[tokio::test]
async fn s91_a_query_is_never_answered_from_another_ones_response() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        assert_eq!(ask(&site, &[TEXT], "a").await.text(), "answer 1");
        assert_eq!(ask(&site, &[TEXT], "b").await.text(), "answer 2", "{profile:?}");
        assert_eq!(site.get().await.text(), "answer 3", "{profile:?}");
        assert_eq!(ask(&site, &[TEXT], "a").await.text(), "answer 1", "{profile:?}");
        assert!(site.get().await.is_hit(), "{profile:?}: a query changes nothing");
    }
}

#[tokio::test]
async fn s91_what_describes_the_content_is_in_the_key() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        let described: [&[(&str, &str)]; 4] = [
            &[TEXT],
            &[("content-type", "text/html")],
            &[TEXT, ("content-encoding", "gzip")],
            &[TEXT, ("content-language", "de")],
        ];
        for _ in 0..2 {
            for (number, lines) in (1..).zip(described) {
                assert_eq!(ask(&site, lines, "a").await.text(), format!("answer {number}"), "{profile:?}");
            }
        }
    }
}

#[tokio::test]
async fn s91_a_query_without_content_type_is_left_to_the_server() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        for answer in ["answer 1", "answer 2"] {
            assert_eq!(ask(&site, &[], "a").await.text(), answer, "{profile:?}");
        }
    }
}
