//! What is said of a volume's latency, and whether figures are worth a write to the API server. The probe measures, csi-node
//! writes; this is what both hold to. Pure: it may not read a clock.

use std::time::Duration;

use crate::layout::Operation;
use crate::wire::{OperationSummary, OperationsSummary, Turned, VolumeFigures};

/// A p99 that moved by less is not worth a write, in percent of what was written.
pub const MOVED_PERCENT: u64 = 25;
/// Figures older than this are worth one all the same, if there are new ones.
pub const STALE: Duration = Duration::from_secs(600);

/// Whether `now` is worth a write, `written` so long ago being what the API server has. Without an operation there are no
/// figures: an idle volume is never written.
#[must_use]
pub fn is_worth_a_write(written: Option<(&VolumeFigures, Duration)>, now: &VolumeFigures) -> bool {
    let has_operations = each(&now.operations).iter().any(|(_, summary)| summary.is_some());
    let Some((written, ago)) = written else { return has_operations };
    has_operations && (ago >= STALE || has_moved(&written.operations, &now.operations))
}

/// Whether the p99 of an operation in both moved by [`MOVED_PERCENT`], or one appears that was not there. One that did not
/// happen in this window says nothing.
fn has_moved(written: &OperationsSummary, now: &OperationsSummary) -> bool {
    each(written).iter().zip(each(now)).any(|((_, written), (_, now))| match (written, now) {
        (Some(written), Some(now)) => {
            let moved = u128::from(written.p99_ns.abs_diff(now.p99_ns)) * 100;
            moved >= u128::from(written.p99_ns) * u128::from(MOVED_PERCENT) && moved > 0
        }
        (None, Some(_)) => true,
        (Some(_) | None, None) => false,
    })
}

fn each(operations: &OperationsSummary) -> [(Operation, Option<OperationSummary>); 4] {
    let OperationsSummary { read, write, fsync, readdir } = operations;
    [
        (Operation::Read, *read),
        (Operation::Write, *write),
        (Operation::Fsync, *fsync),
        (Operation::Readdir, *readdir),
    ]
}

/// How an operation is called, in labels and in prose.
#[must_use]
pub const fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Read => "read",
        Operation::Write => "write",
        Operation::Fsync => "fsync",
        Operation::Readdir => "readdir",
    }
}

/// A turn in prose, with cause and remedy; `since` as the reader should see the time.
#[must_use]
pub fn message(turned: &Turned, since: &str) -> String {
    let Turned {
        pv_name: _,
        high,
        operation,
        measured_p99_ns,
        target_ns,
        since_unix: _,
        slow_share,
    } = turned;
    let name = operation_name(*operation);
    let (measured, target) = (milliseconds(*measured_p99_ns), milliseconds(*target_ns));
    if !high {
        return format!(
            "p99 of {name} is {measured}, well below the target of {target}, since {since}."
        );
    }
    let share = slow_share * 100.0;
    let cause = match operation {
        Operation::Read => "Reads wait for the disk: too many at once, or too little in memory.",
        Operation::Write => "Writes wait for the disk: too many at once, or each is synchronous.",
        Operation::Fsync => {
            "Syncs wait for the disk's own cache: many small commits, or a disk that others keep busy."
        }
        Operation::Readdir => "Listings wait for the disk: very large folders.",
    };
    format!(
        "p99 of {name} is {measured}, above the target of {target}, since {since}; {share:.1} % of {name} operations are above it. \
         {cause} Check I/O patterns and scaling: fewer and larger operations, load spread over more volumes, or a faster tier."
    )
}

/// Nanoseconds as people read latencies.
fn milliseconds(ns: u64) -> String {
    let (whole, tenth) = (ns / 1_000_000, ns % 1_000_000 / 100_000);
    match (whole, tenth) {
        (0, _) => format!("{} us", ns / 1000),
        (1..=99, 1..) => format!("{whole}.{tenth} ms"),
        (_, _) => format!("{whole} ms"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{is_worth_a_write, message};
    use crate::layout::Operation;
    use crate::wire::{OperationSummary, OperationsSummary, Turned, VolumeFigures};

    fn figures(read_p99: Option<u64>, write_p99: Option<u64>) -> VolumeFigures {
        let summary = |p99_ns: u64| OperationSummary { p99_ns, ..OperationSummary::default() };
        let operations = OperationsSummary {
            read: read_p99.map(summary),
            write: write_p99.map(summary),
            ..OperationsSummary::default()
        };
        VolumeFigures { operations, ..VolumeFigures::default() }
    }

    #[test]
    fn an_idle_volume_is_never_written() {
        let (idle, busy) = (figures(None, None), figures(Some(1000), None));
        assert!(!is_worth_a_write(None, &idle));
        assert!(!is_worth_a_write(Some((&busy, Duration::from_secs(100_000))), &idle));
        assert!(is_worth_a_write(None, &busy));
    }

    #[test]
    fn a_quarter_more_or_less_is_worth_a_write() {
        let written = figures(Some(1000), Some(8000));
        let soon = Some((&written, Duration::from_secs(5)));
        for (read, write, is_worth) in [
            (1249, 8000, false),
            (1250, 8000, true),
            (751, 8000, false),
            (750, 8000, true),
            (1000, 6000, true),
        ] {
            let now = figures(Some(read), Some(write));
            assert_eq!(is_worth_a_write(soon, &now), is_worth, "{read} {write}");
        }
        assert!(!is_worth_a_write(soon, &figures(None, Some(8000))), "no read is no change");
    }

    #[test]
    fn an_operation_not_seen_before_is_worth_a_write() {
        let written = figures(Some(1000), None);
        let soon = Some((&written, Duration::from_secs(5)));
        assert!(is_worth_a_write(soon, &figures(Some(1000), Some(1))));
    }

    #[test]
    fn ten_minutes_are_enough_for_figures_that_hardly_moved() {
        let written = figures(Some(1000), None);
        let after = |seconds| Some((&written, Duration::from_secs(seconds)));
        assert!(!is_worth_a_write(after(599), &figures(Some(1001), None)));
        assert!(is_worth_a_write(after(600), &figures(Some(1001), None)));
    }

    #[test]
    fn the_message_names_figure_target_cause_and_remedy() {
        let turned = Turned {
            pv_name: "pv".into(),
            high: true,
            operation: Operation::Fsync,
            measured_p99_ns: 41_940_000,
            target_ns: 10_000_000,
            since_unix: 0,
            slow_share: 0.314,
        };
        let said = message(&turned, "22:30:05Z");
        let begin = "p99 of fsync is 41.9 ms, above the target of 10 ms, since 22:30:05Z; 31.4 % of fsync operations are above it.";
        assert!(said.starts_with(begin), "{said}");
        assert!(said.contains("Check I/O patterns and scaling"), "{said}");
        let over =
            message(&Turned { high: false, measured_p99_ns: 900_000, ..turned }, "22:31:00Z");
        assert_eq!(
            over,
            "p99 of fsync is 900 us, well below the target of 10 ms, since 22:31:00Z."
        );
    }
}
