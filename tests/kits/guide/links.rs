//! Every link of the guide leads somewhere, in the book and in rustdoc.
//!
//! A chapter names its targets by labels: `[text][stores#memory]` for a heading of a chapter, `` [`Cache::drain`] `` for an item of the library.
//! The definitions of the labels at its end are for the book and for GitHub; two files beside them are for rustdoc.

use std::{collections::BTreeSet, fs};

use super::{
    chapters, keep,
    markdown::{Link, headings, links, text},
    path_of, read, root,
};
use crate::layering::rust_files;

const DOCS: &str = "https://docs.rs/larder/latest/larder/";

/// What a label names.
enum Target {
    /// A heading of a chapter, or a chapter.
    Chapter { chapter: String, anchor: Option<String> },
    /// A path in the library.
    Item(String),
}

fn target(label: &str) -> Target {
    let name = label.trim_matches('`');
    match name.split_once('#') {
        _ if name.contains("::") || name.starts_with(char::is_uppercase) || name.ends_with('!') => Target::Item(name.to_owned()),
        Some((chapter, anchor)) => Target::Chapter { chapter: chapter.to_owned(), anchor: Some(anchor.to_owned()) },
        None => Target::Chapter { chapter: name.to_owned(), anchor: None },
    }
}

/// All labels of a chapter.
fn labels(page: &str) -> BTreeSet<String> {
    let labels = links(page).into_iter().filter_map(|link| match link {
        Link::Reference(label) => Some(label.to_owned()),
        Link::Inline(_) => None,
    });
    labels.collect()
}

/// The code of the library, in which items are looked up.
struct Library(String);

impl Library {
    fn read() -> Self {
        Self(rust_files(&root().join("src")).iter().map(|file| fs::read_to_string(file).unwrap()).collect())
    }

    /// The address of an item in rustdoc; an error if there is none.
    fn address(&self, path: &str) -> Result<String, String> {
        let parts: Vec<&str> = path.trim_start_matches("larder::").split("::").collect();
        let modules = parts.iter().take_while(|part| part.starts_with(char::is_lowercase) && !part.ends_with('!')).count();
        let (modules, item) = parts.split_at(modules);
        let folder = modules.iter().fold(DOCS.to_owned(), |folder, module| format!("{folder}{module}/"));
        let missing = || format!("no {path}");
        match *item {
            [] => {
                let there = modules.iter().all(|module| self.0.contains(&format!("mod {module}")));
                there.then(|| format!("{folder}index.html")).ok_or_else(missing)
            }
            [item] if item.ends_with('!') => {
                let name = item.trim_end_matches('!');
                let there = self.0.contains(&format!("macro_rules! {name} "));
                there.then(|| format!("{folder}macro.{name}.html")).ok_or_else(missing)
            }
            [item] => Ok(format!("{folder}{}.{item}.html", self.kind(item).ok_or_else(missing)?)),
            [item, member] => {
                let page = format!("{folder}{}.{item}.html", self.kind(item).ok_or_else(missing)?);
                if self.has_method(member) {
                    return Ok(format!("{page}#method.{member}"));
                }
                let is_variant = self.0.contains(&format!("    {member},")) || self.0.contains(&format!("    {member}("));
                is_variant.then(|| format!("{page}#variant.{member}")).ok_or_else(missing)
            }
            _ => Err(missing()),
        }
    }

    fn kind(&self, item: &str) -> Option<&'static str> {
        let ends = [" ", "<", "(", ";", ":"];
        ["struct", "enum", "trait"]
            .into_iter()
            .find(|kind| ends.iter().any(|end| self.0.contains(&format!("pub {kind} {item}{end}"))))
    }

    fn has_method(&self, name: &str) -> bool {
        ["(", "<"].iter().any(|after| self.0.contains(&format!("fn {name}{after}")))
    }
}

/// Checks that a chapter has a heading with this anchor.
fn check_anchor(chapter: &str, anchor: &str) -> Result<(), String> {
    let path = path_of(chapter);
    let page = fs::read_to_string(&path).map_err(|_| format!("no chapter {chapter}"))?;
    let there = anchor.is_empty() || headings(&page).iter().any(|(_, own)| own == anchor);
    if there { Ok(()) } else { Err(format!("no heading {chapter}#{anchor}")) }
}

fn definition(label: &str, library: &Library) -> Result<String, String> {
    match target(label) {
        Target::Item(path) => Ok(format!("[{label}]: {}", library.address(&path)?)),
        Target::Chapter { chapter, anchor } => {
            check_anchor(&chapter, anchor.as_deref().unwrap_or_default())?;
            let anchor = anchor.map_or_else(String::new, |anchor| format!("#{anchor}"));
            Ok(format!("[{label}]: {chapter}.md{anchor}"))
        }
    }
}

#[test]
fn every_chapter_defines_its_labels_and_they_lead_somewhere() {
    let (library, mut dead) = (Library::read(), Vec::new());
    for chapter in chapters() {
        let page = read(&chapter);
        let definitions = labels(&page).into_iter().map(|label| definition(&label, &library));
        let (found, missing): (Vec<_>, Vec<_>) = definitions.partition(Result::is_ok);
        dead.extend(missing.into_iter().filter_map(Result::err).map(|error| format!("{chapter}: {error}")));
        let found: Vec<_> = found.into_iter().flatten().collect();
        let end = if found.is_empty() { String::new() } else { format!("\n{}\n", found.join("\n")) };
        keep(&path_of(&chapter), &format!("{}\n{end}", text(&page)));
    }
    assert!(dead.is_empty(), "links that lead nowhere:\n{}", dead.join("\n"));
}

#[test]
fn rustdoc_has_a_definition_for_every_label() {
    let all: BTreeSet<String> = chapters().iter().flat_map(|chapter| labels(&read(chapter))).collect();
    let (mut to_chapters, mut to_items) = (String::new(), String::new());
    for label in &all {
        match target(label) {
            Target::Chapter { chapter, anchor } => {
                let anchor = anchor.map_or_else(String::new, |anchor| format!("#{anchor}"));
                to_chapters += &format!("[{label}]: crate::guide::{chapter}{anchor}\n");
            }
            Target::Item(path) => to_items += &format!("[{label}]: crate::{}\n", path.trim_start_matches("larder::")),
        }
    }
    keep(&root().join("src/docs/guide_chapters.md"), &to_chapters);
    keep(&root().join("src/docs/guide_items.md"), &to_items);
}

#[test]
fn every_other_link_is_to_a_heading_of_its_own_page_or_to_another_site() {
    let mut wrong = Vec::new();
    for chapter in chapters() {
        let page = read(&chapter);
        for link in links(&page) {
            let Link::Inline(target) = link else { continue };
            let right = match target.strip_prefix('#') {
                Some(anchor) => check_anchor(&chapter, anchor).is_ok(),
                None => target.starts_with("https://") && !target.starts_with(DOCS),
            };
            if !right {
                wrong.push(format!("{chapter}: {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn readme_links_to_chapters_and_headings_that_exist() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let guide = format!("{DOCS}guide/");
    let links: Vec<_> = readme.split(&guide).skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(!links.is_empty(), "the README does not link to the guide");
    for link in links {
        let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
        let chapter = page.trim_end_matches("index.html").trim_end_matches('/');
        if !chapter.is_empty() {
            check_anchor(chapter, anchor).unwrap();
        }
    }
}
