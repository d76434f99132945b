//! A PersistentVolume that is in use and whose StorageVolume is gone: the object is made again, for the bytes that a
//! node has. Pure. It is never made where no node lists the bytes, so it never leads to new ones (I2).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use terrace_crds::condition::Reason;
use terrace_crds::names::{FINALIZER_NODE, volume_name};
use terrace_crds::node::{HostVolume, HostVolumeState};
use terrace_crds::volume::{FsType, Origin, VolumeMode};
use terrace_crds::{Latency, Size, StorageNode, StorageVolume, StorageVolumeSpec};

use crate::effect::{Effect, Tone};
use crate::listed::Key;
use crate::parameters::Erase;
use crate::plan::{Next, Plan};
use crate::space::bytes;
use crate::volume::listings_of;
use crate::world::{Persistent, PersistentPhase, World, name_of};

/// A PersistentVolume of ours, read past every cache after the API server said that it has no StorageVolume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// What decisions look at of every PersistentVolume.
    pub persistent: Persistent,
    /// Whether it is being deleted.
    #[serde(default)]
    pub leaving: bool,
    /// Identity of its bytes, from its attributes.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Who asked for it: a PersistentVolume of class `terrace-direct` is that of a Direct volume.
    pub origin: Origin,
    /// Filesystem or block.
    #[serde(default)]
    pub volume_mode: VolumeMode,
    /// Its filesystem, where the PersistentVolume names it.
    #[serde(default)]
    pub fs_type: Option<FsType>,
    /// Mount options.
    #[serde(default)]
    pub mount_options: Vec<String>,
    /// The pool that it was made on, by name, from its attributes.
    #[serde(default)]
    pub pool: Option<String>,
    /// Whether its bytes are overwritten at the end, from its attributes.
    #[serde(default)]
    pub erase: Erase,
    /// The latency that it is to stay below, from its attributes.
    #[serde(default)]
    pub latency: Option<Latency>,
}

/// Why a lost object is not made again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHealed {
    /// It ends.
    #[error("PersistentVolume {pv} is being deleted")]
    Leaving {
        /// Its name.
        pv: String,
    },
    /// No claim has it, and none is waited for.
    #[error("PersistentVolume {pv} is {phase:?}: only what a claim has, or may have, is needed")]
    Unused {
        /// Its name.
        pv: String,
        /// Where it stands.
        phase: PersistentPhase,
    },
    /// Made by hand, or by an earlier release.
    #[error("PersistentVolume {pv} does not tell the UUID of its bytes")]
    NoIdentity {
        /// Its name.
        pv: String,
    },
    /// Its node is away, or the bytes are gone.
    #[error(
        "no node lists bytes {uuid} of PersistentVolume {pv}: bring back the node or disk that has them; nothing is made in their place"
    )]
    NotListed {
        /// Its name.
        pv: String,
        /// The UUID.
        uuid: String,
    },
    /// They cannot be used.
    #[error(
        "node {node} lists bytes {uuid} as {state:?}: only what is Ready or Retained is taken into service"
    )]
    Unusable {
        /// The node.
        node: String,
        /// The UUID.
        uuid: String,
        /// Their state.
        state: HostVolumeState,
    },
    /// Not what the PersistentVolume says.
    #[error("bytes {uuid} were made as {name}, and PersistentVolume {pv} names {handle}")]
    OtherName {
        /// The UUID.
        uuid: String,
        /// Their name.
        name: String,
        /// The PersistentVolume.
        pv: String,
        /// What it names.
        handle: String,
    },
    /// Another object has them.
    #[error("bytes {uuid} of PersistentVolume {pv} are StorageVolume {other}")]
    AnotherHas {
        /// The UUID.
        uuid: String,
        /// The PersistentVolume.
        pv: String,
        /// Who has them.
        other: String,
    },
    /// A Direct volume is for a claim.
    #[error("PersistentVolume {pv} is that of a Direct volume and names no claim")]
    NoClaim {
        /// Its name.
        pv: String,
    },
    /// Nothing tells what to mount.
    #[error("neither node {node} nor PersistentVolume {pv} tells the filesystem of bytes {uuid}")]
    NoFilesystem {
        /// The node.
        node: String,
        /// The PersistentVolume.
        pv: String,
        /// The UUID.
        uuid: String,
    },
}

/// What to do about it, and why.
#[must_use]
pub fn plan_heal(world: &World, lost: &Lost) -> Plan {
    let pv = &lost.persistent.name;
    let (effects, said) = match heal(world, lost) {
        Ok((node, volume)) => {
            let note = format!(
                "StorageVolume {} was lost: made again from PersistentVolume {pv} and the bytes that node {node} has",
                name_of(&volume.metadata)
            );
            let tell = |claim| Effect::Tell {
                claim,
                tone: Tone::Normal,
                reason: Reason::Healed,
                note: note.clone(),
            };
            let told = lost.persistent.claim.clone().map(tell);
            let heal = Effect::HealVolume { volume: Box::new(volume), node };
            (std::iter::once(heal).chain(told).collect(), Vec::new())
        }
        Err(why) => (Vec::new(), vec![why.to_string()]),
    };
    Plan { effects, verdicts: Vec::new(), said, next: Next::Change }
}

