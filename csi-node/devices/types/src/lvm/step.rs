//! What is done with LVM, one variant each, under the rules of [`Step`](crate::Step). A group is named by its UUID: on which devices it is, the devices themselves
//! say at that moment. A volume is named by its name and the UUID in its tag ([`LvRef`]).
//!
//! Beside each logical volume of a volume or snapshot is its *entry*: an empty file in the pool's folder, of the same name, that carries the tag. It is there
//! before the logical volume and goes after it, and what it says decides what may be done to the logical volume.

use std::fmt;
use std::path::PathBuf;

use super::{
    Gains, LvName, LvRef, NewGroup, NewPv, NewThinPool, NewVolume, PoolSize, VgUuid, VolumeKind,
};
use crate::{Access, Bytes, DeletionId, DeviceRef, Erase, PoolFile, Step, Tag};

/// One effect by LVM, or on a logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LvmStep {
    /// Makes a group on blank devices, or finishes one that was begun.
    MakeGroup {
        /// Which, on what.
        new: Box<NewGroup>,
    },
    /// Adds blank devices to a group.
    ExtendGroup {
        /// The group.
        group: VgUuid,
        /// Which.
        devices: Vec<NewPv>,
    },
    /// Makes the logical volume that holds the pool's folder, with the group's own tag and blank ends.
    MakeFolder {
        /// The group.
        group: VgUuid,
        /// What the group must say about itself.
        pool: Box<PoolFile>,
    },
    /// Gives every logical volume of ours in a group its device.
    ActivateGroup {
        /// The group.
        group: VgUuid,
    },
    /// Ends what a killed lvm left of a group: suspended devices go on, those of no volume go away.
    ClearLeftovers {
        /// The group.
        group: VgUuid,
    },
    /// Makes a thin pool, with the group's own tag.
    MakeThinPool {
        /// The group.
        group: VgUuid,
        /// Which.
        new: NewThinPool,
    },
    /// Lengthens a thin pool's data and metadata.
    GrowThinPool {
        /// The group.
        group: VgUuid,
        /// Its name.
        name: LvName,
        /// How long they are to be.
        to: PoolSize,
    },
    /// Makes an entry: an empty file with the tag, and only then its name.
    CreateEntry {
        /// Its path.
        object: PathBuf,
        /// What it says about itself.
        tag: Box<Tag>,
    },
    /// Makes the logical volume of an entry that is still `creating` and was never staged; one that an earlier try made is found again.
    CreateLv {
        /// The entry.
        object: PathBuf,
        /// The group.
        group: VgUuid,
        /// Which.
        new: Box<NewVolume>,
    },
    /// Lengthens a logical volume.
    GrowLv {
        /// The group.
        group: VgUuid,
        /// Which.
        lv: LvRef,
        /// How long it is to be, at least.
        to: Bytes,
        /// What is read of what it gains.
        gains: Gains,
    },
    /// Writes zeros over the logical volume of an entry that is still `creating` and was never staged: what a removed volume left there is nobody's to read.
    ZeroLv {
        /// The entry.
        object: PathBuf,
        /// The group.
        group: VgUuid,
        /// Which.
        lv: LvRef,
    },
    /// Makes a logical volume's device what LVM has written down of it: a crash came between the two.
    RefreshLv {
        /// The group.
        group: VgUuid,
        /// Which.
        lv: LvRef,
    },
    /// Lets a device take writes, or not.
    SetAccess {
        /// The device.
        device: DeviceRef,
        /// Which of the two.
        access: Access,
    },
    /// Destroys the bytes of a quarantined entry's logical volume.
    EraseLv {
        /// The entry.
        object: PathBuf,
        /// The deletion its tag must name.
        deletion: DeletionId,
        /// The logical volume.
        device: DeviceRef,
        /// How.
        erase: Erase,
    },
    /// Removes the logical volume of a quarantined entry.
    RemoveLv {
        /// The entry.
        object: PathBuf,
        /// The deletion its tag must name.
        deletion: DeletionId,
        /// The group.
        group: VgUuid,
        /// Which.
        lv: LvRef,
    },
    /// Removes the logical volume of an entry that is still `creating` and was never staged: no Pod ever saw it.
    RemoveUnfinishedLv {
        /// The entry.
        object: PathBuf,
        /// The group.
        group: VgUuid,
        /// Which.
        lv: LvRef,
    },
}

impl LvmStep {
    /// The step that takes it back, where one exists.
    pub(crate) fn undo(&self) -> Option<Step> {
        match self {
            Self::CreateEntry { object, tag } => {
                Some(Step::RemoveUnfinished { image: object.clone(), volume: tag.volume })
            }
            Self::CreateLv { object, group, new } => {
                let lv = LvRef { name: new.name.clone(), volume: new.tag.volume };
                let (object, group) = (object.clone(), group.clone());
                Some(Step::Lvm(Self::RemoveUnfinishedLv { object, group, lv }))
            }
            Self::MakeGroup { .. }
            | Self::ExtendGroup { .. }
            | Self::MakeFolder { .. }
            | Self::ActivateGroup { .. }
            | Self::ClearLeftovers { .. }
            | Self::MakeThinPool { .. }
            | Self::GrowThinPool { .. }
            | Self::GrowLv { .. }
            | Self::ZeroLv { .. }
            | Self::RefreshLv { .. }
            | Self::SetAccess { .. }
            | Self::EraseLv { .. }
            | Self::RemoveLv { .. }
            | Self::RemoveUnfinishedLv { .. } => None,
        }
    }
}

