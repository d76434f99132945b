//! DeleteVolume: the stamp and the deletion of a volume (I1). Pure. It proves nothing about the PV: the node
//! does that again, by its own reading, before a byte goes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use terrace_crds::names::FINALIZER_NODE;
use terrace_crds::node::{HostVolume, HostVolumeState, NodePool};
use terrace_crds::volume::{Deletion, Origin, VolumeMode};
use terrace_crds::{StorageVolume, StorageVolumeSpec};
use uuid::Uuid;

use crate::effect::{Effect, ObjectRef};
use crate::world::World;

/// What is left to do so that the volume goes, one effect at a time: the stamp first, then the deletion.
#[must_use]
pub fn plan_delete(volume: &StorageVolume, id: Uuid, now: Timestamp) -> Option<Effect> {
    let at = ObjectRef::of(&volume.metadata);
    if volume.metadata.deletion_timestamp.is_some() && volume.spec.deletion.is_some() {
        return None;
    }
    match (&volume.spec.deletion, &volume.spec.volume_uuid) {
        (None, Some(uuid)) => {
            let (volume_uuid, id) = (uuid.clone(), id.to_string());
            let deletion = Deletion { volume_uuid, id, requested_at: Time(now) };
            Some(Effect::StampDeletion { volume: at, deletion })
        }
        // Without an identity there is nothing on any node to prove a claim to.
        (None, None) | (Some(_), _) => Some(Effect::DeleteVolume { volume: at }),
    }
}

/// The object for a volume that has lost its own, made only so that its node can delete it with proof.
/// `None` where no node lists a host object of that name.
#[must_use]
pub fn plan_adopt_for_deletion(world: &World, handle: &str) -> Option<Effect> {
    let (host, pool) = listed(world, handle)?;
    let spec = StorageVolumeSpec {
        volume_uuid: Some(host.uuid.clone()),
        csi_name: None,
        origin: Origin::Csi,
        claim_ref: None,
        capacity: host.size.clone(),
        // What it held is on the host object; nothing will mount it again.
        volume_mode: VolumeMode::Block,
        fs_type: None,
        mount_options: Vec::new(),
        pool: Some(pool.name.clone()),
        tier: None,
        erase_on_delete: None,
        deletion: None,
        assignment: None,
    };
    let metadata = ObjectMeta {
        name: Some(handle.to_owned()),
        finalizers: Some(vec![FINALIZER_NODE.to_owned()]),
        ..ObjectMeta::default()
    };
    let volume = Box::new(StorageVolume { metadata, spec, status: None });
    Some(Effect::CreateVolume { volume })
}

fn listed<'a>(world: &'a World, handle: &str) -> Option<(&'a HostVolume, &'a NodePool)> {
    world.nodes.iter().filter_map(|node| node.status.as_ref()).find_map(|status| {
        let host = status.volumes.iter().find(|host| host.name == handle && is_whole(host.state))?;
        let pool = status.pools.iter().find(|pool| pool.uuid.as_ref() == Some(&host.pool_uuid))?;
        Some((host, pool))
    })
}

/// An object that is on its way out already, or cannot be read, is not asked for again.
fn is_whole(state: HostVolumeState) -> bool {
    match state {
        HostVolumeState::Creating | HostVolumeState::Ready | HostVolumeState::Retained => true,
        HostVolumeState::Quarantined | HostVolumeState::Unreadable => false,
    }
}
