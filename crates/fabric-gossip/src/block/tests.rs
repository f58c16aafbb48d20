#![allow(clippy::unwrap_used)] // tests

pub(crate) mod fixtures;

use super::json;
use super::transaction::{CONFIG, Transaction};
use super::walk::{Fields, Writer};
use super::*;
use bytes::Bytes;
use fixtures::{CHANNEL, Orderers, chain, chain_of, envelope, transaction};
use proptest::prelude::*;
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use std::sync::Arc;
use switchboard_fabric::msp::{Msp, MspParts, Trust};

/// Bytes that Go's own encoders made.
pub(crate) fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/blocks.json")).unwrap()
}

pub(crate) fn hex_of(value: &Value) -> Bytes {
    hex::decode(value.as_str().unwrap()).unwrap().into()
}

fn orderers_of_vectors() -> Trust {
    let mut trust = Trust::default();
    let pem = vectors()["ca_pem"].as_str().unwrap().to_owned();
    trust.add(
        Msp::new(
            "OrdererMSP",
            MspParts {
                roots: vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
                ..MspParts::default()
            },
        )
        .unwrap(),
    );
    trust
}

#[test]
fn header_bytes_are_those_of_go() {
    let all = vectors();
    for header in all["headers"].as_array().unwrap() {
        let number = header["number"].as_str().unwrap().parse().unwrap();
        let made = hash::header_bytes(number, &hex_of(&header["previous"]), &hex_of(&header["data"]));
        assert_eq!(hex::encode(made), header["bytes"].as_str().unwrap(), "block {number}");
    }
}

#[test]
fn a_block_that_go_made_is_read_hashed_and_verified() {
    let all = vectors();
    let block = Block::decode(hex_of(&all["block"])).unwrap();
    assert_eq!(block.number(), 300);
    assert_eq!(block.header_hash()[..], hex_of(&all["header_hash"])[..]);
    assert_eq!(block.data_hash()[..], *block.stated_data_hash());
    assert_eq!(block.channel().unwrap(), CHANNEL.as_bytes());
    assert_eq!(block.last_config(), Ok(7), "of the signed metadata, not of the old entry");
    assert_eq!((block.is_valid(0), block.is_valid(1), block.is_valid(2)), (Some(true), Some(false), None));
    let found = Transaction::decode(&block.transactions()[0]).unwrap();
    assert_eq!((&found.tx_id[..], &found.channel[..], found.signed), ("tx-1", CHANNEL, true));
    assert_eq!(found.endorsers, [hex_of(&all["endorser"])]);
    let named: Vec<_> = found.private.iter().map(|p| (&p.namespace[..], &p.collection[..])).collect();
    assert_eq!(named, [("mycc", "secret")], "what was only read names no private data");
    assert_eq!(found.private[0].hash, crate::privdata::rwset::hash(&hex_of(&all["private"])));
    for needed in [1, 2] {
        let policy = Arc::new(OrdererPolicy::new(orderers_of_vectors(), needed).unwrap());
        assert_eq!(Verifier::signed(CHANNEL, policy).check(300, &block), Ok(()));
    }
    let policy = Arc::new(OrdererPolicy::new(orderers_of_vectors(), 3).unwrap());
    let refused = Verifier::signed(CHANNEL, policy).check(300, &block).unwrap_err();
    assert!(matches!(
        refused,
        VerifyFault::Policy { number: 300, fault: PolicyFault { found: 2, needed: 3, .. } }
    ));
}

#[test]
fn a_consenter_by_number_counts_when_it_is_known() {
    let all = vectors();
    let block = Block::decode(hex_of(&all["block_bft"])).unwrap();
    let mut policy = OrdererPolicy::new(orderers_of_vectors(), 1).unwrap();
    assert!(Verifier::signed(CHANNEL, Arc::new(policy.clone())).check(300, &block).is_err());
    policy.consenter(3, hex_of(&all["consenter_3"]));
    assert_eq!(Verifier::signed(CHANNEL, Arc::new(policy)).check(300, &block), Ok(()));
}

