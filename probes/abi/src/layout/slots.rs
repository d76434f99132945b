//! Where figures are kept: a slot a volume, slots for mounts nobody has named yet, one slot for each class of what is no volume.

use serde::{Deserialize, Serialize};

use super::indexed;

/// Slots for volumes, from 0.
pub const VOLUME_SLOTS: u16 = 512;
/// Slots for mounts seen in the kernel and not named yet.
pub const PROVISIONAL_SLOTS: u16 = 64;
/// Slots shared by all mounts of a class.
pub const CLASS_SLOTS: u16 = 32;
/// The first provisional slot.
pub const FIRST_PROVISIONAL: u16 = VOLUME_SLOTS;
/// The first slot of a class.
pub const FIRST_CLASS: u16 = FIRST_PROVISIONAL + PROVISIONAL_SLOTS;
/// All of them.
pub const SLOTS: u16 = FIRST_CLASS + CLASS_SLOTS;
/// What volumes that are gone have left, added up.
pub const RETIRED_VOLUMES: u16 = SLOTS - 1;
/// No slot was free: the mount's operations are `missed{noSlot}`.
pub const SLOT_NONE: u16 = 0x3fff;
/// Left alone for good: a pseudo filesystem, or a mount of the kernel's own.
pub const SLOT_IGNORED: u16 = 0x3ffe;

/// A place for figures.
pub type Slot = u16;

/// What a slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// One volume.
    Volume,
    /// One mount or device, until it is named.
    Provisional,
    /// All mounts of a class; `None` for those that are not given out yet.
    Class(Option<SharedClass>),
    /// Nothing is counted.
    Uncounted,
}

impl SlotKind {
    /// What a slot is for.
    #[must_use]
    pub fn of(slot: Slot) -> Self {
        match slot {
            0..FIRST_PROVISIONAL => Self::Volume,
            FIRST_PROVISIONAL..FIRST_CLASS => Self::Provisional,
            FIRST_CLASS..SLOTS => Self::Class(SharedClass::at(usize::from(slot - FIRST_CLASS))),
            SLOTS.. => Self::Uncounted,
        }
    }
}

indexed! {
    /// What is counted together because it is no volume of its own.
    SharedClass, SHARED_CLASSES {
        /// The writable root of a container.
        ContainerRoot = 0,
        /// Everything else on the node.
        Host = 1,
        /// ConfigMap volumes.
        ConfigMap = 2,
        /// Secret volumes.
        Secret = 3,
        /// Projected volumes, tokens among them.
        Projected = 4,
        /// emptyDir volumes.
        EmptyDir = 5,
        /// hostPath volumes.
        HostPath = 6,
        /// downwardAPI volumes.
        Downward = 7,
        /// Files the kubelet gives every container: /etc/hosts, /etc/resolv.conf, the termination log.
        ContainerFiles = 8,
        /// /etc/kubernetes.
        CriticalKubernetes = 9,
        /// /var/lib/etcd.
        CriticalEtcd = 10,
        /// /var/lib/containerd, /var/lib/docker/containers.
        Runtime = 11,
        /// /var/log/containers and /var/log/pods.
        Logs = 12,
        /// /var/lib/kubelet/plugins and what else is the kubelet's own.
        Kubelet = 13,
        /// What can't be said to be anybody's: gone before it was named, or more than one volume's.
        Unnamed = 14,
    }
}

impl SharedClass {
    /// Its slot.
    #[must_use]
    pub const fn slot(self) -> Slot {
        FIRST_CLASS + self as Slot
    }

    /// Whether a sample of its operations is enough: it is no volume.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        match self {
            Self::ContainerRoot
            | Self::Host
            | Self::ContainerFiles
            | Self::Runtime
            | Self::Logs
            | Self::Kubelet => true,
            Self::ConfigMap
            | Self::Secret
            | Self::Projected
            | Self::EmptyDir
            | Self::HostPath
            | Self::Downward
            | Self::CriticalKubernetes
            | Self::CriticalEtcd
            | Self::Unnamed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CLASS_SLOTS, FIRST_CLASS, FIRST_PROVISIONAL, SHARED_CLASSES, SLOT_IGNORED, SLOTS,
        SharedClass, SlotKind,
    };

    #[test]
    fn every_class_has_a_slot_of_its_own() {
        assert!(SHARED_CLASSES <= usize::from(CLASS_SLOTS));
        for class in SharedClass::ALL {
            assert_eq!(SlotKind::of(class.slot()), SlotKind::Class(Some(*class)));
        }
    }

    #[test]
    fn kinds_of_slots_touch() {
        assert_eq!(SlotKind::of(FIRST_PROVISIONAL - 1), SlotKind::Volume);
        assert_eq!(SlotKind::of(FIRST_PROVISIONAL), SlotKind::Provisional);
        assert_eq!(SlotKind::of(SLOTS - 1), SlotKind::Class(None));
        assert_eq!(SlotKind::of(SLOT_IGNORED), SlotKind::Uncounted);
        // `SLOT_UNNAMED` of bpf/abi.h.
        assert_eq!(SharedClass::Unnamed.slot(), FIRST_CLASS + 14);
    }
}
