//! `SECURITY.md` has a row for every threat that a test is numbered by, and names the places of its tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The places of tests by the id of their threat: `p1` and `security::disclosure`.
type Places = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the page: the id in the first cell, the places of its tests in the last.
fn rows() -> Vec<(String, BTreeSet<String>)> {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    page.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<(String, BTreeSet<String>)> {
    let cells: Vec<_> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    let id = cells.first().filter(|id| is_threat(id))?;
    let places = cells.last()?.split(',').map(|place| place.trim().to_owned());
    Some(((*id).to_owned(), places.collect()))
}

/// A letter of one of the page's tables and a number. `s` is not among them: it numbers the page on standards.
fn is_threat(id: &str) -> bool {
    let number = id.strip_prefix(['p', 'w', 'd', 'c']);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The tests whose names begin with the id of a threat.
fn tested() -> Places {
    let mut tested = Places::new();
    for file in ["src", "tests"].into_iter().flat_map(|folder| sources(&root().join(folder))) {
        let source = fs::read_to_string(&file).unwrap();
        for id in threats(&source) {
            tested.entry(id.to_owned()).or_default().insert(place(&file));
        }
    }
    tested
}

fn threats(source: &str) -> impl Iterator<Item = &str> {
    let names = source.lines().filter_map(|line| Some(line.split_once("fn ")?.1));
    names.filter_map(|name| Some(name.split_once('_')?.0)).filter(|id| is_threat(id))
}

/// `security::denial` for the file of tests `tests/http/security/denial.rs`, `unit` for one of the sources.
fn place(file: &Path) -> String {
    let path = file.strip_prefix(root()).unwrap().with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).collect();
    match parts[..] {
        ["tests", _, ref parts @ ..] => parts.join("::"),
        _ => "unit".to_owned(),
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn every_threat_of_the_page_has_a_test() {
    let (rows, tested) = (rows(), tested());
    assert!(!rows.is_empty());
    let untested: Vec<_> = rows.iter().filter(|(id, _)| !tested.contains_key(id)).collect();
    assert!(untested.is_empty(), "no test has a name that begins with these: {untested:#?}");
}

#[test]
fn every_test_of_a_threat_has_one_row() {
    let rows = rows();
    let count = |id: &String| rows.iter().filter(|(row, _)| row == id).count();
    let wrong: Vec<_> = tested().into_keys().map(|id| (count(&id), id)).filter(|(count, _)| *count != 1).collect();
    assert!(wrong.is_empty(), "how many rows there are: {wrong:#?}");
}

#[test]
fn every_row_names_the_places_of_its_tests() {
    let tested = tested();
    let named: Vec<_> = rows().into_iter().filter(|(id, places)| tested.get(id).is_some_and(|there| there != places)).collect();
    let there: Vec<_> = named.iter().map(|(id, _)| (id, &tested[id])).collect();
    assert!(named.is_empty(), "the page says {named:#?}, the tests are in {there:#?}");
}