#[test]
fn every_level_checks_what_it_says() {
    let orderers = Orderers::new("OrdererMSP", 2);
    let policy = Arc::new(OrdererPolicy::new(orderers.trust.clone(), 1).unwrap());
    let (none, hash) = (Verifier::none(CHANNEL), Verifier::hash(CHANNEL));
    let signed = Verifier::signed(CHANNEL, policy);
    let transactions = [transaction(CHANNEL, "1", &[], &[])];
    let good = orderers.sign(5, b"before", &transactions, &[1]);
    for verifier in [&none, &hash, &signed] {
        assert_eq!(verifier.check(5, &good), Ok(()));
        assert_eq!(verifier.check(6, &good), Err(VerifyFault::Number { found: 5, announced: 6 }));
    }
    let refused = |block: &Block| (none.check(5, block), hash.check(5, block), signed.check(5, block));
    // Another channel's block.
    let other = orderers.sign(5, b"before", &[transaction("other", "1", &[], &[])], &[0]);
    let expected = Err(VerifyFault::Channel(5));
    assert_eq!(refused(&other), (Ok(()), expected.clone(), expected));
    // Other transactions under the same header.
    let raw = build(5, b"before", &[transaction(CHANNEL, "2", &[], &[])], good.metadata());
    let data = Block::decode(raw).unwrap().transactions()[0].clone();
    let header = Writer::default().number(1, 5).bytes(2, b"before").bytes(3, good.stated_data_hash()).done();
    let forged =
        Writer::default().message(1, &header).message(2, &Writer::default().message(1, &data).done());
    let forged = Block::decode(forged.done().into()).unwrap();
    let expected = Err(VerifyFault::DataHash(5));
    assert_eq!(refused(&forged), (Ok(()), expected.clone(), expected));
    // No signatures, those of nobody known, and one of another block.
    let unsigned = orderers.sign(5, b"before", &transactions, &[]);
    assert_eq!((none.check(5, &unsigned), hash.check(5, &unsigned)), (Ok(()), Ok(())));
    assert!(matches!(signed.check(5, &unsigned), Err(VerifyFault::Policy { .. })));
    let strangers = Orderers::new("OrdererMSP", 1).sign(5, b"before", &transactions, &[0]);
    assert!(matches!(signed.check(5, &strangers), Err(VerifyFault::Policy { .. })));
    let elsewhere = Orderers::new("OtherMSP", 1).sign(5, b"before", &transactions, &[0]);
    assert!(matches!(signed.check(5, &elsewhere), Err(VerifyFault::Policy { .. })));
    let moved = build(6, b"before", &transactions, good.metadata());
    let moved = Block::decode(moved).unwrap();
    assert!(matches!(signed.check(6, &moved), Err(VerifyFault::Policy { .. })));
}

#[test]
fn one_key_counts_once_however_often_it_signs() {
    let mut orderers = Orderers::new("OrdererMSP", 1);
    let key = KeyPair::generate().unwrap();
    orderers.member(&key);
    orderers.member(&key);
    let policy = OrdererPolicy::new(orderers.trust.clone(), 2).unwrap();
    let verifier = Verifier::signed(CHANNEL, Arc::new(policy));
    let transactions = [transaction(CHANNEL, "1", &[], &[])];
    for by in [&[0, 0][..], &[1, 2], &[1, 1, 2, 2]] {
        let refused = verifier.check(1, &orderers.sign(1, b"", &transactions, by));
        assert!(
            matches!(refused, Err(VerifyFault::Policy { fault: PolicyFault { found: 1, .. }, .. })),
            "{by:?}"
        );
    }
    assert_eq!(verifier.check(1, &orderers.sign(1, b"", &transactions, &[0, 2])), Ok(()));
    assert!(OrdererPolicy::new(orderers.trust, 0).is_err());
    assert!(OrdererPolicy::new(Trust::default(), 1).is_err());
}

