//! Blocks and transactions of anybody's making, and what `fabric inspect` shows of them.
#![no_main]

use bytes::Bytes;
use switchboard_fabric_gossip::block::transaction::Transaction;
use switchboard_fabric_gossip::block::{Block, OrdererSigned, Verifier, build, json};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(block) = Block::decode(bytes.clone()) {
        assert_eq!(block.raw(), &bytes);
        let _ = (block.channel().is_ok(), block.last_config(), block.is_valid(0));
        let _ = Verifier::hash("mychannel").check(block.number(), &block);
        if let Ok(signed) = OrdererSigned::of(&block) {
            signed.signatures().iter().for_each(|signature| drop(signed.payload(signature)));
        }
        let again = build(block.number(), block.previous_hash(), block.transactions(), block.metadata());
        let again = Block::decode(again).expect("what is built is a block");
        assert_eq!((again.number(), again.transactions()), (block.number(), block.transactions()));
        assert_eq!(again.data_hash(), block.data_hash());
    }
    let _ = Transaction::decode(&bytes);
    let _ = json::inspect(&bytes);
});
