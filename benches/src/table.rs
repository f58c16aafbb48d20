//! Medians, ranges and the ratio, as a table.

use crate::cases::{Case, Goal};

/// One case's figures.
pub(crate) struct Row {
    name: String,
    ours: Figures,
    theirs: Figures,
    lower_is_better: bool,
    goal: Goal,
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
    /// The rows of a case, one for each of its figures.
    pub(crate) fn all(case: &Case, ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> Vec<Self> {
        let of = |runs: &[Vec<f64>], n: usize| {
            figures(runs.iter().filter_map(|run| run.get(n).copied()).collect())
        };
        let row = |(n, figure): (usize, &crate::cases::Figure)| Self {
            name: format!("{}{} [{}]", case.name, figure.what, figure.unit),
            ours: of(ours, n),
            theirs: of(theirs, n),
            lower_is_better: figure.lower_is_better(),
            goal: figure.goal,
        };
        case.figures.iter().enumerate().map(row).collect()
    }

    /// A row of a part that is measured by itself.
    pub(crate) fn of_part(
        name: &str,
        unit: &'static str,
        target: Option<f64>,
        ours: Vec<f64>,
        theirs: Vec<f64>,
    ) -> Self {
        let goal = target.map_or(Goal::None, Goal::Ratio);
        let name = format!("{name} [{unit}]");
        Self { name, ours: figures(ours), theirs: figures(theirs), lower_is_better: unit == "kB", goal }
    }

    /// How many times better we are.
    fn ratio(&self) -> f64 {
        let (a, b) = (self.ours.median, self.theirs.median);
        if self.lower_is_better { b / a } else { a / b }
    }
}

/// `whose` heads the column of those we are compared with.
pub(crate) fn print(rows: &[Row], whose: &str) {
    println!("{:<44} {:>30} {:>30} {:>8}  goal", "case", "ours (range)", whose, "ratio");
    for row in rows {
        let show = |f: &Figures| format!("{:.1} ({:.1}..{:.1})", f.median, f.least, f.most);
        let ratio = row.ratio();
        let met = |met: bool| if met { "met" } else { "MISSED" };
        let goal = match row.goal {
            Goal::None => String::new(),
            Goal::Ratio(goal) => format!(">= {goal:.1}x {}", met(ratio >= goal)),
            Goal::AtMost(most) => format!("<= {most:.0} {}", met(row.ours.median <= most)),
        };
        println!("{:<44} {:>30} {:>30} {ratio:>7.2}x  {goal}", row.name, show(&row.ours), show(&row.theirs));
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
