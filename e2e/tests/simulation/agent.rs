//! The node's part, as the contract has it: what to ask of the backend for each StorageVolume assigned here, with the
//! real proof, the real plans and the real undo; what it reports. Any step may be its last before it is started anew.

use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use terrace_crds::condition::{ConditionType, Reason, Truth, Verdict};
use terrace_crds::names::FINALIZER_NODE;
use terrace_crds::node::{
    HostObjectKind, HostVolume, HostVolumeState, NodePool, StorageNodeSpec, StorageNodeStatus,
};
use terrace_crds::pool::PoolState;
use terrace_crds::volume::{FsType as WireFs, VolumeMode as WireMode};
use terrace_crds::{Size, StorageNode, StorageVolume};
use terrace_device_types::{
    Access, Allocation, Bytes, Claimed, DeletionProof, DeletionStamp, Erase, FsType, HostObject,
    HostState, Intent, Latch, Leftover, ProofRefusal, Tag, TagReading, VolumeMode, VolumeUuid,
};
use terrace_faults::Edge;
use terrace_node::fault::{ApiWrite, Point};
use terrace_node::operation::OpKind;
use terrace_plan::effect::ObjectRef;

use crate::api::Api;
use crate::host::{Node, POOL_SIZE, is_quarantined};
use crate::ledger::Ledger;
use crate::points::Luck;
use crate::rng::Rng;
use crate::run::{End, Process, run};

/// One pass over one volume that the agent's store says is assigned here.
pub(crate) fn pass(
    node: &mut Node,
    api: &mut Api,
    volume: &StorageVolume,
    now: Timestamp,
    luck: Luck,
    rng: &mut Rng,
    ledger: &mut Ledger,
) {
    let Some(uuid) = volume.spec.volume_uuid.as_ref().and_then(|text| text.parse().ok()) else {
        return;
    };
    let name = volume.metadata.name.clone().unwrap_or_default();
    if volume.metadata.deletion_timestamp.is_some() {
        return leave(node, api, volume, uuid, luck, rng, ledger);
    }
    let image = node.image_of(uuid);
    let has = image.map_or(Bytes::ZERO, |image| image.size);
    let tag = image.and_then(|image| image.tag.clone());
    // Another's under this name is for the plan to refuse.
    let is_ours = |tag: &Tag| tag.volume == uuid && tag.cluster == node.cluster;
    let (cluster, size) = (node.cluster.clone(), Bytes(volume.spec.capacity.bytes().unwrap()));
    let was_made = volume.status.as_ref().is_some_and(|status| status.capacity.is_some());
    let (there, source) = (image.is_some(), volume.spec.source.as_ref());
    let asked = match tag.as_ref().filter(|tag| is_ours(tag)).map(|tag| &tag.state) {
        // The bytes were there, or a PV says so: never made anew.
        None if !there && (was_made || api.pvs.contains_key(&name)) => return,
        None | Some(HostState::Creating) => {
            let (name, mode) = (name.clone(), mode_of(volume));
            let (volume, allocation) = (uuid, Allocation::Reserved);
            Some(match source.and_then(|source| source.uuid.parse().ok()) {
                None => {
                    let intent = Intent::Create { volume, cluster, name, size, mode, allocation };
                    (OpKind::Create, intent)
                }
                Some(source) => {
                    let object = HostObject::Volume;
                    let intent = Intent::Copy {
                        object,
                        volume,
                        cluster,
                        name,
                        source,
                        size,
                        mode,
                        allocation,
                    };
                    (OpKind::Copy, intent)
                }
            })
        }
        Some(HostState::Ready) if has < size => {
            Some((OpKind::Grow, Intent::Grow { volume: uuid, cluster, to: size }))
        }
        Some(HostState::Ready) => None,
        Some(HostState::Retained) => {
            ledger.count("adoption");
            Some((OpKind::Adopt, Intent::Adopt { volume: uuid, cluster }))
        }
        Some(HostState::Quarantined { .. }) => return,
    };
    let end =
        asked.map_or(End::Done, |(kind, intent)| run(node, kind, &intent, uuid, luck, rng, ledger));
    if matches!(end, End::Done) {
        write(node, ApiWrite::VolumeStatus, luck, rng, ledger, |node| {
            report_ready(node, api, &name, uuid, now);
        });
    }
}

