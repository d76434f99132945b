//! CreateVolume: from what the CSI caller asked to the StorageVolume that is written, or the sentence that
//! refuses it; and whether a volume that is there already is the one asked for. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use terrace_crds::names::{
    ANNOTATION_TOPOLOGY, ANNOTATION_TRACEPARENT, FINALIZER_NODE, VolumeName, volume_name,
    volume_uuid,
};
use terrace_crds::volume::{FsType, Origin, SourceKind, VolumeMode, VolumeSource};
use terrace_crds::{Size, StoragePool, StorageSnapshot, StorageVolume, StorageVolumeSpec};
use uuid::Uuid;

use crate::capability::{Capability, CapabilityError, DEFAULT_FILESYSTEM, validate_capabilities};
use crate::class::Class;
use crate::parameters::{
    Erase, ParameterError, Target, ValidParameters, parse_parameters, refuse_mutable,
};
use crate::placement::matches;
use crate::size::{
    ALIGNMENT, Asked, Content, Granted, SizeError, plan_copy_size, plan_size, words,
};
use crate::space::{bytes, granted};
use crate::topology::Topology;
use crate::world::{csi_name_of, name_of};

/// Longest name, in bytes, as CSI demands of every driver.
const NAME_MAX: usize = 128;

/// What the new volume is to be a copy of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// As the new volume names it.
    pub source: VolumeSource,
    /// Its size, in bytes: the least of a copy.
    pub bytes: u64,
    /// What it holds.
    pub content: Content,
}

impl Original {
    /// A snapshot.
    #[must_use]
    pub fn of_snapshot(snapshot: &StorageSnapshot) -> Self {
        let spec = &snapshot.spec;
        Self {
            source: VolumeSource {
                kind: SourceKind::Snapshot,
                name: name_of(&snapshot.metadata).to_owned(),
                uuid: spec.snapshot_uuid.clone(),
            },
            bytes: bytes(&spec.capacity),
            content: content_of(spec.volume_mode, spec.fs_type),
        }
    }

    /// A volume; `None` for one that was not named yet.
    #[must_use]
    pub fn of_volume(volume: &StorageVolume) -> Option<Self> {
        let spec = &volume.spec;
        let uuid = spec.volume_uuid.clone()?;
        let name = name_of(&volume.metadata).to_owned();
        Some(Self {
            source: VolumeSource { kind: SourceKind::Volume, name, uuid },
            bytes: granted(volume),
            content: content_of(spec.volume_mode, spec.fs_type),
        })
    }
}

fn content_of(mode: VolumeMode, fs: Option<FsType>) -> Content {
    match (mode, fs) {
        (VolumeMode::Filesystem, Some(fs)) => Content::Filesystem(fs),
        (VolumeMode::Filesystem, None) | (VolumeMode::Block, _) => Content::Block,
    }
}

/// A CreateVolume call, read off the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateAsked {
    /// The name by which the caller knows the volume.
    pub name: String,
    /// How large.
    pub size: Asked,
    /// What it must be usable as.
    pub capabilities: Vec<Capability>,
    /// Parameters of the StorageClass.
    pub parameters: BTreeMap<String, String>,
    /// Parameters of the VolumeAttributesClass.
    pub mutable: BTreeMap<String, String>,
    /// Where from.
    pub topology: Topology,
    /// Of what; `None`: it starts empty.
    pub original: Option<Original>,
    /// The filesystem where neither class, claim nor original names one.
    pub default_fs: FsType,
}

/// A CreateVolume call that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidCreate {
    /// Its name in the cluster.
    pub name: VolumeName,
    /// What it holds.
    pub content: Content,
    /// Options for mount(2).
    pub mount_flags: Vec<String>,
    /// How large it becomes.
    pub granted: Granted,
    /// How large it was asked to be.
    pub asked: Asked,
    /// What the class says.
    pub parameters: ValidParameters,
    /// Where it may lie.
    pub topology: Topology,
    /// What it begins as a copy of.
    pub source: Option<VolumeSource>,
}

