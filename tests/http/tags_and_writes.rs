//! The layer on an axum router: what is stored, what is answered, what is invalidated.

use axum::{
    Json, Router,
    extract::{FromRef, Path, State},
    response::IntoResponse,
    routing,
};
use http::{Method, StatusCode};
use larder::{Cache, CacheMode, CacheTags, Forward, Invalidate, Preconditions, Reason};

use crate::support::{MINUTE, Runs, cache, get, get_with, minute, numbered, send_empty};

#[tokio::test]
async fn second_request_is_answered_from_the_cache_with_its_age() {
    let (cache, clock) = cache();
    let runs = Runs::default();
    let handler = {
        let runs = runs.clone();
        move || async move { format!("run {}", runs.begin()) }
    };
    let app = Router::new().route("/posts", routing::get(handler).layer(minute(&cache)));

    let first = get(&app, "/posts").await;
    clock.advance(std::time::Duration::from_secs(7));
    let second = get(&app, "/posts").await;

    assert_eq!((first.text(), first.forward(), first.is_stored()), ("run 1", Some(Forward::UriMiss), true));
    assert_eq!((second.text(), second.is_hit(), second.header("age")), ("run 1", true, Some("7")));
    assert_eq!(second.header("content-length"), Some("5"));
    assert_eq!(second.header("content-type"), first.header("content-type"));

    clock.advance(MINUTE);
    let third = get(&app, "/posts").await;
    assert_eq!((third.text(), third.forward()), ("run 2", Some(Forward::Stale)));
}

#[derive(Clone, FromRef)]
struct App {
    runs: Runs,
    cache: Cache,
}

async fn list(State(runs): State<Runs>) -> String {
    format!("list {}", runs.begin())
}

async fn show(Path(id): Path<u64>, State(runs): State<Runs>) -> (CacheTags, Json<String>) {
    (CacheTags::new([format!("author:{}", id % 2)]), Json(format!("post {id}, run {}", runs.begin())))
}

async fn update(Path(id): Path<u64>, State(cache): State<Cache>) -> StatusCode {
    cache.invalidate_tags([format!("post:{id}"), "posts".into()]).await.unwrap();
    StatusCode::NO_CONTENT
}

async fn delete(Path(id): Path<u64>) -> (StatusCode, Invalidate) {
    (StatusCode::NO_CONTENT, Invalidate::tags([format!("author:{}", id % 2)]))
}

fn blog(cache: Cache) -> Router {
    let minute = minute(&cache);
    Router::new()
        .route("/posts", routing::get(list).layer(minute.clone().tags(["posts"])))
        .route("/posts/{id}", routing::get(show).put(update).delete(delete).layer(minute.tags(["post:{id}"])))
        .with_state(App { runs: Runs::default(), cache })
}

#[tokio::test]
async fn a_write_handler_invalidates_by_tag_through_state() {
    let app = blog(cache().0);
    for uri in ["/posts", "/posts/1", "/posts/2"] {
        get(&app, uri).await;
        assert!(get(&app, uri).await.is_hit(), "{uri}");
    }

    send_empty(&app, Method::PUT, "/posts/1").await;

    assert!(!get(&app, "/posts").await.is_hit());
    assert!(!get(&app, "/posts/1").await.is_hit());
    assert!(get(&app, "/posts/2").await.is_hit());
}

#[tokio::test]
async fn handlers_own_tags_invalidate_too() {
    let app = blog(cache().0);
    for uri in ["/posts/1", "/posts/2", "/posts/3"] {
        get(&app, uri).await;
    }
    send_empty(&app, Method::DELETE, "/posts/1").await;
    assert!(!get(&app, "/posts/3").await.is_hit());
    assert!(get(&app, "/posts/2").await.is_hit());
}

#[tokio::test]
async fn a_template_with_an_unknown_capture_is_served_and_not_stored() {
    let (cache, _) = cache();
    let app = Router::new().route("/posts/{id}", routing::get(|| async { "post" }).layer(minute(&cache).tags(["post:{slug}"])));
    for _ in 0..2 {
        let answer = get(&app, "/posts/1").await;
        assert_eq!((answer.text(), answer.reason()), ("post", Some(Reason::MissingCapture)));
    }
}

