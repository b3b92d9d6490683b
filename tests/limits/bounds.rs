//! What larder takes of the machine stays within its limits, whatever is asked of it.
//!
//! Figures are printed: `cargo test --test limits -- --nocapture bounds`.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::Path, routing};
use http::Method;
use larder::{Cache, CacheTags, ManualClock, Memory, backend::Backend};
use tokio::sync::Mutex;

use crate::support::{MINUTE, get, memories, minute, page, send_empty};

const MIB: u64 = 1 << 20;

/// How much of a flood a build without optimizations is to take: it needs ten times as long.
const fn flood_of(number: u64) -> u64 {
    if cfg!(debug_assertions) { number / 10 } else { number }
}

/// The memory of the process is everyone's: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How many bytes of the process stand in memory; where that cannot be asked, always as many.
fn resident_bytes() -> u64 {
    const PAGE: u64 = 4096;
    let Ok(pages) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * PAGE
}

fn shared(memory: &Arc<Memory>) -> Cache {
    Cache::from_arc(Arc::clone(memory) as Arc<dyn Backend>)
}

/// Something tagged by its number, a kibibyte long.
fn items(cache: &Cache) -> Router {
    let show = |Path(item): Path<u64>| async move { (CacheTags::new([format!("item:{item}")]), "i".repeat(1024)) };
    Router::new().route("/items/{item}", routing::get(show).layer(cache.layer().ttl(MINUTE)))
}

#[tokio::test]
async fn a_flood_of_invalidated_tags_takes_no_more_memory_than_the_table_has() {
    let _alone = ALONE.lock().await;
    const CAPACITY: usize = 65_536;
    let memory = Arc::new(Memory::new(64 * MIB));
    let cache = shared(&memory);
    let app = items(&cache);
    get(&app, "/items/0").await;
    assert!(get(&app, "/items/0").await.is_hit());
    let before = resident_bytes();

    const TAGS: u64 = flood_of(1_000_000);
    for item in 0..TAGS {
        cache.invalidate_tags([format!("item:{item}")]).await.unwrap();
    }

    // That of the stored entry, and as many of others as the table has room for.
    assert_eq!(memory.invalidated_tags(), 1 + CAPACITY);
    let grown = resident_bytes().saturating_sub(before);
    println!("{TAGS} invalidated tags: {} KiB more", grown / 1024);
    assert!(grown < 32 * MIB, "{grown} bytes more");
    assert!(!get(&app, "/items/0").await.is_hit());
    for fresh in [0, 7, TAGS - 1, TAGS].map(|item| format!("/items/{item}")) {
        get(&app, &fresh).await;
        assert!(get(&app, &fresh).await.is_hit(), "{fresh}");
    }
}

#[tokio::test]
async fn a_flood_of_keys_takes_no_more_memory_than_the_store_has() {
    let _alone = ALONE.lock().await;
    const STORE: u64 = 4 * MIB;
    const KEYS: u64 = flood_of(250_000);
    for memory in memories(STORE) {
        flood(Arc::new(memory), STORE, KEYS).await;
    }
}

async fn flood(memory: Arc<Memory>, store: u64, keys: u64) {
    let app = items(&shared(&memory));
    let mut settled = 0;

    for item in 0..keys {
        let answer = get(&app, &format!("/items/{item}")).await;
        assert!(answer.is_stored());
        if item == keys / 10 {
            settled = resident_bytes();
        }
        if item % 10_000 == 0 {
            assert!(memory.bytes() <= store, "{} bytes of {store}", memory.bytes());
        }
    }

    assert!(memory.bytes() <= store);
    assert!(memory.entries() > store / 4096, "{} entries are few", memory.entries());
    let grown = resident_bytes().saturating_sub(settled);
    println!("{memory:?}: {keys} keys through a store of 4 MiB: {} KiB more after the first tenth", grown / 1024);
    assert!(grown < 4 * MIB, "{grown} bytes more");
}

/// What a handler sends; larder adds `Content-Length`, `Date` and `Age`.
const THREE_FIELDS: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    ("cache-control", "max-age=60"),
    ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
];
const SIX_FIELDS: [(&str, &str); 6] = [
    THREE_FIELDS[0],
    THREE_FIELDS[1],
    THREE_FIELDS[2],
    ("content-language", "en"),
    ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ("x-content-type-options", "nosniff"),
];

/// What one entry takes over its body, in bytes.
#[derive(Debug, Clone, Copy)]
struct Overhead {
    /// By the allocator's account.
    allocated: u64,
    /// By the store's own, which its limit counts.
    weighed: u64,
}

