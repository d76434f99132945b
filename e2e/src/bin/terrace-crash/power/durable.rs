//! When something counts as acknowledged: after fsync, fdatasync or a sync of the folder has returned with the power still on;
//! or, to prove that the judge is awake, before that.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::dice::Dice;

/// When a write is counted as acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Once it is on the disk.
    Durable,
    /// At once: a lie, which a power cut must bring to light.
    Early,
}

/// What the writers of a volume know of the power.
#[derive(Debug, Clone, Default)]
pub(crate) struct Power(Arc<AtomicU8>);

const GOING: u8 = 1;
const END: u8 = 2;

impl Power {
    /// It goes now: errors are expected, and answers come too late.
    pub(crate) fn goes(&self) {
        self.0.store(GOING, Ordering::SeqCst);
    }

    /// It stays on, and everybody is to end.
    pub(crate) fn end(&self) {
        self.0.store(END, Ordering::SeqCst);
    }

    /// Whether it is going.
    pub(crate) fn is_going(&self) -> bool {
        self.0.load(Ordering::SeqCst) == GOING
    }

    /// Whether to write more.
    pub(crate) fn goes_on(&self) -> bool {
        self.0.load(Ordering::SeqCst) != END
    }
}

/// Who writes.
#[derive(Debug, Clone)]
pub(crate) struct Hand {
    /// The number of the volume in every stamp.
    pub(crate) volume: u64,
    /// When a write counts.
    pub(crate) promise: Promise,
    /// Whether it may count.
    pub(crate) power: Power,
}

impl Hand {
    /// Waits until what was written to that file is durable: its data and what is needed to find them.
    pub(crate) fn sync_file(&self, file: &File, dice: &mut Dice) -> io::Result<()> {
        self.answered(match (self.promise, dice.below(2)) {
            (Promise::Early, _) => Ok(()),
            (Promise::Durable, 0) => file.sync_all(),
            (Promise::Durable, _) => file.sync_data(),
        })
    }

    /// Waits until the names in that folder are durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.answered(match self.promise {
            Promise::Early => Ok(()),
            Promise::Durable => File::open(dir).and_then(|dir| dir.sync_all()),
        })
    }

    /// An answer that nobody could hear counts for nothing. ext4 gave such on Linux 6.18: where a shutdown overtakes the end of a
    /// write into reserved space, the fsync that waits for it returns 0.
    fn answered(&self, answer: io::Result<()>) -> io::Result<()> {
        let late = || io::Error::other("the power went before the answer came");
        answer.and_then(|()| if self.power.is_going() { Err(late()) } else { Ok(()) })
    }
}
