//! `docs/dependencies.md` has one line for each dependency of the workspace, and for no other.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)).unwrap()
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = read("Cargo.toml");
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let entries = section.lines().filter(|line| line.contains(" = ") && !line.starts_with('#'));
    let foreign = entries.filter(|line| !line.contains("path = "));
    let used: BTreeSet<_> = foreign.map(|line| line.split(" = ").next().unwrap()).collect();
    let doc = read("docs/dependencies.md");
    let rows = doc.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut explained = BTreeSet::new();
    for (name, reason) in rows {
        assert!(reason.trim_end_matches(" |").len() >= 15, "{name} has no reason");
        assert!(explained.insert(name), "{name} is explained twice");
    }
    assert_eq!(used, explained, "Cargo.toml's dependencies, and docs/dependencies.md's rows");
}
