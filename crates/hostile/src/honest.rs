//! Honest peers beside an attack, on every wire.
//!
//! ```text
//!   residents   one session a wire, up before the attack: an echo of 1 KiB every 20 ms
//!   visitors    one a wire every few hundred ms, a new identity from a network of its own: handshake, one echo, goodbye
//!   far         visitors through a proxy that delays every byte, where the trial asks for it
//! ```
//! A visitor that is not done after [`VISIT`] has failed. A resident's first failed echo is its end.

use crate::node::Node;
use crate::proxy::Proxy;
use crate::world::{World, kit};
use anyhow::{Context, bail};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use switchboard::{Candidate, Event, Switch, SwitchBuilder};
use switchboard_bench::{EchoPlan, Latencies};
use switchboard_node::kit::{BenchDriver, KeySource};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// The wires.
pub(crate) const WIRES: [&str; 3] = ["devp2p", "comet", "fabric"];
/// How long a visit may take.
const VISIT: Duration = Duration::from_secs(10);
/// How long a resident waits for an echo.
const ECHO: Duration = Duration::from_secs(10);
const ECHO_EVERY: Duration = Duration::from_millis(20);
const PLAN: EchoPlan = EchoPlan::new(1, 1_024, 1);

/// Visits of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Visits {
    pub(crate) done: usize,
    pub(crate) all: usize,
}

/// What honest peers saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Echoes before the attack.
    pub(crate) calm: Latencies,
    /// Echoes under attack.
    pub(crate) pressed: Latencies,
    /// By wire; `far` in front of those through the proxy.
    pub(crate) visits: BTreeMap<String, Visits>,
    /// Residents that lost their session, and what failed visitors heard: the first few.
    pub(crate) lost: usize,
    pub(crate) troubles: Vec<String>,
}

const TROUBLES: usize = 6;

impl Seen {
    fn trouble(&mut self, text: String) {
        if self.troubles.len() < TROUBLES {
            self.troubles.push(text);
        }
    }

    /// All visits whose kind satisfies `of`.
    pub(crate) fn visits(&self, of: impl Fn(&str) -> bool) -> Visits {
        let chosen = self.visits.iter().filter(|(kind, _)| of(kind));
        chosen.fold(Visits::default(), |sum, (_, v)| Visits { done: sum.done + v.done, all: sum.all + v.all })
    }
}

/// A session with the node that can be measured.
pub(crate) async fn session(
    world: &World,
    wire: &str,
    key: &KeySource,
    from: Ipv4Addr,
    whom: Candidate,
) -> anyhow::Result<(Switch, Box<dyn BenchDriver>)> {
    let kit = kit(wire)?;
    let built = world.build(kit, key, from)?;
    let (protocol, mut drivers) = kit.bench_client().context("the wire has no bench")?;
    let switch = SwitchBuilder::new(world.env(from)).wire(built.wire).protocol(protocol).start().await?;
    let mut events = switch.events();
    if let Err(skip) = switch.offer(whom).await {
        bail!("not dialled: {skip:?}");
    }
    let failed = async {
        loop {
            match events.recv().await {
                Ok(Event::DialFailed { reason, detail, .. }) => return format!("{reason}: {detail}"),
                Ok(Event::PeerDropped { end, .. }) => return format!("the session ended: {}", end.reason),
                Ok(_) => {}
                Err(_) => std::future::pending::<()>().await,
            }
        }
    };
    tokio::select! {
        Some(driver) = drivers.recv() => Ok((switch, driver)),
        why = failed => bail!(why),
    }
}

/// Runs honest peers until told to stop.
pub(crate) struct Honest {
    seen: Arc<Mutex<Seen>>,
    pressed: Arc<AtomicBool>,
    visiting: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    visitors: JoinSet<()>,
    world: Arc<World>,
}

async fn resident(
    mut session: (Switch, Box<dyn BenchDriver>),
    wire: &'static str,
    seen: Arc<Mutex<Seen>>,
    pressed: Arc<AtomicBool>,
) {
    let mut next = Instant::now();
    loop {
        match timeout(ECHO, session.1.echo(PLAN)).await {
            Ok(Ok(result)) => {
                let mut seen = seen.lock();
                let table = if pressed.load(Ordering::Relaxed) { &mut seen.pressed } else { &mut seen.calm };
                table.record(Duration::from_secs_f64(result.max_us / 1e6));
            }
            failed => {
                let why = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => format!("no echo within {ECHO:?}"),
                };
                let mut seen = seen.lock();
                seen.lost += 1;
                seen.pressed.record(ECHO);
                seen.trouble(format!("{wire} session: {why}"));
                return;
            }
        }
        next = (next + ECHO_EVERY).max(Instant::now());
        sleep_until(next).await;
    }
}

