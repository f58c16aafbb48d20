//! Everything a node takes from outside, in one place: the network, the wall clock and randomness.
//! Timers use the runtime's clock, which tests pause.

use crate::net::{Network, TcpNetwork};
use parking_lot::Mutex;
use rand::rngs::SysRng;
use rand::{Rng, SeedableRng, TryRng};
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Network, wall clock and random numbers; cheap to clone.
#[derive(Clone)]
pub struct Env {
    net: Arc<dyn Network>,
    wall: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    rng: Arc<Mutex<ChaCha20Rng>>,
}

impl Env {
    /// The real world: TCP sockets, the system clock, randomness seeded by the operating system.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    #[allow(clippy::disallowed_methods)] // the one place that reads the system clock
    pub fn system() -> std::io::Result<Self> {
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).map_err(std::io::Error::other)?;
        Ok(Self {
            net: Arc::new(TcpNetwork),
            wall: Arc::new(SystemTime::now),
            rng: Arc::new(Mutex::new(ChaCha20Rng::from_seed(seed))),
        })
    }

    /// A made world: the given network, a wall clock that starts at `epoch_secs` and follows the
    /// runtime's (pausable) clock, and randomness from a seed. Same seed, same run.
    #[must_use]
    pub fn seeded(net: Arc<dyn Network>, epoch_secs: u64, seed: u64) -> Self {
        let start = tokio::time::Instant::now();
        Self {
            net,
            wall: Arc::new(move || UNIX_EPOCH + Duration::from_secs(epoch_secs) + start.elapsed()),
            rng: Arc::new(Mutex::new(ChaCha20Rng::seed_from_u64(seed))),
        }
    }

    /// The same world with another network.
    #[must_use]
    pub fn with_network(mut self, net: Arc<dyn Network>) -> Self {
        self.net = net;
        self
    }

    /// The network.
    #[must_use]
    pub fn net(&self) -> &Arc<dyn Network> {
        &self.net
    }

    /// The wall clock.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        (self.wall)()
    }

    /// Fills `out` with random bytes fit for keys.
    pub fn fill(&self, out: &mut [u8]) {
        self.rng.lock().fill_bytes(out);
    }

    /// `N` random bytes fit for keys.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A random number in `0..bound` (0 when `bound` is 0).
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        let wide = u128::from(self.rng.lock().next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}
