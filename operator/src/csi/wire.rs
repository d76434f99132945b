//! Between CSI's messages and the values that plans are made of. It judges nothing, and never logs a request:
//! requests may carry secrets.

use std::collections::{BTreeMap, HashMap};

use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use csi_proto_rs::csi::v1::volume_capability::{AccessType, MountVolume};
use csi_proto_rs::csi::v1::volume_content_source::Type;
use csi_proto_rs::csi::v1::{
    CapacityRange, CreateVolumeRequest, Topology as Segments, TopologyRequirement, Volume,
    VolumeCapability, VolumeContentSource,
};
use terrace_crds::StorageVolume;
use terrace_crds::names::{CONTEXT_POOL, CONTEXT_VOLUME_UUID, TOPOLOGY_NODE};
use terrace_plan::capability::{Access, AccessMode, Capability};
use terrace_plan::create::{CreateAsked, Source};
use terrace_plan::size::Asked;
use terrace_plan::space::granted;
use terrace_plan::topology::{Topology, TopologyError};
use terrace_plan::world::name_of;

use crate::cache::Caches;
use crate::error::Error;

/// A CreateVolume request.
///
/// # Errors
/// A size or topology that makes no sense.
pub fn parse_create(request: CreateVolumeRequest) -> Result<CreateAsked, Error> {
    // Secrets are for drivers that hold credentials; none is read here.
    let CreateVolumeRequest {
        name,
        capacity_range,
        volume_capabilities,
        parameters,
        secrets: _,
        volume_content_source,
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
        source: parse_source(volume_content_source),
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

fn parse_source(source: Option<VolumeContentSource>) -> Source {
    match source.and_then(|source| source.r#type) {
        None => Source::Empty,
        Some(Type::Snapshot(_)) => Source::Snapshot,
        Some(Type::Volume(_)) => Source::Volume,
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
        content_source: None,
        accessible_topology: segments.map(|segments| Segments { segments }).into_iter().collect(),
    }
}

/// What the node needs to know of a volume beside its handle; the same for its whole life.
#[must_use]
pub fn context(caches: &Caches, volume: &StorageVolume) -> HashMap<String, String> {
    let uuid = volume.spec.volume_uuid.clone();
    let pairs = [(CONTEXT_VOLUME_UUID, uuid), (CONTEXT_POOL, pool_of(caches, volume))];
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
