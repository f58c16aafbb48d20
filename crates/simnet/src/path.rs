//! One direction between two hosts: when bytes arrive, and what a cut does to them.
//!
//! ```text
//!   departure = max(now, end of the last departure) + length ÷ bandwidth
//!   arrival   = departure + latency + jitter + retransmissions
//! ```
//!
//! Across a cut nothing arrives. What was on its way, and what is written meanwhile, stays in the
//! connection's buffer and departs anew when the cut heals. What had arrived before stays readable.

use crate::link::Link;
use crate::pipe::Pipe;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often one segment may be lost in a row.
const MOST_LOSSES: u32 = 6;

pub(crate) struct Path {
    pub(crate) state: Mutex<State>,
    /// Told when a cut heals.
    healed: Notify,
}

/// Locked before any pipe of the path.
pub(crate) struct State {
    pub(crate) link: Link,
    cut: bool,
    /// When the last departure ends.
    free_at: Option<Instant>,
    random: ChaCha8Rng,
    pipes: Vec<Weak<Pipe>>,
}

impl Path {
    pub(crate) fn new(seed: u64, from: IpAddr, to: IpAddr, link: Link, cut: bool) -> Self {
        let text = format!("{seed} {from} {to}");
        let random = ChaCha8Rng::from_seed(Sha256::digest(text.as_bytes()).into());
        let state = State { link, cut, free_at: None, random, pipes: Vec::new() };
        Self { state: Mutex::new(state), healed: Notify::new() }
    }

    pub(crate) fn set_link(&self, link: Link) {
        self.state.lock().link = link;
    }

    pub(crate) fn add(&self, pipe: &Arc<Pipe>) {
        let mut state = self.state.lock();
        state.pipes.retain(|pipe| pipe.strong_count() > 0);
        state.pipes.push(Arc::downgrade(pipe));
    }

    pub(crate) fn pipes(&self) -> Vec<Arc<Pipe>> {
        self.state.lock().pipes.iter().filter_map(Weak::upgrade).collect()
    }

    /// Stops everything under way.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock();
        state.cut = true;
        let now = Instant::now();
        state.pipes.iter().filter_map(Weak::upgrade).for_each(|pipe| pipe.hold(now));
    }

    /// Lets everything that waits depart again, in its old order.
    pub(crate) fn heal(&self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.state.lock();
            if !state.cut {
                return;
            }
            state.cut = false;
            state.free_at = None;
            let pipes: Vec<_> = state.pipes.iter().filter_map(Weak::upgrade).collect();
            for pipe in pipes {
                wakers.extend(pipe.release(&mut state));
            }
        }
        wakers.into_iter().for_each(Waker::wake);
        self.healed.notify_waiters();
    }

    /// When a datagram sent now arrives: never across a cut or when it is lost, twice when it is duplicated. Each arrival
    /// has its own jitter, so datagrams overtake one another.
    pub(crate) fn datagram(&self, len: usize, now: Instant) -> impl Iterator<Item = Instant> + use<> {
        let mut state = self.state.lock();
        let link = state.link;
        let lost = state.cut || state.chance(link.loss);
        let copies = if lost { 0 } else { 1 + usize::from(state.chance(link.duplicate)) };
        let arrivals: [Option<Instant>; 2] =
            std::array::from_fn(|copy| (copy < copies).then(|| state.travel(len, now)));
        arrivals.into_iter().flatten()
    }

    /// Waits for a small packet to cross, however long that takes.
    pub(crate) async fn cross(&self) {
        loop {
            let mut healed = std::pin::pin!(self.healed.notified());
            healed.as_mut().enable();
            let arrival = self.state.lock().arrival(0, Instant::now());
            match arrival {
                Some(at) => return tokio::time::sleep_until(at).await,
                None => healed.await,
            }
        }
    }
}

impl State {
    /// When `len` bytes sent now arrive; `None` across a cut.
    pub(crate) fn arrival(&mut self, len: usize, now: Instant) -> Option<Instant> {
        if self.cut {
            return None;
        }
        let mut at = self.travel(len, now);
        if self.link.loss > 0 {
            let mut wait = self.link.retransmission();
            for _ in 0..MOST_LOSSES {
                if self.below(1_000_000) >= u64::from(self.link.loss) {
                    break;
                }
                at += wait;
                wait *= 2;
            }
        }
        Some(at)
    }

    /// Whether something happens that does so `per_million` times of a million.
    fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// When `len` bytes sent now arrive if nothing is lost.
    fn travel(&mut self, len: usize, now: Instant) -> Instant {
        let mut at = self.free_at.map_or(now, |free| free.max(now));
        if let Some(bandwidth) = self.link.bandwidth {
            let nanos = len as u128 * 1_000_000_000 / u128::from(bandwidth);
            at += Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        }
        self.free_at = Some(at);
        at += self.link.latency;
        let jitter = self.link.jitter.as_nanos() as u64;
        if jitter > 0 {
            at += Duration::from_nanos(self.below(jitter));
        }
        at
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.random.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}
