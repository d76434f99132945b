//! Which ways of using a volume are offered: access modes, filesystems, mount flags. Pure.

use terrace_crds::volume::FsType;

use crate::class::Class;
use crate::size::Content;

/// Filesystem of a volume whose class names none.
pub const DEFAULT_FILESYSTEM: FsType = FsType::Xfs;
/// Most mount flags of a volume.
const FLAGS_MAX: usize = 32;
/// Longest mount flag, in bytes.
const FLAG_LENGTH_MAX: usize = 128;

/// How often, and from where, a volume may be used at once: CSI's access modes by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// One node reads and writes.
    SingleNodeWriter,
    /// One node reads.
    SingleNodeReaderOnly,
    /// One Pod reads and writes.
    SingleNodeSingleWriter,
    /// Many Pods of one node read and write.
    SingleNodeMultiWriter,
    /// Any mode with more than one node.
    MultiNode,
    /// None given, or one this release has never heard of.
    Unknown,
}

/// How the volume reaches a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// As a raw block device.
    Block,
    /// As a mounted filesystem.
    Mount {
        /// The filesystem asked for; empty: whatever is the default.
        fs_type: String,
        /// Options for mount(2).
        flags: Vec<String>,
    },
    /// Neither was given.
    Unset,
}

/// One capability as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// How many may use it at once.
    pub mode: AccessMode,
    /// As what.
    pub access: Access,
}

/// A way of using a volume that this release offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidUse {
    /// What the volume holds.
    pub content: Content,
    /// Options for mount(2), each once, as given.
    pub mount_flags: Vec<String>,
}

/// Why a capability is not offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// The list is empty.
    #[error("no volume capability was given")]
    None,
    /// No access mode.
    #[error("a volume capability names no access mode")]
    NoMode,
    /// Neither block nor mount.
    #[error("a volume capability names neither block nor mount")]
    NoAccess,
    /// More than one node.
    #[error(
        "a volume lies on the disks of one node: access modes with several nodes (ReadWriteMany, ReadOnlyMany) are not offered"
    )]
    MultiNode,
    /// A filesystem that this release does not make.
    #[error("filesystem {asked:?} is not offered: use xfs, ext4 or btrfs")]
    FsType {
        /// As asked.
        asked: String,
    },
    /// The capability and the StorageClass parameter differ.
    #[error(
        "filesystem {capability} is asked for by the volume capability, {parameter} by the StorageClass parameter terrace.storage/fs-type"
    )]
    Conflict {
        /// In the capability.
        capability: &'static str,
        /// In the parameters.
        parameter: &'static str,
    },
    /// Block and mount, or two filesystems, for one volume.
    #[error(
        "the volume capabilities contradict each other: a volume holds one filesystem or is one raw block device"
    )]
    Contradiction,
    /// A filesystem asked for on a block device.
    #[error(
        "a raw block volume has no filesystem: leave terrace.storage/fs-type out of its StorageClass"
    )]
    FsTypeOnBlock,
    /// Too many mount flags, or one that is empty, too long or holds white space.
    #[error(
        "mount option {flag:?} cannot be used: at most 32 options of 1 to 128 visible characters each"
    )]
    Flag {
        /// As asked.
        flag: String,
    },
}

impl CapabilityError {
    /// Nobody but the caller can help.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::None
            | Self::NoMode
            | Self::NoAccess
            | Self::MultiNode
            | Self::FsType { .. }
            | Self::Conflict { .. }
            | Self::Contradiction
            | Self::FsTypeOnBlock
            | Self::Flag { .. } => Class::Invalid,
        }
    }
}

/// What a volume must be so that every capability holds. `default` is its filesystem where nobody names one.
///
/// # Errors
/// [`CapabilityError`], with a sentence that says what to write instead.
pub fn validate_capabilities(
    asked: &[Capability],
    parameter: Option<FsType>,
    default: FsType,
) -> Result<ValidUse, CapabilityError> {
    let (first, rest) = asked.split_first().ok_or(CapabilityError::None)?;
    let mut valid = validate_capability(first, parameter, default)?;
    for capability in rest {
        let other = validate_capability(capability, parameter, default)?;
        if other.content != valid.content {
            return Err(CapabilityError::Contradiction);
        }
        valid.mount_flags.extend(other.mount_flags);
    }
    let mut seen = std::collections::BTreeSet::new();
    valid.mount_flags.retain(|flag| seen.insert(flag.clone()));
    match valid.mount_flags.get(FLAGS_MAX) {
        Some(flag) => Err(CapabilityError::Flag { flag: flag.clone() }),
        None => Ok(valid),
    }
}

fn validate_capability(
    asked: &Capability,
    parameter: Option<FsType>,
    default: FsType,
) -> Result<ValidUse, CapabilityError> {
    match asked.mode {
        AccessMode::SingleNodeWriter
        | AccessMode::SingleNodeReaderOnly
        | AccessMode::SingleNodeSingleWriter
        | AccessMode::SingleNodeMultiWriter => {}
        AccessMode::MultiNode => return Err(CapabilityError::MultiNode),
        AccessMode::Unknown => return Err(CapabilityError::NoMode),
    }
    match &asked.access {
        Access::Unset => Err(CapabilityError::NoAccess),
        Access::Block if parameter.is_some() => Err(CapabilityError::FsTypeOnBlock),
        Access::Block => Ok(ValidUse { content: Content::Block, mount_flags: Vec::new() }),
        Access::Mount { fs_type, flags } => {
            let content = Content::Filesystem(validate_fs_type(fs_type, parameter, default)?);
            flags.iter().try_for_each(|flag| validate_flag(flag))?;
            Ok(ValidUse { content, mount_flags: flags.clone() })
        }
    }
}

