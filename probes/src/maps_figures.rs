//! Figures in the maps: read, taken, moved and set to 0, word by word while the kernel counts. A slot is mapped for as long as
//! that lasts: all of them together are tens of MB.

use std::sync::atomic::{AtomicU64, Ordering};

use terrace_probe_abi::layout::{Figures, OPERATIONS, OperationFigures, Slot};

use super::{Maps, WORDS};

/// Which word is the longest operation.
const LONGEST: usize = std::mem::offset_of!(OperationFigures, max_ns) / size_of::<u64>();

impl Maps {
    /// All stripes of a slot added up.
    pub(crate) fn figures(&self, slot: Slot) -> Box<Figures> {
        let mut sum = Box::new([const { OperationFigures::ZERO }; OPERATIONS]);
        self.over(slot, |stripes| {
            stripes.for_each(|(operation, stripe)| sum[operation].add(&read_figures(stripe)));
        });
        sum
    }

    /// Takes the longest of each operation, leaving 0.
    pub(crate) fn take_longest(&self, slot: Slot) -> [u64; OPERATIONS] {
        let mut longest = [0; OPERATIONS];
        self.over(slot, |stripes| {
            for (operation, stripe) in stripes {
                let taken = stripe[LONGEST].swap(0, Ordering::Relaxed);
                longest[operation] = taken.max(longest[operation]);
            }
        });
        longest
    }

    /// Queue (0) or device (1) times of a slot.
    pub(crate) fn block(&self, slot: Slot, phase: usize) -> OperationFigures {
        let read = self.block.over(usize::from(slot) * 2 + phase, 1, read_figures);
        read.unwrap_or_default()
    }

    /// Moves every word of a slot to another's first stripe; the longest is the longer of both.
    pub(crate) fn fold(&self, from: Slot, to: Slot) {
        self.over(from, |from| {
            self.over(to, |to| {
                let to: Vec<_> = to.step_by(self.stripes).map(|(_, stripe)| stripe).collect();
                from.for_each(|(operation, stripe)| move_figures(stripe, to[operation]));
            });
        });
        self.block.over(usize::from(from) * 2, 2, |from| {
            let both = |to: &[AtomicU64]| {
                let phases = from.chunks_exact(WORDS).zip(to.chunks_exact(WORDS));
                phases.for_each(|(from, to)| move_figures(from, to));
            };
            self.block.over(usize::from(to) * 2, 2, both)
        });
    }

    /// Everything of a slot to 0.
    pub(crate) fn clear(&self, slot: Slot) {
        self.over(slot, |stripes| stripes.for_each(|(_, stripe)| zero(stripe)));
        self.block.over(usize::from(slot) * 2, 2, zero);
    }

    /// A slot's figures: operation and words of each stripe, in order.
    fn over(&self, slot: Slot, with: impl FnOnce(&mut dyn Iterator<Item = (usize, &[AtomicU64])>)) {
        let count = OPERATIONS * self.stripes;
        self.figures.over(usize::from(slot) * count, count, |words| {
            let stripes = words.chunks_exact(WORDS).enumerate();
            with(&mut stripes.map(|(index, stripe)| (index / self.stripes, stripe)));
        });
    }
}

fn move_figures(from: &[AtomicU64], to: &[AtomicU64]) {
    for (word, (from, to)) in from.iter().zip(to).enumerate() {
        let taken = from.swap(0, Ordering::Relaxed);
        if word == LONGEST {
            to.fetch_max(taken, Ordering::Relaxed);
        } else if taken != 0 {
            to.fetch_add(taken, Ordering::Relaxed);
        }
    }
}

fn zero(words: &[AtomicU64]) {
    words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
}

/// Word by word: every field is one, in the order of the struct.
fn read_figures(words: &[AtomicU64]) -> OperationFigures {
    let mut words = words.iter();
    let mut next = || words.next().map_or(0, |word| word.load(Ordering::Relaxed));
    OperationFigures {
        sum_ns: next(),
        bytes: next(),
        slow: next(),
        cached: next(),
        synced: next(),
        max_ns: next(),
        errors: std::array::from_fn(|_| next()),
        sizes: std::array::from_fn(|_| next()),
        paths: std::array::from_fn(|_| next()),
        buckets: std::array::from_fn(|_| next()),
    }
}
