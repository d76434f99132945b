//! A model host: a pool directory with images, loop devices and mounts; power loss forgets what was not synced.
//! It carries steps out as they are written and has no guard of its own: a plan that should not be, is seen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use terrace_device_types::{
    Access, BackendKind, BootId, Bytes, ClusterUid, DevT, FileId, FilesystemView, Form, FsType,
    FsUuid, HostObject, HostState, ImageView, Kernel, LayoutView, LoopView, MountPoint, Opened,
    PoolFile, PoolFileReading, PoolUuid, PoolView, QuotaView, Signature, Tag, TagReading, View,
    VolumeUuid, VolumeView, image_name,
};

use crate::run::Entry;

/// What is on an image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Blank,
    Partial { fs: FsType, uuid: FsUuid },
    Made { fs: FsType, uuid: FsUuid, spans: Bytes, layout: bool, mark: Option<u64> },
}

/// An image file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) ino: u64,
    pub(crate) size: Bytes,
    pub(crate) tag: Option<Tag>,
    pub(crate) content: Content,
    /// Its loop device: size seen, autoclear, mode.
    pub(crate) attached: Option<(Bytes, bool, Access)>,
}

/// A mount of an image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mount {
    pub(crate) id: u64,
    pub(crate) ino: u64,
    pub(crate) at: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) read_only: bool,
}

/// A change of the directory that a power loss may take back.
#[derive(Clone, Debug)]
pub(crate) enum Unsynced {
    Appeared { ino: u64 },
    Renamed { ino: u64, from: PathBuf },
    Removed { image: Box<Image> },
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) pool: PoolUuid,
    pub(crate) cluster: ClusterUid,
    pub(crate) boots: u64,
    /// Starts of the node's process after the first.
    pub(crate) starts: u64,
    pub(crate) next: u64,
    /// What has begun and is not over: written through, as redb is.
    pub(crate) journal: Vec<Entry>,
    /// Paths of Pods, which the kubelet keeps.
    pub(crate) targets: BTreeSet<PathBuf>,
    /// Mounts whose filesystem stands still: the kernel's, so it outlives the process.
    pub(crate) frozen: BTreeSet<PathBuf>,
    pub(crate) images: Vec<Image>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) unsynced: Vec<Unsynced>,
}

pub(crate) const POOL_SIZE: Bytes = Bytes::gib(64);

impl Node {
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn boot(&self) -> BootId {
        format!("{}-boot-{}", self.name, self.boots).parse().unwrap()
    }

    pub(crate) fn image(&mut self, path: &Path) -> Option<&mut Image> {
        self.images.iter_mut().find(|image| image.path == path)
    }

    /// By tag; the name is only where a new one would be.
    pub(crate) fn image_of(&self, volume: VolumeUuid) -> Option<&Image> {
        let named = self.dir.join(image_name(HostObject::Volume, volume));
        let tagged = |image: &&Image| {
            image
                .tag
                .as_ref()
                .is_some_and(|tag| tag.volume == volume && tag.cluster == self.cluster)
        };
        self.images
            .iter()
            .find(|image| image.path == named)
            .or_else(|| self.images.iter().find(tagged))
    }

    pub(crate) fn free(&self) -> Bytes {
        let used = self.images.iter().fold(Bytes::ZERO, |sum, image| Bytes(sum.0 + image.size.0));
        POOL_SIZE.minus(used)
    }

    pub(crate) fn view(&self, volume: VolumeUuid) -> View {
        self.view_with(volume, None)
    }

    /// With the object it is to be a copy of.
    pub(crate) fn view_with(&self, volume: VolumeUuid, source: Option<VolumeUuid>) -> View {
        let seen = |uuid| {
            let image = self.image_of(uuid);
            image.map_or_else(VolumeView::default, |image| self.volume_view(image))
        };
        let image = self.image_of(volume);
        View {
            pool: self.pool_view(),
            volume: image.map_or_else(VolumeView::default, |image| self.volume_view(image)),
            source: source.map(seen),
            kernel: Kernel { major: 6, minor: 18 },
            boot: self.boot(),
            mounts: self.mounts.iter().map(|mount| self.mount_point(mount)).collect(),
        }
    }

    fn pool_view(&self) -> PoolView {
        let file = PoolFile {
            pool_uuid: self.pool,
            cluster_uid: self.cluster.clone(),
            pool: "files".to_owned(),
            backend: BackendKind::File,
        };
        PoolView {
            dir: self.dir.clone(),
            exists: true,
            id: Some(FileId { dev: 1, ino: 2 }),
            dev_t: Some(DevT { major: 8, minor: 1 }),
            fs: "xfs".to_owned(),
            total: POOL_SIZE,
            free: self.free(),
            inodes_total: 1 << 20,
            inodes_free: 1 << 20,
            file: PoolFileReading::Read(file),
            writable: true,
            xattrs: true,
            reflink: true,
            quota: QuotaView::NotBtrfs,
            group: None,
            strangers: Vec::new(),
        }
    }

