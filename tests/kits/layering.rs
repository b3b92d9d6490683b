//! Imports point one way, downward: between folders by the order below, and inside a folder without a circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The folders, and the files at the root, the highest first. Code uses only what is further down.
const FLOORS: [&str; 33] = [
    "guide",
    "conformance",
    "testing",
    "admin",
    "warm",
    "middleware",
    "values",
    "fetch",
    "lookup",
    "invalidation",
    "cache",
    "advisor",
    "stats",
    "policy",
    "rewarm",
    "backend",
    "codec",
    "dependencies",
    "entry",
    "key",
    "tag",
    "router",
    "handler",
    "body",
    "coding",
    "http",
    "counting",
    "lists",
    "timer",
    "error",
    "throttle",
    "clock",
    "sync",
];

/// A file by its module path: `["backend", "redis", "batch"]`; the `mod.rs` of a folder is `["backend", "redis", "mod"]`.
type File = Vec<String>;

#[test]
fn folders_use_only_folders_below_them() {
    let floor =
        |folder: &str| FLOORS.iter().position(|name| *name == folder).unwrap_or_else(|| panic!("`{folder}` is on no floor"));
    let mut upward = BTreeSet::new();
    for (file, used) in imports() {
        for other in used.iter().filter(|other| other[0] != file[0]) {
            if floor(&other[0]) < floor(&file[0]) {
                upward.insert(format!("{} uses {}", file.join("/"), other.join("/")));
            }
        }
    }
    assert!(upward.is_empty(), "imports that point upward:\n{}", upward.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn imports_inside_a_folder_make_no_circle() {
    let imports = imports();
    let mut circles = BTreeSet::new();
    for file in imports.keys() {
        if let Some(path) = way_back(file, &imports) {
            circles.insert(path.iter().map(|file| file.join("/")).collect::<Vec<_>>().join(" -> "));
        }
    }
    assert!(circles.is_empty(), "circles:\n{}", circles.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn axum_is_named_in_two_files() {
    let naming = |(file, code): (File, String)| code.contains(" axum::").then_some(file.join("/"));
    assert_eq!(code().into_iter().filter_map(naming).collect::<Vec<_>>(), ["admin/router", "router/axum"]);
}

#[test]
fn every_file_says_what_it_holds() {
    let silent = |path: PathBuf| (!fs::read_to_string(&path).unwrap().starts_with("//!")).then_some(path);
    let silent: Vec<_> = rust_files(&src()).into_iter().filter(|path| !path.ends_with("lib.rs")).filter_map(silent).collect();
    assert!(silent.is_empty(), "files without a `//!` line: {silent:?}");
}

/// The shortest way along the imports from a file back to itself, if there is one.
fn way_back(start: &File, imports: &BTreeMap<File, BTreeSet<File>>) -> Option<Vec<File>> {
    let mut ways = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in imports.get(way.last()?)? {
                if next == start {
                    return Some([way, vec![next.clone()]].concat());
                }
                if seen.insert(next.clone()) {
                    longer.push([way.clone(), vec![next.clone()]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// For each file the files that it imports.
fn imports() -> BTreeMap<File, BTreeSet<File>> {
    let code = code();
    let files: BTreeSet<File> = code.keys().cloned().collect();
    code.into_iter().map(|(file, code)| (file.clone(), used(&file, &code, &files))).collect()
}

fn used(file: &File, code: &str, files: &BTreeSet<File>) -> BTreeSet<File> {
    let paths = code.split("use ").skip(1).flat_map(|rest| leaves(rest.split(';').next().unwrap())).chain(inline_paths(code));
    let absolute = paths.filter_map(|path| absolute(file, &path));
    absolute.filter_map(|path| owner(&path, files)).filter(|owner| owner != file).collect()
}

/// The file that holds what a path names: `["key", "rules", "KeyRules"]` is in `["key", "rules"]`.
fn owner(path: &[String], files: &BTreeSet<File>) -> Option<File> {
    (1..=path.len()).rev().find_map(|length| {
        let file = path[..length].to_vec();
        let folder = [&file[..], &["mod".to_owned()]].concat();
        [file, folder].into_iter().find(|file| files.contains(file))
    })
}

/// A path from the root of the crate; `None` for paths that lead out of it.
fn absolute(file: &File, path: &[String]) -> Option<Vec<String>> {
    let folder = &file[..file.len() - 1];
    // The module of a `mod.rs` is its folder.
    let parent = if file.last()? == "mod" { folder.split_last().map_or(&[][..], |(_, parent)| parent) } else { folder };
    match path[0].as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([folder, &path[1..]].concat()),
        // Model-checked files name what the model replaces relative to themselves.
        "super" if path[1] == "sync" => Some(path[1..].to_vec()),
        "super" if path[1] == "validity" => Some([&["backend".to_owned()], &path[1..]].concat()),
        "super" if path[1] == "super" => absolute(&[parent, &["mod".to_owned()]].concat(), &path[1..]),
        "super" => Some([parent, &path[1..]].concat()),
        _ => None,
    }
}

/// `crate::…` outside of imports.
fn inline_paths(code: &str) -> impl Iterator<Item = Vec<String>> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.split("crate::").skip(1).map(move |rest| {
        let path: String = rest.chars().take_while(|c| is_path(*c)).collect();
        ["crate"].into_iter().chain(path.split("::").filter(|part| !part.is_empty())).map(str::to_owned).collect()
    })
}

/// The paths of a `use`: `a::{b, c::d}` gives `a::b` and `a::c::d`.
fn leaves(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((prefix, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        return vec![path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()];
    };
    let prefix: Vec<String> = prefix.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    let members = members(group.trim_end().trim_end_matches('}'));
    let paths = members
        .into_iter()
        .flat_map(leaves)
        .map(|rest| if rest == ["self"] { prefix.clone() } else { [&prefix[..], &rest].concat() });
    paths.collect()
}

/// The members of a group, at the commas that are in no inner one.
fn members(group: &str) -> Vec<&str> {
    let (mut members, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(&group[start..]);
    members.into_iter().filter(|member| !member.trim().is_empty()).collect()
}

/// The code of each file, without comments and tests.
fn code() -> BTreeMap<File, String> {
    let files = rust_files(&src()).into_iter().map(|path| {
        let name = path.strip_prefix(src()).unwrap().with_extension("");
        let source = fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]\nmod ").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let file: File = name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        (file, lines.collect::<Vec<_>>().join("\n"))
    });
    files.filter(|(file, _)| file != &["lib"] && !file.iter().any(|part| part == "tests")).collect()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All Rust files of a folder and of those in it.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}