fn validate_fs_type(
    asked: &str,
    parameter: Option<FsType>,
    default: FsType,
) -> Result<FsType, CapabilityError> {
    if asked.is_empty() {
        return Ok(parameter.unwrap_or(default));
    }
    let capability =
        parse_fs_type(asked).ok_or_else(|| CapabilityError::FsType { asked: asked.to_owned() })?;
    match parameter {
        Some(parameter) if parameter != capability => Err(CapabilityError::Conflict {
            capability: capability.as_str(),
            parameter: parameter.as_str(),
        }),
        Some(_) | None => Ok(capability),
    }
}

/// The filesystem of this name.
#[must_use]
pub fn parse_fs_type(name: &str) -> Option<FsType> {
    FsType::ALL.into_iter().find(|fs| fs.as_str() == name)
}

fn validate_flag(flag: &str) -> Result<(), CapabilityError> {
    let visible = flag.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && !flag.is_empty() && flag.len() <= FLAG_LENGTH_MAX {
        return Ok(());
    }
    Err(CapabilityError::Flag { flag: flag.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::{
        Access, AccessMode, Capability, CapabilityError, Content, DEFAULT_FILESYSTEM, FsType,
        validate_capabilities,
    };

    fn mount(fs_type: &str, flags: &[&str]) -> Capability {
        let flags = flags.iter().map(ToString::to_string).collect();
        let access = Access::Mount { fs_type: fs_type.into(), flags };
        Capability { mode: AccessMode::SingleNodeWriter, access }
    }

    fn content(
        asked: &[Capability],
        parameter: Option<FsType>,
    ) -> Result<Content, CapabilityError> {
        validate_capabilities(asked, parameter, DEFAULT_FILESYSTEM).map(|valid| valid.content)
    }

    #[test]
    fn xfs_is_the_default_and_the_class_may_choose_another() {
        let plain = [mount("", &[])];
        assert_eq!(content(&plain, None), Ok(Content::Filesystem(FsType::Xfs)));
        let chosen = content(&plain, Some(FsType::Btrfs));
        assert_eq!(chosen, Ok(Content::Filesystem(FsType::Btrfs)));
        let named = content(&[mount("ext4", &[])], None);
        assert_eq!(named, Ok(Content::Filesystem(FsType::Ext4)));
    }

    #[test]
    fn every_single_node_mode_is_offered_and_no_other() {
        let with = |mode| Capability { mode, access: Access::Block };
        for mode in [
            AccessMode::SingleNodeWriter,
            AccessMode::SingleNodeReaderOnly,
            AccessMode::SingleNodeSingleWriter,
            AccessMode::SingleNodeMultiWriter,
        ] {
            assert_eq!(content(&[with(mode)], None), Ok(Content::Block));
        }
        let many = content(&[with(AccessMode::MultiNode)], None);
        assert_eq!(many, Err(CapabilityError::MultiNode));
        assert_eq!(content(&[with(AccessMode::Unknown)], None), Err(CapabilityError::NoMode));
    }

    #[test]
    fn contradictions_are_refused() {
        let (block, ext4) = (
            Capability { mode: AccessMode::SingleNodeWriter, access: Access::Block },
            mount("ext4", &[]),
        );
        let both = content(&[block.clone(), ext4.clone()], None);
        assert_eq!(both, Err(CapabilityError::Contradiction));
        let two = content(&[ext4.clone(), mount("xfs", &[])], None);
        assert_eq!(two, Err(CapabilityError::Contradiction));
        let conflict = CapabilityError::Conflict { capability: "ext4", parameter: "xfs" };
        assert_eq!(content(&[ext4], Some(FsType::Xfs)), Err(conflict));
        let on_block = content(&[block], Some(FsType::Xfs));
        assert_eq!(on_block, Err(CapabilityError::FsTypeOnBlock));
        assert_eq!(content(&[], None), Err(CapabilityError::None));
    }

    #[test]
    fn an_unsupported_filesystem_is_named() {
        let error = content(&[mount("ntfs", &[])], None).unwrap_err();
        let said = "filesystem \"ntfs\" is not offered: use xfs, ext4 or btrfs";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn mount_flags_are_bounded_and_kept_once() {
        let valid = validate_capabilities(
            &[mount("", &["noatime", "ro"]), mount("", &["ro"])],
            None,
            DEFAULT_FILESYSTEM,
        );
        assert_eq!(valid.unwrap().mount_flags, ["noatime", "ro"]);
        let long = "x".repeat(129);
        for flag in ["", "a b", "a\nb", long.as_str()] {
            let refused = validate_capabilities(&[mount("", &[flag])], None, DEFAULT_FILESYSTEM);
            assert_eq!(refused, Err(CapabilityError::Flag { flag: flag.into() }));
        }
        let many: Vec<String> = (0..33).map(|n| format!("o{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(validate_capabilities(&[mount("", &many)], None, DEFAULT_FILESYSTEM).is_err());
    }
}
