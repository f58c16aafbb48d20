//! One attack from start to end, and what is judged of every attack.
//!
//! ```text
//!   begin    node, honest sessions, a calm moment
//!   press    visitors come; what follows counts as under attack
//!   finish   visitors finish, SIGTERM, figures ─▶ Report: honest ≥ 99 %, no session lost, echoes, stop ≤ 2 s, no panic
//! ```

use crate::attacks::Attack;
use crate::honest::{Honest, Seen};
use crate::node::{Ended, Launch, Node};
use crate::proxy::Proxy;
use crate::report::{Figures, Report};
use crate::vitals::{Vitals, Watch};
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Most time an attack may take, with everything around it.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);
/// How long a node may take to stop (issue: "stop within 2 s whatever the terminal does").
pub(crate) const STOP: f64 = 2.0;
/// Share of honest visits that must succeed.
pub(crate) const HONEST: f64 = 0.99;
/// Bytes one stranger may make the node hold (`Limits::bytes_per_peer`), with 10 %.
pub(crate) const PER_STRANGER: u64 = (64 << 20) / 10 * 11;
/// Bytes all strangers together may make the node hold (`Limits::bytes_total`), with 10 %.
pub(crate) const LEDGER: u64 = (1 << 30) / 10 * 11;
/// Growth that has other causes: honest visitors, the allocator.
pub(crate) const NOISE: u64 = 24 << 20;

/// A running trial.
pub(crate) struct Trial {
    pub(crate) world: Arc<World>,
    pub(crate) node: Node,
    pub(crate) launch: Launch,
    honest: Honest,
    watch: Watch,
}

/// Runs an attack within its time.
pub(crate) async fn run(attack: &Attack, world: &Arc<World>) -> Report {
    let done = timeout(LIMIT, (attack.run)(world)).await;
    let done = done.unwrap_or_else(|_| Err(anyhow::anyhow!("not done within {LIMIT:?}")));
    let mut report = done.unwrap_or_else(|error| Report::failed(&error));
    report.name = attack.name;
    report
}

impl Trial {
    /// Starts a node and its honest peers, and lets them run for a moment.
    pub(crate) async fn begin(world: &Arc<World>, launch: Launch) -> anyhow::Result<Self> {
        let node = Node::start(world, &launch).await?;
        let honest = Honest::start(world, &node).await?;
        sleep(if world.short { Duration::from_millis(300) } else { Duration::from_secs(2) }).await;
        let watch = Watch::start(node.pid());
        Ok(Self { world: Arc::clone(world), node, launch, honest, watch })
    }

    fn every(&self) -> Duration {
        Duration::from_millis(if self.world.short { 250 } else { 400 })
    }

    /// The attack begins: visitors come from now on.
    pub(crate) fn press(&mut self) -> anyhow::Result<()> {
        self.honest.press();
        self.honest.visit(&self.node, self.every(), None)
    }

    /// Visitors through a proxy, too.
    pub(crate) fn press_far(&mut self, via: &Proxy) -> anyhow::Result<()> {
        self.honest.visit(&self.node, self.every(), Some(via))
    }

    /// What the node takes.
    pub(crate) fn vitals(&self) -> Vitals {
        self.watch.vitals()
    }

    /// Ends the trial; all visits count.
    pub(crate) async fn finish(self) -> anyhow::Result<Report> {
        self.finish_judging(|_| true).await
    }

    /// Ends the trial; only visits of kinds that satisfy `judged` count.
    pub(crate) async fn finish_judging(mut self, judged: impl Fn(&str) -> bool) -> anyhow::Result<Report> {
        let seen = self.honest.finish().await;
        let runs = self.node.runs();
        let panicked = self.node.panicked();
        let vitals = self.watch.vitals();
        let stop = self.node.stop().await?;
        let mut report = Report::new(figures(&seen, vitals, stop, self.node.ready_after));
        let visits = seen.visits(&judged);
        let share = visits.done as f64 / visits.all.max(1) as f64;
        report.check(
            "honest visitors",
            format!("{}/{}", visits.done, visits.all),
            format!("≥ {:.0} %", HONEST * 100.0),
            visits.all > 0 && share >= HONEST,
        );
        report.check("sessions lost", seen.lost.to_string(), "0".to_owned(), seen.lost == 0);
        let p99 = seen.pressed.percentile_us(0.99) / 1e3;
        let most = self.world.latency.as_secs_f64() * 1e3;
        report.check("echo p99", format!("{p99:.1} ms"), format!("≤ {most:.0} ms"), p99 <= most);
        report.seconds("stop", stop.after, STOP * self.world.slack);
        report.check("runs to the end", runs.to_string(), "true".to_owned(), runs);
        if let Some(line) = panicked {
            report.check("panics", line, "none".to_owned(), false);
        }
        report.notes.extend(seen.troubles);
        Ok(report)
    }
}

fn figures(seen: &Seen, vitals: Vitals, stop: Ended, ready: Duration) -> Figures {
    Figures {
        visits: seen.visits(|_| true),
        calm_p99_ms: seen.calm.percentile_us(0.99) / 1e3,
        p50_ms: seen.pressed.percentile_us(0.5) / 1e3,
        p99_ms: seen.pressed.percentile_us(0.99) / 1e3,
        echoes: seen.pressed.count(),
        vitals,
        stop,
        ready,
    }
}
