#![allow(clippy::unwrap_used)] // tests

use super::transient::{Index, MAX_ENTRIES, Put, SHARE};
use super::*;
use crate::block::tests::fixtures::{chain, chain_of, private_chain, secret};
use crate::block::{Block, build};
use crate::privdata::rwset;
use crate::types::PkiId;
use bytes::Bytes;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn slot(block: u64) -> Slot {
    Slot { block, transaction: 0, namespace: "cc".into(), collection: "secret".into() }
}

fn missing(block: u64) -> Missing {
    Missing { slot: slot(block), tx_id: format!("tx{block}"), hash: rwset::hash(&secret(block)) }
}

fn transient(tx_id: &str, content: &str, height: u64, from: Option<u8>) -> Transient {
    Transient {
        tx_id: tx_id.into(),
        namespace: "cc".into(),
        collection: "secret".into(),
        rwset: content.to_owned().into(),
        configs: Bytes::from_static(b"configs"),
        simulated_at: 1,
        received_at: height,
        from: from.map(|byte| PkiId([byte; 32])),
    }
}

fn disk(folder: &Path) -> DiskLedger {
    DiskLedger::open(folder, "mychannel", Options::default()).unwrap()
}

/// Runs a test on each form.
fn on_both(test: impl Fn(&dyn BlockStore)) {
    test(&MemoryLedger::default());
    let folder = tempfile::tempdir().unwrap();
    test(&disk(folder.path()));
}

fn commits(blocks: &[Block]) -> Vec<Commit> {
    blocks.iter().cloned().map(Commit::of).collect()
}

#[test]
fn blocks_are_stored_in_order_only_and_all_or_none() {
    on_both(|ledger| {
        let blocks = chain(1, 5);
        assert_eq!((ledger.height(), ledger.first(), ledger.tip()), (1, 1, None));
        let wrong = ledger.append(&commits(&blocks[1..2]));
        assert!(matches!(wrong, Err(LedgerError::Order { expected: 1, found: 2 })));
        let hole = [blocks[0].clone(), blocks[2].clone()];
        assert!(matches!(ledger.append(&commits(&hole)), Err(LedgerError::Order { expected: 2, found: 3 })));
        assert_eq!(ledger.height(), 1, "nothing of it is stored");
        ledger.append(&commits(&blocks[..3])).unwrap();
        ledger.append(&[]).unwrap();
        ledger.append(&commits(&blocks[3..])).unwrap();
        assert!(ledger.append(&commits(&blocks[4..])).is_err(), "again");
        assert_eq!((ledger.height(), ledger.tip()), (6, Some(blocks[4].header_hash())));
        assert_eq!(ledger.block(0).unwrap(), None);
        assert_eq!(ledger.block(3).unwrap().as_ref(), Some(blocks[2].raw()));
        assert_eq!(ledger.block(6).unwrap(), None);
        let numbers = |from, to, bytes| -> Vec<u64> {
            ledger.range(from, to, bytes).unwrap().into_iter().map(|(number, _)| number).collect()
        };
        assert_eq!(numbers(2, 4, usize::MAX), [2, 3, 4]);
        assert_eq!(numbers(0, u64::MAX, usize::MAX), [1, 2, 3, 4, 5]);
        assert_eq!(numbers(4, 2, usize::MAX), Vec::<u64>::new());
        assert_eq!(numbers(1, 5, 1), [1], "always the first");
        assert_eq!(numbers(1, 5, 2 * blocks[0].raw().len()), [1, 2]);
    });
}

#[test]
fn a_ledger_with_a_genesis_block_begins_at_zero() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = DiskLedger::open(folder.path(), "mychannel", Options { first: 0 }).unwrap();
    assert_eq!(ledger.height(), 0);
    ledger.append(&commits(&chain(0, 2))).unwrap();
    drop(ledger);
    // It keeps its own first number.
    let ledger = disk(folder.path());
    assert_eq!((ledger.first(), ledger.height()), (0, 2));
}

#[test]
fn what_is_stored_survives_and_a_file_is_what_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let (blocks, path) = (chain(1, 3), folder.path());
    let ledger = disk(path);
    ledger.append(&commits(&blocks)).unwrap();
    ledger.put_transient(&transient("t", "one", 3, Some(1))).unwrap();
    assert!(matches!(DiskLedger::open_existing(path, "mychannel"), Err(LedgerError::InUse(_))));
    drop(ledger);
    let ledger = DiskLedger::open_existing(path, "mychannel").unwrap();
    assert_eq!((ledger.height(), ledger.tip()), (4, Some(blocks[2].header_hash())));
    assert_eq!(ledger.transient_of("t").unwrap(), [transient("t", "one", 3, Some(1))]);
    drop(ledger);
    assert_eq!(channels(path).unwrap(), ["mychannel"]);
    std::fs::rename(path.join("mychannel.ledger"), path.join("other.ledger")).unwrap();
    assert!(matches!(DiskLedger::open_existing(path, "other"), Err(LedgerError::Foreign { .. })));
    assert!(matches!(DiskLedger::open_existing(path, "none"), Err(LedgerError::Storage { .. })));
    for name in ["", "../up", "Upper", "1st", "a/b", "a\0", &"a".repeat(250)] {
        assert!(
            matches!(DiskLedger::open(path, name, Options::default()), Err(LedgerError::Channel(_))),
            "{name}"
        );
    }
    std::fs::write(path.join("torn.ledger"), vec![7; 1000]).unwrap();
    assert!(matches!(DiskLedger::open(path, "torn", Options::default()), Err(LedgerError::Storage { .. })));
}

