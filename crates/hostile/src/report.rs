//! What is printed: one table, or one JSON object an attack.
//!
//! ```text
//!   attack  honest  p50  p99  (calm p99)  memory: before → most  CPU s  files  ready s  stop s  verdict
//! ```

use crate::attacks::Attack;
use crate::honest::Visits;
use crate::node::Ended;
use crate::vitals::Vitals;
use serde_json::json;
use std::io::Write;
use std::time::Duration;
use switchboard::text::printable;

/// What was measured beside an attack.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) visits: Visits,
    pub(crate) calm_p99_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) echoes: u64,
    pub(crate) vitals: Vitals,
    pub(crate) stop: Ended,
    pub(crate) ready: Duration,
}

/// A figure and its bound.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) value: String,
    pub(crate) bound: String,
    pub(crate) holds: bool,
}

/// What came of one attack.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) name: &'static str,
    figures: Option<Figures>,
    checks: Vec<Check>,
    pub(crate) notes: Vec<String>,
    skipped: bool,
}

impl Report {
    pub(crate) fn new(figures: Figures) -> Self {
        Self { name: "", figures: Some(figures), checks: Vec::new(), notes: Vec::new(), skipped: false }
    }

    /// An attack that could not be tried to its end.
    pub(crate) fn failed(error: &anyhow::Error) -> Self {
        let mut report = Self::skipped(String::new());
        (report.skipped, report.notes) = (false, Vec::new());
        report.check("the trial", printable(&format!("{error:#}")), "runs to its end".to_owned(), false);
        report
    }

    /// An attack this machine does not allow; that breaks no bound.
    pub(crate) fn skipped(why: String) -> Self {
        Self { name: "", figures: None, checks: Vec::new(), notes: vec![why], skipped: true }
    }

    pub(crate) fn check(&mut self, what: &str, value: String, bound: String, holds: bool) {
        self.checks.push(Check { what: what.to_owned(), value, bound, holds });
    }

    /// A time and its bound in seconds.
    pub(crate) fn seconds(&mut self, what: &str, value: Duration, most: f64) {
        let value = value.as_secs_f64();
        self.check(what, format!("{value:.2} s"), format!("≤ {most} s"), value <= most);
    }

    /// A number and its bound.
    pub(crate) fn most(&mut self, what: &str, value: usize, most: usize) {
        self.check(what, value.to_string(), format!("≤ {most}"), value <= most);
    }

    /// Bytes and their bound.
    pub(crate) fn bytes(&mut self, what: &str, value: u64, most: u64) {
        self.check(what, mib(value), format!("≤ {}", mib(most)), value <= most);
    }

    /// What must be.
    pub(crate) fn must(&mut self, what: &str, is: bool) {
        self.check(what, is.to_string(), "true".to_owned(), is);
    }

    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Prints an attack as JSON.
pub(crate) fn json(report: &Report) -> anyhow::Result<()> {
    let checks: Vec<_> = report
        .checks
        .iter()
        .map(|c| json!({"what": c.what, "value": c.value, "bound": c.bound, "holds": c.holds}))
        .collect();
    let mut value = json!({"event": "attack", "name": report.name, "holds": report.holds(),
        "skipped": report.skipped, "checks": checks, "notes": report.notes});
    if let (Some(f), Some(fields)) = (&report.figures, value.as_object_mut()) {
        let figures = json!({"visits_done": f.visits.done, "visits": f.visits.all, "echoes": f.echoes,
            "calm_p99_ms": f.calm_p99_ms, "p50_ms": f.p50_ms, "p99_ms": f.p99_ms,
            "rss_before": f.vitals.rss_before, "rss_peak": f.vitals.rss_peak, "cpu_s": f.vitals.cpu,
            "files_peak": f.vitals.files_peak, "ready_s": f.ready.as_secs_f64(),
            "stop_s": f.stop.after.as_secs_f64(), "exit_code": f.stop.code});
        fields.insert("figures".to_owned(), figures);
    }
    writeln!(std::io::stdout(), "{value}")?;
    Ok(())
}

const HEAD: [&str; 11] = [
    "attack", "honest", "p50 ms", "p99 ms", "calm p99", "RSS MiB", "CPU s", "files", "ready s", "stop s",
    "verdict",
];

fn row(report: &Report) -> [String; 11] {
    let verdict = match (report.skipped, report.holds()) {
        (true, _) => "skipped".to_owned(),
        (false, true) => "holds".to_owned(),
        (false, false) => "BROKEN".to_owned(),
    };
    let Some(f) = &report.figures else {
        let mut row: [String; 11] = std::array::from_fn(|_| "-".to_owned());
        (row[0], row[10]) = (report.name.to_owned(), verdict);
        return row;
    };
    let whole = |bytes: u64| bytes >> 20;
    [
        report.name.to_owned(),
        format!("{}/{}", f.visits.done, f.visits.all),
        format!("{:.2}", f.p50_ms),
        format!("{:.1}", f.p99_ms),
        format!("{:.1}", f.calm_p99_ms),
        format!("{} → {}", whole(f.vitals.rss_before), whole(f.vitals.rss_peak)),
        format!("{:.2}", f.vitals.cpu),
        f.vitals.files_peak.to_string(),
        format!("{:.2}", f.ready.as_secs_f64()),
        format!("{:.2}", f.stop.after.as_secs_f64()),
        verdict,
    ]
}

/// Prints the table, and below it every bound and what it was compared with.
pub(crate) fn table(reports: &[Report]) -> anyhow::Result<()> {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(reports.iter().map(row));
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let widths: [usize; 11] = std::array::from_fn(width);
    let mut out = std::io::stdout().lock();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    writeln!(out)?;
    for report in reports {
        for check in &report.checks {
            let mark = if check.holds { "ok    " } else { "BROKEN" };
            writeln!(out, "{mark} {:<10} {}: {} ({})", report.name, check.what, check.value, check.bound)?;
        }
        for note in &report.notes {
            writeln!(out, "       {:<10} {}", report.name, printable(note))?;
        }
    }
    Ok(())
}

/// Prints what there is.
pub(crate) fn list(attacks: &[Attack]) -> anyhow::Result<bool> {
    for attack in attacks {
        writeln!(std::io::stdout(), "{:<10} {}", attack.name, attack.what)?;
    }
    Ok(true)
}
