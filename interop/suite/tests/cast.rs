//! `cast` through a ring with a Go node in its middle: ours → Go → ours, and back round.
#![cfg(test)]

mod common;
use common::Case;
use std::path::Path;
use switchboard_interop::{Program, text};

fn file(dir: &Path, bytes: usize) -> std::path::PathBuf {
    // Not compressible and not repeating, from a small generator of our own.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    let path = dir.join("cast.bin");
    std::fs::write(&path, content).unwrap_or_else(|e| panic!("cannot write the test file: {e}"));
    path
}

/// A line of three: our source, the Go node (which dials it), our last node (which dials the Go node): all
/// the last node gets has passed through Go. A fourth of ours dials the last.
fn through_go(case: &Case) {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
    let path = file(dir.path(), 20_000_000);
    let path_text = path.display().to_string();
    let (source, source_url, _) = case.our_node(&["cast"], &["--cast", &path_text]);
    let go_dir = dir.path().join("go").display().to_string();
    let (mut go, go_url) =
        case.go_node(&["--protocols", "cast", "--cast-dir", &go_dir, "--dial", &source_url]);
    let last_dir = dir.path().join("last").display().to_string();
    let (mut last, last_url, _) = case.our_node(&["cast"], &["--cast-dir", &last_dir, "--peer", &go_url]);
    let end_dir = dir.path().join("end").display().to_string();
    let (mut end, _, _) = case.our_node(&["cast"], &["--cast-dir", &end_dir, "--peer", &last_url]);
    let by_go = go.wait("cast_done");
    let by_last = last.wait("cast_done");
    let by_end = end.wait("cast_done");
    assert_eq!(by_go["sha256"], by_last["sha256"], "{by_go:#} {by_last:#}");
    assert_eq!(by_go["sha256"], by_end["sha256"], "{by_go:#} {by_end:#}");
    let original = std::fs::read(&path).unwrap_or_default();
    let copied = std::fs::read(text(&by_end, "file")).unwrap_or_default();
    assert!(original == copied, "the last node's file differs from the source's");
    assert_eq!(
        (by_go["hops"].as_u64(), by_last["hops"].as_u64(), by_end["hops"].as_u64()),
        (Some(1), Some(2), Some(3))
    );
    let programs: [Program; 4] = [end, last, go, source];
    for program in programs {
        assert_eq!(program.stop(), 0);
    }
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_go_node_in_the_middle_devp2p() {
    through_go(&Case { wire: "devp2p", go: "gethpeer", ours: vec![], theirs: vec![] });
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_go_node_in_the_middle_comet() {
    for go in ["cometpeer", "cometpeer040"] {
        through_go(&Case { wire: "comet", go, ours: vec![], theirs: vec![] });
    }
}
