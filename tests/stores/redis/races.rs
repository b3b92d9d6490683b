//! What is under way while something is invalidated: on one node the fetch, on another the invalidation.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{Router, extract::Request, handler::Handler, response::IntoResponse as _, routing};
use http::{
    Method, StatusCode,
    header::{ETAG, IF_NONE_MATCH},
};
use larder::{Cache, CacheLayer, Error, ManualClock, Receipt};
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use super::support::topology::{Site, everywhere};
use crate::support::{Answer, ChannelBody, Gate, MINUTE, Runs, first_streams, get, minute, read, request};

/// In which way a page is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Tag,
    /// A tag that only the handler knows.
    OwnTag,
    Uri,
    Everything,
    /// It becomes stale, which no route here allows to be served.
    Expire,
}

const WAYS: [Way; 5] = [Way::Tag, Way::OwnTag, Way::Uri, Way::Everything, Way::Expire];

impl Way {
    async fn give_up(self, cache: &Cache) -> Result<Receipt, Error> {
        match self {
            Self::Tag => cache.invalidate_tags(["posts"]).await,
            Self::OwnTag => cache.invalidate_tags(["author:7"]).await,
            Self::Uri => cache.invalidate_uri("http://example.com/posts/1").await,
            Self::Everything => cache.clear().await,
            Self::Expire => cache.expire_tags(["posts"]).await,
        }
    }
}

fn route<H: Handler<T, ()>, T: 'static>(layer: CacheLayer, handler: H) -> Router {
    Router::new().route("/posts/{id}", routing::get(handler).layer(layer.tags(["posts", "post:{id}"])))
}

/// An application whose handler reads first, and then waits at the gate.
fn slow(cache: &Cache, runs: &Runs, gate: &Gate) -> Router {
    let (runs, gate) = (runs.clone(), gate.clone());
    let handler = async move || {
        let run = runs.begin();
        gate.pass().await;
        (larder::CacheTags::new(["author:7"]), format!("run {run}"))
    };
    route(minute(cache), handler)
}

fn ask(app: &Router) -> JoinHandle<Answer> {
    let app = app.clone();
    tokio::spawn(async move { get(&app, "/posts/1").await })
}

#[test]
fn a_fetch_that_an_invalidation_overtakes_is_not_served_afterwards() {
    everywhere(async |site| {
        for way in WAYS {
            for by_another in [true, false] {
                overtaken(&site.apart(), way, by_another).await;
            }
        }
    });
}

async fn overtaken(site: &Site<'_>, way: Way, by_another: bool) {
    let place = site.place;
    let (runs, gate) = (Runs::default(), Gate::closed());
    let (a, b) = site.nodes().await;
    let (app_a, app_b) = (slow(&a, &runs, &gate), slow(&b, &runs, &gate));
    let first = ask(&app_a);
    gate.arrival().await;
    way.give_up(if by_another { &b } else { &a }).await.unwrap();
    // Beyond the lease, what was announced has been applied before the response is stored.
    site.lease_ends().await;
    gate.open(100);
    let first = first.await.unwrap();
    assert_eq!(first.text(), "run 1");
    assert!(!first.is_stored(), "{place:?} {way:?}: {first:?}");
    for app in [&app_a, &app_b, &app_a] {
        let answer = get(app, "/posts/1").await;
        assert_eq!(answer.text(), "run 2", "{place:?} {way:?} by_another={by_another}: {answer:?}");
    }
    assert_eq!(runs.count(), 2, "{place:?} {way:?}: what was fetched since is stored");
}

