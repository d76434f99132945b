//! Who asked for an operation, and what was read before it was begun. Prose for the audit; nothing is decided by it.

use terrace_device_types::{Claimed, DeletionId, PvReading};

use crate::queue::schedule::Priority;

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A call of the kubelet's.
    Kubelet,
    /// The spec of the StorageVolume or StorageSnapshot.
    Volume,
    /// The spec of the StoragePool.
    Pool,
    /// A stamped deletion: `DeleteVolume` or `DeleteSnapshot` of that handle.
    Deletion {
        /// The stamp's.
        id: DeletionId,
        /// What our own quorum read said.
        read: Claimed,
    },
    /// A person, by `kubectl terrace orphan delete`.
    Person {
        /// As the API server knows him.
        by: String,
        /// The deletion.
        id: DeletionId,
    },
    /// The sweeper.
    Sweeper,
    /// The start after a crash.
    Recovery,
}

impl Asked {
    /// Who asks for operations of that priority, where the caller says nothing else.
    #[must_use]
    pub const fn usually(priority: Priority) -> Self {
        match priority {
            Priority::Background => Self::Sweeper,
            Priority::Agent => Self::Volume,
            Priority::Call => Self::Kubelet,
            Priority::Recovery => Self::Recovery,
        }
    }

    /// In prose, of the object of that name.
    #[must_use]
    pub fn by(&self, name: &str) -> String {
        match self {
            Self::Kubelet => format!("the kubelet, for {name}"),
            Self::Volume => format!("the spec of {name}"),
            Self::Pool => format!("the spec of StoragePool {name}"),
            Self::Deletion { id: _, read: Claimed::Volume(_) } => format!("DeleteVolume of {name}"),
            Self::Deletion { id: _, read: Claimed::Snapshot } => {
                format!("DeleteSnapshot of {name}")
            }
            Self::Person { by, id: _ } => format!("{by}, by kubectl terrace orphan delete"),
            Self::Sweeper => "the sweeper".to_owned(),
            Self::Recovery => "the start after a crash".to_owned(),
        }
    }

    /// What was read before it was begun, beside what the step itself proves.
    #[must_use]
    pub fn proof(&self) -> Option<String> {
        match self {
            Self::Deletion { id, read } => {
                let read = match read {
                    Claimed::Volume(PvReading::NotFound) => "the PersistentVolume is not there".to_owned(),
                    Claimed::Volume(PvReading::Found { phase, reclaim }) => {
                        format!("the PersistentVolume is {phase} with {reclaim}")
                    }
                    Claimed::Snapshot => "a snapshot: no PersistentVolume names it".to_owned(),
                };
                Some(format!("stamp {id} names it; quorum read: {read}"))
            }
            Self::Person { by: _, id } => Some(format!(
                "a person named it by UUID and name, deletion {id}; quorum reads: nothing in the API names it"
            )),
            Self::Sweeper => Some(
                "quorum reads of every StorageVolume, StorageSnapshot and PersistentVolume: nothing names it".to_owned(),
            ),
            Self::Recovery => Some("the journal: an interrupted operation made it".to_owned()),
            Self::Kubelet | Self::Volume | Self::Pool => None,
        }
    }
}
