//! The rows of the probe itself: what it sees, what it misses, what it costs.

use terrace_probe_abi::layout::{Missed, Tier};

use crate::metrics::{Family, Labels, Unit, Value};
use crate::metrics_histogram::seconds;
use crate::metrics_view::{Own, View};
use crate::naming::Unnamed;

/// The families.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "sizes and counts on a page, well below 2^52")]
pub fn families(view: &View) -> Vec<Family> {
    let own = &view.own;
    let family = |name, help, unit, rows| Family { name, otel: "", help, unit, rows };
    let one = |value| vec![(Labels::new(), value)];
    let sampled = view.own.sampling;
    let mut all = vec![
        family(
            "terrace_probe_attach_tier",
            "How each kernel function is followed; 1 for the tier it has",
            Unit::None,
            tiers(own),
        ),
        family(
            "terrace_probe_missed",
            "Operations on something that is counted which were not, by reason",
            Unit::None,
            missed(own),
        ),
        family(
            "terrace_probe_unobservable",
            "Ways to a volume that nothing attached here sees",
            Unit::None,
            unobservable(own),
        ),
        family(
            "terrace_probe_map_bytes",
            "Memory of all maps in the kernel",
            Unit::None,
            one(Value::Gauge(own.counters.map_bytes as f64)),
        ),
        family(
            "terrace_probe_slow_events",
            "Slow operations that were told as events",
            Unit::None,
            one(Value::Counter(own.slow_told)),
        ),
        family(
            "terrace_probe_slow_events_dropped",
            "Slow operations that were not told: too many in the kernel, or a full buffer",
            Unit::None,
            dropped(own),
        ),
        family(
            "terrace_probe_sampling",
            "Share of operations that is counted where a sample is enough; divide by it",
            Unit::Ratio,
            one(Value::Gauge(sampled)),
        ),
        family(
            "terrace_probe_volume_slots_used",
            "Volumes that have a slot of their own",
            Unit::None,
            one(Value::Gauge(own.slots_used as f64)),
        ),
        family(
            "terrace_probe_unnamed_things",
            "Mounts and devices in use whose operations are nobody's, by reason",
            Unit::None,
            unnamed(own),
        ),
        family(
            "terrace_probe_connected",
            "Whether csi-node listens to this probe",
            Unit::None,
            one(Value::Gauge(f64::from(u8::from(own.is_connected)))),
        ),
        family(
            "terrace_probe_info",
            "Which probe runs on which kernel",
            Unit::None,
            vec![(
                vec![("version", own.version.clone()), ("kernel", own.kernel.clone())],
                Value::Gauge(1.0),
            )],
        ),
        family(
            "process_resident_memory",
            "Memory of this process that is resident",
            Unit::Bytes,
            one(Value::Gauge(own.resident_bytes as f64)),
        ),
        family(
            "process_cpu_seconds",
            "Processor time of this process",
            Unit::None,
            one(Value::Spent(seconds(own.cpu_ns))),
        ),
    ];
    all.extend(programs(own));
    all
}

/// A tier as a label.
#[must_use]
pub const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Fentry => "fentry",
        Tier::Kprobe => "kprobe",
        Tier::RawTracepoint => "raw_tracepoint",
        Tier::None => "none",
    }
}

/// A reason as a label.
#[must_use]
pub const fn missed_name(reason: Missed) -> &'static str {
    match reason {
        Missed::NoSlot => "no_slot",
        Missed::Compat => "compat",
        Missed::Collision => "collision",
        Missed::Unmatched => "unmatched",
        Missed::Recursion => "recursion",
        Missed::NoFile => "no_file",
    }
}

fn tiers(own: &Own) -> Vec<(Labels, Value)> {
    let rows = own.functions.iter().map(|report| {
        let tier = tier_name(report.tier).to_owned();
        (vec![("function", report.function.clone()), ("tier", tier)], Value::Gauge(1.0))
    });
    rows.collect()
}

fn missed(own: &Own) -> Vec<(Labels, Value)> {
    let rows = Missed::ALL.iter().map(|reason| {
        let labels = vec![("reason", missed_name(*reason).to_owned())];
        (labels, Value::Counter(own.counters.missed(*reason)))
    });
    rows.collect()
}

#[expect(clippy::cast_precision_loss, reason = "mounts of a node")]
fn unnamed(own: &Own) -> Vec<(Labels, Value)> {
    let rows = Unnamed::ALL.iter().zip(own.unnamed);
    rows.map(|(reason, count)| {
        (vec![("reason", reason.as_str().to_owned())], Value::Gauge(count as f64))
    })
    .collect()
}

fn unobservable(own: &Own) -> Vec<(Labels, Value)> {
    let rows = own.unobservable.iter();
    rows.map(|path| (vec![("path", (*path).to_owned())], Value::Gauge(1.0))).collect()
}

fn dropped(own: &Own) -> Vec<(Labels, Value)> {
    let places = [("kernel", own.counters.slow_dropped), ("buffer", own.slow_overflowed)];
    let rows = places.into_iter();
    rows.map(|(place, count)| (vec![("place", place.to_owned())], Value::Counter(count))).collect()
}

fn programs(own: &Own) -> [Family; 2] {
    let rows = |say: fn(&crate::loader::ProgramFigures) -> Value| {
        let all = own.counters.programs.iter();
        all.map(|program| (vec![("program", program.name.clone())], say(program))).collect()
    };
    [
        Family {
            name: "terrace_probe_program_runs",
            otel: "",
            help: "Runs of each program in the kernel; 0 unless kernel.bpf_stats_enabled is 1",
            unit: Unit::None,
            rows: rows(|program| Value::Counter(program.runs)),
        },
        Family {
            name: "terrace_probe_program_seconds",
            otel: "",
            help: "Processor time of each program in the kernel; 0 unless kernel.bpf_stats_enabled is 1",
            unit: Unit::None,
            rows: rows(|program| Value::Spent(seconds(program.nanoseconds))),
        },
    ]
}
