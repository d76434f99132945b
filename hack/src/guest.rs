//! `hack/guest`: a guest with a kernel that offers what this host's does not. It sees the host's root as it is and cannot alter it: what it
//! writes goes away with it, but for its disks and the folder it shares.

mod boot;
mod cluster;
mod crate_tests;
mod image;
mod kernel;
mod machine;
mod qemu;
mod smoke;
mod turn;
mod uml;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::guest::boot::{Boot, Which};
use crate::guest::cluster::{Cluster, Conformance, Stories};
use crate::guest::crate_tests::CrateTests;
use crate::guest::machine::{End, Machine};
use crate::guest::turn::{Turn, runs, sweep};
use crate::paths::Paths;
use crate::run::Progress;

pub(crate) use crate::guest::crate_tests::{logical_volumes, run_on_scratch};
pub(crate) use crate::guest::smoke::{emulated, user_mode};

/// What a run of the command ends with where the guest died under it.
const DIED: u8 = 125;
/// What it ends with where the time was up, as timeout(1) says it.
const TIME_IS_UP: u8 = 124;

/// Arguments of `hack/guest`.
#[derive(Args)]
pub(crate) struct Guest {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Boot, run a command, print what it prints and end with its status; 125 if the guest died, 124 if the time was up.
    Run(Run),
    /// Run the tests of a crate in a guest, each program of them by itself.
    Test(CrateTests),
    /// Start the whole cluster with Terrace in a User Mode Linux, then run a command there.
    Cluster(Cluster),
    /// Run stories on the whole cluster in a User Mode Linux.
    Stories(Stories),
    /// Run Kubernetes' own suite against thin volumes on the whole cluster in a User Mode Linux.
    Conformance(Conformance),
    /// Get the kernel and what boots it; the others do so by themselves.
    Prepare {
        /// Whose kernel.
        #[arg(long, value_enum, default_value_t = Which::Qemu)]
        kernel: Which,
    },
    /// See that guests run commands, tell their status, die, and that what was synced is on their disks then.
    Smoke {
        /// Whose kernel.
        #[arg(long, value_enum, default_value_t = Which::Qemu)]
        kernel: Which,
    },
}

/// Arguments of `hack/guest run`.
#[derive(Args)]
struct Run {
    /// Whose kernel.
    #[arg(long, value_enum, default_value_t = Which::Qemu)]
    kernel: Which,
    #[command(flatten)]
    shape: Shape,
    /// The command, run in the same folder as here.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What a guest has.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Shape {
    /// Blank disks with the serial numbers disk0 and so on; TERRACE_DISKS names them in the guest.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=20))]
    disks: u32,
    /// Size of each, in MiB; it takes of the host's disk what was written.
    #[arg(long, value_name = "MIB")]
    disk_size: Option<u64>,
    /// Memory, in MiB.
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// Processors: two, or the one that User Mode Linux has.
    #[arg(long)]
    cpus: Option<u32>,
    /// It is killed after so many seconds, as it is when its job makes the file $TERRACE_SHARE/cut: to its disks that is a power loss.
    #[arg(long)]
    seconds: Option<u64>,
    /// Load this kernel module first; may be given more than once.
    #[arg(long = "load", value_name = "MODULE")]
    load: Vec<String>,
    /// Keep disks, output and console in this folder; what disks it has are used again.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// What a guest does.
struct Job<'a> {
    shape: Shape,
    /// A shell script.
    script: &'a str,
    /// What goes into the share before: the name there, and the file.
    files: &'a [(String, PathBuf)],
}

