//! The order of settings.

use std::time::Duration;

use axum::Router;
use larder::{CacheLayer, Reason};

use super::keys::saying_its_query;
use crate::support::{MINUTE, Runs, cache, get, get_with, minute, numbered, numbered_with, page};

#[tokio::test]
async fn repeated_lists_add_up() {
    let app = saying_its_query(minute(&cache().0).ignore_query(["a"]).ignore_query(["b"]));
    assert_eq!(get(&app, "/page?a=1&b=2&c=3").await.text(), "c=3");
    let app = saying_its_query(minute(&cache().0).only_query(["a"]).only_query(["b"]));
    assert_eq!(get(&app, "/page?a=1&b=2&c=3").await.text(), "a=1&b=2");
    let app = page(minute(&cache().0).vary_on_cookies(["a"]).vary_on_cookies(["b"]), numbered(&Runs::default()));
    for (cookie, run) in [("a=1; b=1", "run 1"), ("a=2; b=1", "run 2"), ("a=1; b=2", "run 3"), ("a=1; b=1; c=1", "run 1")] {
        assert_eq!(get_with(&app, "/page", &[("cookie", cookie)]).await.text(), run, "{cookie}");
    }
}

#[tokio::test]
async fn the_last_choice_of_query_parameters_replaces_the_other() {
    let app = saying_its_query(minute(&cache().0).ignore_query(["a"]).only_query(["a"]));
    assert_eq!(get(&app, "/page?a=1&b=2").await.text(), "a=1");
    let app = saying_its_query(minute(&cache().0).only_query(["a"]).ignore_query(["a"]));
    assert_eq!(get(&app, "/page?a=1&b=2").await.text(), "b=2");
}

#[tokio::test]
async fn a_switch_can_be_turned_off_again() {
    let on = minute(&cache().0)
        .sort_query(true)
        .ignore_cookies(true)
        .ignore_authorization(true)
        .strip_set_cookie(true)
        .auto_etag(true)
        .status_header(true);
    let off = on
        .clone()
        .sort_query(false)
        .ignore_cookies(false)
        .ignore_authorization(false)
        .strip_set_cookie(false)
        .auto_etag(false)
        .status_header(false);
    for (layer, is_on) in [(on, true), (off, false)] {
        assert_eq!(get(&saying_its_query(layer.clone()), "/page?b=1&a=1").await.text() == "a=1&b=1", is_on);
        for credential in [("cookie", "a=1"), ("authorization", "Basic x")] {
            let app = page(layer.clone(), numbered(&Runs::default()));
            get_with(&app, "/page", &[credential]).await;
            assert_eq!(get_with(&app, "/page", &[credential]).await.is_hit(), is_on, "{credential:?}");
        }
        let app = page(layer.clone(), numbered_with(&Runs::default(), &[("set-cookie", "a=1")]));
        get(&app, "/page").await;
        assert_eq!(get(&app, "/page").await.is_hit(), is_on);
        let app = page(layer, || async { "page" });
        get(&app, "/page").await;
        let hit = get(&app, "/page").await;
        assert_eq!((hit.header("etag").is_some(), hit.header("cache-status").is_some()), (is_on, is_on));
    }
}

/// A setting before and after `strict()`.
fn around_strict(set: impl Fn(CacheLayer) -> CacheLayer) -> [Router; 2] {
    let runs = Runs::default();
    [set(cache().0.layer()).strict(), set(cache().0.layer().strict())]
        .map(|layer| page(layer.ttl(MINUTE), numbered_with(&runs, &[("set-cookie", "a=1")])))
}

#[tokio::test]
async fn strict_leaves_the_choice_of_trusted_clients_alone() {
    for app in around_strict(|layer| layer.trusted_clients(|parts| parts.headers.contains_key("x-admin"))) {
        get(&app, "/page").await;
        assert!(get_with(&app, "/page", &[("cache-control", "no-cache")]).await.is_hit());
        assert!(!get_with(&app, "/page", &[("cache-control", "no-cache"), ("x-admin", "1")]).await.is_hit());
    }
}

