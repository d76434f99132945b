//! The five names that were asked for, as aliases of ours, behind a switch. They carry milliseconds and no claim, as asked.

use crate::class::operation_name;
use terrace_probe_abi::layout::{Operation, OperationFigures};

use crate::loader::Switch;
use crate::metrics::{Family, Histogram, Labels, Unit, Value};
use crate::metrics_view::{Group, View, by_group};

/// The families; none while the switch is off.
#[must_use]
pub fn families(view: &View) -> Vec<Family> {
    match view.asked_names {
        Switch::Off => Vec::new(),
        Switch::On => named(view),
    }
}

fn named(view: &View) -> Vec<Family> {
    let family = |name, help, unit, rows| Family { name, otel: name, help, unit, rows };
    let sums = sums(view);
    vec![
        family(
            "storage_io_events_processed",
            "Slow operations told as events (alias of terrace_probe_slow_events_total)",
            Unit::None,
            vec![(Labels::new(), Value::Counter(view.own.slow_told))],
        ),
        family(
            "storage_io_slow_operations",
            "Slow operations of everything that is counted",
            Unit::None,
            by_operation(&sums, |figures| Value::Counter(figures.slow)),
        ),
        family(
            "storage_io_latency",
            "Time an operation took, in milliseconds (alias of terrace_operation_duration_seconds)",
            Unit::Milliseconds,
            by_operation(&sums, |figures| Value::Histogram(milliseconds(figures))),
        ),
        family(
            "storage_io_vfs_operations",
            "Operations of everything that is counted",
            Unit::None,
            by_operation(&sums, |figures| Value::Counter(figures.count())),
        ),
        family(
            "storage_io_k8s_volume_operations",
            "Operations on volumes of Pods, by their type",
            Unit::None,
            on_volumes(view),
        ),
    ]
}

fn sums(view: &View) -> [OperationFigures; 4] {
    let mut sums = [const { OperationFigures::ZERO }; 4];
    for (_, figures) in view.every() {
        sums.iter_mut().zip(figures).for_each(|(sum, more)| sum.add(more));
    }
    sums
}

fn by_operation(
    sums: &[OperationFigures; 4],
    say: fn(&OperationFigures) -> Value,
) -> Vec<(Labels, Value)> {
    let rows = Operation::ALL.iter().map(|operation| {
        let labels = vec![("operation", operation_name(*operation).to_owned())];
        (labels, say(&sums[operation.index()]))
    });
    rows.collect()
}

/// The classic form only: exponential buckets are of seconds.
fn milliseconds(figures: &OperationFigures) -> Histogram {
    let Histogram { count, sum, classic, sparse: _ } = Histogram::of(figures);
    let classic = classic.into_iter().map(|(bound, count)| (bound * 1000.0, count)).collect();
    Histogram { count, sum: sum * 1000.0, classic, sparse: Vec::new() }
}

fn on_volumes(view: &View) -> Vec<(Labels, Value)> {
    let mut rows = Vec::new();
    for (group, figures) in by_group(view) {
        let is_of_a_pod = match group {
            Group::Volume => true,
            Group::Waiting => false,
            Group::Class(class) => is_volume(class),
        };
        for operation in Operation::ALL.iter().filter(|_| is_of_a_pod) {
            let labels = vec![
                ("volume_type", group.as_str().to_owned()),
                ("operation", operation_name(*operation).to_owned()),
            ];
            rows.push((labels, Value::Counter(figures[operation.index()].count())));
        }
    }
    rows
}

/// Whether a class is a type of volume that a Pod names.
#[must_use]
pub const fn is_volume(class: terrace_probe_abi::layout::SharedClass) -> bool {
    use terrace_probe_abi::layout::SharedClass;
    match class {
        SharedClass::ConfigMap
        | SharedClass::Secret
        | SharedClass::Projected
        | SharedClass::EmptyDir
        | SharedClass::HostPath
        | SharedClass::Downward => true,
        SharedClass::ContainerRoot
        | SharedClass::Host
        | SharedClass::ContainerFiles
        | SharedClass::CriticalKubernetes
        | SharedClass::CriticalEtcd
        | SharedClass::Runtime
        | SharedClass::Logs
        | SharedClass::Kubelet
        | SharedClass::Unnamed => false,
    }
}
