//! How much of each pool on each node is promised, and how much can still be promised. The one place where
//! space is summed: placement, growth, GetCapacity and pool status all ask here. Pure.
//!
//! # Invariants
//! - A byte is counted once: a volume or snapshot with an object counts as its object, one that only a node lists as listed.
//! - Whatever is on its way out still counts until the node no longer lists it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use terrace_crds::node::{HostVolume, HostVolumeState, NodePool};
use terrace_crds::pool::StoragePoolSpec;
use terrace_crds::volume::{Assignment, Origin};
use terrace_crds::{Size, StorageNode, StoragePool, StorageSnapshot, StorageVolume};

use crate::listed::{Key, Listed};
use crate::size::ALIGNMENT;
use crate::world::{World, name_of};

/// Percent of a thin pool's data from which on its node takes nothing new.
const THIN_DATA: u8 = 85;
/// Percent of its metadata.
const THIN_METADATA: u8 = 70;

/// A pool on a node, with its promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// The node.
    pub node: String,
    /// As the node lists it.
    pub pool: NodePool,
    /// Bytes that may be promised in all: its size times the overprovision.
    pub limit: u64,
    /// Bytes promised.
    pub promised: u64,
    /// The share in use that is past its watermark or else nearest to it, in percent, where the pool has one.
    pub watermark: Option<Watermark>,
}

/// What of a pool can be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// What volumes wrote.
    Data,
    /// A thin pool's records of who holds what.
    Metadata,
}

impl fmt::Display for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Data => "disk",
            Self::Metadata => "thin pool's metadata",
        })
    }
}

/// How far an overprovisioned pool is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// What is in use.
    pub what: Filled,
    /// Percent of it in use.
    pub used: u64,
    /// Percent at which new volumes are refused.
    pub at: u64,
}

impl Space {
    /// Bytes that can still be promised.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.limit.saturating_sub(self.promised)
    }
}

/// The sums of a world, as long as the lists that they were made from are the world's: they need a walk over all of it,
/// and a world that stands still is asked for them again and again. Equal to any other; only [`observe_spaces`] looks.
#[derive(Default)]
pub struct Sums(Mutex<Option<Summed>>);

struct Summed {
    volumes: Listed<StorageVolume>,
    snapshots: Listed<StorageSnapshot>,
    pools: Listed<StoragePool>,
    nodes: Listed<StorageNode>,
    spaces: Arc<[Space]>,
}

impl Summed {
    fn is_of(&self, world: &World) -> bool {
        self.volumes.is_same(&world.volumes)
            && self.snapshots.is_same(&world.snapshots)
            && self.pools.is_same(&world.pools)
            && self.nodes.is_same(&world.nodes)
    }
}

impl Clone for Sums {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Sums {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sums")
    }
}

/// Every pool on every node that lists it, ordered by node, then pool.
#[must_use]
pub fn observe_spaces(world: &World) -> Arc<[Space]> {
    // Whole or not there: a panic in between leaves the older sums, which are looked at before they are used.
    let mut kept = world.sums.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(summed) = kept.as_ref().filter(|summed| summed.is_of(world)) {
        return Arc::clone(&summed.spaces);
    }
    let spaces: Arc<[Space]> = sum(world).into();
    *kept = Some(Summed {
        volumes: world.volumes.clone(),
        snapshots: world.snapshots.clone(),
        pools: world.pools.clone(),
        nodes: world.nodes.clone(),
        spaces: Arc::clone(&spaces),
    });
    spaces
}

fn sum(world: &World) -> Vec<Space> {
    let promised = promised_by_pool(world);
    let mut spaces = Vec::new();
    for node in &world.nodes {
        let Some(status) = &node.status else { continue };
        for pool in &status.pools {
            let uuid = pool.uuid.as_deref().unwrap_or_default();
            let spec = world.pool(&pool.name).map(AsRef::as_ref);
            spaces.push(Space {
                node: name_of(&node.metadata).to_owned(),
                limit: limit(pool, spec),
                promised: promised.get(uuid).copied().unwrap_or(0),
                watermark: watermark(pool, spec),
                pool: pool.clone(),
            });
        }
    }
    spaces.sort_by(|a, b| (&a.node, &a.pool.name).cmp(&(&b.node, &b.pool.name)));
    spaces
}

/// Bytes of a size off the wire; the API server refuses sizes that do not parse.
#[must_use]
pub fn bytes(size: &Size) -> u64 {
    size.bytes().unwrap_or(0)
}

/// What a volume takes: what it was granted, or what is there if that is more.
#[must_use]
pub fn bytes_of(volume: &StorageVolume) -> u64 {
    let there = volume.status.as_ref().and_then(|status| status.capacity.as_ref());
    granted(volume).max(there.map_or(0, bytes))
}

/// What a snapshot may come to take, in bytes: what its node reported, before that the size of its source.
#[must_use]
pub fn reserved(snapshot: &StorageSnapshot) -> u64 {
    let told = snapshot.status.as_ref().and_then(|status| status.reserved.as_ref());
    bytes(told.unwrap_or(&snapshot.spec.capacity))
}

