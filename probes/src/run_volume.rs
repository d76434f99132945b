//! One volume from window to window: what happened in the last, whether it is slow, when it was used. Pure.

use std::time::Duration;

use terrace_probe_abi::layout::{ErrorKind, Figures, Operation, OperationFigures};
use terrace_probe_abi::wire::{ErrorTotals, OperationSummary, OperationsSummary, Turned};

use crate::latency::{Measured, Rule, Standing, read_window};
use crate::quantile::{Quantile, average, count, quantile};
use crate::window::{Access, difference};

/// A volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Which giving-out of its slot this is.
    pub since: u64,
    /// What it is held to.
    pub target_ns: u64,
    /// Whether its latency is high.
    pub standing: Standing,
    /// When it was used.
    pub access: Access,
    /// The longest of each operation so far.
    pub longest: [u64; 4],
    /// The last turn, for a csi-node that connects later.
    pub last_turn: Option<Measured>,
    before: Box<Figures>,
}

/// What a window brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Each operation that happened; `None`: none did.
    pub operations: Option<OperationsSummary>,
    /// Whether latency turned, high or over.
    pub turned: bool,
}

impl Volume {
    /// As it is found: what its slot holds by now is history.
    #[must_use]
    pub fn new(since: u64, target_ns: u64, found: Box<Figures>, now: i64) -> Self {
        Self {
            since,
            target_ns,
            standing: Standing::default(),
            access: Access::new(now),
            longest: [0; 4],
            last_turn: None,
            before: found,
        }
    }

    /// Takes the figures of now, `length` after those before.
    pub fn window(
        &mut self,
        figures: Box<Figures>,
        longest: [u64; 4],
        length: Duration,
        rule: &Rule,
        now: i64,
    ) -> Window {
        let before = std::mem::replace(&mut self.before, figures);
        let between: Vec<(Operation, OperationFigures)> = Operation::ALL
            .iter()
            .filter_map(|operation| {
                let at = operation.index();
                let mut between = difference(&before[at], &self.before[at])?;
                between.max_ns = longest[at];
                Some((*operation, between))
            })
            .collect();
        self.longest.iter_mut().zip(longest).for_each(|(most, one)| *most = (*most).max(one));
        self.note_access(&between, now);
        let window: Vec<_> =
            between.iter().map(|(operation, figures)| (*operation, figures)).collect();
        let sign = read_window(&window, length, self.target_ns, rule);
        let (standing, turn) = self.standing.after(sign, rule, now);
        self.standing = standing;
        if let Some(turn) = turn {
            // Where it ended because nothing is done any more, what was slow before is still the one to name.
            let ended = self.last_turn.map(|last| Measured { p99_ns: 0, slow_share: 0.0, ..last });
            self.last_turn = turn.measured.or(ended);
        }
        Window { operations: summary(&between, length), turned: turn.is_some() }
    }

    fn note_access(&mut self, between: &[(Operation, OperationFigures)], now: i64) {
        let accesses = between.iter().map(|(operation, figures)| match operation {
            Operation::Read | Operation::Write => count(&figures.buckets),
            Operation::Fsync | Operation::Readdir => 0,
        });
        self.access.note(now, accesses.sum());
    }

    /// Where it stands, for csi-node; `None` while it never turned.
    #[must_use]
    pub fn turned(&self, pv_name: &str) -> Option<Turned> {
        let since = self.standing.since?;
        let last = self.last_turn;
        Some(Turned {
            pv_name: pv_name.to_owned(),
            high: self.standing.is_high,
            operation: last.map_or(Operation::Read, |last| last.operation),
            measured_p99_ns: last.map_or(0, |last| last.p99_ns),
            target_ns: self.target_ns,
            since_unix: u64::try_from(since).unwrap_or(0),
            slow_share: last.map_or(0.0, |last| last.slow_share),
        })
    }

    /// Errors since its slot began.
    #[must_use]
    pub fn errors(&self) -> ErrorTotals {
        let sum = |kind: ErrorKind| {
            self.before.iter().fold(0_u64, |sum, one| sum.saturating_add(one.errors[kind.index()]))
        };
        ErrorTotals {
            eio: sum(ErrorKind::Eio),
            erofs: sum(ErrorKind::Erofs),
            enospc: sum(ErrorKind::Enospc),
            edquot: sum(ErrorKind::Edquot),
            other: sum(ErrorKind::Other),
        }
    }

    /// The figures of the last look.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.before
    }
}

