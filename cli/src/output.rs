//! What is printed, and the exit codes.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use serde_json::{Value, json};

use crate::arguments::Command;

/// Why there is no success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server or the store did not answer, or the action failed.
    Failed(String),
    /// Wrong usage, or input that can never work.
    Usage(String),
    /// The token is wrong, or the action is not granted.
    NoAccess(String),
    /// The URL would not be answered from the cache.
    NotCached(Value),
}

impl Failure {
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// Says where it failed.
    pub(crate) fn at(self, place: &str) -> Self {
        self.map(|text| format!("{place}: {text}"))
    }

    /// Says how many tags have been invalidated before it failed.
    pub(crate) fn after(self, done: usize) -> Self {
        self.map(|text| match done {
            0 => text,
            1 => format!("{}. Before that, 1 tag was invalidated.", text.trim_end_matches('.')),
            _ => format!("{}. Before that, {done} tags were invalidated.", text.trim_end_matches('.')),
        })
    }

    fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Failed(text) => Self::Failed(change(text)),
            Self::Usage(text) => Self::Usage(change(text)),
            Self::NoAccess(text) => Self::NoAccess(change(text)),
            Self::NotCached(explanation) => Self::NotCached(explanation),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NoAccess(_) => 3,
            Self::NotCached(_) => 4,
        })
    }

    pub(crate) fn print(&self, as_json: bool) {
        match self {
            // An answer, not an error.
            Self::NotCached(explanation) if as_json => drop(print(&json(explanation))),
            Self::NotCached(explanation) => drop(print(&explained(explanation))),
            Self::Failed(text) | Self::Usage(text) | Self::NoAccess(text) if as_json => {
                eprintln!("{}", json(&json!({ "error": text })));
            }
            Self::Failed(text) | Self::Usage(text) | Self::NoAccess(text) => eprintln!("larder: {text}"),
        }
    }
}

/// Prints an answer. A reader that has ended before, as `head` does, is none of our failures.
pub(crate) fn print(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

pub(crate) fn json(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

pub(crate) fn text(command: &Command, answer: &Value) -> String {
    match command {
        Command::Stats => stats(answer),
        Command::Hot => hot(answer),
        Command::Mode { mode: None, .. } => mode(answer),
        Command::Memory => memory(answer),
        Command::Explain { .. } => explained(answer),
        Command::Invalidate(_) | Command::Mode { .. } => answer["done"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The mode in force alone on the first line, for scripts.
fn mode(answer: &Value) -> String {
    let named = |field: &str| answer[field].as_str().unwrap_or_default();
    let (mode, own, shared) = (named("mode"), named("own_mode"), named("shared_mode"));
    if own == shared { mode.to_owned() } else { format!("{mode}\n  this process: {own}\n  all nodes: {shared}") }
}

fn memory(answer: &Value) -> String {
    let curve = &answer["curve"];
    if curve.is_null() {
        return "no memory curve: the cache keeps no responses in the memory of the process".to_owned();
    }
    let Some(points) = curve["points"].as_array() else {
        return "no estimate yet: no sampled response has been looked up".to_owned();
    };
    let percent = |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0));
    let mut text = String::new();
    for point in points {
        let mebibytes = point["bytes"].as_f64().unwrap_or_default() / f64::from(1 << 20);
        let size = point["size"].as_f64().unwrap_or_default();
        let _ = writeln!(text, "{size:>4} x {mebibytes:>10.1} MiB {:>8}", percent(&point["hit_ratio"]));
    }
    let _ = write!(
        text,
        "measured {}, error of the estimate {}, {} sampled lookups",
        percent(&curve["measured"]),
        percent(&curve["error"]),
        curve["sampled"].as_u64().unwrap_or_default()
    );
    text
}

fn stats(answer: &Value) -> String {
    let mut text = format!("{:<40} {:>10} {:>8} {:>10} {:>10}\n", "route", "requests", "hits", "saved", "fill p99");
    let routes = answer["routes"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, route) in
        routes.iter().map(|route| (route["route"].as_str().unwrap_or_default(), route)).chain([("total", answer)])
    {
        let ratio = route["hit_ratio"].as_f64().map_or_else(|| "-".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0));
        let p99 = route["fill_p99_millis"].as_f64().map_or_else(|| "-".to_owned(), |millis| format!("{millis} ms"));
        let saved = format!("{:.1} s", route["saved_seconds"].as_f64().unwrap_or_default());
        let _ =
            writeln!(text, "{name:<40} {:>10} {ratio:>8} {saved:>10} {p99:>10}", route["requests"].as_u64().unwrap_or_default());
        for reason in route["not_stored"].as_array().map(Vec::as_slice).unwrap_or_default().iter().filter(|_| name != "total") {
            let words = |field: &str| reason[field].as_str().unwrap_or_default();
            let _ = writeln!(text, "    not stored {} times, {}: {}", reason["count"], words("reason"), words("explanation"));
        }
    }
    let _ = write!(text, "mode: {}", answer["mode"].as_str().unwrap_or_default());
    text
}

fn hot(answer: &Value) -> String {
    let mut text = "estimates of the last one to two minutes, from about one hit of 64\n".to_owned();
    let has_digests = |list: &str| answer[list].as_array().is_some_and(|keys| keys.iter().any(|key| key["key"].is_null()));
    if has_digests("keys") || has_digests("misses") {
        text.push_str("keys are digests: `Cache::with_revealed_keys(true)` shows their URLs\n");
    }
    for (title, list, name, number) in [
        ("hot keys", "keys", "digest", "requests"),
        ("hot misses", "misses", "digest", "requests"),
        ("hot tags", "tags", "tag", "hits"),
    ] {
        let _ = writeln!(text, "{title}");
        for item in answer[list].as_array().map(Vec::as_slice).unwrap_or_default() {
            let name = item["key"].as_str().or(item[name].as_str()).unwrap_or_default();
            let _ = writeln!(text, "{:>12}  {name}", item[number].as_u64().unwrap_or_default());
        }
    }
    text.trim_end().to_owned()
}

fn explained(answer: &Value) -> String {
    let words = |field: &str| answer[field].as_str();
    let mut text = format!("{}: {}", words("verdict").unwrap_or_default(), words("summary").unwrap_or_default());
    for field in ["route", "forward", "reason", "remedy", "key_digest"] {
        if let Some(value) = words(field) {
            let _ = write!(text, "\n  {field:<10} {value}");
        }
    }
    if let Some(entry) = answer["entry"].as_object() {
        let _ = write!(
            text,
            "\n  {:<10} status {}, age {} s, ttl {} s",
            "entry", entry["status"], entry["age_seconds"], entry["ttl_seconds"]
        );
    }
    for tag in answer["tags"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let _ = write!(
            text,
            "\n  {:<10} {}: {}",
            "tag",
            tag["tag"].as_str().unwrap_or_default(),
            tag["state"].as_str().unwrap_or_default()
        );
    }
    for note in answer["notes"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let _ = write!(text, "\n  {}", note.as_str().unwrap_or_default());
    }
    text
}
