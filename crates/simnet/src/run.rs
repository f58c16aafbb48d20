//! A scenario on a runtime of its own: one thread, a paused clock, no sockets.
//!
//! A task that spins without waiting stops time for everybody; so does real IO. A scenario that waits for something that
//! can never come hangs only until the next timer, so give it one: `tokio::time::timeout` costs nothing here.

use crate::audit::Audit;
use crate::net::SimNet;

/// Prints the seed when a scenario panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed of this run: {}", self.0);
        }
    }
}

/// Runs a scenario on an empty network and gives its result and the audit. Prints the seed on a panic.
///
/// # Panics
/// When no runtime can be made.
#[expect(clippy::expect_used, reason = "a runtime without IO and threads needs nothing that can fail")]
pub fn once<T, F>(seed: u64, scenario: impl FnOnce(SimNet) -> F) -> (T, Audit)
where
    F: Future<Output = T>,
{
    let _seed = Seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime of one thread").block_on(async {
        let net = SimNet::new(seed);
        let result = scenario(net.clone()).await;
        (result, net.audit())
    })
}

/// Runs a scenario twice with one seed and checks that both runs delivered the same bytes at the same times.
///
/// # Panics
/// When they did not.
pub fn twice<T, F>(seed: u64, scenario: impl Fn(SimNet) -> F) -> (T, Audit)
where
    F: Future<Output = T>,
{
    let (_, first) = once(seed, &scenario);
    let (result, second) = once(seed, &scenario);
    assert_eq!(first, second, "two runs with seed {seed} differ");
    (result, second)
}
