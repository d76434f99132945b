//! The proof of invariant I1. A [`DeletionProof`] is the only key to the steps that destroy, and [`DeletionProof::check`] and
//! [`DeletionProof::check_orphan`] are the only ways to get one.

use crate::{ClusterUid, DeletionId, HostObject, ProofRefusal, Tag, VolumeUuid};

/// `spec.deletion` of a StorageVolume or StorageSnapshot: written by the CSI controller before it deletes the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionStamp {
    /// The volume that was to be deleted.
    pub volume: VolumeUuid,
    /// The deletion.
    pub id: DeletionId,
}

/// What the node's own quorum GET of the PersistentVolume said. An error of any kind is not a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PvReading {
    /// There is no such PV.
    NotFound,
    /// It is there.
    Found {
        /// `status.phase`.
        phase: String,
        /// `spec.persistentVolumeReclaimPolicy`.
        reclaim: String,
    },
}

/// Who may still count on the bytes, as far as the API server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// A volume: its PersistentVolume decides.
    Volume(PvReading),
    /// A snapshot: no PersistentVolume ever names it, the stamp alone decides.
    Snapshot,
}

impl Claimed {
    /// What the host object must be.
    #[must_use]
    pub const fn object(&self) -> HostObject {
        match self {
            Self::Volume(_) => HostObject::Volume,
            Self::Snapshot => HostObject::Snapshot,
        }
    }
}

/// The word of a person who wants an orphan destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonsWord {
    /// The orphan.
    pub volume: VolumeUuid,
    /// The name it was made for: who knows it has looked at what is to go.
    pub name: String,
    /// The deletion.
    pub id: DeletionId,
}

/// What the node's own quorum reads of everything that can name an orphan said. An error of any kind is not a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrphanReading {
    /// Nothing does.
    Unclaimed,
    /// Something does.
    Claimed {
        /// What, for people.
        by: String,
    },
}

/// Proof that this volume (or snapshot) may be destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionProof {
    volume: VolumeUuid,
    id: DeletionId,
}

impl DeletionProof {
    /// Weighs the evidence: the stamp names this volume, the PV is gone or Released with `Delete`, and the host object's tag is of this volume and cluster; a snapshot's
    /// tag says that it is one.
    /// That nobody has it open is proven when the steps are planned and again when they run.
    ///
    /// # Errors
    /// The first piece that is missing.
    pub fn check(
        stamp: Option<&DeletionStamp>,
        volume: VolumeUuid,
        cluster: &ClusterUid,
        claimed: &Claimed,
        tag: &Tag,
    ) -> Result<Self, ProofRefusal> {
        let DeletionStamp { volume: stamped, id } =
            stamp.ok_or(ProofRefusal::NoStamp { volume })?;
        if *stamped != volume {
            return Err(ProofRefusal::StampOfAnother { volume, stamped: *stamped });
        }
        if tag.volume != volume {
            return Err(ProofRefusal::TagOfAnother { volume, tagged: tag.volume });
        }
        if tag.cluster != *cluster {
            return Err(ProofRefusal::OtherCluster { volume, cluster: tag.cluster.clone() });
        }
        if tag.object != claimed.object() {
            let (found, wanted) = (tag.object, claimed.object());
            return Err(ProofRefusal::OtherObject { volume, found, wanted });
        }
        match claimed {
            Claimed::Snapshot | Claimed::Volume(PvReading::NotFound) => {}
            Claimed::Volume(PvReading::Found { phase, reclaim })
                if phase == "Released" && reclaim == "Delete" => {}
            Claimed::Volume(PvReading::Found { phase, reclaim }) => {
                let (phase, reclaim) = (phase.clone(), reclaim.clone());
                return Err(ProofRefusal::PvStillThere { volume, phase, reclaim });
            }
        }
        Ok(Self { volume, id: id.clone() })
    }

    /// Weighs a person's word for the end of an orphan: it names this object by UUID and name, the host object's tag is of both and of this cluster, and nothing in
    /// the API names it.
    /// That nobody has it open is proven when the steps are planned and again when they run.
    ///
    /// # Errors
    /// The first piece that is missing.
    pub fn check_orphan(
        word: &PersonsWord,
        cluster: &ClusterUid,
        reading: &OrphanReading,
        tag: &Tag,
    ) -> Result<Self, ProofRefusal> {
        let PersonsWord { volume, name, id } = word;
        let volume = *volume;
        if tag.volume != volume {
            return Err(ProofRefusal::TagOfAnother { volume, tagged: tag.volume });
        }
        if tag.cluster != *cluster {
            return Err(ProofRefusal::OtherCluster { volume, cluster: tag.cluster.clone() });
        }
        if tag.name != *name {
            let (tagged, said) = (tag.name.clone(), name.clone());
            return Err(ProofRefusal::OtherName { volume, tagged, said });
        }
        match reading {
            OrphanReading::Unclaimed => Ok(Self { volume, id: id.clone() }),
            OrphanReading::Claimed { by } => {
                Err(ProofRefusal::StillClaimed { volume, by: by.clone() })
            }
        }
    }

    /// The volume it is about.
    #[must_use]
    pub fn volume(&self) -> VolumeUuid {
        self.volume
    }

    /// The deletion it is part of.
    #[must_use]
    pub fn id(&self) -> &DeletionId {
        &self.id
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
