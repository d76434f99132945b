//! The running rig, piece by piece: what the stories use to take something away and give it back.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::cluster;
use crate::holder::Holder;
use crate::parts::Part;
use crate::paths::Paths;
use crate::run::Progress;
use crate::tools::Tools;

/// Arguments of `hack/rig`.
#[derive(Args)]
pub(crate) struct Rig {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the parts and their process numbers inside the rig.
    Status,
    /// End a part as its supervisor would (SIGTERM), and wait.
    Stop {
        /// Which one.
        part: Part,
    },
    /// End a part at once (SIGKILL), and wait.
    Kill {
        /// Which one.
        part: Part,
    },
    /// Start a part that is stopped, and wait until it answers.
    Start {
        /// Which one.
        part: Part,
    },
    /// Copy etcd's data to a tar file, as a power loss would leave it.
    SnapshotEtcd {
        /// The file to write.
        file: PathBuf,
    },
    /// Put etcd's data back from such a file.
    RestoreEtcd {
        /// The file to read.
        file: PathBuf,
    },
    /// Build and import the images that changed.
    Load,
    /// Print the process number of the rig's first process, for nsenter.
    Pid,
    /// Run a command in the rig's network, mounts and processes, as administrator of the cluster.
    Exec {
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<OsString>,
    },
}

impl Rig {
    /// Does it; `exec` passes the command's status on.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        let holder = Holder::find(paths)?.context("no rig is running; start it with hack/up")?;
        let tools = Tools::locate(paths)?;
        match self.action {
            Action::Status => status(paths, &holder),
            Action::Stop { part } => part.stop(paths, &holder, "TERM")?,
            Action::Kill { part } => part.stop(paths, &holder, "KILL")?,
            Action::Start { part } => {
                part.start(paths, &tools, &holder)?;
                part.wait_ready(paths, &tools, &holder)?;
            }
            Action::SnapshotEtcd { file } => cluster::snapshot_etcd(paths, &holder, &file)?,
            Action::RestoreEtcd { file } => cluster::restore_etcd(paths, &tools, &holder, &file)?,
            Action::Load => {
                let images = crate::up::images(paths, progress, crate::up::Content::Product)?;
                cluster::import(&tools, &holder, progress, &images)?;
            }
            Action::Pid => println!("{}", holder.pid),
            Action::Exec { words } => return exec(paths, &tools, &holder, &words),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn status(paths: &Paths, holder: &Holder) {
    println!("rig {} (process {})", holder.rig.display(), holder.pid);
    for part in Part::ALL {
        match part.alive(paths, holder) {
            Some(pid) => println!("{:25} runs, process {pid} inside", part.program()),
            None => println!("{:25} stopped", part.program()),
        }
    }
}

fn exec(paths: &Paths, tools: &Tools, holder: &Holder, words: &[OsString]) -> Result<ExitCode> {
    let mut inside = holder.enter();
    inside.args(words).env("PATH", tools.search_path());
    inside
        .env("KUBECONFIG", paths.conf().join("admin.kubeconfig"))
        .env("CONTAINERD_ADDRESS", "/run/containerd/containerd.sock");
    match inside.status().context("start nsenter")?.code() {
        Some(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))),
        None => bail!("the command was ended by a signal"),
    }
}
