//! A StorageSnapshot, checked: what the node is to do about it, in the types of the host. Pure.

use terrace_crds::StorageSnapshot;
use terrace_crds::snapshot::{SnapshotDeletion, SnapshotGroup};
use terrace_device_types::{Bytes, DeletionStamp, HostObject, PoolUuid, VolumeMode, VolumeUuid};

use crate::agent::desired::{Fate, Invalid, ValidSource, parse, parse_mode, parse_size};

/// A checked StorageSnapshot that is assigned to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidSnapshot {
    /// Its name: the CSI snapshot id.
    pub name: String,
    /// Its UUID.
    pub uuid: VolumeUuid,
    /// The pool it lies on, as its source does.
    pub pool: PoolUuid,
    /// The volume it is a copy of.
    pub source: ValidSource,
    /// The size of that volume.
    pub size: Bytes,
    /// What that volume is made of.
    pub mode: VolumeMode,
    /// What it is taken together with.
    pub group: Option<SnapshotGroup>,
    /// What is to become of it.
    pub fate: Fate,
}

/// Checks `snapshot`.
///
/// # Errors
/// [`Invalid`], naming the field.
pub fn validate_snapshot(snapshot: &StorageSnapshot) -> Result<ValidSnapshot, Invalid> {
    let name = snapshot.metadata.name.clone().ok_or(Invalid::Missing("metadata.name"))?;
    let spec = &snapshot.spec;
    let assignment = spec.assignment.as_ref().ok_or(Invalid::Missing("spec.assignment"))?;
    Ok(ValidSnapshot {
        name,
        uuid: parse("spec.snapshotUUID", &spec.snapshot_uuid)?,
        pool: parse("spec.assignment.poolUUID", &assignment.pool_uuid)?,
        source: ValidSource {
            object: HostObject::Volume,
            name: spec.source_volume.clone(),
            uuid: parse("spec.sourceVolumeUUID", &spec.source_volume_uuid)?,
        },
        size: parse_size(&spec.capacity)?,
        mode: parse_mode(spec.volume_mode, spec.fs_type)?,
        group: spec.group.clone(),
        fate: parse_fate(snapshot)?,
    })
}

fn parse_fate(snapshot: &StorageSnapshot) -> Result<Fate, Invalid> {
    if snapshot.metadata.deletion_timestamp.is_none() {
        return Ok(Fate::Kept);
    }
    let Some(SnapshotDeletion { snapshot_uuid, id, requested_at: _ }) = &snapshot.spec.deletion
    else {
        return Ok(Fate::Deleted(None));
    };
    let volume = parse("spec.deletion.snapshotUUID", snapshot_uuid)?;
    Ok(Fate::Deleted(Some(DeletionStamp { volume, id: parse("spec.deletion.id", id)? })))
}
