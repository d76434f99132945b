//! A program that knows what it wrote: numbered blocks one after another, each made durable before it is acknowledged in a log
//! that lies elsewhere. `hack/upgrade` runs it in a Pod; it knows no cluster and needs no work tree.

mod blocks;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Subcommand;
use rustix::fs::{Advice, fadvise};
use serde_json::json;

use self::blocks::{BLOCK, Entry, block, fault_of, sum_up};

/// Between two blocks: the disk is in use, and not full within the time of an upgrade.
const PAUSE: Duration = Duration::from_millis(4);
/// After a failure.
const PATIENCE: Duration = Duration::from_millis(100);

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Writer {
    /// Write until the file LOG.stop is there.
    Write(Files),
    /// Compare every acknowledged block with what can be read; print the result as JSON.
    Verify(Files),
}

/// Where.
#[derive(clap::Args)]
pub(crate) struct Files {
    /// File or block device that is written.
    #[arg(long)]
    target: PathBuf,
    /// Where each acknowledged block is noted.
    #[arg(long)]
    log: PathBuf,
}

impl Writer {
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Self::Write(files) => write(files),
            Self::Verify(files) => verify(files),
        }
    }
}

fn write(Files { target, log }: &Files) -> Result<()> {
    let open = |file: &mut std::fs::OpenOptions, path: &Path| {
        file.create(true).open(path).with_context(|| format!("open {}", path.display()))
    };
    let file = open(File::options().write(true).truncate(false), target)?;
    let mut notes = open(File::options().append(true), log)?;
    let stop = stop_file(log);
    let start = Instant::now();
    let mut number = 0;
    note(&mut notes, &Entry::Began)?;
    while !stop.exists() {
        let put = put(&file, number);
        let at_ms = u64::try_from(start.elapsed().as_millis())?;
        match put {
            Ok(()) => {
                note(&mut notes, &Entry::Acknowledged { number, at_ms })?;
                number += 1;
                sleep(PAUSE);
            }
            Err(error) => {
                note(&mut notes, &Entry::Failed { number, at_ms, why: error.to_string() })?;
                sleep(PATIENCE);
            }
        }
    }
    Ok(())
}

fn put(file: &File, number: u64) -> io::Result<()> {
    file.write_all_at(&block(number), number * BLOCK as u64)?;
    file.sync_data()
}

/// A line in one call, so that a reader never sees half of one but at the end.
fn note(notes: &mut File, entry: &Entry) -> Result<()> {
    notes.write_all(entry.to_string().as_bytes()).context("write the log")
}

fn stop_file(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".stop");
    PathBuf::from(name)
}

fn verify(Files { target, log }: &Files) -> Result<()> {
    let text = std::fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    let told = sum_up(&text).map_err(anyhow::Error::msg).context("the log proves nothing")?;
    let file = File::open(target).with_context(|| format!("open {}", target.display()))?;
    // What is only in memory proves nothing.
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let mut wrong = Vec::new();
    for number in 0..told.acknowledged {
        let mut bytes = vec![0; BLOCK];
        let fault = match file.read_exact_at(&mut bytes, number * BLOCK as u64) {
            Ok(()) => fault_of(number, &bytes).map(str::to_owned),
            Err(error) => Some(error.to_string()),
        };
        wrong.extend(fault.map(|fault| format!("block {number}: {fault}")));
    }
    let line = json!({
        "acknowledged": told.acknowledged, "failures": told.failures.len(), "wrong": wrong.len(),
        "longestPauseMs": told.longest_pause_ms,
        "first": told.failures.first().or(wrong.first()),
    });
    println!("{line}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Entry, File, note, put, stop_file};

    #[test]
    fn what_was_put_is_read_back_by_its_number() {
        let dir = std::env::temp_dir().join(format!("terrace-writer-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = File::create(dir.join("blocks")).unwrap();
        let mut notes = File::create(dir.join("log")).unwrap();
        note(&mut notes, &Entry::Began).unwrap();
        for number in 0..3 {
            put(&file, number).unwrap();
            note(&mut notes, &Entry::Acknowledged { number, at_ms: number }).unwrap();
        }
        let written = fs::read(dir.join("blocks")).unwrap();
        let log = fs::read_to_string(dir.join("log")).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        let faults =
            written.chunks(super::BLOCK).zip(0..).map(|(bytes, n)| super::fault_of(n, bytes));
        assert_eq!(faults.collect::<Vec<_>>(), [None; 3]);
        assert_eq!(super::sum_up(&log).unwrap().acknowledged, 3);
        assert_eq!(stop_file("/log/xfs".as_ref()), std::path::Path::new("/log/xfs.stop"));
    }
}
