//! The oracle's findings as a table: a row for each way, and what is wrong in all. It decides nothing but whether all is well.

use std::collections::BTreeMap;

use serde::Serialize;
use terrace_probe_abi::layout::Operation;

use crate::tally::{Quantile, Tally, Verdict, quantile};
use crate::way::{Size, Way};

/// Of a thousand.
const QUANTILES: [u64; 3] = [500, 990, 999];

/// All phases of one way.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) way: Way,
    pub(crate) verdict: Verdict,
    pub(crate) missed: BTreeMap<String, u64>,
    /// The probe says that it cannot see this way.
    pub(crate) unobservable: bool,
    pub(crate) durations: Vec<u64>,
    /// What the probe counted of the way's operation.
    pub(crate) counted: Tally,
}

impl Row {
    pub(crate) fn of(way: Way) -> Self {
        Self {
            way,
            verdict: Verdict::default(),
            missed: BTreeMap::new(),
            unobservable: false,
            durations: Vec::new(),
            counted: Tally::default(),
        }
    }

    /// Missing, and nobody said so.
    pub(crate) fn unexplained(&self) -> u64 {
        if self.unobservable {
            return 0;
        }
        self.verdict.missing.saturating_sub(self.missed.values().sum())
    }

    fn quantiles(&self) -> Vec<Option<Quantile>> {
        let mut sorted = self.durations.clone();
        sorted.sort_unstable();
        let whole = self.verdict.counted > 0;
        QUANTILES
            .map(|at| if whole { quantile(&sorted, &self.counted.buckets, at) } else { None })
            .to_vec()
    }

    /// Quantiles of long operations that are more than one bucket off. Around a short one the clock shows the way into the
    /// kernel, not the operation; and what one in ten is beyond is not known of fewer than ten.
    fn off(&self) -> usize {
        let is_known = |at: u64| self.durations.len() as u64 * (1000 - at) >= 10 * 1000;
        let told = QUANTILES.iter().zip(self.quantiles());
        let told = told.filter(|(at, _)| self.way.size() == Size::Large && is_known(**at));
        told.filter(|(_, told)| told.is_none_or(|told| told.buckets > 1)).count()
    }

    fn print(&self) {
        let Verdict { expected, counted, misattributed, missing, fell } = self.verdict;
        let reasons: Vec<String> =
            self.missed.iter().map(|(why, count)| format!("{why} {count}")).collect();
        let reasons = if self.unobservable && missing > 0 {
            "unobservable".to_owned()
        } else if self.unexplained() > 0 {
            format!("{} unexplained {}", reasons.join(", "), self.unexplained())
        } else {
            reasons.join(", ")
        };
        let reasons =
            if fell > 0 { format!("{reasons} went backwards by {fell}") } else { reasons };
        let quantiles: Vec<String> = self.quantiles().iter().map(text).collect();
        println!(
            "{:24} {expected:>9} {counted:>9} {misattributed:>6} {missing:>9}  {} {reasons}",
            self.way.name(),
            quantiles.join(" ")
        );
    }
}

/// Time, error, and how many buckets apart.
fn text(quantile: &Option<Quantile>) -> String {
    let Some(Quantile { true_ns, error, buckets }) = quantile else {
        return format!("{:>23}", "-");
    };
    format!("{:>11} {:>+6.1}% {buckets:>3}", time(*true_ns), error * 100.0)
}

fn time(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{:.2} us", ns as f64 / 1e3),
        _ => format!("{:.2} ms", ns as f64 / 1e6),
    }
}

/// One line of JSON for all.
#[derive(Serialize)]
struct Total {
    expected: u64,
    counted: u64,
    misattributed: u64,
    missing: u64,
    unobservable: u64,
    missed: u64,
    unexplained: u64,
    fell: u64,
    quantiles_off: usize,
}

/// Prints the table; whether nothing was counted wrongly and nothing missed in silence.
pub(crate) fn print(rows: &[Row], all: Verdict) -> bool {
    println!(
        "{:24} {:>9} {:>9} {:>6} {:>9}  {:>23} {:>23} {:>23} missed",
        "way", "expected", "counted", "late", "missing", "p50, error", "p99, error", "p99.9, error"
    );
    rows.iter().for_each(Row::print);
    let fell: u64 = rows.iter().map(|row| row.verdict.fell).sum();
    let unobservable: u64 =
        rows.iter().filter(|row| row.unobservable).map(|row| row.verdict.missing).sum();
    let told: u64 = rows.iter().flat_map(|row| row.missed.values()).sum();
    let Verdict { expected, counted, misattributed, missing, fell: _ } = all;
    let seen = missing.saturating_sub(unobservable);
    let total = Total {
        expected,
        counted,
        misattributed,
        missing,
        unobservable,
        missed: seen.min(told),
        unexplained: seen.saturating_sub(told),
        fell,
        quantiles_off: rows.iter().map(Row::off).sum(),
    };
    let right = total.unexplained == 0 && total.quantiles_off == 0;
    let well = counted > 0 && misattributed == 0 && fell == 0 && right;
    if let Ok(line) = serde_json::to_string(&total) {
        println!("{line}");
    }
    for operation in Operation::ALL {
        let rows = rows.iter().filter(|row| row.way.operation() == *operation && !row.unobservable);
        let (expected, counted) = rows.fold((0, 0), |(expected, counted), row| {
            (expected + row.verdict.expected, counted + row.verdict.counted)
        });
        println!("{operation:?}: {counted} of {expected} that the probe can see");
    }
    well
}
