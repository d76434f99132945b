//! What the host shows of one volume, its pool and the path that is asked about. Facts only, taken at one moment.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::lvm::LvSeen;
use crate::{
    BootId, Bytes, DevT, DeviceView, FileId, FsType, Kernel, PoolView, Signature, Tag, TagError,
};

/// All that a plan for a volume looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct View {
    /// The pool.
    pub pool: PoolView,
    /// The volume (or snapshot).
    pub volume: VolumeView,
    /// The host object it is to be a copy of, where the look was asked for one ([`Intent::source`](crate::Intent::source)).
    pub source: Option<VolumeView>,
    /// The running kernel.
    pub kernel: Kernel,
    /// The running kernel's boot.
    pub boot: BootId,
    /// Every mount of the node, in mountinfo's order (a later one covers an earlier one at the same path).
    pub mounts: Vec<MountPoint>,
}

/// One volume on the host. `Default` is a volume of which there is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VolumeView {
    /// The host object, if there is one: an image, or a subvolume's directory.
    pub image: Option<ImageView>,
    /// The loop device on that image, found by device and inode, if there is one.
    pub attached: Option<LoopView>,
    /// What is on the image (read from its loop device while one is attached).
    pub signature: Signature,
    /// The ids of the mounts (in [`View::mounts`]) of this volume's filesystem or device node.
    pub mounts: Vec<u64>,
    /// The filesystem's own figures: from the mounted one, else from the superblock on the image (`Probe::Look` only).
    pub filesystem: Option<FilesystemView>,
    /// Whether anybody has the image or its loop device open.
    pub opened: Opened,
}

impl Default for VolumeView {
    fn default() -> Self {
        Self {
            image: None,
            attached: None,
            signature: Signature::NotProbed,
            mounts: Vec::new(),
            filesystem: None,
            opened: Opened::NotLooked,
        }
    }
}

/// A host object: an image file, a directory with a subvolume in it, or the entry of a logical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageView {
    /// Its path.
    pub path: PathBuf,
    /// Which file or directory it is.
    pub id: FileId,
    /// Its size: an image's length; a subvolume's limit (a snapshot: what it references); a logical volume's size (nothing while there is none).
    pub apparent: Bytes,
    /// Bytes it holds, those shared with a copy included: an image's blocks; what a subvolume references; a logical volume's size, or what is mapped of a thin one.
    pub allocated: Bytes,
    /// Which of these.
    pub form: Form,
    /// What it says about itself.
    pub tag: TagReading,
}

impl ImageView {
    /// Where an admin of the node finds its bytes: its path, or that of its logical volume.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        match &self.form {
            Form::Image | Form::Subvolume(_) => self.path.clone(),
            Form::Lv(seen) => seen.lv.as_ref().map_or_else(
                || self.path.clone(),
                |lv| Path::new("/dev").join(&seen.group_name).join(&lv.name),
            ),
        }
    }
}

/// How a host object keeps its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Form {
    /// In an image file.
    Image,
    /// In a btrfs subvolume.
    Subvolume(SubvolumeView),
    /// In a logical volume; the object's path is its entry's.
    Lv(Box<LvSeen>),
}

/// A btrfs subvolume and its quota group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubvolumeView {
    /// Its id, which is its quota group's too; `None`: the directory has none (a crash came before it).
    pub id: Option<u64>,
    /// Whether it can't be written.
    pub read_only: bool,
    /// The limit on bytes referenced, if one is set.
    pub limit: Option<Bytes>,
    /// Bytes it references.
    pub referenced: Bytes,
    /// Bytes that only it references.
    pub exclusive: Bytes,
}

/// What a look at the tag gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum TagReading {
    /// No attribute.
    Absent,
    /// A tag.
    Read(Tag),
    /// An attribute that is no tag.
    Unreadable(TagError),
}

/// A loop device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoopView {
    /// Its node.
    pub device: PathBuf,
    /// Its number, good for as long as it stays attached.
    pub dev_t: DevT,
    /// Its size.
    pub size: Bytes,
    /// Where in the image it begins.
    pub offset: Bytes,
    /// Whether it detaches itself at the last close.
    pub autoclear: bool,
    /// Whether it is read-only.
    pub read_only: bool,
    /// Whether it bypasses the page cache of the image's filesystem.
    pub direct_io: bool,
}

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountPoint {
    /// The mount's id.
    pub id: u64,
    /// The id of the mount it lies on.
    pub parent: u64,
    /// The filesystem's device number (btrfs: an anonymous one).
    pub dev_t: DevT,
    /// Which directory (or file) of the filesystem is mounted.
    pub root: PathBuf,
    /// Where.
    pub at: PathBuf,
    /// Per-mount options (`rw`, `relatime`, ...).
    pub options: Vec<String>,
    /// The filesystem's type.
    pub fs: String,
    /// Its source, such as `/dev/loop3`.
    pub source: String,
    /// The filesystem's own options.
    pub super_options: Vec<String>,
}

impl MountPoint {
    /// Whether it is a mount of what is on that device. btrfs shows a number of its own, so there the source counts.
    #[must_use]
    pub fn stands_on(&self, device: &DeviceView) -> bool {
        self.dev_t == device.dev_t
            || (self.fs == FsType::Btrfs.as_str()
                && self.source.as_str() == device.path.as_os_str())
    }
}

/// What a filesystem says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilesystemView {
    /// Which.
    pub fs: FsType,
    /// Where it is mounted, if it is.
    pub mounted: Option<PathBuf>,
    /// How much of its device it spans, from its own geometry: not what statvfs leaves after overhead.
    pub spans: Bytes,
    /// Whether `/data` and `/.terrace` are there.
    pub layout: LayoutView,
}

/// Whether a volume is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LayoutView {
    /// It is not mounted, so nobody can say.
    Unknown,
    /// One or both directories are missing.
    Missing,
    /// Both are there.
    Present,
}

/// Whether anybody has the image or its device open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Opened {
    /// Nobody looked.
    NotLooked,
    /// Nobody: the loop device opened with `O_EXCL`, or a write lease on the image was granted.
    ByNobody,
    /// Somebody.
    BySomebody,
}

impl VolumeView {
    /// Whether there is a block device that shows the volume's bytes: a loop device on its image, or its logical volume's.
    #[must_use]
    pub fn has_device(&self) -> bool {
        match self.image.as_ref().map(|image| &image.form) {
            Some(Form::Lv(seen)) => seen.lv.as_ref().is_some_and(|lv| lv.device.is_some()),
            Some(Form::Image | Form::Subvolume(_)) | None => self.attached.is_some(),
        }
    }
}

impl View {
    /// The uppermost mount at `path`, if anything is mounted there.
    #[must_use]
    pub fn mount_at(&self, path: &std::path::Path) -> Option<&MountPoint> {
        self.mounts.iter().rev().find(|mount| mount.at == path)
    }

    /// The source's mounts.
    pub fn source_mounts(&self) -> impl Iterator<Item = &MountPoint> {
        let of_source = self.source.iter().flat_map(|source| &source.mounts);
        of_source.filter_map(|id| self.mounts.iter().find(|mount| mount.id == *id))
    }

    /// Whether that mount is one of this volume.
    #[must_use]
    pub fn is_of_volume(&self, mount: &MountPoint) -> bool {
        self.volume.mounts.contains(&mount.id)
    }

    /// The volume's mounts.
    pub fn volume_mounts(&self) -> impl Iterator<Item = &MountPoint> {
        self.mounts.iter().filter(|mount| self.is_of_volume(mount))
    }
}
