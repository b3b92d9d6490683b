//! The summary of the book lists every chapter once, by its title, and the library has a module for each.

use std::{collections::BTreeSet, fs};

use super::{chapters, markdown::headings, read, root};

#[test]
fn summary_lists_every_chapter_once() {
    let files = fs::read_dir(root().join("docs/guide")).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<_> = files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let mut listed: Vec<_> = chapters();
    listed.push("SUMMARY".to_owned());
    assert_eq!(listed.len(), files.len(), "a chapter is listed twice or not at all");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), files);
    let book = fs::read_to_string(root().join("docs/book.toml")).unwrap();
    assert!(book.contains("\nsrc = \"guide\"\n"), "{book}");
}

#[test]
fn summary_has_the_titles_of_the_chapters() {
    let summary = read("SUMMARY");
    for chapter in chapters() {
        let page = read(&chapter);
        let (title, _) = headings(&page)[0];
        assert!(page.starts_with(&format!("# {title}\n")), "{chapter}");
        assert!(summary.contains(&format!("[{title}]({chapter}.md)")), "the summary has another title for {chapter}: {title}");
    }
}

#[test]
fn library_has_a_module_for_each_chapter() {
    let source = fs::read_to_string(root().join("src/guide/mod.rs")).unwrap();
    let list = source.split_once("\nchapters! {").unwrap().1;
    let modules: Vec<_> = list.trim_end().trim_end_matches('}').split_whitespace().collect();
    assert_eq!(modules, chapters());
}
