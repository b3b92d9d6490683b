//! What a route stores.

use std::time::Duration;

use http::StatusCode;
use larder::{Cache, CacheDirective, CacheLayer, Reason};

use crate::support::{MINUTE, Runs, cache, fields, get, minute, numbered, numbered_with, page};

#[tokio::test]
async fn without_a_lifetime_nothing_is_stored() {
    let app = page(cache().0.layer(), numbered(&Runs::default()));
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::NoFreshness));
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

/// Whether a response with this status is found again.
async fn keeps(layer: CacheLayer, status: StatusCode) -> bool {
    let app = page(layer, move || async move { status });
    get(&app, "/page").await;
    let second = get(&app, "/page").await;
    assert_eq!(second.status, status);
    second.is_hit()
}

#[tokio::test]
async fn route_ttl_applies_to_final_successes_only() {
    let kept = [200, 203, 301, 308];
    for status in [200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 304, 307, 308, 400, 404, 405, 410, 414, 451, 500, 501] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(keeps(minute(&cache().0), status).await, kept.contains(&status.as_u16()), "{status}");
    }
}

#[tokio::test]
async fn negative_ttl_applies_to_404_and_410() {
    for (status, kept) in [(404, true), (410, true), (200, false), (400, false), (500, false), (204, false)] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(keeps(cache().0.layer().negative_ttl(MINUTE), status).await, kept, "{status}");
    }
}

#[tokio::test]
async fn a_status_that_a_route_names_is_kept_for_its_own_time() {
    let (cache, clock) = cache();
    let teapot = StatusCode::IM_A_TEAPOT;
    let layer = minute(&cache).ttl_for(teapot, 5 * MINUTE).ttl_for(teapot, 2 * MINUTE);
    let app = page(layer, move || async move { teapot });
    get(&app, "/page").await;
    clock.advance(2 * MINUTE - Duration::from_millis(1));
    assert!(get(&app, "/page").await.is_hit());
    clock.advance(Duration::from_millis(1));
    assert!(!get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn store_if_sees_the_head_and_the_length() {
    let layer = |cache: &Cache| minute(cache).store_if(|head, length| head.headers.contains_key("x-store") && length == Some(4));
    for (lines, body, stored) in
        [(&[("x-store", "1")][..], "page", true), (&[], "page", false), (&[("x-store", "1")], "long page", false)]
    {
        let headers = fields(lines);
        let app = page(layer(&cache().0), move || async move { (headers, body) });
        assert_eq!(get(&app, "/page").await.reason(), (!stored).then_some(Reason::StoreIf));
        assert_eq!(get(&app, "/page").await.is_hit(), stored, "{lines:?} {body}");
    }
}

#[tokio::test]
async fn store_if_is_not_called_for_an_unstorable_response() {
    let asked = Runs::default();
    let count = asked.clone();
    let layer = minute(&cache().0).store_if(move |_, _| count.begin() > 0);
    let app = page(layer, numbered_with(&Runs::default(), &[("cache-control", "private")]));
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::Private));
    assert_eq!(asked.count(), 0);
}

#[tokio::test]
async fn private_response_is_never_stored() {
    let (private, ttl) = (CacheDirective::private(), CacheDirective::ttl(MINUTE));
    for (first, second) in [(private, ttl), (ttl, private), (private, CacheDirective::no_store())] {
        let app = page(minute(&cache().0), move || async move {
            (first, second, fields(&[("larder-cache-control", "public, max-age=60")]), "page")
        });
        for _ in 0..2 {
            assert_eq!(get(&app, "/page").await.reason(), Some(Reason::Private));
        }
    }
}
