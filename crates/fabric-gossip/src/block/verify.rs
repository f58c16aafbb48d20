//! Whether a block is what it says it is, to the level that an operator chose.
//!
//! ```text
//!   none     number
//!   hash     number, channel, data hash, transactions well-formed            and in order: previous hash
//!   signed   all of hash, and the orderers' signatures by a policy
//! ```
//! At `hash`, a block whose data are no envelopes at all, so that nothing in it names a channel, is judged by its hashes.
//! At `signed` it is refused.
//! A block is judged twice: by itself when it comes ([`Verifier::check`]), and against the block before
//! when its turn comes ([`Link::check`]). Only then are both hashes known.
//!
//! `none` and `hash` do not protect from a member that makes up blocks: anybody can compute hashes.

use super::decoded::{Block, BlockFault};
use super::hash::Hash;
use super::signatures::OrdererSigned;
use super::transaction;
use std::sync::Arc;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// The number only.
    None,
    /// Hashes too.
    Hash,
    /// Orderers' signatures too.
    #[default]
    Signed,
}

impl std::str::FromStr for Level {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "hash" => Ok(Self::Hash),
            "signed" => Ok(Self::Signed),
            _ => Err("none, hash or signed"),
        }
    }
}

/// Too few signatures that count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} of {needed} orderer signatures fit; the last that does not: {last}")]
pub struct PolicyFault {
    /// How many count.
    pub found: usize,
    /// How many must.
    pub needed: usize,
    /// What is wrong with the last one that does not (remote text, escaped).
    pub last: String,
}

/// Who must have signed a block. The host's: see [`super::OrdererPolicy`] for one over a list of organisations.
pub trait BlockPolicy: Send + Sync {
    /// Judges the signatures on a block of a channel.
    ///
    /// # Errors
    /// [`PolicyFault`].
    fn evaluate(&self, channel: &[u8], signed: &OrdererSigned) -> Result<(), PolicyFault>;
}

/// Why a block is refused. Whoever sent it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyFault {
    /// It cannot be read.
    #[error(transparent)]
    Block(#[from] BlockFault),
    /// Its number is not the one it was announced by.
    #[error("block {found} under the number {announced}")]
    Number {
        /// The number in the header.
        found: u64,
        /// The number it came with.
        announced: u64,
    },
    /// It is of another channel.
    #[error("block {0} is of another channel")]
    Channel(u64),
    /// Its transactions do not have the hash that the header says.
    #[error("block {0} does not have the data hash of its header")]
    DataHash(u64),
    /// It holds something that is no transaction, so that its data hash may be that of others.
    #[error("transaction {transaction} of block {number} is not well-formed")]
    Transaction {
        /// The block.
        number: u64,
        /// Which.
        transaction: usize,
    },
    /// It does not follow the block before.
    #[error("block {0} does not have the hash of the block before as its previous hash")]
    Chain(u64),
    /// Too few orderers signed it.
    #[error("block {number}: {fault}")]
    Policy {
        /// The block.
        number: u64,
        /// What is missing.
        fault: PolicyFault,
    },
}

/// Judges the blocks of one channel, each by itself.
#[derive(Clone)]
pub struct Verifier {
    channel: Vec<u8>,
    level: Level,
    policy: Option<Arc<dyn BlockPolicy>>,
}

impl Verifier {
    /// Checks numbers only.
    #[must_use]
    pub fn none(channel: &str) -> Self {
        Self { channel: channel.into(), level: Level::None, policy: None }
    }

    /// Checks numbers and hashes.
    #[must_use]
    pub fn hash(channel: &str) -> Self {
        Self { channel: channel.into(), level: Level::Hash, policy: None }
    }

    /// Checks numbers, hashes and signatures.
    #[must_use]
    pub fn signed(channel: &str, policy: Arc<dyn BlockPolicy>) -> Self {
        Self { channel: channel.into(), level: Level::Signed, policy: Some(policy) }
    }

    /// How much is checked.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Judges a block that came under a number, by itself.
    ///
    /// # Errors
    /// [`VerifyFault`].
    pub fn check(&self, announced: u64, block: &Block) -> Result<(), VerifyFault> {
        let number = block.number();
        if number != announced {
            return Err(VerifyFault::Number { found: number, announced });
        }
        if self.level == Level::None {
            return Ok(());
        }
        if self.level == Level::Hash && block.is_opaque() {
            let fits = block.data_hash() == block.stated_data_hash();
            return if fits { Ok(()) } else { Err(VerifyFault::DataHash(number)) };
        }
        if block.channel()? != self.channel {
            return Err(VerifyFault::Channel(number));
        }
        if block.data_hash() != block.stated_data_hash() {
            return Err(VerifyFault::DataHash(number));
        }
        let alone = block.transactions().len() == 1;
        if !(alone && block.transactions().first().is_some_and(|only| transaction::is_config(only))) {
            let bad = block.transactions().iter().position(|envelope| !transaction::is_well_formed(envelope));
            if let Some(transaction) = bad {
                return Err(VerifyFault::Transaction { number, transaction });
            }
        }
        if let Some(policy) = &self.policy {
            let signed = OrdererSigned::of(block)?;
            let judged = policy.evaluate(&self.channel, &signed);
            judged.map_err(|fault| VerifyFault::Policy { number, fault })?;
        }
        Ok(())
    }

    /// Where a chain stands whose last block has this header hash; `None` when the last block is not known.
    #[must_use]
    pub fn link(&self, next: u64, tip: Option<Hash>) -> Link {
        Link { next, tip: tip.filter(|_| self.level > Level::None) }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier({:?})", self.level)
    }
}

/// The end of a chain: what the next block must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    next: u64,
    tip: Option<Hash>,
}

impl Link {
    /// The number that comes next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes a block as the next.
    ///
    /// # Errors
    /// [`VerifyFault::Number`], [`VerifyFault::Chain`]; the end is then as it was.
    pub fn check(&mut self, block: &Block, verifier: &Verifier) -> Result<(), VerifyFault> {
        let number = block.number();
        if number != self.next {
            return Err(VerifyFault::Number { found: number, announced: self.next });
        }
        if self.tip.is_some_and(|tip| tip != block.previous_hash()) {
            return Err(VerifyFault::Chain(number));
        }
        *self = verifier.link(number.saturating_add(1), Some(block.header_hash()));
        Ok(())
    }
}
