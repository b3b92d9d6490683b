//! Responses that are made of values: what they inherit.

use std::convert::Infallible;

use axum::response::IntoResponse;
use http::StatusCode;
use larder::{Cache, CacheDirective, Preconditions, Reason, ValuePolicy};

use super::{SECOND, page_of_top, policy, top};
use crate::support::{MINUTE, Runs, cache, get, minute, page, paused::settled};

#[tokio::test]
async fn a_response_dies_with_a_tag_of_a_value_in_it() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = page_of_top(minute(&cache), &cache, policy(), &runs);
    assert_eq!(get(&app, "/page").await.text(), "top 1");
    assert!(get(&app, "/page").await.is_hit());
    cache.invalidate_tags("posts").await.unwrap();
    let again = get(&app, "/page").await;
    assert_eq!((again.text(), again.is_stored()), ("top 2", true));
}

/// The value was stored before; its tags are read from the store.
#[tokio::test]
async fn a_response_that_is_made_of_a_stored_value_dies_with_its_tag_too() {
    let ((cache, _), runs) = (cache(), Runs::default());
    top(&cache, &policy(), &runs).await;
    // By a policy that has no tags: those of the value count.
    let app = page_of_top(minute(&cache), &cache, ValuePolicy::ttl(MINUTE), &runs);
    assert_eq!(get(&app, "/page").await.text(), "top 1");
    cache.invalidate_tags("posts").await.unwrap();
    assert_eq!(get(&app, "/page").await.text(), "top 2");
}

#[tokio::test]
async fn a_response_dies_with_each_of_several_values_and_with_what_they_are_made_of() {
    let ((cache, _), built) = (cache(), Runs::default());
    let (values, begun) = (cache.clone(), built.clone());
    let handler = move || {
        let (values, begun) = (values.clone(), begun.clone());
        async move {
            let outer = values.clone();
            let nested = move || async move {
                let policy = ValuePolicy::ttl(MINUTE).tags(["inner"]);
                outer.get_or_compute("inner", &policy, || async { Ok::<_, Infallible>(1) }).await
            };
            values.get_or_compute("outer", ValuePolicy::ttl(MINUTE).tags(["outer"]), nested).await.unwrap();
            let in_memory = || async { Ok::<_, Infallible>(2) };
            values.get_or_compute_in_memory("memory", ValuePolicy::ttl(MINUTE).tags(["memory"]), in_memory).await.unwrap();
            larder::add_tags("added");
            format!("built {}", begun.begin())
        }
    };
    let app = page(minute(&cache), handler);
    for (number, tag) in ["inner", "outer", "memory", "added"].into_iter().enumerate() {
        assert_eq!(get(&app, "/page").await.text(), format!("built {}", number + 1));
        assert!(get(&app, "/page").await.is_hit(), "{tag}");
        cache.invalidate_tags(tag).await.unwrap();
    }
    assert_eq!(get(&app, "/page").await.text(), "built 5");
}

#[tokio::test]
async fn a_failed_computation_leaves_its_tags_to_the_response() {
    let (cache, _) = cache();
    let values = cache.clone();
    let handler = move || {
        let values = values.clone();
        async move {
            let compute = || async {
                larder::add_tags("post:7");
                Err::<usize, _>(())
            };
            match values.get_or_compute("post:7", &policy(), compute).await {
                Ok(_) => StatusCode::OK.into_response(),
                Err(()) => (StatusCode::NOT_FOUND, "no such post").into_response(),
            }
        }
    };
    let app = page(cache.layer().negative_ttl(MINUTE), handler);
    for tag in ["post:7", "posts"] {
        get(&app, "/page").await;
        assert!(get(&app, "/page").await.is_hit());
        cache.invalidate_tags(tag).await.unwrap();
        assert!(!get(&app, "/page").await.is_hit(), "{tag}");
    }
}

