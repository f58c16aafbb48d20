//! Medians, ranges and the ratio, as a table.

use crate::cases::Case;

/// One case's figures.
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    ours: Figures,
    theirs: Figures,
    lower_is_better: bool,
    target: Option<f64>,
}

struct Figures {
    median: f64,
    least: f64,
    most: f64,
}

fn figures(mut runs: Vec<f64>) -> Figures {
    runs.sort_by(f64::total_cmp);
    let at = |i: usize| runs.get(i).copied().unwrap_or(f64::NAN);
    let last = runs.len().saturating_sub(1);
    Figures { median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, least: at(0), most: at(last) }
}

impl Row {
    pub(crate) fn new(case: &Case, ours: Vec<f64>, theirs: Vec<f64>) -> Self {
        Self {
            name: case.name.clone(),
            unit: case.unit,
            ours: figures(ours),
            theirs: figures(theirs),
            lower_is_better: case.lower_is_better,
            target: case.target,
        }
    }

    /// A row of a part that is measured by itself.
    pub(crate) fn of_part(
        name: &str,
        unit: &'static str,
        target: Option<f64>,
        ours: Vec<f64>,
        theirs: Vec<f64>,
    ) -> Self {
        let lower_is_better = unit == "kB";
        let (ours, theirs) = (figures(ours), figures(theirs));
        Self { name: name.to_owned(), unit, ours, theirs, lower_is_better, target }
    }

    /// How many times better we are.
    fn ratio(&self) -> f64 {
        let (a, b) = (self.ours.median, self.theirs.median);
        if self.lower_is_better { b / a } else { a / b }
    }
}

pub(crate) fn print(rows: &[Row]) {
    println!("{:<44} {:>30} {:>30} {:>8}  target", "case", "ours (range)", "Go (range)", "ratio");
    for row in rows {
        let show = |f: &Figures| format!("{:.1} ({:.1}..{:.1})", f.median, f.least, f.most);
        let ratio = row.ratio();
        let target = row
            .target
            .map_or(String::new(), |t| format!(">= {t:.1}x {}", if ratio >= t { "met" } else { "MISSED" }));
        let name = format!("{} [{}]", row.name, row.unit);
        println!("{name:<44} {:>30} {:>30} {ratio:>7.2}x  {target}", show(&row.ours), show(&row.theirs));
    }
}

/// What no protocol can pass with one message in flight.
pub(crate) fn print_limit(bare: Vec<f64>) {
    let f = figures(bare);
    let us = 1e6 / f.median;
    println!();
    println!(
        "bare TCP, 1 KiB, 1 in flight: {:.1}/s ({:.1}..{:.1}), {us:.1} us each: the most this machine gives, as it is now",
        f.median, f.least, f.most
    );
}