fn summary(
    between: &[(Operation, OperationFigures)],
    length: Duration,
) -> Option<OperationsSummary> {
    let of = |wanted: Operation| {
        let found = between.iter().find(|(operation, _)| *operation == wanted);
        found.and_then(|(_, figures)| summarize(figures, length))
    };
    let all = OperationsSummary {
        read: of(Operation::Read),
        write: of(Operation::Write),
        fsync: of(Operation::Fsync),
        readdir: of(Operation::Readdir),
    };
    Operation::ALL.iter().any(|operation| all.of(*operation).is_some()).then_some(all)
}

#[expect(clippy::cast_precision_loss, reason = "rates and shares need no more than 52 bits")]
fn summarize(figures: &OperationFigures, length: Duration) -> Option<OperationSummary> {
    let all = count(&figures.buckets);
    let told = |which| quantile(&figures.buckets, which, figures.max_ns);
    let seconds = length.as_secs_f64().max(0.001);
    Some(OperationSummary {
        ops_per_second: all as f64 / seconds,
        bytes_per_second: figures.bytes as f64 / seconds,
        average_ns: average(&figures.buckets, figures.sum_ns)?,
        p50_ns: told(Quantile::P50)?,
        p95_ns: told(Quantile::P95)?,
        p99_ns: told(Quantile::P99)?,
        max_ns: figures.max_ns,
        slow: figures.slow,
        slow_share: figures.slow as f64 / all as f64,
    })
}

#[cfg(test)]
mod tests {
    use terrace_probe_abi::layout::{Figures, Operation, OperationFigures, bucket_of};

    use super::Volume;
    use crate::latency::{Rule, WINDOW};

    fn figures(writes: u64, ns: u64) -> Box<Figures> {
        let mut all: Box<Figures> = Box::new([const { OperationFigures::ZERO }; 4]);
        let write = &mut all[Operation::Write.index()];
        write.buckets[bucket_of(ns)] = writes;
        (write.sum_ns, write.bytes) = (writes * ns, writes * 4096);
        all
    }

    #[test]
    fn a_window_tells_what_happened_since_the_last() {
        let mut volume = Volume::new(1, 10_000_000, figures(1000, 50_000_000), 0);
        let before = volume.window(figures(1000, 50_000_000), [0; 4], WINDOW, &Rule::default(), 5);
        assert_eq!((before.operations, before.turned), (None, false), "history is no window");
        let mut now = figures(1000, 50_000_000);
        let write = &mut now[Operation::Write.index()];
        write.buckets[bucket_of(1_000_000)] += 500;
        write.sum_ns += 500 * 1_000_000;
        write.bytes += 500 * 4096;
        write.errors[0] = 2;
        let window = volume.window(now, [0, 1_040_000, 0, 0], WINDOW, &Rule::default(), 10);
        let write = window.operations.unwrap().write.unwrap();
        assert_eq!((write.ops_per_second, write.bytes_per_second), (100.0, 409_600.0));
        assert_eq!((write.average_ns, write.max_ns), (1_000_000, 1_040_000));
        assert!(write.p99_ns.abs_diff(1_000_000) <= 62_500, "{write:?}");
        assert_eq!((volume.errors().eio, volume.access.last), (2, Some(10)));
    }

    #[test]
    fn a_slow_volume_turns_and_says_so_to_whoever_comes_later() {
        let mut volume = Volume::new(1, 10_000_000, figures(0, 1), 0);
        assert_eq!(volume.turned("pv"), None);
        let turns: Vec<_> = (1..=3_u64)
            .map(|number| {
                let now = i64::try_from(number).unwrap() * 5;
                let figures = figures(number * 100, 25_000_000);
                volume.window(figures, [0; 4], WINDOW, &Rule::default(), now).turned
            })
            .collect();
        assert_eq!(turns, [false, true, false]);
        let turned = volume.turned("pv").unwrap();
        assert_eq!(
            (turned.high, turned.operation, turned.since_unix),
            (true, Operation::Write, 10)
        );
        assert_eq!((turned.target_ns, turned.slow_share), (10_000_000, 1.0));
    }

    #[test]
    fn counters_that_fell_make_no_window() {
        let mut volume = Volume::new(1, 10_000_000, figures(100, 1_000_000), 0);
        let window = volume.window(figures(3, 1_000_000), [0; 4], WINDOW, &Rule::default(), 5);
        assert_eq!(window.operations, None);
    }
}