    fn volume_view(&self, image: &Image) -> VolumeView {
        let mounts: Vec<&Mount> =
            self.mounts.iter().filter(|mount| mount.ino == image.ino).collect();
        let dev_t = DevT { major: 7, minor: u32::try_from(image.ino).unwrap() };
        VolumeView {
            image: Some(ImageView {
                path: image.path.clone(),
                id: FileId { dev: 1, ino: image.ino },
                apparent: image.size,
                allocated: image.size,
                form: Form::Image,
                tag: image.tag.clone().map_or(TagReading::Absent, TagReading::Read),
            }),
            attached: image.attached.map(|(size, autoclear, access)| LoopView {
                device: PathBuf::from(format!("/dev/loop{}", image.ino)),
                dev_t,
                size,
                offset: Bytes::ZERO,
                autoclear,
                read_only: access == Access::ReadOnly,
                direct_io: true,
            }),
            signature: match &image.content {
                Content::Blank => Signature::Blank,
                Content::Partial { fs, uuid } => Signature::Unfinished { fs: *fs, uuid: *uuid },
                Content::Made { fs, uuid, .. } => Signature::Filesystem { fs: *fs, uuid: *uuid },
            },
            mounts: mounts.iter().map(|mount| mount.id).collect(),
            filesystem: match &image.content {
                Content::Blank | Content::Partial { .. } => None,
                Content::Made { fs, spans, layout, .. } => Some(FilesystemView {
                    fs: *fs,
                    mounted: mounts
                        .iter()
                        .find(|mount| mount.root == Path::new("/"))
                        .map(|mount| mount.at.clone()),
                    spans: *spans,
                    layout: match (mounts.is_empty(), layout) {
                        (true, _) => LayoutView::Unknown,
                        (false, true) => LayoutView::Present,
                        (false, false) => LayoutView::Missing,
                    },
                }),
            },
            opened: if mounts.is_empty() { Opened::ByNobody } else { Opened::BySomebody },
        }
    }

    fn mount_point(&self, mount: &Mount) -> MountPoint {
        MountPoint {
            id: mount.id,
            parent: 1,
            dev_t: DevT { major: 7, minor: u32::try_from(mount.ino).unwrap() },
            root: mount.root.clone(),
            at: mount.at.clone(),
            options: vec![if mount.read_only { "ro" } else { "rw" }.to_owned()],
            fs: self
                .images
                .iter()
                .find(|image| image.ino == mount.ino)
                .and_then(|image| match &image.content {
                    Content::Made { fs, .. } => Some(fs.as_str().to_owned()),
                    Content::Blank | Content::Partial { .. } => None,
                })
                .unwrap_or_else(|| "devtmpfs".to_owned()),
            source: format!("/dev/loop{}", mount.ino),
            super_options: Vec::new(),
        }
    }

    /// The power goes: mounts and loop devices with it, and a suffix of the directory changes nobody synced.
    /// Gives the images that are as if they had never been made.
    pub(crate) fn lose_power(&mut self, taken_back: usize) -> Vec<Image> {
        let mut vanished = Vec::new();
        self.boots += 1;
        self.mounts.clear();
        self.frozen.clear();
        for image in &mut self.images {
            image.attached = None;
        }
        for _ in 0..taken_back {
            match self.unsynced.pop() {
                None => break,
                Some(Unsynced::Appeared { ino }) => {
                    vanished.extend(self.images.extract_if(.., |image| image.ino == ino));
                }
                Some(Unsynced::Renamed { ino, from }) => {
                    if let Some(image) = self.images.iter_mut().find(|image| image.ino == ino) {
                        image.path = from;
                    }
                }
                Some(Unsynced::Removed { image }) => {
                    self.images.push(Image { attached: None, ..*image })
                }
            }
        }
        self.unsynced.clear();
        vanished
    }

    /// States of the images that are ours, for the StorageNode.
    pub(crate) fn tagged(&self) -> impl Iterator<Item = (&Image, &Tag)> {
        self.images
            .iter()
            .filter_map(|image| image.tag.as_ref().map(|tag| (image, tag)))
            .filter(|(_, tag)| tag.cluster == self.cluster)
    }
}

/// Whether an image is on its way out.
pub(crate) fn is_quarantined(tag: &Tag) -> bool {
    match tag.state {
        HostState::Quarantined { .. } => true,
        HostState::Creating | HostState::Ready | HostState::Retained => false,
    }
}
