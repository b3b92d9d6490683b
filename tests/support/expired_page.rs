//! A page whose tag has expired, on any store: its stale window begins with the expiry.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get as reading};
use http::StatusCode;
use larder::{Cache, CacheLayer, ManualClock};
use tokio::time::sleep;

use super::{Answer, Gate, Runs, get};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long what has expired may be served.
const WINDOW: Duration = Duration::from_secs(2);

/// How long a handler may take before something stale answers for it.
const SOFT: Duration = Duration::from_millis(50);

/// What allows it, on a layer.
type Window = fn(CacheLayer) -> CacheLayer;

const WINDOWS: [(&str, Window); 2] =
    [("while-revalidating", |layer| layer.stale_while_revalidate(WINDOW)), ("on-error", |layer| layer.stale_if_error(WINDOW))];

/// Tries a page on every rule: `reader` answers from the store, `writer` expires tags in it; both use the clock.
pub(crate) async fn windows_begin_with_the_expiry(reader: &Cache, writer: &Cache, clock: &ManualClock) {
    for (name, window) in WINDOWS {
        let page = |rule: &str| Page::new(&format!("{name}-{rule}"), reader, writer, clock, window);
        page("begins").begins_with_the_expiry().await;
        page("stays").is_not_moved_by_later_expiries().await;
        page("again").is_whole_after_a_refresh().await;
        page("stale").is_not_moved_by_an_expiry_after_freshness().await;
    }
    let revalidating = WINDOWS[0].1;
    Page::new("often", reader, writer, clock, revalidating).is_served_under_frequent_expiries().await;
    Page::new("slow", reader, writer, clock, WINDOWS[1].1).is_served_for_a_slow_handler_until_then().await;
}

/// What a node has expired whose clock is ahead of the reader's is stale for the reader, and its window has not ended.
pub(crate) async fn an_expiry_in_the_future_counts_as_now(reader: &Cache, writer: &Cache) {
    let clock = ManualClock::new();
    let page = Page::new("ahead", reader, writer, &clock, WINDOWS[1].1);
    let first = page.filled().await;
    page.expire().await;
    page.origin.fail();
    page.is_stale(&first, 0).await;
}

/// One page, its origin, and who expires it.
struct Page<'c> {
    tag: String,
    uri: String,
    app: Router,
    origin: Origin,
    writer: &'c Cache,
    clock: &'c ManualClock,
}

/// A handler that answers `run 1`, `run 2`, …, fails or waits.
#[derive(Clone)]
struct Origin {
    runs: Runs,
    is_down: Arc<AtomicBool>,
    is_slow: Arc<AtomicBool>,
    gate: Gate,
}

impl<'c> Page<'c> {
    fn new(name: &str, reader: &Cache, writer: &'c Cache, clock: &'c ManualClock, window: Window) -> Self {
        let origin = Origin { runs: Runs::default(), is_down: Arc::default(), is_slow: Arc::default(), gate: Gate::closed() };
        let layer = window(reader.layer().ttl(DAY).soft_timeout(SOFT)).tags([name.to_owned()]);
        let handler = {
            let origin = origin.clone();
            move || async move { origin.answer().await }
        };
        let uri = format!("/{name}");
        let app = Router::new().route(&uri, reading(handler).layer(layer));
        Self { tag: name.to_owned(), uri, app, origin, writer, clock }
    }

    async fn begins_with_the_expiry(&self) {
        let first = self.filled().await;
        self.clock.advance(4 * SECOND);
        self.expire().await;
        self.origin.fail();
        self.is_stale(&first, 0).await;
        self.clock.advance(WINDOW - MILLISECOND);
        self.is_stale(&first, -1).await;
        self.clock.advance(MILLISECOND);
        self.is_gone().await;
    }

