//! Command line and environment of `terrace-node`. Parses and derives; decides nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};
use terrace_crds::latency::{Latency, LatencyError};
use terrace_crds::names;
use terrace_crds::period::{Period, PeriodError};
use terrace_telemetry::LogFormat;

use crate::agent::probe::directories;
use crate::agent::probe::names::Settings;

/// Where pools may lie unless the chart says otherwise.
const DEFAULT_POOL_ROOT: &str = "/var/lib/terrace/pools";
/// Memory that one staged volume is taken to need at most: loop device, filesystem, page cache floor.
const MEMORY_PER_VOLUME: u64 = 64 << 20;
/// Bounds of the derived volume limit.
const VOLUME_LIMITS: (u64, u64) = (16, 1024);

/// Node half of Terrace: serves the kubelet, keeps the node's pools and volumes as the API asks.
#[derive(Clone, Debug, Parser)]
#[command(name = "terrace-node", version)]
pub struct Args {
    /// Name of the Kubernetes node this runs on.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,
    /// Unix socket to serve CSI on; default: below the kubelet's plugin folder.
    #[arg(long, env = "CSI_ENDPOINT")]
    pub endpoint: Option<String>,
    /// The kubelet's folder, at the same path as on the host.
    #[arg(long, default_value = "/var/lib/kubelet")]
    pub kubelet_dir: PathBuf,
    /// Folder for journal, lock and mounts of pools.
    #[arg(long, default_value = "/var/lib/terrace")]
    pub state_dir: PathBuf,
    /// Folder below which a pool may name its own; repeat for more.
    #[arg(long = "pool-root", default_value = DEFAULT_POOL_ROOT)]
    pub pool_roots: Vec<PathBuf>,
    /// Most volumes that may be staged here; default: one for each 64 MiB of memory, from 16 to 1024.
    #[arg(long)]
    pub max_volumes: Option<u64>,
    /// Use of bytes or inodes, in percent, from which a volume is under pressure.
    #[arg(long, default_value_t = 85, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub capacity_pressure_percent: u8,
    /// How long what an operation left behind (a quarantined or unfinished host object that nothing names) must have been
    /// left before it is removed, such as 10m.
    #[arg(long, default_value = "10m", value_parser = parse_sweep_after)]
    pub sweep_after: Duration,
    /// Most operations that run at once; the others wait for their turn. One that hangs in the kernel does not count.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub max_operations: u16,
    /// Address of the node's HTTP API; loopback of the Pod only.
    #[arg(long, default_value = "127.0.0.1:9808")]
    pub http: SocketAddr,
    /// Address of health and metrics, for the kubelet and Prometheus; names no volume.
    #[arg(long, default_value = "0.0.0.0:9809")]
    pub health: SocketAddr,
    /// Socket on which the probe is heard; empty: none is expected.
    #[arg(long, default_value = "/run/terrace/probe.sock", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub probe_socket: PathBuf,
    /// The p99 that a volume is to stay below whose StorageVolume names none, such as 10ms; `none`: it may take as long as it does.
    #[arg(long, default_value = "10ms", value_parser = parse_latency_target)]
    pub latency_target: LatencyTarget,
    /// Folders of the host whose operations the probe counts apart, by commas.
    #[arg(long, value_delimiter = ',', default_value = directories::DEFAULT)]
    pub probe_directories: Vec<String>,
    /// The host's /proc, through whose process 1 those folders are looked up; where there is none, they are not told apart.
    #[arg(long, default_value = "/host/proc")]
    pub host_proc: PathBuf,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// What volumes are held to that name no target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LatencyTarget {
    /// Nothing.
    None,
    /// This p99.
    P99(Latency),
}

impl LatencyTarget {
    /// In nanoseconds.
    #[must_use]
    pub fn nanos(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::P99(latency) => u64::try_from(latency.duration().ok()?.as_nanos()).ok(),
        }
    }
}

fn parse_latency_target(text: &str) -> Result<LatencyTarget, LatencyError> {
    if text == "none" { Ok(LatencyTarget::None) } else { text.parse().map(LatencyTarget::P99) }
}

fn parse_sweep_after(text: &str) -> Result<Duration, PeriodError> {
    text.parse::<Period>()?.duration()
}

impl Args {
    /// The CSI socket.
    #[must_use]
    pub fn csi_socket(&self) -> PathBuf {
        let default = || self.kubelet_dir.join("plugins").join(names::DRIVER).join("csi.sock");
        let given = self.endpoint.as_deref();
        given.map_or_else(default, |text| PathBuf::from(text.trim_start_matches("unix://")))
    }

    /// The socket in which the kubelet finds the plugin. The kubelet dials it by its bare path (seen in 1.36), which
    /// gRPC for Go then sends, percent-encoded, as the HTTP/2 authority; h2 resets such a stream with PROTOCOL_ERROR,
    /// for percent signs may stand only before an `@`. So the file name has one.
    #[must_use]
    pub fn registration_socket(&self) -> PathBuf {
        self.kubelet_dir
            .join("plugins_registry")
            .join(format!("terrace@{}-reg.sock", names::DRIVER))
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.state_dir.join("journal.redb")
    }

