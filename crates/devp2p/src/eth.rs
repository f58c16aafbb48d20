//! `eth`'s first message, by which nodes tell each other which chain they follow: for probes, crawls and sieves of peers.
//!
//! ```text
//!   code 0  eth/68      [68, network, total difficulty, head hash, genesis hash, [fork hash 4, next fork]]
//!           eth/69 …    [69, network, genesis hash, [fork hash 4, next fork], earliest, latest, latest hash]
//! ```
//! (spec: caps/eth.md; EIP-2124 for the fork id, EIP-7642 for eth/69; go-ethereum eth/protocols/eth/protocol.go)
//!
//! [`Status::echo`] is the answer of one who has no chain: the asker's own network, with no block but the first.
//! [`Exchange`] is a [`Protocol`](switchboard::Protocol) that exchanges it with every peer of a Switch; [`crate::probe`] does so with a node that
//! is only asked who it is.
//!
//! Limits: a message of [`MAX_STATUS`] bytes; a total difficulty of 32 bytes. A peer that sends nothing within [`WITHIN`] is dropped as useless. What
//! a peer says of its chain is its word, not a proof.

mod exchange;
pub mod forks;

pub use exchange::{Exchange, MAX_REQUIRED, Ours, Statuses, record_entry};

use switchboard_enr::rlp::{self, RlpError};

/// The capability's name.
pub const NAME: &str = "eth";
/// Versions whose first message is known here, with the number of their codes (go-ethereum eth/protocols/eth/protocol.go).
pub const VERSIONS: [(u32, u64); 5] = [(68, 17), (69, 18), (70, 18), (71, 20), (72, 22)];
/// From this version on the message tells a range of blocks in place of a difficulty.
const RANGE_SINCE: u32 = 69;
/// Most bytes of the message: the longest legal one has 190.
pub const MAX_STATUS: usize = 512;
/// How long the message is waited for (go-ethereum eth/protocols/eth/handshake.go, handshakeTimeout).
pub const WITHIN: std::time::Duration = std::time::Duration::from_secs(5);
/// Longest total difficulty, in bytes.
const MAX_DIFFICULTY: usize = 32;

/// Which forks of a chain a node knows (EIP-2124).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForkId {
    /// Checksum of the genesis hash and the forks that are past.
    pub hash: [u8; 4],
    /// Block number or time of the next fork; 0 for none.
    pub next: u64,
}

/// How much of the chain a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// Up to eth/68.
    Head {
        /// Total difficulty, big-endian without leading zeros.
        difficulty: Vec<u8>,
        /// Hash of its newest block.
        hash: [u8; 32],
    },
    /// From eth/69 on.
    Range {
        /// Number of the oldest block it has.
        earliest: u64,
        /// Number of its newest block.
        latest: u64,
        /// Hash of its newest block.
        hash: [u8; 32],
    },
}

/// The message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Version of `eth`.
    pub version: u32,
    /// The network's number.
    pub network: u64,
    /// Hash of the first block.
    pub genesis: [u8; 32],
    /// Its forks.
    pub fork: ForkId,
    /// What it has of the chain.
    pub extent: Extent,
}

impl Status {
    /// What one says who has no block of this chain but the first.
    #[must_use]
    pub fn at_genesis(version: u32, network: u64, genesis: [u8; 32], fork: ForkId) -> Self {
        let extent = if version < RANGE_SINCE {
            Extent::Head { difficulty: Vec::new(), hash: genesis }
        } else {
            Extent::Range { earliest: 0, latest: 0, hash: genesis }
        };
        Self { version, network, genesis, fork, extent }
    }

    /// The answer of one who follows no chain: the other's network, and nothing of it but the first block.
    #[must_use]
    pub fn echo(&self) -> Self {
        Self::at_genesis(self.version, self.network, self.genesis, self.fork)
    }