#[tokio::test]
async fn a_handler_that_says_unchanged_makes_the_stored_response_fresh_again() {
    let (cache, clock) = cache();
    let (asked, built) = (Runs::default(), Runs::default());
    let handler = {
        let (asked, built) = (asked.clone(), built.clone());
        move |revalidate: Preconditions| async move {
            asked.begin();
            match revalidate.etag("\"v1\"") {
                Some(unchanged) => unchanged.into_response(),
                None => ([("etag", "\"v1\"")], format!("built {}", built.begin())).into_response(),
            }
        }
    };
    let app = Router::new().route("/posts", routing::get(handler).layer(minute(&cache).tags(["posts"])));

    get(&app, "/posts").await;
    clock.advance(MINUTE);
    let revalidated = get(&app, "/posts").await;
    assert_eq!(
        (revalidated.status, revalidated.text(), revalidated.forward()),
        (StatusCode::OK, "built 1", Some(Forward::Stale))
    );
    assert!(revalidated.cache.is_some_and(|status| status.is_validated()));
    assert!(get(&app, "/posts").await.is_hit());
    assert_eq!((asked.count(), built.count()), (2, 1));

    let unchanged = get_with(&app, "/posts", &[("if-none-match", "\"v1\"")]).await;
    assert_eq!((unchanged.status, unchanged.text(), unchanged.is_hit()), (StatusCode::NOT_MODIFIED, "", true));

    cache.invalidate_tags(["posts"]).await.unwrap();
    assert_eq!(get(&app, "/posts").await.text(), "built 2");
}

#[tokio::test]
async fn auto_etag_adds_an_entity_tag() {
    let app = Router::new().route("/posts", routing::get(|| async { "posts" }).layer(minute(&cache().0).auto_etag(true)));
    let first = get(&app, "/posts").await;
    let etag = first.header("etag").unwrap();
    assert_eq!(get(&app, "/posts").await.header("etag"), Some(etag));
    assert_eq!(get_with(&app, "/posts", &[("if-none-match", etag)]).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn s94_a_query_of_which_a_response_says_that_it_does_not_matter_shares_it() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let handler = {
        let runs = runs.clone();
        move || async move { ([("no-vary-search", r#"params=("utm" "session"), key-order"#)], format!("run {}", runs.begin())) }
    };
    let layer = minute(&cache).tags(["posts"]);
    let app = Router::new()
        .route("/posts", routing::get(handler.clone()).layer(layer.clone().no_vary_search(true)))
        .route("/exact", routing::get(handler).layer(layer));

    assert_eq!(get(&app, "/posts?page=1&utm=a").await.text(), "run 1");
    for uri in ["/posts?page=1&utm=a", "/posts?page=1", "/posts?session=x&p%61ge=1", "/posts?utm=b&page=1&utm=c"] {
        let answer = get(&app, uri).await;
        assert_eq!((answer.text(), answer.is_hit()), ("run 1", true), "{uri}");
    }
    assert_eq!(get(&app, "/posts?page=2").await.text(), "run 2");
    assert_eq!(get(&app, "/posts?page=1").await.text(), "run 1");

    cache.invalidate_tags(["posts"]).await.unwrap();
    assert_eq!(get(&app, "/posts?page=1").await.text(), "run 3");
    assert_eq!(get(&app, "/exact?utm=a").await.text(), "run 4");
    assert_eq!(get(&app, "/exact").await.text(), "run 5");
}

#[tokio::test]
async fn switched_off_and_on_again_nothing_wrong_is_served() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = Router::new().route("/posts", routing::get(numbered(&runs)).layer(minute(&cache).tags(["posts"])));
    get(&app, "/posts").await;

    cache.set_mode(CacheMode::ReadOnly);
    assert!(get(&app, "/posts").await.is_hit());
    let other = get(&app, "/posts?page=2").await;
    assert_eq!((other.text(), other.reason()), ("run 2", Some(Reason::ReadOnly)));

    // Another handle to the same store is switched with it.
    cache.with_revision("next").set_mode(CacheMode::Bypass);
    let bypassed = get(&app, "/posts").await;
    assert_eq!((bypassed.text(), bypassed.reason()), ("run 3", Some(Reason::SwitchedOff)));
    cache.invalidate_tags(["posts"]).await.unwrap();

    cache.set_mode(CacheMode::Enabled);
    assert_eq!(get(&app, "/posts").await.text(), "run 4");
    assert!(get(&app, "/posts").await.is_hit());
}
