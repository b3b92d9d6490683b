//! Which responses are compressed, and how a coding is stored.

use std::{sync::Arc, time::Duration};

use axum::Router;
use bytes::Bytes;
use http::HeaderMap;
use larder::{
    Cache, CacheMode, CompressionOptions, ContentCoding, Error, Memory,
    backend::{Backend, Epoch, Invalidation, Key, PutOutcome, ReadOutcome, Receipt, Stored, Tag},
};

use super::{accepting, coded, coding_of, compressing, decoded, idle, site, text};
use crate::support::{Gate, MINUTE, Runs, answering, cache, fields, memories, minute, page};

/// Asks for gzip until it would have been made.
async fn is_compressed(app: &Router, cache: &Cache) -> bool {
    accepting(app, "gzip").await;
    accepting(app, "gzip").await;
    idle(cache).await;
    let answer = accepting(app, "gzip").await;
    assert!(answer.is_hit());
    coding_of(&answer.headers) == Some("gzip") && answer.header("vary") == Some("accept-encoding")
}

fn answers(cache: &Cache, lines: &[(&'static str, &'static str)], body: impl Into<Bytes>) -> Router {
    let (headers, body): (HeaderMap, Bytes) = (fields(lines), body.into());
    page(compressing(cache), answering(move |_| (headers.clone(), body.clone())))
}

#[tokio::test]
async fn what_must_not_or_need_not_be_compressed_is_stored_as_it_came() {
    let html = ("content-type", "text/html");
    for (lines, body) in [
        (&[("content-type", "image/png")][..], text()),
        (&[html, ("cache-control", "max-age=60, no-transform")], text()),
        (&[html, ("content-encoding", "identity")], text()),
        (&[html], text()[..1023].to_owned()),
        (&[html, ("signature-input", "sig=()")], text()),
    ] {
        let (cache, _) = cache();
        let app = answers(&cache, lines, body.clone());
        assert!(!is_compressed(&app, &cache).await, "{lines:?}");
        let answer = accepting(&app, "gzip").await;
        assert_eq!((answer.text(), answer.header("vary").is_none()), (&*body, coding_of(&answer.headers).is_none()), "{lines:?}");
    }
    let (cache, _) = cache();
    assert!(is_compressed(&answers(&cache, &[html], text()[..1024].to_owned()), &cache).await);
}

#[tokio::test]
async fn coded_response_of_the_handler_is_served_as_it_came() {
    let (cache, _) = cache();
    let app = answers(&cache, &[("content-type", "text/html"), ("content-encoding", "gzip")], "coded ".repeat(1000));
    for _ in 0..3 {
        let answer = accepting(&app, "br, gzip").await;
        assert_eq!((coding_of(&answer.headers), answer.text()), (Some("gzip"), &*"coded ".repeat(1000)));
        idle(&cache).await;
    }
}

#[tokio::test]
async fn coding_that_saves_nothing_is_made_once_and_not_served() {
    let (cache, _) = cache();
    let mut noise = 1_u64;
    let body: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 56) as u8
    })
    .take(5000)
    .collect();
    let app = answers(&cache, &[("content-type", "text/plain")], body.clone());
    for _ in 0..3 {
        accepting(&app, "gzip").await;
    }
    idle(&cache).await;
    let answer = accepting(&app, "gzip").await;
    assert_eq!((coding_of(&answer.headers), &answer.body[..]), (None, &body[..]));
    assert_eq!(cache.unfinished_work().codings, 0, "the coding is made again");
}

#[tokio::test]
async fn options_set_the_smallest_body() {
    let ((cache, _), runs) = (cache(), Runs::default());
    let options = CompressionOptions::default().min_body(text().len() + 1);
    let app = site(minute(&cache).compress(options.clone()), &runs, &[]);
    assert!(!is_compressed(&app, &cache).await);
    let (cache, _) = crate::support::cache();
    let app = site(minute(&cache).compress(options.min_body(text().len())), &runs, &[]);
    assert!(is_compressed(&app, &cache).await);
}

