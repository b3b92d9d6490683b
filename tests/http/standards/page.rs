//! The page `larder::standards` has a row for every line, and names only tests that there are.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(root().join("src/docs/standards.md")).unwrap()
}

/// The number of a row, and the row itself.
fn rows(page: &str) -> impl Iterator<Item = (u32, &str)> {
    page.lines().filter_map(|row| Some((row.strip_prefix('|')?.split('|').next()?.trim().parse().ok()?, row)))
}

/// The names of tests in a piece of the page: sentences in code, which no setting's name is long enough to be.
fn tests_named(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |code: &str| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let is_sentence = |code: &str| line_of(code).is_some() || code.matches('_').count() > 3;
    let codes = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    codes.filter(move |code| is_word(code) && is_sentence(code) && !code.ends_with('_'))
}

/// The line that a test is about: 5 for `s5_…`.
fn line_of(test: &str) -> Option<u32> {
    test.strip_prefix('s')?.split_once('_')?.0.parse().ok()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The names of all functions in the sources and tests.
fn functions() -> BTreeSet<String> {
    let files = ["src", "tests"].into_iter().flat_map(|folder| sources(&root().join(folder)));
    files.flat_map(|file| functions_of(&fs::read_to_string(file).unwrap())).collect()
}

fn functions_of(source: &str) -> Vec<String> {
    let after_fn = source.lines().filter_map(|line| Some(line.split_once("fn ")?.1));
    after_fn.filter_map(|rest| Some(rest.split_once(['(', '<'])?.0.to_owned())).collect()
}

#[test]
fn every_line_has_one_row_with_a_test() {
    let page = page();
    let numbers: Vec<_> = rows(&page).map(|(number, _)| number).collect();
    assert_eq!(numbers, (1..=97).collect::<Vec<_>>());
    let untested: Vec<_> = rows(&page).filter(|(_, row)| tests_named(row).next().is_none()).collect();
    assert!(untested.is_empty(), "{untested:#?}");
}

#[test]
fn every_test_that_the_page_names_exists() {
    let (page, functions) = (page(), functions());
    let missing: Vec<_> = tests_named(&page).filter(|name| !functions.contains(*name)).collect();
    assert!(missing.is_empty(), "renamed or gone: {missing:#?}");
}

#[test]
fn every_test_is_in_the_row_of_its_line() {
    let page = page();
    let misplaced: Vec<_> = rows(&page)
        .flat_map(|(number, row)| tests_named(row).map(move |name| (number, name)))
        .filter(|(number, name)| line_of(name) != Some(*number))
        .collect();
    assert!(misplaced.is_empty(), "{misplaced:#?}");
}
