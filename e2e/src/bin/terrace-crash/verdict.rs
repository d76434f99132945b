//! The table at the end. Pure: it counts what the ledger and the picks know.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fault::Wrong;
use crate::ledger::{Ledger, is_death};
use crate::pick::Picks;
use crate::points::program_of;
use terrace_faults::{Mode, Process};

/// More points than these are counted, not named.
const NAMED: usize = 12;

/// Figures of a run.
#[derive(Debug)]
pub(crate) struct Verdict {
    rows: Vec<(String, String)>,
    spared: Vec<String>,
}

impl Verdict {
    pub(crate) fn of(ledger: &Ledger, picks: &Picks) -> Self {
        let mut rows = Vec::new();
        let mut row = |what: &str, value: String| rows.push((what.to_owned(), value));
        for process in Process::ALL {
            let points = || picks.table().filter(|(point, ..)| point.process == process);
            let known = points().count();
            if known == 0 {
                continue;
            }
            let passed = points().filter(|(_, _, passed)| *passed).count();
            let struck = points().filter(|(_, hits, _)| *hits > 0).count();
            let name = program_of(process);
            row(
                &format!("points of {name}: known, passed, struck"),
                format!("{known}, {passed}, {struck}"),
            );
        }
        row("kills", ledger.kills().to_string());
        for (who, count) in victims(ledger) {
            row(&format!("  of {who}"), count.to_string());
        }
        for (mode, what) in [(Mode::Error, "errors injected"), (Mode::Hang, "hangs injected")] {
            let count = ledger.blows.iter().filter(|blow| blow.mode == mode).count();
            row(what, count.to_string());
        }
        row("whole lives", ledger.lives.len().to_string());
        for wrong in Wrong::ALL {
            let count = ledger.findings.iter().filter(|finding| finding.wrong == wrong).count();
            row(wrong.row(), count.to_string());
        }
        let mut all: Vec<Duration> =
            ledger.blows.iter().filter_map(|blow| blow.converged).collect();
        all.sort();
        row("time to converge, later blows included: p50, p99, longest", times(&all));
        let mut calm = ledger.calm.clone();
        calm.sort();
        row("time to converge after the last blow: p50, p99, longest", times(&calm));
        let spared = picks.table().filter(|(_, hits, passed)| *passed && *hits == 0);
        Self { rows, spared: spared.map(|(point, ..)| point.name.clone()).collect() }
    }

    pub(crate) fn json(&self) -> Value {
        let rows: serde_json::Map<String, Value> =
            self.rows.iter().map(|(what, value)| (what.clone(), value.clone().into())).collect();
        json!({"rows": rows, "passedAndNeverStruck": self.spared})
    }

    /// As Markdown, so that it can be put into the README as it is.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("| | |\n|---|---|\n");
        for (what, value) in &self.rows {
            let _ = writeln!(text, "| {what} | {value} |");
        }
        if self.spared.len() > NAMED {
            let _ = writeln!(text, "\npassed and never struck: {} points", self.spared.len());
        } else if !self.spared.is_empty() {
            let _ = writeln!(text, "\npassed and never struck: {}", self.spared.join(", "));
        }
        text
    }
}

fn victims(ledger: &Ledger) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for blow in ledger.blows.iter().filter(|blow| is_death(blow.mode)) {
        *counts.entry(blow.victim.clone()).or_default() += 1;
    }
    counts.into_iter().collect()
}

fn times(sorted: &[Duration]) -> String {
    let at = |percent: usize| {
        let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default().as_secs_f64()
    };
    if sorted.is_empty() {
        return "none".to_owned();
    }
    format!("{:.1} s, {:.1} s, {:.1} s", at(50), at(99), at(100))
}

#[cfg(test)]
mod tests {
    use super::{Duration, times};

    #[test]
    fn times_are_told_by_rank() {
        let all: Vec<Duration> = (1..=100).map(Duration::from_secs).collect();
        assert_eq!(times(&all), "50.0 s, 99.0 s, 100.0 s");
        assert_eq!(times(&[]), "none");
    }
}
