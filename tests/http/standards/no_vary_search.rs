//! No-Vary-Search.

use http::Method;

use super::origin::{PROFILES, Profile, fresh};
use crate::support::request;

/// Whether the response to the first URI, which has this `No-Vary-Search`, answers the second.
async fn shared(profile: Profile, value: &str, first: &str, second: &str) -> bool {
    let site = profile.site_with(|layer| layer.no_vary_search(true), [fresh().with("no-vary-search", value)]);
    for uri in [first, second] {
        site.send(request(Method::GET, uri, &[])).await;
    }
    site.asked() == 1
}

#[tokio::test]
async fn s92_invalid_no_vary_search_leaves_the_whole_query_in_the_key() {
    for profile in PROFILES {
        for value in [
            "params",
            "params=?0",
            "params=?1",
            "params=\"a\"",
            "params=(a)",
            "params=(\"a\" 1)",
            "except=\"b\"",
            "params=(\"a\"), except=(\"b\")",
            "params, except=(\"b\")",
            "key-order=1",
            "params=(\"a\"",
            "x",
            "",
        ] {
            assert!(!shared(profile, value, "/page?a=1&b=1", "/page?a=2&b=1").await, "{profile:?} {value}");
        }
    }
}

#[tokio::test]
async fn s93_no_vary_search_never_shares_uris_that_differ_otherwise() {
    for profile in PROFILES {
        for (value, first, second) in [
            ("params=(\"a\")", "/page?a=1&b=1", "/page?a=1&b=2"),
            ("params=(\"a\")", "/page?b=1&c=1", "/page?c=1&b=1"),
            ("except=(\"a\")", "/page?a=1", "/page?a=2"),
            ("key-order", "/page?a=1&a=2", "/page?a=2&a=1"),
            ("key-order", "/page?a=1", "/page?a=2"),
            ("params=(\"a\")", "/page?a=1", "/other?a=1"),
        ] {
            assert!(!shared(profile, value, first, second).await, "{profile:?} {value} {first} {second}");
        }
    }
}

#[tokio::test]
async fn s93_no_vary_search_shares_uris_that_differ_in_ignored_parameters() {
    for profile in PROFILES {
        for (value, first, second) in [
            ("params=(\"a\")", "/page?a=1&b=1", "/page?b=1&a=2"),
            ("params=(\"a\" \"b\")", "/page?a=1&b=1&c=1", "/page?c=1"),
            ("params=(\"a\")", "/page?a=1", "/page"),
            ("except=(\"a\")", "/page?a=1&b=1", "/page?c=3&a=1"),
            ("except=()", "/page?a=1", "/page?b=1"),
            ("params=(), key-order", "/page?a=1&b=1", "/page?b=1&a=1"),
            ("params=(\"a\"), key-order, x=1", "/page?b=1&a=1&c=1", "/page?c=1&b=1"),
            ("params=(\"%C3%A9\")", "/page?%C3%A9=1", "/page"),
            ("params=()", "/page?a=%62+c", "/page?%61=b%20c"),
        ] {
            assert!(shared(profile, value, first, second).await, "{profile:?} {value} {first} {second}");
        }
    }
}

#[tokio::test]
async fn s94_the_latest_no_vary_search_of_a_path_counts() {
    for profile in PROFILES {
        let site =
            profile.site_with(|layer| layer.no_vary_search(true), [fresh().with("no-vary-search", "params=(\"a\")"), fresh()]);
        let get = async |uri: &str| site.send(request(Method::GET, uri, &[])).await;
        get("/page?a=1&b=1").await;
        get("/page?b=2").await;
        assert_eq!(get("/page?b=2").await.text(), "answer 2", "{profile:?}");
        assert_ne!(get("/page?a=3&b=2").await.text(), "answer 1", "{profile:?}");
    }
}

/// The page without a query never said that a query is of no importance.
#[tokio::test]
async fn s92_a_rule_holds_for_the_responses_that_have_sent_it() {
    for profile in PROFILES {
        let site = profile
            .site_with(|layer| layer.no_vary_search(true), [fresh(), fresh().with("no-vary-search", "params=(\"a\")"), fresh()]);
        let mut answers = Vec::new();
        for uri in ["/page", "/page?b=1&a=1", "/page?a=2", "/page?b=1&a=2"] {
            answers.push(site.send(request(Method::GET, uri, &[])).await.text().to_owned());
        }
        assert_eq!(answers, ["answer 1", "answer 2", "answer 3", "answer 2"], "{profile:?}");
    }
}
