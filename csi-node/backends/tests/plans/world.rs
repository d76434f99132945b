//! The model's host as plain values, and the view of it. It learns an invariant only after a real run showed it (`terrace-devices`, tests/host).

use std::path::{Path, PathBuf};

use terrace_device_types::{
    BackendKind, BootId, Bytes, ClusterUid, DevT, FileId, FilesystemView, Form, FsType, FsUuid,
    ImageView, Kernel, LayoutView, LoopView, MountPoint, Opened, PoolFile, PoolFileReading,
    PoolView, QuotaView, Signature, Tag, TagReading, View, VolumeUuid, VolumeView,
};

/// What is inside an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Zeros,
    /// A killed mkfs.
    Half,
    Filesystem {
        fs: FsType,
        uuid: FsUuid,
        spans: Bytes,
        laid_out: bool,
    },
}

/// The image of our volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) size: Bytes,
    pub(crate) tag: Tag,
    pub(crate) content: Content,
    pub(crate) inside: Inside,
    /// A Pod has written to it: from now on its loss is the failure of the test.
    pub(crate) precious: bool,
}

/// How the host object keeps its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    Image,
    /// `size` is its limit; zero: none is set.
    Subvolume {
        there: bool,
        read_only: bool,
    },
    /// `size` is that of the logical volume; its device is `attached` for as long as it is there.
    Lv {
        there: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loop {
    pub(crate) size: Bytes,
    pub(crate) autoclear: bool,
    pub(crate) read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) at: PathBuf,
    pub(crate) root: &'static str,
    pub(crate) read_only: bool,
}

/// A host with one pool and at most one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) kind: BackendKind,
    pub(crate) boots: u32,
    pub(crate) pool: PoolView,
    pub(crate) image: Option<Image>,
    pub(crate) attached: Option<Loop>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) held_open: bool,
    /// Whether a proof was handed to any plan.
    pub(crate) proven: bool,
}

pub(crate) const DEVICE: &str = "/dev/loop7";

pub(crate) fn volume() -> VolumeUuid {
    "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c11".parse().unwrap()
}

pub(crate) fn cluster() -> ClusterUid {
    "0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c".parse().unwrap()
}

pub(crate) fn pool_file() -> PoolFile {
    PoolFile {
        pool_uuid: "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10".parse().unwrap(),
        cluster_uid: cluster(),
        pool: "fast".into(),
        backend: BackendKind::File,
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let pool = PoolView {
            dir: "/pools/fast".into(),
            exists: true,
            id: Some(FileId { dev: 1, ino: 2 }),
            dev_t: Some(DevT { major: 8, minor: 1 }),
            fs: "xfs".into(),
            total: Bytes::gib(10),
            free: Bytes::gib(8),
            inodes_total: 1000,
            inodes_free: 900,
            file: PoolFileReading::Read(pool_file()),
            writable: true,
            xattrs: true,
            reflink: true,
            quota: QuotaView::NotBtrfs,
            group: None,
            strangers: Vec::new(),
        };
        Self {
            kind: BackendKind::File,
            boots: 1,
            pool,
            image: None,
            attached: None,
            mounts: Vec::new(),
            held_open: false,
            proven: false,
        }
    }

    pub(crate) fn boot(&self) -> BootId {
        format!("boot-{}", self.boots).parse().unwrap()
    }

    /// Mounts and loop devices go; what is on the disk stays.
    pub(crate) fn reboot(&mut self) {
        self.boots += 1;
        self.mounts.clear();
        if self.kind != BackendKind::Lvm {
            self.attached = None;
        }
        self.held_open = false;
    }

    pub(crate) fn image_mut(&mut self) -> &mut Image {
        self.image.as_mut().unwrap()
    }

    pub(crate) fn is_mounted(&self, at: &Path) -> bool {
        self.mounts.iter().any(|mount| mount.at == at)
    }

    pub(crate) fn view(&self) -> View {
        let mounts = self.mounts.iter().zip(100..).map(|(mount, id)| self.mount_point(mount, id));
        let mounts: Vec<MountPoint> = mounts.collect();
        let Some(image) = &self.image else {
            let volume = VolumeView::default();
            return self.whole(volume, mounts);
        };
        let ids: Vec<u64> = mounts.iter().map(|mount| mount.id).collect();
        if let Some(volume) = self.view_subvolume(image, &ids) {
            return self.whole(volume, mounts);
        }
        if let Some(volume) = self.view_lv(image, &ids) {
            return self.whole(volume, mounts);
        }
        let opened = if self.held_open || !mounts.is_empty() {
            Opened::BySomebody
        } else {
            Opened::ByNobody
        };
        let volume = VolumeView {
            image: Some(ImageView {
                path: image.path.clone(),
                id: FileId { dev: 1, ino: 77 },
                apparent: image.size,
                allocated: image.size,
                form: Form::Image,
                tag: TagReading::Read(image.tag.clone()),
            }),
            attached: self.attached.map(loop_view),
            signature: signature(&image.content),
            mounts: mounts.iter().map(|mount| mount.id).collect(),
            filesystem: self.filesystem(image),
            opened,
        };
        self.whole(volume, mounts)
    }

    fn whole(&self, volume: VolumeView, mounts: Vec<MountPoint>) -> View {
        let kernel = Kernel { major: 6, minor: 18 };
        View { pool: self.pool.clone(), volume, source: None, kernel, boot: self.boot(), mounts }
    }

    fn mount_point(&self, mount: &Mount, id: u64) -> MountPoint {
        let fs = match self.image.as_ref().map(|image| &image.content) {
            Some(Content::Filesystem { fs, .. }) => fs.as_str(),
            Some(Content::Zeros | Content::Half) | None => "devtmpfs",
        };
        MountPoint {
            id,
            parent: 1,
            dev_t: DevT { major: 7, minor: 7 },
            root: mount.root.into(),
            at: mount.at.clone(),
            options: vec![if mount.read_only { "ro" } else { "rw" }.into()],
            fs: fs.into(),
            source: DEVICE.into(),
            super_options: vec!["rw".into()],
        }
    }

    pub(crate) fn filesystem(&self, image: &Image) -> Option<FilesystemView> {
        let Content::Filesystem { fs, spans, laid_out, .. } = &image.content else { return None };
        let mounted = self.mounts.iter().find(|mount| mount.root == "/");
        let layout = match (mounted, laid_out) {
            (None, _) => LayoutView::Unknown,
            (Some(_), true) => LayoutView::Present,
            (Some(_), false) => LayoutView::Missing,
        };
        let mounted = mounted.map(|mount| mount.at.clone());
        Some(FilesystemView { fs: *fs, mounted, spans: *spans, layout })
    }
}

fn loop_view(attached: Loop) -> LoopView {
    LoopView {
        device: DEVICE.into(),
        dev_t: DevT { major: 7, minor: 7 },
        size: attached.size,
        offset: Bytes::ZERO,
        autoclear: attached.autoclear,
        read_only: attached.read_only,
        direct_io: true,
    }
}

pub(crate) fn signature(content: &Content) -> Signature {
    match content {
        Content::Zeros => Signature::Blank,
        Content::Half => Signature::Unrecognized,
        Content::Filesystem { fs, uuid, .. } => Signature::Filesystem { fs: *fs, uuid: *uuid },
    }
}