/// The words that [`Step`]'s own `Display` has for it.
impl fmt::Display for LvmStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeGroup { new } => {
                write!(f, "make volume group {} on ", new.name)?;
                write_devices(f, &new.devices)
            }
            Self::ExtendGroup { group, devices } => {
                write!(f, "add to volume group {group} ")?;
                write_devices(f, devices)
            }
            Self::MakeFolder { group, pool } => {
                write!(f, "make the folder of pool {} in volume group {group}", pool.pool)
            }
            Self::ActivateGroup { group } => {
                write!(f, "activate what is ours in volume group {group}")
            }
            Self::ClearLeftovers { group } => {
                write!(f, "end what a killed lvm left of volume group {group}")
            }
            Self::MakeThinPool { group, new } => {
                let (name, PoolSize { data, metadata }) = (&new.name, new.size);
                write!(
                    f,
                    "make thin pool {name} of {data} with {metadata} of metadata in volume group {group}"
                )
            }
            Self::GrowThinPool { group, name, to: PoolSize { data, metadata } } => {
                write!(
                    f,
                    "grow thin pool {name} of volume group {group} to {data} with {metadata} of metadata"
                )
            }
            Self::CreateEntry { object, tag: _ } => {
                write!(f, "create entry {}", object.display())
            }
            Self::CreateLv { object: _, group, new } => {
                let NewVolume { name, kind, tag: _ } = &**new;
                write!(f, "create logical volume {name} in volume group {group}, {}", Way(kind))
            }
            Self::GrowLv { group, lv, to, gains } => {
                write!(f, "grow logical volume {} of volume group {group} to {to}", lv.name)?;
                match gains {
                    Gains::AsFound => Ok(()),
                    Gains::Zeros => f.write_str(", by zeros"),
                }
            }
            Self::ZeroLv { object: _, group, lv } => {
                write!(f, "write zeros over logical volume {} of volume group {group}", lv.name)
            }
            Self::RefreshLv { group, lv } => {
                write!(
                    f,
                    "let the device of logical volume {} of volume group {group} be as large as LVM says",
                    lv.name
                )
            }
            Self::SetAccess { device, access } => write!(f, "make {device} {access}"),
            Self::EraseLv { object: _, deletion: _, device, erase } => match erase {
                Erase::Zeros => write!(f, "write zeros over {device}"),
                Erase::No => write!(f, "leave the bytes of {device} as they are"),
            },
            Self::RemoveLv { object: _, deletion: _, group, lv } => {
                write!(f, "remove logical volume {} of volume group {group}", lv.name)
            }
            Self::RemoveUnfinishedLv { object: _, group, lv } => {
                write!(
                    f,
                    "remove logical volume {} of volume group {group}, which was never used",
                    lv.name
                )
            }
        }
    }
}

fn write_devices(f: &mut fmt::Formatter<'_>, devices: &[NewPv]) -> fmt::Result {
    for (number, device) in devices.iter().enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        write!(f, "{comma}{} ({})", device.path.display(), device.dev_t)?;
    }
    f.write_str(", which must be blank and unused")
}

/// How a volume keeps its bytes, for people.
struct Way<'a>(&'a VolumeKind);

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            VolumeKind::Linear { size } => write!(f, "of {size}"),
            VolumeKind::Striped { size, stripes, piece: _ } => {
                write!(f, "of {size} over {stripes} devices")
            }
            VolumeKind::Raid1 { size, mirrors } => {
                write!(f, "of {size} in {} copies", mirrors.saturating_add(1))
            }
            VolumeKind::Thin { size, pool } => write!(f, "of {size} in thin pool {pool}"),
            VolumeKind::ThinSnapshot { of, access } => {
                write!(f, "that shares the blocks of {}, {access}", of.name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Allocation, HostObject, HostState, Latch, StageState, VolumeMode, image_name, undo,
    };

    #[test]
    fn a_making_that_is_taken_back_removes_the_logical_volume_before_its_entry() {
        let tag = Tag {
            object: HostObject::Volume,
            source: None,
            volume: "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11".parse().unwrap(),
            cluster: "0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c".parse().unwrap(),
            pool: "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10".parse().unwrap(),
            name: "pvc-1".into(),
            mode: VolumeMode::Block,
            allocation: Allocation::Reserved,
            state: HostState::Creating,
            latch: Latch::None,
            stage: StageState::Never,
        };
        let group: VgUuid = "7NiBDF-JPUK-Ubdd-Xuik-sxcc-9BUG-2QfA7B".parse().unwrap();
        let text = image_name(tag.object, tag.volume);
        let (object, name) = (PathBuf::from("/pool").join(&text), text.parse().unwrap());
        let kind = VolumeKind::Linear { size: Bytes::gib(1) };
        let new = Box::new(NewVolume { name, kind, tag: tag.clone() });
        let made = [
            LvmStep::CreateEntry { object: object.clone(), tag: Box::new(tag) },
            LvmStep::CreateLv { object, group, new },
        ];
        let back: Vec<String> = made
            .into_iter()
            .rev()
            .filter_map(|step| undo(&Step::Lvm(step)))
            .map(|step| step.to_string())
            .collect();
        assert_eq!(
            back,
            [
                format!(
                    "remove logical volume {text} of volume group 7NiBDF-JPUK-Ubdd-Xuik-sxcc-9BUG-2QfA7B, which was never used"
                ),
                format!("remove /pool/{text}, which was never used"),
            ]
        );
    }
}