#[test]
fn request_after_an_invalidation_does_not_join_an_earlier_fetch() {
    everywhere(async |site| {
        for way in WAYS {
            let site = site.apart();
            let (runs, gate) = (Runs::default(), Gate::closed());
            let (a, b) = site.nodes().await;
            let app = slow(&a, &runs, &gate);
            let leader = ask(&app);
            gate.arrival().await;
            let follower = ask(&app);
            way.give_up(&b).await.unwrap();
            let later = ask(&app);
            // Whether a tag concerns the earlier fetch is known only when its handler has named it.
            if way != Way::OwnTag {
                gate.arrival().await;
            }
            gate.open(100);
            assert_eq!(leader.await.unwrap().text(), "run 1");
            let later = later.await.unwrap();
            assert_ne!(later.text(), "run 1", "{:?} {way:?}: {later:?}", site.place);
            drop(follower.await.unwrap());
            site.lease_ends().await;
            assert_ne!(get(&app, "/posts/1").await.text(), "run 1", "{:?} {way:?}", site.place);
        }
    });
}

#[test]
fn invalidated_page_is_not_served_stale() {
    everywhere(async |site| {
        let place = site.place;
        let (runs, gate, clock) = (Runs::default(), Gate::closed(), ManualClock::new());
        let (a, b) = site.nodes().await;
        let app = |cache: &Cache| {
            let (runs, gate) = (runs.clone(), gate.clone());
            let handler = async move || {
                let run = runs.begin();
                gate.pass().await;
                format!("run {run}")
            };
            route(minute(&cache.with_clock(&clock)).stale_while_revalidate(10 * MINUTE).stale_if_error(10 * MINUTE), handler)
        };
        let (app_a, app_b) = (app(&a), app(&b));
        gate.open(1);
        get(&app_a, "/posts/1").await;
        gate.arrival().await;
        clock.advance(2 * MINUTE);
        // Stale, and refreshed in the background by a fetch that an invalidation overtakes.
        assert_eq!(get(&app_a, "/posts/1").await.text(), "run 1", "{place:?}");
        gate.arrival().await;
        b.invalidate_tags(["posts"]).await.unwrap();
        site.lease_ends().await;
        let after = ask(&app_a);
        gate.arrival().await;
        gate.open(100);
        let after = after.await.unwrap();
        assert_eq!(after.text(), "run 3", "{place:?}: {after:?}");
        for app in [&app_a, &app_b] {
            let answer = get(app, "/posts/1").await;
            assert_eq!((answer.text(), answer.is_hit()), ("run 3", true), "{place:?}: {answer:?}");
        }
        // An expired response is served stale, once, while it is fetched again.
        b.expire_tags(["posts"]).await.unwrap();
        site.lease_ends().await;
        let stale = get(&app_a, "/posts/1").await;
        assert_eq!((stale.text(), stale.is_hit()), ("run 3", true), "{place:?}: {stale:?}");
        gate.arrival().await;
    });
}

#[test]
fn a_validation_that_an_invalidation_overtakes_makes_nothing_fresh() {
    everywhere(async |site| {
        let place = site.place;
        let (version, gate, clock) = (Arc::new(AtomicU64::new(1)), Gate::closed(), ManualClock::new());
        let (a, b) = site.nodes().await;
        let app = |cache: &Cache| {
            let (version, gate) = (Arc::clone(&version), gate.clone());
            let handler = async move |request: Request| {
                let etag = format!("\"{}\"", version.load(Ordering::SeqCst));
                gate.pass().await;
                match request.headers().get(IF_NONE_MATCH) {
                    Some(known) if known.as_bytes() == etag.as_bytes() => StatusCode::NOT_MODIFIED.into_response(),
                    _ => ([(ETAG, etag.clone())], etag).into_response(),
                }
            };
            route(minute(&cache.with_clock(&clock)), handler)
        };
        let (app_a, app_b) = (app(&a), app(&b));
        gate.open(1);
        get(&app_a, "/posts/1").await;
        gate.arrival().await;
        clock.advance(2 * MINUTE);
        let validating = ask(&app_a);
        gate.arrival().await;
        version.store(2, Ordering::SeqCst);
        b.invalidate_tags(["post:1"]).await.unwrap();
        site.lease_ends().await;
        gate.open(100);
        let validated = validating.await.unwrap();
        assert_eq!(validated.text(), "\"1\"", "{place:?}: it began before");
        for app in [&app_a, &app_b] {
            let answer = get(app, "/posts/1").await;
            assert_eq!(answer.text(), "\"2\"", "{place:?}: {answer:?}");
        }
    });
}

