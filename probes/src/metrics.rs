//! The metrics as values: families of rows, put together by what they are about and then spelled as Prometheus or OTLP have
//! it. Pure. A label's value is a claim's, a class's or out of a closed enum; never a path, a process or a Pod's (which would
//! never end), but for [`crate::metrics_volume`]'s one info row.

use terrace_probe_abi::layout::OperationFigures;

use crate::metrics_histogram::{classic, exponential, seconds, total};
use crate::metrics_view::View;
use crate::{metrics_alias, metrics_node, metrics_self, metrics_volume};

/// A family's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    None,
    /// Time.
    Seconds,
    /// Time, in a unit that Prometheus advises against: only for names that were asked for.
    Milliseconds,
    /// Data.
    Bytes,
    /// A share from 0 to 1.
    Ratio,
}

/// Names and values.
pub type Labels = Vec<(&'static str, String)>;

/// A histogram, in both forms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Operations.
    pub count: u64,
    /// Sum of what was measured, in the family's unit.
    pub sum: f64,
    /// (upper bound, operations in it alone).
    pub classic: Vec<(f64, u64)>,
    /// (index, operations), see [`crate::metrics_histogram`]; empty: has no such form.
    pub sparse: Vec<(i32, u64)>,
}

impl Histogram {
    /// Durations, in seconds.
    #[must_use]
    pub fn of(figures: &OperationFigures) -> Self {
        Self {
            count: total(figures),
            sum: seconds(figures.sum_ns),
            classic: classic(figures),
            sparse: exponential(figures),
        }
    }
}

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Only grows.
    Counter(u64),
    /// Only grows, and is no whole number.
    Spent(f64),
    /// Comes and goes.
    Gauge(f64),
    /// A distribution.
    Histogram(Histogram),
}

/// Rows of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// As Prometheus calls it, without `_total` and unit, which it gets on the way out.
    pub name: &'static str,
    /// As OTLP calls it; empty: goes by Prometheus' name with dots.
    pub otel: &'static str,
    /// What it is, as a sentence without its full stop.
    pub help: &'static str,
    /// Unit.
    pub unit: Unit,
    /// The rows.
    pub rows: Vec<(Labels, Value)>,
}

/// Every family that has a row.
#[must_use]
pub fn families(view: &View) -> Vec<Family> {
    let mut all = metrics_volume::families(view);
    all.extend(metrics_node::families(view));
    all.extend(metrics_self::families(view));
    all.extend(metrics_alias::families(view));
    all.retain(|family| !family.rows.is_empty());
    all
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(crate) mod tests;
