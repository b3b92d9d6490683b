//! Tags that the compiler knows, on an axum router.

use std::fmt;

use axum::{Router, extract::Path, routing};
use http::Method;
use larder::{CacheTag as _, CacheTags, Invalidate, cache_tags};

use crate::support::{MINUTE, cache, get, minute, send_empty};

/// An id of the application's own.
#[derive(Debug, Clone)]
struct UserId(String);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

cache_tags! {
    /// What the pages depend on.
    enum Tag {
        /// All posts.
        Posts = "posts",
        Post { id: u64 } = "post:{id}",
        PostsOf { author: UserId } = "author:{author}:posts",
        Cell { row: i32, column: i32 } = "cell:{row}/{column}",
    }
}

fn app(cache: &larder::Cache) -> Router {
    let minute = minute(cache);
    let handler = routing::get(|| async { "page" });
    let write = cache.clone();
    let update = move |Path(id): Path<u64>| async move { write.invalidate_tags([Tag::Post { id }, Tag::Posts]).await.map(drop) };
    let of_author = |Path(author): Path<String>| async move { (CacheTags::new(Tag::Posts), author) };
    let write_of_author = |Path(author): Path<String>| async move { Invalidate::tags(&Tag::PostsOf { author: UserId(author) }) };
    Router::new()
        .route("/posts", handler.clone().layer(minute.clone().tags(Tag::POSTS)))
        .route("/posts/{id}", handler.clone().layer(minute.clone().tags([Tag::POST])))
        .route("/posts/{id}/edit", routing::post(update))
        .route("/authors/{author}", routing::get(of_author).layer(minute.clone().tags((Tag::POSTS_OF, "authors"))))
        .route("/authors/{author}/edit", routing::post(write_of_author).layer(minute.clone()))
        .route("/cells/{row}/{column}", handler.layer(minute.tags([Tag::CELL])))
}

#[tokio::test]
async fn templates_and_values_make_the_same_tags() {
    let (cache, _) = cache();
    let app = app(&cache);
    for uri in ["/posts", "/posts/7", "/posts/8", "/authors/a%3Ab%2Fc", "/authors/a", "/cells/1/2", "/cells/12/2"] {
        get(&app, uri).await;
        assert!(get(&app, uri).await.is_hit(), "{uri}");
    }
    send_empty(&app, Method::POST, "/posts/7/edit").await;
    for (uri, is_hit) in [("/posts", false), ("/posts/7", false), ("/posts/8", true), ("/authors/a", false), ("/cells/1/2", true)]
    {
        assert_eq!(get(&app, uri).await.is_hit(), is_hit, "{uri}");
    }
    get(&app, "/authors/a%3Ab%2Fc").await;
    send_empty(&app, Method::POST, "/authors/a%3Ab%2Fc/edit").await;
    assert!(!get(&app, "/authors/a%3Ab%2Fc").await.is_hit());
    assert!(get(&app, "/authors/a").await.is_hit());
    cache.invalidate_tags(Tag::Cell { row: 1, column: 2 }).await.unwrap();
    assert!(!get(&app, "/cells/1/2").await.is_hit());
    assert!(get(&app, "/cells/12/2").await.is_hit());
}

#[tokio::test]
async fn tags_are_text_where_they_meet_strings() {
    let (cache, _) = cache();
    let handler = || async {
        larder::add_tags(Tag::Post { id: 7 });
        "page"
    };
    let app = Router::new().route("/page", routing::get(handler).layer(cache.layer().ttl(MINUTE).tags([Tag::Posts])));
    for tag in ["post:7", "posts"] {
        get(&app, "/page").await;
        cache.invalidate_tags(tag).await.unwrap();
        assert!(!get(&app, "/page").await.is_hit(), "{tag}");
    }
    assert_eq!(Tag::TEMPLATES, ["posts", "post:{id}", "author:{author}:posts", "cell:{row}/{column}"]);
    assert_eq!((Tag::POSTS_OF.as_str(), Tag::Cell { row: -1, column: 2 }.to_string().as_str()), (Tag::TEMPLATES[2], "cell:-1/2"));
}

#[cfg(feature = "testing")]
mod coverage {
    use larder::{
        Cache, Memory,
        testing::{TagLedger, assert_tags_covered},
    };

    use super::{Tag, app};
    use crate::support::{get, send_empty};

    fn ledger() -> (TagLedger<Memory>, axum::Router) {
        let ledger = TagLedger::new(Memory::new(1 << 20));
        // Whatever the namespace is.
        let app = app(&Cache::new(ledger.clone()).with_namespace("shop"));
        (ledger, app)
    }

    #[tokio::test]
    async fn an_application_that_invalidates_what_it_stores_is_covered() {
        let (ledger, app) = ledger();
        get(&app, "/posts").await;
        get(&app, "/posts/7").await;
        send_empty(&app, http::Method::POST, "/posts/8/edit").await;
        assert_tags_covered::<Tag>(&ledger);
        assert_eq!(ledger.stored(), ["post:7", "posts"]);
    }

    #[tokio::test]
    #[should_panic(expected = "`cell:{row}/{column}` was stored (as `cell:1/2`) and never invalidated")]
    async fn a_tag_that_is_never_invalidated_is_named() {
        let (ledger, app) = ledger();
        get(&app, "/cells/1/2").await;
        assert_tags_covered::<Tag>(&ledger);
    }

    #[tokio::test]
    #[should_panic(expected = "`post:{id}` was invalidated (as `post:7`) and never stored")]
    async fn a_tag_that_is_never_stored_is_named() {
        let (ledger, app) = ledger();
        get(&app, "/posts").await;
        send_empty(&app, http::Method::POST, "/posts/7/edit").await;
        assert_tags_covered::<Tag>(&ledger);
    }

    #[tokio::test]
    #[should_panic(expected = "`authors` was stored, and no variant makes that tag")]
    async fn a_tag_that_no_variant_makes_is_named() {
        let (ledger, app) = ledger();
        get(&app, "/authors/a").await;
        assert_tags_covered::<Tag>(&ledger);
    }
}