/// The node that has the bytes, and the object for them.
fn heal(world: &World, lost: &Lost) -> Result<(String, StorageVolume), NotHealed> {
    let Persistent { name, handle, phase, .. } = &lost.persistent;
    let pv = || name.clone();
    if lost.leaving {
        return Err(NotHealed::Leaving { pv: pv() });
    }
    match phase {
        PersistentPhase::Bound | PersistentPhase::Available => {}
        PersistentPhase::Pending | PersistentPhase::Released | PersistentPhase::Failed => {
            return Err(NotHealed::Unused { pv: pv(), phase: *phase });
        }
    }
    let uuid = lost.uuid.clone().ok_or_else(|| NotHealed::NoIdentity { pv: pv() })?;
    let has =
        |volume: &&std::sync::Arc<StorageVolume>| volume.spec.volume_uuid.as_ref() == Some(&uuid);
    if let Some(other) = world.volumes.candidates(Key::Bytes(&uuid)).find(has) {
        let (uuid, other) = (uuid.clone(), name_of(&other.metadata).to_owned());
        return Err(NotHealed::AnotherHas { uuid, pv: pv(), other });
    }
    // Where two list them, whoever places the volume says so, and waits.
    let found = listings_of(world, &uuid);
    let Some((node, host)) = found.first().copied() else {
        return Err(NotHealed::NotListed { pv: pv(), uuid });
    };
    let on = name_of(&node.metadata).to_owned();
    match host.state {
        HostVolumeState::Ready | HostVolumeState::Retained => {}
        HostVolumeState::Creating | HostVolumeState::Quarantined | HostVolumeState::Unreadable => {
            return Err(NotHealed::Unusable { node: on, uuid, state: host.state });
        }
    }
    if host.name != *handle {
        let (name, handle) = (host.name.clone(), handle.clone());
        return Err(NotHealed::OtherName { uuid, name, pv: pv(), handle });
    }
    let volume = object(lost, uuid, node, host)?;
    Ok((on, volume))
}

/// The object, as far as PersistentVolume and host object tell what it was.
fn object(
    lost: &Lost,
    uuid: String,
    node: &StorageNode,
    host: &HostVolume,
) -> Result<StorageVolume, NotHealed> {
    let Lost {
        persistent,
        leaving: _,
        uuid: _,
        origin,
        volume_mode,
        fs_type,
        mount_options,
        pool,
        erase,
        latency,
    } = lost;
    let pv = || persistent.name.clone();
    let (volume_mode, fs_type) = content(*volume_mode, *fs_type, host).ok_or_else(|| {
        let node = name_of(&node.metadata).to_owned();
        NotHealed::NoFilesystem { node, pv: pv(), uuid: uuid.clone() }
    })?;
    if *origin == Origin::Direct && persistent.claim.is_none() {
        return Err(NotHealed::NoClaim { pv: pv() });
    }
    let pools = node.status.iter().flat_map(|status| &status.pools);
    let mut here = pools.filter(|pool| pool.uuid.as_ref() == Some(&host.pool_uuid));
    // As after a loss of every kind: the node lists what it has before there is a StoragePool again.
    let here = here.next().map(|pool| pool.name.clone()).or_else(|| pool.clone());
    let told = persistent.capacity.as_ref().map_or(0, bytes);
    let named = volume_name(&persistent.name);
    let csi_name = named.csi_name.filter(|_| named.name == persistent.handle);
    let spec = StorageVolumeSpec {
        volume_uuid: Some(uuid.clone()),
        csi_name: csi_name.filter(|_| *origin == Origin::Csi),
        origin: *origin,
        claim_ref: persistent.claim.clone(),
        capacity: Size::from_bytes(told.max(bytes(&host.size))),
        volume_mode,
        fs_type,
        mount_options: mount_options.clone(),
        pool: Some(here.unwrap_or_else(|| host.pool_uuid.clone())),
        tier: None,
        adopt: (*origin == Origin::Direct).then_some(uuid),
        source: None,
        erase_on_delete: match erase {
            Erase::Overwrite => Some(true),
            Erase::Leave => None,
        },
        latency_target: latency.clone().map(Into::into),
        deletion: None,
        assignment: None,
    };
    let metadata = ObjectMeta {
        name: Some(persistent.handle.clone()),
        finalizers: Some(vec![FINALIZER_NODE.to_owned()]),
        ..ObjectMeta::default()
    };
    Ok(StorageVolume { metadata, spec, status: None })
}

