//! Whose turn it is: one emulated guest on this machine, and one User Mode Linux a core. And what killed runs left.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::guest::boot::Which;
use crate::paths::Paths;
use crate::run::Progress;

/// A place among the running guests; it ends with this process.
pub(crate) struct Turn {
    _lock: File,
    /// The core that User Mode Linux is pinned to.
    pub(crate) core: usize,
}

impl Turn {
    /// A second emulated guest is refused, since one takes all cores; another User Mode Linux waits for a core.
    pub(crate) fn take(which: Which, paths: &Paths, progress: &Progress) -> Result<Self> {
        let dir = paths.cache.join("guest");
        fs::create_dir_all(&dir)?;
        let cores = cores()?;
        let last = *cores.first().context("this process may run on no core")?;
        match which {
            Which::Qemu => {
                let (mut lock, holder) = open(&dir.join("lock"))?;
                if lock.try_lock().is_err() {
                    bail!("another guest runs, started by process {}", holder.trim());
                }
                sign(&mut lock)?;
                Ok(Self { _lock: lock, core: last })
            }
            Which::Uml => {
                for core in &cores {
                    let (mut lock, _) = open(&dir.join(format!("lock-{core}")))?;
                    if lock.try_lock().is_ok() {
                        sign(&mut lock)?;
                        return Ok(Self { _lock: lock, core: *core });
                    }
                }
                let (mut lock, holder) = open(&dir.join(format!("lock-{last}")))?;
                progress.say(format!(
                    "each core has its guest; waiting for that of process {}",
                    holder.trim()
                ));
                lock.lock()?;
                sign(&mut lock)?;
                Ok(Self { _lock: lock, core: last })
            }
        }
    }
}

/// Those that this process may run on, the last first: the first has most of a machine's interrupts.
fn cores() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).rev().filter(|core| allowed.is_set(*core)).collect())
}

fn open(path: &Path) -> Result<(File, String)> {
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    let mut holder = String::new();
    file.read_to_string(&mut holder)?;
    Ok((file, holder))
}

fn sign(lock: &mut File) -> Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "{}", std::process::id()).context("write whose lock it is")
}

/// Shares of running guests, each named by the process that started it.
pub(crate) fn runs(paths: &Paths) -> PathBuf {
    paths.cache.join("guest/runs")
}

/// Removes what killed runs left. Their guests ended with them.
pub(crate) fn sweep(paths: &Paths) -> Result<()> {
    for entry in fs::read_dir(runs(paths)).into_iter().flatten() {
        let entry = entry?;
        if !PathBuf::from("/proc").join(entry.file_name()).exists() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