/// Something is written to the API server, between its points.
fn write(
    node: &mut Node,
    what: ApiWrite,
    luck: Luck,
    rng: &mut Rng,
    ledger: &mut Ledger,
    written: impl FnOnce(&Node),
) {
    let mut process = Process { node, luck, rng, ledger };
    let mut end = process.pass(Point::ApiWrite(what, Edge::Before));
    if end.is_none() {
        written(process.node);
        end = process.pass(Point::ApiWrite(what, Edge::After));
    }
    if matches!(end, Some(End::Crashed)) {
        process.die();
    }
}

fn report_ready(node: &Node, api: &mut Api, name: &str, uuid: VolumeUuid, now: Timestamp) {
    let Some(image) = node.image_of(uuid) else { return };
    let capacity = Size::from_bytes(image.size.0);
    let formatted = match image.tag.as_ref().map(|tag| &tag.latch) {
        Some(Latch::Formatted { filesystem }) => Some(filesystem.to_string()),
        Some(Latch::None | Latch::Formatting { .. }) | None => None,
    };
    api.report(name, |volume| {
        let generation = volume.metadata.generation.unwrap_or(0);
        let status = volume.status.get_or_insert_default();
        let ready = Verdict::new(ConditionType::Ready, Truth::True, Reason::AsExpected, "");
        let ready = ready.against(&status.conditions, generation, now);
        status.conditions.retain(|condition| condition.type_ != ready.type_);
        status.conditions.push(ready);
        status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        status.capacity = Some(capacity);
        status.formatted = formatted.or(status.formatted.take());
    });
}

/// The volume is to go: with proof its bytes go, without they are kept.
fn leave(
    node: &mut Node,
    api: &mut Api,
    volume: &StorageVolume,
    uuid: VolumeUuid,
    luck: Luck,
    rng: &mut Rng,
    ledger: &mut Ledger,
) {
    let pv_name =
        volume.spec.csi_name.clone().or_else(|| volume.metadata.name.clone()).unwrap_or_default();
    let view = node.view(uuid);
    let Some(image) = &view.volume.image else {
        return drop_finalizer(node, api, volume, luck, rng, ledger);
    };
    let TagReading::Read(tag) = &image.tag else { return };
    let stamp = volume.spec.deletion.as_ref().map(|stamp| DeletionStamp {
        volume: stamp.volume_uuid.parse().unwrap(),
        id: stamp.id.parse().unwrap(),
    });
    let proof = DeletionProof::check(
        stamp.as_ref(),
        uuid,
        &node.cluster,
        &Claimed::Volume(api.read_pv(&pv_name)),
        tag,
    );
    let (kind, intent) = match proof {
        Ok(proof) => (OpKind::Delete, Intent::Delete { volume: uuid, proof, erase: Erase::Zeros }),
        Err(ProofRefusal::NoStamp { .. }) if is_quarantined(tag) => {
            return drop_finalizer(node, api, volume, luck, rng, ledger);
        }
        Err(ProofRefusal::NoStamp { .. }) => {
            ledger.count("retention");
            (OpKind::Retain, Intent::Retain { volume: uuid, cluster: node.cluster.clone() })
        }
        Err(_) => return ledger.count("deletion waits for proof"),
    };
    if matches!(run(node, kind, &intent, uuid, luck, rng, ledger), End::Done) {
        drop_finalizer(node, api, volume, luck, rng, ledger);
    }
}

fn drop_finalizer(
    node: &mut Node,
    api: &mut Api,
    volume: &StorageVolume,
    luck: Luck,
    rng: &mut Rng,
    ledger: &mut Ledger,
) {
    write(node, ApiWrite::DropFinalizer, luck, rng, ledger, |_| {
        // The patch tests the version that was seen; refused, the next pass sees the newer one.
        let _ = api.change(&ObjectRef::of(&volume.metadata), |volume| {
            let held = volume.metadata.finalizers.get_or_insert_default();
            held.retain(|held| held != FINALIZER_NODE);
        });
    });
}