/// Why a volume cannot be made as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// Empty, too long, or with characters that nobody can read.
    #[error("a volume's name has 1 to {NAME_MAX} bytes and no control characters")]
    Name,
    /// A copy of one content asked for as another.
    #[error(
        "the source holds {has}, asked for is {asked}: a copy is of its source's kind; use a class of fs-type {has}, or leave it out"
    )]
    OtherContent {
        /// What the source holds.
        has: Content,
        /// What was asked for.
        asked: Content,
    },
    /// See the source.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// See the source.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// See the source.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// A volume of this name is there, and is another one.
    #[error("volume {name} exists with {has}, asked for is {asked}")]
    Exists {
        /// Its CSI name.
        name: String,
        /// What it is.
        has: String,
        /// What was asked for.
        asked: String,
    },
}

impl CreateError {
    /// Nobody but the caller can help.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Name | Self::OtherContent { .. } | Self::Exists { .. } => Class::Invalid,
            Self::Size(error) => error.class(),
            Self::Capability(error) => error.class(),
            Self::Parameter(error) => error.class(),
        }
    }
}

/// The filesystem of a class that names none: btrfs where its pools hold nothing else.
#[must_use]
pub fn default_fs(pools: &[Arc<StoragePool>], parameters: &BTreeMap<String, String>) -> FsType {
    // What cannot be read is refused elsewhere.
    let target = parse_parameters(parameters).map_or(Target::Any, |valid| valid.target);
    own_filesystem(pools, &target)
}

/// The filesystem of a volume for which none was named, by the pools that would do.
pub(crate) fn own_filesystem(pools: &[Arc<StoragePool>], target: &Target) -> FsType {
    let mut pools = pools.iter().filter(|pool| matches(target, pool)).peekable();
    if *target != Target::Any
        && pools.peek().is_some()
        && pools.all(|pool| pool.spec.btrfs.is_some())
    {
        FsType::Btrfs
    } else {
        DEFAULT_FILESYSTEM
    }
}

/// The least size of a new volume, in bytes, where the pools that would do have this filesystem of their own.
#[must_use]
pub fn minimum_of(content: Content, own: FsType) -> u64 {
    match (content, own) {
        // All of them keep subvolumes, and those have no least size.
        (Content::Filesystem(FsType::Btrfs), FsType::Btrfs) => ALIGNMENT,
        (content, _) => content.minimum(),
    }
}

/// Checks a call once; nothing after this checks again.
///
/// # Errors
/// [`CreateError`], with a sentence for the caller.
pub fn validate_create(asked: CreateAsked) -> Result<ValidCreate, CreateError> {
    let CreateAsked {
        name,
        size,
        capabilities,
        parameters,
        mutable,
        topology,
        original,
        default_fs,
    } = asked;
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(CreateError::Name);
    }
    refuse_mutable(&mutable)?;
    let parameters = parse_parameters(&parameters)?;
    let has = original.as_ref().map(|original| original.content);
    let inherited = match has {
        Some(Content::Filesystem(fs)) => fs,
        Some(Content::Block) | None => default_fs,
    };
    let valid = validate_capabilities(&capabilities, parameters.fs_type, inherited)?;
    if let Some(has) = has.filter(|has| *has != valid.content) {
        return Err(CreateError::OtherContent { has, asked: valid.content });
    }
    let granted = match &original {
        Some(original) => plan_copy_size(size, valid.content, original.bytes)?,
        None => plan_size(size, valid.content, minimum_of(valid.content, default_fs))?,
    };
    Ok(ValidCreate {
        name: volume_name(&name),
        granted,
        source: original.map(|original| original.source),
        content: valid.content,
        mount_flags: valid.mount_flags,
        asked: size,
        parameters,
        topology,
    })
}