#[test]
fn private_data_is_stored_with_its_block_reconciled_and_ends() {
    on_both(|ledger| {
        let blocks = private_chain(1, 6);
        let set = |number| Bytes::from(secret(number));
        let mut first = Commit::of(blocks[0].clone());
        first.private.push((slot(1), set(1)));
        first.expiry.push(Expiry { at: 4, slot: slot(1) });
        let mut others = commits(&blocks[1..3]);
        others[0].missing.push(missing(2));
        others[1].missing.push(missing(3));
        others[1].expiry.push(Expiry { at: 5, slot: slot(3) });
        ledger.append(&[first]).unwrap();
        ledger.append(&others).unwrap();
        assert_eq!(ledger.private_of(1).unwrap(), [(slot(1), set(1))]);
        assert_eq!(ledger.private_of(2).unwrap(), []);
        assert!(ledger.has_private(1, 2).unwrap() && ledger.has_private(0, u64::MAX).unwrap());
        assert_eq!(ledger.missing(u64::MAX, 10).unwrap(), [missing(3), missing(2)], "newest first");
        assert_eq!(ledger.missing(u64::MAX, 1).unwrap(), [missing(3)]);
        assert_eq!(ledger.missing(3, 10).unwrap(), [missing(2)]);
        // Another set than the block names, one that is not missing, and the right one.
        let found = [(slot(2), set(9)), (slot(1), set(1)), (slot(3), set(3))];
        assert_eq!(ledger.reconcile(&found).unwrap(), [slot(3)]);
        assert_eq!(ledger.private_of(3).unwrap(), [(slot(3), set(3))]);
        assert_eq!(ledger.missing(u64::MAX, 10).unwrap(), [missing(2)]);
        // Block-to-live.
        ledger.append(&commits(&blocks[3..4])).unwrap();
        assert_eq!((ledger.private_of(1).unwrap().len(), ledger.private_of(3).unwrap().len()), (0, 1));
        ledger.append(&commits(&blocks[4..])).unwrap();
        assert_eq!(ledger.private_of(3).unwrap(), []);
    });
}

#[test]
fn transient_entries_serve_expire_and_are_kept_once() {
    on_both(|ledger| {
        for _ in 0..2 {
            ledger.put_transient(&transient("a", "one", 5, Some(1))).unwrap();
        }
        ledger.put_transient(&transient("a", "two", 6, Some(2))).unwrap();
        ledger.put_transient(&transient("b", "one", 7, None)).unwrap();
        let of_a = ledger.transient_of("a").unwrap();
        assert_eq!(of_a, [transient("a", "one", 5, Some(1)), transient("a", "two", 6, Some(2))]);
        assert_eq!((ledger.transient_len(), ledger.transient_of("none").unwrap()), (3, vec![]));
        assert_eq!(ledger.purge_transient(6).unwrap(), 1);
        let mut commit = Commit::of(chain(1, 1).remove(0));
        commit.served = vec!["a".into(), "unknown".into()];
        ledger.append(&[commit]).unwrap();
        assert_eq!((ledger.transient_len(), ledger.transient_of("b").unwrap().len()), (1, 1));
    });
}

#[test]
fn a_sender_fills_its_share_of_the_transient_store_and_no_more() {
    let mut index = Index::default();
    let put = |index: &mut Index, tx: usize, height, from| {
        index.put(&transient(&tx.to_string(), "x", height, from))
    };
    assert!(matches!(put(&mut index, 0, 0, None), Ok(Put::Keep { .. })), "our own, and the oldest");
    let share = MAX_ENTRIES / SHARE;
    for tx in 1..=share {
        assert!(
            matches!(put(&mut index, tx, 1, Some(1)), Ok(Put::Keep { evicted, .. }) if evicted.is_empty())
        );
    }
    assert_eq!(put(&mut index, share + 1, 1, Some(1)), Err(TransientFault::Share));
    for tx in 0..MAX_ENTRIES * 2 {
        let from = 2 + (tx % 100) as u8;
        assert!(put(&mut index, 1_000_000 + tx, 2, Some(from)).is_ok());
        assert!(index.len() <= MAX_ENTRIES);
    }
    assert_eq!(index.of_tx("0").len(), 1, "what is our own stays");
    assert_eq!(index.of_tx("1").len(), 0, "the oldest of others went");
    let mut big = transient("big", "", 3, Some(200));
    big.rwset = vec![0; transient::MAX_BYTES / SHARE + 1].into();
    assert_eq!(index.put(&big), Err(TransientFault::Share));
    let below = index.below(u64::MAX);
    below.iter().for_each(|number| drop(index.remove(*number)));
    assert_eq!(index.len(), 0);
    assert!(format!("{index:?}").contains("held: {}"), "nothing is left behind: {index:?}");
}

