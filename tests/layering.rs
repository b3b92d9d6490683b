//! Imports point one way, downward: a file may use only files that stand below its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, fs, path::Path};

/// The floors of the house, the highest first. Files on one floor do not use each other.
const FLOORS: &[&[&str]] = &[
    &["conformance"],
    &["testing"],
    &["layer"],
    &["service"],
    &["future"],
    &["fetch"],
    &["freshen"],
    &["attempt", "pass"],
    &["fill", "write"],
    &["turn"],
    &["inquiry", "refresh"],
    &["ahead", "hit"],
    &["respond", "store"],
    &["connect"],
    &["cache"],
    &["settings"],
    &["backend/memory"],
    &["backend/engine", "backend/stepwise", "backend/tag_table"],
    &["backend/judgement"],
    &["backend"],
    &["policy"],
    &["codec"],
    &["stored"],
    &["cache_control", "groups", "vary", "request"],
    &["forwarded"],
    &["key"],
    &["router"],
    &["validators"],
    &["conditional"],
    &["age", "body", "date", "detached", "etag", "no_vary_search", "query", "range", "uncacheable"],
    &["cache_policy", "caught", "collapse", "errand", "invalidate", "method", "tag", "status"],
    &["clock", "error", "secret", "sync"],
];

fn floor(file: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&file)).unwrap_or_else(|| panic!("`{file}` stands on no floor: add it"))
}

/// The files that a source names as `crate::…` or, within the backends, as `super::…`.
fn used(file: &str, source: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (prefix, root) in [("crate::", ""), ("super::", "backend/")] {
        for (at, _) in source.match_indices(prefix) {
            let rest = &source[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                used.extend(group_members(group).map(|name| format!("{root}{name}")));
            } else {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                used.push(format!("{root}{name}"));
            }
        }
    }
    used.retain(|name| name != file && FLOORS.iter().any(|floor| floor.contains(&name.as_str())));
    used
}

/// The first segments of a `use` group: `{a::{b, c}, d}` gives `a` and `d`.
fn group_members(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 1;
    let mut members = Vec::new();
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            members.push(&group[start..at]);
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    members.into_iter().map(|member| member.trim().split("::").next().unwrap().trim())
}

/// The code of each file, or of a folder that stands for one; tests within it are left out.
fn sources() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = ["", "backend", "codec", "conformance", "testing"];
    let mut sources = BTreeMap::new();
    for folder in folders {
        for entry in fs::read_dir(src.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Some("rs") = path.extension().and_then(|extension| extension.to_str()) else { continue };
            let name = match (folder, path.file_stem().unwrap().to_str().unwrap()) {
                (_, "lib") => continue,
                // One idea each, in several files.
                ("codec" | "conformance" | "testing", _) | (_, "mod") => folder.to_owned(),
                (_, "axum" | "no_router") => "router".to_owned(),
                ("", stem) => stem.to_owned(),
                (folder, stem) => format!("{folder}/{stem}"),
            };
            let source = fs::read_to_string(&path).unwrap();
            let code = source.split("#[cfg(test)]").next().unwrap();
            sources.entry(name).or_insert_with(String::new).push_str(code);
        }
    }
    sources
}

#[test]
fn imports_point_downward() {
    let mut wrong = Vec::new();
    for (file, source) in sources() {
        for used in used(&file, &source) {
            if floor(&used) <= floor(&file) {
                wrong.push(format!("{file} uses {used}"));
            }
        }
        floor(&file);
    }
    assert!(wrong.is_empty(), "imports that point upward or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn axum_is_named_in_one_file() {
    let named: Vec<_> = sources()
        .into_iter()
        .filter(|(_, source)| source.lines().any(|line| line.contains("axum::") && !line.trim_start().starts_with("//")))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(named, ["router"]);
}
