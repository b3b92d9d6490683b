//! Entity tags, preconditions, ranges and lengths of responses in codings.

use http::StatusCode;

use super::{accepting, accepting_with, coded, coding_of, compressing, decoded, head, idle, site, text};
use crate::support::{Runs, cache};

const MODIFIED: &str = "Mon, 02 Nov 2026 08:00:00 GMT";

#[tokio::test]
async fn each_coding_has_a_strong_tag_of_its_own() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache), &runs, &[("etag", "\"v1\"")]);
    coded(&app, &cache, &["gzip", "br", "zstd"]).await;
    let tag = async |coding| accepting(&app, coding).await.header("etag").unwrap().to_owned();
    let tags = [tag("").await, tag("gzip").await, tag("br").await, tag("zstd").await];
    assert_eq!(tags[0], "\"v1\"");
    for (own, (coding, others)) in ["gzip", "br", "zstd"].into_iter().enumerate().map(|(at, coding)| (at + 1, (coding, &tags))) {
        assert!(others[own].starts_with(&format!("\"v1-{coding}-")), "{}", others[own]);
        for (at, tag) in others.iter().enumerate() {
            let answer = accepting_with(&app, coding, ("if-none-match", tag)).await;
            let expected = if at == own { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
            assert_eq!(answer.status, expected, "{coding} {tag}");
        }
    }
    let not_modified = accepting_with(&app, "br", ("if-none-match", &tags[2])).await;
    assert_eq!((not_modified.header("etag"), not_modified.header("vary")), (Some(&*tags[2]), Some("accept-encoding")));
    assert_eq!((coding_of(&not_modified.headers), not_modified.body.len(), runs.count()), (None, 0, 1));
}

#[tokio::test]
async fn weak_tag_is_the_same_in_all_codings() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache).auto_etag(true), &runs, &[]);
    coded(&app, &cache, &["gzip"]).await;
    let plain = accepting(&app, "").await;
    let (tag, gzip) = (plain.header("etag").unwrap(), accepting(&app, "gzip").await);
    assert!(tag.starts_with("W/") && gzip.header("etag") == Some(tag));
    assert_eq!(accepting_with(&app, "gzip", ("if-none-match", tag)).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn date_alone_does_not_resume_a_download_in_another_coding() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache), &runs, &[("last-modified", MODIFIED)]);
    coded(&app, &cache, &["gzip"]).await;
    let gzip = accepting(&app, "gzip").await;
    // With a tag of its own, a client must not use the date (RFC 9110 §13.1.5).
    assert!(gzip.header("etag").unwrap().starts_with("\"gzip-"));
    assert_eq!(accepting(&app, "").await.header("etag"), None);
    assert_eq!(accepting_with(&app, "gzip", ("if-modified-since", MODIFIED)).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn ranges_are_of_the_coded_bytes() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache), &runs, &[("etag", "\"v1\"")]);
    coded(&app, &cache, &["gzip"]).await;
    let whole = accepting(&app, "gzip").await;
    let length = whole.body.len();
    let part = accepting_with(&app, "gzip", ("range", "bytes=10-19")).await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &whole.body[10..20]));
    assert_eq!(part.header("content-range"), Some(&*format!("bytes 10-19/{length}")));
    assert_eq!((coding_of(&part.headers), part.header("etag")), (Some("gzip"), whole.header("etag")));
    let beyond = accepting_with(&app, "gzip", ("range", &format!("bytes={length}-"))).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let plain = accepting_with(&app, "", ("range", &format!("bytes={length}-"))).await;
    assert_eq!((plain.status, plain.text()), (StatusCode::PARTIAL_CONTENT, &text()[length..]));
    let app = &app;
    let resumed = async |tag: &str| {
        let lines = [("accept-encoding", "gzip"), ("range", "bytes=10-19"), ("if-range", tag)];
        crate::support::get_with(app, "/page", &lines).await.status
    };
    assert_eq!(resumed(whole.header("etag").unwrap()).await, StatusCode::PARTIAL_CONTENT);
    assert_eq!(resumed("\"v1\"").await, StatusCode::OK);
}

#[tokio::test]
async fn head_describes_what_get_would_send() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache), &runs, &[("etag", "\"v1\"")]);
    coded(&app, &cache, &["br"]).await;
    for coding in ["br", ""] {
        let (head, get) = (head(&app, coding).await, accepting(&app, coding).await);
        assert!(head.is_hit() && head.body.is_empty());
        assert_eq!(head.headers, get.headers, "{coding}");
        assert_eq!(head.header("content-length"), Some(&*get.body.len().to_string()));
    }
}

#[tokio::test]
async fn digests_of_the_response_without_coding_are_not_sent_with_another() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let lines = [("content-digest", "sha-256=:AA==:"), ("repr-digest", "sha-256=:AA==:"), ("digest", "x"), ("content-md5", "y")];
    let app = site(compressing(&cache), &runs, &lines);
    coded(&app, &cache, &["gzip"]).await;
    for (name, value) in lines {
        assert_eq!(accepting(&app, "").await.header(name), Some(value));
        assert_eq!(accepting(&app, "gzip").await.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn handler_validates_its_own_tag_and_the_codings_stay() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let handled = runs.clone();
    let handler = crate::support::answering(move |parts| {
        handled.begin();
        let headers = crate::support::fields(&[("etag", "\"v1\""), ("content-type", "text/html"), ("vary", "accept-language")]);
        match crate::support::field(parts, "if-none-match") {
            "\"v1\"" => (StatusCode::NOT_MODIFIED, headers, String::new()),
            "" => (StatusCode::OK, headers, text()),
            other => panic!("{other} is not a tag of the handler"),
        }
    });
    let app = crate::support::page(compressing(&cache), handler);
    coded(&app, &cache, &["gzip"]).await;
    let tag = accepting(&app, "gzip").await.header("etag").unwrap().to_owned();
    clock.advance(crate::support::MINUTE * 2);
    let validated = accepting_with(&app, "gzip", ("if-none-match", &tag)).await;
    assert_eq!((validated.status, runs.count()), (StatusCode::NOT_MODIFIED, 2));
    let hit = accepting(&app, "gzip").await;
    assert!(hit.is_hit());
    assert_eq!((coding_of(&hit.headers), decoded(&hit), hit.header("etag")), (Some("gzip"), text(), Some(&*tag)));
    assert_eq!(hit.headers.get_all("vary").iter().collect::<Vec<_>>(), ["accept-language", "accept-encoding"]);
    idle(&cache).await;
    assert_eq!(runs.count(), 2);
}
