//! Volumes that the node makes and deletes while its pool is photographed: what it said is made is there, what it said is gone
//! stays gone, and nothing is there that cannot be read.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use terrace_device_types::{HostState, VolumeMode};

use crate::power::alone::Place;
use crate::power::ledger::Verdict;
use crate::power::node::{Listed, Node};

/// Volumes that are kept.
const KEPT: usize = 4;

/// What is known of them, by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Made {
    /// Made, and not yet gone.
    made: BTreeSet<u64>,
    /// Their deletion was begun.
    leaving: BTreeSet<u64>,
    /// Their deletion is over.
    gone: BTreeSet<u64>,
}

/// Makes and deletes.
#[derive(Debug, Default)]
pub(super) struct Making {
    made: Mutex<Made>,
    end: AtomicBool,
}

impl Making {
    fn lock(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now.
    pub(super) fn made(&self) -> Made {
        self.lock().clone()
    }

    /// To end after what is under way.
    pub(super) fn end(&self) {
        self.end.store(true, Ordering::SeqCst);
    }

    /// One after the other, until told to end.
    pub(super) async fn run(&self, node: &Node, place: &Place, mode: VolumeMode) -> Result<()> {
        let mut number = 0;
        while !self.end.load(Ordering::SeqCst) {
            number += 1;
            node.create(place, &name(number), mode, mode.least()).await?;
            let oldest = {
                let mut known = self.lock();
                known.made.insert(number);
                let oldest = known.made.first().copied().filter(|_| known.made.len() > KEPT);
                known.leaving.extend(oldest);
                oldest
            };
            if let Some(oldest) = oldest {
                node.delete(&name(oldest)).await?;
                let mut known = self.lock();
                known.made.remove(&oldest);
                known.gone.insert(oldest);
            }
        }
        Ok(())
    }
}

/// Compares what a second node lists with what was known before and begun until after. One that must be there, if any.
pub(super) fn verify(
    before: &Made,
    after: &Made,
    listed: &Listed,
    verdict: &mut Verdict,
) -> Option<String> {
    let Listed { states, unreadable } = listed;
    for path in unreadable {
        verdict.lost(format!("{path}: what it is"));
    }
    let staying = || before.made.difference(&after.leaving);
    for number in staying() {
        verdict.names += 1;
        let found = states.get(&name(*number));
        if found != Some(&HostState::Ready) {
            verdict.lost(format!("{}: the volume, made and {found:?}", name(*number)));
        }
    }
    for number in &before.gone {
        if let Some(found) = states.get(&name(*number)) {
            verdict.lost(format!("{}: its deletion, it is {found}", name(*number)));
        }
    }
    staying().last().map(|number| name(*number))
}

fn name(number: u64) -> String {
    format!("extra-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_is_gone_back_or_unfinished_is_told() {
        let before = Made { made: [3, 4].into(), leaving: [1, 2].into(), gone: [1, 2].into() };
        let judge = |after: &Made, there: &[(u64, HostState)]| {
            let states = there.iter().map(|(number, state)| (name(*number), state.clone()));
            let listed = Listed { states: states.collect(), unreadable: Vec::new() };
            let mut verdict = Verdict::default();
            let newest = verify(&before, after, &listed, &mut verdict);
            (newest, verdict.lost.len())
        };
        let ready = |number| (number, HostState::Ready);
        let newest = Some("extra-4".to_owned());
        assert_eq!(judge(&before, &[ready(3), ready(4)]), (newest.clone(), 0));
        assert_eq!(judge(&before, &[ready(4)]), (newest.clone(), 1), "gone");
        assert_eq!(judge(&before, &[ready(1), ready(3), ready(4)]), (newest.clone(), 1), "back");
        let half = (3, HostState::Creating);
        assert_eq!(judge(&before, &[half, ready(4)]), (newest.clone(), 1), "unfinished");
        let mut after = before.clone();
        after.leaving.insert(3);
        assert_eq!(judge(&after, &[ready(4), ready(5)]), (newest, 0), "leaving, and new");
    }
}
