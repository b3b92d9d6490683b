//! What a warm-up requests, stores and reports.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use axum::{Router, extract::Path, response::IntoResponse as _, routing};
use futures_core::Stream;
use http::{Request, StatusCode};
use larder::{Cache, Reason, WarmEnd};

use crate::support::{Gate, MINUTE, Runs, answering, cache, field, get, get_with, minute, numbered, numbered_with};

/// Pages that can be stored, and some that cannot.
fn site(cache: &Cache, runs: &Runs) -> Router {
    let failing = || async { StatusCode::INTERNAL_SERVER_ERROR };
    Router::new()
        .route("/page/{id}", routing::get(numbered(runs)))
        .route("/cookie", routing::get(numbered_with(runs, &[("set-cookie", "a=b")])))
        .route("/private", routing::get(numbered_with(runs, &[("cache-control", "private")])))
        .route("/broken", routing::get(failing))
        .route("/panic", routing::get(panicking))
        .layer(minute(cache))
        .route("/uncached", routing::get(|| async {}))
}

async fn panicking() {
    panic!("the handler panics, as it is meant to");
}

#[tokio::test]
async fn a_report_counts_what_was_stored_and_says_why_the_rest_was_not() {
    let (cache, _) = cache();
    let app = site(&cache, &Runs::default());
    let pages = ["/page/1", "/page/2", "/cookie", "/private", "/private?2", "/uncached", "/broken", "/panic", "no path"];
    let report = cache.warm(app.clone()).host("example.com").paths(pages).start().await;
    assert_eq!((report.stored(), report.fresh(), report.not_stored(), report.failed()), (2, 0, 4, 3), "{report}");
    assert_eq!((report.reasons(), report.without_layer()), (&[(Reason::Private, 2), (Reason::SetCookie, 1)][..], 1));
    let mut failures: Vec<_> = report.failures().iter().map(|failure| failure.uri.as_str()).collect();
    failures.sort_unstable();
    assert_eq!(failures, ["/broken", "/panic", "no path"]);
    assert!(
        report.to_string().starts_with("2 stored, 4 not stored: private (2), set-cookie (1), no-layer (1), 3 failed"),
        "{report}"
    );
    assert!(!report.is_complete() && report.end() == WarmEnd::Complete);
    assert!(get(&app, "/page/2").await.is_hit());
}

#[tokio::test]
async fn fresh_responses_are_skipped_or_replaced() {
    let (cache, clock) = cache();
    let runs = Runs::default();
    let app = site(&cache, &runs);
    get(&app, "/page/1").await;
    let warm = || cache.warm(app.clone()).host("example.com").paths(["/page/1", "/page/2"]);
    assert_eq!(warm().skip_fresh().start().await.to_string(), "1 stored, 1 fresh");
    assert_eq!((get(&app, "/page/1").await.text(), runs.count()), ("run 1", 2));
    assert_eq!(warm().start().await.to_string(), "2 stored");
    assert_ne!(get(&app, "/page/1").await.text(), "run 1");
    clock.advance(MINUTE);
    assert_eq!(warm().skip_fresh().start().await.to_string(), "2 stored", "they were stale");
    assert_eq!(runs.count(), 6);
}

/// A route whose handler waits at a door.
fn behind(cache: &Cache, route: &str, door: &Gate, runs: &Runs) -> Router {
    let (door, runs) = (door.clone(), runs.clone());
    let handler = move || async move {
        door.pass().await;
        format!("run {}", runs.begin())
    };
    Router::new().route(route, routing::get(handler).layer(minute(cache)))
}

#[tokio::test]
async fn a_warm_up_that_skips_what_is_fresh_shares_the_run_of_a_client() {
    let (cache, _) = cache();
    let (door, runs) = (Gate::closed(), Runs::default());
    let app = behind(&cache, "/page", &door, &runs);
    let client = crate::support::spawn_get(&app, "/page");
    door.arrival().await;
    let warming = cache.warm(app.clone()).host("example.com").paths(["/page"]).skip_fresh().start();
    tokio::task::yield_now().await;
    door.open(2);
    let report = warming.await;
    client.await.unwrap();
    assert_eq!((report.fresh(), report.failed(), runs.count()), (1, 0, 1), "{report}");
}

