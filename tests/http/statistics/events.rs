//! What is said about each decision: events, the listener, warnings, and the trail of invalidations.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use axum::{Router, routing};
use http::{Method, StatusCode};
use larder::{Cache, CacheStatus, Forward, Outcome};
use tracing_core::{
    Event, Level, Metadata, Subscriber,
    dispatcher::DefaultGuard,
    field::{Field, Visit},
    span,
};

use crate::support::{
    Gate, cache, get, get_with,
    logs::{Logs, subscribe},
    minute, page, send_empty, spawn_get,
};

/// The events with one target, down to `DEBUG`, and the names of the spans.
#[derive(Clone, Default)]
struct Events {
    events: Arc<Mutex<Vec<String>>>,
    spans: Arc<Mutex<Vec<&'static str>>>,
}

impl Events {
    fn collect() -> (Self, DefaultGuard) {
        let events = Self::default();
        (events.clone(), subscribe(events))
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    fn spans(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.spans.lock().unwrap())
    }
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG && metadata.target().starts_with("larder")
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        self.spans.lock().unwrap().push(span.metadata().name());
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        if ["larder::decision", "larder::invalidation"].contains(&event.metadata().target()) {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.events.lock().unwrap().push(line.0.trim_end().to_owned());
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // The digest depends on nothing but the key; its length is what is promised.
        match field.name() {
            "digest" => assert_eq!(format!("{value:?}").trim_matches('"').len(), 8),
            name => self.0.push_str(&format!("{name}={value:?} ")),
        }
    }
}