/// What a quorum list does not know: quarantined images are finished, unfinished ones taken back, the rest is kept.
pub(crate) fn sweep(node: &mut Node, api: &Api, luck: Luck, rng: &mut Rng, ledger: &mut Ledger) {
    if api.volumes.is_empty() {
        return;
    }
    let known: Vec<String> =
        api.volumes.values().filter_map(|volume| volume.spec.volume_uuid.clone()).collect();
    let tags: Vec<Tag> = node.tagged().map(|(_, tag)| tag.clone()).collect();
    for tag in tags {
        let (volume, cluster) = (tag.volume, node.cluster.clone());
        let is_known = known.contains(&volume.to_string());
        let leftover = match tag.state {
            // Its proof is in its tag, whatever an API server that was put back says of it.
            HostState::Quarantined { deletion } => Leftover::Quarantined { deletion },
            HostState::Creating if !is_known && !api.pvs.contains_key(&tag.name) => {
                Leftover::Unfinished
            }
            HostState::Creating | HostState::Ready | HostState::Retained => continue,
        };
        let intent = Intent::Sweep { volume, cluster, leftover };
        run(node, OpKind::Sweep, &intent, volume, luck, rng, ledger);
    }
}

/// The StorageNode is written between its points.
pub(crate) fn report(
    node: &mut Node,
    api: &mut Api,
    luck: Luck,
    rng: &mut Rng,
    ledger: &mut Ledger,
) {
    write(node, ApiWrite::NodeStatus, luck, rng, ledger, |node| report_node(node, api));
}

/// The StorageNode, as the node sees itself.
pub(crate) fn report_node(node: &Node, api: &mut Api) {
    let mut volumes: Vec<HostVolume> = node
        .tagged()
        .map(|(image, tag)| HostVolume {
            uuid: tag.volume.to_string(),
            kind: HostObjectKind::Volume,
            name: tag.name.clone(),
            pool_uuid: tag.pool.to_string(),
            size: Size::from_bytes(image.size.0),
            state: match tag.state {
                HostState::Creating => HostVolumeState::Creating,
                HostState::Ready => HostVolumeState::Ready,
                HostState::Retained => HostVolumeState::Retained,
                HostState::Quarantined { .. } => HostVolumeState::Quarantined,
            },
            volume_mode: None,
            fs_type: None,
        })
        .collect();
    volumes.sort_by(|a, b| a.uuid.cmp(&b.uuid));
    let pool = NodePool {
        name: "files".to_owned(),
        uuid: Some(node.pool.to_string()),
        tier: "ssd".to_owned(),
        backend: "file".to_owned(),
        state: PoolState::Ready,
        capacity: Some(Size::from_bytes(POOL_SIZE.0)),
        free: None,
        metadata_used: None,
        unhealthy: None,
        message: None,
    };
    let metadata = ObjectMeta { name: Some(node.name.clone()), ..ObjectMeta::default() };
    let status = StorageNodeStatus { volumes, pools: vec![pool], ..StorageNodeStatus::default() };
    let spec = StorageNodeSpec {};
    api.put_node(StorageNode { metadata, spec, status: Some(status) });
}

/// What a StorageVolume is made of, in the host's words.
pub(crate) fn mode_of(volume: &StorageVolume) -> VolumeMode {
    match (volume.spec.volume_mode, volume.spec.fs_type) {
        (WireMode::Block, _) | (WireMode::Filesystem, None) => VolumeMode::Block,
        (WireMode::Filesystem, Some(WireFs::Ext4)) => VolumeMode::Filesystem { fs: FsType::Ext4 },
        (WireMode::Filesystem, Some(WireFs::Xfs)) => VolumeMode::Filesystem { fs: FsType::Xfs },
        (WireMode::Filesystem, Some(WireFs::Btrfs)) => VolumeMode::Filesystem { fs: FsType::Btrfs },
    }
}

/// The kubelet's call for staging.
pub(crate) fn stage_intent(
    node: &Node,
    uuid: VolumeUuid,
    mode: VolumeMode,
    target: PathBuf,
    rng: &mut Rng,
) -> Intent {
    Intent::Stage {
        volume: uuid,
        cluster: node.cluster.clone(),
        mode,
        target,
        options: Vec::new(),
        access: Access::ReadWrite,
        operation: format!("op-{}", rng.next()).parse().unwrap(),
    }
}
