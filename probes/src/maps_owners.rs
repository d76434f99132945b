//! Whose a slot for volumes is, kept beside its figures: a process that starts over goes on with a volume that nobody mounts just
//! then. Text, ended by a 0.

use std::sync::atomic::{AtomicU64, Ordering};

use terrace_probe_abi::layout::{Slot, VOLUME_SLOTS};

use super::Maps;

/// Words of one.
pub(super) const WORDS: usize = 512 / size_of::<u64>();

impl Maps {
    /// Notes whose a slot is. What is longer than there is room for is not noted.
    pub(crate) fn remember(&self, slot: Slot, owner: &[u8]) {
        let mut bytes = [0; WORDS * size_of::<u64>()];
        if owner.len() < bytes.len() {
            bytes[..owner.len()].copy_from_slice(owner);
        }
        let write = |words: &[AtomicU64]| {
            // Whoever is killed half-way leaves nothing that could be read.
            words[0].store(0, Ordering::SeqCst);
            for (word, chunk) in words.iter().zip(bytes.chunks_exact(size_of::<u64>())).rev() {
                word.store(
                    u64::from_ne_bytes(chunk.try_into().unwrap_or_default()),
                    Ordering::SeqCst,
                );
            }
        };
        self.owners.over(usize::from(slot), 1, write);
    }

    /// What was noted.
    pub(crate) fn remembered(&self) -> Vec<(Slot, Vec<u8>)> {
        let read = |words: &[AtomicU64]| {
            let bytes = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
            bytes.take_while(|byte| *byte != 0).collect::<Vec<u8>>()
        };
        let all = (0..VOLUME_SLOTS).filter_map(|slot| {
            let text = self.owners.over(usize::from(slot), 1, read)?;
            (!text.is_empty()).then_some((slot, text))
        });
        all.collect()
    }
}