#[tokio::test]
async fn each_decision_is_one_event() {
    let (cache, _) = cache();
    let app = page(minute(&cache).tags(["pages"]), || async { "page" });
    let (events, _guard) = Events::collect();
    get(&app, "/page").await;
    let miss = events.take();
    assert_eq!(miss.len(), 1, "{miss:?}");
    assert!(miss[0].starts_with(r#"outcome="miss" forward="uri-miss" status=200 ttl=60 tags="#), "{miss:?}");
    assert!(miss[0].ends_with(r#"route="/page""#), "{miss:?}");
    assert_eq!(events.spans(), ["larder.fetch", "larder.store"]);

    get(&app, "/page").await;
    let hit = events.take();
    assert_eq!(hit.len(), 1);
    assert!(hit[0].starts_with(r#"outcome="hit" status=200 ttl=60 age=0 tags="#), "{hit:?}");
    assert!(events.spans().is_empty(), "a hit has no span");

    get_with(&app, "/page", &[("cookie", "secret=canary")]).await;
    let bypass = events.take();
    assert_eq!(bypass, [r#"outcome="bypass" forward="bypass" reason="request-cookie" status=200 tags=0 route="/page""#]);
}

#[tokio::test]
async fn waits_have_a_span() {
    let ((cache, _), gate) = (cache(), Gate::closed());
    let door = gate.clone();
    let app = page(minute(&cache), move || async move {
        door.pass().await;
        "page"
    });
    let (events, _guard) = Events::collect();
    let leader = spawn_get(&app, "/page");
    gate.arrival().await;
    let follower = spawn_get(&app, "/page");
    while cache.stats().waiting() == 0 {
        tokio::task::yield_now().await;
    }
    gate.open(1);
    leader.await.unwrap();
    follower.await.unwrap();
    assert_eq!(events.spans().iter().filter(|span| **span == "larder.wait").count(), 1);
}

type Heard = Arc<Mutex<Vec<(Outcome, String, Option<StatusCode>, Option<Forward>, bool)>>>;

#[tokio::test]
async fn listener_hears_each_decision_once() {
    let ((cache, _), heard, gate) = (cache(), Heard::default(), Gate::closed());
    let all = Arc::clone(&heard);
    let cache = cache.with_decision_listener(move |decision| {
        let forward = decision.status().and_then(CacheStatus::forward);
        let entry = (
            decision.outcome(),
            decision.route().to_owned(),
            decision.response_status(),
            forward,
            decision.key_digest().is_some(),
        );
        assert_eq!(decision.key(), None, "keys are not revealed");
        all.lock().unwrap().push(entry);
    });
    let door = gate.clone();
    let app = Router::new()
        .route("/page", routing::any(|| async { "page" }).layer(minute(&cache)))
        .route("/slow", routing::get(move || async move { door.pass().await }).layer(minute(&cache)));
    get(&app, "/page").await;
    get(&app, "/page").await;
    send_empty(&app, Method::DELETE, "/page").await;
    let leaving = spawn_get(&app, "/slow");
    gate.arrival().await;
    leaving.abort();
    _ = leaving.await;
    let (ok, page) = (Some(StatusCode::OK), || "/page".to_owned());
    assert_eq!(
        *heard.lock().unwrap(),
        [
            (Outcome::Miss, page(), ok, Some(Forward::UriMiss), true),
            (Outcome::Hit, page(), ok, None, true),
            (Outcome::Bypass, page(), ok, Some(Forward::Method), false),
            (Outcome::Abandoned, "/slow".to_owned(), None, None, true),
        ]
    );
}

#[tokio::test]
async fn keys_are_shown_only_if_they_are_revealed() {
    let (cache, _) = cache();
    let keys = Arc::new(Mutex::new(Vec::new()));
    let listening = Arc::clone(&keys);
    let cache = cache.with_revealed_keys(true).with_decision_listener(move |decision| {
        listening.lock().unwrap().extend(decision.key());
    });
    let app = page(minute(&cache).ignore_authorization(true), || async { "page" });
    get_with(&app, "/page?q=1", &[("authorization", "Bearer canary")]).await;
    let keys = keys.lock().unwrap();
    assert!(keys.len() == 1 && keys[0].contains("/page") && keys[0].contains("q=1") && !keys[0].contains("canary"), "{keys:?}");
}

#[tokio::test]
async fn invalidations_leave_a_trail() {
    let (cache, _) = cache();
    let (events, _guard) = Events::collect();
    cache.invalidate_tags((0..7).map(|tag| format!("tag{tag}"))).await.unwrap();
    cache.clear().await.unwrap();
    let lines = events.take();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for part in ["invalidated", r#"kind="tags""#, "count=7", "tag4", "epoch=", "scope=Process", "took_ms="] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
    assert!(!lines[0].contains("tag5"), "only the first tags are named");
    assert!(lines[1].contains(r#"kind="everything""#));
    let stats = cache.stats();
    assert_eq!((stats.invalidations().tags(), stats.invalidations().durations().count()), (7, 2));
}

#[tokio::test]
async fn a_hundred_responses_in_a_row_that_are_not_stored_are_said_once() {
    let (cache, _) = cache();
    let app = Router::new()
        .route("/cookie", routing::get(|| async { ([("set-cookie", "a=b")], "page") }).layer(minute(&cache)))
        .route("/private", routing::get(|| async { ([("cache-control", "private")], "page") }).layer(minute(&cache)));
    let (logs, _guard) = Logs::collect();
    for _ in 0..99 {
        get(&app, "/cookie").await;
    }
    assert_eq!(logs.take(), [""; 0]);
    for _ in 0..150 {
        get(&app, "/cookie").await;
        // What the handler wants is no mistake.
        get(&app, "/private").await;
    }
    let lines = logs.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("/cookie") && lines[0].contains("The response sets a cookie."), "{lines:?}");
}

#[tokio::test]
async fn a_route_with_hits_is_not_suspected() {
    let (cache, _) = cache();
    let app = page(minute(&cache), || async { "page" });
    let (logs, _guard) = Logs::collect();
    get(&app, "/page").await;
    for _ in 0..300 {
        get_with(&app, "/page", &[("cookie", "a=b")]).await;
        get(&app, "/page").await;
    }
    assert_eq!(logs.take(), [""; 0]);
    assert_eq!(requests(&cache), 601);
}

fn requests(cache: &Cache) -> u64 {
    cache.stats().requests()
}
