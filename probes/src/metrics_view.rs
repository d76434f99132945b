//! What the metrics are about, at one moment: every volume with its figures, every class, and the probe itself. Plain values.

use terrace_probe_abi::layout::{Figures, OperationFigures, SharedClass};

use crate::class::Bounds;
use crate::loader::{BlockFigures, Counters, FunctionReport, Switch};

/// A moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Volumes whose claim is known.
    pub volumes: Vec<VolumeView>,
    /// Everything else that was counted, and volumes whose claim is not known yet.
    pub groups: Vec<(Group, Box<Figures>)>,
    /// The probe.
    pub own: Own,
    /// Whether the names that were asked for are there too.
    pub asked_names: Switch,
    /// Where classes of latency end.
    pub bounds: Bounds,
}

/// A volume.
#[derive(Clone, Debug, Default)]
pub struct VolumeView {
    /// The claim's namespace.
    pub namespace: String,
    /// The claim.
    pub claim: String,
    /// The PersistentVolume.
    pub pv_name: String,
    /// The claim's class.
    pub storage_class: String,
    /// The CSI driver.
    pub driver: String,
    /// Major and minor number of the device below.
    pub device: String,
    /// The filesystem; empty for a raw block volume.
    pub filesystem: String,
    /// Pods that use it here, in order of their names.
    pub pods: Vec<String>,
    /// Figures since its slot began.
    pub figures: Box<Figures>,
    /// Times from the block layer, where the device is its own.
    pub block: BlockFigures,
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Volumes of any CSI driver whose claim is not known yet.
    Volume,
    /// Mounts that wait for their name.
    Waiting,
    /// A class of what is no volume.
    Class(SharedClass),
}

impl Group {
    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Volume => "pvc",
            Self::Waiting => "waiting",
            Self::Class(class) => class_name(class),
        }
    }
}

/// A class as a label; the volume types are spelled as they were asked for.
#[must_use]
pub const fn class_name(class: SharedClass) -> &'static str {
    match class {
        SharedClass::ContainerRoot => "container_root",
        SharedClass::Host => "host",
        SharedClass::ConfigMap => "configmap",
        SharedClass::Secret => "secret",
        SharedClass::Projected => "projected",
        SharedClass::EmptyDir => "emptydir",
        SharedClass::HostPath => "hostpath",
        SharedClass::Downward => "downwardapi",
        SharedClass::ContainerFiles => "container_files",
        SharedClass::CriticalKubernetes => "critical_kubernetes",
        SharedClass::CriticalEtcd => "critical_etcd",
        SharedClass::Runtime => "runtime",
        SharedClass::Logs => "logs",
        SharedClass::Kubelet => "kubelet",
        SharedClass::Unnamed => "unnamed",
    }
}

/// Whether a class is what people call critical: where its operations are slow, more than one Pod suffers.
#[must_use]
pub const fn is_critical(class: SharedClass) -> bool {
    match class {
        SharedClass::ConfigMap
        | SharedClass::Secret
        | SharedClass::CriticalKubernetes
        | SharedClass::CriticalEtcd => true,
        SharedClass::ContainerRoot
        | SharedClass::Host
        | SharedClass::Projected
        | SharedClass::EmptyDir
        | SharedClass::HostPath
        | SharedClass::Downward
        | SharedClass::ContainerFiles
        | SharedClass::Runtime
        | SharedClass::Logs
        | SharedClass::Kubelet
        | SharedClass::Unnamed => false,
    }
}

/// The probe, of itself.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Its version.
    pub version: String,
    /// The running kernel's release.
    pub kernel: String,
    /// How each function is followed.
    pub functions: Vec<FunctionReport>,
    /// Ways to a volume that go unseen.
    pub unobservable: Vec<&'static str>,
    /// What the kernel's side says.
    pub counters: Counters,
    /// Share of operations that is counted where a sample is enough.
    pub sampling: f64,
    /// Slow operations that were told.
    pub slow_told: u64,
    /// Slow operations that found the buffer full, because nobody took them off.
    pub slow_overflowed: u64,
    /// Slots that volumes have.
    pub slots_used: u64,
    /// Mounts and devices in use that are nobody's, by [`Unnamed`](crate::naming::Unnamed).
    pub unnamed: [u64; 3],
    /// Whether csi-node listens.
    pub is_connected: bool,
    /// Memory that is resident, in bytes.
    pub resident_bytes: u64,
    /// Processor time, in nanoseconds.
    pub cpu_ns: u64,
}

impl View {
    /// Figures of everything, volumes first.
    pub fn every(&self) -> impl Iterator<Item = (Group, &Figures)> {
        let volumes = self.volumes.iter().map(|volume| (Group::Volume, &*volume.figures));
        volumes.chain(self.groups.iter().map(|(group, figures)| (*group, &**figures)))
    }
}

/// Figures by group, volumes added up.
#[must_use]
pub fn by_group(view: &View) -> Vec<(Group, Box<Figures>)> {
    let mut all: Vec<(Group, Box<Figures>)> = Vec::new();
    for (group, figures) in view.every() {
        let at = match all.iter().position(|(known, _)| *known == group) {
            Some(at) => at,
            None => {
                all.push((group, Box::new([const { OperationFigures::ZERO }; 4])));
                all.len() - 1
            }
        };
        all[at].1.iter_mut().zip(figures).for_each(|(sum, more)| sum.add(more));
    }
    all
}
