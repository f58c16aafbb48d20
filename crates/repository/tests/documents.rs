//! What the documents at the root name must exist: files, tests, types, commands.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 13] = [
    "README.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/cast.md",
    "docs/admin.md",
    "docs/dependencies.md",
    "docs/facts/devp2p.md",
    "docs/metrics.md",
    "ops/README.md",
    "fuzz/README.md",
    "interop/README.md",
];
/// Folders of the repository: what is quoted and starts so is a path.
const FOLDERS: [&str; 8] = ["crates/", "docs/", "ops/", "interop/", "fuzz/", "benches/", "examples/", ".ci/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// The documents named above, and the tables of facts.
fn documents() -> Vec<String> {
    let facts = fs::read_dir(root().join("docs/facts")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut all: Vec<_> = facts.map(|name| format!("docs/facts/{}", name.to_str().unwrap())).collect();
    all.sort();
    all.extend(DOCUMENTS.map(str::to_owned));
    all
}

/// What stands between two backticks on one line, and the targets of links, each with its document.
fn quoted() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for document in documents() {
        for line in read(&document).lines() {
            found.extend(line.split('`').skip(1).step_by(2).map(|text| (document.clone(), text.to_owned())));
            let links = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(links.map(|(link, _)| (document.clone(), link.to_owned())));
        }
    }
    found
}

#[test]
fn named_files_and_tests_exist() {
    let mut wrong = Vec::new();
    for (document, text) in quoted() {
        let (file, test) = text.split_once('#').map_or((text.as_str(), None), |(f, t)| (f, Some(t)));
        let path = FOLDERS.iter().any(|folder| file.starts_with(folder)) && !file.contains(['*', ' ', '…']);
        if !path {
            continue;
        }
        if !root().join(file).exists() {
            wrong.push(format!("{document}: {file} is not there"));
        } else if let Some(test) = test
            && !read(file).contains(&format!("fn {test}("))
        {
            wrong.push(format!("{document}: {file} has no test {test}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let folder = root().join(&document).parent().unwrap().to_owned();
        for rest in read(&document).split("](").skip(1) {
            let link = rest.split(')').next().unwrap();
            assert!(link.contains("://") || folder.join(link).exists(), "{document}: {link}");
        }
    }
}

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let (readme, example) = (read("README.md"), read("examples/greet_peers_on_three_wires.rs"));
    let blocks: Vec<_> = readme.split("```rust\n").skip(1).filter_map(|b| b.split("```").next()).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        assert!(example.contains(block), "not in the example any more:\n{block}");
    }
}

#[test]
fn the_readme_and_the_checks_run_one_command() {
    let command = "cargo test --workspace";
    assert!(read("README.md").contains(&format!("    {command}\n")));
    assert!(read(".ci/run").contains(&format!("step \"tests\" {command}\n")));
}

#[test]
fn the_life_of_a_message_uses_the_names_and_numbers_of_the_code() {
    let page = read("ARCHITECTURE.md");
    let source = |file: &str| read(&format!("crates/core/src/{file}"));
    for (word, file, declared) in [
        ("Lane", "session/outgoing.rs", "lane"),
        ("Scheduler", "session/scheduler.rs", "struct Scheduler"),
        ("Encoder", "wire/codec.rs", "trait Encoder"),
        ("Decoder", "wire/codec.rs", "trait Decoder"),
        ("Inbox", "session/inbox.rs", "struct Inbox"),
        ("send_queue messages (64)", "protocol/channel.rs", "send_queue: 64"),
        ("64 MiB a peer, 1 GiB in all", "switch/access.rs", "bytes_per_peer: 64 << 20"),
        ("1 GiB in all", "switch/access.rs", "bytes_total: 1 << 30"),
        ("send waits 10 s", "session/outgoing.rs", "SEND_TIMEOUT: Duration = Duration::from_secs(10)"),
        ("decays every 2 s", "session/scheduler.rs", "Duration::from_secs(2)"),
        ("64 KiB gathered", "session/outgoing.rs", "BATCH_BYTES: usize = 64 * 1024"),
        ("20 s without progress", "wire/established.rs", "write_within: Duration::from_secs(20)"),
        ("64 KiB a read", "session/buffers.rs", "BUFFER: usize = 64 * 1024"),
        ("recv_limit of the channel (1 MiB)", "protocol/channel.rs", "recv_limit: 1 << 20"),
        ("recv_window bytes (4 MiB)", "protocol/channel.rs", "recv_window: 4 << 20"),
        ("16,384 messages", "session/inbox.rs", "MAX_MESSAGES: usize = 16_384"),
        ("WriteTimeout", "reason.rs", "WriteTimeout"),
        ("SlowProtocol", "reason.rs", "SlowProtocol"),
        ("MemoryCap", "reason.rs", "MemoryCap"),
        ("send_rate (none)", "switch/access.rs", "send_rate: None"),
        ("recv_rate (none)", "switch/access.rs", "recv_rate: None"),
        ("DropNew", "protocol/channel.rs", "DropNew"),
    ] {
        assert!(page.contains(word), "ARCHITECTURE.md does not say {word:?}");
        assert!(
            source(file).contains(declared),
            "{file} has no {declared:?}, of which the page says {word:?}"
        );
    }
}
