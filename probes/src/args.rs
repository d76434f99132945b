//! Command line and environment of `terrace-probe`. Parses and derives; decides nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use terrace_probe_abi::layout::{Operation, SharedClass, Tier};
use terrace_telemetry::LogFormat;

use crate::class::LEAST_CRITICAL_NS;
use crate::latency::Rule;
use crate::loader::{Plan, Switch};
use crate::metrics_view::Group;

/// Measures in the kernel how long every operation on every volume of this node takes.
#[derive(Clone, Debug, Parser)]
#[command(name = "terrace-probe", version)]
pub struct Args {
    /// Name of the Kubernetes node this runs on.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,
    /// Unix socket on which csi-node listens.
    #[arg(long, default_value = "/run/terrace/probe.sock")]
    pub probe_socket: PathBuf,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, default_value = "0.0.0.0:9810")]
    pub listen: SocketAddr,
    /// The host's /proc, as this process sees it.
    #[arg(long, default_value = "/host/proc")]
    pub proc: PathBuf,
    /// The kubelet's folder on the host, without symbolic links.
    #[arg(long, default_value = "/var/lib/kubelet")]
    pub kubelet_dir: String,
    /// Folder on a bpffs for maps and programs, so that a killed probe loses no count; none: nothing outlives the process.
    #[arg(long, default_value = "/var/lib/terrace/bpf/probe")]
    pub pins: PathBuf,
    /// Operations to count; the functions of any other are not attached.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Op::Read, Op::Write, Op::Fsync, Op::Readdir])]
    pub operations: Vec<Op>,
    /// Types of volume to count; the others' operations are left alone.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = VolumeType::ALL)]
    pub volume_types: Vec<VolumeType>,
    /// Share of the operations on what is no volume that is counted, from 0 to 1. Volumes are counted whole.
    #[arg(long, default_value_t = 0.1, value_parser = parse_share)]
    pub sampling: f64,
    /// From when on an operation is slow, where its volume has no target of its own, such as 10ms.
    #[arg(long, default_value = "10ms", value_parser = parse_duration)]
    pub slow_threshold: Duration,
    /// Above what an operation is of the class critical, 10ms at least. The condition and its target know no classes.
    #[arg(long, default_value = "100ms", value_parser = parse_critical)]
    pub critical_threshold: Duration,
    /// Slow operations that wait for a reader of stdout or a collector; more are dropped and counted.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub event_buffer: u32,
    /// Slow operations told a second at most; more are dropped in the kernel and counted.
    #[arg(long, default_value_t = 200)]
    pub events_per_second: u32,
    /// Whether slow operations are written to stdout, one JSON object a line.
    #[arg(long, value_enum, default_value_t = OnOff::On)]
    pub event_lines: OnOff,
    /// Whether slow operations on what is neither a volume nor critical (ConfigMaps, Secrets, /etc/kubernetes, /var/lib/etcd) are
    /// told: container roots, the host, its logs.
    #[arg(long, value_enum, default_value_t = OnOff::Off)]
    pub host_events: OnOff,
    /// Whether a slow operation's container and Pod are looked up.
    #[arg(long, value_enum, default_value_t = OnOff::On)]
    pub container_correlation: OnOff,
    /// Whether queue and device times are taken from the block layer.
    #[arg(long, value_enum, default_value_t = OnOff::On)]
    pub block_times: OnOff,
    /// Take this way into the kernel or none; auto: the best that works, function by function.
    #[arg(long, value_enum, default_value_t = TierChoice::Auto)]
    pub tier: TierChoice,
    /// Windows of 5 s in a row above the target until latency is high.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=720))]
    pub enter_windows: u32,
    /// Windows of 5 s in a row well below the target, or without an operation, until it is over.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=720))]
    pub leave_windows: u32,
    /// Operations a window must hold to be believed.
    #[arg(long, default_value_t = 20)]
    pub least_operations: u64,
    /// Percent of the target below which a window counts as good.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub leave_percent: u8,
    /// Adds the metrics storage_io_* (events processed, slow operations, latency in ms, VFS operations, operations on volumes).
    #[arg(long)]
    pub asked_names: bool,
    /// How often metrics are pushed to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub otlp_interval: Duration,
    /// How log lines on stderr look.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// A switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// Do it.
    On,
    /// Leave it.
    Off,
}

impl From<OnOff> for Switch {
    fn from(switch: OnOff) -> Self {
        match switch {
            OnOff::On => Self::On,
            OnOff::Off => Self::Off,
        }
    }
}

