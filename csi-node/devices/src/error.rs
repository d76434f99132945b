//! What can go wrong on the host, typed. One place says what to do about each: [`DeviceError::class`].

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use terrace_device_types::lvm::PvUuid;
use terrace_device_types::{Bytes, Class, TagError, Tool};

/// What went wrong on the host.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A system call failed.
    #[error("{doing} {path}")]
    Io {
        /// What was being done: a present-tense verb.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The filesystem below is full.
    #[error("no space left for {path}: {need} needed; delete volumes or add storage")]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// How much was asked.
        need: Bytes,
    },
    /// The process lacks a capability.
    #[error(
        "{doing} needs {capability}, which this process does not have: grant it to the csi-node container"
    )]
    CapabilityMissing {
        /// Such as `CAP_SYS_RESOURCE`.
        capability: &'static str,
        /// What needs it.
        doing: &'static str,
    },
    /// The host is not as the plan saw it. Observe and plan again.
    #[error("{path} is not as planned: expected {expected}, found {found}")]
    Changed {
        /// What it is about.
        path: PathBuf,
        /// What the plan relied on.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Somebody uses it.
    #[error("{path} is in use: {by}")]
    Busy {
        /// What it is about.
        path: PathBuf,
        /// By whom or how.
        by: &'static str,
    },
    /// A freeze ended before it was to: what was copied meanwhile shows no one moment.
    #[error("{path} did not stand still for as long as it was to: {why}; the copy is given up")]
    NotStill {
        /// The mount, or the image.
        path: PathBuf,
        /// What ended the freeze.
        why: &'static str,
    },
    /// A tag that can't be read, or is not there.
    #[error("the tag of {image} can't be used")]
    Tag {
        /// The image.
        image: PathBuf,
        /// Why.
        source: TagError,
    },
    /// A file of the kernel's or ours that does not read as it must.
    #[error("{path} can't be understood at {text:?}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line or value.
        text: String,
    },
    /// No loop device on the image.
    #[error("no loop device is attached to {image}")]
    NotAttached {
        /// The image.
        image: PathBuf,
    },
    /// The kernel refused to mount; its own words are in `said`.
    #[error("mount {device} at {target}: {}", if .said.is_empty() { "the kernel gives no reason" } else { .said })]
    Mount {
        /// The device.
        device: PathBuf,
        /// Where.
        target: PathBuf,
        /// The log of the filesystem context.
        said: String,
        /// The error number.
        source: io::Error,
    },
    /// The filesystem did not become as large as it must.
    #[error("filesystem at {mount} spans {spans} and must span {least}")]
    NotGrown {
        /// Where.
        mount: PathBuf,
        /// What it spans.
        spans: Bytes,
        /// What it must.
        least: Bytes,
    },
    /// Copies that were to show one moment did not.
    #[error("{members} snapshots did not fall into one transaction in {tries} tries")]
    Torn {
        /// How many.
        members: usize,
        /// How often it was tried.
        tries: usize,
    },
    /// A tool failed.
    #[error("{tool} failed ({status}): {said}")]
    Tool {
        /// Which.
        tool: Tool,
        /// Exit code or signal.
        status: String,
        /// The end of what it wrote.
        said: String,
    },
    /// A tool is not installed.
    #[error("{tool} is not installed")]
    ToolMissing {
        /// Which.
        tool: Tool,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Two devices are the same physical volume: a copy of a disk, or two ways to one. LVM would choose one of them.
    #[error(
        "{one} and {other} are both physical volume {pv}: take one of them away, or name only one"
    )]
    DuplicatePv {
        /// Which.
        pv: PvUuid,
        /// A device.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// The deadline passed.
    #[error("{doing} did not end in time ({})", humanly(.waited))]
    Deadline {
        /// What was being done.
        doing: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Somebody waits for it already.
    #[error("{place} has not answered for {}", humanly(.waited), place = place.display())]
    Silent {
        /// The folder, device or file.
        place: PathBuf,
        /// Since the first who waits asked.
        waited: Duration,
    },
    /// A value that must not get this far.
    #[error("step can't be carried out: {why}")]
    Bug {
        /// What is wrong with it.
        why: &'static str,
    },
}

fn humanly(time: &Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

impl DeviceError {
    /// An [`DeviceError::Io`], with ENOSPC and EDQUOT still inside; see [`DeviceError::class`].
    pub(crate) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: source.into() }
    }

    /// What the caller does about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Io { source, .. } | Self::Mount { source, .. } => class_of(source),
            Self::NoSpace { .. } => Class::Exhausted,
            Self::CapabilityMissing { .. }
            | Self::ToolMissing { .. }
            | Self::DuplicatePv { .. }
            | Self::Tag { .. } => Class::Wait,
            Self::Busy { .. }
            | Self::NotStill { .. }
            | Self::Changed { .. }
            | Self::NotAttached { .. }
            | Self::NotGrown { .. }
            | Self::Torn { .. }
            | Self::Tool { .. }
            | Self::Silent { .. }
            | Self::Deadline { .. } => Class::Retry,
            Self::Parse { .. } | Self::Bug { .. } => Class::Bug,
        }
    }

    /// A CamelCase word for a condition's reason and a metric's label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Io { source, .. } if class_of(source) == Class::Exhausted => "NoSpace",
            Self::Io { .. } => "IoError",
            Self::NoSpace { .. } => "NoSpace",
            Self::CapabilityMissing { .. } => "CapabilityMissing",
            Self::Changed { .. } => "HostChanged",
            Self::Busy { .. } => "InUse",
            Self::NotStill { .. } => "FreezeEnded",
            Self::Tag { .. } => "HostObjectRefused",
            Self::Parse { .. } | Self::Bug { .. } => "Bug",
            Self::NotAttached { .. } => "NotAttached",
            Self::Mount { .. } => "MountFailed",
            Self::NotGrown { .. } => "NotGrown",
            Self::Torn { .. } => "NotOneMoment",
            Self::Tool { .. } => "ToolFailed",
            Self::DuplicatePv { .. } => "DuplicatePhysicalVolume",
            Self::ToolMissing { .. } => "ToolMissing",
            Self::Deadline { .. } => "DeadlineExceeded",
            Self::Silent { .. } => "NotAnswering",
        }
    }
}

fn class_of(source: &io::Error) -> Class {
    match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => Class::Exhausted,
        Some(libc::EROFS | libc::EACCES | libc::EPERM | libc::ENODEV) => Class::Wait,
        Some(libc::EINVAL | libc::ENAMETOOLONG) => Class::Invalid,
        Some(_) | None => Class::Retry,
    }
}