/// The average of five hundred entries with two tags and a body of `body` bytes.
fn overhead<const N: usize>(memory: Memory, fields: [(&'static str, &'static str); N], body: usize) -> Overhead {
    const ENTRIES: u64 = 500;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let memory = Arc::new(memory);
    let layer = shared(&memory).layer().ttl(MINUTE).tags(["posts", "post:{post}"]);
    let show = move |Path(_): Path<u64>| async move { (fields, "b".repeat(body)) };
    let app = Router::new().route("/posts/{post}", routing::get(show).layer(layer));
    let fill = |from: u64, to: u64| {
        for post in from..to {
            assert!(runtime.block_on(get(&app, &format!("/posts/{post}"))).is_stored());
        }
        assert_eq!(memory.entries(), to);
    };
    // What is allocated once, and the store's first tables, are not an entry's.
    fill(0, 100);
    // Nor are the samples for `hot_misses`, which are full after these: the response to HEAD is not stored.
    for post in 0..2 * ENTRIES {
        runtime.block_on(send_empty(&app, Method::HEAD, &format!("/posts/{}", 1_000_000 + post)));
    }
    let before = memory.bytes();
    let allocated = allocation_counter::measure(|| fill(100, 100 + ENTRIES)).bytes_current;
    let over_the_body = |bytes: u64| bytes / ENTRIES - body as u64;
    Overhead { allocated: over_the_body(allocated.try_into().unwrap()), weighed: over_the_body(memory.bytes() - before) }
}

#[test]
fn an_entry_takes_at_most_1700_bytes_over_its_body() {
    let _alone = ALONE.blocking_lock();
    for body in [64, 1024, 32 << 10] {
        for memory in memories(1024 * MIB) {
            let store = format!("{memory:?}");
            let overhead = overhead(memory, THREE_FIELDS, body);
            println!("{store}: six stored fields, two tags, a body of {body} bytes: {overhead:?}");
            // moka takes about 180 bytes more than quick_cache.
            let limit = if store.contains("moka") { 1700 } else { 1536 };
            assert!(overhead.allocated <= limit, "{store}: {overhead:?}");
        }
    }
}

#[test]
fn an_entry_with_vary_takes_a_tenth_more_at_most() {
    let _alone = ALONE.blocking_lock();
    const BODY: usize = 1024;
    let sizes = |fields: [(&'static str, &'static str); 4]| {
        memories(1024 * MIB).into_iter().map(move |memory| overhead(memory, fields, BODY))
    };
    let fields =
        |last| [("content-type", "text/html; charset=utf-8"), ("etag", "\"33a64df5\""), ("x-frame-options", "deny"), last];
    for (plain, varying) in sizes(fields(("server", "larder"))).zip(sizes(fields(("vary", "accept-encoding")))) {
        println!("{plain:?} without, {varying:?} with `Vary`");
        assert!(varying.allocated + BODY as u64 <= (plain.allocated + BODY as u64) * 11 / 10);
    }
}

#[test]
fn estimated_size_of_an_entry_is_its_real_size() {
    let _alone = ALONE.blocking_lock();
    fn check<const N: usize>(fields: [(&'static str, &'static str); N], body: usize) {
        for memory in memories(1024 * MIB) {
            let store = format!("{memory:?}");
            let overhead = overhead(memory, fields, body);
            println!("{store}: {overhead:?}");
            assert!(overhead.allocated.abs_diff(overhead.weighed) <= overhead.allocated / 5, "{store}: {overhead:?}");
        }
    }
    check([], 64);
    check(THREE_FIELDS, 64);
    check(SIX_FIELDS, 64);
    check(SIX_FIELDS, 4096);
}

#[tokio::test]
async fn a_flood_of_queries_leaves_memory_where_it_was() {
    let _alone = ALONE.lock().await;
    const LIMIT: u64 = 1 << 20;
    for store in memories(LIMIT) {
        let (store, clock) = (Arc::new(store), ManualClock::new());
        let app = page(minute(&shared(&store).with_clock(&clock)), || async { "page" });
        for number in 0..flood_of(100_000) {
            get(&app, &format!("/page?q={number}")).await;
            clock.advance(Duration::from_millis(10));
            if number % 10_000 == 0 {
                assert!(store.bytes() <= LIMIT);
            }
        }
        assert!(store.bytes() <= LIMIT);
    }
}
