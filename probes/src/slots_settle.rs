//! Slots that nothing points to any more: their figures go where they belong, and then they are given out again. A window lies in
//! between, for an operation that ended on another processor just before.

use std::collections::BTreeSet;

use terrace_probe_abi::layout::{Slot, SlotKind};

use super::{NOBODYS, Sampling, Slots, Step};
use crate::loader::Thing;

/// A slot whose figures belong elsewhere: a provisional one, or a volume's that turned out to have another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    pub(super) from: Slot,
    /// `None`: nowhere.
    pub(super) to: Option<Slot>,
    /// Whose move it was, if it was one.
    pub(super) thing: Option<(Thing, u16)>,
}

impl Slots {
    /// Notes a slot whose figures go elsewhere, if it has no other thing's. What goes to a class that is sampled is left out. Returns
    /// what may be folded at once.
    pub(super) fn settle(
        &mut self,
        from: Slot,
        to: Slot,
        thing: Option<(Thing, u16)>,
    ) -> Option<Slot> {
        if SlotKind::of(from) != SlotKind::Provisional && !self.is_unowned(from) {
            return None;
        }
        let sampled = match SlotKind::of(to) {
            SlotKind::Class(Some(class)) => class.is_sampled(),
            SlotKind::Volume
            | SlotKind::Provisional
            | SlotKind::Class(None)
            | SlotKind::Uncounted => false,
        };
        let left_out = sampled && self.policy.sampling == Sampling::Share;
        let to = (!left_out).then_some(to);
        self.settling.push(Settling { from, to, thing });
        to.map(|_| from)
    }

    pub(super) fn end_settling(&mut self, settling: Settling, steps: &mut Vec<Step>) {
        let Settling { from, to, thing: _ } = settling;
        steps.push(to.map_or(Step::Release { slot: from }, |to| Step::Fold { from, to }));
        match SlotKind::of(from) {
            SlotKind::Volume if !self.is_pointed_to(from) && self.is_unowned(from) => {
                if !self.free.contains(&from) {
                    self.give_back(from, steps);
                }
            }
            SlotKind::Volume | SlotKind::Provisional | SlotKind::Class(_) | SlotKind::Uncounted => {
            }
        }
    }

    /// Takes what [`Attached::orphans`](crate::loader::Attached::orphans) says. What it says for the second time is believed: whose
    /// the figures are nobody can say any more.
    pub fn orphaned(&mut self, orphans: &[Slot]) {
        let known = |slot: &Slot| {
            self.is_pointed_to(*slot) || self.settling.iter().any(|settling| settling.from == *slot)
        };
        let orphans: BTreeSet<_> = orphans.iter().copied().filter(|slot| !known(slot)).collect();
        let (believed, suspects) =
            orphans.into_iter().partition(|slot| self.suspects.contains(slot));
        self.suspects = suspects;
        let believed: BTreeSet<_> = believed;
        for from in believed {
            self.settle(from, NOBODYS, None);
        }
    }
}