impl ValidCreate {
    /// The intent, as it is written. `cluster` is the UID of the namespace kube-system.
    #[must_use]
    pub fn volume(&self, cluster: Uuid, traceparent: Option<String>) -> StorageVolume {
        let VolumeName { name, csi_name } = &self.name;
        let uuid = volume_uuid(cluster, csi_name.as_deref().unwrap_or(name));
        let (pool, tier) = match &self.parameters.target {
            Target::Pool(pool) => (Some(pool.clone()), None),
            Target::Tier(tier) => (None, Some(tier.clone())),
            Target::Any => (None, None),
        };
        let (volume_mode, fs_type) = mode_of(self.content);
        let notes = [
            (ANNOTATION_TOPOLOGY, self.topology.to_annotation()),
            (ANNOTATION_TRACEPARENT, traceparent),
        ];
        let notes: BTreeMap<String, String> =
            notes.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        let spec = StorageVolumeSpec {
            volume_uuid: Some(uuid.to_string()),
            csi_name: csi_name.clone(),
            origin: Origin::Csi,
            claim_ref: self.parameters.claim.clone(),
            capacity: Size::from_bytes(self.granted.bytes),
            volume_mode,
            fs_type,
            mount_options: self.mount_flags.clone(),
            pool,
            tier,
            adopt: None,
            source: self.source.clone().map(Box::new),
            erase_on_delete: erase_of(self.parameters.erase),
            latency_target: self.parameters.latency.clone().map(Into::into),
            deletion: None,
            assignment: None,
        };
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            annotations: (!notes.is_empty()).then_some(notes),
            finalizers: Some(vec![FINALIZER_NODE.to_owned()]),
            ..ObjectMeta::default()
        };
        StorageVolume { metadata, spec, status: None }
    }

    /// Whether the volume that is there is the one asked for.
    ///
    /// # Errors
    /// [`CreateError::Exists`], naming both.
    pub fn check_same(&self, there: &StorageVolume) -> Result<(), CreateError> {
        let (volume_mode, fs_type) = mode_of(self.content);
        let asked_name = self.name.csi_name.as_deref().unwrap_or(&self.name.name);
        let target = match (&there.spec.pool, &there.spec.tier) {
            (Some(pool), _) => Target::Pool(pool.clone()),
            (None, tier) => Target::Tier(tier.clone().unwrap_or_default()),
        };
        let same = csi_name_of(there) == asked_name
            && self.asked.admits(bytes(&there.spec.capacity))
            && (there.spec.volume_mode, there.spec.fs_type) == (volume_mode, fs_type)
            && there.spec.source.as_deref() == self.source.as_ref()
            && target == self.parameters.target;
        if same {
            return Ok(());
        }
        let has_content = there.spec.fs_type.map_or(Content::Block, Content::Filesystem);
        let has = describe(bytes(&there.spec.capacity), has_content, &target)
            + &described(there.spec.source.as_deref());
        let asked = describe(self.granted.bytes, self.content, &self.parameters.target)
            + &described(self.source.as_ref());
        Err(CreateError::Exists { name: csi_name_of(there).to_owned(), has, asked })
    }
}

fn mode_of(content: Content) -> (VolumeMode, Option<FsType>) {
    match content {
        Content::Filesystem(fs) => (VolumeMode::Filesystem, Some(fs)),
        Content::Block => (VolumeMode::Block, None),
    }
}

fn erase_of(erase: Erase) -> Option<bool> {
    match erase {
        Erase::Overwrite => Some(true),
        Erase::Leave => None,
    }
}

fn described(source: Option<&VolumeSource>) -> String {
    match source {
        None => String::new(),
        Some(VolumeSource { kind: SourceKind::Snapshot, name, uuid: _ }) => {
            format!(", made of snapshot {name}")
        }
        Some(VolumeSource { kind: SourceKind::Volume, name, uuid: _ }) => {
            format!(", made of volume {name}")
        }
    }
}

fn describe(size: u64, content: Content, target: &Target) -> String {
    let size = words(size);
    match target {
        Target::Pool(pool) => format!("{size} of {content} on pool {pool}"),
        Target::Tier(tier) => format!("{size} of {content} on tier {tier}"),
        Target::Any => format!("{size} of {content}"),
    }
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
