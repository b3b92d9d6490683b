//! RFC 9110: content in a GET, dates, interim responses.

use axum::{body::Body, extract::Request};
use larder::{Forward, Reason};

use super::origin::{BEGINS, PROFILES, date, fresh, is_reused, ok};
use crate::support::MINUTE;

#[tokio::test]
async fn s95_a_get_with_content_bypasses() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        site.get().await;
        let with_content = |content: &'static str, name: &str, value: &str| {
            Request::builder().uri("/page").header("host", "example.com").header(name, value).body(Body::from(content)).unwrap()
        };
        for request in [
            with_content("a", "content-length", "1"),
            with_content("a", "transfer-encoding", "chunked"),
            with_content("a", "x-a", "1"),
            with_content("", "content-length", "1"),
        ] {
            let answer = site.send(request).await;
            assert_eq!((answer.forward(), answer.reason()), (Some(Forward::Bypass), Some(Reason::RequestBody)), "{profile:?}");
        }
        assert_eq!((site.asked(), site.get().await.text()), (5, "answer 1"), "{profile:?}");
        assert!(site.send(with_content("", "content-length", "0")).await.is_hit(), "{profile:?}");
    }
}

#[tokio::test]
async fn s96_dates_are_understood_in_every_field_in_the_three_forms() {
    for profile in PROFILES {
        for form in [BEGINS, "Monday, 02-Nov-26 08:00:00 GMT", "Mon Nov  2 08:00:00 2026"] {
            let expiring = ok(&[("date", form), ("expires", &date(60))]);
            assert!(is_reused(profile, 59, expiring.clone()).await, "{profile:?} {form}");
            assert!(!is_reused(profile, 60, expiring).await, "{profile:?} {form}");
            let site = profile.site([fresh().with("last-modified", form)]);
            site.get().await;
            let answer = site.get_with(&[("if-modified-since", BEGINS)]).await;
            assert_eq!(answer.status, 304, "{profile:?} {form}");
        }
    }
}

#[tokio::test]
async fn s96_invalid_date_counts_as_absent() {
    for profile in PROFILES {
        for value in ["soon", "", "0", "Mon, 02 Nov 2026 07:00:00 PST"] {
            let reply = fresh().with("date", value);
            assert!(is_reused(profile, 59, reply.clone()).await, "{profile:?} {value}");
            assert!(!is_reused(profile, 60, reply).await, "{profile:?} {value}");
        }
    }
}

#[tokio::test]
async fn s97_an_interim_response_is_not_the_final_one() {
    for profile in PROFILES {
        for status in [102, 103] {
            let interim = fresh().status(status).with("link", "</style.css>; rel=preload");
            let site = profile.site_with(|layer| layer.ttl(MINUTE), [interim, fresh()]);
            site.get().await;
            for _ in 0..2 {
                let answer = site.get().await;
                assert_eq!((answer.status.as_u16(), answer.text()), (200, "answer 2"), "{profile:?} {status}");
                assert_eq!(answer.header("link"), None, "{profile:?} {status}");
            }
        }
    }
}