    /// Where lvm's configuration lies, which is ours alone.
    #[must_use]
    pub fn lvm_dir(&self) -> PathBuf {
        self.state_dir.join("lvm")
    }

    /// Where filesystems of device pools are mounted.
    #[must_use]
    pub fn pool_mounts(&self) -> PathBuf {
        self.state_dir.join("mnt")
    }

    /// Where the probe is heard; `None`: it is not.
    #[must_use]
    pub fn probe_socket(&self) -> Option<PathBuf> {
        (!self.probe_socket.as_os_str().is_empty()).then(|| self.probe_socket.clone())
    }

    /// Where maps of the probe outlive it.
    #[must_use]
    pub fn bpf_mount(&self) -> PathBuf {
        self.state_dir.join("bpf")
    }

    /// What the probe is told.
    #[must_use]
    pub fn probe_settings(&self) -> Settings {
        Settings {
            default_target_ns: self.latency_target.nanos(),
            directories: self.probe_directories.clone(),
            host_root: self.host_proc.join("1/root"),
        }
    }

    /// Volumes that the scheduler may put here.
    #[must_use]
    pub fn volume_limit(&self, memory_bytes: u64) -> u64 {
        let (least, most) = VOLUME_LIMITS;
        let derived = (memory_bytes / MEMORY_PER_VOLUME).clamp(least, most);
        self.max_volumes.unwrap_or(derived)
    }
}

#[cfg(test)]
mod tests {
    use super::{Args, Duration, Parser};

    fn args(more: &[&str]) -> Args {
        Args::parse_from([&["terrace-node", "--node-name", "n1"], more].concat())
    }

    #[test]
    fn sockets_lie_where_the_kubelet_looks() {
        let args = args(&["--kubelet-dir", "/k"]);
        assert_eq!(args.csi_socket().to_str(), Some("/k/plugins/csi.terrace.storage/csi.sock"));
        let registration = args.registration_socket();
        assert_eq!(
            registration.to_str(),
            Some("/k/plugins_registry/terrace@csi.terrace.storage-reg.sock")
        );
    }

    #[test]
    fn the_registration_socket_is_an_authority_when_percent_encoded() {
        let socket = args(&[]).registration_socket().display().to_string();
        let sent = socket.replace('/', "%2F");
        assert!(sent.parse::<http::uri::Authority>().is_ok(), "{sent}");
        let without = sent.replace("terrace@", "");
        assert!(without.parse::<http::uri::Authority>().is_err(), "the @ is no longer needed");
    }

    #[test]
    fn an_endpoint_may_carry_its_scheme() {
        let socket = |text| args(&["--endpoint", text]).csi_socket();
        assert_eq!(socket("unix:///tmp/a.sock").to_str(), Some("/tmp/a.sock"));
        assert_eq!(socket("/tmp/a.sock").to_str(), Some("/tmp/a.sock"));
    }

    #[test]
    fn the_volume_limit_follows_memory_unless_set() {
        assert_eq!(args(&[]).volume_limit(0), 16);
        assert_eq!(args(&[]).volume_limit(4 << 30), 64);
        assert_eq!(args(&[]).volume_limit(1 << 50), 1024);
        assert_eq!(args(&["--max-volumes", "8"]).volume_limit(1 << 50), 8);
    }

    #[test]
    fn what_is_left_behind_has_ten_minutes_unless_somebody_says_otherwise() {
        assert_eq!(args(&[]).sweep_after, Duration::from_secs(600));
        assert_eq!(args(&["--sweep-after", "5s"]).sweep_after, Duration::from_secs(5));
        let odd = ["terrace-node", "--node-name", "n1", "--sweep-after", "soon"];
        assert!(Args::try_parse_from(odd).is_err());
    }

    #[test]
    fn volumes_are_held_to_ten_milliseconds_unless_somebody_says_otherwise() {
        let target = |more: &[&str]| args(more).probe_settings().default_target_ns;
        assert_eq!(target(&[]), Some(10_000_000));
        assert_eq!(target(&["--latency-target", "2500us"]), Some(2_500_000));
        assert_eq!(target(&["--latency-target", "none"]), None);
        let odd = ["terrace-node", "--node-name", "n1", "--latency-target", "fast"];
        assert!(Args::try_parse_from(odd).is_err());
    }

    #[test]
    fn an_empty_socket_is_no_probe() {
        let socket = |more: &[&str]| args(more).probe_socket();
        assert_eq!(socket(&[]).expect("one").to_str(), Some("/run/terrace/probe.sock"));
        assert_eq!(socket(&["--probe-socket", ""]), None);
        assert_eq!(args(&[]).probe_directories.len(), 5);
    }

    #[test]
    fn more_than_one_pool_root_may_be_given() {
        let args = args(&["--pool-root", "/a", "--pool-root", "/b"]);
        assert_eq!(args.pool_roots.len(), 2);
    }
}