/// What it holds. What is there decides; a node of an earlier release does not tell.
fn content(
    mode: VolumeMode,
    fs_type: Option<FsType>,
    host: &HostVolume,
) -> Option<(VolumeMode, Option<FsType>)> {
    match host.volume_mode.unwrap_or(mode) {
        VolumeMode::Block => Some((VolumeMode::Block, None)),
        VolumeMode::Filesystem => Some((VolumeMode::Filesystem, Some(host.fs_type.or(fs_type)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Lost, StorageNode, World, plan_heal};
    use crate::effect::Effect;
    use serde_json::{Value, from_value, json, to_value};

    const UUID: &str = "aaaaaaaa-0000-5000-8000-000000000001";

    /// The spec of the object that is made again, and its metadata.
    fn made(lost: Value, host: Value) -> (Value, Value) {
        let mut there = json!({
            "uuid": UUID, "name": lost["persistent"]["handle"], "poolUUID": "p", "size": "2Gi",
            "state": "Ready",
        });
        for (key, value) in host.as_object().into_iter().flatten() {
            there[key] = value.clone();
        }
        let pool = json!({"name": "fast", "uuid": "p", "tier": "ssd", "backend": "file", "state": "Ready"});
        let node = json!({
            "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageNode",
            "metadata": {"name": "node-a"}, "status": {"pools": [pool], "volumes": [there]},
        });
        let node: StorageNode = from_value(node).unwrap();
        let nodes = std::iter::once(node).collect();
        let lost: Lost = from_value(lost).unwrap();
        let plan = plan_heal(&World { nodes, ..World::default() }, &lost);
        let Some(Effect::HealVolume { volume, node }) = plan.effects.into_iter().next() else {
            panic!("not healed: {:?}", plan.said);
        };
        assert_eq!(node, "node-a");
        let volume = to_value(*volume).unwrap();
        (volume["spec"].clone(), volume["metadata"].clone())
    }

    #[test]
    fn what_the_csi_controller_made_is_as_it_was() {
        let lost = json!({
            "persistent": {
                "name": "pvc-1", "handle": "pvc-1", "claim": {"namespace": "shop", "name": "data"},
                "capacity": "3Gi",
            },
            "uuid": UUID, "origin": "CSI", "fsType": "xfs", "mountOptions": ["noatime"],
            "erase": "Overwrite",
        });
        let (spec, metadata) = made(lost, json!({"volumeMode": "Filesystem", "fsType": "ext4"}));
        let want = json!({
            "volumeUUID": UUID, "origin": "CSI", "claimRef": {"namespace": "shop", "name": "data"},
            "capacity": "3Gi", "volumeMode": "Filesystem", "fsType": "ext4",
            "mountOptions": ["noatime"], "pool": "fast", "eraseOnDelete": true,
        });
        assert_eq!(spec, want, "what is there decides about the filesystem");
        let held = json!({"name": "pvc-1", "finalizers": ["terrace.storage/node"]});
        assert_eq!(metadata, held);
    }

    #[test]
    fn what_a_person_made_adopts_its_own_bytes() {
        let lost = json!({
            "persistent": {
                "name": "db", "handle": "db", "claim": {"namespace": "shop", "name": "data"},
                "phase": "Available", "capacity": "1Gi",
            },
            "uuid": UUID, "origin": "Direct", "volumeMode": "Block",
        });
        let (spec, _) = made(lost, json!({"state": "Retained"}));
        let want = json!({
            "volumeUUID": UUID, "adopt": UUID, "origin": "Direct", "capacity": "2Gi",
            "claimRef": {"namespace": "shop", "name": "data"}, "volumeMode": "Block", "pool": "fast",
        });
        assert_eq!(spec, want, "as large as it is");
    }

    #[test]
    fn the_pool_is_known_before_its_storagepool_is_there_again() {
        let persistent = json!({"name": "pvc-1", "handle": "pvc-1", "capacity": "2Gi"});
        let lost = json!({"persistent": persistent, "uuid": UUID, "origin": "CSI", "pool": "slow"});
        let host = json!({"volumeMode": "Block"});
        assert_eq!(made(lost.clone(), host.clone()).0["pool"], "fast", "as its node says");
        let elsewhere = json!({"volumeMode": "Block", "poolUUID": "unlisted"});
        assert_eq!(made(lost, elsewhere).0["pool"], "slow", "else as it was made");
    }

    #[test]
    fn a_name_that_is_no_label_is_kept() {
        let handle = terrace_crds::names::volume_name("Odd.Name").name;
        let persistent = json!({"name": "Odd.Name", "handle": handle, "capacity": "2Gi"});
        let lost = json!({"persistent": persistent, "uuid": UUID, "origin": "CSI"});
        let (spec, metadata) = made(lost, json!({"volumeMode": "Block"}));
        assert_eq!((&spec["csiName"], &metadata["name"]), (&json!("Odd.Name"), &json!(handle)));
        let persistent = json!({"name": "by-hand", "handle": "pvc-9", "capacity": "2Gi"});
        let lost = json!({"persistent": persistent, "uuid": UUID, "origin": "CSI"});
        assert!(made(lost, json!({"volumeMode": "Block"})).0["csiName"].is_null());
    }
}
