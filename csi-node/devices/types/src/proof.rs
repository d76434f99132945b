//! The proof of invariant I1. A [`DeletionProof`] is the only key to the steps that destroy, and [`DeletionProof::check`] is the only way to get one.

use crate::{ClusterUid, DeletionId, ProofRefusal, Tag, VolumeUuid};

/// `StorageVolume.spec.deletion`: written by the CSI controller before it deletes the object.
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

/// Proof that this volume may be destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionProof {
    volume: VolumeUuid,
    id: DeletionId,
}

impl DeletionProof {
    /// Weighs the evidence: the stamp names this volume, the PV is gone or Released with `Delete`, and the host object's tag is of this volume and cluster.
    /// That nobody has it open is proven when the steps are planned and again when they run.
    ///
    /// # Errors
    /// The first piece that is missing.
    pub fn check(
        stamp: Option<&DeletionStamp>,
        volume: VolumeUuid,
        cluster: &ClusterUid,
        pv: &PvReading,
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
        match pv {
            PvReading::NotFound => {}
            PvReading::Found { phase, reclaim } if phase == "Released" && reclaim == "Delete" => {}
            PvReading::Found { phase, reclaim } => {
                let (phase, reclaim) = (phase.clone(), reclaim.clone());
                return Err(ProofRefusal::PvStillThere { volume, phase, reclaim });
            }
        }
        Ok(Self { volume, id: id.clone() })
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
