//! The programs of the simulated cluster that are started here: kwok, the operator, csi-provisioner. Each ends with its
//! handle, however the measurement ends.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use terrace_e2e::rig;

use crate::process::Process;

/// Where the operator tells of itself.
const HTTP: &str = "127.0.0.1:18080";
/// How long a program may take to end when asked.
const LAST: Duration = Duration::from_secs(20);
/// How long a node's Lease holds: kwok renews each four times as often. Kubelets take 40 s; a thousand of them are more
/// than two processors should spend on that while something else is measured.
const NODE_LEASE_SECONDS: &str = "200";

/// A program that runs.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(mut command: Command, folder: &Path, name: &str) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        command.env("KUBECONFIG", rig::kubeconfig()?).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Self { child, log })
    }

    /// Memory and processor time.
    pub(super) fn look(&mut self) -> Result<Process> {
        if let Some(status) = self.child.try_wait()? {
            bail!("a program of the measurement ended with {status}; see {}", self.log.display());
        }
        Process::look(self.child.id())
    }

    /// Asks it to end, and waits.
    pub(super) fn end(mut self) -> Result<()> {
        rig::said(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let limit = Instant::now() + LAST;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > limit {
                bail!("it did not end within {} s; see {}", LAST.as_secs(), self.log.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended before, or ended now: either way nothing of it stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Heartbeats of every Node of the API server.
pub(super) fn kwok(folder: &Path) -> Result<Running> {
    let mut command = Command::new("kwok");
    let config = folder.join("kwok.yaml");
    std::fs::write(&config, include_str!("kwok.yaml"))?;
    command.arg("--kubeconfig").arg(rig::kubeconfig()?).arg("--config").arg(config);
    command.args(["--manage-all-nodes", "--node-lease-duration-seconds", NODE_LEASE_SECONDS]);
    Running::start(command, folder, "kwok")
}

/// The operator, as it is released.
pub(super) fn operator(folder: &Path) -> Result<Running> {
    let program = std::env::var_os("TERRACE_OPERATOR").context("hack/bench starts this")?;
    let mut command = Command::new(program);
    command.args(["--identity", "bench", "--http", HTTP, "--csi-endpoint"]).arg(socket(folder));
    command.envs(heap());
    Running::start(command, folder, "terrace-operator")
}

/// What the chart tells our programs about their heap: the variables of its list that have a value of their own.
fn heap() -> impl Iterator<Item = (&'static str, &'static str)> {
    let list = include_str!("../../../../../charts/terrace/templates/_names.tpl");
    let lines = list.lines().zip(list.lines().skip(1));
    lines.filter_map(|(name, value)| {
        let (name, value) = (name.strip_prefix("- name: ")?, value.strip_prefix("  value: ")?);
        (!value.contains("{{")).then(|| (name, value.trim_matches('"')))
    })
}

/// csi-provisioner as the chart starts it, but for what needs a Pod and a Deployment of its own: publishing capacity, and
/// the election of a leader.
pub(super) fn provisioner(folder: &Path) -> Result<Running> {
    let mut command = Command::new("csi-provisioner");
    command.arg(format!("--csi-address={}", socket(folder).display()));
    command.arg(format!("--kubeconfig={}", rig::kubeconfig()?.display()));
    command.args(["--timeout=60s", "--worker-threads=100", "--kube-api-qps=100"]);
    command.args(["--kube-api-burst=200", "--extra-create-metadata", "--strict-topology"]);
    Running::start(command, folder, "csi-provisioner")
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("csi.sock")
}

/// What the operator answers; nothing while it does not.
pub(super) fn get(page: &str) -> Option<String> {
    let mut stream = TcpStream::connect(HTTP).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {page} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// Reconciliations so far, by the operator's own count.
pub(super) fn reconciled() -> Option<u64> {
    let page = get("/metrics")?;
    let counts =
        page.lines().filter(|line| line.starts_with("terrace_operator_reconcile_seconds_count"));
    counts.map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