/// An operation, as the command line calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Op {
    /// read, pread, readv and their like.
    Read,
    /// write, pwrite, writev and their like.
    Write,
    /// fsync, fdatasync, sync_file_range.
    Fsync,
    /// getdents (iterate_dir).
    Readdir,
}

/// A way into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TierChoice {
    /// The best that works.
    Auto,
    /// fentry and fexit.
    Fentry,
    /// kprobe and kretprobe.
    Kprobe,
    /// Raw tracepoints of system calls.
    RawTracepoint,
    /// Not at all.
    None,
}

/// A type of volume, as Kubernetes calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VolumeType {
    /// PersistentVolumeClaims, and CSI volumes of one Pod.
    Pvc,
    /// ConfigMaps.
    Configmap,
    /// Secrets.
    Secret,
    /// hostPath.
    Hostpath,
    /// emptyDir.
    Emptydir,
    /// Projected volumes.
    Projected,
    /// downwardAPI.
    Downwardapi,
}

impl VolumeType {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pvc,
        Self::Configmap,
        Self::Secret,
        Self::Hostpath,
        Self::Emptydir,
        Self::Projected,
        Self::Downwardapi,
    ];

    /// The type of what is counted together; `None` for what is no volume.
    #[must_use]
    pub const fn of(group: Group) -> Option<Self> {
        let class = match group {
            Group::Volume => return Some(Self::Pvc),
            Group::Waiting => return None,
            Group::Class(class) => class,
        };
        match class {
            SharedClass::ConfigMap => Some(Self::Configmap),
            SharedClass::Secret => Some(Self::Secret),
            SharedClass::HostPath => Some(Self::Hostpath),
            SharedClass::EmptyDir => Some(Self::Emptydir),
            SharedClass::Projected => Some(Self::Projected),
            SharedClass::Downward => Some(Self::Downwardapi),
            SharedClass::ContainerRoot
            | SharedClass::Host
            | SharedClass::ContainerFiles
            | SharedClass::CriticalKubernetes
            | SharedClass::CriticalEtcd
            | SharedClass::Runtime
            | SharedClass::Logs
            | SharedClass::Kubelet
            | SharedClass::Unnamed => None,
        }
    }
}

impl Args {
    /// What to attach.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let named = |op: &Op| match op {
            Op::Read => Operation::Read,
            Op::Write => Operation::Write,
            Op::Fsync => Operation::Fsync,
            Op::Readdir => Operation::Readdir,
        };
        let forced = match self.tier {
            TierChoice::Auto => None,
            TierChoice::Fentry => Some(Tier::Fentry),
            TierChoice::Kprobe => Some(Tier::Kprobe),
            TierChoice::RawTracepoint => Some(Tier::RawTracepoint),
            TierChoice::None => Some(Tier::None),
        };
        Plan {
            operations: self.operations.iter().map(named).collect(),
            forced,
            pins: Some(self.pins.clone()).filter(|pins| pins.as_os_str() != "none"),
            sampling: self.sampling,
            threshold: self.slow_threshold,
            slow_per_second: self.events_per_second,
            slow_burst: self.event_buffer,
            block: self.block_times.into(),
        }
    }

    /// When latency is high, and when no more.
    #[must_use]
    pub fn rule(&self) -> Rule {
        Rule {
            enter_windows: self.enter_windows,
            leave_windows: self.leave_windows,
            least_operations: self.least_operations,
            leave_percent: self.leave_percent.into(),
        }
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is no share: write a number from 0 to 1, such as 0.1"))
}

fn parse_critical(text: &str) -> Result<Duration, String> {
    let least = Duration::from_nanos(LEAST_CRITICAL_NS);
    let parsed = parse_duration(text)?;
    let odd = || format!("{text:?} is not even slow: write 10ms or more, such as 100ms");
    (parsed >= least).then_some(parsed).ok_or_else(odd)
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = text.find(|c: char| !c.is_ascii_digit()).and_then(|at| {
        let (number, unit) = text.split_at(at);
        let number: u64 = number.parse().ok().filter(|number| (1..=1_000_000).contains(number))?;
        match unit {
            "us" => Some(Duration::from_micros(number)),
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => Some(Duration::from_secs(number * 60)),
            _ => None,
        }
    });
    parsed.ok_or_else(|| {
        format!("{text:?} is no time: write a whole number with us, ms, s or m, such as 10ms")
    })
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
