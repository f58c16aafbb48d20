//! What `/metrics` tells: every name and label stands in `docs/metrics.md`.
//!
//! ```text
//!   Switch::census, figures of services, the process ─▶ families ─▶ text (OpenMetrics, or Prometheus' own)
//! ```
//! Everything is gathered when somebody asks; between two scrapes nothing is done but what the sessions count anyway.
//! Labels are words of this program and its configuration (wires, protocols, channels, reasons, services); never a peer,
//! an address, or anything a stranger said.

mod gather;
mod lag;
mod native;
mod process;
mod text;

use crate::control::Control;
use std::fmt;
use std::str::FromStr;

pub use lag::Lag;

/// The content type of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of Prometheus' own text.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Which names metrics have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// Ours.
    #[default]
    Own,
    /// Ours, and beside them those that operators of geth, CometBFT and Fabric know.
    Native,
}

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "own" => Ok(Self::Own),
            "native" => Ok(Self::Native),
            _ => Err(format!("{text:?} is no kind of names: use own or native")),
        }
    }
}

/// What a family's numbers may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Counter,
    Gauge,
    Histogram,
}

/// A number, or how often something took how long.
#[derive(Debug, Clone)]
pub(crate) enum Sample {
    Number(f64),
    /// Sum, and (upper bound, count) of each bucket, the last without a bound.
    Histogram(f64, Vec<(f64, u64)>),
}

pub(crate) type Labels = Vec<(&'static str, String)>;

/// Numbers of one name.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    /// Without the suffix of a counter.
    name: String,
    help: String,
    form: Form,
    points: Vec<(Labels, Sample)>,
}

impl Family {
    pub(crate) fn new(form: Form, name: &str, help: &str) -> Self {
        Self { name: name.to_owned(), help: help.to_owned(), form, points: Vec::new() }
    }

    pub(crate) fn add(&mut self, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.points.push((labels, Sample::Number(value)));
    }

    /// One number without labels.
    pub(crate) fn one(form: Form, name: &str, help: &str, value: f64) -> Self {
        let mut family = Self::new(form, name, help);
        family.add(&[], value);
        family
    }
}

/// Everything that is told now, as text.
///
/// # Errors
/// Never, but for the writer's form.
pub(crate) async fn scrape(
    control: &dyn Control,
    lag: &Lag,
    names: Names,
    open: bool,
) -> Result<String, fmt::Error> {
    let mut families = gather::all(control, lag).await;
    if names == Names::Native {
        families.extend(native::all(&families));
    }
    families.retain(|family| !family.points.is_empty());
    text::write(families, open)
}

#[cfg(test)]
mod tests;
