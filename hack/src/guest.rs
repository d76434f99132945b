//! `hack/guest`: a guest with a kernel that this host does not offer: fentry, kprobes, device-mapper, cgroup v2. QEMU emulates its
//! processors, so it needs nothing of the host, and is slow. It sees the host's root as it is and cannot alter it.

mod image;
mod kernel;
mod machine;

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};

use crate::guest::kernel::Kernel;
use crate::guest::machine::{End, Machine};
use crate::paths::Paths;
use crate::run::Progress;
use crate::tools;

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
    /// Get the kernel and what boots it; `run` does so by itself.
    Prepare,
}

/// Arguments of `hack/guest run`.
#[derive(Args)]
struct Run {
    /// Blank disks, /dev/vda and so on, with the serial numbers disk0 and so on.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=20))]
    disks: u32,
    /// Size of each, in MiB.
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    disk_size: u64,
    /// Memory, in MiB.
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    memory: u64,
    /// Processors.
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// It is ended after so many seconds.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Load this kernel module first; may be given more than once.
    #[arg(long = "load", value_name = "MODULE")]
    load: Vec<String>,
    /// Keep disks, output and console in this folder; what disks it has are used again.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The command, run in the same folder as here.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Guest {
    /// Passes the command's status on.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        let _lock = lock(paths)?;
        let kernel = prepare(paths, progress)?;
        match self.action {
            Action::Prepare => {
                progress.say(format!("the guest's kernel is {}", kernel.release));
                Ok(ExitCode::SUCCESS)
            }
            Action::Run(run) => Ok(ExitCode::from(run.boot(paths, progress, &kernel)?)),
        }
    }
}

impl Run {
    fn boot(self, paths: &Paths, progress: &Progress, kernel: &Kernel) -> Result<u8> {
        let Self { disks, disk_size, memory, cpus, seconds, load, keep, command } = self;
        sweep(paths)?;
        let share = match &keep {
            Some(dir) => dir.clone(),
            None => runs(paths).join(std::process::id().to_string()),
        };
        fs::create_dir_all(&share)?;
        let share = share.canonicalize()?;
        let machine = Machine { share: share.clone(), disks, disk_size, memory, cpus, load };
        let cwd = std::env::current_dir()?;
        machine.lay_out(paths, &job(&cwd.display().to_string(), &command))?;
        let end = machine.boot(kernel, Duration::from_secs(seconds), progress);
        if keep.is_none() {
            fs::remove_dir_all(&share)?;
        }
        Ok(match end? {
            End::Status(status) => status,
            End::Died(console) => {
                progress.say(format!("the guest died; the end of its console:\n{console}"));
                DIED
            }
            End::TimeIsUp(console) => {
                progress.say(format!("{seconds} s are over; the end of its console:\n{console}"));
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
    let run = Run {
        disks: 0,
        disk_size: 0,
        memory: 3072,
        cpus: 2,
        seconds: 3 * 3600,
        load: ["loop", "ext4", "xfs", "btrfs"].map(str::to_owned).to_vec(),
        keep: None,
        command,
    };
    Guest { action: Action::Run(run) }.run(paths, progress)
}

/// A guest that runs a command, tells its status and dies when it should; that leaves the host as it was. Two boots.
pub(crate) fn smoke(paths: &Paths, progress: &Progress) -> Result<()> {
    let _lock = lock(paths)?;
    let kernel = prepare(paths, progress)?;
    let mark = paths.cache.join("guest/mark");
    let script = format!(
        "test -s /sys/kernel/btf/vmlinux && test -b /dev/vda && ! echo > /proc/nothing && echo > {} && exit 7",
        mark.display()
    );
    let run = |script: &str| -> Result<u8> {
        let run = Run {
            disks: 1,
            disk_size: 16,
            memory: 512,
            cpus: 2,
            seconds: 120,
            load: Vec::new(),
            keep: None,
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        };
        run.boot(paths, progress, &kernel)
    };
    let status = run(&script)?;
    ensure!(status == 7, "a command that ends with 7 ended with {status}");
    ensure!(!mark.exists(), "what the guest wrote is on the host: {}", mark.display());
    let status = run("busybox poweroff -f")?;
    ensure!(status == DIED, "a guest that died ended with {status}");
    Ok(())
}

fn prepare(paths: &Paths, progress: &Progress) -> Result<Kernel> {
    tools::ensure_guest_tools(progress)?;
    let kernel = Kernel::ensure(paths, progress)?;
    image::ensure(paths, &kernel)?;
    Ok(kernel)
}

/// The shell script that the guest runs.
fn job(cwd: &str, command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    format!("cd {} || exit 126\nexec {}\n", quoted(cwd), words.join(" "))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Shares of running guests, each named by the process that started it.
fn runs(paths: &Paths) -> PathBuf {
    paths.cache.join("guest/runs")
}

/// Removes what killed runs left. Their guests ended with them.
fn sweep(paths: &Paths) -> Result<()> {
    for entry in fs::read_dir(runs(paths)).into_iter().flatten() {
        let entry = entry?;
        if !PathBuf::from("/proc").join(entry.file_name()).exists() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// One guest at a time on this machine; the lock ends with this process.
fn lock(paths: &Paths) -> Result<File> {
    let path = paths.cache.join("guest/lock");
    fs::create_dir_all(paths.cache.join("guest"))?;
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
    if file.try_lock().is_err() {
        let mut holder = String::new();
        file.read_to_string(&mut holder)?;
        bail!("another guest runs, started by process {}", holder.trim());
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id()).with_context(|| format!("write {}", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::job;

    #[test]
    fn words_reach_the_command_as_they_are() {
        let words = ["sh", "-c", "echo 'a b' $HOME"].map(str::to_owned);
        assert_eq!(
            job("/a b", &words),
            "cd '/a b' || exit 126\nexec 'sh' '-c' 'echo '\\''a b'\\'' $HOME'\n"
        );
    }
}
