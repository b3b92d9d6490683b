//! The text format of Prometheus, parsed back.

use std::collections::{HashMap, HashSet};

use axum::{Router, routing};
use larder::Cache;

use crate::support::{cache, get, minute};

type Labels = Vec<(String, String)>;

/// A name with its labels and value.
type Sample = (String, Labels, f64);

/// The types by metric, and each sample with its labels and value.
fn parse(text: &str) -> (HashMap<String, String>, Vec<Sample>) {
    let (mut types, mut samples) = (HashMap::new(), Vec::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            match kind {
                "TYPE" => assert!(types.insert(name.to_owned(), rest.to_owned()).is_none(), "{name} has two types"),
                "HELP" => assert!(!rest.is_empty()),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, rest) = labels(rest);
        samples.push((name.to_owned(), labels, rest.trim().parse().unwrap()));
    }
    (types, samples)
}

/// Parses labels up to the closing brace, with their escapes.
fn labels(text: &str) -> (Labels, &str) {
    let (mut labels, mut rest) = (Vec::new(), text);
    loop {
        let (label, after) = rest.split_once("=\"").unwrap();
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next().unwrap() {
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("an escape of {c}"),
                }),
                (at, '"') => break at + 1,
                (_, c) => value.push(c),
            }
        };
        labels.push((label.to_owned(), value));
        match after[end..].strip_prefix(',') {
            Some(next) => rest = next,
            None => return (labels, after[end..].strip_prefix('}').unwrap()),
        }
    }
}

fn value(cache: &Cache, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let (_, samples) = parse(&cache.stats().prometheus());
    let has = |all: &Labels| labels.iter().all(|(label, value)| all.contains(&((*label).to_owned(), (*value).to_owned())));
    samples.iter().find(|(of, all, _)| of == name && has(all)).map(|(.., value)| *value)
}

async fn used() -> Cache {
    let (cache, _) = cache();
    let app = Router::new()
        .route("/posts/{id}", routing::get(|| async { "post" }).layer(minute(&cache)))
        .route("/private", routing::get(|| async { ([("cache-control", "private")], "mine") }).layer(minute(&cache)));
    for path in ["/posts/1", "/posts/1", "/posts/2", "/private"] {
        get(&app, path).await;
    }
    cache.invalidate_tags(["a", "b"]).await.unwrap();
    cache.expire_tags(["a"]).await.unwrap();
    cache
}

#[tokio::test]
async fn figures_are_those_of_the_statistics() {
    let cache = used().await;
    let route = ("route", "/posts/{id}");
    let figures = [
        ("larder_requests_total", vec![route, ("outcome", "hit"), ("cache", "larder")], 1.0),
        ("larder_requests_total", vec![route, ("outcome", "miss")], 2.0),
        ("larder_requests_total", vec![route, ("outcome", "stale")], 0.0),
        ("larder_forwarded_total", vec![route, ("why", "uri-miss")], 2.0),
        ("larder_fills_total", vec![route, ("trigger", "request"), ("result", "stored")], 2.0),
        ("larder_fills_total", vec![("route", "/private"), ("result", "private")], 1.0),
        ("larder_fill_duration_seconds_count", vec![route], 2.0),
        ("larder_fill_duration_seconds_bucket", vec![route, ("le", "+Inf")], 2.0),
        ("larder_fill_duration_seconds_bucket", vec![route, ("le", "0.001")], 2.0),
        ("larder_response_bytes_total", vec![route, ("source", "cache")], 4.0),
        ("larder_response_bytes_total", vec![route, ("source", "handler")], 8.0),
        ("larder_invalidations_total", vec![("kind", "tags"), ("result", "ok")], 1.0),
        ("larder_invalidations_total", vec![("kind", "expire"), ("result", "ok")], 1.0),
        ("larder_invalidations_total", vec![("kind", "everything"), ("result", "failed")], 0.0),
        ("larder_invalidated_tags_total", vec![], 3.0),
        ("larder_memory_entries", vec![("store", "memory")], 2.0),
        ("larder_memory_limit_bytes", vec![("store", "memory")], f64::from(64 << 20)),
        ("larder_fetch_limit", vec![], 1024.0),
        ("larder_mode", vec![], 0.0),
    ];
    for (name, labels, expected) in figures {
        assert_eq!(value(&cache, name, &labels), Some(expected), "{name} {labels:?}");
    }
    assert_eq!(value(&cache, "larder_fills_total", &[route, ("result", "set-cookie")]), None, "it has never occurred");
    cache.set_mode(larder::CacheMode::ReadOnly);
    assert_eq!(value(&cache, "larder_mode", &[]), Some(1.0));
}

#[tokio::test]
async fn text_is_well_formed() {
    let (types, samples) = parse(&used().await.stats().prometheus());
    let mut seen = HashSet::new();
    for (name, labels, number) in &samples {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let family = family.filter(|family| types.get(*family).is_some_and(|kind| kind == "histogram")).unwrap_or(name);
        assert!(types.contains_key(family), "{name} has no type");
        assert!(number.is_finite() && *number >= 0.0, "{name}");
        assert!(seen.insert((name, labels)), "{name} {labels:?} twice");
    }
    // The samples of a metric stand together, and buckets grow.
    let families: Vec<_> = samples.iter().map(|(name, ..)| name.trim_end_matches("_bucket")).collect();
    let changes = families.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes > 10 && types.len() > 15);
    for pair in samples.windows(2).filter(|pair| pair[0].0 == pair[1].0 && pair[0].0.ends_with("_bucket")) {
        let series = |labels: &Labels| labels.iter().filter(|(label, _)| label != "le").cloned().collect::<Vec<_>>();
        assert!(series(&pair[0].1) != series(&pair[1].1) || pair[0].2 <= pair[1].2);
    }
}

#[tokio::test]
async fn label_values_are_escaped() {
    let (cache, _) = cache();
    let named = cache.with_name("a\"b\\c\nd");
    let app = Router::new().route("/q\"\\", routing::get(|| async { "page" }).layer(minute(&named)));
    get(&app, "/q%22%5C").await;
    let (_, samples) = parse(&named.stats().prometheus());
    assert!(samples.iter().all(|(_, labels, _)| labels[0] == ("cache".to_owned(), "a\"b\\c\nd".to_owned())));
}

#[tokio::test]
async fn clients_create_no_series() {
    let (cache, _) = cache();
    let app = Router::new().route("/{*path}", routing::any(|| async { "page" }).layer(minute(&cache)));
    let series = || parse(&cache.stats().prometheus()).1.len();
    let send = async |number: usize| {
        let method = http::Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
        let host = format!("host-{number}.example");
        for method in [http::Method::GET, method] {
            let uri = format!("/canary-{number}?q={number}");
            crate::support::send(&app, crate::support::request(method, &uri, &[("host", &host), ("cookie", "canary=1")])).await;
        }
    };
    send(0).await;
    let after_first = series();
    for number in 1..2_000 {
        send(number).await;
    }
    assert_eq!(series(), after_first);
    assert!(!cache.stats().prometheus().contains("canary"));
}
