//! A peer that is killed at any moment: what it told is stored, nothing is torn, and it goes on where it was.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic)] // tests

mod common;

use bytes::Bytes;
use common::{Program, must, text};
use switchboard_fabric_gossip::block::{Block, build};

const CHANNEL: &str = "mychannel";
const KILLS: u64 = 100;
/// More than all processes together commit.
const BLOCKS: u64 = 10_000;

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128);
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

fn transaction(number: u64) -> Bytes {
    let channel_header = [vec![8, 3], field(4, CHANNEL.as_bytes())].concat();
    let header = [field(1, &channel_header), field(2, &field(1, b"creator"))].concat();
    let payload = [field(1, &header), field(2, format!("block {number}").as_bytes())].concat();
    [field(1, &payload), field(2, b"signature")].concat().into()
}

/// Issue 11: kill -9 during commit, a hundred times, of the real process.
#[test]
fn a_killed_peer_loses_nothing_it_told() {
    let dir = tempfile::tempdir().unwrap();
    let (org, folder, data) = (dir.path().join("org"), dir.path().join("blocks"), dir.path().join("data"));
    must(&["keygen", "--wire", "fabric", "--out", text(&org), "--peers", "1"]);
    std::fs::create_dir(&folder).unwrap();
    let mut previous = [7; 32].to_vec();
    for number in 1..=BLOCKS {
        let block = build(number, &previous, &[transaction(number)], &[]);
        previous = Block::decode(block.clone()).unwrap().header_hash().to_vec();
        std::fs::write(folder.join(format!("{number}.block")), block).unwrap();
    }
    let key = format!("fabric={}", text(&org.join("peer0")));
    let mut args =
        vec!["fabric", "peer", "--json", "--stdin-stop", "--listen", "127.0.0.1:0", "--channel", CHANNEL];
    args.extend(["--key-file", &key, "--verify-blocks", "hash", "--data", text(&data)]);
    args.extend(["--blocks-from", text(&folder)]);
    let mut told = 0;
    for round in 0..KILLS {
        let mut peer = Program::start(&args, &[]);
        // Killed while it commits, after another block each time.
        for nth in 0..1 + round % 23 {
            let number = peer.wait("block")["number"].as_u64().unwrap();
            // Blocks follow each other; the first of a process follows what was told, or what was stored and not told.
            assert!(
                if nth == 0 { number > told } else { number == told + 1 },
                "round {round}: {number} after {told}"
            );
            told = number;
        }
        for line in peer.kill() {
            told = if line["event"] == "block" { line["number"].as_u64().unwrap() } else { told };
        }
    }
    assert!(told > KILLS && told < BLOCKS, "{told} blocks told of");
    let walked = must(&["fabric", "ledger", "--json", text(&data)]);
    let ledger = walked.event("ledger");
    assert_eq!((&ledger["whole"], &ledger["first"]), (&true.into(), &1.into()), "{ledger:#}");
    let height = ledger["height"].as_u64().unwrap();
    assert!(height > told, "{height} is the height, block {told} was told of");
    let stored: Vec<_> = walked.json().into_iter().filter(|v| v["event"] == "block").collect();
    assert_eq!(stored.len() as u64, height - 1);
    // Another start finds the same, and goes on.
    let mut peer = Program::start(&args, &[]);
    assert_eq!(peer.wait("block")["number"], height);
    assert_eq!(peer.stop(), 0);
}
