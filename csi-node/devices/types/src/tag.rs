//! The tag: what an image says about itself, in one extended attribute ([`XATTR`]) that is replaced as a whole.
//! One writer, one parser, strict: a key too many, too few, out of order or unreadable is a [`TagError`], never a guess.
//!
//! ```text
//! terrace 2
//! object=snapshot
//! volume=4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11
//! cluster=0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c
//! pool=8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10
//! name=pvc-0f2c
//! mode=filesystem:xfs
//! allocation=reserved
//! state=ready
//! latch=formatted:5c0c8f0e-6a55-5d66-8a0f-2f6f9b6f6f10
//! stage=at:9d3f7c1a-...:/var/lib/kubelet/plugins/...
//! source=1b7f0c52-...
//! ```
//! `object` and `source` came with layout 2. A volume that is no copy is still written as layout 1, which has neither: the release before reads it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    Allocation, BootId, ClusterUid, DeletionId, FsUuid, OperationId, PoolUuid, VolumeMode,
    VolumeUuid,
};

/// The extended attribute that holds the tag. `trusted.`: invisible and unwritable without `CAP_SYS_ADMIN`.
pub const XATTR: &str = "trusted.terrace.tag";

/// The version of the host layout (the tag's text, `/data` and `/.terrace` inside). A newer one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Layout {
    /// A volume that is no copy.
    One,
    /// With `object` and `source`.
    Two,
}

/// What a host object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HostObject {
    /// Staged and written by Pods.
    Volume,
    /// A point-in-time copy: never staged, never written.
    Snapshot,
}

impl HostObject {
    /// The word in the tag.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
        }
    }
}

impl fmt::Display for HostObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the host object is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostState {
    /// Made, not yet reported. May be swept if it was never staged.
    Creating,
    /// In service.
    Ready,
    /// Its StorageVolume went away without proof of deletion: kept, listed as an orphan.
    Retained,
    /// Its deletion is proven; only removal is left.
    Quarantined {
        /// The deletion that was proven.
        deletion: DeletionId,
    },
}

/// The format latch of invariant I2. It only moves forward.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Latch {
    /// Never formatted.
    None,
    /// mkfs may have begun; nothing of value can be inside, since it was never mounted.
    Formatting {
        /// Who began.
        operation: OperationId,
    },
    /// Formatted: mkfs never runs again.
    Formatted {
        /// The filesystem it carries.
        filesystem: FsUuid,
    },
}

impl Latch {
    /// Whether `next` may be written over `self`: forwards, to itself, or from one formatting operation to its successor.
    #[must_use]
    pub fn may_become(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::None, Self::None | Self::Formatting { .. }) => true,
            (Self::None, Self::Formatted { .. }) => false,
            (Self::Formatting { .. }, Self::Formatting { .. } | Self::Formatted { .. }) => true,
            (Self::Formatting { .. }, Self::None) => false,
            (Self::Formatted { .. }, Self::None | Self::Formatting { .. }) => false,
            (Self::Formatted { filesystem: a }, Self::Formatted { filesystem: b }) => a == b,
        }
    }
}

/// The stage record: whether the volume was ever given to the kubelet. Written before the first mount.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StageState {
    /// Never.
    Never,
    /// Staged (or about to be) at `target`, under the boot `boot`.
    At {
        /// The kernel boot it was written under; after a reboot the record is history.
        boot: BootId,
        /// The staging path.
        target: PathBuf,
    },
    /// It was, and is no more.
    Past,
}

