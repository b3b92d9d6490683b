//! The dashboard, the alert rules and the run books name only what is exported.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use axum::{Router, routing};
use larder::Outcome;
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::{cache, get, minute};

/// The labels that Prometheus and larder add to each metric.
const COMMON: [&str; 5] = ["cache", "instance", "job", "le", "__name__"];

/// The metrics with their labels, as the documentation lists them; a test compares it with the table of the exporters.
fn metrics() -> BTreeMap<String, (bool, BTreeSet<String>)> {
    let page = fs::read_to_string("src/docs/metrics.md").unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `larder_")).map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").map(|label| label.trim_matches('`').to_owned()).filter(|label| !label.is_empty());
        (cells[1].trim_matches('`').to_owned(), (cells[2] == "histogram", labels.collect()))
    });
    let metrics: BTreeMap<_, _> = rows.collect();
    assert!(metrics.len() > 25);
    metrics
}

fn operations(file: &str) -> String {
    fs::read_to_string(Path::new("docs/operations").join(file)).unwrap()
}

/// The queries of the dashboard's panels, by their titles.
fn dashboard_queries() -> Vec<(String, String)> {
    let dashboard: serde_json::Value = serde_json::from_str(&operations("grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let queries = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        panel["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(move |target| (title.to_owned(), target["expr"].as_str().unwrap().to_owned()))
    });
    queries.collect()
}

/// The alert rules.
fn alerts() -> Vec<Yaml> {
    let parsed = YamlLoader::load_from_str(&operations("alerts.yml")).unwrap();
    let rules = parsed[0]["groups"].as_vec().unwrap().iter().flat_map(|group| group["rules"].as_vec().unwrap().clone());
    rules.collect()
}

/// The words of a text that are names of metrics, with what follows each.
fn names(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.match_indices("larder_").map(|(at, _)| {
        let end = text[at..].find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).map_or(text.len(), |end| at + end);
        (&text[at..end], &text[end..])
    })
}

/// The labels of the matchers in braces, with their values.
fn matchers(text: &str) -> Vec<(&str, &str)> {
    let Some(inside) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { return Vec::new() };
    let matchers = inside.0.split(',').map(|matcher| {
        let (label, value) = matcher.split_at(matcher.find(['=', '!']).unwrap());
        (label, value.trim_start_matches(['=', '!', '~']).trim_matches('"'))
    });
    matchers.collect()
}

/// The labels in `by (…)`.
fn grouping(query: &str) -> impl Iterator<Item = &str> {
    query.split("by (").skip(1).flat_map(|rest| rest.split(')').next().unwrap().split(',').map(str::trim))
}

fn check_query(of: &str, query: &str) {
    let metrics = metrics();
    let mut known: BTreeSet<&str> = COMMON.into();
    for (name, rest) in names(query) {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let histogram = family.and_then(|family| metrics.get(family)).filter(|(is_histogram, _)| *is_histogram);
        let plain = metrics.get(name).filter(|(is_histogram, _)| !is_histogram);
        let (_, labels) = histogram.or(plain).unwrap_or_else(|| panic!("{of}: there is no `{name}`"));
        known.extend(labels.iter().map(String::as_str));
        for (label, value) in matchers(rest) {
            assert!(labels.contains(label) || COMMON.contains(&label), "{of}: `{name}` has no label `{label}`");
            if label == "outcome" {
                let is_known = |value| Outcome::ALL.iter().any(|outcome| outcome.as_str() == value);
                assert!(value.split('|').all(is_known), "{of}: {value}");
            }
        }
    }
    for label in grouping(query) {
        assert!(known.contains(label), "{of}: no metric of the query has the label `{label}`");
    }
}

#[test]
fn dashboard_names_exported_metrics_and_shows_each() {
    let queries = dashboard_queries();
    let mut shown = BTreeSet::new();
    for (title, query) in &queries {
        check_query(title, query);
        shown.extend(names(query).map(|(name, _)| name.trim_end_matches("_bucket").to_owned()));
    }
    let missing: Vec<_> = metrics().into_keys().filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "the dashboard does not show {missing:?}");
}

#[test]
fn alerts_name_exported_metrics_and_sections_of_the_run_book() {
    let runbook = operations("runbook.md");
    let sections: Vec<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        check_query(name, alert["expr"].as_str().unwrap());
        assert!(sections.contains(&name), "{name} has no section");
        let anchor = format!("docs/operations/runbook.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook"].as_str().unwrap(), anchor);
        assert!(!alert["annotations"]["summary"].as_str().unwrap().is_empty() && !alert["labels"]["severity"].is_badvalue());
    }
    assert_eq!(alerts.len(), sections.len(), "a section belongs to each alert, and none besides");
}

#[test]
fn run_books_name_exported_metrics() {
    let metrics = metrics();
    for file in ["hit-ratio-fell.md", "runbook.md"] {
        let text = operations(file);
        for (name, _) in names(&text) {
            assert!(metrics.contains_key(name), "{file}: there is no `{name}`");
        }
        // Links lead to files and sections that exist.
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let (target, section) = link.split_once('#').unwrap_or((link, ""));
            let target = operations(if target.is_empty() { file } else { target });
            let has = |line: &str| line.strip_prefix("## ").is_some_and(|title| title.to_lowercase() == section);
            assert!(section.is_empty() || target.lines().any(has), "{file}: {link}");
        }
    }
}

/// Runs Prometheus' own tool; `None` with a message where it is not installed.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let spawned =
        Command::new("promtool").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        eprintln!("skipped: `promtool` is missing, which is in Debian's package `prometheus`");
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

fn accepts(output: Option<Output>) {
    let Some(output) = output else { return };
    let text = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

#[tokio::test]
async fn prometheus_accepts_the_metrics() {
    let (cache, _) = cache();
    let app = Router::new().route("/q\"/{id}", routing::get(|| async { "page" }).layer(minute(&cache)));
    for number in 0..200 {
        get(&app, &format!("/q%22/{number}")).await;
    }
    let _ = cache.invalidate_tags(["a"]).await;
    accepts(promtool(&["check", "metrics"], &cache.stats().prometheus()));
}

#[test]
fn prometheus_accepts_the_alerts_and_the_queries_of_the_dashboard() {
    accepts(promtool(&["check", "rules", "docs/operations/alerts.yml"], ""));
    let rules = dashboard_queries().into_iter().enumerate().map(|(number, (_, query))| {
        let query = query.replace("$__rate_interval", "5m").replace("$cache", ".*");
        format!("      - record: query:{number}\n        expr: |\n          {query}\n")
    });
    let rules: String = rules.collect();
    let file = std::env::temp_dir().join(format!("larder-queries-{}.yml", std::process::id()));
    fs::write(&file, format!("groups:\n  - name: dashboard\n    rules:\n{rules}")).unwrap();
    let output = promtool(&["check", "rules", file.to_str().unwrap()], "");
    fs::remove_file(&file).unwrap();
    accepts(output);
}