/// What a volume is to be, in bytes. A person may ask more of a Direct volume than it was granted yet.
#[must_use]
pub fn granted(volume: &StorageVolume) -> u64 {
    let promised = volume.spec.assignment.as_ref().and_then(|place| place.capacity.as_ref());
    promised.map_or_else(|| wanted(volume), bytes)
}

/// What a volume is asked to be, in bytes: that of a person in whole steps of the backends.
#[must_use]
pub fn wanted(volume: &StorageVolume) -> u64 {
    let asked = bytes(&volume.spec.capacity);
    match volume.spec.origin {
        Origin::Csi => asked,
        Origin::Direct => asked.checked_next_multiple_of(ALIGNMENT).unwrap_or(asked),
    }
}

fn promised_by_pool(world: &World) -> HashMap<&str, u64> {
    let mut promised: HashMap<&str, u64> = HashMap::new();
    let mut add = |pool, bytes: u64| {
        let sum = promised.entry(pool).or_default();
        *sum = sum.saturating_add(bytes);
    };
    for volume in &world.volumes {
        let Some(assignment) = &volume.spec.assignment else { continue };
        add(assignment.pool_uuid.as_str(), bytes_of(volume));
    }
    for snapshot in &world.snapshots {
        let Some(assignment) = &snapshot.spec.assignment else { continue };
        add(&assignment.pool_uuid, reserved(snapshot));
    }
    for host in world.nodes.iter().filter_map(|node| node.status.as_ref()).flat_map(|s| &s.volumes)
    {
        let object = object_of(world, host);
        if !object.is_some_and(|object| is_the_object_of(host, object)) {
            add(&host.pool_uuid, bytes(&host.size));
        }
    }
    promised
}

/// The volume or snapshot whose bytes these are, and that lies there.
fn object_of<'a>(world: &'a World, host: &HostVolume) -> Option<&'a ObjectMeta> {
    let lies_there = |place: &Option<Assignment>| {
        place.as_ref().is_some_and(|place| place.pool_uuid == host.pool_uuid)
    };
    let volumes = world.volumes.candidates(Key::Bytes(&host.uuid)).filter(|volume| {
        volume.spec.volume_uuid.as_ref() == Some(&host.uuid) && lies_there(&volume.spec.assignment)
    });
    let snapshots = world.snapshots.candidates(Key::Bytes(&host.uuid)).filter(|snapshot| {
        snapshot.spec.snapshot_uuid == host.uuid && lies_there(&snapshot.spec.assignment)
    });
    let volume = volumes.last().map(|volume| &volume.metadata);
    volume.or_else(|| snapshots.last().map(|snapshot| &snapshot.metadata))
}

/// A quarantined object is its volume's only while that volume is on its way out; else the volume was made
/// anew and both take space.
fn is_the_object_of(host: &HostVolume, object: &ObjectMeta) -> bool {
    match host.state {
        HostVolumeState::Quarantined => object.deletion_timestamp.is_some(),
        HostVolumeState::Creating
        | HostVolumeState::Ready
        | HostVolumeState::Retained
        | HostVolumeState::Unreadable => true,
    }
}

fn limit(pool: &NodePool, spec: Option<&StoragePool>) -> u64 {
    let size = pool.capacity.as_ref().map_or(0, bytes);
    let factor = spec.and_then(overprovision).unwrap_or(1.0);
    if factor <= 1.0 {
        return size;
    }
    // Hundredths keep the product exact enough and the same on every machine.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the schema bounds the factor to 1..=100"
    )]
    let hundredths = (factor * 100.0) as u64;
    u64::try_from(u128::from(size) * u128::from(hundredths) / 100).unwrap_or(u64::MAX)
}

fn overprovision(pool: &StoragePool) -> Option<f64> {
    let thin = pool.spec.lvm_thin.as_ref().map(|thin| thin.overprovision);
    thin.or_else(|| pool.spec.file.as_ref().map(|file| file.overprovision))?
}

fn watermark(pool: &NodePool, spec: Option<&StoragePool>) -> Option<Watermark> {
    let (data, metadata) = marks(&spec?.spec);
    let data = data.and_then(|at| {
        let (size, free) = (bytes(pool.capacity.as_ref()?), bytes(pool.free.as_ref()?));
        let used = size.saturating_sub(free).saturating_mul(100).checked_div(size)?;
        Some(Watermark { what: Filled::Data, used, at: at.into() })
    });
    let metadata = metadata.zip(pool.metadata_used).map(|(at, used)| Watermark {
        what: Filled::Metadata,
        used: used.into(),
        at: at.into(),
    });
    let room = |mark: &Watermark| mark.at.saturating_sub(mark.used);
    data.into_iter().chain(metadata).min_by_key(room)
}

/// From which share on, of data and of metadata, new volumes are refused. A thin pool has both, whatever its StoragePool says.
fn marks(spec: &StoragePoolSpec) -> (Option<u8>, Option<u8>) {
    let named = spec.watermarks.as_ref();
    let (data, metadata) = (named.and_then(|at| at.data), named.and_then(|at| at.metadata));
    match &spec.lvm_thin {
        Some(_) => (Some(data.unwrap_or(THIN_DATA)), Some(metadata.unwrap_or(THIN_METADATA))),
        None => (data, None),
    }
}
