//! GetCapacity: what a new volume could take now. Pure; it promises nothing.

use terrace_crds::volume::FsType;

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

/// The filesystem to look for where the caller named none and did not say whether it wants a raw volume, as csi-provisioner
/// never does: what any pool takes (`None`), unless the class's pools take no raw volume at all.
#[must_use]
pub fn filesystem_unsaid(parameter: Option<FsType>, default: FsType) -> Option<FsType> {
    let only = match default {
        FsType::Btrfs => Some(FsType::Btrfs),
        FsType::Ext4 | FsType::Xfs => None,
    };
    parameter.or(only)
}

#[cfg(test)]
mod tests {
    use super::{FsType, filesystem_unsaid};

    #[test]
    fn capacity_of_a_class_on_subvolumes_is_not_that_of_raw_volumes_which_they_never_take() {
        assert_eq!(filesystem_unsaid(None, FsType::Btrfs), Some(FsType::Btrfs));
        assert_eq!(filesystem_unsaid(None, FsType::Xfs), None);
        assert_eq!(filesystem_unsaid(Some(FsType::Ext4), FsType::Btrfs), Some(FsType::Ext4));
    }
}