impl Honest {
    /// Opens the sessions that stay.
    pub(crate) async fn start(world: &Arc<World>, node: &Node) -> anyhow::Result<Self> {
        let mut honest = Self {
            seen: Arc::default(),
            pressed: Arc::default(),
            visiting: Arc::new(AtomicBool::new(true)),
            tasks: JoinSet::new(),
            visitors: JoinSet::new(),
            world: Arc::clone(world),
        };
        for (n, wire) in WIRES.into_iter().enumerate() {
            let from = Ipv4Addr::new(127, 1, n as u8, 1);
            let whom = node.candidate(wire, None)?;
            let session = timeout(VISIT, session(world, wire, &world.resident_key(wire), from, whom)).await;
            let session = session.map_err(anyhow::Error::from).flatten();
            let session = session.with_context(|| format!("no honest {wire} session"))?;
            let (seen, pressed) = (Arc::clone(&honest.seen), Arc::clone(&honest.pressed));
            honest.tasks.spawn(resident(session, wire, seen, pressed));
        }
        Ok(honest)
    }

    /// From now on echoes count as those under attack.
    pub(crate) fn press(&self) {
        self.pressed.store(true, Ordering::Relaxed);
    }

    /// Sends visitors on every wire from now on; through the proxy where given.
    pub(crate) fn visit(&mut self, node: &Node, every: Duration, via: Option<&Proxy>) -> anyhow::Result<()> {
        for (w, wire) in WIRES.into_iter().enumerate() {
            let whom = node.candidate(wire, via.map(|proxy| proxy.addr))?;
            let far = via.is_some();
            let kind = if far { format!("far {wire}") } else { wire.to_owned() };
            let (world, seen, visiting) =
                (Arc::clone(&self.world), Arc::clone(&self.seen), Arc::clone(&self.visiting));
            self.visitors.spawn(async move {
                let (mut next, mut visits) = (Instant::now() + every / 3 * w as u32, JoinSet::new());
                for n in 0.. {
                    sleep_until(next).await;
                    next += every;
                    if !visiting.load(Ordering::Relaxed) {
                        break;
                    }
                    // Those nearby and those far away must not show one identity at once.
                    let key = world.visitor_key(wire, if far { 20 + n % 20 } else { n % 20 });
                    let from = Ipv4Addr::new(127, 20 + w as u8, (n % 250) as u8, 1 + (n / 250 % 250) as u8);
                    visits.spawn(one(
                        Arc::clone(&world),
                        wire,
                        kind.clone(),
                        key,
                        from,
                        whom.clone(),
                        Arc::clone(&seen),
                    ));
                }
                while visits.join_next().await.is_some() {}
            });
        }
        Ok(())
    }

    /// Lets the visitors that are under way finish, ends the sessions, and tells what was seen.
    pub(crate) async fn finish(mut self) -> Seen {
        self.visiting.store(false, Ordering::Relaxed);
        while self.visitors.join_next().await.is_some() {}
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.seen.lock().clone()
    }
}

async fn one(
    world: Arc<World>,
    wire: &'static str,
    kind: String,
    key: KeySource,
    from: Ipv4Addr,
    whom: Candidate,
    seen: Arc<Mutex<Seen>>,
) {
    let visit = async {
        let (switch, mut driver) = session(&world, wire, &key, from, whom).await?;
        driver.echo(PLAN).await?;
        switch.stop().await;
        anyhow::Ok(())
    };
    let done = timeout(VISIT, visit).await.unwrap_or_else(|_| bail!("not done within {VISIT:?}"));
    let mut seen = seen.lock();
    let visits = seen.visits.entry(kind.clone()).or_default();
    visits.all += 1;
    match done {
        Ok(()) => visits.done += 1,
        Err(error) => seen.trouble(format!("{kind} visitor: {error}")),
    }
}
