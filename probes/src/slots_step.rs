//! What the kernel's side is to do about slots, and the one place where it is done.

use terrace_probe_abi::layout::Slot;

use super::Slots;
use crate::loader::{Attached, Changed, LoadError, Thing};

/// One change on the kernel's side. Each may be done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Count a thing in a slot from now on.
    Count {
        /// What.
        thing: Thing,
        /// Which of those with this id.
        generation: u16,
        /// Where.
        slot: Slot,
        /// The slot that counted it, if its figures go along. It is not given back yet: an operation that just ended may be
        /// on its way into it.
        fold: Option<Slot>,
    },
    /// Add what is left in a slot, to which nothing points any more, to another's; a provisional one is given back then.
    Fold {
        /// Which.
        from: Slot,
        /// Whose they are.
        to: Slot,
    },
    /// Give a provisional slot back; what is in it is left out.
    Release {
        /// The provisional slot.
        slot: Slot,
    },
    /// Set a volume's figures to 0: it has been gone for long, and was read since.
    Clear {
        /// Its slot.
        slot: Slot,
    },
    /// Forget a thing that is gone.
    Forget {
        /// What.
        thing: Thing,
        /// Which of those with this id.
        generation: u16,
    },
}

/// Does them, in order. What the kernel no longer knows as it was is told to `slots`.
///
/// # Errors
/// As the kernel says; what comes after was not done then, and comes again with the next restart.
pub fn apply(steps: &[Step], attached: &impl Attached, slots: &mut Slots) -> Result<(), LoadError> {
    for step in steps {
        match *step {
            Step::Count { thing, generation, slot, fold } => {
                match attached.set_slot(thing, generation, slot)? {
                    Changed::Yes => fold.into_iter().for_each(|from| attached.retire(from, slot)),
                    Changed::No => slots.moved_on(thing, generation),
                }
            }
            Step::Fold { from, to } => attached.fold(from, to)?,
            Step::Release { slot } => attached.release(slot)?,
            Step::Clear { slot } => attached.clear(slot),
            Step::Forget { thing, generation } => drop(attached.forget(thing, generation)?),
        }
    }
    Ok(())
}