#[test]
fn transactions_cannot_be_cut_elsewhere_under_the_same_data_hash() {
    let (a, b) = (transaction(CHANNEL, "a", &[], &[]), transaction(CHANNEL, "b", &[], &[]));
    let whole = build(1, b"", &[a.clone(), b.clone()], &[]);
    let verifier = Verifier::hash(CHANNEL);
    assert_eq!(verifier.check(1, &Block::decode(whole).unwrap()), Ok(()));
    let joined = Bytes::from([&a[..], &b].concat());
    let cut = build(1, b"", std::slice::from_ref(&joined), &[]);
    let fault = Err(VerifyFault::Transaction { number: 1, transaction: 0 });
    assert_eq!(verifier.check(1, &Block::decode(cut).unwrap()), fault);
    let padded = build(1, b"", &[a, Bytes::new(), b], &[]);
    let fault = Err(VerifyFault::Transaction { number: 1, transaction: 1 });
    assert_eq!(verifier.check(1, &Block::decode(padded).unwrap()), fault);
    // A configuration stands alone and need not be signed by itself.
    let config = envelope(CONFIG, CHANNEL, "", b"config");
    let unsigned = Fields::of(&config).next().map(|_| config.slice(..config.len() - 11)).unwrap();
    assert!(!Transaction::decode(&unsigned).unwrap().signed);
    let alone = Block::decode(build(1, b"", std::slice::from_ref(&unsigned), &[])).unwrap();
    assert_eq!(verifier.check(1, &alone), Ok(()));
    let beside = Block::decode(build(1, b"", &[unsigned, config], &[])).unwrap();
    assert!(verifier.check(1, &beside).is_err());
}

/// Data that are no envelopes: only their hashes can be checked, and no orderer's signature says whose they are.
#[test]
fn opaque_data_are_judged_by_their_hashes_and_never_signed() {
    let data = [Bytes::from_static(b"anything"), Bytes::from_static(&[0xff; 40])];
    let block = |data: &[Bytes]| Block::decode(build(1, b"", data, &[])).unwrap();
    let (hash, good) = (Verifier::hash(CHANNEL), block(&data));
    assert_eq!(hash.check(1, &good), Ok(()));
    let raw = good.raw().to_vec();
    let at = raw.windows(8).position(|part| part == b"anything").unwrap();
    let mut other = raw;
    other[at] ^= 1;
    let other = Block::decode(other.into()).unwrap();
    assert_eq!(hash.check(1, &other), Err(VerifyFault::DataHash(1)));
    // One envelope among them, and all are held to be envelopes.
    let mixed = block(&[data[0].clone(), transaction(CHANNEL, "1", &[], &[])]);
    assert!(hash.check(1, &mixed).is_err());
    let orderers = Orderers::new("OrdererMSP", 1);
    let policy = Arc::new(OrdererPolicy::new(orderers.trust.clone(), 1).unwrap());
    let signed = orderers.sign(1, b"", &data, &[0]);
    assert!(matches!(Verifier::signed(CHANNEL, policy).check(1, &signed), Err(VerifyFault::Block(_))));
}

#[test]
fn a_chain_is_followed_block_by_block() {
    let (blocks, other) = (chain(1, 4), chain_of(CHANNEL, 1, 4, "other", false));
    let verifier = Verifier::hash(CHANNEL);
    let mut link = verifier.link(1, None);
    assert_eq!(link.check(&blocks[1], &verifier), Err(VerifyFault::Number { found: 2, announced: 1 }));
    assert_eq!(link.check(&blocks[0], &verifier), Ok(()));
    assert_eq!(link.check(&other[1], &verifier), Err(VerifyFault::Chain(2)));
    assert_eq!((link.next(), link.check(&blocks[1], &verifier)), (2, Ok(())));
    let mut resumed = verifier.link(3, Some(blocks[1].header_hash()));
    assert_eq!(resumed.check(&other[2], &verifier), Err(VerifyFault::Chain(3)));
    assert_eq!(resumed.check(&blocks[2], &verifier), Ok(()));
    // Without hashes, only numbers count.
    let none = Verifier::none(CHANNEL);
    let mut link = none.link(3, Some(blocks[1].header_hash()));
    assert_eq!(link.check(&other[2], &none), Ok(()));
}

