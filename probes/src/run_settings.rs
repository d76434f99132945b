//! What the loop goes by, taken from the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::args::{Args, VolumeType};
use crate::class::Bounds;
use crate::latency::Rule;
use crate::loader::Switch;
use crate::metrics_view::Group;

/// Numbers and switches.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The host's /proc.
    pub proc: PathBuf,
    /// The kubelet's folder on the host.
    pub kubelet_dir: String,
    /// From when on an operation is slow where its volume has no target.
    pub threshold: Duration,
    /// When latency is high.
    pub rule: Rule,
    /// Share of operations that is counted where a sample is enough.
    pub sampling: f64,
    /// Types of volume that are counted.
    pub volume_types: Vec<VolumeType>,
    /// Whether the names that were asked for are there too.
    pub asked_names: Switch,
    /// Where classes of latency end.
    pub bounds: Bounds,
    /// Whether slow operations are told that were on nothing of a Pod's and on no critical path.
    pub host_events: Switch,
    /// Whether a slow operation's container is looked up.
    pub correlation: Switch,
}

impl Settings {
    /// From the command line.
    #[must_use]
    pub fn of(args: &Args) -> Self {
        Self {
            proc: args.proc.clone(),
            kubelet_dir: args.kubelet_dir.clone(),
            threshold: args.slow_threshold,
            rule: args.rule(),
            sampling: args.sampling,
            volume_types: args.volume_types.clone(),
            asked_names: if args.asked_names { Switch::On } else { Switch::Off },
            bounds: Bounds { critical_ns: crate::own::whole_ns(args.critical_threshold) },
            host_events: args.host_events.into(),
            correlation: args.container_correlation.into(),
        }
    }

    /// Whether this is counted at all.
    #[must_use]
    pub fn counts(&self, group: Group) -> bool {
        VolumeType::of(group).is_none_or(|kind| self.volume_types.contains(&kind))
    }
}
