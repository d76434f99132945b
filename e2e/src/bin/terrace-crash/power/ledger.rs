//! What was acknowledged on one volume, what was only begun, and what a look at it showed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::logs::{self, Logs};
use super::region::{self, Region};
use super::slots::{self, Settled, Slots};

/// How much was acknowledged, in all.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Promised {
    /// Blocks.
    pub(crate) blocks: u64,
    /// Names: created, renamed, moved, removed.
    pub(crate) names: u64,
}

/// What is known of a volume. What is begun is written down before, what is acknowledged after.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) logs: Logs,
    pub(crate) slots: Slots,
    pub(crate) region: Region,
    pub(crate) promised: Promised,
}

/// One ledger for all writers of a volume.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    ledger: Arc<Mutex<Ledger>>,
    /// Where every change of it is durable before it counts.
    kept: Option<Arc<File>>,
}

impl Shared {
    /// A ledger that outlives this process: each change is a line of that file.
    pub(crate) fn kept(ledger: Ledger, path: &Path) -> io::Result<Self> {
        let shared = Self {
            ledger: Arc::new(Mutex::new(ledger)),
            kept: Some(Arc::new(File::create(path)?)),
        };
        shared.change(|_| ());
        Ok(shared)
    }

    /// What the last whole line of such a file says; what was begun and not acknowledged may have happened or not.
    pub(crate) fn read(path: &Path) -> io::Result<Ledger> {
        let text = fs::read_to_string(path)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut ledger: Ledger = serde_json::from_str(whole.lines().last().unwrap_or_default())?;
        ledger.slots.checkpoint();
        Ok(ledger)
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes something down.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = self.lock();
        let answer = change(&mut ledger);
        if let Some(file) = &self.kept {
            keep(file, &ledger);
        }
        answer
    }

    /// As it is now: for the end of what is compared.
    pub(crate) fn ledger(&self) -> Ledger {
        self.lock().clone()
    }

    /// As it is now: for the beginning of what is compared.
    pub(crate) fn checkpoint(&self) -> Ledger {
        let mut ledger = self.lock();
        ledger.slots.checkpoint();
        ledger.clone()
    }
}

/// A change that is not kept would be a promise that nobody remembers: rather no promise at all.
fn keep(file: &File, ledger: &Ledger) {
    let line = serde_json::to_string(ledger).map(|line| line + "\n");
    let kept = line.map_err(io::Error::from).and_then(|line| {
        (&*file).write_all(line.as_bytes())?;
        file.sync_data()
    });
    if let Err(error) = kept {
        eprintln!("the ledger can't be kept: {error}");
        std::process::abort();
    }
}

/// What a look showed.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Acknowledged blocks compared.
    pub(crate) blocks: u64,
    /// Acknowledged names compared.
    pub(crate) names: u64,
    /// Files that were found at both names of a rename that nobody acknowledged.
    pub(crate) twice: u64,
    /// What was acknowledged and is not there.
    pub(crate) lost: Vec<String>,
}

impl Verdict {
    pub(crate) fn lost(&mut self, what: String) {
        self.lost.push(what);
    }

    /// Takes in what a look at a part showed.
    pub(crate) fn add(&mut self, part: &str, other: Self) {
        let Self { blocks, names, twice, lost } = other;
        self.blocks += blocks;
        self.names += names;
        self.twice += twice;
        self.lost.extend(lost.into_iter().map(|what| format!("{part}: {what}")));
    }
}

/// Compares what is below `data` with what was acknowledged before a moment; what was begun until after it may be there or not.
pub(crate) fn verify(
    before: &Ledger,
    after: &Ledger,
    volume: u64,
    data: &Path,
) -> io::Result<(Verdict, Settled)> {
    let mut verdict = Verdict::default();
    logs::verify(&before.logs, &after.logs, volume, data, &mut verdict)?;
    region::verify(&before.region, &after.region, volume, data, &mut verdict)?;
    let settled = slots::verify(&before.slots, &after.slots, volume, data, &mut verdict)?;
    Ok((verdict, settled))
}