impl Guest {
    /// Passes the command's status on.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        match self.action {
            Action::Prepare { kernel } => {
                let boot = Boot::ensure(kernel, paths, progress)?;
                progress.say(format!("the guest's kernel is {}", boot.release()));
            }
            Action::Smoke { kernel: Which::Qemu } => emulated(paths, progress)?,
            Action::Smoke { kernel: Which::Uml } => user_mode(paths, progress)?,
            Action::Run(run) => return Ok(ExitCode::from(run.run(paths, progress)?)),
            Action::Test(tests) => return tests.run(paths, progress),
            Action::Cluster(cluster) => return cluster.run(paths, progress),
            Action::Stories(stories) => return stories.run(paths, progress),
            Action::Conformance(suite) => return suite.run(paths, progress),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Run {
    fn run(self, paths: &Paths, progress: &Progress) -> Result<u8> {
        let Self { kernel, shape, command } = self;
        let host = Host::take(kernel, paths, progress)?;
        let script = script(&std::env::current_dir()?, &command);
        host.run(Job { shape, script: &script, files: &[] })
    }
}

/// A kernel, and the right to boot it.
struct Host<'a> {
    boot: Boot,
    turn: Turn,
    paths: &'a Paths,
    progress: &'a Progress,
}

impl<'a> Host<'a> {
    fn take(kernel: Which, paths: &'a Paths, progress: &'a Progress) -> Result<Self> {
        let turn = Turn::take(kernel, paths, progress)?;
        Ok(Self { boot: Boot::ensure(kernel, paths, progress)?, turn, paths, progress })
    }

    /// Boots one guest for the job and gives its status.
    fn run(&self, job: Job<'_>) -> Result<u8> {
        let Job { shape, script, files } = job;
        let Shape { disks, disk_size, memory, cpus, seconds, load, keep } = shape;
        sweep(self.paths)?;
        let own = runs(self.paths).join(std::process::id().to_string());
        let share = keep.clone().unwrap_or_else(|| own.clone());
        fs::create_dir_all(&share)?;
        let share = share.canonicalize()?;
        let machine = Machine {
            share,
            disks,
            disk_size: disk_size.unwrap_or(1024),
            memory: memory.unwrap_or(1024),
            cpus: cpus.unwrap_or(match self.boot {
                Boot::Qemu(_) => 2,
                Boot::Uml(_) => 1,
            }),
            core: self.turn.core,
            load,
        };
        machine.lay_out(self.paths, &self.boot, script)?;
        for (name, file) in files {
            let to = machine.share.join(name);
            // The same file where that can be: a build may replace it under its old name meanwhile.
            fs::hard_link(file, &to).or_else(|_| fs::copy(file, &to).map(|_| ()))?;
        }
        let seconds = seconds.unwrap_or(300);
        let end = machine.run(&self.boot, Duration::from_secs(seconds), self.progress);
        if keep.is_none() {
            fs::remove_dir_all(&machine.share)?;
        }
        Ok(match end? {
            End::Status(status) => status,
            End::Died(why) => {
                self.progress.say(format!("the guest died:\n{why}"));
                DIED
            }
            End::TimeIsUp(console) => {
                self.progress
                    .say(format!("{seconds} s are over; the end of its console:\n{console}"));
                TIME_IS_UP
            }
        })
    }
}

/// A command that needs filesystems and takes its time.
pub(crate) fn run_long(
    paths: &Paths,
    progress: &Progress,
    command: Vec<String>,
) -> Result<ExitCode> {
    let shape = Shape {
        memory: Some(3072),
        seconds: Some(3 * 3600),
        load: ["loop", "ext4", "xfs", "btrfs"].map(str::to_owned).to_vec(),
        ..Shape::default()
    };
    Ok(ExitCode::from(Run { kernel: Which::Qemu, shape, command }.run(paths, progress)?))
}

/// The shell script that runs a command in a folder.
fn script(cwd: &Path, command: &[String]) -> String {
    format!("cd {} || exit 126\nexec {}\n", quoted(&cwd.display().to_string()), words(command))
}

fn words(command: &[String]) -> String {
    command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::script;

    #[test]
    fn words_reach_the_command_as_they_are() {
        let words = ["sh", "-c", "echo 'a b' $HOME"].map(str::to_owned);
        assert_eq!(
            script(Path::new("/a b"), &words),
            "cd '/a b' || exit 126\nexec 'sh' '-c' 'echo '\\''a b'\\'' $HOME'\n"
        );
    }
}
