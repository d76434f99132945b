//! Which write comes first, and which never.
use terrace_crds::Reason;
use terrace_probe_abi::wire::{OperationSummary, OperationsSummary};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn figures(p99_ns: u64) -> VolumeFigures {
    let write = Some(OperationSummary { p99_ns, ..OperationSummary::default() });
    let operations = OperationsSummary { write, ..OperationsSummary::default() };
    VolumeFigures {
        window_seconds: 5,
        operations,
        last_access: Some(1_795_000_000),
        ..VolumeFigures::default()
    }
}

fn verdict(truth: Truth, message: &str) -> Verdict {
    let reason = match truth {
        Truth::True => Reason::AboveTarget,
        Truth::False => Reason::BelowTarget,
        Truth::Unknown => Reason::NoProbe,
    };
    Verdict::new(ConditionType::LatencyHigh, truth, reason, message)
}

/// A status that says so, with these figures.
fn status(truth: Truth, p99_ns: u64) -> StorageVolumeStatus {
    StorageVolumeStatus {
        latency: plan_latency(&figures(p99_ns)).map(Box::new),
        conditions: vec![verdict(truth, "").against(&[], 1, at(0))],
        ..StorageVolumeStatus::default()
    }
}

fn candidate<'a>(
    name: &'a str,
    there: &'a StorageVolumeStatus,
    truth: Truth,
    measured: Option<Measured<'a>>,
) -> Candidate<'a> {
    Candidate { name, generation: 1, there, verdict: Some(verdict(truth, "")), measured }
}

fn chosen(candidates: &[Candidate<'_>], now: i64) -> Option<(String, Urgency)> {
    plan_write(candidates, at(now)).map(|write| (write.name, write.urgency))
}

#[test]
fn i8_an_idle_volume_is_never_written() {
    let there = status(Truth::False, 1_000_000);
    let idle = candidate("idle", &there, Truth::False, None);
    assert_eq!(chosen(&[idle], 10_000_000), None);
    // Its last figures were written; nothing came since, however long ago that was.
    let figures = figures(9_000_000);
    let measured = Measured { figures: &figures, at: at(5), written: Some(at(5)) };
    let idle = candidate("idle", &there, Truth::False, Some(measured));
    assert_eq!(chosen(&[idle], 10_000_000), None);
}

#[test]
fn figures_are_written_when_a_p99_moved_by_a_quarter_or_ten_minutes_passed() {
    let there = status(Truth::False, 1_000_000);
    let wants = |p99, now| {
        let figures = figures(p99);
        let measured = Measured { figures: &figures, at: at(now), written: Some(at(0)) };
        is_worth_writing(&measured, &there, at(now))
    };
    for (p99, now, worth) in [
        (1_240_000, 5, false),
        (1_250_000, 5, true),
        (760_000, 5, false),
        (750_000, 5, true),
        (1_000_000, 599, false),
        (1_000_000, 600, true),
    ] {
        assert_eq!(wants(p99, now), worth, "{p99} ns after {now} s");
    }
    let (one, fresh) = (figures(1_000_000), StorageVolumeStatus::default());
    let first = Measured { figures: &one, at: at(1), written: None };
    assert!(is_worth_writing(&first, &fresh, at(1)));
}

#[test]
fn a_condition_that_turns_goes_before_all_figures_and_bad_news_first() {
    let (low, high) = (status(Truth::False, 1_000_000), status(Truth::True, 1_000_000));
    let moved = figures(9_000_000);
    let measured = Some(Measured { figures: &moved, at: at(5), written: None });
    let figures = candidate("a-figures", &low, Truth::False, measured);
    let better = candidate("b-better", &high, Truth::False, None);
    let worse = candidate("c-worse", &low, Truth::True, None);
    let mut all = vec![figures, better, worse];
    let mut order = Vec::new();
    while let Some((name, urgency)) = chosen(&all, 10) {
        all.retain(|candidate| candidate.name != name);
        order.push((name, urgency));
    }
    let want = [
        ("c-worse".to_owned(), Urgency::High),
        ("b-better".to_owned(), Urgency::Turned),
        ("a-figures".to_owned(), Urgency::Figures),
    ];
    assert_eq!(order, want);
}

#[test]
fn of_those_alike_the_one_that_waited_longest_comes_first() {
    let there = status(Truth::False, 1_000_000);
    let moved = figures(9_000_000);
    let measured = |written| Some(Measured { figures: &moved, at: at(50), written });
    let all = [
        candidate("a", &there, Truth::False, measured(Some(at(40)))),
        candidate("b", &there, Truth::False, measured(Some(at(20)))),
    ];
    assert_eq!(chosen(&all, 60), Some(("b".into(), Urgency::Figures)));
}

#[test]
fn a_write_carries_all_that_the_probe_says_or_apply_would_take_the_rest_away() {
    let there = status(Truth::False, 1_000_000);
    let turned = candidate("v", &there, Truth::Unknown, None);
    let write = plan_write(&[turned], at(100)).expect("the probe went");
    assert_eq!(write.status.latency, there.latency, "its death changes nothing but freshness");
    assert_eq!(write.status.conditions[0].reason, "NoProbe");
    assert_eq!(write.figures_at, None);

    let moved = figures(9_000_000);
    let measured = Some(Measured { figures: &moved, at: at(99), written: None });
    let silent = Candidate { verdict: None, ..candidate("v", &there, Truth::False, measured) };
    let write = plan_write(&[silent], at(100)).expect("figures");
    assert_eq!(write.status.conditions, there.conditions, "nothing new can be said of it");
    assert_eq!(write.figures_at, Some(at(99)));
    assert!(write.status.access.is_some() && write.status.phase.is_none());
}

#[test]
fn a_changed_target_is_said_without_haste() {
    let there = status(Truth::False, 1_000_000);
    let mut reworded = candidate("v", &there, Truth::False, None);
    reworded.verdict = Some(verdict(Truth::False, "p99 stays below the target of 5ms"));
    let write = plan_write(&[reworded], at(100)).expect("other words");
    assert_eq!(write.urgency, Urgency::Reworded);
    let since = write.status.conditions[0].last_transition_time.0;
    assert_eq!(since, at(0), "the status did not turn");
}
