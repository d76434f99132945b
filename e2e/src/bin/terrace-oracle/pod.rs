//! A Pod of one process, which has nothing of the node but its volume: a mount namespace of its own, in which the volume has another
//! mount id than on the node. Both ends of the pipe to it are here.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use rustix::process::{chdir, pivot_root};

use crate::labour::{Order, Place, Report};

const READY: &str = "ready";
const DATA: &str = "data";

/// How the process in the Pod is started.
#[derive(Args)]
pub(crate) struct Inside {
    /// What is mounted on the Pod's /data.
    source: PathBuf,
    /// An empty folder of the node for the Pod's root.
    root: PathBuf,
}

impl Inside {
    /// Enters the Pod and obeys until nobody says anything more.
    pub(crate) fn live(&self) -> Result<()> {
        self.enter().context("enter the Pod")?;
        let mut place = Place::prepare(Path::new("/data")).context("prepare the volume")?;
        println!("{READY}");
        for line in std::io::stdin().lines() {
            let order: Order = serde_json::from_str(&line?)?;
            let way = order.way.name();
            let report = place.obey(order).with_context(|| format!("do {way}"))?;
            println!("{}", serde_json::to_string(&report)?);
        }
        Ok(())
    }

    fn enter(&self) -> Result<()> {
        let Self { source, root } = self;
        mount("tmpfs", root, "tmpfs", MountFlags::empty(), None)?;
        let data = root.join(DATA);
        if source.is_dir() {
            std::fs::create_dir(&data)?;
        } else {
            std::fs::File::create(&data)?;
        }
        mount_bind(source, &data)?;
        chdir(root)?;
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        Ok(chdir("/")?)
    }
}

/// A running Pod.
pub(crate) struct Pod {
    process: Child,
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
}

impl Pod {
    /// Starts it and waits until it has its volume.
    pub(crate) fn start(source: &Path, root: &Path) -> Result<Self> {
        std::fs::create_dir_all(root)?;
        let mut start = Command::new("unshare");
        start.args(["--mount", "--propagation", "private", "--"]);
        start.arg(std::env::current_exe()?).arg("inside").arg(source).arg(root);
        let mut process = start.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = process.stdin.take();
        let reports = BufReader::new(process.stdout.take().context("the Pod has no output")?);
        let mut pod = Self { process, orders, reports };
        let line = pod.line()?;
        if line != READY {
            bail!("the Pod said {line}");
        }
        Ok(pod)
    }

    /// Has it do something and waits for the end.
    pub(crate) fn order(&mut self, order: Order) -> Result<Report> {
        let orders = self.orders.as_mut().context("the Pod is ending")?;
        writeln!(orders, "{}", serde_json::to_string(&order)?)?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.reports.read_line(&mut line)? == 0 {
            bail!("the Pod ended: {}", self.process.wait()?);
        }
        Ok(line.trim_end().to_owned())
    }

    /// Ends it, and with it its mounts.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.orders.take());
        let status = self.process.wait()?;
        if !status.success() {
            bail!("the Pod ended: {status}");
        }
        Ok(())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
