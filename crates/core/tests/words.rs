//! The words of the design are all said, and linked, on the first page of the crate's documentation.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use std::fs;
use std::path::Path;

/// The words, and what each leads to. That a link leads somewhere is for rustdoc to check.
const WORDS: [(&str, &str); 22] = [
    ("Switch", "Switch"),
    ("Checkpoints", "switch"),
    ("Peer", "Peer"),
    ("PeerId", "PeerId"),
    ("PeerSet", "PeerSet"),
    ("Candidate", "Candidate"),
    ("Source", "Source"),
    ("Service", "Service"),
    ("Score", "switch::score"),
    ("Preset", "Preset"),
    ("Store", "Store"),
    ("Protocol", "Protocol"),
    ("Reactor", "Reactor"),
    ("Channel", "protocol::channel"),
    ("Lane", "session::outgoing"),
    ("Scheduler", "session::scheduler::Scheduler"),
    ("Wire", "wire::Wire"),
    ("Session", "session"),
    ("Ledger", "session::ledger::Ledger"),
    ("Census", "census"),
    ("Reason", "Reason"),
    ("Event", "Event"),
];

fn source(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).unwrap()
}

#[test]
fn every_word_of_the_design_is_on_the_first_page() {
    let page = source("lib.rs");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .map(|row| row.trim_end_matches(" |").split(" | ").collect())
        .collect();
    for (word, leads_to) in WORDS {
        let row = rows.iter().find(|row| row[0] == word).unwrap_or_else(|| panic!("{word} is not explained"));
        assert!(row[2].contains(&format!("[`{leads_to}`]")), "{word} leads to {}", row[2]);
    }
    assert_eq!(rows.len(), WORDS.len() + 1, "a row without a word of the design");
}

/// What each word leads to speaks of it.
#[test]
fn where_a_word_leads_it_is_said() {
    for (word, file) in [
        ("Checkpoints", "switch/mod.rs"),
        ("channel", "protocol/channel.rs"),
        ("lane", "session/outgoing.rs"),
        ("lane", "session/scheduler.rs"),
        ("struct Scheduler", "session/scheduler.rs"),
        ("trait Wire", "wire.rs"),
        ("struct Established", "wire/established.rs"),
        ("session", "session/mod.rs"),
        ("struct Ledger", "session/ledger.rs"),
    ] {
        assert!(source(file).contains(word), "{file} does not speak of {word:?}");
    }
}

/// Those that are types are types, with these paths.
#[test]
fn the_words_are_names_in_the_code() {
    fn named<T: ?Sized>() -> &'static str {
        std::any::type_name::<T>()
    }
    let names = [
        named::<switchboard::Switch>(),
        named::<switchboard::Peer>(),
        named::<switchboard::PeerId>(),
        named::<switchboard::PeerSet>(),
        named::<switchboard::Candidate>(),
        named::<dyn switchboard::Protocol>(),
        named::<dyn switchboard::Reactor>(),
        named::<switchboard::session::scheduler::Scheduler>(),
        named::<dyn switchboard::wire::Wire>(),
        named::<switchboard::session::ledger::Ledger>(),
        named::<switchboard::Reason>(),
        named::<switchboard::Event>(),
    ];
    for name in names {
        let last = name.rsplit("::").next().unwrap();
        assert!(WORDS.iter().any(|(word, _)| *word == last), "{name} is no word of the design");
    }
}
