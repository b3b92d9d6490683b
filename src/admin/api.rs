//! The answers of the API, as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::{state::State, text::visible};
use crate::{
    backend::{health::Health, memory_curve::MemoryPoint, store_stats::StoreStats},
    cache::Cache,
    http::{cache_status::Reason, outcome::Outcome},
    stats::{hot::HotKey, snapshot::RouteStats},
};

pub(super) fn stats(state: &State) -> Value {
    let cache = &state.cache;
    let stats = cache.stats();
    let mut value = route(stats.total());
    value["cache"] = json!(visible(&cache.inner.name));
    value["namespace"] = json!(visible(&cache.inner.namespace));
    value["mode"] = json!(cache.mode().to_string());
    value["own_mode"] = json!(cache.own_mode().to_string());
    value["shared_mode"] = json!(cache.shared_mode().to_string());
    value["waiting"] = json!(stats.waiting());
    value["outage_hits"] = json!(stats.outage_hits());
    value["fetches_in_flight"] = json!(stats.fetches_in_flight());
    value["stores"] = stats.stores().iter().map(store).collect();
    if let Some((point, length)) = state.history().last_minute() {
        value["last_minute"] = json!({
            "requests_per_second": point.requests as f64 / length.as_secs_f64(),
            "hit_ratio": point.hit_ratio(),
            "saved_seconds_per_second": point.saved.as_secs_f64() / length.as_secs_f64(),
        });
    }
    value
}

pub(super) fn routes(cache: &Cache) -> Value {
    let stats = cache.stats();
    let named = stats.routes().map(|(name, of)| {
        let mut value = route(of);
        value["route"] = json!(visible(name));
        value
    });
    json!({ "routes": named.collect::<Vec<_>>() })
}

pub(super) fn hot(cache: &Cache) -> Value {
    let keys = |keys: Vec<HotKey>| -> Vec<Value> {
        let keys = keys.into_iter().map(|key| json!({ "digest": key.digest, "key": key.key, "requests": key.requests }));
        keys.collect()
    };
    let tags = cache.hot_tags(48).into_iter().map(|tag| json!({ "tag": visible(&tag.tag), "hits": tag.hits }));
    json!({ "keys": keys(cache.hot_keys(48)), "misses": keys(cache.hot_misses(48)), "tags": tags.collect::<Vec<_>>() })
}

pub(super) fn invalidations(cache: &Cache) -> Value {
    let past = cache.recent_invalidations(256).into_iter().map(|past| {
        json!({
            "at_millis": past.at_millis,
            "kind": past.kind.as_str(),
            "tags": past.tags.iter().map(|tag| visible(tag)).collect::<Vec<_>>(),
            "tag_count": past.tag_count,
            "took_millis": millis(past.took),
            "error": past.error.map(|error| visible(&error.to_string())),
        })
    });
    json!({ "invalidations": past.collect::<Vec<_>>() })
}

/// The memory curve; its `points` are `null` before it says anything, and all of it is if no responses are in the memory of this process.
pub(super) fn memory(cache: &Cache) -> Value {
    let Some(curve) = cache.memory_curve() else { return json!({ "curve": null }) };
    let point = |point: MemoryPoint| json!({ "size": point.size, "bytes": point.bytes, "hit_ratio": point.hit_ratio });
    json!({ "curve": {
        "points": curve.points().map(|points| points.map(point)),
        "measured": curve.measured(),
        "error": curve.error(),
        "sampled": curve.sampled(),
    } })
}

pub(super) fn health(health: &Health) -> Value {
    json!({
        "healthy": health.is_healthy(),
        "round_trip_millis": health.round_trip.map(millis),
        "suspended_seconds": health.suspended_for.map(|time| time.as_secs_f64()),
        "owed_tags": health.owed,
        "grace_left_seconds": health.grace_left.map(|time| time.as_secs_f64()),
        "text": visible(&health.to_string()),
    })
}

fn route(stats: &RouteStats) -> Value {
    let outcomes: serde_json::Map<_, _> =
        Outcome::ALL.iter().map(|outcome| (outcome.as_str().to_owned(), json!(stats.outcome(*outcome)))).collect();
    let not_stored = stats.not_stored().into_iter().map(|(reason, count)| reason_json(reason, count));
    let fills = stats.fill_durations();
    json!({
        "requests": stats.requests(),
        "in_flight": stats.in_flight(),
        "hit_ratio": stats.hit_ratio(),
        "outcomes": outcomes,
        "saved_seconds": stats.saved().as_secs_f64(),
        "bytes_from_cache": stats.bytes_from_cache(),
        "bytes_from_handler": stats.bytes_from_handler(),
        "fills": fills.count(),
        "fill_p50_millis": fills.quantile(0.5).map(millis),
        "fill_p99_millis": fills.quantile(0.99).map(millis),
        "not_stored": not_stored.collect::<Vec<_>>(),
    })
}

fn reason_json(reason: Reason, count: u64) -> Value {
    json!({ "reason": reason.as_str(), "count": count, "explanation": reason.explanation(), "remedy": super::explain::remedy(reason) })
}

fn store(stats: &StoreStats) -> Value {
    let operations = stats.operations.iter().map(|of| {
        let (p50, p99) = (of.durations.quantile(0.5), of.durations.quantile(0.99));
        json!({
            "operation": of.operation,
            "count": of.durations.count(),
            "errors": of.errors,
            "p50_millis": p50.map(millis),
            "p99_millis": p99.map(millis),
        })
    });
    let servers = stats
        .servers
        .iter()
        .map(|server| json!({ "address": visible(&server.address), "role": server.role, "connected": server.connected }));
    json!({
        "store": stats.store,
        "entries": stats.entries,
        "bytes": stats.bytes,
        "limit_bytes": stats.limit_bytes,
        "evictions": stats.evictions,
        "tag_records": stats.tag_records,
        "suspended": stats.suspended,
        "outbox_tags": stats.outbox_tags,
        "corrupt_values": stats.corrupt_values,
        "operations": operations.collect::<Vec<_>>(),
        "servers": servers.collect::<Vec<_>>(),
    })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
