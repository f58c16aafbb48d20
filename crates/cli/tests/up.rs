//! `up`: a network on each wire, and proof that every node has the file.
#![cfg(test)]

mod common;
use common::{Program, must, noise, text};

#[test]
fn every_node_gets_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, noise(500_000)).unwrap();
    let ended = must(&["up", "--json", "--nodes", "4", "--cast", text(&file)]);
    let network = ended.event("network");
    assert_eq!((&network["bytes"], &network["nodes"]), (&500_000.into(), &4.into()));
    let wires = network["wires"].as_array().unwrap();
    assert_eq!(wires, &["devp2p", "comet", "fabric"], "{network:#}");
    for wire in wires {
        let of = |event: &str| -> Vec<_> {
            ended.json().into_iter().filter(|v| v["event"] == event && v["wire"] == *wire).collect()
        };
        let (verified, result) = (of("verified"), of("result"));
        assert_eq!(verified.len(), 3, "{ended:#?}");
        assert!(verified.iter().all(|v| v["sha256"] == network["sha256"] && v["ok"] == true));
        assert_eq!((result.len(), &result[0]["ok"]), (1, &true.into()));
        // The far node is two hops away, or three if the longer way was faster.
        assert!(matches!(result[0]["hops"].as_u64(), Some(2 | 3)), "{result:#?}");
    }
    // People get a table, a line a wire.
    let text = must(&["up", "--nodes", "2", "--wire", "comet", "--cast", text(&file)]).stdout;
    let table: Vec<_> = text.lines().skip_while(|l| !l.starts_with("wire ")).collect();
    assert_eq!(table.len(), 2, "{text}");
    assert!(table[1].starts_with("comet") && table[1].ends_with("every node has the exact bytes"), "{text}");
}

#[test]
fn an_empty_file_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("empty");
    std::fs::write(&file, "").unwrap();
    must(&["up", "--wire", "comet", "--nodes", "3", "--cast", text(&file)]);
}

#[test]
fn a_kept_network_ends_with_an_interrupt() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, noise(10_000)).unwrap();
    let mut up = Program::start(&["up", "--json", "--keep", "--wire", "comet", "--cast", text(&file)], &[]);
    up.wait("keeping");
    up.signal("INT");
    assert_eq!(up.exit(), 0);
}
