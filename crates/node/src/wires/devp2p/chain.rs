//! Which Ethereum chain a node follows, where its operator says so.
//!
//! ```text
//!   --eth-chain NETWORK:GENESIS:FORK[:NEXT]   ─▶ `eth`'s first message with each peer; another network or genesis: parted from
//!                                             ─▶ entry `eth` of our record; nodes whose record is of another chain: not dialled
//!   --eth-forks N,N…                          ─▶ the chain's forks, all in their order: nodes behind ours are told from others
//!   --eth-required BLOCK=HASH                 ─▶ peers are asked for the block; another one there: parted from
//! ```
//! The node has no blocks: it says that it knows the first one, and answers requests with nothing.
//!
//! Records are judged by the rules of EIP-2124 ([`Forks`]). Without `--eth-forks` only our fork and the next one are known, so that a
//! node which has not passed our fork yet is not dialled; it may dial us.

use crate::error::NodeError;
use crate::settings::{Form, Setting, Values};
use std::str::FromStr;
use std::sync::Arc;
use switchboard::Protocol;
use switchboard_devp2p::eth::forks::Forks;
use switchboard_devp2p::eth::{Exchange, ForkId, MAX_REQUIRED, Ours, Status, VERSIONS};
use switchboard_discv::Node;

pub(super) const CHAIN: Setting = Setting::one(
    "devp2p",
    "eth-chain",
    Form::Text,
    "The chain to follow, as NETWORK:GENESIS:FORK[:NEXT] (the fork id of EIP-2124): nodes of others are not dialled, peers of others are parted from",
);
pub(super) const REQUIRED: Setting = Setting::list(
    "devp2p",
    "eth-required",
    Form::Text,
    "A block that peers must have, as NUMBER=HASH; needs --eth-chain; may be repeated",
);

pub(super) const FORKS: Setting = Setting::list(
    "devp2p",
    "eth-forks",
    Form::Number,
    "The forks of --eth-chain, block numbers or times, all in their order: nodes that have not passed ours yet are dialled, too",
);

/// A chain, as flags give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    network: u64,
    genesis: [u8; 32],
    pub(super) fork: ForkId,
    forks: Forks,
}

/// Bytes in hexadecimal, with or without `0x`.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut out).ok()?;
    Some(out)
}

impl FromStr for Chain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let mut parts = text.split(':');
            let network = parts.next()?.parse().ok()?;
            let genesis = bytes(parts.next()?)?;
            let (hash, next) = (bytes(parts.next()?)?, parts.next());
            let next = next.map_or(Some(0), |next| next.parse().ok())?;
            let fork = ForkId { hash, next };
            parts.next().is_none().then(|| Self { network, genesis, fork, forks: Forks::ahead(fork) })
        };
        read().ok_or_else(|| {
            format!("{text:?} is no chain: expected NETWORK:GENESIS:FORK[:NEXT], with hashes in hexadecimal")
        })
    }
}

/// A block, as flags give it.
#[derive(Debug, Clone, Copy)]
struct Block(u64, [u8; 32]);

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let block =
            text.split_once('=').and_then(|(number, of)| Some(Self(number.parse().ok()?, bytes(of)?)));
        block.ok_or_else(|| format!("{text:?} is no block: expected NUMBER=HASH"))
    }
}

/// The chain that the settings name, and the protocols that follow it.
#[derive(Default)]
pub(super) struct Followed {
    pub(super) chain: Option<Chain>,
    pub(super) protocols: Vec<Arc<dyn Protocol>>,
}

/// Reads the settings.
pub(super) fn read(values: &Values) -> Result<Followed, NodeError> {
    let chain: Option<Chain> = values.parse("eth-chain")?;
    let blocks: Vec<Block> = values.parse_all("eth-required")?;
    let forks: Vec<u64> = values.parse_all("eth-forks")?;
    let Some(mut chain) = chain else {
        return match (blocks.first(), forks.first()) {
            (Some(_), _) => Err(NodeError::usage("--eth-required needs a chain: add --eth-chain")),
            (_, Some(_)) => Err(NodeError::usage("--eth-forks needs a chain: add --eth-chain")),
            (None, None) => Ok(Followed::default()),
        };
    };
    if !forks.is_empty() {
        let known = Forks::of(&chain.genesis, &forks, chain.fork);
        chain.forks = known.map_err(|error| NodeError::usage(format!("--eth-forks: {error}")))?;
    }
    if blocks.len() > MAX_REQUIRED {
        return Err(NodeError::usage(format!("--eth-required takes at most {MAX_REQUIRED} blocks")));
    }
    let blocks: Vec<_> = blocks.iter().map(|Block(number, hash)| (*number, *hash)).collect();
    let exchange = |version| -> Option<Arc<dyn Protocol>> {
        let ours = Status::at_genesis(version, chain.network, chain.genesis, chain.fork);
        // What peers say is kept on them, for administration; nobody reads it here.
        let (exchange, _) = Exchange::new(version, Ours::Fixed(Box::new(ours)))?;
        Some(exchange.requiring(&blocks))
    };
    let protocols = VERSIONS.iter().filter_map(|(version, _)| exchange(*version)).collect();
    Ok(Followed { chain: Some(chain), protocols })
}

