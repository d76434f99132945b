//! DeleteVolume: the stamp and the deletion of a volume (I1). Pure. It proves nothing about the PV: the node
//! does that again, by its own reading, before a byte goes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use terrace_crds::names::FINALIZER_NODE;
use terrace_crds::node::{HostObjectKind, HostVolume, HostVolumeState, NodePool};
use terrace_crds::volume::{Deletion, Origin, VolumeMode};
use terrace_crds::{StorageVolume, StorageVolumeSpec};
use uuid::Uuid;

use crate::effect::{Effect, ObjectRef};
use crate::gone::LET_GO_AFTER;
use crate::noticed::fault;
use crate::volume::conditions_of;
use crate::world::{HostState, World};

/// What is left to do so that the volume goes, one effect at a time: the stamp first, then the deletion.
#[must_use]
pub fn plan_delete(volume: &StorageVolume, id: Uuid, now: Timestamp) -> Option<Effect> {
    let at = ObjectRef::of(&volume.metadata);
    if volume.metadata.deletion_timestamp.is_some() && volume.spec.deletion.is_some() {
        return None;
    }
    match (&volume.spec.deletion, &volume.spec.volume_uuid) {
        (None, Some(uuid)) => {
            Some(Effect::StampDeletion { volume: at, deletion: stamp(uuid, id, now) })
        }
        // Without an identity there is nothing on any node to prove a claim to.
        (None, None) | (Some(_), _) => Some(Effect::DeleteVolume { volume: at }),
    }
}

fn stamp(uuid: &str, id: Uuid, now: Timestamp) -> Deletion {
    Deletion { volume_uuid: uuid.to_owned(), id: id.to_string(), requested_at: Time(now) }
}

/// How long whoever asked for a deletion has from the stamp to the deletion of the object: it needs milliseconds, unless
/// it died.
const FORSAKEN_AFTER: Duration = Duration::from_secs(10);

/// What the operator does by itself about an object that was stamped at this time and is still there, if nobody else will:
/// `None` once it is for the operator to delete it, else how long that is off.
pub(crate) fn until_forsaken(stamped: &Time, now: Timestamp) -> Option<Duration> {
    let age = Duration::try_from(now.duration_since(stamped.0)).unwrap_or_default();
    FORSAKEN_AFTER.checked_sub(age).filter(|left| !left.is_zero())
}

/// Who has to act before a deleted volume is gone, and what to do where that never happens.
#[must_use]
pub fn waits_for(world: &World, volume: &StorageVolume) -> String {
    let Some(place) = &volume.spec.assignment else {
        return "the operator to let it go".to_owned();
    };
    let node = &place.node;
    let to_act = format!("node {node} to remove it");
    match world.host(node).map(|host| host.state) {
        None => format!(
            "{to_act}, and Kubernetes has no such node: bring it back; should it not come back, the StorageVolume is let go {} minutes after it was missed, and the bytes stay on its disks",
            LET_GO_AFTER.as_secs() / 60
        ),
        Some(HostState::NotReady) => format!("{to_act}, which is not ready"),
        Some(HostState::Ready | HostState::Cordoned) => match fault(conditions_of(volume)) {
            Some(why) => format!("{to_act}: {why}"),
            None => to_act,
        },
    }
}

/// The object for a volume that has lost its own, made only so that its node can delete it with proof: it is stamped from
/// its first moment, since a node may list for a moment longer what it has just removed, and no byte is made for what is
/// stamped. `None` where no node lists a host object of that name.
#[must_use]
pub fn plan_adopt_for_deletion(
    world: &World,
    handle: &str,
    id: Uuid,
    now: Timestamp,
) -> Option<Effect> {
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
        adopt: None,
        source: None,
        erase_on_delete: None,
        latency_target: None,
        deletion: Some(Box::new(stamp(&host.uuid, id, now))),
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
        let host = status.volumes.iter().find(|host| is_volume(host, handle))?;
        let pool = status.pools.iter().find(|pool| pool.uuid.as_ref() == Some(&host.pool_uuid))?;
        Some((host, pool))
    })
}

fn is_volume(host: &HostVolume, handle: &str) -> bool {
    host.kind == HostObjectKind::Volume && host.name == handle && is_whole(host.state)
}

/// An object that is on its way out already, or cannot be read, is not asked for again.
fn is_whole(state: HostVolumeState) -> bool {
    match state {
        HostVolumeState::Creating | HostVolumeState::Ready | HostVolumeState::Retained => true,
        HostVolumeState::Quarantined | HostVolumeState::Unreadable => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{HostState, StorageVolume, World, waits_for};
    use crate::world::Host;
    use serde_json::{Value, from_value, json};

    fn told(host: Option<HostState>, assignment: Value, conditions: Value) -> String {
        let mut spec =
            json!({"origin": "CSI", "capacity": "1Gi", "volumeMode": "Block", "tier": "ssd"});
        if !assignment.is_null() {
            spec["assignment"] = assignment;
        }
        let object = json!({
            "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
            "metadata": {"name": "pvc-1"}, "spec": spec, "status": {"conditions": conditions},
        });
        let volume: StorageVolume = from_value(object).unwrap();
        let hosts = host.map(|state| Host { name: "node-a".into(), state }).into_iter().collect();
        waits_for(&World { hosts, ..World::default() }, &volume)
    }

    #[test]
    fn a_deletion_that_waits_names_the_node_its_state_and_the_way_out() {
        let here = json!({"node": "node-a", "poolUUID": "u"});
        let used = json!([{
            "type": "Ready", "status": "False", "reason": "InUse", "message": "the volume is mounted",
            "lastTransitionTime": "2026-11-22T11:00:00Z",
        }]);
        let (ready, none) = (Some(HostState::Ready), json!([]));
        assert_eq!(told(ready, Value::Null, none.clone()), "the operator to let it go");
        assert_eq!(told(ready, here.clone(), none.clone()), "node node-a to remove it");
        let said = told(ready, here.clone(), used);
        assert_eq!(said, "node node-a to remove it: the volume is mounted");
        let said = told(Some(HostState::NotReady), here.clone(), none.clone());
        assert_eq!(said, "node node-a to remove it, which is not ready");
        let said = told(None, here, none);
        assert!(said.contains("no such node") && said.contains("let go 5 minutes"), "{said}");
    }
}
