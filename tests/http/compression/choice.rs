//! Which coding a client gets.

use larder::{CompressionOptions, ContentCoding};

use super::{accepting, coded, coding_of, compressing, decoded, idle, site, text};
use crate::support::{Runs, cache, get, get_with, minute};

#[tokio::test]
async fn first_client_gets_the_response_as_it_came_and_later_ones_each_coding() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache), &runs, &[]);
    let first = accepting(&app, "gzip, br, zstd").await;
    assert!(first.is_stored());
    assert_eq!((coding_of(&first.headers), first.text()), (None, &*text()));
    for coding in ["zstd", "br", "gzip"] {
        let missed = accepting(&app, coding).await;
        assert!(missed.is_hit());
        assert_eq!((coding_of(&missed.headers), missed.text()), (None, &*text()));
        idle(&cache).await;
        let hit = accepting(&app, coding).await;
        assert!(hit.is_hit());
        assert_eq!((coding_of(&hit.headers), decoded(&hit)), (Some(coding), text()));
        assert_eq!(hit.header("content-length"), Some(&*hit.body.len().to_string()));
        assert!(hit.body.len() * 5 < text().len(), "{coding}: {}", hit.body.len());
    }
    let plain = get(&app, "/page").await;
    assert_eq!((coding_of(&plain.headers), plain.text(), runs.count()), (None, &*text(), 1));
    for answer in [first, plain, accepting(&app, "br").await] {
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
    }
}

#[tokio::test]
async fn client_gets_what_it_wants_most() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache), &runs, &[]);
    coded(&app, &cache, &["gzip", "br", "zstd"]).await;
    for (accepted, expected) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("br")),
        ("gzip;q=1, br;q=0.5, zstd;q=0.5", Some("gzip")),
        ("*", Some("zstd")),
        ("*, zstd;q=0", Some("br")),
        ("gzip;q=0, *;q=0", None),
        ("gzip;q=0.5, identity", None),
        ("identity;q=0, gzip", Some("gzip")),
        // Nothing that it accepts exists.
        ("identity;q=0", None),
        ("deflate", None),
        ("", None),
    ] {
        let answer = accepting(&app, accepted).await;
        assert_eq!((coding_of(&answer.headers), decoded(&answer)), (expected, text()), "{accepted}");
    }
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn client_gets_another_coding_until_the_one_that_it_prefers_is_made() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache), &runs, &[]);
    coded(&app, &cache, &["gzip"]).await;
    assert_eq!(coding_of(&accepting(&app, "gzip, br").await.headers), Some("gzip"));
    idle(&cache).await;
    assert_eq!(coding_of(&accepting(&app, "gzip, br").await.headers), Some("br"));
}

#[tokio::test]
async fn layer_decides_which_codings_there_are_and_their_order() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let options = CompressionOptions::default().codings([ContentCoding::Gzip, ContentCoding::Brotli]);
    let app = site(minute(&cache).compress(options), &runs, &[]);
    coded(&app, &cache, &["br", "gzip"]).await;
    assert_eq!(coding_of(&accepting(&app, "br, gzip, zstd").await.headers), Some("gzip"));
    assert_eq!(coding_of(&accepting(&app, "zstd").await.headers), None);
}

#[tokio::test]
async fn setting_can_be_switched_off_again() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache).compress(false), &runs, &[]);
    coded(&app, &cache, &["gzip"]).await;
    let answer = accepting(&app, "gzip").await;
    assert_eq!((coding_of(&answer.headers), answer.header("vary")), (None, None));
}

#[tokio::test]
async fn hostile_values_of_accept_encoding_get_the_response_as_it_came() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache), &runs, &[]);
    coded(&app, &cache, &["gzip"]).await;
    let many: String = (0..2000).map(|number| format!("x{number};q=0.{},", number % 1000)).collect();
    let long = "gzip".repeat(5000);
    for value in [&*many, &long, ";;;;", "gzip;q=", "gzip;q=1;q=1", "\"gzip\"", "q=1", &"*;q=0,".repeat(2000), "gzip\tbr"] {
        let answer = accepting(&app, value).await;
        assert!(answer.is_hit(), "{value:.40}");
        assert_eq!(answer.text(), text(), "{value:.40}");
    }
    let answer = accepting(&app, &format!("{many}gzip")).await;
    assert_eq!(decoded(&answer), text());
    assert_eq!(coding_of(&answer.headers), Some("gzip"));
    let answer = get_with(&app, "/page", &[("accept-encoding", "gzip;q=0.2"), ("accept-encoding", "identity;q=0.1")]).await;
    assert_eq!(coding_of(&answer.headers), Some("gzip"));
    assert_eq!(runs.count(), 1);
}