#[tokio::test]
async fn a_limit_and_failures_end_a_warm_up() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let app = site(&cache, &runs);
    let pages = || (0..50).map(|number| format!("/page/{number}"));
    let report = cache.warm(app.clone()).host("example.com").paths(pages()).limit(7).start().await;
    assert_eq!((report.stored(), runs.count(), report.end()), (7, 7, WarmEnd::Limit));
    assert!(report.to_string().ends_with("ended early: there are more requests than its limit"), "{report}");
    let exact = cache.warm(app.clone()).host("example.com").paths(["/page/1"]).limit(1).start().await;
    assert_eq!(exact.end(), WarmEnd::Complete);
    let broken = cache.warm(app).host("example.com").paths([["/broken"; 9]].concat()).concurrency(1).stop_after_failures(3);
    let report = broken.start().await;
    assert_eq!((report.failed(), report.end()), (3, WarmEnd::Failures), "{report}");
}

#[tokio::test]
async fn a_cancelled_warm_up_sends_no_further_requests() {
    let (cache, _) = cache();
    let (door, runs) = (Gate::closed(), Runs::default());
    let app = behind(&cache, "/page/{id}", &door, &runs);
    let pages = (0..9).map(|number| format!("/page/{number}"));
    let warming = cache.warm(app.clone()).host("example.com").paths(pages).concurrency(1).start();
    door.arrival().await;
    door.open(1);
    door.arrival().await;
    assert_eq!((warming.progress().done, warming.progress().total), (1, Some(9)));
    warming.cancel();
    let report = warming.await;
    assert_eq!((report.stored(), report.end()), (1, WarmEnd::Cancelled));
    // The request under way goes on, as if its client had left.
    door.open(8);
    assert_eq!(get(&app, "/page/1").await.text(), "run 2");
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn draining_ends_a_warm_up_and_lets_none_begin() {
    let (cache, _) = cache();
    let door = Gate::closed();
    let waiting = door.clone();
    let handler = move || async move { waiting.pass().await };
    let app = Router::new().route("/page", routing::get(handler).layer(minute(&cache)));
    let warming = cache.warm(app.clone()).host("example.com").paths(["/page"]).start();
    door.arrival().await;
    cache.drain(MINUTE).await;
    assert_eq!(warming.await.end(), WarmEnd::Drained);
    assert_eq!(cache.warm(app).paths(["/page"]).start().await.end(), WarmEnd::Drained);
}

#[tokio::test(start_paused = true)]
async fn readiness_waits_for_a_warm_up_no_longer_than_its_limit() {
    let (cache, _) = cache();
    let door = Gate::closed();
    let waiting = door.clone();
    let handler = move || async move { waiting.pass().await };
    let app = Router::new().route("/page", routing::get(handler).layer(minute(&cache)));
    let mut warming = cache.warm(app.clone()).host("example.com").paths(["/page"]).start();
    let (took, report) = crate::support::paused::timed(warming.before_serving(MINUTE)).await;
    assert!(report.is_none() && took == MINUTE);
    door.open(1);
    assert_eq!(warming.before_serving(MINUTE).await.unwrap().stored(), 1);
    assert_eq!(warming.before_serving(MINUTE).await.unwrap().stored(), 1, "the report stays");
    assert_eq!(warming.await.stored(), 1);
}

#[tokio::test]
async fn listeners_see_each_step() {
    let (cache, _) = cache();
    let app = site(&cache, &Runs::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let steps = Arc::clone(&seen);
    let warm = cache.warm(app).host("example.com").paths(["/page/1", "/page/2", "/cookie"]).concurrency(1);
    warm.on_progress(move |progress| steps.lock().unwrap().push((progress.done, progress.stored, progress.total))).start().await;
    let mut seen = seen.lock().unwrap().clone();
    seen.dedup();
    assert_eq!(seen, [(1, 1, Some(3)), (2, 2, Some(3)), (3, 2, Some(3))]);
}

#[tokio::test]
async fn pages_are_combined_with_field_values() {
    let (cache, _) = cache();
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = answering(move |parts| {
        counted.begin();
        ([("vary", "accept-language, x-theme")], format!("{} {}", field(parts, "accept-language"), field(parts, "x-theme")))
    });
    let app = Router::new().route("/page", routing::get(handler).layer(minute(&cache)));
    let warm = cache.warm(app.clone()).host("example.com").paths(["/page"]);
    let report = warm.vary("accept-language", ["de", "en"]).vary("x-theme", ["dark", "light", "plain"]).start().await;
    assert_eq!((report.stored(), runs.count()), (6, 6));
    for language in ["de", "en"] {
        for theme in ["dark", "light", "plain"] {
            let answer = get_with(&app, "/page", &[("accept-language", language), ("x-theme", theme)]).await;
            assert!(answer.is_hit() && answer.text() == format!("{language} {theme}"));
        }
    }
}

#[test]
#[should_panic(expected = "1024 times")]
fn too_many_combinations_are_refused() {
    let warm = Cache::in_memory(1 << 20).warm(Router::new());
    let _ = ["a", "b", "c", "d", "e"].into_iter().fold(warm, |warm, field| warm.vary(field, ["1", "2", "3", "4"]));
}

#[tokio::test]
async fn a_sitemap_is_warmed_with_the_hosts_that_it_names() {
    let (cache, _) = cache();
    let app = Router::new().route("/caf%C3%A9/{page}", routing::get(async |Path(page): Path<String>| page).layer(minute(&cache)));
    let xml = "<urlset><url><loc>https://example.com/café/one two?a=1&amp;b=2</loc></url></urlset>";
    let report = cache.warm(app.clone()).sitemap(xml).unwrap().start().await;
    assert_eq!(report.to_string(), "1 stored");
    let answer = get(&app, "/caf%C3%A9/one%20two?a=1&b=2").await;
    assert!(answer.is_hit() && answer.text() == "one two");
    let index = cache.warm(app).sitemap("<sitemapindex></sitemapindex>").unwrap_err();
    assert!(index.is_invalid_input() && index.to_string().contains("sitemap index"), "{index}");
}

/// A stream of requests, each after a turn of the scheduler.
struct Requests(Vec<Request<()>>, bool);

impl Stream for Requests {
    type Item = Request<()>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Request<()>>> {
        self.1 = !self.1;
        if self.1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.0.pop())
    }
}

#[tokio::test]
async fn requests_of_a_stream_are_sent_as_they_are() {
    let (cache, _) = cache();
    let handler = answering(|parts| {
        let private = !field(parts, "authorization").is_empty();
        let cache_control = if private { "s-maxage=60" } else { "max-age=60" };
        ([("cache-control", cache_control)], format!("{} {}", field(parts, "host"), field(parts, "x-a"))).into_response()
    });
    let app = Router::new().route("/page", routing::get(handler).layer(minute(&cache)));
    let own = Request::get("/page").header("host", "other.example").header("x-a", "own").body(()).unwrap();
    let plain = Request::get("/page").body(()).unwrap();
    let cookie = Request::get("/page?2").header("cookie", "a=b").body(()).unwrap();
    let warm =
        cache.warm(app.clone()).host("example.com").header("x-a", "all").requests(Requests(vec![own, plain, cookie], false));
    let report = warm.start().await;
    assert_eq!(report.to_string(), "2 stored, 1 not stored: request-cookie (1)");
    let other = get_with(&app, "/page", &[("host", "other.example")]).await;
    assert!(other.is_hit() && other.text() == "other.example own");
    assert_eq!(get(&app, "/page").await.text(), "example.com all");
}
