//! The audit: every destructive act of this node as lines of JSON in its state folder, written before the effect and after it, each durable before anything
//! goes on. It is only ever appended to; nothing is decided by it, and nothing is destroyed that can't be written here.
//!
//! # What holds
//! - A line is one write at the end of the file. One that a crash tore is left as it is and closed by the next start; a reader passes over it.
//! - A file that is full becomes `audit.1.jsonl`, and so on up to [`KEPT`]; the oldest goes. So the whole is bounded.

mod asked;
mod entry;
mod read;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use terrace_device_types::{Class, Step, StepDone};

pub use asked::Asked;
pub use entry::{Cause, Entry, Phase};
pub use read::{Found, MOST, Wanted};

/// Older files that are kept beside the one that is written.
pub const KEPT: u32 = 8;
/// Bytes from which a file is full.
const FULL: u64 = 4 << 20;

/// Why something is not in the audit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("{verb} the audit {path}", path = path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line cannot be written as JSON.
    #[error("encode a line of the audit")]
    Encode(#[source] serde_json::Error),
}

impl Error {
    /// A full or failing disk may recover; the rest is ours.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::File { .. } => Class::Retry,
            Self::Encode(_) => Class::Bug,
        }
    }
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// The last write may have stopped within a line.
    torn: bool,
}

/// The audit of one node.
#[derive(Debug)]
pub struct Audit {
    dir: PathBuf,
    node: String,
    full: u64,
    open: Mutex<Open>,
}

impl Audit {
    /// Opens the audit in `dir`, or begins it.
    ///
    /// # Errors
    /// When the disk does not let us.
    pub fn open(dir: &Path, node: &str) -> Result<Self, Error> {
        Self::with_files_of(dir, node, FULL)
    }

    fn with_files_of(dir: &Path, node: &str, full: u64) -> Result<Self, Error> {
        let open = Mutex::new(open(&place(dir, 0))?);
        sync_dir(dir)?;
        Ok(Self { dir: dir.to_owned(), node: node.to_owned(), full, open })
    }

    /// Says durably what `step` is about to destroy. `None`: it destroys nothing.
    ///
    /// # Errors
    /// [`Error`]; then the step must not be taken.
    pub fn intend(&self, cause: &Cause, step: &Step) -> Result<Option<Entry>, Error> {
        let entry = cause.intent(step, &self.node, jiff::Timestamp::now());
        if let Some(entry) = &entry {
            self.append(entry)?;
        }
        Ok(entry)
    }

    /// Says durably what came of it.
    ///
    /// # Errors
    /// [`Error`]; the intent stays without its result.
    pub fn conclude(&self, intent: Entry, result: Result<StepDone, String>) -> Result<(), Error> {
        self.append(&intent.ended(result, jiff::Timestamp::now()))
    }

    fn append(&self, entry: &Entry) -> Result<(), Error> {
        let mut line = serde_json::to_vec(entry).map_err(Error::Encode)?;
        line.push(b'\n');
        let mut open = self.lock();
        if open.length > 0 && open.length + line.len() as u64 > self.full {
            self.rotate(&mut open)?;
        }
        if open.torn {
            line.insert(0, b'\n');
        }
        let fail = |source| Error::File { verb: "write", path: place(&self.dir, 0), source };
        open.torn = true;
        open.file.write_all(&line).map_err(fail)?;
        open.length += line.len() as u64;
        open.torn = false;
        open.file.sync_data().map_err(fail)
    }

    /// From the oldest on, so that a crash in between leaves a gap and loses nothing but the oldest.
    fn rotate(&self, open: &mut Open) -> Result<(), Error> {
        for number in (0..KEPT).rev() {
            let (from, to) = (place(&self.dir, number), place(&self.dir, number + 1));
            match fs::rename(&from, &to) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::File { verb: "rotate", path: from, source }),
            }
        }
        *open = self::open(&place(&self.dir, 0))?;
        sync_dir(&self.dir)
    }

    /// A line is written whole or called torn, so a panic leaves nothing half known.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file that is written, and those before it.
fn place(dir: &Path, number: u32) -> PathBuf {
    match number {
        0 => dir.join("audit.jsonl"),
        older => dir.join(format!("audit.{older}.jsonl")),
    }
}

fn open(path: &Path) -> Result<Open, Error> {
    let fail = |source| Error::File { verb: "open", path: path.to_owned(), source };
    let mut how = OpenOptions::new();
    let mut file = how.read(true).append(true).create(true).mode(0o600).open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(fail)?;
    }
    Ok(Open { file, length, torn: last != [b'\n'] })
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| Error::File { verb: "sync", path: dir.to_owned(), source })
}

#[cfg(test)]
mod tests;
