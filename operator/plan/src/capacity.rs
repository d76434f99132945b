//! GetCapacity: what a new volume could take now. Pure; it promises nothing.

use crate::placement::{Ask, judge_all};
use crate::space::Space;
use crate::world::World;

/// What could be taken now, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// All together.
    pub available: u64,
    /// The largest single volume.
    pub maximum: u64,
}

/// Looks at the same pools, with the same judgement, as a placement would.
#[must_use]
pub fn plan_capacity(world: &World, ask: &Ask) -> Capacity {
    let possible = judge_all(world, ask).possible;
    Capacity {
        available: possible.iter().map(Space::free).fold(0, u64::saturating_add),
        maximum: possible.iter().map(Space::free).max().unwrap_or(0),
    }
}