#[tokio::test]
async fn a_response_is_invalidated_by_a_value_that_died_while_its_handler_ran() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let (values, begun) = (cache.clone(), runs.clone());
    let handler = move || {
        let (values, begun) = (values.clone(), begun.clone());
        async move {
            let top = top(&values, &policy(), &begun).await;
            if top == 1 {
                values.invalidate_tags("posts").await.unwrap();
            }
            format!("top {top}")
        }
    };
    let app = page(minute(&cache), handler);
    let first = get(&app, "/page").await;
    assert_eq!((first.text(), first.reason()), ("top 1", Some(Reason::Invalidated)));
    assert_eq!(get(&app, "/page").await.text(), "top 2");
    assert!(get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn a_response_is_fresh_no_longer_than_its_values() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let app = page_of_top(cache.layer().ttl(10 * MINUTE), &cache, policy(), &runs);
    top(&cache, &policy(), &runs).await;
    clock.advance(40 * SECOND);
    let first = get(&app, "/page").await;
    assert_eq!(first.cache.unwrap().ttl(), Some(20));
    clock.advance(19 * SECOND);
    assert!(get(&app, "/page").await.is_hit());
    clock.advance(SECOND);
    assert_eq!(get(&app, "/page").await.text(), "top 2");
}

/// What a handler states itself is limited in the same way.
#[tokio::test]
async fn a_stated_lifetime_is_limited_too() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let values = cache.clone();
    let handler = move || {
        let (values, runs) = (values.clone(), runs.clone());
        async move { (CacheDirective::ttl(10 * MINUTE), top(&values, &policy(), &runs).await.to_string()) }
    };
    let app = page(cache.layer(), handler);
    assert_eq!(get(&app, "/page").await.cache.unwrap().ttl(), Some(60));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_made_of_a_stale_value_is_not_stored() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let stale = policy().stale_while_revalidate(MINUTE);
    let app = page_of_top(minute(&cache), &cache, stale.clone(), &runs);
    top(&cache, &stale, &runs).await;
    clock.advance(MINUTE);
    let first = get(&app, "/page").await;
    assert_eq!((first.text(), first.reason()), ("top 1", Some(Reason::StaleValue)));
    settled().await;
    let second = get(&app, "/page").await;
    assert_eq!((second.text(), second.is_stored()), ("top 2", true));
    cache.expire_tags("posts").await.unwrap();
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::StaleValue));
}

/// The stored response stays, for its own stale window.
#[tokio::test(start_paused = true)]
async fn a_stale_value_replaces_no_stale_response() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let failing = Runs::default();
    let (values, begun, fails) = (cache.clone(), runs.clone(), failing.clone());
    let handler = move || {
        let (values, begun, fails) = (values.clone(), begun.clone(), fails.clone());
        async move {
            let compute = || async move { if fails.begin() > 1 { Err(()) } else { Ok(begun.begin()) } };
            values.get_or_compute("top", policy().stale_if_error(10 * MINUTE), compute).await.unwrap().to_string()
        }
    };
    let app = page(minute(&cache).stale_while_revalidate(10 * MINUTE), handler);
    get(&app, "/page").await;
    clock.advance(2 * MINUTE);
    for _ in 0..3 {
        assert!(get(&app, "/page").await.is_hit());
        settled().await;
    }
    assert_eq!(failing.count(), 4);
}

#[tokio::test]
async fn a_value_of_another_store_prevents_storage_and_one_of_another_namespace_does_not() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let other = page_of_top(minute(&cache), &Cache::in_memory(1 << 20), policy(), &runs);
    for _ in 0..2 {
        assert_eq!(get(&other, "/page").await.reason(), Some(Reason::OtherStore));
    }
    let shop = cache.with_namespace("shop");
    let same = page_of_top(minute(&cache), &shop, policy(), &runs);
    assert!(get(&same, "/page").await.is_stored());
    cache.invalidate_tags("posts").await.unwrap();
    assert!(get(&same, "/page").await.is_hit(), "a tag of another namespace");
    shop.invalidate_tags("posts").await.unwrap();
    assert!(!get(&same, "/page").await.is_hit());
    shop.clear().await.unwrap();
    assert!(!get(&same, "/page").await.is_hit());
}

