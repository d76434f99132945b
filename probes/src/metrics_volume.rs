//! The rows of a claim: at most 16 with native histograms. Those of errors come on top, and only where there was one.

use crate::class::operation_name;
use terrace_probe_abi::layout::{ErrorKind, Operation, OperationFigures};

use crate::metrics::{Family, Histogram, Labels, Unit, Value};
use crate::metrics_view::{View, VolumeView};

/// Rows a claim may have at most, errors apart.
pub const BUDGET: usize = 16;

/// The families.
#[must_use]
pub fn families(view: &View) -> Vec<Family> {
    vec![
        Family {
            name: "terrace_volume_operation_duration",
            otel: "k8s.pod.volume.operation.duration",
            help: "Time an operation on a claim's volume took, as the kernel saw it; exact to 6.25 percent, its native form to 8.6",
            unit: Unit::Seconds,
            rows: of_operations(view, |figures| {
                (figures.count() > 0).then(|| Value::Histogram(Histogram::of(figures)))
            }),
        },
        Family {
            name: "terrace_volume_io_bytes",
            otel: "k8s.pod.volume.io",
            help: "Bytes read from and written to a claim's volume",
            unit: Unit::None,
            rows: moved(view),
        },
        Family {
            name: "terrace_volume_block_duration",
            otel: "k8s.pod.volume.block.duration",
            help: "Time requests of a claim's volume waited in its device's queue, and were with the device",
            unit: Unit::Seconds,
            rows: block(view),
        },
        Family {
            name: "terrace_volume_cached_operations",
            otel: "k8s.pod.volume.operation.cached",
            help: "Reads and writes during which the caller never slept: answered from memory",
            unit: Unit::None,
            rows: cached(view),
        },
        Family {
            name: "terrace_volume_slow_operations",
            otel: "k8s.pod.volume.operation.slow",
            help: "Operations on a claim's volume that took at least its target",
            unit: Unit::None,
            rows: of_operations(view, |figures| {
                (figures.count() > 0).then_some(Value::Counter(figures.slow))
            }),
        },
        Family {
            name: "terrace_volume_operation_errors",
            otel: "k8s.pod.volume.operation.errors",
            help: "Operations on a claim's volume that failed; no row where none did",
            unit: Unit::None,
            rows: errors(view),
        },
        Family {
            name: "terrace_volume_info",
            otel: "k8s.pod.volume.info",
            help: "What lies below a claim's volume on this node, and which Pods use it",
            unit: Unit::None,
            rows: view.volumes.iter().map(|volume| (info(volume), Value::Gauge(1.0))).collect(),
        },
    ]
}

fn claim(volume: &VolumeView) -> Labels {
    let (namespace, claim) = (volume.namespace.clone(), volume.claim.clone());
    vec![("namespace", namespace), ("persistentvolumeclaim", claim)]
}

fn with(volume: &VolumeView, more: (&'static str, &str)) -> Labels {
    let mut labels = claim(volume);
    labels.push((more.0, more.1.to_owned()));
    labels
}

fn of_operations(
    view: &View,
    say: impl Fn(&OperationFigures) -> Option<Value>,
) -> Vec<(Labels, Value)> {
    let rows = view.volumes.iter().flat_map(|volume| {
        let say = &say;
        Operation::ALL.iter().filter_map(move |operation| {
            let value = say(&volume.figures[operation.index()])?;
            Some((with(volume, ("operation", operation_name(*operation))), value))
        })
    });
    rows.collect()
}

const MOVING: [Operation; 2] = [Operation::Read, Operation::Write];

fn moved(view: &View) -> Vec<(Labels, Value)> {
    let rows = view.volumes.iter().flat_map(|volume| {
        MOVING.into_iter().map(move |operation| {
            let labels = with(volume, ("direction", operation_name(operation)));
            (labels, Value::Counter(volume.figures[operation.index()].bytes))
        })
    });
    rows.collect()
}

fn cached(view: &View) -> Vec<(Labels, Value)> {
    let rows = view.volumes.iter().flat_map(|volume| {
        MOVING.into_iter().map(move |operation| {
            let labels = with(volume, ("operation", operation_name(operation)));
            (labels, Value::Counter(volume.figures[operation.index()].cached))
        })
    });
    rows.collect()
}

fn block(view: &View) -> Vec<(Labels, Value)> {
    let rows = view.volumes.iter().flat_map(|volume| {
        let phases = [("queue", &volume.block.queue), ("device", &volume.block.device)];
        let seen = phases.into_iter().filter(|(_, figures)| figures.count() > 0);
        seen.map(move |(phase, figures)| {
            (with(volume, ("phase", phase)), Value::Histogram(Histogram::of(figures)))
        })
    });
    rows.collect()
}

/// An error as a label.
#[must_use]
pub const fn error_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Eio => "eio",
        ErrorKind::Erofs => "erofs",
        ErrorKind::Enospc => "enospc",
        ErrorKind::Edquot => "edquot",
        ErrorKind::Other => "other",
    }
}

fn errors(view: &View) -> Vec<(Labels, Value)> {
    let mut rows = Vec::new();
    for volume in &view.volumes {
        for operation in Operation::ALL {
            for kind in ErrorKind::ALL {
                let count = volume.figures[operation.index()].errors[kind.index()];
                if count > 0 {
                    let mut labels = with(volume, ("operation", operation_name(*operation)));
                    labels.push(("error", error_name(*kind).to_owned()));
                    rows.push((labels, Value::Counter(count)));
                }
            }
        }
    }
    rows
}

fn info(volume: &VolumeView) -> Labels {
    let VolumeView {
        namespace: _,
        claim: _,
        pv_name,
        storage_class,
        driver,
        device,
        filesystem,
        pods,
        figures: _,
        block: _,
    } = volume;
    let mut labels = claim(volume);
    labels.extend([
        ("persistentvolume", pv_name.clone()),
        ("storageclass", storage_class.clone()),
        ("driver", driver.clone()),
        ("device", device.clone()),
        ("fstype", filesystem.clone()),
        ("pod", pods.join(",")),
    ]);
    labels
}
