//! A file whose space is reserved and whose blocks are written in place, over and over: each block shows the version that was
//! acknowledged last or one that was begun since, whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};

use super::block::{BLOCK, Found, Stamp, block, read};
use super::dice::Dice;
use super::durable::Hand;
use super::ledger::{Shared, Verdict};

/// Its blocks.
const BLOCKS: u64 = 256;
/// Most blocks between two syncs.
const BATCH: u64 = 8;
/// Its name, and its number in the stamps: no log has it.
const NAME: &str = "region";
const FILE: u64 = 1 << 40;

/// What is known of each block; version 0 was never written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Region {
    acknowledged: Vec<u64>,
    begun: Vec<u64>,
}

impl Default for Region {
    fn default() -> Self {
        let nothing = vec![0; usize::try_from(BLOCKS).unwrap_or_default()];
        Self { acknowledged: nothing.clone(), begun: nothing }
    }
}

/// Writes it.
pub(crate) struct RegionWriter {
    hand: Hand,
    file: File,
}

impl RegionWriter {
    /// The space is reserved, so that the first write of a block turns what was unwritten into data.
    pub(crate) fn begin(hand: Hand, data: &Path) -> io::Result<Self> {
        let options = || File::options().write(true).create(true).truncate(false).clone();
        let file = options().open(data.join(NAME))?;
        fallocate(&file, FallocateFlags::empty(), 0, BLOCKS * BLOCK as u64)?;
        file.sync_all()?;
        hand.sync_dir(data)?;
        Ok(Self { hand, file })
    }

    /// A few blocks anywhere, and their acknowledgement.
    pub(crate) fn step(&self, shared: &Shared, dice: &mut Dice) -> io::Result<()> {
        let mut written = Vec::new();
        for _ in 0..=dice.below(BATCH) {
            let number = dice.below(BLOCKS);
            let at = usize::try_from(number).unwrap_or_default();
            let version = shared.change(|ledger| {
                ledger.region.begun[at] += 1;
                ledger.region.begun[at]
            });
            let stamp = Stamp { volume: self.hand.volume, file: FILE, number, version };
            self.file.write_all_at(&block(stamp), number * BLOCK as u64)?;
            written.push((at, version));
        }
        self.hand.sync_file(&self.file, dice)?;
        shared.change(|ledger| {
            ledger.promised.blocks += written.len() as u64;
            for (at, version) in written {
                ledger.region.acknowledged[at] = version;
            }
        });
        Ok(())
    }
}

/// Compares every block with what was acknowledged before and begun until after.
pub(crate) fn verify(
    before: &Region,
    after: &Region,
    volume: u64,
    data: &Path,
    verdict: &mut Verdict,
) -> io::Result<()> {
    let bytes = match fs::read(data.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let mut found = bytes.chunks(BLOCK);
    for (number, (least, most)) in (0..).zip(before.acknowledged.iter().zip(&after.begun)) {
        let found = found.next().map(read);
        let version = match found {
            None | Some(Found::Zeros) => Some(0),
            Some(Found::Whole(stamp)) => {
                let Stamp { version, .. } = stamp;
                (stamp == Stamp { volume, file: FILE, number, version }).then_some(version)
            }
            Some(Found::Damaged) => None,
        };
        verdict.blocks += u64::from(*least > 0);
        if !version.is_some_and(|version| (*least..=*most).contains(&version)) {
            verdict.lost(format!("region, block {number}, versions {least} to {most}: {found:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::durable::{Power, Promise};

    #[test]
    fn an_older_version_and_a_torn_block_are_losses_and_a_newer_one_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        let (shared, mut dice) = (Shared::default(), Dice::new(1));
        let hand = Hand { volume: 3, promise: Promise::Durable, power: Power::default() };
        let writer = RegionWriter::begin(hand, scratch.path()).unwrap();
        for _ in 0..200 {
            writer.step(&shared, &mut dice).unwrap();
        }
        let known = shared.ledger().region;
        let lost = |after: &Region| {
            let mut verdict = Verdict::default();
            verify(&known, after, 3, scratch.path(), &mut verdict).unwrap();
            verdict.lost.len()
        };
        assert_eq!(lost(&known), 0);

        let acknowledged = known.acknowledged.iter().position(|version| *version > 1).unwrap();
        let (number, version) = (acknowledged as u64, known.acknowledged[acknowledged]);
        let put = |bytes: &[u8]| writer.file.write_all_at(bytes, number * BLOCK as u64).unwrap();
        let stamp = Stamp { volume: 3, file: FILE, number, version };
        put(&block(Stamp { version: version - 1, ..stamp }));
        assert_eq!(lost(&known), 1, "an older one");
        let newer = block(Stamp { version: version + 1, ..stamp });
        put(&newer);
        assert_eq!(lost(&known), 1, "one that nobody wrote");
        let mut begun = known.clone();
        begun.begun[acknowledged] += 1;
        assert_eq!(lost(&begun), 0, "one that was begun");
        put(&newer[..512]);
        put(&block(stamp)[..256]);
        assert_eq!(lost(&begun), 1, "half of each");
        put(&block(Stamp { volume: 4, ..stamp }));
        assert_eq!(lost(&begun), 1, "another volume's");
        fs::remove_file(scratch.path().join(NAME)).unwrap();
        assert!(lost(&known) > 100, "the file is gone");
    }
}
