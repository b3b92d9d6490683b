//! The guide in `docs/guide`: a book, and the module `larder::guide`. Parts of it are made here, from the code.
//!
//! `LARDER_WRITE_GUIDE=1 cargo test --all-features --test kits guide` writes those parts.

mod decision;
mod links;
mod markdown;
mod reasons;
mod summary;

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn path_of(chapter: &str) -> PathBuf {
    root().join("docs/guide").join(chapter).with_extension("md")
}

fn read(chapter: &str) -> String {
    fs::read_to_string(path_of(chapter)).unwrap()
}

/// The names of the chapters, without `.md`, in the order of the summary.
fn chapters() -> Vec<String> {
    let summary = read("SUMMARY");
    let files = summary.lines().filter_map(|line| line.rsplit_once("](")?.1.strip_suffix(".md)"));
    files.map(str::to_owned).collect()
}

/// Compares a part of the guide with what it should be, or writes it.
fn keep(path: &Path, expected: &str) {
    let present = fs::read_to_string(path).unwrap_or_default();
    if present == expected {
        return;
    }
    let line = present.lines().zip(expected.lines()).position(|(present, expected)| present != expected).unwrap_or_default();
    if std::env::var_os("LARDER_WRITE_GUIDE").is_some() {
        fs::write(path, expected).unwrap();
    } else {
        panic!("{} is out of date from line {}: LARDER_WRITE_GUIDE=1 writes it", path.display(), line + 1);
    }
}
