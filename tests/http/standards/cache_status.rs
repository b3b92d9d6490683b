//! RFC 9211: what `Cache-Status` says.

use http::HeaderValue;
use sfv::{BareItem, Item, List, ListEntry, Parser};

use super::origin::{PROFILES, Profile, Reply, Site, Strict, controlled, date, fresh, ok, reply};
use crate::support::{Answer, paused::settled, request};

impl Profile {
    /// A site that sends `Cache-Status`.
    fn talkative_site(self, replies: impl IntoIterator<Item = Reply>) -> Site {
        self.site_with(|layer| layer.status_header(true), replies)
    }
}

/// The members of the field, nearest to the origin first.
fn members(answer: &Answer) -> Vec<Item> {
    let lines: Vec<_> = answer.headers.get_all("cache-status").iter().map(HeaderValue::as_bytes).collect();
    let list = Parser::new(&lines.join(&b", "[..])).parse::<List>().unwrap();
    let item = |entry| match entry {
        ListEntry::Item(item) => item,
        ListEntry::InnerList(_) => panic!("a member is no list"),
    };
    list.into_iter().map(item).collect()
}

/// Our own member: the last one.
fn own(answer: &Answer) -> Item {
    members(answer).pop().unwrap()
}

fn parameter(item: &Item, name: &str) -> Option<BareItem> {
    item.params.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value.clone())
}

fn flag(item: &Item, name: &str) -> bool {
    parameter(item, name) == Some(BareItem::Boolean(true))
}

fn forward(answer: &Answer) -> Option<String> {
    parameter(&own(answer), "fwd").map(|reason| match reason {
        BareItem::Token(token) => token.as_str().to_owned(),
        other => panic!("a reason is a token, not {other:?}"),
    })
}

fn ttl(answer: &Answer) -> Option<i64> {
    parameter(&own(answer), "ttl").map(|ttl| match ttl {
        BareItem::Integer(seconds) => seconds.into(),
        other => panic!("a lifetime is an integer, not {other:?}"),
    })
}