#[test]
fn a_body_that_streams_across_an_invalidation_is_not_served_afterwards() {
    everywhere(async |site| {
        for stays in [true, false] {
            let (site, place) = (site.apart(), site.place);
            let (a, b) = site.nodes().await;
            let (frames, body) = ChannelBody::new();
            let handler = first_streams(body);
            let (app_a, app_b) = (route(minute(&a), handler.clone()), route(minute(&b), handler));
            let response = app_a.clone().oneshot(request(Method::GET, "/posts/1", &[])).await.unwrap();
            frames.send("old");
            b.invalidate_tags(["post:1"]).await.unwrap();
            site.lease_ends().await;
            frames.send(" page");
            drop(frames);
            if stays {
                assert_eq!(read(response).await.text(), "old page");
            } else {
                drop(response);
            }
            for app in [&app_a, &app_b, &app_a] {
                assert_eq!(get(app, "/posts/1").await.text(), "later", "{place:?} stays={stays}");
            }
        }
    });
}

#[test]
fn page_expired_during_its_fetch_is_stale() {
    everywhere(async |site| {
        let place = site.place;
        let (runs, gate) = (Runs::default(), Gate::closed());
        let (a, b) = site.nodes().await;
        let app = |cache: &Cache| {
            let (runs, gate) = (runs.clone(), gate.clone());
            let handler = async move || {
                let run = runs.begin();
                gate.pass().await;
                format!("run {run}")
            };
            route(minute(cache), handler)
        };
        let (app_a, app_b) = (app(&a), app(&b));
        let first = ask(&app_a);
        gate.arrival().await;
        b.expire_tags(["posts"]).await.unwrap();
        site.lease_ends().await;
        gate.open(100);
        // All of its tags have records, so that what is stored is known to be stale.
        let first = first.await.unwrap();
        assert!(first.is_stored(), "{place:?}: {first:?}");
        for app in [&app_a, &app_b, &app_a] {
            let answer = get(app, "/posts/1").await;
            assert_eq!(answer.text(), "run 2", "{place:?}: {answer:?}");
        }
    });
}

#[test]
fn many_invalidate_one_tag_at_once_and_none_is_lost() {
    everywhere(async |site| {
        let place = site.place;
        let version = Arc::new(AtomicU64::new(0));
        let (a, b) = site.nodes().await;
        let app = |cache: &Cache| {
            let version = Arc::clone(&version);
            route(minute(cache), async move || version.load(Ordering::SeqCst).to_string())
        };
        let apps = [app(&a), app(&b)];
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..80 {
            let (cache, version) = ([&a, &b][task % 2].clone(), Arc::clone(&version));
            let app = apps[task % 2].clone();
            tasks.spawn(async move {
                for _ in 0..5 {
                    let value = version.fetch_add(1, Ordering::SeqCst) + 1;
                    cache.invalidate_tags(["posts"]).await.unwrap_or_else(|error| panic!("{place:?}: {error:?}"));
                    // The node that invalidates sees it at once in every place.
                    let answer = get(&app, "/posts/1").await;
                    let seen: u64 = answer.text().parse().unwrap();
                    assert!(seen >= value, "{place:?}: {seen} is older than {value}: {answer:?}");
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        site.lease_ends().await;
        for app in apps.iter().chain(&apps) {
            assert_eq!(get(app, "/posts/1").await.text(), version.load(Ordering::SeqCst).to_string(), "{place:?}");
        }
        assert!(get(&apps[0], "/posts/1").await.is_hit(), "{place:?}");
    });
}
