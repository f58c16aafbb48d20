//! Families as text. OpenMetrics is written by the library; Prometheus' older text is the same but for the names that
//! counters have in their descriptions, and the end.

use super::{Family, Form, Sample};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

#[derive(Debug)]
struct Gathered(Vec<Family>);

impl Collector for Gathered {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let form = match family.form {
                Form::Counter => MetricType::Counter,
                Form::Gauge => MetricType::Gauge,
                Form::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(&family.name, &family.help, None, form)?;
            for (labels, sample) in &family.points {
                if labels.is_empty() {
                    put(&mut metric, family.form, sample)?;
                } else {
                    put(&mut metric.encode_family(labels)?, family.form, sample)?;
                }
            }
        }
        Ok(())
    }
}

fn put(metric: &mut MetricEncoder<'_>, form: Form, sample: &Sample) -> fmt::Result {
    match (form, sample) {
        (Form::Counter, Sample::Number(value)) => metric.encode_counter::<NoLabelSet, _, f64>(value, None),
        (_, Sample::Number(value)) => metric.encode_gauge(value),
        (_, Sample::Histogram(sum, buckets)) => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        }
    }
}

pub(super) fn write(families: Vec<Family>, open: bool) -> Result<String, fmt::Error> {
    let counters: std::collections::BTreeSet<String> =
        families.iter().filter(|f| f.form == Form::Counter).map(|f| f.name.clone()).collect();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Gathered(families)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    if open {
        return Ok(text);
    }
    let mut plain = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let described = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        match described.and_then(|rest| rest.split_once(' ')).filter(|(name, _)| counters.contains(*name)) {
            Some((name, rest)) => {
                let word = if line.starts_with("# HELP") { "HELP" } else { "TYPE" };
                plain.push_str(&format!("# {word} {name}_total {rest}"));
            }
            None => plain.push_str(line),
        }
        plain.push('\n');
    }
    Ok(plain)
}
