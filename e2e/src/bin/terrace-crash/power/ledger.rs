//! What was acknowledged on one volume, what was only begun, and what a look at it showed.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::logs::{self, Logs};
use super::region::{self, Region};
use super::slots::{self, Settled, Slots};

/// How much was acknowledged, in all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Promised {
    /// Blocks.
    pub(crate) blocks: u64,
    /// Names: created, renamed, moved, removed.
    pub(crate) names: u64,
}

/// What is known of a volume. What is begun is written down before, what is acknowledged after.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) logs: Logs,
    pub(crate) slots: Slots,
    pub(crate) region: Region,
    pub(crate) promised: Promised,
}

/// One ledger for all writers of a volume.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes something down.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        change(&mut self.lock())
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
