//! What is fetched again after an invalidation.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing};
use http::{Method, StatusCode};
use larder::{Cache, CacheLayer, Invalidate, Memory};
use tokio::{runtime::Builder, time::sleep};

use crate::support::{
    Gate, MINUTE, Runs, answering, cache, field, get, get_with, minute, numbered, numbered_with, page, paused::settled, request,
    send, send_empty,
};

fn posts(layer: CacheLayer, runs: &Runs) -> Router {
    let post = routing::get(numbered(runs)).put(|| async {});
    Router::new().route("/posts/{id}", post.layer(layer.tags(["posts", "post:{id}"])))
}

/// Whether the post is there, before a request fetches it.
async fn is_there(app: &Router, id: usize) -> bool {
    get(app, &format!("/posts/{id}")).await.is_hit()
}

#[tokio::test(start_paused = true)]
async fn the_hottest_entries_are_there_again_after_an_invalidation() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = posts(minute(&cache).rewarm(2), &runs);
    for id in 0..6 {
        get(&app, &format!("/posts/{id}")).await;
    }
    for _ in 0..1000 {
        assert!(is_there(&app, 1).await && is_there(&app, 3).await);
    }
    for round in 1..=3 {
        let before = runs.count();
        cache.invalidate_tags(["posts"]).await.unwrap();
        settled().await;
        assert_eq!(runs.count(), before + 2, "round {round}");
        assert!(is_there(&app, 1).await && is_there(&app, 3).await);
        assert!(!is_there(&app, 0).await && !is_there(&app, 5).await);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_visitor_after_a_write_gets_a_hit_with_what_was_written() {
    let (cache, _) = cache();
    let value = Arc::new(AtomicUsize::new(1));
    let (read, write) = (Arc::clone(&value), Arc::clone(&value));
    let post = routing::get(move || ready(read.load(Ordering::SeqCst).to_string())).put(async move || {
        write.fetch_add(1, Ordering::SeqCst);
    });
    let app = Router::new().route("/posts/{id}", post.layer(minute(&cache).rewarm(1)));
    get(&app, "/posts/7").await;
    for expected in ["2", "3"] {
        assert_eq!(send_empty(&app, Method::PUT, "/posts/7").await.status, StatusCode::OK);
        settled().await;
        let visitor = get(&app, "/posts/7").await;
        assert!(visitor.is_hit() && visitor.text() == expected, "{visitor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_was_invalidated_is_fetched_again() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = posts(minute(&cache).rewarm(10), &runs);
    for id in 0..4 {
        get(&app, &format!("/posts/{id}")).await;
    }
    cache.invalidate_tags(["post:2"]).await.unwrap();
    settled().await;
    assert_eq!(runs.count(), 5);
    cache.expire_tags(["posts"]).await.unwrap();
    settled().await;
    assert_eq!(runs.count(), 5, "nothing was removed");
    cache.clear().await.unwrap();
    settled().await;
    assert_eq!(runs.count(), 9);
    cache.drain(MINUTE).await;
    cache.clear().await.unwrap();
    settled().await;
    assert_eq!(runs.count(), 9, "the process is about to exit");
}

#[tokio::test(start_paused = true)]
async fn variants_are_fetched_again_and_nothing_of_a_user_is_sent() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = answering(move |parts| {
        counted.begin();
        let seen = ["accept-language", "cookie", "x-own", "user-agent"].map(|name| field(parts, name)).join("|");
        ([("vary", "accept-language")], seen)
    });
    let layer = minute(&cache).ignore_cookies(true).ignore_authorization(true).rewarm(10);
    let app = Router::new().route("/page", routing::get(handler).layer(layer));
    let client = |language| [("accept-language", language), ("cookie", "sid=1"), ("x-own", "a"), ("authorization", "b")];
    for language in ["de", "en"] {
        let first = get_with(&app, "/page", &client(language)).await;
        assert_eq!(first.text(), format!("{language}|sid=1|a|"));
    }
    cache.clear().await.unwrap();
    settled().await;
    assert_eq!(runs.count(), 4);
    for language in ["de", "en"] {
        let visitor = get_with(&app, "/page", &client(language)).await;
        assert!(visitor.is_hit() && visitor.text() == format!("{language}|||"), "{visitor:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_for_one_user_is_not_fetched_again() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let user = |parts: &http::request::Parts| Some(parts.headers.get("x-user")?.to_str().ok()?.to_owned());
    let device = |parts: &http::request::Parts| Some(field(parts, "user-agent").to_owned());
    let app = Router::new()
        .route("/principal", routing::get(numbered(&runs)).layer(minute(&cache).per_principal(user).rewarm(9)))
        .route("/cookie", routing::get(numbered(&runs)).layer(minute(&cache).vary_on_cookies(["sid"]).rewarm(9)))
        .route("/device", routing::get(numbered(&runs)).layer(minute(&cache).key_with("device", device).rewarm(9)));
    let fields = [("x-user", "ann"), ("cookie", "sid=1"), ("user-agent", "a")];
    for (path, field) in ["/principal", "/cookie", "/device"].into_iter().zip(fields) {
        for _ in 0..2 {
            get_with(&app, path, &[field]).await;
        }
    }
    assert_eq!(runs.count(), 3);
    cache.clear().await.unwrap();
    settled().await;
    assert_eq!(runs.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_or_panics_harms_no_other() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = answering(move |parts| {
        let run = counted.begin();
        assert!(run <= 3 || parts.uri.path() != "/1", "the handler panics, as it is meant to");
        if run > 3 && parts.uri.path() == "/2" { StatusCode::BAD_GATEWAY } else { StatusCode::OK }
    });
    let app = Router::new().route("/{id}", routing::get(handler).layer(minute(&cache).rewarm(9)));
    for id in 1..=3 {
        get(&app, &format!("/{id}")).await;
    }
    for rounds in 1..=2 {
        cache.clear().await.unwrap();
        settled().await;
        assert_eq!(runs.count(), 3 + 3 * rounds);
        assert!(get(&app, "/3").await.is_hit());
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_dropped_keeps_neither_its_handler_nor_the_cache_alive() {
    let alive = Arc::new(());
    let cache = Cache::new(Memory::new(1 << 20)).with_defaults(|layer| layer.ttl(MINUTE).rewarm(9));
    let state = (cache.clone(), Arc::clone(&alive));
    let handler = move || {
        let state = state.clone();
        async move { Arc::strong_count(&state.1).to_string() }
    };
    let app: Router = Router::new().route("/page", routing::get(handler).layer(cache.layer()));
    get(&app, "/page").await;
    cache.clear().await.unwrap();
    settled().await;
    assert!(get(&app, "/page").await.is_hit());
    drop(app);
    settled().await;
    assert_eq!(Arc::strong_count(&alive), 1, "the handler is still there");
    cache.clear().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_selected_by_a_user_is_not_fetched_again() {
    for (name, layer) in [
        ("cookie", (|layer| layer.strict()) as fn(CacheLayer) -> CacheLayer),
        ("cookie", |layer| layer.ignore_cookies(true)),
        ("authorization", |layer| layer.ignore_authorization(true)),
        ("x-user", |layer| layer.vary_on(["x-user"])),
    ] {
        let ((cache, _), runs) = (cache(), Runs::default());
        let app = page(layer(minute(&cache).rewarm(9)), numbered_with(&runs, &[("vary", name)]));
        for expected_hit in [false, true] {
            for headers in [&[][..], &[(name, "sid=1")]] {
                assert_eq!(get_with(&app, "/page", headers).await.is_hit(), expected_hit, "{name}");
            }
        }
        cache.clear().await.unwrap();
        settled().await;
        assert_eq!(runs.count(), 3, "{name}");
        assert!(get(&app, "/page").await.is_hit(), "{name}: that of a client without the field");
    }
}

#[test]
fn an_invalidation_in_a_runtime_that_has_ended_ends_as_well() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = page(minute(&cache).rewarm(9), numbered(&runs));
    let runtime = || Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let first = runtime();
    first.block_on(get(&app, "/page"));
    let ended = first.handle().clone();
    drop(first);
    ended.block_on(cache.clear()).unwrap();
    assert_eq!(runs.count(), 1);
    runtime().block_on(async {
        cache.clear().await.unwrap();
        settled().await;
    });
    assert_eq!(runs.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn pages_that_invalidate_each_other_are_not_fetched_without_end() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let counted = runs.clone();
    let handler = answering(move |parts| {
        let other = if parts.uri.path() == "/a" { "page:b" } else { "page:a" };
        // Otherwise a test that fails would not end.
        if counted.begin() < 50 { Invalidate::tags([other]) } else { Invalidate::nothing() }
    });
    let app = Router::new().route("/{id}", routing::get(handler).layer(minute(&cache).tags(["page:{id}"]).rewarm(9)));
    get(&app, "/a").await;
    get(&app, "/b").await;
    settled().await;
    assert_eq!(runs.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_of_no_tags_removes_nothing_and_one_of_many_all_that_have_them() {
    let ((cache, _), runs, requests) = (cache(), Runs::default(), Runs::default());
    let counted = requests.clone();
    let layer = minute(&cache).bypass_if(move |_| counted.begin() == 0);
    let app = posts(layer.rewarm(10), &runs);
    for id in 0..4 {
        get(&app, &format!("/posts/{id}")).await;
    }
    let before = requests.count();
    cache.invalidate_tags([""; 0]).await.unwrap();
    cache.invalidate_tags("too long".repeat(99)).await.unwrap_err();
    settled().await;
    assert_eq!((runs.count(), requests.count()), (4, before), "nothing is even looked up");
    cache.invalidate_tags((2..100).map(|id| format!("post:{id}")).collect::<Vec<_>>()).await.unwrap();
    settled().await;
    assert_eq!(runs.count(), 6);
    assert!(is_there(&app, 0).await && is_there(&app, 3).await);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_drains_keeps_no_requests() {
    let ((cache, _), runs, extension) = (cache(), Runs::default(), Arc::new(()));
    let app = |layer| page(layer, numbered(&runs));
    let (before, uri) = (app(minute(&cache).rewarm(9)), "/page");
    let send_to = async |app: &Router, uri: &str| {
        let mut request = request(Method::GET, uri, &[]);
        request.extensions_mut().insert(Arc::clone(&extension));
        assert!(send(app, request).await.is_stored());
        Arc::strong_count(&extension)
    };
    assert_eq!(send_to(&before, uri).await, 2, "it is kept with the request");
    cache.drain(MINUTE).await;
    assert_eq!(Arc::strong_count(&extension), 1);
    assert_eq!(send_to(&before, "/page?2").await, 1);
    assert_eq!(send_to(&app(minute(&cache).rewarm(9)), "/page?3").await, 1);
}

#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn a_hit_in_a_store_that_waits_copies_no_request() {
    use larder::testing::{Fault, Faulty, Operation};

    struct Copied(Runs);
    impl Clone for Copied {
        fn clone(&self) -> Self {
            self.0.begin();
            Self(self.0.clone())
        }
    }
    let (store, runs, copies) = (Faulty::new(Memory::new(1 << 20)), Runs::default(), Runs::default());
    store.fail(Operation::Read, Fault::Slow(Duration::from_millis(1)));
    let cache = Cache::new(store);
    let app = page(minute(&cache).rewarm(9), numbered(&runs));
    let visit = async || {
        let mut request = request(Method::GET, "/page", &[]);
        request.extensions_mut().insert(Copied(copies.clone()));
        let hit = send(&app, request).await.is_hit();
        (hit, copies.count())
    };
    let (_, kept) = visit().await;
    assert!(kept > 0);
    assert_eq!(visit().await, (true, kept));
    cache.clear().await.unwrap();
    sleep(MINUTE / 10).await;
    assert!(get(&app, "/page").await.is_hit());
    assert_eq!(runs.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_fills_or_refreshes_the_cache_is_fetched_again_too() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let app = page(minute(&cache).rewarm(9), numbered(&runs));
    cache.refresh(app.clone(), request(Method::GET, "/page", &[])).await.unwrap();
    cache.clear().await.unwrap();
    settled().await;
    assert!(get(&app, "/page").await.is_hit());
    assert_eq!(runs.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_being_fetched_since_before_an_invalidation_is_fetched_again_beside_it() {
    let ((cache, clock), runs, gate) = (cache(), Runs::default(), Gate::closed());
    let (begun, door) = (runs.clone(), gate.clone());
    let handler = move || async move {
        let run = begun.begin();
        door.pass().await;
        format!("run {run}")
    };
    let app = page(minute(&cache).tags(["page"]).rewarm(9), handler);
    gate.open(1);
    get(&app, "/page").await;
    gate.arrival().await;
    clock.advance(MINUTE);
    let older = tokio::spawn({
        let app = app.clone();
        async move { get(&app, "/page").await }
    });
    gate.arrival().await;
    cache.invalidate_tags("page").await.unwrap();
    settled().await;
    assert_eq!(runs.count(), 3, "the page is fetched while the older fetch still runs");
    // An invalidation of another tag does not repeat it once more, and one that the new fetch has seen neither.
    cache.invalidate_tags("elsewhere").await.unwrap();
    settled().await;
    gate.open(2);
    assert_eq!(older.await.unwrap().text(), "run 2");
    settled().await;
    let visitor = get(&app, "/page").await;
    assert!(visitor.is_hit() && visitor.text() == "run 3", "{visitor:?}");
    assert_eq!(runs.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn pages_whose_handlers_invalidate_each_other_from_tasks_are_fetched_once_a_second() {
    // Otherwise a test that fails would not end.
    const MOST: usize = 500;
    let ((cache, _), runs) = (cache(), Runs::default());
    let (counted, invalidated) = (runs.clone(), cache.clone());
    let handler = answering(move |parts| {
        let other = if parts.uri.path() == "/a" { "page:b" } else { "page:a" };
        let cache = invalidated.clone();
        if counted.begin() < MOST {
            tokio::spawn(async move { cache.invalidate_tags(other).await.unwrap() });
        }
        "page"
    });
    let app = Router::new().route("/{id}", routing::get(handler).layer(minute(&cache).tags(["page:{id}"]).rewarm(9)));
    get(&app, "/a").await;
    get(&app, "/b").await;
    settled().await;
    let in_a_row = runs.count();
    assert!((10..=2 * 11 + 2).contains(&in_a_row), "{in_a_row} runs in a row");
    sleep(Duration::from_secs(20)).await;
    let each_second = runs.count() - in_a_row;
    assert!((20..=2 * 21).contains(&each_second), "{each_second} runs in 20 seconds");
    cache.drain(MINUTE).await;
    let ended = runs.count();
    sleep(MINUTE).await;
    assert_eq!(runs.count(), ended);
}

#[tokio::test(start_paused = true)]
async fn the_last_of_many_writes_is_fetched_after_a_moment() {
    let (cache, _) = cache();
    let value = Arc::new(AtomicUsize::new(0));
    let read = Arc::clone(&value);
    let app = page(minute(&cache).tags(["page"]).rewarm(1), move || ready(read.load(Ordering::SeqCst).to_string()));
    get(&app, "/page").await;
    for written in 1..=30 {
        value.store(written, Ordering::SeqCst);
        cache.invalidate_tags("page").await.unwrap();
        settled().await;
    }
    sleep(Duration::from_secs(2)).await;
    let visitor = get(&app, "/page").await;
    assert!(visitor.is_hit() && visitor.text() == "30", "{visitor:?}");
}
