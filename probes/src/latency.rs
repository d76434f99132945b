//! Whether a volume's latency is high: a threshold to enter, a lower one to leave, and dwell on both sides, judged on windows
//! of five seconds. Pure: a window in, a verdict out. It may not read a clock nor tell anybody.

use std::time::Duration;

use terrace_probe_abi::layout::{Operation, OperationFigures};

use crate::quantile::{Quantile, above, count, quantile};

/// How long a window is.
pub const WINDOW: Duration = Duration::from_secs(5);
/// What a volume without a target of its own is held to.
pub const DEFAULT_TARGET_NS: u64 = 10_000_000;
/// From here on slow is critical.
pub const DEFAULT_CRITICAL_NS: u64 = 100_000_000;

/// When latency turns high and when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Windows in a row above the target until it is high.
    pub enter_windows: u32,
    /// Windows in a row below [`Rule::leave_percent`] of it, or without an operation, until it is over.
    pub leave_windows: u32,
    /// What a window must hold to be believed: one slow operation of three is no p99.
    pub least_operations: u64,
    /// Share of the target below which a window counts as good.
    pub leave_percent: u64,
}

impl Default for Rule {
    fn default() -> Self {
        Self { enter_windows: 2, leave_windows: 4, least_operations: 20, leave_percent: 80 }
    }
}

/// One operation of a volume that was measured against the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Which.
    pub operation: Operation,
    /// Its p99 in the window, in nanoseconds.
    pub p99_ns: u64,
    /// Share of its operations above the target, from 0 to 1.
    pub slow_share: f64,
}

/// What a window says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sign {
    /// The worst operation is above the target, and there is enough of it.
    Bad(Measured),
    /// Neither: between the thresholds, or slow but too few.
    Between(Measured),
    /// All are well below.
    Good(Measured),
    /// Nothing was done.
    Idle,
}

/// Reads a window against a target.
#[must_use]
pub fn read_window(
    window: &[(Operation, &OperationFigures)],
    length: Duration,
    target_ns: u64,
    rule: &Rule,
) -> Sign {
    let measured: Vec<(Measured, bool)> = window
        .iter()
        .filter_map(|(operation, figures)| measure(*operation, figures, length, target_ns, rule))
        .collect();
    let worst = |enough: Option<bool>| {
        let those =
            measured.iter().filter(|(_, is_enough)| enough.is_none_or(|want| want == *is_enough));
        those.map(|(measured, _)| *measured).max_by_key(|measured| measured.p99_ns)
    };
    match (worst(Some(true)), worst(None)) {
        (Some(believed), _) if believed.p99_ns > target_ns => Sign::Bad(believed),
        (_, Some(any)) if any.p99_ns < target_ns.saturating_mul(rule.leave_percent) / 100 => {
            Sign::Good(any)
        }
        (_, Some(any)) => Sign::Between(any),
        (_, None) => Sign::Idle,
    }
}

/// An operation's p99, and whether there is enough to believe it. A volume can be too slow for many operations: those that
/// together waited half of the window are enough, however few.
fn measure(
    operation: Operation,
    figures: &OperationFigures,
    length: Duration,
    target_ns: u64,
    rule: &Rule,
) -> Option<(Measured, bool)> {
    let p99_ns = quantile(&figures.buckets, Quantile::P99, 0)?;
    let (all, slow) = (count(&figures.buckets), above(&figures.buckets, target_ns));
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share in a sentence needs no more than 52 bits"
    )]
    let slow_share = slow as f64 / all as f64;
    let waited = u128::from(figures.sum_ns) * 2 >= length.as_nanos();
    let is_enough = all >= rule.least_operations || (slow * 2 > all && waited);
    Some((Measured { operation, p99_ns, slow_share }, is_enough))
}

/// Where a volume stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Whether its latency is high.
    pub is_high: bool,
    /// Windows in a row that speak for the other side.
    pub against: u32,
    /// When it turned, in Unix seconds.
    pub since: Option<i64>,
}

/// It turned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// To high, or over.
    pub is_high: bool,
    /// What was measured in the window that decided; none if nothing was done any more.
    pub measured: Option<Measured>,
}

impl Standing {
    /// What is thought after a window that ended at `now` (Unix seconds), and whether that is a turn.
    #[must_use]
    pub fn after(self, sign: Sign, rule: &Rule, now: i64) -> (Self, Option<Turn>) {
        let (speaks_against, measured) = match (self.is_high, sign) {
            (false, Sign::Bad(measured)) | (true, Sign::Good(measured)) => (true, Some(measured)),
            (true, Sign::Idle) => (true, None),
            (true, Sign::Bad(measured) | Sign::Between(measured))
            | (false, Sign::Between(measured) | Sign::Good(measured)) => (false, Some(measured)),
            (false, Sign::Idle) => (false, None),
        };
        let against = if speaks_against { self.against + 1 } else { 0 };
        let needed = if self.is_high { rule.leave_windows } else { rule.enter_windows };
        if against < needed {
            return (Self { against, ..self }, None);
        }
        let is_high = !self.is_high;
        (Self { is_high, against: 0, since: Some(now) }, Some(Turn { is_high, measured }))
    }
}

#[cfg(test)]
#[path = "latency_stories.rs"]
mod stories;
