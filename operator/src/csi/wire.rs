//! Between CSI's messages and the values that plans are made of. It judges nothing, and never logs a request:
//! requests may carry secrets.

use std::collections::{BTreeMap, HashMap};

use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use csi_proto_rs::csi::v1::volume_capability::{AccessType, MountVolume};
use csi_proto_rs::csi::v1::volume_content_source::{SnapshotSource, Type, VolumeSource};
use csi_proto_rs::csi::v1::{
    CapacityRange, CreateVolumeRequest, Snapshot, Topology as Segments, TopologyRequirement,
    Volume, VolumeCapability, VolumeContentSource, VolumeGroupSnapshot,
};
use prost_types::Timestamp;
use terrace_crds::condition::{ConditionType, is_true};
use terrace_crds::names::{
    CONTEXT_ERASE, CONTEXT_LATENCY, CONTEXT_POOL, CONTEXT_VOLUME_UUID, TOPOLOGY_NODE,
};
use terrace_crds::volume::{FsType, SourceKind};
use terrace_crds::{StorageSnapshot, StorageVolume};
use terrace_plan::capability::{Access, AccessMode, Capability};
use terrace_plan::create::{CreateAsked, Original};
use terrace_plan::size::Asked;
use terrace_plan::space::{bytes, granted};
use terrace_plan::topology::{Topology, TopologyError};
use terrace_plan::world::name_of;

use crate::cache::Caches;
use crate::error::Error;

/// A CreateVolume request.
///
/// # Errors
/// A size or topology that makes no sense.
pub fn parse_create(
    request: CreateVolumeRequest,
    original: Option<Original>,
    default_fs: FsType,
) -> Result<CreateAsked, Error> {
    // Secrets are for drivers that hold credentials; none is read here.
    let CreateVolumeRequest {
        name,
        capacity_range,
        volume_capabilities,
        parameters,
        secrets: _,
        volume_content_source: _,
        accessibility_requirements,
        mutable_parameters,
    } = request;
    Ok(CreateAsked {
        name,
        size: parse_size(capacity_range)?,
        capabilities: parse_capabilities(volume_capabilities),
        parameters: sorted(parameters),
        mutable: sorted(mutable_parameters),
        topology: parse_topology(accessibility_requirements)?,
        original,
        default_fs,
    })
}

/// A size; absent is "nothing asked".
///
/// # Errors
/// A size that makes no sense.
pub fn parse_size(range: Option<CapacityRange>) -> Result<Asked, Error> {
    let CapacityRange { required_bytes, limit_bytes } = range.unwrap_or_default();
    Ok(Asked::parse(required_bytes, limit_bytes)?)
}

/// Capabilities.
#[must_use]
pub fn parse_capabilities(asked: Vec<VolumeCapability>) -> Vec<Capability> {
    asked.into_iter().map(parse_capability).collect()
}

fn parse_capability(asked: VolumeCapability) -> Capability {
    let VolumeCapability { access_mode, access_type } = asked;
    let access = match access_type {
        Some(AccessType::Block(_)) => Access::Block,
        Some(AccessType::Mount(MountVolume { fs_type, mount_flags, volume_mount_group: _ })) => {
            Access::Mount { fs_type, flags: mount_flags }
        }
        None => Access::Unset,
    };
    Capability {
        mode: access_mode.map_or(AccessMode::Unknown, |mode| parse_mode(mode.mode())),
        access,
    }
}

fn parse_mode(mode: Mode) -> AccessMode {
    match mode {
        Mode::Unknown => AccessMode::Unknown,
        Mode::SingleNodeWriter => AccessMode::SingleNodeWriter,
        Mode::SingleNodeReaderOnly => AccessMode::SingleNodeReaderOnly,
        Mode::SingleNodeSingleWriter => AccessMode::SingleNodeSingleWriter,
        Mode::SingleNodeMultiWriter => AccessMode::SingleNodeMultiWriter,
        Mode::MultiNodeReaderOnly | Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter => {
            AccessMode::MultiNode
        }
    }
}

fn parse_topology(asked: Option<TopologyRequirement>) -> Result<Topology, TopologyError> {
    let TopologyRequirement { requisite, preferred } = asked.unwrap_or_default();
    let terms = |terms: Vec<Segments>| -> Vec<BTreeMap<String, String>> {
        terms.into_iter().map(|term| sorted(term.segments)).collect()
    };
    Topology::parse(&terms(requisite), &terms(preferred))
}

/// What a new volume is to be a copy of, by its handle.
///
/// # Errors
/// [`Error::Field`] for a source without a name.
pub fn parse_source(
    source: Option<&VolumeContentSource>,
) -> Result<Option<(SourceKind, String)>, Error> {
    let Some(source) = source else { return Ok(None) };
    let (kind, name) = match &source.r#type {
        Some(Type::Snapshot(SnapshotSource { snapshot_id })) => (SourceKind::Snapshot, snapshot_id),
        Some(Type::Volume(VolumeSource { volume_id })) => (SourceKind::Volume, volume_id),
        None => return Err(Error::Field { field: "volume_content_source.type" }),
    };
    if name.is_empty() {
        return Err(Error::Field { field: "volume_content_source" });
    }
    Ok(Some((kind, name.clone())))
}