#[tokio::test]
async fn strict_leaves_the_longest_lifetime_alone() {
    for set in [|layer: CacheLayer, max| layer.max_ttl(max).strict(), |layer: CacheLayer, max| layer.strict().max_ttl(max)] {
        let (cache, clock) = cache();
        let app = page(set(minute(&cache), Duration::from_secs(10)), numbered(&Runs::default()));
        get(&app, "/page").await;
        clock.advance(Duration::from_secs(9));
        assert!(get(&app, "/page").await.is_hit());
        clock.advance(Duration::from_secs(1));
        assert!(!get(&app, "/page").await.is_hit());
    }
}

#[tokio::test]
async fn strict_leaves_the_choice_of_cookies_alone() {
    for app in around_strict(|layer| layer.vary_on_cookies(["theme"])) {
        let dark = get_with(&app, "/page", &[("cookie", "theme=dark")]).await;
        assert_ne!(get_with(&app, "/page", &[("cookie", "theme=light")]).await.text(), dark.text());
        assert!(get_with(&app, "/page", &[("cookie", "theme=dark; sid=1")]).await.is_hit());
    }
    for app in around_strict(|layer| layer.strip_set_cookie(true)) {
        get(&app, "/page").await;
        let hit = get(&app, "/page").await;
        assert_eq!((hit.is_hit(), hit.header("set-cookie")), (true, None));
    }
    for app in around_strict(|layer| layer.ignore_cookies(false)) {
        assert_eq!(get_with(&app, "/page", &[("cookie", "a=1")]).await.reason(), Some(Reason::RequestCookie));
        // An empty field is no cookie.
        for empty in ["", " ", ";"] {
            assert_ne!(get_with(&app, "/page", &[("cookie", empty)]).await.reason(), Some(Reason::RequestCookie), "{empty:?}");
        }
    }
}

#[tokio::test]
async fn a_route_returns_to_the_default_for_cookies_from_the_defaults_of_its_cache() {
    type Set = fn(CacheLayer) -> CacheLayer;
    let defaults: [Set; 3] =
        [|layer| layer.bypass_on_cookies(["sid"]), |layer| layer.vary_on_cookies(["theme"]), |layer| layer.ignore_cookies(true)];
    for (number, set) in defaults.into_iter().enumerate() {
        let (cache, _) = cache();
        let cache = cache.with_defaults(|layer| set(layer.ttl(MINUTE)));
        for (layer, is_strict) in [(cache.layer(), false), (cache.layer().ignore_cookies(false), true)] {
            let app = page(layer, numbered(&Runs::default()));
            get_with(&app, "/page", &[("cookie", "other=1")]).await;
            let again = get_with(&app, "/page", &[("cookie", "other=1")]).await;
            assert_eq!(again.is_hit(), !is_strict, "{number}");
            assert_eq!(again.reason(), is_strict.then_some(Reason::RequestCookie), "{number}");
        }
    }
}

/// As when the names come from a configuration that has none.
#[tokio::test]
async fn an_empty_list_of_cookies_to_bypass_on_lets_no_user_share_a_page() {
    let app = page(minute(&cache().0).bypass_on_cookies(Vec::<String>::new()), numbered(&Runs::default()));
    for user in ["sid=1", "sid=2"] {
        assert_eq!(get_with(&app, "/page", &[("cookie", user)]).await.reason(), Some(Reason::RequestCookie), "{user}");
    }
    let named = minute(&cache().0).bypass_on_cookies(["sid"]).bypass_on_cookies([""; 0]);
    let app = page(named, numbered(&Runs::default()));
    assert_eq!(get_with(&app, "/page", &[("cookie", "sid=1")]).await.reason(), Some(Reason::RequestCookie));
    assert!(get_with(&app, "/page", &[("cookie", "_ga=1")]).await.is_stored(), "a further empty list changes nothing");
}

#[tokio::test]
async fn layers_begin_with_the_defaults_of_their_cache() {
    let (cache, clock) = cache();
    let cache = cache.with_defaults(|layer| layer.ttl(MINUTE).tags(["all"]));
    let app = page(cache.layer().tags(["page"]), numbered(&Runs::default()));
    assert_eq!(get(&app, "/page").await.text(), "run 1");
    assert!(get(&app, "/page").await.is_hit());
    for (run, tag) in [(2, "all"), (3, "page")] {
        cache.invalidate_tags(tag).await.unwrap();
        assert_eq!(get(&app, "/page").await.text(), format!("run {run}"));
    }
    clock.advance(MINUTE);
    assert_eq!(get(&app, "/page").await.text(), "run 4");
}