#[test]
fn a_walk_finds_what_is_not_whole() {
    let walk = |ledger: &dyn BlockStore, chained| -> Result<usize, WalkFault> {
        Walk::new(ledger, chained).try_fold(0, |count, step| step.map(|_| count + 1))
    };
    on_both(|ledger| {
        let blocks = private_chain(1, 3);
        let mut first = Commit::of(blocks[0].clone());
        first.private.push((slot(1), secret(1).into()));
        ledger.append(&[first]).unwrap();
        ledger.append(&commits(&blocks[1..])).unwrap();
        assert_eq!(walk(ledger, true).unwrap(), 3);
        let report = Walk::new(ledger, true).next().unwrap().unwrap();
        assert_eq!(
            (report.private, report.private_bytes, report.hash),
            (1, secret(1).len(), blocks[0].header_hash())
        );
        let mut forged = Commit::of(private_chain(1, 4).remove(3));
        forged.private.push((slot(4), secret(1).into()));
        ledger.append(&[forged]).unwrap();
        assert!(matches!(walk(ledger, true), Err(WalkFault::Private { block: 4, .. })));
    });
    on_both(|ledger| {
        ledger.append(&commits(&chain(1, 1))).unwrap();
        ledger.append(&commits(&chain_of("mychannel", 2, 1, "other", false))).unwrap();
        assert!(matches!(walk(ledger, true), Err(WalkFault::Block(crate::block::VerifyFault::Chain(2)))));
        assert_eq!(walk(ledger, false).unwrap(), 2);
    });
}

/// What the killed process tells through, and the folder it writes to.
const WRITER: &str = "SWITCHBOARD_LEDGER_WRITER";
const KILLS: u32 = 100;

fn endless(number: u64, previous: &[u8]) -> Block {
    let transaction = crate::block::tests::fixtures::transaction("mychannel", &number.to_string(), &[], &[]);
    Block::decode(build(number, previous, &[transaction], &[])).unwrap()
}

/// Not a test of its own: the process that [`a_ledger_survives_being_killed_at_any_moment`] kills.
#[test]
fn writer_that_is_killed() {
    let Ok(folder) = std::env::var(WRITER) else { return };
    let ledger = disk(Path::new(&folder));
    let mut previous = ledger.tip().unwrap_or_default();
    let mut out = std::io::stdout();
    loop {
        let mut commits = Vec::new();
        for _ in 0..1 + ledger.height() % 3 {
            let number = ledger.height() + commits.len() as u64;
            let block = endless(number, &previous);
            previous = block.header_hash();
            let mut commit = Commit::of(block);
            commit.private.push((slot(number), Bytes::from(vec![7; 200])));
            commit.expiry.push(Expiry { at: number + 8, slot: slot(number) });
            commits.push(commit);
        }
        ledger.append(&commits).unwrap();
        // Told after it is durable: whoever reads it may rely on it.
        writeln!(out, "height {}", ledger.height()).unwrap();
        out.flush().unwrap();
    }
}

fn writer(folder: &Path) -> Child {
    let test = "ledger::tests::writer_that_is_killed";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(WRITER, folder);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_ledger_survives_being_killed_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = 1;
    for round in 0..KILLS {
        let mut child = writer(folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed somewhere after the first commits of each process, at another place each time.
        let mut left = 1 + round % 4;
        for line in lines.by_ref() {
            let line = line.unwrap();
            let Some(height) =
                line.split("height ").nth(1).and_then(|height| height.trim().parse::<u64>().ok())
            else {
                continue;
            };
            told = height;
            left -= 1;
            if left == 0 {
                break;
            }
        }
        for _ in 0..(round % 7) * 3_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it told before it ended counts too.
        for line in lines.map_while(Result::ok) {
            told = line.split("height ").nth(1).and_then(|h| h.trim().parse().ok()).unwrap_or(told);
        }
        let ledger = disk(folder.path());
        assert!(ledger.height() >= told, "round {round}: {} is stored, {told} was told", ledger.height());
        if round % 10 == 9 || round == KILLS - 1 {
            check(&ledger);
        }
    }
    assert!(told > u64::from(KILLS));
}

/// Everything that was stored is there, as it was.
fn check(ledger: &DiskLedger) {
    let mut previous = [0; 32];
    for number in 1..ledger.height() {
        let block = endless(number, &previous);
        previous = block.header_hash();
        assert_eq!(ledger.block(number).unwrap().as_ref(), Some(block.raw()), "block {number}");
        // A block's private data comes and goes with blocks, never without.
        let lives = number + 8 >= ledger.height();
        assert_eq!(ledger.private_of(number).unwrap().len(), usize::from(lives), "block {number}");
    }
    assert_eq!(ledger.tip(), Some(previous));
    assert_eq!(ledger.block(ledger.height()).unwrap(), None);
}