/// What an image says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// Volume or snapshot.
    pub object: HostObject,
    /// Its own UUID, a snapshot's too.
    pub volume: VolumeUuid,
    /// The cluster it belongs to.
    pub cluster: ClusterUid,
    /// The pool it was made in.
    pub pool: PoolUuid,
    /// The StorageVolume's name, for people; never used to choose.
    pub name: String,
    /// Filesystem or raw block. Here, so that a re-created object of the other mode can't get a raw volume formatted.
    pub mode: VolumeMode,
    /// Reserved or sparse.
    pub allocation: Allocation,
    /// Where it is in its life.
    pub state: HostState,
    /// The format latch.
    pub latch: Latch,
    /// The stage record.
    pub stage: StageState,
    /// The host object whose bytes it began with. mkfs never runs on what has one (I2).
    pub source: Option<VolumeUuid>,
}

/// Why a tag can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
pub enum TagError {
    /// Not UTF-8.
    #[error("the tag is not text")]
    NotText,
    /// The first line is not `terrace N`.
    #[error("the tag does not begin with 'terrace <version>' but with {first:?}")]
    NotATag {
        /// The first line, at most 64 characters.
        first: String,
    },
    /// Written by a newer Terrace.
    #[error("the tag has layout version {found}; this build knows 1 and 2")]
    Newer {
        /// The version found.
        found: u32,
    },
    /// A line is missing, doubled, unknown or out of order.
    #[error("the tag has {found:?} where '{wanted}=' belongs")]
    Line {
        /// The key that belongs there.
        wanted: &'static str,
        /// The line found.
        found: String,
    },
    /// A value is not one of its kind.
    #[error("the tag's {key} can't be read: {found:?}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value found.
        found: String,
    },
}

impl fmt::Display for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Formatting { operation } => write!(f, "formatting:{operation}"),
            Self::Formatted { filesystem } => write!(f, "formatted:{filesystem}"),
        }
    }
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Creating => f.write_str("creating"),
            Self::Ready => f.write_str("ready"),
            Self::Retained => f.write_str("retained"),
            Self::Quarantined { deletion } => write!(f, "quarantined:{deletion}"),
        }
    }
}

impl fmt::Display for StageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::At { boot, target } => write!(f, "at:{boot}:{}", target.display()),
            Self::Past => f.write_str("past"),
        }
    }
}

/// The text of the tag; [`Tag::parse`] is its inverse.
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            object,
            volume,
            cluster,
            pool,
            name,
            mode,
            allocation,
            state,
            latch,
            stage,
            source,
        } = self;
        match self.layout() {
            Layout::One => writeln!(f, "terrace 1")?,
            Layout::Two => writeln!(f, "terrace 2\nobject={object}")?,
        }
        writeln!(f, "volume={volume}\ncluster={cluster}\npool={pool}\nname={name}")?;
        writeln!(f, "mode={mode}\nallocation={}\nstate={state}", allocation.as_str())?;
        writeln!(f, "latch={latch}\nstage={stage}")?;
        match (self.layout(), source) {
            (Layout::One, _) => Ok(()),
            (Layout::Two, None) => writeln!(f, "source=none"),
            (Layout::Two, Some(source)) => writeln!(f, "source={source}"),
        }
    }
}

impl Tag {
    fn layout(&self) -> Layout {
        match (self.object, self.source) {
            (HostObject::Volume, None) => Layout::One,
            (HostObject::Volume, Some(_)) | (HostObject::Snapshot, _) => Layout::Two,
        }
    }