#[tokio::test]
async fn any_level_and_size_is_taken() {
    use ContentCoding::{Brotli, Gzip, Zstd};
    for (coding, name) in [(Brotli, "br"), (Gzip, "gzip"), (Zstd, "zstd")] {
        for (level, bytes) in [(0, 0), (1, 1), (u32::MAX, 0), (u32::MAX, usize::MAX)] {
            let ((cache, _), runs) = (cache(), Runs::default());
            let options = CompressionOptions::default().codings([coding, coding]).level(coding, level).min_body(bytes);
            let app = site(minute(&cache).compress(options), &runs, &[]);
            for _ in 0..3 {
                assert_eq!(decoded(&accepting(&app, name).await), text(), "{name} {level} {bytes}");
                idle(&cache).await;
            }
            // Without compression it saves nothing.
            let is_coded = bytes < usize::MAX && (coding, level) != (Gzip, 0);
            let answer = accepting(&app, name).await;
            assert_eq!((coding_of(&answer.headers) == Some(name), runs.count()), (is_coded, 1), "{name} {level} {bytes}");
        }
    }
}

#[tokio::test]
async fn handler_sees_no_coding_and_all_clients_share_one_entry() {
    let store = Arc::new(Memory::new(64 << 20));
    let cache = Cache::from_arc(store.clone());
    let handler = answering(|parts| {
        let seen = parts.headers["accept-encoding"].to_str().unwrap().to_owned();
        (fields(&[("content-type", "text/html"), ("vary", "Accept-Encoding")]), seen + &text())
    });
    let app = page(compressing(&cache), handler);
    for accepted in ["gzip", "br", "", "gzip, br", "zstd;q=0.3"] {
        let answer = accepting(&app, accepted).await;
        assert!(decoded(&answer).starts_with("identity"));
        assert_eq!(answer.headers.get_all("vary").iter().collect::<Vec<_>>(), ["Accept-Encoding"]);
        idle(&cache).await;
    }
    assert_eq!(store.entries(), 1);
}

#[tokio::test]
async fn every_coding_counts_in_the_memory_of_the_store() {
    for memory in memories(64 << 20) {
        let (store, runs) = (Arc::new(memory), Runs::default());
        let cache = Cache::from_arc(store.clone());
        let app = site(compressing(&cache), &runs, &[]);
        accepting(&app, "").await;
        let before = store.bytes();
        let mut sizes = 0;
        for coding in ["gzip", "br", "zstd"] {
            accepting(&app, coding).await;
            idle(&cache).await;
            sizes += accepting(&app, coding).await.body.len() as u64;
        }
        let grown = store.bytes() - before;
        assert!((sizes..sizes + 3 * 1500).contains(&grown), "{grown} for {sizes}");
        assert_eq!(store.entries(), 1);
    }
}