fn content_source(volume: &StorageVolume) -> Option<VolumeContentSource> {
    let source = volume.spec.source.as_ref()?;
    let name = source.name.clone();
    let r#type = match source.kind {
        SourceKind::Snapshot => Type::Snapshot(SnapshotSource { snapshot_id: name }),
        SourceKind::Volume => Type::Volume(VolumeSource { volume_id: name }),
    };
    Some(VolumeContentSource { r#type: Some(r#type) })
}

/// A snapshot, as CSI describes it.
#[must_use]
pub fn snapshot(snapshot: &StorageSnapshot) -> Snapshot {
    let node = snapshot.spec.assignment.as_ref().map(|assignment| assignment.node.clone());
    let segments = node.map(|node| HashMap::from([(TOPOLOGY_NODE.to_owned(), node)]));
    let status = snapshot.status.as_ref();
    let taken = status.and_then(|status| status.created_at.as_ref());
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    Snapshot {
        size_bytes: i64::try_from(bytes(&snapshot.spec.capacity)).unwrap_or(i64::MAX),
        snapshot_id: name_of(&snapshot.metadata).to_owned(),
        source_volume_id: snapshot.spec.source_volume.clone(),
        creation_time: taken
            .map(|at| Timestamp { seconds: at.0.as_second(), nanos: at.0.subsec_nanosecond() }),
        ready_to_use: is_true(conditions, ConditionType::Ready),
        group_snapshot_id: snapshot
            .spec
            .group
            .as_ref()
            .map_or_else(String::new, |it| it.name.clone()),
        accessible_topology: segments.map(|segments| Segments { segments }).into_iter().collect(),
    }
}

/// A group of snapshots, as CSI describes it: ready when all are, made when the last was.
#[must_use]
pub fn group(name: &str, members: &[StorageSnapshot]) -> VolumeGroupSnapshot {
    let snapshots: Vec<Snapshot> = members.iter().map(snapshot).collect();
    let when = |at: &Timestamp| (at.seconds, at.nanos);
    VolumeGroupSnapshot {
        group_snapshot_id: name.to_owned(),
        creation_time: snapshots.iter().filter_map(|it| it.creation_time).max_by_key(when),
        ready_to_use: snapshots.iter().all(|snapshot| snapshot.ready_to_use),
        snapshots,
    }
}

/// A map in the order of its keys, so that the first fault is always the same one.
#[must_use]
pub fn sorted(map: HashMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter().collect()
}

/// A volume that has its place, as CSI describes it.
#[must_use]
pub fn volume(caches: &Caches, volume: &StorageVolume) -> Volume {
    let node = volume.spec.assignment.as_ref().map(|assignment| assignment.node.clone());
    let segments = node.map(|node| HashMap::from([(TOPOLOGY_NODE.to_owned(), node)]));
    Volume {
        capacity_bytes: i64::try_from(granted(volume)).unwrap_or(i64::MAX),
        volume_id: name_of(&volume.metadata).to_owned(),
        volume_context: context(caches, volume),
        content_source: content_source(volume),
        accessible_topology: segments.map(|segments| Segments { segments }).into_iter().collect(),
    }
}

/// What the node needs to know of a volume beside its handle; the same for its whole life.
#[must_use]
pub fn context(caches: &Caches, volume: &StorageVolume) -> HashMap<String, String> {
    let uuid = volume.spec.volume_uuid.clone();
    // The object may be lost: then it is made again from here.
    let erase = (volume.spec.erase_on_delete == Some(true)).then(|| "true".to_owned());
    let pool = pool_of(caches, volume);
    let latency = volume.spec.latency_target.as_ref().map(|target| target.p99.to_string());
    let pairs = [
        (CONTEXT_VOLUME_UUID, uuid),
        (CONTEXT_POOL, pool),
        (CONTEXT_ERASE, erase),
        (CONTEXT_LATENCY, latency),
    ];
    pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn pool_of(caches: &Caches, volume: &StorageVolume) -> Option<String> {
    let reported = volume.status.as_ref().and_then(|status| status.pool.clone());
    reported.or_else(|| volume.spec.pool.clone()).or_else(|| {
        let assignment = volume.spec.assignment.as_ref()?;
        let node = caches.nodes.get(&assignment.node)?;
        let mut pools = node.status.iter().flat_map(|status| &status.pools);
        let pool = pools.find(|pool| pool.uuid.as_deref() == Some(&assignment.pool_uuid))?;
        Some(pool.name.clone())
    })
}