    /// Reads a tag back.
    ///
    /// # Errors
    /// Anything but exactly what [`Tag`]'s `Display` writes.
    pub fn parse(raw: &[u8]) -> Result<Self, TagError> {
        let text = std::str::from_utf8(raw).map_err(|_| TagError::NotText)?;
        let mut lines = text.lines();
        let layout = parse_layout(lines.next().unwrap_or_default())?;
        let mut next = |key: &'static str| value(key, lines.next().unwrap_or_default());
        let object = match layout {
            Layout::One => HostObject::Volume,
            Layout::Two => parse_object(next("object")?)?,
        };
        let tag = Self {
            object,
            volume: read("volume", next("volume")?)?,
            cluster: read("cluster", next("cluster")?)?,
            pool: read("pool", next("pool")?)?,
            name: parse_name(next("name")?)?,
            mode: read("mode", next("mode")?)?,
            allocation: parse_allocation(next("allocation")?)?,
            state: parse_state(next("state")?)?,
            latch: parse_latch(next("latch")?)?,
            stage: parse_stage(next("stage")?)?,
            source: match layout {
                Layout::One => None,
                Layout::Two => parse_source(next("source")?)?,
            },
        };
        match lines.next() {
            None => Ok(tag),
            Some(more) => Err(TagError::Line { wanted: "end", found: short(more) }),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

fn parse_layout(first: &str) -> Result<Layout, TagError> {
    let not_a_tag = || TagError::NotATag { first: short(first) };
    let version = first.strip_prefix("terrace ").ok_or_else(not_a_tag)?;
    let found: u32 = version.parse().map_err(|_| not_a_tag())?;
    match found {
        1 => Ok(Layout::One),
        2 => Ok(Layout::Two),
        found => Err(TagError::Newer { found }),
    }
}

fn parse_object(text: &str) -> Result<HostObject, TagError> {
    match text {
        "volume" => Ok(HostObject::Volume),
        "snapshot" => Ok(HostObject::Snapshot),
        other => Err(bad("object", other)),
    }
}

fn parse_source(text: &str) -> Result<Option<VolumeUuid>, TagError> {
    match text {
        "none" => Ok(None),
        uuid => read("source", uuid).map(Some),
    }
}

fn value<'a>(key: &'static str, line: &'a str) -> Result<&'a str, TagError> {
    line.strip_prefix(key)
        .and_then(|rest| rest.strip_prefix('='))
        .ok_or_else(|| TagError::Line { wanted: key, found: short(line) })
}

fn bad(key: &'static str, found: &str) -> TagError {
    TagError::Value { key, found: short(found) }
}

fn read<T: std::str::FromStr>(key: &'static str, text: &str) -> Result<T, TagError> {
    text.parse().map_err(|_| bad(key, text))
}

fn parse_name(text: &str) -> Result<String, TagError> {
    let fits = !text.is_empty() && text.len() <= 253 && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(bad("name", text)) }
}

fn parse_allocation(text: &str) -> Result<Allocation, TagError> {
    match text {
        "reserved" => Ok(Allocation::Reserved),
        "sparse" => Ok(Allocation::Sparse),
        other => Err(bad("allocation", other)),
    }
}

fn parse_state(text: &str) -> Result<HostState, TagError> {
    match (text, text.strip_prefix("quarantined:")) {
        ("creating", _) => Ok(HostState::Creating),
        ("ready", _) => Ok(HostState::Ready),
        ("retained", _) => Ok(HostState::Retained),
        (_, Some(id)) => Ok(HostState::Quarantined { deletion: read("state", id)? }),
        (other, None) => Err(bad("state", other)),
    }
}

fn parse_latch(text: &str) -> Result<Latch, TagError> {
    match text.split_once(':') {
        None if text == "none" => Ok(Latch::None),
        Some(("formatting", id)) => Ok(Latch::Formatting { operation: read("latch", id)? }),
        Some(("formatted", id)) => Ok(Latch::Formatted { filesystem: read("latch", id)? }),
        Some(_) | None => Err(bad("latch", text)),
    }
}

fn parse_stage(text: &str) -> Result<StageState, TagError> {
    match text.split_once(':') {
        None if text == "never" => Ok(StageState::Never),
        None if text == "past" => Ok(StageState::Past),
        Some(("at", rest)) => {
            let (boot, target) = rest.split_once(':').ok_or_else(|| bad("stage", text))?;
            if !target.starts_with('/') {
                return Err(bad("stage", text));
            }
            Ok(StageState::At { boot: read("stage", boot)?, target: PathBuf::from(target) })
        }
        Some(_) | None => Err(bad("stage", text)),
    }
}

#[cfg(test)]
#[path = "tag_tests.rs"]
mod tests;
