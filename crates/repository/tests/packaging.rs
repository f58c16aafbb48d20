//! Each crate that is to be published can be packed: its manifest is whole, and its dependencies have versions.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a published crate says of itself.
const FIELDS: [&str; 7] =
    ["description", "license", "readme", "keywords", "categories", "rust-version", "edition"];
/// The one thing cargo misses: there is no public address yet, and a made-up one would lead nowhere.
const NO_ADDRESS: &str = "warning: manifest has no documentation, homepage or repository";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A manifest by its sections' names, each the lines of it.
fn sections(text: &str) -> BTreeMap<String, Vec<String>> {
    let (mut found, mut name) = (BTreeMap::<String, Vec<String>>::new(), String::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(section) => section.trim_matches('[').clone_into(&mut name),
            None => found.entry(name.clone()).or_default().push(line.to_owned()),
        }
    }
    found
}

/// The name before the first dot or equals sign.
fn key(line: &str) -> &str {
    line.split(['=', '.']).next().unwrap_or_default().trim()
}

/// Every crate of the workspace that may be published, by name, with its manifest.
fn published() -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path().join("Cargo.toml")).unwrap();
        let manifest = sections(&text);
        let package = &manifest["package"];
        if package.iter().any(|line| line == "publish = false") {
            continue;
        }
        let name = package.iter().find(|line| key(line) == "name").unwrap();
        found.insert(name.split('"').nth(1).unwrap().to_owned(), manifest);
    }
    found
}

#[test]
fn manifests_are_whole() {
    let published = published();
    assert!(published.len() >= 13, "{:?}", published.keys());
    let workspace = sections(&fs::read_to_string(root().join("Cargo.toml")).unwrap());
    let shared = &workspace["workspace.package"];
    for (name, manifest) in &published {
        let package = &manifest["package"];
        for field in FIELDS {
            let line = package.iter().find(|line| key(line) == field);
            let line = line.unwrap_or_else(|| panic!("{name} has no {field}"));
            let inherited = line == &format!("{field}.workspace = true");
            assert!(
                !inherited || shared.iter().any(|line| key(line) == field),
                "{name}: the workspace has no {field}"
            );
        }
        let keywords = package.iter().find(|line| key(line) == "keywords").unwrap();
        assert!(keywords.matches('"').count() <= 10, "{name} has more than five keywords");
    }
}

#[test]
fn dependencies_of_our_own_are_published_and_have_versions() {
    let published = published();
    let workspace = sections(&fs::read_to_string(root().join("Cargo.toml")).unwrap());
    for line in &workspace["workspace.dependencies"] {
        if published.contains_key(key(line)) {
            assert!(line.contains("version = \"") && line.contains("path = \""), "{line}");
        }
    }
    for (name, manifest) in &published {
        for line in manifest.get("dependencies").into_iter().flatten() {
            let ours = key(line).starts_with("switchboard");
            assert!(
                !ours || published.contains_key(key(line)),
                "{name} needs {line}, which is not published"
            );
        }
    }
}

#[test]
fn cargo_lists_what_goes_into_each_package() {
    for name in published().keys() {
        let listed = Command::new(env!("CARGO"))
            .args(["package", "--list", "--allow-dirty", "--offline", "-p", name])
            .current_dir(root())
            .output()
            .unwrap();
        let (files, said) =
            (String::from_utf8_lossy(&listed.stdout), String::from_utf8_lossy(&listed.stderr));
        let others = said.lines().filter(|line| line.starts_with("warning") && *line != NO_ADDRESS).count();
        assert!(listed.status.success() && others == 0, "{name}: {said}");
        for file in ["Cargo.toml", "README.md"] {
            assert!(files.lines().any(|line| line == file), "{name} has no {file}: {files}");
        }
        assert!(files.contains("src/lib.rs") || files.contains("src/main.rs"), "{name}: {files}");
    }
}
