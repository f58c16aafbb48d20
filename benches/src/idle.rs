//! What a session costs that says nothing, and what is left of it: resident memory of the server's process.
//!
//! ```text
//!   50 sessions, which stay ─▶ memory A     + 400 sessions ─▶ memory B     these end, 30 s ─▶ memory C
//!   a session: (B - A) / 400        left: (C - A) / (B - A)
//! ```
//! Each session has an identity of its own, and an echo of 1 KiB has gone through it. The clients are ours for both sides, and
//! in this process, so that only one node's memory is seen.

use std::time::Duration;
use switchboard::{Env, Event, Switch, SwitchBuilder};
use switchboard_bench::EchoPlan;
use switchboard_node::kit::{BuildRequest, KeySource};
use switchboard_node::settings::Values;
use switchboard_node::wires::Kits;
use tokio::time::{sleep, timeout};

/// Sessions that are there before memory is looked at for the first time.
pub(crate) const WARM: usize = 50;
/// How long a program gets to come to rest.
const REST: Duration = Duration::from_secs(4);
/// How long a session may take to come.
const SESSION: Duration = Duration::from_secs(20);
const ECHO: EchoPlan = EchoPlan::new(1, 1_024, 1);

/// The server that is looked at.
pub(crate) struct Place<'a> {
    pub(crate) wire: &'static str,
    pub(crate) url: &'a str,
    /// Identities, on the wire that has organisations.
    pub(crate) folders: &'a [String],
    pub(crate) pid: u32,
}

/// Resident KiB.
fn resident(pid: u32) -> f64 {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kib.unwrap_or_else(|| panic!("no VmRSS in {path}"))
}

/// A session of a new identity, after one echo.
async fn session(place: &Place<'_>, n: usize) -> Switch {
    let env = Env::system().unwrap_or_else(|e| panic!("no randomness: {e}"));
    let (kind, whom) = Kits::builtin().parse(place.url).unwrap_or_else(|e| panic!("{e}"));
    debug_assert_eq!(kind.name(), place.wire);
    let key = place.folders.get(n).map_or(KeySource::Throwaway, |path| KeySource::File(path.into()));
    let values = Values::default();
    let built = kind.build(&BuildRequest::new(&values, &key, &env));
    let built = built.unwrap_or_else(|e| panic!("{}: {e}", place.wire));
    let bench = kind.bench_client();
    let (protocol, mut drivers) = bench.unwrap_or_else(|| panic!("{} has no bench", place.wire));
    let switch = SwitchBuilder::new(env).wire(built.wire).protocol(protocol).start().await;
    let switch = switch.unwrap_or_else(|e| panic!("no switch: {e}"));
    let mut events = switch.events();
    if let Err(skip) = switch.offer(whom).await {
        panic!("not dialled: {skip:?}");
    }
    let come = async {
        loop {
            tokio::select! {
                            driver = drivers.recv() => break driver,
            event = events.recv() => match event {
                                Ok(Event::DialFailed { reason, detail, .. }) => panic!("{reason}: {detail}"),
                                Ok(_) => {}
                                Err(_) => break None,
                            },
                        }
        }
    };
    let driver = timeout(SESSION, come).await.ok().flatten();
    let mut driver = driver.unwrap_or_else(|| panic!("no session {n} on {}", place.wire));
    driver.echo(ECHO).await.unwrap_or_else(|e| panic!("no echo: {e}"));
    switch
}

/// KiB a session, and the share in hundredths of what they took that is still there `wait` seconds after they ended.
pub(crate) fn measure(place: &Place<'_>, sessions: usize, wait: u64) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| panic!("no runtime: {e}"));
    runtime.block_on(async {
        let mut stay = Vec::new();
        for n in 0..WARM {
            stay.push(session(place, n).await);
        }
        sleep(REST).await;
        let before = resident(place.pid);
        let mut leave = Vec::new();
        for n in 0..sessions {
            leave.push(session(place, WARM + n).await);
        }
        sleep(REST).await;
        let most = resident(place.pid);
        for switch in leave {
            switch.stop().await;
        }
        sleep(Duration::from_secs(wait)).await;
        let after = resident(place.pid);
        for switch in stay {
            switch.stop().await;
        }
        let grown = (most - before).max(1.0);
        eprintln!("  {} KiB, {} with {sessions} more sessions, {} after they ended", before, most, after);
        vec![grown / sessions as f64, (after - before).max(0.0) * 100.0 / grown]
    })
}
