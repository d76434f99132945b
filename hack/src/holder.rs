//! Finding, starting and entering the rig's namespaces. Found by looking at processes, never by a file that may lie.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::init::{READY, as_stdin};
use crate::paths::Paths;
use crate::run::{command, wait_for};

/// Process 1 of a living rig.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    /// Its number as seen from outside.
    pub(crate) pid: u32,
    /// The `.rig` folder it serves.
    pub(crate) rig: PathBuf,
}

impl Holder {
    /// The rig of this machine, whichever work tree it belongs to.
    pub(crate) fn find_any() -> Option<Self> {
        processes().find_map(Self::of_process)
    }

    /// The rig of this work tree. Another work tree's rig is an error that names it.
    pub(crate) fn find(paths: &Paths) -> Result<Option<Self>> {
        match Self::find_any() {
            Some(holder) if holder.rig == paths.rig => Ok(Some(holder)),
            Some(holder) => bail!(
                "this machine's rig is held by {} (process {}); end it there with hack/down",
                holder.rig.display(),
                holder.pid
            ),
            None => Ok(None),
        }
    }

    fn of_process(pid: u32) -> Option<Self> {
        let words = cmdline(Path::new("/proc"), pid)?;
        let at = words.iter().position(|word| word == "rig-init")?;
        let rig = PathBuf::from(words.get(at + 1)?);
        // `unshare` in front of it has the same words, but is not process 1 of a namespace.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let inner = status.lines().find(|line| line.starts_with("NSpid:"))?;
        let numbers: Vec<&str> = inner.split_whitespace().skip(1).collect();
        (numbers.len() > 1 && numbers.last() == Some(&"1")).then_some(Self { pid, rig })
    }

    /// Makes the namespaces; gives the port of the door to the API server too.
    pub(crate) fn start(paths: &Paths) -> Result<(Self, u16)> {
        let listener = (16443..16500).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
        let listener = listener.context("no free port from 16443 to 16499 on the loopback")?;
        let port = listener.local_addr()?.port();
        for dir in [paths.rig.join("run"), paths.log(), paths.state()] {
            fs::create_dir_all(dir)?;
        }
        let log_path = paths.log().join("init.log");
        let log = File::create(&log_path)?;
        let flags = [
            "unshare",
            "--fork",
            "--kill-child",
            "--pid",
            "--mount",
            "--net",
            "--mount-proc",
            "--propagation",
            "private",
        ];
        let mut start = command("setsid", flags);
        start.arg(std::env::current_exe()?).arg("rig-init").arg(&paths.rig);
        start.stdin(as_stdin(listener)).stdout(log.try_clone()?).stderr(log).current_dir("/");
        let mut child = start.spawn().context("start unshare")?;
        let ready = paths.rig.join(READY);
        let mut ended = false;
        wait_for("the rig's namespaces", Duration::from_secs(20), &log_path, || {
            ended = child.try_wait().is_ok_and(|status| status.is_some());
            ended || ready.exists()
        })?;
        let holder = Self::find(paths)?;
        let holder = holder.with_context(|| {
            format!("the rig did not start: {}", fs::read_to_string(&log_path).unwrap_or_default())
        })?;
        Ok((holder, port))
    }

    /// A command to be run inside. The words given later follow.
    pub(crate) fn enter(&self) -> Command {
        command("nsenter", ["--target", &self.pid.to_string(), "--mount", "--net", "--pid", "--"])
    }

    /// Whether a process of that inner number runs the program.
    pub(crate) fn runs(&self, inner: u32, program: &str) -> bool {
        let proc_dir = PathBuf::from(format!("/proc/{}/root/proc", self.pid));
        cmdline(&proc_dir, inner)
            .is_some_and(|words| words.first().is_some_and(|word| word.ends_with(program)))
    }

    /// The numbers of its namespaces, to see later whether any process is left in them.
    pub(crate) fn namespaces(&self) -> Vec<PathBuf> {
        ["mnt", "net", "pid"]
            .iter()
            .filter_map(|kind| fs::read_link(format!("/proc/{}/ns/{kind}", self.pid)).ok())
            .collect()
    }
}

/// All process numbers of this machine.
pub(crate) fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
}

/// The words of a process's command line; none for a dead one.
pub(crate) fn cmdline(proc_dir: &Path, pid: u32) -> Option<Vec<String>> {
    let bytes = fs::read(proc_dir.join(pid.to_string()).join("cmdline")).ok()?;
    let words: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    (words.len() > 1).then_some(words)
}
