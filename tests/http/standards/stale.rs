//! RFC 5861: stale responses during a refresh, and after a failed one.

use larder::{CacheLayer, Reason};

use super::origin::{PROFILES, Profile, Reply, Site, Strict, controlled, fresh, gone, reply};
use crate::support::{MINUTE, paused::settled, request};

/// A site whose first reply was fresh for 10 seconds and is 15 seconds old.
async fn stale_site(profile: Profile, replies: impl IntoIterator<Item = Reply>) -> Site {
    let site = profile.site(replies);
    site.get().await;
    site.pass(15);
    site
}

#[tokio::test(start_paused = true)]
async fn s69_stale_response_in_its_window_is_used_and_refreshed() {
    for profile in PROFILES {
        let site = stale_site(profile, [controlled("max-age=10, stale-while-revalidate=60")]).await;
        assert_eq!(site.get().await.text(), "answer 1", "{profile:?}");
        settled().await;
        assert_eq!(site.asked(), 2, "{profile:?}");
        let refreshed = site.get().await;
        assert_eq!((refreshed.text(), refreshed.header("age")), ("answer 2", Some("0")), "{profile:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s69_beyond_its_window_a_stale_response_is_not_used() {
    for profile in PROFILES {
        for (seconds, expected) in [(10, "answer 1"), (69, "answer 1"), (70, "answer 2"), (1000, "answer 2")] {
            let site = profile.site([controlled("max-age=10, stale-while-revalidate=60")]);
            site.get().await;
            site.pass(seconds);
            assert_eq!(site.get().await.text(), expected, "{profile:?} {seconds}");
            settled().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s69_the_window_of_the_response_goes_before_that_of_the_route() {
    for profile in PROFILES {
        for (directives, expected) in [
            ("max-age=10", "answer 1"),
            ("max-age=10, stale-while-revalidate=3", "answer 2"),
            ("max-age=10, stale-while-revalidate=0", "answer 2"),
            ("max-age=10, stale-while-revalidate=x", "answer 2"),
            ("max-age=10, Stale-While-Revalidate=\"60\"", "answer 1"),
        ] {
            let site = profile.site_with(|layer| layer.stale_while_revalidate(MINUTE), [controlled(directives)]);
            site.get().await;
            site.pass(15);
            assert_eq!(site.get().await.text(), expected, "{profile:?} {directives}");
            settled().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s69_background_refresh_validates_with_the_fields_of_its_request() {
    for profile in PROFILES {
        let first = controlled("max-age=10, stale-while-revalidate=60").with("etag", "\"a\"");
        let site = stale_site(profile, [first, reply(304, &[("x-new", "1")])]).await;
        site.get_with(&[("x-a", "1"), ("accept", "text/plain")]).await;
        settled().await;
        assert_eq!(site.received("x-a").as_deref(), Some("1"), "{profile:?}");
        assert_eq!(site.received("accept").as_deref(), Some("text/plain"), "{profile:?}");
        assert_eq!(site.received("if-none-match").as_deref(), Some("\"a\""), "{profile:?}");
        let hit = site.get().await;
        assert_eq!((hit.text(), hit.header("x-new"), site.asked()), ("answer 1", Some("1"), 2), "{profile:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s69_refresh_with_an_unstorable_response_ends_the_entry() {
    for profile in PROFILES {
        for directives in ["no-cache", "no-store", "private", "max-age=0"] {
            let site = stale_site(profile, [controlled("max-age=10, stale-while-revalidate=60"), controlled(directives)]).await;
            assert_eq!(site.get().await.text(), "answer 1", "{profile:?} {directives}");
            settled().await;
            assert_eq!(site.get().await.text(), "answer 3", "{profile:?} {directives}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s69_a_refresh_that_fails_leaves_the_stale_response_within_its_window() {
    for profile in PROFILES {
        for failure in [reply(503, &[]), gone()] {
            let site = stale_site(profile, [controlled("max-age=10, stale-while-revalidate=60"), failure]).await;
            for asked in [2, 3] {
                assert_eq!(site.get().await.text(), "answer 1", "{profile:?}");
                settled().await;
                assert_eq!(site.asked(), asked, "{profile:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s69_refresh_fetches_the_whole_response_for_a_range_request() {
    for profile in PROFILES {
        for line in [("range", "bytes=0-1"), ("if-none-match", "\"x\""), ("if-modified-since", "Mon, 02 Nov 2026 08:00:00 GMT")] {
            let site = stale_site(profile, [controlled("max-age=10, stale-while-revalidate=60"), fresh()]).await;
            site.get_with(&[line]).await;
            settled().await;
            assert_eq!(site.received(line.0), None, "{profile:?} {line:?}");
            assert_eq!(site.get().await.text(), "answer 2", "{profile:?} {line:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s69_a_head_refreshes_with_a_get() {
    for profile in PROFILES {
        let site = stale_site(profile, [controlled("max-age=10, stale-while-revalidate=60")]).await;
        assert!(site.head().await.is_hit(), "{profile:?}");
        settled().await;
        assert_eq!(site.get().await.text(), "answer 2", "{profile:?}");
        assert_eq!(site.requests()[1].method, http::Method::GET, "{profile:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s69_strict_profile_obeys_a_client_that_demands_fresher() {
    for demand in ["no-cache", "max-age=0", "max-age=14", "min-fresh=1"] {
        let site = stale_site(Strict, [controlled("max-age=10, stale-while-revalidate=60")]).await;
        assert_eq!(site.get_with(&[("cache-control", demand)]).await.text(), "answer 2", "{demand}");
        settled().await;
    }
}

#[tokio::test]
async fn s70_a_failed_handler_is_covered_by_a_stale_response() {
    for profile in PROFILES {
        for failure in [reply(500, &[]), reply(502, &[]), reply(503, &[]), reply(504, &[]), gone()] {
            let site = stale_site(profile, [controlled("max-age=10, stale-if-error=60"), failure, fresh()]).await;
            let stale = site.get().await;
            assert_eq!((stale.status.as_u16(), stale.text()), (200, "answer 1"), "{profile:?}");
            assert_eq!(stale.reason(), Some(Reason::StaleOnError), "{profile:?}");
            assert_eq!(site.get().await.text(), "answer 3", "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s70_other_answers_are_not_covered() {
    for profile in PROFILES {
        for status in [400, 403, 404, 410, 429, 501, 505, 599] {
            let site = stale_site(profile, [controlled("max-age=10, stale-if-error=60"), reply(status, &[])]).await;
            assert_eq!(site.get().await.status.as_u16(), status, "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s70_beyond_its_window_a_failure_is_not_covered() {
    for profile in PROFILES {
        for (seconds, expected) in [(69, 200), (70, 503), (1000, 503)] {
            let site = profile.site([controlled("max-age=10, stale-if-error=60"), reply(503, &[])]);
            site.get().await;
            site.pass(seconds);
            assert_eq!(site.get().await.status, expected, "{profile:?} {seconds}");
        }
    }
}

#[tokio::test]
async fn s70_the_window_of_the_response_goes_before_that_of_the_route() {
    let window = |layer: CacheLayer| layer.stale_if_error(MINUTE);
    for profile in PROFILES {
        for (directives, expected) in
            [("max-age=10", 200), ("max-age=10, stale-if-error=3", 503), ("max-age=10, STALE-IF-ERROR=\"60\"", 200)]
        {
            let site = profile.site_with(window, [controlled(directives), reply(503, &[])]);
            site.get().await;
            site.pass(15);
            assert_eq!(site.get().await.status, expected, "{profile:?} {directives}");
        }
    }
}

#[tokio::test]
async fn s70_an_error_does_not_push_out_a_fresh_response() {
    let site = Strict.site([fresh(), reply(503, &[])]);
    site.get().await;
    assert_eq!(site.get_with(&[("cache-control", "no-cache")]).await.status, 503);
    assert_eq!(site.get().await.text(), "answer 1");
}

#[tokio::test(start_paused = true)]
async fn s71_a_stale_response_shows_its_age() {
    for profile in PROFILES {
        let site = stale_site(profile, [controlled("max-age=10, stale-while-revalidate=60"), gone()]).await;
        assert_eq!(site.get().await.header("age"), Some("15"), "{profile:?}");
        settled().await;
        let site = stale_site(profile, [controlled("max-age=10, stale-if-error=60"), gone()]).await;
        assert_eq!(site.get().await.header("age"), Some("15"), "{profile:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s72_nothing_is_fetched_without_a_request() {
    for profile in PROFILES {
        let layer = |layer: CacheLayer| layer.stale_while_revalidate(MINUTE).refresh_ahead(100.0);
        let site = profile.site_with(layer, [fresh().takes(1)]);
        site.get().await;
        for _ in 0..10 {
            site.pass(20);
            tokio::time::advance(std::time::Duration::from_secs(20)).await;
            settled().await;
        }
        assert_eq!(site.asked(), 1, "{profile:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s72_many_stale_responses_cause_one_fetch() {
    for profile in PROFILES {
        let site = stale_site(profile, [controlled("max-age=10, stale-while-revalidate=60"), fresh()]).await;
        for _ in 0..10 {
            drop(site.respond(request(http::Method::GET, "/page", &[])).await);
        }
        settled().await;
        assert_eq!(site.asked(), 2, "{profile:?}");
    }
}
