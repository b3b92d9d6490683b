//! Compression together with other layers and settings.

use std::{convert::Infallible, time::Duration};

use axum::{Router, routing};
use larder::{CacheLayer, Forward, WorkCount};
use tower_http::compression::CompressionLayer;

use super::{accepting, coded, coding_of, compressing, decoded, idle, site, text};
use crate::support::{MINUTE, Runs, answering, cache, fields, get_with};

fn routed(layer: CacheLayer, outside: bool) -> Router {
    let handler = answering(|_| (fields(&[("content-type", "text/html")]), text()));
    let get = routing::get(handler);
    match outside {
        true => Router::new().route("/page", get.layer::<_, Infallible>(layer).layer(CompressionLayer::new())),
        false => Router::new().route("/page", get.layer::<_, Infallible>(CompressionLayer::new()).layer(layer)),
    }
}

#[tokio::test]
async fn compressing_layer_outside_leaves_a_coded_response_alone() {
    let (cache, _) = cache();
    let app = routed(compressing(&cache), true);
    // What has no coding yet, it compresses.
    assert_eq!(coding_of(&accepting(&app, "br").await.headers), Some("br"));
    accepting(&app, "br").await;
    idle(&cache).await;
    let answer = accepting(&app, "br").await;
    assert_eq!((coding_of(&answer.headers), decoded(&answer)), (Some("br"), text()));
    // The length is known, and the tag is larder's: the body passed through.
    assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
    assert!(answer.header("etag").unwrap().starts_with("\"br-"));
}

#[tokio::test]
async fn compressing_layer_inside_compresses_nothing_that_is_stored() {
    let (cache, _) = cache();
    let app = routed(compressing(&cache), false);
    coded(&app, &cache, &["gzip"]).await;
    let answer = accepting(&app, "gzip").await;
    assert_eq!((coding_of(&answer.headers), decoded(&answer)), (Some("gzip"), text()));
    assert_eq!(coding_of(&accepting(&app, "").await.headers), None);
}

#[tokio::test]
async fn stale_response_is_served_in_its_coding_while_it_is_refreshed() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache).stale_while_revalidate(MINUTE), &runs, &[]);
    coded(&app, &cache, &["gzip"]).await;
    clock.advance(MINUTE + Duration::from_secs(1));
    let stale = accepting(&app, "gzip").await;
    assert!(stale.is_hit());
    assert_eq!((coding_of(&stale.headers), decoded(&stale)), (Some("gzip"), text()));
}

#[tokio::test]
async fn refresh_with_the_same_body_keeps_the_codings_and_another_body_has_none() {
    for changes in [false, true] {
        let ((cache, clock), runs) = (cache(), Runs::default());
        let handled = runs.clone();
        let handler = answering(move |_| {
            let run = handled.begin();
            let number = run.to_string();
            // Another head each time: a coding has that of the latest response.
            (
                [("content-type", "text/html".to_owned()), ("x-run", number)],
                if changes { format!("{run} {}", text()) } else { text() },
            )
        });
        let app = crate::support::page(compressing(&cache).stale_while_revalidate(MINUTE), handler);
        coded(&app, &cache, &["gzip"]).await;
        clock.advance(MINUTE + Duration::from_secs(1));
        assert!(accepting(&app, "gzip").await.is_hit());
        while runs.count() < 2 || cache.unfinished_work() != WorkCount::default() {
            tokio::task::yield_now().await;
        }
        let answer = accepting(&app, "gzip").await;
        assert!(answer.is_hit());
        assert_eq!((answer.header("x-run"), coding_of(&answer.headers)), (Some("2"), (!changes).then_some("gzip")));
        assert_eq!(decoded(&answer).starts_with("2 "), changes);
    }
}

#[tokio::test]
async fn expired_response_is_stale_in_every_coding() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache).tags(["page"]), &runs, &[]);
    coded(&app, &cache, &["gzip"]).await;
    cache.expire_tags("page").await.unwrap();
    let answer = accepting(&app, "gzip").await;
    assert_eq!((answer.forward(), runs.count()), (Some(Forward::Stale), 2));
}

#[tokio::test]
async fn invalidation_concerns_every_coding() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache).tags(["page"]), &runs, &[]);
    coded(&app, &cache, &["gzip", "br"]).await;
    cache.invalidate_tags("page").await.unwrap();
    let answer = accepting(&app, "gzip").await;
    assert_eq!((answer.is_stored(), coding_of(&answer.headers), runs.count()), (true, None, 2));
}

#[tokio::test]
async fn variants_of_the_handler_have_codings_each() {
    let (cache, _) = cache();
    let handler = answering(|parts| {
        let language = crate::support::field(parts, "accept-language").to_owned();
        (fields(&[("content-type", "text/html"), ("vary", "accept-language")]), language + &text())
    });
    let app = crate::support::page(compressing(&cache), handler);
    let lines = |language| [("accept-language", language), ("accept-encoding", "gzip")];
    for _ in 0..3 {
        for language in ["de", "en"] {
            get_with(&app, "/page", &lines(language)).await;
            idle(&cache).await;
        }
    }
    for language in ["de", "en"] {
        let answer = get_with(&app, "/page", &lines(language)).await;
        assert_eq!(coding_of(&answer.headers), Some("gzip"));
        assert!(decoded(&answer).starts_with(language));
    }
}

#[tokio::test]
async fn strict_profile_compresses_what_may_be_transformed() {
    for (control, expected) in [("max-age=60", Some("gzip")), ("max-age=60, no-transform", None)] {
        let ((cache, _), runs) = (cache(), Runs::default());
        let app = site(compressing(&cache).strict(), &runs, &[("cache-control", control)]);
        coded(&app, &cache, &["gzip"]).await;
        assert_eq!(coding_of(&accepting(&app, "gzip").await.headers), expected, "{control}");
    }
}

#[tokio::test]
async fn statistics_count_the_bytes_that_were_sent() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = site(compressing(&cache), &runs, &[]);
    coded(&app, &cache, &["gzip"]).await;
    let bytes = || cache.stats().total().bytes_from_cache();
    let before = bytes();
    let sent = accepting(&app, "gzip").await.body.len() as u64;
    assert_eq!(bytes() - before, sent);
}
