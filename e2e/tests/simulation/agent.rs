//! The node's part, as the contract has it: what to ask of the backend for each StorageVolume assigned here, with the
//! real proof, the real plans and the real undo; what it reports. Any step may be its last before it is started anew.

use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use terrace_backends::{Backend, FileBackend};
use terrace_crds::condition::{ConditionType, Reason, Truth, Verdict};
use terrace_crds::names::FINALIZER_NODE;
use terrace_crds::node::{
    HostObjectKind, HostVolume, HostVolumeState, NodePool, StorageNodeSpec, StorageNodeStatus,
};
use terrace_crds::pool::PoolState;
use terrace_crds::volume::{FsType as WireFs, VolumeMode as WireMode};
use terrace_crds::{Size, StorageNode, StorageVolume};
use terrace_device_types::{
    Access, Allocation, Bytes, Claimed, DeletionProof, DeletionStamp, Erase, FsType, HostState,
    Intent, Latch, Leftover, ProofRefusal, Step, Tag, TagReading, VolumeMode, VolumeUuid, undo,
};
use terrace_plan::effect::ObjectRef;

use crate::api::Api;
use crate::host::{Node, POOL_SIZE, is_quarantined};
use crate::ledger::Ledger;
use crate::rng::Rng;
use crate::steps::{Reach, execute};

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum End {
    Done,
    /// The refusal or the failed step, for the story of a seed that went wrong.
    #[allow(dead_code, reason = "read through Debug, by whoever looks at a seed")]
    Stuck(String),
    Crashed,
}

/// How likely each kind of misfortune is: once in so many; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Luck {
    pub(crate) crash: usize,
}

/// Plans and carries out, step by step; a crash may come before, inside and after each.
pub(crate) fn run(
    node: &mut Node,
    intent: &Intent,
    volume: VolumeUuid,
    luck: Luck,
    rng: &mut Rng,
    ledger: &mut Ledger,
) -> End {
    let view = node.view(volume);
    let steps = match FileBackend.plan(intent, &view) {
        Ok(steps) => steps,
        Err(refusal) => {
            ledger.count("refusal");
            return End::Stuck(refusal.to_string());
        }
    };
    for (at, step) in steps.iter().enumerate() {
        let dies = rng.once_in(luck.crash);
        if dies && rng.once_in(2) {
            return crash(node, intent, &steps[..at], rng, ledger);
        }
        let reach = if dies && rng.once_in(2) { Reach::Half } else { Reach::Whole };
        let halfway = reach == Reach::Half && matches!(step, Step::MakeFilesystem { .. });
        if let Err(why) = execute(node, step, if halfway { reach } else { Reach::Whole }, ledger) {
            return End::Stuck(format!("{step}: {why}"));
        }
        if dies {
            return crash(node, intent, &steps[..=at], rng, ledger);
        }
    }
    End::Done
}

/// The process, or the whole node, starts anew. The journal undoes what was begun to be made, if it is still readable.
fn crash(
    node: &mut Node,
    intent: &Intent,
    begun: &[Step],
    rng: &mut Rng,
    ledger: &mut Ledger,
) -> End {
    ledger.count("crash");
    if rng.once_in(3) {
        ledger.count("power loss");
        let taken_back = rng.below(node.unsynced.len() + 1);
        for image in node.lose_power(taken_back) {
            ledger.vanished(&image, &node.name);
        }
    }
    let undone =
        matches!(intent, Intent::Create { .. } | Intent::Stage { .. } | Intent::Publish { .. });
    if undone && rng.once_in(2) {
        for step in begun.iter().rev().filter_map(undo) {
            // What cannot be undone any more has gone on, and is found again by looking.
            let _ = execute(node, &step, Reach::Whole, ledger);
        }
    }
    End::Crashed
}

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
    let tag = node.image_of(uuid).and_then(|image| image.tag.clone());
    let cluster = node.cluster.clone();
    let was_made = volume.status.as_ref().is_some_and(|status| status.capacity.is_some());
    let intent = match tag.as_ref().map(|tag| &tag.state) {
        // The bytes were there, or a PV says so: never made anew.
        None if was_made || api.pvs.contains_key(&name) => return,
        None | Some(HostState::Creating | HostState::Ready) => Intent::Create {
            volume: uuid,
            cluster,
            name: name.clone(),
            size: Bytes(volume.spec.capacity.bytes().unwrap()),
            mode: mode_of(volume),
            allocation: Allocation::Reserved,
        },
        Some(HostState::Retained) => {
            ledger.count("adoption");
            Intent::Adopt { volume: uuid, cluster }
        }
        Some(HostState::Quarantined { .. }) => return,
    };
    if matches!(run(node, &intent, uuid, luck, rng, ledger), End::Done) && !rng.once_in(luck.crash)
    {
        report_ready(node, api, &name, uuid, now);
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
    let Some(image) = &view.volume.image else { return drop_finalizer(api, volume) };
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
    let intent = match proof {
        Ok(proof) => Intent::Delete { volume: uuid, proof, erase: Erase::Zeros },
        Err(ProofRefusal::NoStamp { .. }) if is_quarantined(tag) => {
            return drop_finalizer(api, volume);
        }
        Err(ProofRefusal::NoStamp { .. }) => {
            ledger.count("retention");
            Intent::Retain { volume: uuid, cluster: node.cluster.clone() }
        }
        Err(_) => return ledger.count("deletion waits for proof"),
    };
    if matches!(run(node, &intent, uuid, luck, rng, ledger), End::Done) && !rng.once_in(luck.crash)
    {
        drop_finalizer(api, volume);
    }
}

fn drop_finalizer(api: &mut Api, volume: &StorageVolume) {
    // The patch tests the version that was seen; refused, the next pass sees the newer one.
    let _ = api.change(&ObjectRef::of(&volume.metadata), |volume| {
        volume.metadata.finalizers.get_or_insert_default().retain(|held| held != FINALIZER_NODE);
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
        run(node, &intent, volume, luck, rng, ledger);
    }
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
