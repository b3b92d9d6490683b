//! The paths and names in ARCHITECTURE.md exist: a rename that forgets the page fails here.

use std::{collections::HashSet, fs, path::Path};

use crate::layering::rust_files;

/// The text between backticks, outside of code blocks.
fn quoted(page: &str) -> Vec<&str> {
    let prose = page.split("```").step_by(2);
    prose.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

fn is_name(text: &str) -> bool {
    text.split("::").all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

#[test]
fn paths_and_names_of_the_page_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut code = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    rust_files(&root.join("src")).iter().for_each(|file| code.push_str(&fs::read_to_string(file).unwrap()));
    let words: HashSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut missing = Vec::new();
    let quoted = quoted(&page);
    assert!(quoted.len() > 50, "the page has changed its form");
    for text in quoted {
        let is_path = text.contains('/') && !text.contains([' ', ':', '*', '{']);
        if is_path {
            let exists =
                [root.join("src"), root.join("src/backend"), root.to_owned()].iter().any(|folder| folder.join(text).exists());
            missing.extend((!exists).then_some(text));
        } else if is_name(text) && !text.split("::").all(|part| words.contains(part)) {
            missing.push(text);
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md names what does not exist: {missing:?}");
}
