//! RFC 9875: cache groups.

use http::Method;

use super::origin::{PROFILES, Profile, Site, fresh, reply};
use crate::support::request;

/// Whether a POST elsewhere that names these groups invalidates a page of those.
async fn invalidates(profile: Profile, groups: &str, named: &str) -> bool {
    let site = profile.site([fresh().with("cache-groups", groups), reply(204, &[("cache-group-invalidation", named)]), fresh()]);
    site.get().await;
    site.send(request(Method::POST, "/write", &[])).await;
    !site.get().await.is_hit()
}

#[tokio::test]
async fn s84_a_write_invalidates_the_groups_that_it_names() {
    for profile in PROFILES {
        let many = |name: &str| (0..32).map(|number| format!("\"{name}{number:031}\"")).collect::<Vec<_>>().join(", ");
        for (groups, named, expected) in [
            ("\"a\"", "\"a\"", true),
            ("\"a\", \"b\"", "\"b\"", true),
            ("\"a\";x=1, \"b\"", "\"c\", \"a\";y", true),
            ("\"a\"", "\"A\"", false),
            ("\"a\"", "a", false),
            ("a", "\"a\"", false),
            ("\"a\"", "\"a", false),
            ("\"a\"", "\"ab\"", false),
            (&many("g"), &format!("\"g{:031}\"", 31), true),
            (&format!("\"h{:031}\"", 31), &many("h"), true),
        ] {
            assert_eq!(invalidates(profile, groups, named).await, expected, "{profile:?} {groups} {named}");
        }
    }
}

#[tokio::test]
async fn s85_a_group_belongs_to_one_origin() {
    for profile in PROFILES {
        for host in ["other.example", "example.com:8080"] {
            let site =
                profile.site([fresh().with("cache-groups", "\"a\""), reply(204, &[("cache-group-invalidation", "\"a\"")])]);
            site.get().await;
            site.send(request(Method::POST, "/write", &[("host", host)])).await;
            assert!(site.get().await.is_hit(), "{profile:?} {host}");
        }
    }
}

#[tokio::test]
async fn s86_a_group_named_by_a_safe_or_failed_request_is_not_invalidated() {
    for profile in PROFILES {
        for (method, status) in [("GET", 200), ("HEAD", 200), ("OPTIONS", 204), ("QUERY", 200), ("POST", 400), ("POST", 500)] {
            let named = reply(status, &[("cache-group-invalidation", "\"a\"")]);
            let site = profile.site([fresh().with("cache-groups", "\"a\""), named]);
            site.get().await;
            site.send(request(method.parse().unwrap(), "/write", &[])).await;
            assert!(site.get().await.is_hit(), "{profile:?} {method} {status}");
        }
    }
}

/// A site with `/a` and `/b` stored, both of the group `g`.
async fn site_of_a_group(profile: Profile) -> Site {
    let site =
        profile.site([fresh().with("cache-groups", "\"g\""), fresh().with("cache-groups", "\"g\", \"h\""), reply(204, &[])]);
    for uri in ["/a", "/b"] {
        site.send(request(Method::GET, uri, &[])).await;
    }
    site
}

#[tokio::test]
async fn s87_the_invalidation_of_a_response_does_not_invalidate_its_group() {
    for profile in PROFILES {
        let site = site_of_a_group(profile).await;
        site.send(request(Method::POST, "/a", &[])).await;
        assert!(site.send(request(Method::GET, "/b", &[])).await.is_hit(), "{profile:?}");
        site.cache.invalidate_uri("/a").await.unwrap();
        assert!(site.send(request(Method::GET, "/b", &[])).await.is_hit(), "{profile:?}");
    }
}
