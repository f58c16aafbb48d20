//! Blocks for tests: chains with transactions, private data and orderers' signatures.

use crate::block::hash::header_bytes;
use crate::block::walk::Writer;
use crate::block::{Block, build, hash};
use crate::privdata::rwset;
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use switchboard_fabric::identity::SigningIdentity;
use switchboard_fabric::msp::{Msp, MspParts, Trust};

pub(crate) const CHANNEL: &str = "mychannel";

/// A private set as a transaction names it: namespace, collection, the set.
pub(crate) type Private<'a> = (&'a str, &'a str, &'a [u8]);

/// An encoded envelope of an endorser transaction.
pub(crate) fn transaction(channel: &str, tx_id: &str, private: &[Private<'_>], endorsers: &[Bytes]) -> Bytes {
    let mut results = Writer::default();
    for (namespace, collection, set) in private {
        let hashed = Writer::default().message(2, b"write").done();
        let collection = Writer::default()
            .bytes(1, collection.as_bytes())
            .bytes(2, &hashed)
            .bytes(3, &rwset::hash(set))
            .done();
        let namespace = Writer::default().bytes(1, namespace.as_bytes()).message(3, &collection).done();
        results = results.message(2, &namespace);
    }
    let action = Writer::default().bytes(1, &results.done()).done();
    let response = Writer::default().bytes(2, &action).done();
    let mut endorsed = Writer::default().bytes(1, &response);
    for endorser in endorsers {
        endorsed = endorsed.message(2, &Writer::default().bytes(1, endorser).bytes(2, b"signature").done());
    }
    let payload = Writer::default().message(2, &endorsed.done()).done();
    let transaction = Writer::default().message(1, &Writer::default().bytes(2, &payload).done()).done();
    envelope(3, channel, tx_id, &transaction)
}

/// An encoded envelope of any type.
pub(crate) fn envelope(kind: u64, channel: &str, tx_id: &str, data: &[u8]) -> Bytes {
    let header =
        Writer::default().number(1, kind).bytes(4, channel.as_bytes()).bytes(5, tx_id.as_bytes()).done();
    let header = Writer::default().bytes(1, &header).bytes(2, b"\x0a\x01c").done();
    let payload = Writer::default().bytes(1, &header).bytes(2, data).done();
    Writer::default().bytes(1, &payload).bytes(2, b"signature").done().into()
}

/// The private set that transaction 0 of a block of [`private_chain`] wrote.
pub(crate) fn secret(number: u64) -> Vec<u8> {
    format!("secret of block {number}").into_bytes()
}

/// A chain of blocks from `first` on, each with a transaction. `salt` makes different chains.
pub(crate) fn chain_of(channel: &str, first: u64, count: u64, salt: &str, private: bool) -> Vec<Block> {
    let mut previous = hash::header_hash(first.wrapping_sub(1), salt.as_bytes(), b"");
    let mut blocks = Vec::new();
    for number in first..first + count {
        let set = secret(number);
        let sets: &[Private<'_>] = if private { &[("cc", "secret", &set)] } else { &[] };
        let transactions = [transaction(channel, &format!("{salt}{number}"), sets, &[])];
        let raw = build(number, &previous, &transactions, &[]);
        let block = Block::decode(raw).unwrap();
        previous = block.header_hash();
        blocks.push(block);
    }
    blocks
}

pub(crate) fn chain(first: u64, count: u64) -> Vec<Block> {
    chain_of(CHANNEL, first, count, "tx", false)
}

pub(crate) fn private_chain(first: u64, count: u64) -> Vec<Block> {
    chain_of(CHANNEL, first, count, "tx", true)
}

/// An organisation that signs blocks.
pub(crate) struct Orderers {
    pub(crate) mspid: &'static str,
    pub(crate) trust: Trust,
    pub(crate) members: Vec<SigningIdentity>,
    issuer: Issuer<'static, KeyPair>,
}

impl Orderers {
    pub(crate) fn new(mspid: &'static str, members: usize) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let mut trust = Trust::default();
        trust.add(
            Msp::new(mspid, MspParts { roots: vec![certificate.der().clone()], ..MspParts::default() })
                .unwrap(),
        );
        let mut made = Self { mspid, trust, members: Vec::new(), issuer: Issuer::new(params, key) };
        for _ in 0..members {
            let key = KeyPair::generate().unwrap();
            made.member(&key);
        }
        made
    }

    /// Adds a member with this key; a key may have several certificates.
    pub(crate) fn member(&mut self, key: &KeyPair) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::NoCa;
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        let identity = SigningIdentity::new(self.mspid, certificate.der(), &key.serialize_der()).unwrap();
        self.members.push(identity);
    }

    /// A block signed by these members.
    pub(crate) fn sign(&self, number: u64, previous: &[u8], transactions: &[Bytes], by: &[usize]) -> Block {
        let header = header_bytes(number, previous, &hash::data_hash(transactions));
        let last_config = Writer::default().number(1, 1).done();
        let value = Writer::default().message(1, &last_config).done();
        let mut metadata = Writer::default().bytes(1, &value);
        for member in by {
            let member = &self.members[*member];
            let signature_header =
                Writer::default().bytes(1, member.identity().serialized()).bytes(2, b"n").done();
            let payload = [&value[..], &signature_header, &header].concat();
            let signature = member.sign(&payload).unwrap();
            let one = Writer::default().bytes(1, &signature_header).bytes(2, &signature).done();
            metadata = metadata.message(2, &one);
        }
        Block::decode(build(number, previous, transactions, &[metadata.done().into()])).unwrap()
    }
}
