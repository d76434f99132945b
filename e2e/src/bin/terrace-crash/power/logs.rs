//! Files that are appended to, run by run: what was acknowledged is there, block by block, and a file whose removal was
//! acknowledged stays gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::block::{BLOCK, Found, Stamp, block, read};
use super::dice::Dice;
use super::durable::Hand;
use super::ledger::{Shared, Verdict};

/// Blocks after which the next file is begun.
const FULL: u64 = 512;
/// Files that are kept.
const KEPT: usize = 4;
/// Most blocks of one write.
const RUN: u64 = 16;
/// Their folder.
const DIR: &str = "logs";

/// What is known of the files, by number.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Logs {
    /// Blocks acknowledged of each file whose name was.
    acknowledged: BTreeMap<u64, u64>,
    /// The number of the next one.
    next: u64,
    /// The removal of every acknowledged file below this one was begun.
    removal_begun: u64,
    /// Those whose removal was acknowledged.
    removed: BTreeSet<u64>,
}

/// Writes them.
pub(crate) struct LogWriter {
    hand: Hand,
    dir: PathBuf,
    open: Option<Open>,
}

struct Open {
    number: u64,
    blocks: u64,
    file: File,
}

impl LogWriter {
    pub(crate) fn begin(hand: Hand, data: &Path, shared: &Shared) -> io::Result<Self> {
        let dir = data.join(DIR);
        fs::create_dir_all(&dir)?;
        hand.sync_dir(data)?;
        // What a power cut left without acknowledgement.
        let known = shared.change(|ledger| ledger.logs.acknowledged.clone());
        for name in names(&dir)? {
            if name.parse().is_ok_and(|number: u64| !known.contains_key(&number)) {
                fs::remove_file(dir.join(name))?;
            }
        }
        Ok(Self { hand, dir, open: None })
    }

    /// One write, and its acknowledgement.
    pub(crate) fn step(&mut self, shared: &Shared, dice: &mut Dice) -> io::Result<()> {
        let Some(Open { number, blocks, file }) = &mut self.open else {
            return self.begin_file(shared);
        };
        let more = 1 + dice.below(RUN);
        let stamp = |at| Stamp { volume: self.hand.volume, file: *number, number: at, version: 0 };
        let run: Vec<u8> = (*blocks..*blocks + more).flat_map(|at| block(stamp(at))).collect();
        file.write_all(&run)?;
        self.hand.sync_file(file, dice)?;
        *blocks += more;
        let (number, blocks) = (*number, *blocks);
        shared.change(|ledger| {
            ledger.logs.acknowledged.insert(number, blocks);
            ledger.promised.blocks += more;
        });
        if blocks >= FULL {
            self.open = None;
        }
        Ok(())
    }

    fn begin_file(&mut self, shared: &Shared) -> io::Result<()> {
        let number = shared.change(|ledger| {
            ledger.logs.next += 1;
            ledger.logs.next
        });
        let file = File::options().append(true).create_new(true).open(self.path(number))?;
        self.hand.sync_dir(&self.dir)?;
        let oldest = shared.change(|ledger| {
            ledger.promised.names += 1;
            let known = &mut ledger.logs.acknowledged;
            known.insert(number, 0);
            known.keys().copied().next().filter(|_| known.len() > KEPT)
        });
        self.open = Some(Open { number, blocks: 0, file });
        oldest.map_or(Ok(()), |oldest| self.remove(oldest, shared))
    }

    fn remove(&self, number: u64, shared: &Shared) -> io::Result<()> {
        let begun = shared.change(|ledger| {
            std::mem::replace(&mut ledger.logs.removal_begun, number + 1) > number
        });
        match fs::remove_file(self.path(number)) {
            // It had gone when the power went.
            Err(error) if begun && error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        self.hand.sync_dir(&self.dir)?;
        shared.change(|ledger| {
            ledger.logs.removed.insert(number);
            ledger.logs.acknowledged.remove(&number);
            ledger.promised.names += 1;
        });
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(number.to_string())
    }
}

/// Compares what was acknowledged before with what is there; what was begun until after may have happened or not.
pub(crate) fn verify(
    before: &Logs,
    after: &Logs,
    volume: u64,
    data: &Path,
    verdict: &mut Verdict,
) -> io::Result<()> {
    let dir = data.join(DIR);
    for (number, blocks) in &before.acknowledged {
        verdict.names += 1;
        match fs::read(dir.join(number.to_string())) {
            Ok(bytes) => verify_file(*number, *blocks, volume, &bytes, verdict),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if *number >= after.removal_begun {
                    verdict.lost(format!("log {number}: the file, and {blocks} blocks with it"));
                }
            }
            Err(error) => return Err(error),
        }
    }
    for name in names(&dir)? {
        if name.parse().is_ok_and(|number: u64| before.removed.contains(&number)) {
            verdict.lost(format!("log {name}: its removal"));
        }
    }
    Ok(())
}

fn verify_file(number: u64, blocks: u64, volume: u64, bytes: &[u8], verdict: &mut Verdict) {
    let mut found = bytes.chunks(BLOCK);
    for at in 0..blocks {
        verdict.blocks += 1;
        let expected = Found::Whole(Stamp { volume, file: number, number: at, version: 0 });
        let found = found.next().map(read);
        if found != Some(expected) {
            verdict.lost(format!("log {number}, block {at} of {blocks}: {found:?}"));
        }
    }
}

/// The names in a folder; none if there is no such folder.
pub(crate) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::durable::{Power, Promise};

    #[test]
    fn every_loss_in_the_logs_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let (shared, mut dice) = (Shared::default(), Dice::new(1));
        let hand = Hand { volume: 3, promise: Promise::Durable, power: Power::default() };
        let mut writer = LogWriter::begin(hand, scratch.path(), &shared).unwrap();
        for _ in 0..400 {
            writer.step(&shared, &mut dice).unwrap();
        }
        let known = shared.ledger().logs;
        assert!(known.acknowledged.len() == KEPT && !known.removed.is_empty(), "{known:?}");
        let lost = || {
            let mut verdict = Verdict::default();
            verify(&known, &known, 3, scratch.path(), &mut verdict).unwrap();
            verdict.lost
        };
        assert_eq!(lost(), Vec::<String>::new());

        let (dir, last) = (scratch.path().join(DIR), known.next.to_string());
        let whole = fs::read(dir.join(&last)).unwrap();
        fs::write(dir.join(&last), &whole[..whole.len() - 1]).unwrap();
        assert_eq!(lost().len(), 1, "a short file");
        let mut zeros = whole.clone();
        zeros[BLOCK..2 * BLOCK].fill(0);
        fs::write(dir.join(&last), zeros).unwrap();
        assert!(lost()[0].ends_with("Some(Zeros)"), "{:?}", lost());
        fs::remove_file(dir.join(&last)).unwrap();
        assert_eq!(lost().len(), 1, "the file is gone");
        fs::write(dir.join(&last), &whole).unwrap();
        fs::write(dir.join("1"), "").unwrap();
        assert_eq!(lost(), ["log 1: its removal"]);
    }

    #[test]
    fn a_removal_that_was_begun_may_have_happened() {
        let scratch = tempfile::tempdir().unwrap();
        let before = Logs { acknowledged: [(4, 1)].into(), next: 4, ..Logs::default() };
        let after = Logs { removal_begun: 5, ..before.clone() };
        let lost = |after: &Logs| {
            let mut verdict = Verdict::default();
            verify(&before, after, 0, scratch.path(), &mut verdict).unwrap();
            verdict.lost.len()
        };
        assert_eq!((lost(&after), lost(&before)), (0, 1));
    }
}