#[test]
fn a_block_cut_anywhere_is_refused_or_differs_never_a_crash() {
    let all = vectors();
    let whole = hex_of(&all["block"]);
    let policy = Arc::new(OrdererPolicy::new(orderers_of_vectors(), 1).unwrap());
    let verifier = Verifier::signed(CHANNEL, policy);
    for len in 0..whole.len() {
        let cut = whole.slice(..len);
        if let Ok(block) = Block::decode(cut.clone()) {
            assert!(verifier.check(300, &block).is_err(), "cut to {len} bytes");
        }
        let _ = json::inspect(&cut);
    }
    let envelope = Block::decode(whole).unwrap().transactions()[0].clone();
    let found = Transaction::decode(&envelope).unwrap();
    for len in 0..envelope.len() {
        assert_ne!(Transaction::decode(&envelope.slice(..len)).as_ref(), Ok(&found), "cut to {len} bytes");
    }
}

#[test]
fn parts_that_are_absent_twice_or_too_many_are_refused() {
    let part = |field, bytes: &[u8]| Writer::default().message(field, bytes).done();
    let header = part(1, &Writer::default().number(1, 1).done());
    let data = part(2, b"");
    let decode = |parts: &[&[u8]]| Block::decode(parts.concat().into());
    assert_eq!(decode(&[]), Err(BlockFault::Absent("header")));
    assert_eq!(decode(&[&data]), Err(BlockFault::Absent("header")));
    assert_eq!(decode(&[&header]), Err(BlockFault::Absent("data")));
    assert_eq!(decode(&[&header, &header, &data]), Err(BlockFault::Twice("header")));
    assert_eq!(decode(&[&header, &data, &data]), Err(BlockFault::Twice("data")));
    let empty = decode(&[&header, &data]).unwrap();
    assert_eq!(empty.channel(), Err(BlockFault::Absent("transactions")));
    assert!(Verifier::hash(CHANNEL).check(1, &empty).is_err());
    assert_eq!(OrdererSigned::of(&empty), Err(BlockFault::Absent("signatures in its metadata")));
    // A count of entries that cost two bytes each.
    let many = part(2, &[10, 0].repeat(MAX_TRANSACTIONS + 1));
    let fault = BlockFault::TooMany { what: "transactions", limit: MAX_TRANSACTIONS };
    assert_eq!(decode(&[&header, &many]), Err(fault));
    let many = part(3, &[10, 0].repeat(MAX_METADATA + 1));
    assert!(matches!(decode(&[&header, &data, &many]), Err(BlockFault::TooMany { .. })));
    let long = part(1, &Writer::default().bytes(2, &[0; MAX_HASH + 1]).done());
    assert_eq!(decode(&[&long, &data]), Err(BlockFault::Hash("previous hash")));
    assert!(Block::decode(vec![0; MAX_BLOCK + 1].into()).is_err());
    let signatures = [18, 0].repeat(MAX_SIGNATURES + 1);
    let signed = build(1, b"", &[], &[signatures.into()]);
    let fault = BlockFault::TooMany { what: "signatures", limit: MAX_SIGNATURES };
    assert_eq!(OrdererSigned::of(&Block::decode(signed).unwrap()), Err(fault));
}

#[test]
fn a_folder_of_block_files_is_read_as_it_fills() {
    let folder = tempfile::tempdir().unwrap();
    let source = BlockFolder::new(&folder.path().join("later"));
    assert!(source.block(1).unwrap().is_none(), "the folder is not there yet");
    let source = BlockFolder::new(folder.path());
    assert!(source.block(1).unwrap().is_none());
    let blocks = chain(1, 2);
    std::fs::write(source.path(1), blocks[0].raw()).unwrap();
    assert_eq!(source.block(1).unwrap().as_ref(), Some(&blocks[0]));
    std::fs::write(source.path(2), blocks[0].raw()).unwrap();
    assert!(matches!(source.block(2), Err(FileFault::Number { found: 1, .. })));
    std::fs::write(source.path(2), b"\x0a").unwrap();
    assert!(matches!(source.block(2), Err(FileFault::Block { .. })));
    std::fs::create_dir(source.path(3)).unwrap();
    assert!(matches!(source.block(3), Err(FileFault::Read { .. })));
}

