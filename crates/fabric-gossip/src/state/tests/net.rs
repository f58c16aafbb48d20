//! A virtual network of state transfers: messages take time, stores take time, everything follows from a seed.

use crate::block::{Block, Verifier};
use crate::ledger::{BlockStore, Commit, MemoryLedger};
use crate::signed::SignedMessage;
use crate::state::{Action, Input, Options, Refused, StateTransfer, answer};
use crate::types::{Channel, Now, PkiId, StreamId};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) fn id(n: usize) -> PkiId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    PkiId(id)
}

fn place(id: PkiId) -> usize {
    u64::from_be_bytes(*id.0.first_chunk().unwrap()) as usize
}

/// How a node treats those who ask it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// States heights and never answers.
    Silent,
    /// Answers with blocks of another chain.
    Forger,
}

pub(crate) struct Node {
    pub(crate) state: StateTransfer,
    pub(crate) store: MemoryLedger,
    pub(crate) manner: Manner,
    pub(crate) refused: Vec<Refused>,
}

enum Happening {
    Message { from: usize, message: SignedMessage },
    Committed,
    Tick,
}

pub(crate) struct Net {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Duration,
    queue: BTreeMap<(Duration, u64), (usize, Happening)>,
    count: u64,
    rng: ChaCha20Rng,
    /// One way, at least; by chance up to a half more.
    pub(crate) latency: Duration,
    /// A commit, however many blocks it has.
    pub(crate) commit: Duration,
    pub(crate) messages: u64,
    forged: Vec<Block>,
}

impl Net {
    pub(crate) fn new(seed: u64, latency: Duration, forged: Vec<Block>) -> Self {
        Self {
            nodes: Vec::new(),
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            count: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
            latency,
            commit: Duration::from_millis(2),
            messages: 0,
            forged,
        }
    }

    pub(crate) fn add(&mut self, blocks: &[Block], manner: Manner, options: Options, verifier: Verifier) {
        let store = MemoryLedger::default();
        let commits: Vec<_> = blocks.iter().cloned().map(Commit::of).collect();
        store.append(&commits).unwrap();
        let channel = Channel::parse(b"mychannel").unwrap();
        let state = StateTransfer::new(channel, options, verifier, store.height(), store.tip());
        self.nodes.push(Node { state, store, manner, refused: Vec::new() });
    }

    /// Everybody hears everybody's height.
    pub(crate) fn heights(&mut self) {
        for node in 0..self.nodes.len() {
            for other in (0..self.nodes.len()).filter(|other| *other != node) {
                let lies = self.nodes[other].manner != Manner::Honest;
                let height = if lies { u64::MAX } else { self.nodes[other].store.height() };
                self.give(node, Input::Peer { pki_id: id(other), height });
            }
        }
    }

    fn later(&mut self, after: Duration, node: usize, what: Happening) {
        self.count += 1;
        self.queue.insert((self.now + after, self.count), (node, what));
    }

    pub(crate) fn give(&mut self, node: usize, input: Input) {
        let now = Now { mono: self.now, wall: 0 };
        let mut actions = Vec::new();
        self.nodes[node].state.handle(input, now, &mut self.rng, &mut actions);
        for action in actions {
            self.act(node, action);
        }
        if let Some(at) = self.nodes[node].state.deadline(now) {
            self.later(at.saturating_sub(self.now).max(Duration::from_millis(1)), node, Happening::Tick);
        }
    }

    fn send(&mut self, from: usize, to: PkiId, message: SignedMessage) {
        self.messages += 1;
        let jitter = self.rng.next_u64() % (self.latency.as_micros() as u64 / 2 + 1);
        let after = self.latency + Duration::from_micros(jitter);
        // Decoded anew, as if it had come by wire.
        let message = SignedMessage::decode(message.bytes()).unwrap();
        self.later(after, place(to), Happening::Message { from, message });
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Send { to, message } | Action::Respond { to, message, .. } => {
                self.send(node, to, message)
            }
            Action::Serve(serve) => {
                let channel = Channel::parse(b"mychannel").unwrap();
                match self.nodes[node].manner {
                    Manner::Honest => {
                        let made = answer(&channel, &serve, &self.nodes[node].store, |_| true).unwrap();
                        self.send(node, serve.to, made);
                    }
                    Manner::Silent => {}
                    Manner::Forger => {
                        let forged = MemoryLedger::default();
                        let commits: Vec<_> = self.forged.iter().cloned().map(Commit::of).collect();
                        forged.append(&commits).unwrap();
                        let made = answer(&channel, &serve, &forged, |_| true).unwrap();
                        self.send(node, serve.to, made);
                    }
                }
                self.give(node, Input::Served);
            }
            Action::Commit(ready) => {
                let commits: Vec<_> = ready.into_iter().map(|ready| Commit::of(ready.block)).collect();
                self.nodes[node].store.append(&commits).unwrap();
                self.later(self.commit, node, Happening::Committed);
            }
            Action::Refused { why, .. } => self.nodes[node].refused.push(why),
            Action::Height(_) | Action::Room | Action::Straggler { .. } | Action::Stalled { .. } => {}
        }
    }

    /// Runs until a node has a height, or until a time; gives whether it has.
    pub(crate) fn run(&mut self, node: usize, height: u64, until: Duration) -> bool {
        while self.nodes[node].state.height() < height {
            let Some((at, (to, what))) = self.queue.pop_first() else { return false };
            self.now = at.0;
            if self.now > until {
                return false;
            }
            match what {
                Happening::Message { from, message } => {
                    let (from, stream) = (id(from), StreamId(from as u64));
                    self.give(to, Input::Message { from, stream, message, reader: true });
                }
                Happening::Committed => self.give(to, Input::Committed),
                Happening::Tick => {
                    // Only the next deadline matters: the others are of the past.
                    let now = Now { mono: self.now, wall: 0 };
                    if self.nodes[to].state.deadline(now).is_some_and(|at| at <= self.now) {
                        self.give(to, Input::Tick);
                    }
                }
            }
        }
        true
    }
}