    async fn is_not_moved_by_later_expiries(&self) {
        let first = self.filled().await;
        self.expire().await;
        self.origin.fail();
        self.clock.advance(SECOND);
        self.expire().await;
        self.expire().await;
        self.clock.advance(SECOND - MILLISECOND);
        self.is_stale(&first, -1).await;
        self.clock.advance(MILLISECOND);
        self.is_gone().await;
    }

    async fn is_whole_after_a_refresh(&self) {
        let first = self.filled().await;
        self.expire().await;
        let second = self.filled().await;
        assert_ne!(first, second, "{}", self.uri);
        self.clock.advance(5 * HOUR);
        self.expire().await;
        self.origin.fail();
        self.is_stale(&second, 0).await;
        self.clock.advance(WINDOW - MILLISECOND);
        self.is_stale(&second, -1).await;
        self.clock.advance(MILLISECOND);
        self.is_gone().await;
    }

    async fn is_not_moved_by_an_expiry_after_freshness(&self) {
        let first = self.filled().await;
        self.clock.advance(DAY + SECOND);
        self.expire().await;
        self.origin.fail();
        self.clock.advance(SECOND - MILLISECOND);
        self.is_stale(&first, -1).await;
        self.clock.advance(MILLISECOND);
        self.is_gone().await;
    }

    /// Ten expiries a second, and one request.
    async fn is_served_under_frequent_expiries(&self) {
        self.filled().await;
        for second in 0..20 {
            for _ in 0..10 {
                self.clock.advance(SECOND / 10);
                self.expire().await;
            }
            let answer = self.get().await;
            assert!(answer.is_hit(), "{} after {second} seconds of expiries: {:?}", self.uri, answer.cache);
            self.filled().await;
        }
    }

    async fn is_served_for_a_slow_handler_until_then(&self) {
        let first = self.filled().await;
        self.expire().await;
        self.origin.is_slow.store(true, Ordering::SeqCst);
        self.clock.advance(WINDOW - MILLISECOND);
        self.is_stale(&first, -1).await;
        self.clock.advance(MILLISECOND);
        let (app, uri) = (self.app.clone(), self.uri.clone());
        let waiting = tokio::spawn(async move { get(&app, &uri).await });
        sleep(10 * SOFT).await;
        self.origin.gate.open(10);
        assert_ne!(waiting.await.unwrap().text(), first, "{}", self.uri);
    }

    /// Asks until the cache answers with the latest run's fresh response: a store may need more than one fetch, and a request whose
    /// lookup overlapped with a fetch may have begun another.
    async fn filled(&self) -> String {
        for _ in 0..1000 {
            let answer = self.get().await;
            let is_fresh = answer.is_hit() && answer.cache.and_then(|status| status.ttl()).is_some_and(|ttl| ttl > 0);
            if is_fresh && answer.text() == format!("run {}", self.origin.runs.count()) {
                return answer.text().to_owned();
            }
            sleep(5 * MILLISECOND).await;
        }
        panic!("{} is not fresh", self.uri);
    }

    async fn is_stale(&self, text: &str, ttl: i64) {
        let answer = self.get().await;
        assert_eq!(answer.text(), text, "{}: {:?}", self.uri, answer.cache);
        assert_eq!(answer.cache.and_then(|status| status.ttl()), Some(ttl), "{}", self.uri);
    }

    async fn is_gone(&self) {
        let answer = self.get().await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}: {:?}", self.uri, answer.cache);
    }

    async fn expire(&self) {
        self.writer.expire_tags([&self.tag]).await.unwrap();
    }

    async fn get(&self) -> Answer {
        get(&self.app, &self.uri).await
    }
}

impl Origin {
    fn fail(&self) {
        self.is_down.store(true, Ordering::SeqCst);
    }

    async fn answer(&self) -> (StatusCode, String) {
        if self.is_down.load(Ordering::SeqCst) {
            return (StatusCode::BAD_GATEWAY, String::new());
        }
        let run = self.runs.begin();
        if self.is_slow.load(Ordering::SeqCst) {
            self.gate.pass().await;
        }
        (StatusCode::OK, format!("run {run}"))
    }
}