#[tokio::test]
async fn entry_that_would_be_too_large_with_a_coding_stays_without_it() {
    let (cache, runs) = (Cache::in_memory(text().len() as u64 + 1800), Runs::default());
    let app = site(compressing(&cache), &runs, &[]);
    coded(&app, &cache, &["gzip"]).await;
    let answer = accepting(&app, "gzip").await;
    assert!(answer.is_hit());
    assert_eq!((coding_of(&answer.headers), cache.unfinished_work().codings), (None, 0));
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn read_only_cache_and_one_that_drains_make_no_codings() {
    for stop in [|cache: &Cache| cache.set_mode(CacheMode::ReadOnly), |_: &Cache| ()] {
        let ((cache, _), runs) = (cache(), Runs::default());
        let app = site(compressing(&cache), &runs, &[]);
        accepting(&app, "").await;
        stop(&cache);
        if cache.mode() == CacheMode::Enabled {
            assert!(cache.drain(Duration::ZERO).await.is_complete());
        }
        accepting(&app, "gzip").await;
        assert_eq!(cache.unfinished_work().codings, 0);
        assert_eq!(coding_of(&accepting(&app, "gzip").await.headers), None);
    }
}

/// A memory that waits at a gate before it stores a coding.
#[derive(Debug, Clone)]
struct Gated {
    memory: Arc<Memory>,
    gate: Gate,
}

#[async_trait::async_trait]
impl Backend for Gated {
    fn get_now(&self, key: &Key) -> Option<ReadOutcome> {
        self.memory.get_now(key)
    }

    async fn get(&self, key: &Key, hint: &[Tag]) -> Result<ReadOutcome, Error> {
        self.memory.get(key, hint).await
    }

    async fn put(&self, key: &Key, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.memory.put(key, stored).await
    }

    async fn replace(&self, key: &Key, present: &Stored, stored: Arc<Stored>) -> Result<PutOutcome, Error> {
        self.gate.pass().await;
        self.memory.replace(key, present, stored).await
    }

    async fn is_alive(&self, born: Epoch, tags: &[Tag]) -> Result<bool, Error> {
        self.memory.is_alive(born, tags).await
    }

    async fn invalidate(&self, invalidation: &Invalidation) -> Result<Receipt, Error> {
        self.memory.invalidate(invalidation).await
    }
}

/// What happens to the response after its coding was made and before it is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meanwhile {
    Invalidated,
    InvalidatedAndFetched,
    Replaced,
    Withdrawn,
}

#[tokio::test]
async fn coding_of_an_invalidated_or_replaced_response_is_not_stored() {
    use Meanwhile::{Invalidated, InvalidatedAndFetched, Replaced, Withdrawn};
    for meanwhile in [Invalidated, InvalidatedAndFetched, Replaced, Withdrawn] {
        let (gate, runs, clock) = (Gate::closed(), Runs::default(), larder::ManualClock::new());
        let store = Gated { memory: Arc::new(Memory::new(64 << 20)), gate: gate.clone() };
        let cache = Cache::new(store.clone()).with_clock(&clock);
        let handled = runs.clone();
        let app = page(
            compressing(&cache).tags(["page"]),
            answering(move |_| {
                let run = handled.begin();
                let veto = if meanwhile == Withdrawn && run == 2 { "no-store" } else { "max-age=60" };
                (fields(&[("content-type", "text/html"), ("cache-control", veto)]), format!("run {run} {}", text()))
            }),
        );
        accepting(&app, "").await;
        accepting(&app, "gzip").await;
        gate.arrival().await;
        match meanwhile {
            Invalidated | InvalidatedAndFetched => _ = cache.invalidate_tags("page").await.unwrap(),
            Replaced | Withdrawn => clock.advance(MINUTE * 2),
        }
        if meanwhile != Invalidated {
            assert!(accepting(&app, "").await.text().starts_with("run 2"));
        }
        gate.open(2);
        idle(&cache).await;
        let after = accepting(&app, "gzip").await;
        idle(&cache).await;
        let expected = if meanwhile == Withdrawn { "run 3" } else { "run 2" };
        assert!(decoded(&after).starts_with(expected), "{meanwhile:?}");
        assert_eq!(coding_of(&after.headers), None, "{meanwhile:?}");
    }
}

#[tokio::test]
async fn one_coding_of_a_response_is_made_at_a_time() {
    let (gate, runs) = (Gate::closed(), Runs::default());
    let store = Gated { memory: Arc::new(Memory::new(64 << 20)), gate: gate.clone() };
    let cache = Cache::new(store);
    let app = site(compressing(&cache), &runs, &[]);
    accepting(&app, "").await;
    for coding in ["gzip", "gzip", "br", "zstd", "gzip"] {
        assert_eq!(coding_of(&accepting(&app, coding).await.headers), None);
        assert_eq!(cache.unfinished_work().codings, 1);
    }
    gate.arrival().await;
    gate.open(1);
    idle(&cache).await;
    assert_eq!(coding_of(&accepting(&app, "gzip").await.headers), Some("gzip"));
}
