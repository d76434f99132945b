//! The last words of a process that was killed: the kubelet keeps those of the last death only. Best effort; it proves nothing.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::ledger::folder;
use crate::place::Place;
use crate::points::program_of;
use terrace_faults::Process;

/// So much of each.
const TAIL: u64 = 64 << 10;

/// Appends the newest log of the process's container to a file of ours, below a line that names the blow.
pub(crate) fn keep(place: &Place, process: Process, blow: usize) {
    let Some(newest) = newest(&place.path("/var/log/pods"), process) else { return };
    let kept = folder().join(format!("{}.log", process.as_str()));
    // A log that cannot be kept is no finding.
    let _ = append(&newest, &kept, blow);
}

fn newest(pods: &Path, process: Process) -> Option<PathBuf> {
    let prefix = format!("terrace-system_{}", program_of(process));
    let of_pods = fs::read_dir(pods).ok()?.flatten();
    let folders = of_pods.filter(|pod| pod.file_name().to_string_lossy().starts_with(&prefix));
    let logs = folders.flat_map(|pod| fs::read_dir(pod.path().join(process.as_str())));
    let files = logs.flat_map(|entries| entries.flatten());
    files
        .filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path())))
        .max()
        .map(|(_, path)| path)
}

fn append(from: &Path, to: &Path, blow: usize) -> std::io::Result<()> {
    let mut log = File::open(from)?;
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut text = Vec::new();
    log.take(TAIL).read_to_end(&mut text)?;
    let mut kept = File::options().create(true).append(true).open(to)?;
    writeln!(kept, "--- before blow {blow}, {}", from.display())?;
    kept.write_all(&text)
}
