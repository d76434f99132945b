//! The rows of a node: by class of what was used, whatever its number of claims. Latency and size classes are here.

use crate::class::operation_name;
use terrace_probe_abi::layout::{Figures, Operation, Path, SizeClass};

use crate::class::{LatencyClass, latency_classes, size_label};
use crate::metrics::{Family, Histogram, Labels, Unit, Value};
use crate::metrics_view::{Group, View, by_group};

/// The families.
#[must_use]
pub fn families(view: &View) -> Vec<Family> {
    let groups = by_group(view);
    let family = |name, help, unit, rows| Family { name, otel: "", help, unit, rows };
    vec![
        family(
            "terrace_operation_duration",
            "Time an operation took, by class of what it went to",
            Unit::Seconds,
            each(&groups, |figures, operation| {
                let figures = &figures[operation.index()];
                vec![(None, Value::Histogram(Histogram::of(figures)))]
            }),
        ),
        family(
            "terrace_latency_class_operations",
            "Operations by how long they took: fast up to 1 ms, normal up to 10 ms, slow up to 100 ms or what was set, critical above",
            Unit::None,
            each(&groups, |figures, operation| {
                let counts = latency_classes(&figures[operation.index()].buckets, view.bounds);
                let named = LatencyClass::ALL.iter().zip(counts);
                named
                    .map(|(class, count)| {
                        (Some(("latency", class.as_str())), Value::Counter(count))
                    })
                    .collect()
            }),
        ),
        family(
            "terrace_size_class_operations",
            "Reads and writes by what they moved: small up to 4 KiB, medium up to 64 KiB, large up to 1 MiB, huge above",
            Unit::None,
            each(&groups, |figures, operation| {
                let sizes = figures[operation.index()].sizes;
                let named =
                    SizeClass::ALL.iter().zip(sizes).filter(|_| sizes.iter().any(|size| *size > 0));
                named
                    .map(|(class, count)| {
                        (Some(("size", size_label(*class))), Value::Counter(count))
                    })
                    .collect()
            }),
        ),
        family(
            "terrace_path_operations",
            "Operations by the way they came to the kernel",
            Unit::None,
            each(&groups, |figures, operation| {
                let figures = &figures[operation.index()];
                let ways = Path::ALL.iter().map(|path| (path, figures.by_path(*path)));
                ways.filter(|(_, count)| *count > 0)
                    .map(|(path, count)| (Some(("path", path_name(*path))), Value::Counter(count)))
                    .collect()
            }),
        ),
    ]
}

type Said = Vec<(Option<(&'static str, &'static str)>, Value)>;

fn each(
    groups: &[(Group, Box<Figures>)],
    say: impl Fn(&Figures, Operation) -> Said,
) -> Vec<(Labels, Value)> {
    let mut rows = Vec::new();
    for (group, figures) in groups {
        let done = Operation::ALL.iter().filter(|operation| figures[operation.index()].count() > 0);
        for operation in done {
            for (more, value) in say(figures, *operation) {
                let mut labels: Labels = vec![
                    ("class", group.as_str().to_owned()),
                    ("operation", operation_name(*operation).to_owned()),
                ];
                labels.extend(more.map(|(name, value)| (name, value.to_owned())));
                rows.push((labels, value));
            }
        }
    }
    rows
}

/// A way as a label.
#[must_use]
pub const fn path_name(path: Path) -> &'static str {
    match path {
        Path::Syscall => "syscall",
        Path::IoUring => "io_uring",
        Path::Aio => "aio",
        Path::Mmap => "mmap",
        Path::Splice => "splice",
        Path::Nested => "nested",
    }
}
