//! What LatencyHigh says, and the figures beside it.
use terrace_probe_abi::wire::{ErrorTotals, FunctionTier, OperationsSummary};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn hello(tier: Tier) -> Hello {
    let function = FunctionTier {
        function: "vfs_read".into(),
        tier,
        reason: Some("the kernel has no BTF".into()),
    };
    Hello { version: "1".into(), functions: vec![function], ..Hello::default() }
}

fn turned(high: bool) -> Reading {
    let turned = Turned {
        pv_name: "pv".into(),
        high,
        operation: Operation::Fsync,
        measured_p99_ns: 15_234_000,
        target_ns: 10_000_000,
        since_unix: 1_795_000_000,
        slow_share: 0.124,
    };
    Reading { turned: Some(turned), ..Reading::default() }
}

/// Two minutes after the link changed.
fn verdict(link: Link, hello: Option<&Hello>, reading: Option<&Reading>) -> Option<Verdict> {
    let seen = Seen { link, hello, reading, target_ns: Some(10_000_000) };
    plan_verdict(&seen, None, at(120))
}

fn said(verdict: Option<Verdict>) -> (Truth, Reason) {
    let verdict = verdict.expect("something can be said");
    (verdict.truth, verdict.reason)
}

const UP: Link = Link::Up { since: Timestamp::UNIX_EPOCH };

#[test]
fn without_a_probe_nobody_knows_after_half_a_minute_and_not_before() {
    let link = Link::Down { since: at(100) };
    let seen = Seen { link, hello: None, reading: None, target_ns: None };
    assert_eq!(plan_verdict(&seen, None, at(129)), None, "it may only restart");
    let away = plan_verdict(&seen, None, at(130));
    assert_eq!(said(away), (Truth::Unknown, Reason::NoProbe));
}

#[test]
fn a_probe_that_sees_nothing_says_why_in_its_own_words() {
    let blind = verdict(UP, Some(&hello(Tier::None)), Some(&turned(true))).expect("said");
    assert_eq!((blind.truth, blind.reason), (Truth::Unknown, Reason::NotObservable));
    assert!(blind.message.contains("the kernel has no BTF"), "{}", blind.message);
    assert_eq!(verdict(UP, None, Some(&turned(true))), None, "it has not said what it is yet");
}

#[test]
fn a_high_latency_says_target_measure_operation_since_when_share_and_remedy() {
    let high = verdict(UP, Some(&hello(Tier::Fentry)), Some(&turned(true))).expect("said");
    assert_eq!((high.truth, high.reason), (Truth::True, Reason::AboveTarget));
    assert_eq!(
        high.message,
        "p99 of fsync is 15.2ms, above the target of 10ms, since 2026-11-18T11:06:40Z; 12 % of these operations were slower than that: check I/O patterns and scaling of the Pods that use the volume, or give it a faster tier"
    );
    let low = verdict(UP, Some(&hello(Tier::Fentry)), Some(&turned(false))).expect("said");
    assert_eq!((low.truth, low.reason), (Truth::False, Reason::BelowTarget));
    assert_eq!(low.message, "p99 stays below the target of 10ms");
    assert_eq!(verdict(UP, Some(&hello(Tier::Fentry)), None), Some(low), "an idle one as well");
}

#[test]
fn a_probe_that_began_anew_has_time_to_find_again_what_is_high() {
    let high = verdict(UP, Some(&hello(Tier::Fentry)), Some(&turned(true))).expect("said");
    let there = high.against(&[], 1, at(0));
    let hello = hello(Tier::Fentry);
    let link = Link::Up { since: at(100) };
    let silent = Seen { link, hello: Some(&hello), reading: None, target_ns: None };
    assert_eq!(plan_verdict(&silent, Some(&there), at(119)), None, "it would flap");
    let settled = plan_verdict(&silent, Some(&there), at(120));
    assert_eq!(said(settled), (Truth::False, Reason::BelowTarget));
    let reading = turned(false);
    let told = Seen { reading: Some(&reading), ..silent };
    assert_eq!(said(plan_verdict(&told, Some(&there), at(101))).0, Truth::False, "it said so");
}

#[test]
fn figures_are_told_with_units_and_the_worst_p99_first() {
    let summary = |p99_ns| OperationSummary {
        ops_per_second: 0.26,
        p99_ns,
        average_ns: 90_000,
        slow: 3,
        ..OperationSummary::default()
    };
    let operations = OperationsSummary {
        read: Some(summary(200_000)),
        fsync: Some(summary(12_449_000)),
        ..OperationsSummary::default()
    };
    let figures = VolumeFigures {
        pv_name: "pv".into(),
        window_seconds: 5,
        operations,
        last_access: Some(1_795_000_000),
        accesses_per_day: 0.04,
        errors: ErrorTotals::default(),
        ..VolumeFigures::default()
    };
    let latency = plan_latency(&figures).expect("something happened");
    assert_eq!((latency.window.as_str(), latency.p99.as_str()), ("5s", "12.4ms"));
    let read = latency.read.expect("read");
    assert_eq!((read.average.as_str(), read.p99.as_str(), read.slow), ("90us", "200us", 3));
    assert!((read.ops_per_second - 0.3).abs() < 1e-9 && latency.write.is_none());
    let access = plan_access(&figures).expect("accessed");
    assert_eq!(access.last.0.to_string(), "2026-11-18T11:06:40Z");
    assert_eq!(plan_latency(&VolumeFigures::default()), None, "I8: nothing happened");
    assert!(tenths(f64::NAN).abs() < 1e-9 && tenths(-1.0).abs() < 1e-9);
}
