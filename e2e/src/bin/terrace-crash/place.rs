//! The rig as it is seen from outside: its files, its processes, its loop devices and mounts. It reads; the one thing it
//! does is to end a process by number.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use terrace_e2e::rig::{rig, said};

/// Every Pod of the rig is below this cgroup.
const CGROUP: &str = "terrace-rig";

/// The running rig.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    holder: u32,
}

impl Place {
    pub(crate) fn find() -> Result<Self> {
        let holder = rig(&["pid"])?.trim().parse().context("the number of the rig's process 1")?;
        Ok(Self { holder })
    }

    /// A path of the node.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.holder)).join(inside.trim_start_matches('/'))
    }

    /// A shell line as root of the node.
    pub(crate) fn shell(&self, line: &str) -> Result<String> {
        let target = self.holder.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &target, "--mount", "--net", "--pid", "--", "sh", "-c", line]);
        said(&mut command)
    }

    /// What a process of a Pod answers on its loopback.
    pub(crate) fn ask(&self, pid: u32, url: &str) -> Result<String> {
        let target = pid.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &target, "--net", "--", "/bin/busybox", "wget", "-q", "-O", "-"]);
        said(command.arg(url))
    }

    /// Numbers of the processes in Pods whose program has this file name, as seen from outside.
    pub(crate) fn pids(&self, program: &str) -> Vec<u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(|pid| runs(*pid, program)).collect()
    }

    /// SIGKILL, if it still is that program.
    pub(crate) fn kill(&self, pid: u32, program: &str) -> Result<()> {
        signal("KILL", pid, program)
    }

    /// Asks it to end, as its kubelet does.
    pub(crate) fn end(&self, pid: u32, program: &str) -> Result<()> {
        signal("TERM", pid, program)
    }

    /// Loop devices and the files behind them, as the kernel names these.
    pub(crate) fn loops(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let file = |dir: &Path| fs::read_to_string(dir.join("loop/backing_file")).ok();
        entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some((name, file(&entry.path())?.trim().to_owned()))
            })
            .collect()
    }

    /// The node's table of mounts.
    pub(crate) fn mounts(&self) -> Result<String> {
        let file = format!("/proc/{}/mountinfo", self.holder);
        fs::read_to_string(&file).with_context(|| format!("read {file}"))
    }
}

fn signal(name: &str, pid: u32, program: &str) -> Result<()> {
    ensure!(runs(pid, program), "process {pid} is no {program} any more");
    said(Command::new("kill").args(["-s", name, &pid.to_string()])).map(drop)
}

fn runs(pid: u32, program: &str) -> bool {
    let of = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let words = of("cmdline");
    let first = words.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = first.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name == program.as_bytes() && String::from_utf8_lossy(&of("cgroup")).contains(CGROUP)
}
