//! The side of the harness: arms points, waits for the first hit, reads what was passed.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::order::{Order, Process};

/// The folder of one process, as the harness sees it.
#[derive(Clone, Debug)]
pub struct Panel {
    dir: PathBuf,
    process: Process,
}

impl Panel {
    /// Of `process`, whose folder is `dir`.
    #[must_use]
    pub fn new(dir: PathBuf, process: Process) -> Self {
        Self { dir, process }
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", self.process))
    }

    /// From now on every point that is passed is written down.
    ///
    /// # Errors
    /// Where the folder is not there, or full.
    pub fn record(&self) -> io::Result<()> {
        fs::write(self.dir.join("record"), "")
    }

    /// No longer.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn stop_recording(&self) -> io::Result<()> {
        remove(self.dir.join("record"))
    }

    /// The points passed so far, in order.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn passed(&self) -> io::Result<Vec<String>> {
        let text = read(self.file("passed"))?.unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Gives orders, of which one is obeyed: the first that is due. An earlier hit is forgotten.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn arm(&self, orders: &[Order]) -> io::Result<()> {
        remove(self.file("hit"))?;
        let lines: String = orders.iter().map(|order| format!("{order}\n")).collect();
        // Under its name only when it is whole.
        fs::write(self.file("arming"), lines)?;
        fs::rename(self.file("arming"), self.file("armed"))
    }

    /// Takes the orders back; one may have been hit before that.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn disarm(&self) -> io::Result<()> {
        remove(self.file("armed"))
    }

    /// The order that was hit.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn hit(&self) -> io::Result<Option<Order>> {
        if read(self.file("hit"))?.is_none() {
            return Ok(None);
        }
        let text = read(self.file("due"))?.unwrap_or_default();
        text.parse().map(Some).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Ends a hold, and forgets the hit.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn release(&self) -> io::Result<()> {
        remove(self.file("hit"))
    }

    /// What was armed and is no order, as the process found it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn refused(&self) -> io::Result<Option<String>> {
        read(self.file("refused"))
    }
}

fn read(path: PathBuf) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove(path: PathBuf) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
