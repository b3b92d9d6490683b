//! What a release needs, as far as it is known before: descriptions, licenses, versions, and archives with all files that are compiled.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::layering::rust_files;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A package of the workspace: its folder and its manifest.
struct Package {
    folder: PathBuf,
    manifest: String,
}

impl Package {
    fn read(folder: &Path) -> Self {
        Self { folder: fs::canonicalize(folder).unwrap(), manifest: fs::read_to_string(folder.join("Cargo.toml")).unwrap() }
    }

    fn name(&self) -> String {
        self.value("name").unwrap()
    }

    fn is_published(&self) -> bool {
        !self.manifest.contains("\npublish = false\n")
    }

    /// The section `[package]`, with its first line.
    fn section(&self) -> &str {
        let (_, section) = self.manifest.split_once("[package]\n").unwrap();
        section.split("\n[").next().unwrap()
    }

    /// A text in the section.
    fn value(&self, key: &str) -> Option<String> {
        let line = self.section().lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix("= "))?;
        Some(line.trim_matches('"').to_owned())
    }

    /// The list of files in the archive.
    fn include(&self) -> Vec<String> {
        let list = self.value("include").unwrap_or_else(|| panic!("{} has no list of files", self.name()));
        list.trim_matches(['[', ']']).split(", ").map(|file| file.trim_matches('"').to_owned()).collect()
    }

    /// Whether a file is in the archive.
    fn has(&self, file: &Path) -> bool {
        let Ok(file) = file.strip_prefix(&self.folder) else { return false };
        let file = format!("/{}", file.display());
        self.include().iter().any(|entry| match entry.strip_suffix('*') {
            Some(beginning) => file.starts_with(beginning),
            None => file == *entry || file.starts_with(&format!("{entry}/")),
        })
    }
}

fn published() -> Vec<Package> {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, members) = workspace.split_once("members = [").unwrap();
    let members = members.split(']').next().unwrap().split(',').map(|member| root().join(member.trim().trim_matches('"')));
    let packages: Vec<_> = [root().to_owned()].into_iter().chain(members).map(|folder| Package::read(&folder)).collect();
    assert!(packages.len() > 3, "the list of members has changed its form");
    packages.into_iter().filter(Package::is_published).collect()
}

#[test]
fn published_packages_say_what_they_are() {
    for package in published() {
        for key in ["description", "repository", "readme", "keywords", "categories"] {
            assert!(package.value(key).is_some(), "{} has no {key}", package.name());
        }
        for inherited in ["edition", "license"] {
            assert!(package.section().contains(&format!("{inherited}.workspace = true")), "{}: {inherited}", package.name());
        }
        // What a package depends on may need a later Rust than larder does.
        let rust = package.section().contains("rust-version.workspace = true") || package.value("rust-version").is_some();
        assert!(rust, "{} has no rust-version", package.name());
    }
}

#[test]
fn archives_have_licenses_and_a_readme() {
    for package in published() {
        for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            let path = package.folder.join(file);
            assert!(path.is_file() && package.has(&path), "{} has no {file}", package.name());
            if file.starts_with("LICENSE") {
                let (own, first) = (fs::read_to_string(path).unwrap(), fs::read_to_string(root().join(file)).unwrap());
                assert_eq!(own, first, "{} has another {file}", package.name());
            }
        }
    }
}

/// The paths in `include_str!("…")`, also inside of `concat!`, that are texts; those of chapters have a name in between.
fn included(source: &str) -> Vec<&str> {
    let calls = ["include_str!(\"", "include_str!(concat!(\""].into_iter().flat_map(|call| source.split(call).skip(1));
    calls.map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn archives_have_every_file_that_is_compiled() {
    let mut outside = 0;
    for package in published() {
        for file in rust_files(&package.folder.join("src")) {
            assert!(package.has(&file), "{}", file.display());
            for path in included(&fs::read_to_string(&file).unwrap()) {
                let path = file.parent().unwrap().join(path);
                let path = fs::canonicalize(&path).unwrap_or_else(|_| panic!("{} includes {}", file.display(), path.display()));
                assert!(package.has(&path), "{} includes {}, which is not in the archive", file.display(), path.display());
                outside += usize::from(!path.starts_with(package.folder.join("src")));
            }
        }
    }
    assert!(outside >= 2, "README.md and the guide are compiled");
}

#[test]
fn versions_are_the_same_everywhere() {
    let packages = published();
    let version = packages[0].value("version").unwrap();
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let first = changelog.lines().find(|line| line.starts_with("## ")).unwrap();
    assert!(first.starts_with(&format!("## [{version}] - ")), "the changelog begins with {first}, and the version is {version}");
    for package in &packages {
        assert_eq!(package.value("version").unwrap(), version, "{}", package.name());
        // A path alone cannot be published.
        for line in
            package.manifest.split("\n[dev-dependencies]").next().unwrap().lines().filter(|line| line.contains("path = \".."))
        {
            assert!(line.contains(&format!("version = \"{version}\"")), "{}: {line}", package.name());
        }
    }
}

#[test]
fn minimum_rust_is_named_in_the_guide_and_in_the_readme() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let minimum = workspace.split_once("rust-version = \"").unwrap().1.split('"').next().unwrap();
    for (file, sentence) in [
        ("README.md", format!("The minimum supported Rust version is {minimum};")),
        ("docs/guide/versions.md", format!("The minimum version is {minimum},")),
        ("CONTRIBUTING.md", format!("`cargo +{minimum} check --all-features --lib`")),
    ] {
        assert!(fs::read_to_string(root().join(file)).unwrap().contains(&sentence), "{file}: {sentence}");
    }
}
