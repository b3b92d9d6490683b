//! Variants of a URI.

use larder::Forward;

use crate::support::{MINUTE, Runs, answering, cache, field, fields, get, get_with, minute, numbered_with, page};

#[tokio::test]
async fn two_languages_of_a_page_do_not_evict_each_other() {
    let handler = answering(|parts| (fields(&[("vary", "Accept-Language")]), format!("in {}", field(parts, "accept-language"))));
    let app = page(minute(&cache().0), handler);
    let ask = async |language| get_with(&app, "/page", &[("accept-language", language)]).await;
    for language in ["de", "en"] {
        assert_eq!(ask(language).await.text(), format!("in {language}"));
    }
    for language in ["de", "en", "de"] {
        let answer = ask(language).await;
        assert_eq!((answer.text(), answer.is_hit()), (format!("in {language}").as_str(), true));
    }
    assert_eq!(get(&app, "/page").await.forward(), Some(Forward::VaryMiss));
}

#[tokio::test]
async fn response_that_changes_its_vary_never_answers_the_wrong_request() {
    let (cache, clock) = cache();
    let handler = answering(|parts| match field(parts, "accept-language") {
        "" => ([("vary", "accept-encoding")], "default".to_owned()),
        language => ([("vary", "accept-language")], language.to_owned()),
    });
    let app = page(minute(&cache), handler);
    for language in ["de", "en", "de", "fr", "en"] {
        assert_eq!(get_with(&app, "/page", &[("accept-language", language)]).await.text(), language);
    }
    clock.advance(MINUTE);
    assert_eq!(get_with(&app, "/page", &[("accept-language", "de")]).await.text(), "de");
}

#[tokio::test]
async fn vary_star_is_never_served_again() {
    let app = page(minute(&cache().0), numbered_with(&Runs::default(), &[("vary", "*")]));
    get(&app, "/page").await;
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn a_compressed_body_keeps_its_content_encoding() {
    const GZIP: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0];
    let app = page(minute(&cache().0), || async { (fields(&[("content-encoding", "gzip"), ("vary", "accept-encoding")]), GZIP) });
    for _ in 0..2 {
        let answer = get_with(&app, "/page", &[("accept-encoding", "gzip")]).await;
        assert_eq!((answer.header("content-encoding"), &answer.body[..]), (Some("gzip"), GZIP));
    }
    assert!(get_with(&app, "/page", &[("accept-encoding", "gzip")]).await.is_hit());
}

#[tokio::test]
async fn accept_encodings_share_a_response_only_with_equal_meaning() {
    let handler = answering(|parts| (fields(&[("vary", "accept-encoding")]), field(parts, "accept-encoding").to_owned()));
    let mut mixed = Vec::new();
    for (first, second) in [
        ("*;q=0.5", "*;q=0.5, gzip;q=0"),
        ("gzip, compress", "gzip"),
        ("gzip;q=nan", ""),
        ("gzip;q=0.0001", "br;q=0"),
        ("gzip", "gzip, br"),
        ("gzip, br;q=0.5", "gzip;q=0.5, br"),
        ("gzip", "identity"),
        ("gzip, identity;q=0", "gzip"),
        ("*", ""),
    ] {
        let app = page(minute(&cache().0), handler.clone());
        get_with(&app, "/page", &[("accept-encoding", first)]).await;
        if get_with(&app, "/page", &[("accept-encoding", second)]).await.text() != second {
            mixed.push((first, second));
        }
    }
    assert_eq!(mixed, [("", ""); 0], "the second was answered as the first");
}
