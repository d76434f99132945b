//! Prometheus' text format of old, version 0.0.4, which every scraper and `promtool check metrics` read. Pure.

use std::fmt::Write;

use crate::metrics::{Family, Histogram, Labels, Value};
use crate::metrics_page::full_name;

/// The page.
#[must_use]
pub fn page(families: &[Family]) -> String {
    let mut out = String::new();
    for family in families {
        // Writing into a String cannot fail.
        let _ = write_family(&mut out, family);
    }
    out
}

fn write_family(out: &mut String, family: &Family) -> std::fmt::Result {
    let (suffix, kind) = match family.rows.first() {
        Some((_, Value::Counter(_) | Value::Spent(_))) => ("_total", "counter"),
        Some((_, Value::Gauge(_))) => ("", "gauge"),
        Some((_, Value::Histogram(_))) => ("", "histogram"),
        None => return Ok(()),
    };
    let name = format!("{}{suffix}", full_name(family));
    writeln!(out, "# HELP {name} {}.", family.help)?;
    writeln!(out, "# TYPE {name} {kind}")?;
    for (labels, value) in &family.rows {
        match value {
            Value::Counter(count) => writeln!(out, "{name}{} {count}", spelled(labels, None))?,
            Value::Spent(value) | Value::Gauge(value) => {
                writeln!(out, "{name}{} {value}", spelled(labels, None))?;
            }
            Value::Histogram(histogram) => write_histogram(out, &name, labels, histogram)?,
        }
    }
    Ok(())
}

fn write_histogram(
    out: &mut String,
    name: &str,
    labels: &Labels,
    histogram: &Histogram,
) -> std::fmt::Result {
    let Histogram { count, sum, classic, sparse: _ } = histogram;
    let mut below = 0;
    for (bound, within) in classic {
        below += within;
        let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
        writeln!(out, "{name}_bucket{} {below}", spelled(labels, Some(&bound)))?;
    }
    writeln!(out, "{name}_sum{} {sum}", spelled(labels, None))?;
    writeln!(out, "{name}_count{} {count}", spelled(labels, None))
}

fn spelled(labels: &Labels, bound: Option<&str>) -> String {
    let named = labels.iter().map(|(name, value)| (*name, value.as_str()));
    let all = named.chain(bound.map(|bound| ("le", bound)));
    let all: Vec<String> =
        all.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
