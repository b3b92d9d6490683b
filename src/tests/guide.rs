//! The table of limits in the guide has the defaults of the code.

use std::time::Duration;

use crate::{
    backend::memory::Memory,
    cache::{Cache, fetch_slots::FetchLimits, flights::WaiterLimits},
    policy::{
        limits::MOST_TAGS,
        settings::{Collapsing, OnWrite, Settings},
    },
};

const PAGE: &str = include_str!("../../docs/guide/limits.md");

/// The first words of the cell with the default of a setting.
fn default_of(setting: &str) -> &str {
    let row = |line: &&str| line.starts_with(&format!("| [`{setting}(")) || line.starts_with(&format!("| `{setting}"));
    let line = PAGE.lines().find(row).unwrap_or_else(|| panic!("no row for {setting}"));
    let cells: Vec<_> = line.split(" | ").collect();
    // Tables of stores have a column more.
    cells[if cells.len() == 4 { 2 } else { 1 }].trim_end_matches(" |")
}

fn bytes(bytes: u64) -> String {
    match bytes {
        bytes if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes => format!("{} KiB", bytes >> 10),
    }
}

fn number(number: usize) -> String {
    if number < 2000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

fn duration(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 1000 == 0 => format!("{} s", millis / 1000),
        millis => format!("{millis} ms"),
    }
}

fn is(setting: &str, expected: &str) {
    let cell = default_of(setting);
    assert!(cell.starts_with(expected), "{setting}: the guide says `{cell}`, the code {expected}");
}

#[test]
fn limits_of_a_layer_are_those_of_the_guide() {
    let mut settings = Settings::default();
    settings.seal();
    let Settings { store, limits, wait_limit, choices, collapsing, on_write, post, .. } = settings;
    assert_eq!(choices.max_ttl, None);
    assert_eq!(store.max_stated_ttl, Duration::from_secs(24 * 60 * 60));
    is("max_ttl", "none for `ttl`, `CacheDirective`; 24 h");
    is("max_body", &bytes(store.max_body));
    is("max_tags", &number(limits.tags));
    is("max_variants", &number(limits.variants));
    is("max_request_fields", &bytes(limits.request_fields as u64));
    is("max_query", &number(limits.query));
    is("cache_query", &bytes(limits.query_content as u64));
    assert!(post.is_none());
    is("cache_post", "none");
    is("request_body_wait", &duration(limits.content_wait));
    is("wait_limit", &duration(wait_limit));
    is("stream_wait_limit", &duration(limits.stream_wait));
    is("stale_while_revalidate", &duration(store.stale_while_revalidate));
    assert_eq!(store.stale_if_error, store.stale_while_revalidate);
    is("jitter", &format!("{}", store.jitter));
    assert_eq!((collapsing, on_write), (Collapsing::On, OnWrite::Invalidate));
    is("collapse", "on");
    assert!(PAGE.contains(&format!("a response has at most {}.", number(MOST_TAGS))));
}

#[test]
fn limits_of_a_cache_are_those_of_the_guide() {
    let fetches = FetchLimits::default();
    is("with_max_fetches", &number(fetches.per_route));
    is("with_abandoned_fetch_limit", &duration(fetches.abandoned_for));
    is("with_max_abandoned_fetches", &format!("{}, {}", fetches.abandoned, bytes(fetches.abandoned_bytes)));
    is("with_max_buffered_bytes", &bytes(fetches.buffered_bytes));
    is("with_max_request_bytes", &bytes(fetches.request_bytes));
    let waiters = WaiterLimits::default();
    is("with_max_waiters", &format!("{} for a key, {}", number(waiters.per_key), number(waiters.total)));
    let cache = Cache::new(Memory::new(1));
    is("with_abandoned_write_limit", &duration(cache.inner.abandoned_write_limit));
}

#[cfg(any(feature = "redis", feature = "memcached"))]
#[test]
fn limits_of_a_remote_store_are_those_of_the_guide() {
    let options = crate::backend::remote::options::RemoteOptions::default();
    is("read_timeout", &duration(options.timeouts.read));
    is("store_timeout", &duration(options.timeouts.store));
    is("invalidate_timeout", &duration(options.timeouts.invalidate));
    is("connect_timeout", &duration(options.connect_timeout));
    is("failures", &options.timeouts.failures.to_string());
    is("max_owed_tags", &number(options.timeouts.owed_tags));
    is("compress_from", &bytes(options.compression.threshold.unwrap_or_default() as u64));
    is("key_prefix", &format!("`{}`", options.key_prefix));
}
