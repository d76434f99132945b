//! A StorageVolume, checked: what the node is to do about it, in the types of the host. Pure.

use terrace_crds::volume::{Deletion, FsType as WireFs, VolumeMode as WireMode};
use terrace_crds::{StorageVolume, names};
use terrace_device_types::{Bytes, DeletionStamp, Erase, FsType, PoolUuid, VolumeMode, VolumeUuid};

/// Why a StorageVolume cannot be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A field that is needed is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field does not read as it must.
    #[error("{field} cannot be read: {text:?}")]
    Unreadable {
        /// The field.
        field: &'static str,
        /// What it says.
        text: String,
    },
}

/// What is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is to be there.
    Kept,
    /// It is being deleted, with the stamp if there is one.
    Deleted(Option<DeletionStamp>),
}

/// A checked StorageVolume that is assigned to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidVolume {
    /// Its name: the CSI handle.
    pub name: String,
    /// Name of its PersistentVolume.
    pub pv_name: String,
    /// Its UUID.
    pub uuid: VolumeUuid,
    /// The pool it lies on.
    pub pool: PoolUuid,
    /// The size asked for.
    pub size: Bytes,
    /// What it is made of.
    pub mode: VolumeMode,
    /// What happens to the bytes at the end.
    pub erase: Erase,
    /// What is to become of it.
    pub fate: Fate,
}

/// Checks `volume`.
///
/// # Errors
/// [`Invalid`], naming the field.
pub fn validate_volume(volume: &StorageVolume) -> Result<ValidVolume, Invalid> {
    let name = volume.metadata.name.clone().ok_or(Invalid::Missing("metadata.name"))?;
    let spec = &volume.spec;
    let uuid = spec.volume_uuid.as_ref().ok_or(Invalid::Missing("spec.volumeUUID"))?;
    let assignment = spec.assignment.as_ref().ok_or(Invalid::Missing("spec.assignment"))?;
    let size = spec.capacity.bytes().map_err(|_| Invalid::Unreadable {
        field: "spec.capacity",
        text: spec.capacity.as_str().to_owned(),
    })?;
    Ok(ValidVolume {
        pv_name: spec.csi_name.clone().unwrap_or_else(|| name.clone()),
        uuid: parse("spec.volumeUUID", uuid)?,
        pool: parse("spec.assignment.poolUUID", &assignment.pool_uuid)?,
        size: Bytes(size),
        mode: parse_mode(spec.volume_mode, spec.fs_type)?,
        erase: if spec.erase_on_delete == Some(true) { Erase::Zeros } else { Erase::No },
        fate: parse_fate(volume)?,
        name,
    })
}

fn parse<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|_| Invalid::Unreadable { field, text: text.to_owned() })
}

fn parse_mode(mode: WireMode, fs: Option<WireFs>) -> Result<VolumeMode, Invalid> {
    match (mode, fs) {
        (WireMode::Block, _) => Ok(VolumeMode::Block),
        (WireMode::Filesystem, Some(fs)) => Ok(VolumeMode::Filesystem { fs: parse_fs(fs) }),
        (WireMode::Filesystem, None) => Err(Invalid::Missing("spec.fsType")),
    }
}

const fn parse_fs(fs: WireFs) -> FsType {
    match fs {
        WireFs::Ext4 => FsType::Ext4,
        WireFs::Xfs => FsType::Xfs,
        WireFs::Btrfs => FsType::Btrfs,
    }
}

fn parse_fate(volume: &StorageVolume) -> Result<Fate, Invalid> {
    if volume.metadata.deletion_timestamp.is_none() {
        return Ok(Fate::Kept);
    }
    let Some(Deletion { volume_uuid, id, requested_at: _ }) = &volume.spec.deletion else {
        return Ok(Fate::Deleted(None));
    };
    let volume = parse("spec.deletion.volumeUUID", volume_uuid)?;
    Ok(Fate::Deleted(Some(DeletionStamp { volume, id: parse("spec.deletion.id", id)? })))
}

/// Whether the node still holds `volume` back from vanishing.
#[must_use]
pub fn is_held(volume: &StorageVolume) -> bool {
    let finalizers = volume.metadata.finalizers.as_deref().unwrap_or_default();
    finalizers.iter().any(|finalizer| finalizer == names::FINALIZER_NODE)
}