#[tokio::test]
async fn s73_the_field_is_a_list_to_which_ours_is_added_at_the_end() {
    for profile in PROFILES {
        let site =
            profile.talkative_site([fresh().with("cache-status", "origin; hit").with("cache-status", "\"a b\"; fwd=miss, c")]);
        for _ in 0..2 {
            let members = members(&site.get().await);
            assert_eq!(members.len(), 4, "{profile:?}");
            assert!(flag(&members[0], "hit"), "{profile:?}");
            assert!(matches!(&members[1].bare_item, BareItem::String(name) if name.as_str() == "a b"), "{profile:?}");
            assert!(matches!(&members[3].bare_item, BareItem::Token(name) if name.as_str() == "larder"), "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s73_field_is_sent_only_if_the_route_enables_it() {
    for profile in PROFILES {
        let site = profile.site([fresh()]);
        for _ in 0..2 {
            assert_eq!(site.get().await.header("cache-status"), None, "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s74_a_response_of_our_own_has_no_field() {
    for profile in PROFILES {
        let site = profile.site_with(|layer| layer.status_header(true).trusted_clients(|_| true), [fresh()]);
        let answer = site.get_with(&[("cache-control", "only-if-cached")]).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (504, None), "{profile:?}");
    }
}

#[tokio::test]
async fn s74_responses_from_a_stored_response_have_the_field() {
    for profile in PROFILES {
        let site = profile.talkative_site([fresh().with("etag", "\"a\"")]);
        site.get().await;
        for (line, status) in [(("if-none-match", "\"a\""), 304), (("range", "bytes=0-1"), 206)] {
            let answer = site.get_with(&[line]).await;
            assert_eq!(answer.status, status, "{profile:?}");
            assert!(flag(&own(&answer), "hit"), "{profile:?} {status}");
        }
        assert!(flag(&own(&site.head().await), "hit"), "{profile:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s75_a_response_is_either_a_hit_or_forwarded() {
    for profile in PROFILES {
        let stale = controlled("max-age=10, stale-while-revalidate=5, stale-if-error=60").with("etag", "\"a\"");
        let site = profile.talkative_site([stale.clone(), stale, reply(503, &[]), reply(304, &[]), fresh()]);
        for seconds in [0, 5, 6, 20, 11, 100, 0] {
            site.pass(seconds);
            let answer = site.get().await;
            let own = own(&answer);
            assert_ne!(flag(&own, "hit"), forward(&answer).is_some(), "{profile:?} {own:?}");
            settled().await;
        }
        assert!(site.asked() > 3, "{profile:?}");
    }
}

#[tokio::test]
async fn s76_the_reason_is_the_most_specific_one() {
    for profile in PROFILES {
        let site = profile.talkative_site([fresh().with("vary", "x-a")]);
        assert_eq!(forward(&site.get().await).as_deref(), Some("uri-miss"), "{profile:?}");
        assert_eq!(forward(&site.get_with(&[("x-a", "1")]).await).as_deref(), Some("vary-miss"), "{profile:?}");
        assert_eq!(forward(&site.get_with(&[("if-match", "*")]).await).as_deref(), Some("bypass"), "{profile:?}");
        site.pass(61);
        assert_eq!(forward(&site.get().await).as_deref(), Some("stale"), "{profile:?}");
        for method in ["POST", "OPTIONS", "FROB"] {
            assert_eq!(forward(&site.method(method).await).as_deref(), Some("method"), "{profile:?} {method}");
        }
    }
    let site = Strict.talkative_site([fresh()]);
    site.get().await;
    assert_eq!(forward(&site.get_with(&[("cache-control", "no-cache")]).await).as_deref(), Some("request"));
}

#[tokio::test(start_paused = true)]
async fn s77_parameters_have_their_types_and_say_what_happened() {
    for profile in PROFILES {
        let site =
            profile.talkative_site([controlled("max-age=60, stale-while-revalidate=60").with("etag", "\"a\""), reply(304, &[])]);
        let first = site.get().await;
        assert_eq!((flag(&own(&first), "stored"), ttl(&first)), (true, Some(60)), "{profile:?}");
        site.pass(20);
        let hit = site.get().await;
        assert_eq!((flag(&own(&hit), "hit"), ttl(&hit)), (true, Some(40)), "{profile:?}");
        assert_eq!(parameter(&own(&hit), "stored"), None, "{profile:?}");
        site.pass(50);
        assert_eq!(ttl(&site.get().await), Some(-10), "{profile:?}");
        settled().await;
        site.pass(1000);
        let validated = site.get().await;
        assert_eq!(parameter(&own(&validated), "fwd-status"), Some(BareItem::Integer(304.into())), "{profile:?}");
        assert!(flag(&own(&validated), "stored"), "{profile:?}");
    }
}

#[tokio::test]
async fn s77_unstored_response_has_no_stored_parameter() {
    for profile in PROFILES {
        for reply in [controlled("no-store"), ok(&[]), fresh().with("vary", "*"), fresh().status(206)] {
            let own = own(&profile.talkative_site([reply]).get().await);
            assert_eq!(parameter(&own, "stored"), None, "{profile:?}");
            assert!(matches!(parameter(&own, "detail"), Some(BareItem::Token(_))), "{profile:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s77_follower_has_the_collapsed_parameter() {
    for profile in PROFILES {
        let (gate, runs, (cache, _)) = (crate::support::Gate::closed(), crate::support::Runs::default(), crate::support::cache());
        let layer = if profile == Strict { cache.layer().strict() } else { cache.layer() };
        let door = gate.clone();
        let handler = move || async move {
            runs.begin();
            door.pass().await;
            ([("cache-control", "max-age=60")], "page")
        };
        let app = crate::support::page(layer.status_header(true), handler);
        let ask = || {
            let app = app.clone();
            tokio::spawn(async move { crate::support::get(&app, "/page").await })
        };
        let first = ask();
        gate.arrival().await;
        let second = ask();
        settled().await;
        gate.open(1);
        assert!(flag(&own(&first.await.unwrap()), "stored"), "{profile:?}");
        let shared = second.await.unwrap();
        assert!(flag(&own(&shared), "collapsed") && forward(&shared).is_some(), "{profile:?}");
    }
}

#[tokio::test]
async fn s78_key_is_not_sent() {
    for profile in PROFILES {
        let site = profile.talkative_site([fresh()]);
        for _ in 0..2 {
            let answer = site.send(request(http::Method::GET, "/page?token=secret", &[])).await;
            assert_eq!(parameter(&own(&answer), "key"), None, "{profile:?}");
            assert!(!answer.header("cache-status").unwrap().contains("secret"), "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s79_own_member_is_replaced_and_others_stay() {
    for profile in PROFILES {
        let site = profile.talkative_site([fresh().with("cache-status", "upstream; fwd=uri-miss").with("date", date(0))]);
        site.get().await;
        for _ in 0..2 {
            let members = members(&site.get().await);
            assert_eq!(members.len(), 2, "{profile:?}");
            assert!(parameter(&members[0], "fwd").is_some() && flag(&members[1], "hit"), "{profile:?}");
        }
    }
}

#[tokio::test]
async fn s79_a_validated_response_has_the_members_of_its_validation() {
    for profile in PROFILES {
        let first = fresh().with("etag", "\"a\"").with("cache-status", "upstream; fwd=uri-miss");
        let site = profile.talkative_site([first, reply(304, &[("cache-status", "upstream; hit")])]);
        site.get().await;
        site.pass(61);
        for _ in 0..2 {
            let members = members(&site.get().await);
            assert_eq!(members.len(), 2, "{profile:?}");
            assert!(flag(&members[0], "hit"), "{profile:?}");
        }
    }
}
