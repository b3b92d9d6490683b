//! Each way to invalidate, and fetches that are under way meanwhile.

use axum::{Router, routing};
use http::Method;
use larder::{Cache, CacheTags};
use tower::ServiceExt as _;

use crate::support::{
    ChannelBody, Gate, Runs, answering, cache, fields, first_streams, get, get_with, minute, numbered, page, read, request,
    send_empty, spawn_get,
};

/// Every way to invalidate the page.
const WAYS: [Way; 6] = [Way::Tag, Way::HandlersTag, Way::Uri, Way::Path, Way::Clear, Way::Expire];

#[derive(Debug, Clone, Copy)]
enum Way {
    Tag,
    HandlersTag,
    Uri,
    Path,
    Clear,
    Expire,
}

impl Way {
    async fn invalidate(self, cache: &Cache) {
        match self {
            Self::Tag => cache.invalidate_tags(["posts"]).await,
            Self::HandlersTag => cache.invalidate_tags(["author:1"]).await,
            Self::Uri => cache.invalidate_uri("http://EXAMPLE.com/page?any=query").await,
            Self::Path => cache.invalidate_uri("/page").await,
            Self::Clear => cache.clear().await,
            Self::Expire => cache.expire_tags(["posts"]).await,
        }
        .unwrap();
    }
}

/// A page that carries the tags `posts` and `author:1`, and whose first handler waits at the gate.
fn gated(cache: &Cache, gate: &Gate) -> Router {
    let (runs, gate) = (Runs::default(), gate.clone());
    let handler = move || async move {
        let run = runs.begin();
        if run == 1 {
            gate.pass().await;
        }
        (CacheTags::new(["author:1"]), format!("run {run}"))
    };
    page(minute(cache).tags(["posts"]), handler)
}

#[tokio::test]
async fn response_computed_before_an_invalidation_is_not_served_after_it() {
    for way in WAYS {
        let ((cache, _), gate) = (cache(), Gate::closed());
        let app = gated(&cache, &gate);
        let slow = spawn_get(&app, "/page");
        gate.arrival().await;

        way.invalidate(&cache).await;
        gate.open(1);

        assert_eq!(slow.await.unwrap().text(), "run 1");
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{way:?}");
        assert!(get(&app, "/page").await.is_hit(), "{way:?}");
    }
}

#[tokio::test]
async fn request_after_an_invalidation_does_not_join_an_older_fetch() {
    for way in WAYS {
        let ((cache, _), gate) = (cache(), Gate::closed());
        let app = gated(&cache, &gate);
        let slow = spawn_get(&app, "/page");
        gate.arrival().await;

        way.invalidate(&cache).await;
        assert_eq!(get(&app, "/page").await.text(), "run 2", "{way:?}");

        gate.open(1);
        slow.await.unwrap();
        assert_ne!(get(&app, "/page").await.text(), "run 1", "{way:?}");
    }
}

#[tokio::test]
async fn late_older_fetch_does_not_replace_a_newer_entry() {
    for way in WAYS {
        let ((cache, _), gate) = (cache(), Gate::closed());
        let app = gated(&cache, &gate);
        let slow = spawn_get(&app, "/page");
        gate.arrival().await;
        way.invalidate(&cache).await;
        get(&app, "/page").await;

        gate.open(1);
        slow.await.unwrap();

        assert_eq!(get(&app, "/page").await.text(), "run 2", "{way:?}");
    }
}

#[tokio::test]
async fn body_streamed_across_an_invalidation_is_not_served_after_it() {
    for way in WAYS {
        let (cache, _) = cache();
        let (frames, body) = ChannelBody::new();
        let stream = first_streams(body);
        let handler = move || async move { (CacheTags::new(["author:1"]), stream().into_inner()) };
        let app = page(minute(&cache).tags(["posts"]), handler);

        let response = app.clone().oneshot(request(Method::GET, "/page", &[])).await.unwrap();
        frames.send("old");
        way.invalidate(&cache).await;
        drop(frames);

        assert_eq!(read(response).await.text(), "old");
        assert_eq!(get(&app, "/page").await.text(), "later", "{way:?}");
    }
}

#[tokio::test]
async fn response_computed_before_a_post_is_not_served_after_it() {
    let ((cache, _), gate) = (cache(), Gate::closed());
    let (runs, door) = (Runs::default(), gate.clone());
    let show = move || async move {
        let run = runs.begin();
        if run == 1 {
            door.pass().await;
        }
        format!("run {run}")
    };
    let app = Router::new().route("/page", routing::get(show).post(|| async {}).layer(minute(&cache)));
    let slow = spawn_get(&app, "/page");
    gate.arrival().await;

    send_empty(&app, Method::POST, "/page").await;
    gate.open(1);

    slow.await.unwrap();
    assert_eq!(get(&app, "/page").await.text(), "run 2");
}

#[tokio::test]
async fn two_hundred_rounds_of_get_and_invalidate_lose_nothing() {
    for way in WAYS {
        let (cache, _) = cache();
        let handler = {
            let runs = Runs::default();
            answering(move |_| (CacheTags::new(["author:1"]), numbered(&runs)().into_inner()))
        };
        let app = page(minute(&cache).tags(["posts"]), handler);
        for round in 1..=200 {
            assert_eq!(get(&app, "/page").await.text(), format!("run {round}"), "{way:?}");
            assert!(get(&app, "/page").await.is_hit(), "{way:?}");
            way.invalidate(&cache).await;
        }
    }
}

#[tokio::test]
async fn an_invalidation_reaches_every_variant() {
    for way in WAYS {
        let (cache, _) = cache();
        let handler = answering(|_| (fields(&[("vary", "accept-language")]), CacheTags::new(["author:1"]), "page"));
        let app = page(minute(&cache).tags(["posts"]), handler);
        let ask = async |language| get_with(&app, "/page", &[("accept-language", language)]).await;
        for language in ["de", "en"] {
            ask(language).await;
            assert!(ask(language).await.is_hit());
        }
        way.invalidate(&cache).await;
        for language in ["de", "en"] {
            assert!(!ask(language).await.is_hit(), "{way:?}");
        }
    }
}
