//! What the status of a volume says of what the probe measured: figures on the wire become figures for people, and a turn becomes
//! the condition LatencyHigh. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use terrace_crds::condition::{Truth, Verdict};
use terrace_crds::measured::{Access, OperationLatency, Took, VolumeLatency};
use terrace_crds::{ConditionType, Reason};
use terrace_probe_abi::layout::{Operation, Tier};
use terrace_probe_abi::wire::{Hello, OperationSummary, Turned, VolumeFigures};

use super::board::{Link, Reading, moment};

/// Without a probe for so long: nobody measures. A restart takes less.
pub const AWAY: SignedDuration = SignedDuration::from_secs(30);
/// A probe that began anew has found again what is high after so long: two windows, and some.
pub const SETTLED: SignedDuration = SignedDuration::from_secs(20);

/// Whether nobody measures any more.
#[must_use]
pub fn is_away(link: Link, now: Timestamp) -> bool {
    match link {
        Link::Down { since } => now.duration_since(since) >= AWAY,
        Link::Up { .. } => false,
    }
}

/// Whether the silence of the probe about a volume means that the volume is not slow.
#[must_use]
pub fn is_settled(link: Link, now: Timestamp) -> bool {
    match link {
        Link::Down { .. } => false,
        Link::Up { since } => now.duration_since(since) >= SETTLED,
    }
}

/// The name of an operation, for people and on the wire.
#[must_use]
pub const fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Read => "read",
        Operation::Write => "write",
        Operation::Fsync => "fsync",
        Operation::Readdir => "readdir",
    }
}

/// What speaks for or against a volume's latency.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Whether a probe is connected.
    pub link: Link,
    /// What it said of itself.
    pub hello: Option<&'a Hello>,
    /// What it said of the volume.
    pub reading: Option<&'a Reading>,
    /// What the volume is held to.
    pub target_ns: Option<u64>,
}

/// LatencyHigh, or `None` where nothing new can be said.
#[must_use]
pub fn plan_verdict(seen: &Seen<'_>, there: Option<&Condition>, now: Timestamp) -> Option<Verdict> {
    let kind = ConditionType::LatencyHigh;
    if is_away(seen.link, now) {
        let message = "no probe reports on this node";
        return Some(Verdict::new(kind, Truth::Unknown, Reason::NoProbe, message));
    }
    let (Link::Up { .. }, Some(hello)) = (seen.link, seen.hello) else { return None };
    if let Some(blind) = blindness(hello) {
        return Some(Verdict::new(kind, Truth::Unknown, Reason::NotObservable, blind));
    }
    let turned = seen.reading.and_then(|reading| reading.turned.as_ref());
    if let Some(turned) = turned.filter(|turned| turned.high) {
        return Some(Verdict::new(kind, Truth::True, Reason::AboveTarget, high_message(turned)));
    }
    let is_high = there.is_some_and(|there| there.status == Truth::True.as_str());
    if turned.is_none() && is_high && !is_settled(seen.link, now) {
        return None;
    }
    let message = match seen.target_ns {
        Some(target) => format!("p99 stays below the target of {}", Took::from_nanos(target)),
        None => "no target is set: name one in spec.latencyTarget".to_owned(),
    };
    Some(Verdict::new(kind, Truth::False, Reason::BelowTarget, message))
}

/// Why the probe sees nothing at all.
fn blindness(hello: &Hello) -> Option<String> {
    let sees = hello.functions.iter().any(|function| function.tier != Tier::None);
    if sees {
        return None;
    }
    let said = hello.functions.iter().find_map(|function| function.reason.clone());
    let why = said.unwrap_or_else(|| "no function of the kernel can be watched".to_owned());
    Some(format!("the probe sees no operation on this node: {why}"))
}

/// Cause and remedy of a latency that is high.
#[must_use]
pub fn high_message(turned: &Turned) -> String {
    let Turned {
        pv_name: _,
        high: _,
        operation,
        measured_p99_ns,
        target_ns,
        since_unix,
        slow_share,
    } = turned;
    format!(
        "p99 of {} is {}, above the target of {}, since {}; {:.0} % of these operations were slower than that: check I/O patterns and scaling of the Pods that use the volume, or give it a faster tier",
        operation_name(*operation),
        Took::from_nanos(*measured_p99_ns),
        Took::from_nanos(*target_ns),
        moment(*since_unix),
        (slow_share * 100.0).clamp(0.0, 100.0),
    )
}

/// Figures for people; `None` of a window in which nothing happened.
#[must_use]
pub fn plan_latency(figures: &VolumeFigures) -> Option<VolumeLatency> {
    let all = &figures.operations;
    let worst = Operation::ALL.iter().filter_map(|operation| all.of(*operation));
    let worst = worst.map(|summary| summary.p99_ns).max()?;
    Some(VolumeLatency {
        window: format!("{}s", figures.window_seconds.max(1)).parse().ok()?,
        p99: Took::from_nanos(worst),
        read: all.read.as_ref().map(operation),
        write: all.write.as_ref().map(operation),
        fsync: all.fsync.as_ref().map(operation),
        readdir: all.readdir.as_ref().map(operation),
    })
}

fn operation(summary: &OperationSummary) -> OperationLatency {
    let OperationSummary {
        ops_per_second,
        bytes_per_second: _,
        average_ns,
        p50_ns,
        p95_ns,
        p99_ns,
        max_ns,
        slow,
        slow_share: _,
    } = summary;
    OperationLatency {
        ops_per_second: tenths(*ops_per_second),
        average: Took::from_nanos(*average_ns),
        p50: Took::from_nanos(*p50_ns),
        p95: Took::from_nanos(*p95_ns),
        p99: Took::from_nanos(*p99_ns),
        max: Took::from_nanos(*max_ns),
        slow: *slow,
    }
}

/// When and how often the volume is used; `None` while no read or write was seen.
#[must_use]
pub fn plan_access(figures: &VolumeFigures) -> Option<Access> {
    let last = Time(moment(figures.last_access?));
    Some(Access { last, per_day: tenths(figures.accesses_per_day) })
}

/// Rounded, and a number whatever was said.
fn tenths(number: f64) -> f64 {
    if number.is_finite() { (number.max(0.0) * 10.0).round() / 10.0 } else { 0.0 }
}

#[cfg(test)]
#[path = "status/tests.rs"]
mod tests;