#[tokio::test]
async fn an_invalid_tag_that_is_added_prevents_storage() {
    let (cache, _) = cache();
    let app = page(minute(&cache), || async {
        assert!(larder::add_tags(["", "posts"]));
        "page"
    });
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::InvalidTag));
}

#[tokio::test]
async fn a_spawned_task_counts_if_it_says_so() {
    let (cache, _) = cache();
    let app = page(minute(&cache), || async {
        let alone = tokio::spawn(async { larder::add_tags("alone") }).await.unwrap();
        let task = larder::in_current_run(async {
            tokio::task::yield_now().await;
            larder::add_tags("task")
        });
        assert_eq!((alone, tokio::spawn(task).await.unwrap()), (false, true));
        assert!(!std::thread::spawn(|| larder::add_tags("thread")).join().unwrap());
        "page"
    });
    for (tag, is_hit) in [("alone", true), ("thread", true), ("task", false)] {
        get(&app, "/page").await;
        cache.invalidate_tags(tag).await.unwrap();
        assert_eq!(get(&app, "/page").await.is_hit(), is_hit, "{tag}");
    }
    assert!(!larder::add_tags("nowhere"));
}

#[tokio::test]
async fn concurrent_handlers_on_one_thread_keep_their_tags_apart() {
    let (cache, _) = cache();
    let handler = |axum::extract::Path(id): axum::extract::Path<u64>| async move {
        for _ in 0..id % 5 {
            tokio::task::yield_now().await;
        }
        larder::add_tags(format!("post:{id}"));
        tokio::task::yield_now().await;
        id.to_string()
    };
    let app = axum::Router::new().route("/{id}", axum::routing::get(handler).layer(minute(&cache)));
    let all = async || {
        let mut requests = tokio::task::JoinSet::new();
        for id in 0..20 {
            let app = app.clone();
            requests.spawn(async move { (id, get(&app, &format!("/{id}")).await.is_hit()) });
        }
        requests.join_all().await
    };
    all().await;
    cache.invalidate_tags((0..20).step_by(2).map(|id| format!("post:{id}"))).await.unwrap();
    for (id, is_hit) in all().await {
        assert_eq!(is_hit, id % 2 == 1, "{id}");
    }
}

/// The 304 says that the response made of the new value is the old one.
#[tokio::test]
async fn a_response_that_is_validated_gets_the_tags_of_the_values_that_were_read() {
    let ((cache, clock), runs) = (cache(), Runs::default());
    let values = cache.clone();
    let handler = move |preconditions: Preconditions| {
        let (values, runs) = (values.clone(), runs.clone());
        async move {
            let run = top(&values, &policy().tags([format!("run {}", runs.count() + 1)]), &runs).await;
            match preconditions.etag("\"v1\"") {
                Some(not_modified) => not_modified.into_response(),
                None => ([("etag", "\"v1\"")], format!("top {run}")).into_response(),
            }
        }
    };
    let app = page(minute(&cache), handler);
    get(&app, "/page").await;
    clock.advance(MINUTE);
    assert!(get(&app, "/page").await.cache.unwrap().is_validated());
    cache.invalidate_tags("run 2").await.unwrap();
    assert!(!get(&app, "/page").await.is_hit());
}

#[tokio::test]
async fn too_many_values_are_too_many_tags() {
    let (cache, _) = cache();
    let values = cache.clone();
    let handler = move || {
        let values = values.clone();
        async move {
            for id in 0..20 {
                let policy = ValuePolicy::ttl(MINUTE).tags([format!("post:{id}")]);
                values.get_or_compute(format!("post {id}"), policy, || async { Ok::<_, Infallible>(1) }).await.unwrap();
            }
            "page"
        }
    };
    let app = page(minute(&cache).max_tags(10), handler.clone());
    assert_eq!(get(&app, "/page").await.reason(), Some(Reason::TooManyTags));
    let app = page(minute(&cache), handler);
    assert!(get(&app, "/page").await.is_stored());
}