    /// Encodes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fork = Vec::new();
        rlp::put_string(&self.fork.hash, &mut fork);
        rlp::put_number(self.fork.next, &mut fork);
        let mut items = Vec::new();
        rlp::put_number(self.version.into(), &mut items);
        rlp::put_number(self.network, &mut items);
        match &self.extent {
            Extent::Head { difficulty, hash } => {
                rlp::put_string(difficulty, &mut items);
                rlp::put_string(hash, &mut items);
                rlp::put_string(&self.genesis, &mut items);
                rlp::put_list(&fork, &mut items);
            }
            Extent::Range { earliest, latest, hash } => {
                rlp::put_string(&self.genesis, &mut items);
                rlp::put_list(&fork, &mut items);
                rlp::put_number(*earliest, &mut items);
                rlp::put_number(*latest, &mut items);
                rlp::put_string(hash, &mut items);
            }
        }
        let mut out = Vec::new();
        rlp::put_list(&items, &mut out);
        out
    }

    /// Decodes a message in the form of a version.
    ///
    /// # Errors
    /// [`RlpError`]: not in this form, of another version, or of a range that cannot be.
    pub fn decode(version: u32, mut payload: &[u8]) -> Result<Self, RlpError> {
        if payload.len() > MAX_STATUS {
            return Err(RlpError("status over 512 bytes"));
        }
        let mut items = rlp::list(&mut payload)?;
        if rlp::number(&mut items)? != u64::from(version) {
            return Err(RlpError("status of another version than was agreed"));
        }
        let network = rlp::number(&mut items)?;
        let status = if version < RANGE_SINCE {
            let difficulty = rlp::string(&mut items)?;
            if difficulty.len() > MAX_DIFFICULTY || difficulty.first() == Some(&0) {
                return Err(RlpError("malformed total difficulty"));
            }
            let hash = rlp::array(&mut items)?;
            let genesis = rlp::array(&mut items)?;
            let extent = Extent::Head { difficulty: difficulty.to_vec(), hash };
            Self { version, network, genesis, fork: fork_id(&mut items)?, extent }
        } else {
            let genesis = rlp::array(&mut items)?;
            let fork = fork_id(&mut items)?;
            let (earliest, latest) = (rlp::number(&mut items)?, rlp::number(&mut items)?);
            let hash = rlp::array(&mut items)?;
            if earliest > latest || hash == [0; 32] {
                return Err(RlpError("a range of blocks that cannot be"));
            }
            Self { version, network, genesis, fork, extent: Extent::Range { earliest, latest, hash } }
        };
        if items.is_empty() && payload.is_empty() { Ok(status) } else { Err(RlpError("more than a status")) }
    }

    /// As names and values, for people and records of crawls.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut out = vec![
            ("eth_version", self.version.to_string()),
            ("eth_network", self.network.to_string()),
            ("eth_genesis", hex::encode(self.genesis)),
            ("eth_fork", hex::encode(self.fork.hash)),
            ("eth_fork_next", self.fork.next.to_string()),
        ];
        match &self.extent {
            Extent::Head { difficulty, hash } => {
                let number = hex::encode(difficulty);
                let number = number.trim_start_matches('0');
                out.push(("eth_difficulty", format!("0x{}", if number.is_empty() { "0" } else { number })));
                out.push(("eth_head", hex::encode(hash)));
            }
            Extent::Range { earliest, latest, hash } => {
                out.push(("eth_earliest", earliest.to_string()));
                out.push(("eth_latest", latest.to_string()));
                out.push(("eth_head", hex::encode(hash)));
            }
        }
        out
    }
}

fn fork_id(items: &mut &[u8]) -> Result<ForkId, RlpError> {
    let mut fork = rlp::list(items)?;
    let (hash, next) = (rlp::array(&mut fork)?, rlp::number(&mut fork)?);
    // Further items may come with later versions of the fork id (EIP-2124).
    Ok(ForkId { hash, next })
}

#[cfg(test)]
mod tests;