#[test]
fn blocks_and_messages_are_shown_as_json() {
    let shown = json::inspect(&hex_of(&vectors()["block"])).unwrap();
    assert_eq!((&shown["kind"], &shown["block"]["number"]), (&"block".into(), &300.into()));
    assert_eq!(shown["block"]["data_hash_fits"], true);
    assert_eq!(shown["block"]["signatures"][1]["by"]["mspid"], "OrdererMSP");
    assert_eq!(shown["block"]["transactions"][0]["private"][0]["collection"], "secret");
    // Every content that Fabric has, as it stands in the vectors of the wire.
    let lines = include_str!("../../../fabric/tests/vectors/messages.jsonl");
    let mut seen = std::collections::BTreeSet::new();
    for line in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let (Some(name), Some(bytes)) = (line["vector"].as_str(), line["hex"].as_str()) else { continue };
        if name.contains('(') {
            continue;
        }
        let shown = json::inspect(&hex::decode(bytes).unwrap().into()).unwrap();
        assert_eq!(shown["kind"], "message", "{name}");
        let content = shown["message"]["content"].as_str().unwrap().to_owned();
        assert!(shown["message"].get(&content).is_some(), "{name}");
        seen.insert(content);
    }
    assert_eq!(seen.len(), 21, "{seen:?}");
    assert_eq!(json::inspect(&Bytes::from_static(b"no message")), Err(json::Unknown));
    assert_eq!(json::inspect(&Bytes::new()), Err(json::Unknown));
}

#[test]
fn remote_text_is_escaped_and_long_bytes_are_told_by_hash() {
    let text = "tx\u{202e}\n".to_owned() + &"x".repeat(200);
    let block = build(1, b"", &[transaction(CHANNEL, &text, &[], &[])], &[vec![7; 100_000].into()]);
    let shown = json::inspect(&block).unwrap();
    let tx_id = shown["block"]["transactions"][0]["tx_id"].as_str().unwrap();
    assert!(tx_id.starts_with("tx\\u{202e}\\u{a}xxx") && tx_id.ends_with('…'), "{tx_id}");
    assert_eq!(shown["block"]["metadata"][0]["len"], 100_000);
}

proptest! {
    #[test]
    fn damage_is_never_a_crash(at in 0usize..4096, value: u8, len in 0usize..4096) {
        let mut bytes = hex_of(&vectors()["block"]).to_vec();
        let place = at % bytes.len();
        bytes[place] = value;
        bytes.truncate(bytes.len().saturating_sub(len % 64));
        let bytes = Bytes::from(bytes);
        if let Ok(block) = Block::decode(bytes.clone()) {
            let _ = (Verifier::hash(CHANNEL).check(300, &block), block.last_config(), OrdererSigned::of(&block));
            for transaction in block.transactions() {
                let _ = Transaction::decode(transaction);
            }
        }
        let _ = json::inspect(&bytes);
    }

    #[test]
    fn what_is_built_is_read(number: u64, previous in proptest::collection::vec(any::<u8>(), 0..64),
                             transactions in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)) {
        let transactions: Vec<Bytes> = transactions.into_iter().map(Bytes::from).collect();
        let block = Block::decode(build(number, &previous, &transactions, &transactions)).unwrap();
        prop_assert_eq!(block.number(), number);
        prop_assert_eq!(block.previous_hash(), &previous[..]);
        prop_assert_eq!(block.transactions(), &transactions[..]);
        prop_assert_eq!(block.metadata(), &transactions[..]);
        prop_assert_eq!(&block.data_hash()[..], block.stated_data_hash());
    }
}