impl Chain {
    /// Whether a node may be of this chain, by the fork in its record; one that says nothing may be.
    pub(super) fn may_follow(&self, node: &Node) -> bool {
        let said = node.record().and_then(|record| record.entries().eth());
        said.is_none_or(|said| self.forks.may_be(ForkId { hash: said.hash, next: said.next }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Source;
    use switchboard_enr::record::Entries;
    use switchboard_enr::{NodeKey, record};

    const MAINNET: &str =
        "1:d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3:fc64ec04:1150000";

    #[test]
    fn chains_are_read_as_they_are_written() {
        let chain: Chain = MAINNET.parse().unwrap();
        assert_eq!((chain.network, chain.fork.next), (1, 1_150_000));
        assert_eq!(MAINNET.replace(":1150000", "").parse::<Chain>().unwrap().fork.next, 0);
        assert_eq!(MAINNET.replace(":d4", ":0xd4").replace(":fc", ":0xfc").parse::<Chain>(), Ok(chain));
        for bad in [
            "",
            "1",
            "1:2:3",
            "x:y:z",
            &MAINNET[2..],
            &format!("{MAINNET}:1"),
            &MAINNET.replace("fc64", "fc"),
        ] {
            assert!(bad.parse::<Chain>().is_err(), "{bad}");
        }
        for bad in ["", "7", "7=", "7=00", "=d4e5"] {
            assert!(bad.parse::<Block>().is_err(), "{bad}");
        }
    }

    fn node(fork: Option<([u8; 4], u64)>) -> Node {
        let mut entries = Entries::default();
        entries.set_ip([10, 0, 0, 1].into());
        entries.set_port(record::Port::Udp, Some(30_303));
        if let Some((hash, next)) = fork {
            entries.set_eth(record::ForkId { hash, next });
        }
        let signed = entries.sign(&NodeKey::from_bytes(&[1; 32]).unwrap(), 1).unwrap();
        Node::from_record(Arc::new(signed)).unwrap()
    }

    #[test]
    fn a_node_of_another_fork_is_no_candidate() {
        let chain: Chain = MAINNET.parse().unwrap();
        assert!(chain.may_follow(&node(Some(([0xfc, 0x64, 0xec, 0x04], 7)))));
        assert!(
            chain.may_follow(&node(Some(([0x97, 0xc2, 0xc3, 0x4c], 1_920_000)))),
            "it has passed our next fork"
        );
        assert!(!chain.may_follow(&node(Some(([0xfc, 0x64, 0xec, 0x05], 7)))));
        assert!(chain.may_follow(&node(None)), "it may be of any");
        let bare = Node::new([1; 64], [10, 0, 0, 1].into(), 30_303, 30_303);
        assert!(chain.may_follow(&bare));
    }

    #[test]
    fn forks_that_are_named_tell_who_is_behind_from_who_is_elsewhere() {
        let homestead = MAINNET.replace("fc64ec04:1150000", "97c2c34c:1920000");
        let followed = |forks: &[&str]| {
            let mut values = Values::default();
            values.set("eth-chain", vec![homestead.clone()], Source::Flag);
            values.set("eth-forks", forks.iter().map(|&fork| fork.to_owned()).collect(), Source::Flag);
            read(&values).map(|followed| followed.chain.unwrap())
        };
        let behind = node(Some(([0xfc, 0x64, 0xec, 0x04], 1_150_000)));
        let astray = node(Some(([0xfc, 0x64, 0xec, 0x04], 1_150_001)));
        let chain = followed(&["1150000", "1920000"]).unwrap();
        assert!(chain.may_follow(&behind) && !chain.may_follow(&astray));
        assert!(!followed(&[]).unwrap().may_follow(&behind), "without its forks nobody knows");
        assert!(followed(&["1150001"]).is_err(), "these are not its forks");
        assert!(followed(&["x"]).is_err());
    }
}
