//! One emulated machine: its folder, its command line, its life. It ends with the process that started it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::guest::boot::Boot;
use crate::paths::Paths;
use crate::run::{Progress, command, succeeds};

/// How much of the console is shown where something went wrong.
const CONSOLE_LINES: usize = 25;
/// A job that makes this file in its share has the power cut: the guest is killed, whatever it does.
const CUT: &str = "cut";

/// What is booted.
pub(crate) struct Machine {
    /// The folder that guest and host share, at the same path; absolute.
    pub(crate) share: PathBuf,
    pub(crate) disks: u32,
    /// MiB.
    pub(crate) disk_size: u64,
    /// MiB.
    pub(crate) memory: u64,
    pub(crate) cpus: u32,
    /// The core of this host that User Mode Linux is pinned to.
    pub(crate) core: usize,
    pub(crate) load: Vec<String>,
}

/// How it ended. The text is the end of the console.
pub(crate) enum End {
    Status(u8),
    Died(String),
    TimeIsUp(String),
}

impl Machine {
    /// Writes what the guest reads: its second script, the job, disks that are not there yet.
    pub(crate) fn lay_out(&self, paths: &Paths, boot: &Boot, job: &str) -> Result<()> {
        for old in ["exit", "exit.partial", "out", "err", "console", CUT] {
            match fs::remove_file(self.share.join(old)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        fs::copy(paths.repo.join("e2e/rig/guest/init.sh"), self.share.join("init"))?;
        boot.lay_out(paths, &self.share)?;
        fs::write(self.share.join("job"), job)?;
        for number in 0..self.disks {
            let path = self.disk(number);
            if !path.exists() {
                File::create(path)?.set_len(self.disk_size << 20)?;
            }
        }
        Ok(())
    }

    /// The file of one of its disks.
    pub(crate) fn disk(&self, number: u32) -> PathBuf {
        self.share.join(format!("disk{number}.img"))
    }

    /// Runs it to its end and passes on what the job prints as it prints it.
    pub(crate) fn run(&self, boot: &Boot, limit: Duration, progress: &Progress) -> Result<End> {
        let console = self.share.join("console");
        let log = File::create(&console)?;
        let mut guest = boot.command(self)?;
        guest.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let start = Instant::now();
        let mut child = Ended(guest.spawn().context("start the guest")?);
        let mut out = Tail::of(self.share.join("out"));
        let mut err = Tail::of(self.share.join("err"));
        let mut began = false;
        loop {
            let ended = child.0.try_wait()?.is_some();
            out.pass_on(&mut std::io::stdout().lock())?;
            err.pass_on(&mut std::io::stderr().lock())?;
            if !began && self.share.join("out").exists() {
                began = true;
                progress
                    .say(format!("the guest began after {:.1} s", start.elapsed().as_secs_f64()));
            }
            if ended {
                return Ok(match status(&self.share) {
                    Some(status) => End::Status(status),
                    None => End::Died(end_of(&console)),
                });
            }
            if self.share.join(CUT).exists() {
                return Ok(End::Died("the job had the power cut".to_owned()));
            }
            if start.elapsed() > limit {
                return Ok(End::TimeIsUp(end_of(&console)));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A process that does not outlive this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // The first process of a namespace first: its parent is waited for, and ends once all of the namespace is gone. Each of these fails
        // where there is nothing left to end, which is what is wanted.
        let pid = self.0.id();
        let below =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for inner in below.split_whitespace() {
            succeeds(&mut command("kill", ["-s", "KILL", inner]));
        }
        if below.trim().is_empty() {
            self.0.kill().ok();
        }
        self.0.wait().ok();
    }
}

/// A file that grows.
struct Tail {
    path: PathBuf,
    file: Option<File>,
    at: u64,
}

impl Tail {
    fn of(path: PathBuf) -> Self {
        Self { path, file: None, at: 0 }
    }

    /// Copies what is new.
    fn pass_on(&mut self, to: &mut impl Write) -> Result<()> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.seek(SeekFrom::Start(self.at))?;
        let mut new = Vec::new();
        file.read_to_end(&mut new)?;
        if !new.is_empty() {
            self.at += new.len() as u64;
            to.write_all(&new)?;
            to.flush()?;
        }
        Ok(())
    }
}

/// The job's status; none if the guest did not come to write it.
fn status(share: &Path) -> Option<u8> {
    fs::read_to_string(share.join("exit")).ok()?.trim().parse().ok()
}

fn end_of(console: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Tail;

    #[test]
    fn what_grows_is_passed_on_once() {
        let path = std::env::temp_dir().join(format!("tail-test-{}", std::process::id()));
        let (mut tail, mut seen) = (Tail::of(path.clone()), Vec::new());
        tail.pass_on(&mut seen).unwrap();
        for text in ["one", "one two"] {
            fs::write(&path, text).unwrap();
            tail.pass_on(&mut seen).unwrap();
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(seen, b"one two");
    }
}
