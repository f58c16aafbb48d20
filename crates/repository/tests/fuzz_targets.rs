//! Every decoder has a fuzz target: `fuzz/decoders.txt` lists them, this test keeps the list true.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A function whose name starts so and that takes bytes or text is a decoder.
const NAMES: [&str; 13] = [
    "decode",
    "parse",
    "open",
    "unwrap",
    "from_bytes",
    "from_compressed",
    "from_json",
    "decompress",
    "recover",
    "split_authority",
    "scan",
    "payload",
    "take_message",
];
/// What a decoder takes.
const INPUT: [&str; 4] = ["[u8", "&str", "Bytes,", "BytesMut"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            out.push(path);
        }
    }
}

/// The decoders in a source file, by name.
fn decoders(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("fn ") {
        let rest = &text[at + 3..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // Functions of traits have no `pub` of their own; what they are given outlives them.
        let public = text[..at].ends_with("pub ") || rest[name.len()..].starts_with("<'a>(&");
        let end = rest.replace("; ", ", ").find(['{', ';']).unwrap_or_default();
        let (signature, body) = rest.split_at(end);
        let arguments = signature.split("->").next().unwrap_or_default().replace("Bytes)", "Bytes,");
        let takes = INPUT.iter().any(|input| arguments.contains(input));
        if public && takes && body.starts_with('{') && NAMES.iter().any(|prefix| name.starts_with(prefix)) {
            found.insert(name);
        }
    }
    found
}

fn in_sources() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for crate_ in ["core", "cast", "bench", "enr", "discv", "nat", "devp2p", "comet", "fabric"] {
        let mut files = Vec::new();
        sources(&root().join("crates").join(crate_).join("src"), &mut files);
        for file in files {
            // The list of decoders for fuzzing is not a decoder.
            if file.ends_with("decoders.rs") {
                continue;
            }
            let place = file.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            let names = decoders(&fs::read_to_string(&file).unwrap());
            found.extend(names.into_iter().map(|name| format!("{place} {name}")));
        }
    }
    found
}

/// The list: what each decoder is reached by.
fn listed() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("fuzz/decoders.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| line.split_once(": ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    lines.map(split).collect()
}

#[test]
fn every_decoder_has_a_fuzz_target() {
    let (found, listed) = (in_sources(), listed());
    let missing: Vec<_> = found.iter().filter(|d| !listed.contains_key(*d)).collect();
    assert!(missing.is_empty(), "no fuzz target is named in fuzz/decoders.txt for {missing:#?}");
    let gone: Vec<_> = listed.keys().filter(|d| !found.contains(*d)).collect();
    assert!(gone.is_empty(), "fuzz/decoders.txt names what is no decoder (any more): {gone:#?}");
}

#[test]
fn every_target_exists_is_built_and_is_named() {
    let folder = root().join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let mut named: BTreeSet<String> = BTreeSet::new();
    for (decoder, targets) in listed() {
        if let Some(reason) = targets.strip_prefix("- ") {
            assert!(reason.len() > 10, "{decoder} has no target and no reason");
            continue;
        }
        named.extend(targets.split_whitespace().map(str::to_owned));
    }
    let file = |entry: fs::DirEntry| entry.path().file_stem().unwrap().to_string_lossy().into_owned();
    let files: BTreeSet<_> =
        fs::read_dir(folder.join("fuzz_targets")).unwrap().map(|e| file(e.unwrap())).collect();
    assert_eq!(named, files, "targets named in decoders.txt, and files in fuzz_targets/");
    for name in &files {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} has no [[bin]]");
    }
}

#[test]
fn what_counts_as_a_decoder() {
    let text = "pub fn decode(src: &[u8]) -> X {}\nfn decode_part(src: &[u8]) {}\n\
        impl D for E { fn decode<'a>(&'a mut self, src: &'a mut BytesMut) -> Y {} }\n\
        pub fn open(path: &Path) {}\npub fn parse(\n    text: &str,\n) -> Z {}\n\
        pub fn unwrap(message: &Bytes) -> B {}\npub fn decoded(count: u32) -> Bytes {}";
    assert_eq!(decoders(text), ["decode", "parse", "unwrap"].map(str::to_owned).into());
}
