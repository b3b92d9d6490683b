//! RFC 9111 §4.4: what a write invalidates.

use http::Method;

use super::origin::{PROFILES, Strict, controlled, fresh, gone, reply};
use crate::support::{MINUTE, paused::settled, request};

const UNSAFE: [&str; 7] = ["POST", "PUT", "PATCH", "DELETE", "M-SEARCH", "FROB", "PURGE"];

#[tokio::test]
async fn s65_a_write_that_succeeded_invalidates_its_uri() {
    for profile in PROFILES {
        for method in UNSAFE {
            for status in [200, 201, 204, 299, 302, 303] {
                let site = profile.site([fresh(), reply(status, &[]), fresh()]);
                site.get().await;
                site.method(method).await;
                assert_eq!(site.get().await.text(), "answer 3", "{profile:?} {method} {status}");
            }
        }
    }
}

#[tokio::test]
async fn s65_a_write_invalidates_every_variant_and_every_query() {
    for profile in PROFILES {
        let site = profile.site([fresh().with("vary", "x-a")]);
        let get = async |uri: &str, value: &str| site.send(request(Method::GET, uri, &[("x-a", value)])).await;
        let variants = [("/page", "1"), ("/page", "2"), ("/page?q=1", "1")];
        for (uri, value) in variants {
            get(uri, value).await;
        }
        site.method("POST").await;
        for (uri, value) in variants {
            assert!(!get(uri, value).await.is_hit(), "{profile:?} {uri} {value}");
        }
    }
}

#[tokio::test]
async fn s65_a_safe_method_invalidates_nothing() {
    for profile in PROFILES {
        for method in ["HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "REPORT", "SEARCH"] {
            let site = profile.site([fresh()]);
            site.get().await;
            site.method(method).await;
            assert_eq!(site.get().await.text(), "answer 1", "{profile:?} {method}");
        }
    }
}

#[tokio::test]
async fn s66_a_write_that_failed_invalidates_nothing() {
    for profile in PROFILES {
        for method in UNSAFE {
            for status in [400, 403, 404, 409, 500, 503] {
                let site = profile.site([fresh(), reply(status, &[("location", "/page")])]);
                site.get().await;
                site.method(method).await;
                assert_eq!(site.get().await.text(), "answer 1", "{profile:?} {method} {status}");
            }
        }
    }
}

#[tokio::test]
async fn s67_locations_of_the_same_origin_are_invalidated_too() {
    for profile in PROFILES {
        for method in UNSAFE {
            for field in ["location", "content-location"] {
                for location in ["/page", "page", "http://example.com/page", "//example.com/page", "/page?q=1"] {
                    let site = profile.site([fresh(), reply(201, &[(field, location)]), fresh()]);
                    site.get().await;
                    site.send(request(method.parse().unwrap(), "/pages", &[])).await;
                    assert_eq!(site.get().await.text(), "answer 3", "{profile:?} {method} {field}: {location}");
                }
            }
        }
    }
}

#[tokio::test]
async fn s67_locations_are_invalidated_after_a_201_and_in_strict() {
    for profile in PROFILES {
        for field in ["location", "content-location"] {
            for status in [200, 201, 204, 302, 303] {
                let site = profile.site([fresh(), reply(status, &[(field, "/page")]), fresh()]);
                site.get().await;
                site.send(request(Method::POST, "/login", &[])).await;
                let invalidated = status == 201 || matches!(profile, Strict);
                assert_eq!(site.get().await.is_hit(), !invalidated, "{profile:?} {field} {status}");
            }
        }
    }
}

#[tokio::test]
async fn s67_locations_of_another_origin_are_not() {
    for profile in PROFILES {
        for field in ["location", "content-location"] {
            for location in ["http://other.example/page", "//other.example/page", "http://example.com:8080/page"] {
                let site = profile.site([fresh(), fresh(), reply(201, &[(field, location)])]);
                site.get().await;
                let others = [("host", location.split('/').nth(2).unwrap())];
                site.get_with(&others).await;
                site.send(request(Method::POST, "/pages", &[])).await;
                assert_eq!(site.get().await.text(), "answer 1", "{profile:?} {field}: {location}");
                assert_eq!(site.get_with(&others).await.text(), "answer 2", "{profile:?} {field}: {location}");
            }
        }
    }
}

#[tokio::test]
async fn s67_a_location_of_a_safe_request_invalidates_nothing() {
    for profile in PROFILES {
        let site = profile.site([fresh(), reply(302, &[("location", "/page")])]);
        site.get().await;
        site.send(request(Method::GET, "/elsewhere", &[])).await;
        assert_eq!(site.get().await.text(), "answer 1", "{profile:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s68_invalidated_response_is_not_used_stale() {
    for profile in PROFILES {
        for later in [reply(503, &[]), gone()] {
            let site = profile.site_with(
                |layer| layer.stale_while_revalidate(MINUTE).stale_if_error(MINUTE),
                [controlled("max-age=60, stale-while-revalidate=60, stale-if-error=60"), reply(204, &[]), later],
            );
            site.get().await;
            site.method("POST").await;
            let answer = site.try_get().await;
            assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 503), "{profile:?}");
            settled().await;
        }
    }
}

#[tokio::test]
async fn s68_max_stale_does_not_get_an_invalidated_response() {
    let site = Strict.site([fresh(), reply(204, &[]), fresh()]);
    site.get().await;
    site.method("POST").await;
    assert_eq!(site.get_with(&[("cache-control", "max-stale")]).await.text(), "answer 3");
    site.method("POST").await;
    assert_eq!(site.get_with(&[("cache-control", "only-if-cached, max-stale")]).await.status, 504);
}
