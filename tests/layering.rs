//! Imports point one way, downward: a file may use only files that stand below its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The floors of the house, the highest first. Files on one floor do not use each other.
const FLOORS: &[&[&str]] = &[
    &["hostile"],
    &["conformance"],
    &["testing"],
    &["layer"],
    &["service"],
    &["future"],
    &["fetch"],
    &["freshen"],
    &["attempt", "pass"],
    &["pump", "write"],
    &["fill"],
    &["turn"],
    &["claim"],
    &["inquiry", "refresh"],
    &["ahead", "hit"],
    &["respond", "store"],
    &["connect"],
    &["cache"],
    &["settings"],
    &["key_rules"],
    &["backend/memcached", "backend/redis", "backend/tiered"],
    &["backend/guarded", "backend/memory"],
    &["backend/engine", "backend/far", "backend/lease", "backend/stepwise", "backend/tag_table"],
    &["backend/expiries", "backend/judgement"],
    &["backend"],
    &["policy"],
    &["codec"],
    &["stored"],
    &["candidate"],
    &["cache_control", "groups", "lasting", "request", "vary"],
    &["forwarded", "query"],
    &["key"],
    &["router"],
    &["validators"],
    &["conditional"],
    &["body", "content", "date", "decimal", "etag", "lone_task", "no_vary_search", "place", "range", "sieve", "uncacheable"],
    &["detached", "tee"],
    &["budget"],
    &["cache_policy", "caught", "collapse", "common_value", "errand", "invalidate", "failure", "method", "mode", "tag", "status"],
    &["clock", "error", "secret", "sync"],
    &["scan"],
];

fn floor(file: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&file)).unwrap_or_else(|| panic!("`{file}` stands on no floor: add it"))
}

/// The files that a source names as `crate::…` or, within the backends, as `super::…`.
fn used(file: &str, source: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (prefix, root) in [("crate::", ""), ("crate::backend::", "backend/"), ("super::", "backend/")] {
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
    let mut sources = BTreeMap::new();
    for path in rust_files(&src) {
        let name = path.strip_prefix(&src).unwrap().with_extension("");
        let parts: Vec<_> = name.iter().map(|part| part.to_str().unwrap()).collect();
        let unit = match parts[..] {
            ["lib" | "hostile"] => continue,
            ["axum" | "no_router"] => "router".to_owned(),
            ["backend", "mod"] => "backend".to_owned(),
            ["backend", unit, ..] => format!("backend/{unit}"),
            [unit, ..] => unit.to_owned(),
            [] => unreachable!("a file has a name"),
        };
        let source = fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap();
        // Within a folder, `super` is the folder itself; but for the file that is the folder.
        let code = if parts.len() > 2 && parts[2] != "mod" { code.replace("super::", "") } else { code.to_owned() };
        sources.entry(unit).or_insert_with(String::new).push_str(&code);
    }
    sources
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
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
