//! What each reason of a condition means to a storage admin, and what to do: one sentence or two each. Pure.

use terrace_crds::condition::Reason;

/// The reason of this name on the wire; `None` where another release wrote it.
#[must_use]
pub fn parse_reason(text: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == text)
}

/// What the reason means and what to do.
#[must_use]
pub fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::AsExpected => "All is as asked for.",
        Reason::WaitingForPlacement => {
            "The operator chooses a node and pool next. If this stays, see the terrace-operator Pod."
        }
        Reason::NoCapacity => {
            "Every pool that would do is too full. Add or grow a pool, delete volumes, or ask for less; it is placed as soon as there is room."
        }
        Reason::NoMatchingPool => {
            "No StoragePool is what the StorageClass asks for. Make one, or use another class."
        }
        Reason::WaitingForNode => {
            "The node's agent acts next. If this stays, see the terrace-node Pod of that node."
        }
        Reason::Creating => "The node is making the volume.",
        Reason::Deleting => "The node is removing the volume.",
        Reason::InUse => {
            "Something still has the volume mounted or open, so its bytes stay. Delete the Pods that use it; the rest follows by itself."
        }
        Reason::NoProof => {
            "There is no proof that the bytes may go, so they stay. Delete the PersistentVolumeClaim; with reclaim policy Retain, also decide about its PersistentVolume."
        }
        Reason::GrowingImage => "The node is growing the volume's device; the filesystem follows.",
        Reason::FilesystemGrowPending => {
            "The device has grown; the filesystem grows when the volume is next mounted, or by the kubelet's next call."
        }
        Reason::FacilityMissing => {
            "The node's kernel or environment lacks what the message names. Provide it there, or use another filesystem or node."
        }
        Reason::Failed => {
            "A step failed and is tried again, ever more rarely. The message says which and why."
        }
        Reason::Invalid => "It can never work as written. Change what the message names.",
        Reason::NotSupported => "The engine for it is not part of this release. Nothing was made.",
        Reason::EngineNotInstalled => {
            "The policy is sound, but the engine that would carry it out is not part of this release: nothing acts on it."
        }
        Reason::BytesAboveThreshold => "Resize the volume or clean up data.",
        Reason::InodesAboveThreshold => {
            "Many small files use up the inodes, not the space. Clean up files, or resize the volume: a larger filesystem has more."
        }
        Reason::BelowThreshold => "There is room.",
        Reason::PoolFull => {
            "The disk below is full, whatever the volume's own size. Free space on it, or add a pool."
        }
        Reason::NoProbe => {
            "Nobody measures it: no probe is connected on the volume's node. Check the container probe of its terrace-node Pod."
        }
        Reason::NotObservable => {
            "The probe runs and cannot see the operations of this volume; the message says why. kubectl terrace nodes tells how it is attached."
        }
        Reason::AboveTarget => {
            "Operations take longer than the target. Check the I/O patterns of the Pods and scale them, or move the volume to a faster tier."
        }
        Reason::BelowTarget => "Operations are as fast as asked for, or there are none.",
        Reason::IoErrors => {
            "Reads or writes fail below the filesystem. Check the disk of the pool and the kernel's log of the node, and back the data up."
        }
        Reason::DiskFailing => {
            "A disk of the pool fails; the message names it. Copy what is on it away, check its cable, and replace it."
        }
        Reason::DiskMissing => {
            "A disk of the pool is not there; the message names it. Attach it again: what lies on it is served from then on."
        }
        Reason::ReadOnlyFilesystem => {
            "The kernel made the filesystem read-only after an error. Check the kernel's log of the node; end the Pods that use the volume, so that it is checked and mounted anew."
        }
        Reason::FilesystemShutDown => {
            "The filesystem stopped itself to keep its data whole. Check the kernel's log of the node; end the Pods that use the volume, so that it is mounted anew."
        }
        Reason::Found => "A node lists the volume's bytes.",
        Reason::NotFound => {
            "No node lists the bytes, and they are never made anew. Bring back the node or disk that holds them; if they are lost, delete the claim."
        }
        Reason::Foreign => {
            "It carries the mark of another cluster or pool and is left untouched. Use another folder or device."
        }
        Reason::Conflict => {
            "Two objects ask for the same; the older one has it. Change or delete this one."
        }
        Reason::DeviceNotBlank => {
            "The device holds data, and nothing is overwritten. Choose another, or wipe it by hand if the data may go."
        }
        Reason::Inconsistent => {
            "What is on the host does not read as it should, so nothing is touched. See the message and the terrace-node Pod of that node."
        }
        Reason::NoNode => {
            "No node offers it. Check the pool's nodeSelector, and that terrace-node runs there."
        }
        Reason::PartlyReady => {
            "Some nodes offer it. kubectl terrace nodes tells what the others report."
        }
        Reason::NodeGone => "The node is not heard of. Bring it back; its bytes are on its disks.",
        Reason::SizeRounded => {
            "The volume has another size than asked for, for the reason that the message gives."
        }
        Reason::WaitingForClaim => {
            "PersistentVolume and claim are made; Kubernetes binds them next. If this stays, see kubectl describe of the claim."
        }
        Reason::Released => {
            "The claim was deleted and the PersistentVolume says Retain, so the bytes stay. Give them another claim, or let the PersistentVolume go with reclaim policy Delete."
        }
        Reason::Retained => {
            "Neither claim nor PersistentVolume is left, and nothing proves that the bytes may go, so they stay. Give them another claim, or delete the object: its node keeps the bytes, and they can be adopted."
        }
        Reason::AdoptionNeeded => {
            "Old data is handed to a new claim only where that is asked for: set spec.adopt, or take another name."
        }
        Reason::NotListed => {
            "Nothing is made in the place of bytes that were to be adopted. See kubectl terrace nodes for what each node keeps."
        }
        Reason::Healed => {
            "Its StorageVolume was lost and is there again: the PersistentVolume tells what it was, and a node has its bytes. Nothing is left to do."
        }
        Reason::ReadFailed => {
            "The API server did not answer what has to be known before anything is removed, so nothing is; it is asked again by itself."
        }
        Reason::NoObjects => {
            "The API server knows no volume, or no snapshot, at all while some are in service here, as after a loss of its objects, so nothing is removed. See kubectl terrace orphan list."
        }
        Reason::HasVolumes => {
            "The pool is being deleted and goes with the last volume and snapshot on it. Delete their claims and VolumeSnapshots."
        }
        Reason::OtherCluster => {
            "The API server is of another cluster than the one that made what is here, so nothing is touched. Check which cluster the node joined."
        }
        Reason::DefinitionTerminating => {
            "A kind of Terrace is being deleted, so the absence of its objects proves nothing. Apply the kinds again: kubectl apply --server-side -f crds/yaml/."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Reason, meaning, parse_reason};

    #[test]
    fn every_reason_is_explained_in_a_sentence() {
        for reason in Reason::ALL {
            assert_eq!(parse_reason(reason.as_str()), Some(*reason));
            assert!(meaning(*reason).ends_with('.'), "{reason}");
        }
        assert_eq!(parse_reason("FromTheFuture"), None);
    }
}
