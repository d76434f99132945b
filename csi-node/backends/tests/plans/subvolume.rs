//! What the steps of subvolumes do to the model's host, and how it shows one. A real run showed each of these before (`terrace-devices`, tests/host).

use std::path::Path;

use terrace_device_types::{
    BackendKind, Bytes, FileId, FilesystemView, Form, FsType, HostState, ImageView, LayoutView,
    Opened, PoolFile, PoolFileReading, QuotaView, Signature, StageState, Step, StepDone,
    SubvolumeView, TagReading, VolumeView, unfinished_name,
};

use crate::model::{Refused, done, need};
use crate::world::{Content, Image, Inside, Mount, World, pool_file, volume};

/// What mountinfo shows as the root of a bind of the subvolume, and of its `/data`.
pub(crate) const WHOLE: &str = "/pool/object/volume";
const DATA: &str = "/pool/object/volume/data";

impl World {
    /// A host with a btrfs pool.
    pub(crate) fn on_btrfs() -> Self {
        let mut world = Self::new();
        let backend = BackendKind::Btrfs;
        world.pool.fs = "btrfs".into();
        world.pool.quota = QuotaView::Classic;
        world.pool.file = PoolFileReading::Read(PoolFile { backend, ..pool_file() });
        world.kind = backend;
        world
    }

    pub(crate) fn view_subvolume(&self, image: &Image, mounts: &[u64]) -> Option<VolumeView> {
        let Inside::Subvolume { there, read_only } = image.inside else { return None };
        let Content::Filesystem { laid_out, .. } = image.content else { return None };
        let limit = (there && image.size > Bytes::ZERO).then_some(image.size);
        let subvolume = SubvolumeView {
            id: there.then_some(257),
            read_only,
            limit,
            referenced: Bytes::mib(1),
            exclusive: Bytes::mib(1),
        };
        let staged =
            matches!(&image.tag.stage, StageState::At { boot, .. } if *boot == self.boot());
        let used = staged || !mounts.is_empty();
        let at = self.mounts.iter().find(|mount| mount.root == WHOLE);
        let layout = if laid_out { LayoutView::Present } else { LayoutView::Missing };
        let filesystem = FilesystemView {
            fs: FsType::Btrfs,
            mounted: at.map(|mount| mount.at.clone()),
            spans: image.size,
            layout,
        };
        Some(VolumeView {
            image: Some(ImageView {
                path: image.path.clone(),
                id: FileId { dev: 1, ino: 77 },
                apparent: if read_only { Bytes::mib(1) } else { limit.unwrap_or(Bytes::ZERO) },
                allocated: Bytes::mib(1),
                form: Form::Subvolume(subvolume),
                tag: TagReading::Read(image.tag.clone()),
            }),
            attached: None,
            signature: Signature::NotProbed,
            mounts: mounts.to_vec(),
            filesystem: there.then_some(filesystem),
            opened: if used { Opened::BySomebody } else { Opened::ByNobody },
        })
    }

    pub(crate) fn apply_subvolume(&mut self, step: &Step) -> Result<StepDone, Refused> {
        match step {
            Step::CreateSubvolume { object, tag } => {
                let leftover = self.image.take();
                if let Some(left) = leftover {
                    assert!(is_begun(&left) && !left.precious, "made over {left:?}");
                }
                self.image = Some(made(object, tag, true));
                done(true)
            }
            Step::LimitSubvolume { to, .. } => {
                let image = self.image_mut();
                need(is_there(image), "no subvolume")?;
                need(*to > image.size, "limits never shrink")?;
                image.size = *to;
                done(true)
            }
            Step::RemoveSubvolume { object, deletion } => {
                need(self.mounts.is_empty(), "it is mounted")?;
                let image = self.image_mut();
                let quarantined = HostState::Quarantined { deletion: deletion.clone() };
                need(image.tag.state == quarantined && image.path == *object, "not that one")?;
                assert!(self.proven, "removed without a proof");
                self.image = None;
                done(true)
            }
            Step::RemoveUnfinishedSubvolume { .. } => {
                need(self.mounts.is_empty(), "it is mounted")?;
                let Some(image) = &self.image else { return done(false) };
                need(image.tag.state == HostState::Creating, "it was used")?;
                let own = image.precious && image.tag.source.is_none();
                assert!(!own && image.tag.stage == StageState::Never, "{image:?}");
                self.image = None;
                done(true)
            }
            other => Err(format!("no step of a subvolume: {other}")),
        }
    }

    /// A bind of the subvolume, or of what is in it.
    pub(crate) fn bind_of_subvolume(&mut self, from: &Path, to: &Path) -> Result<Mount, Refused> {
        let whole = from.ends_with("volume");
        let image = self.image_mut();
        need(is_there(image), "no subvolume")?;
        need(image.tag.stage != StageState::Never, "mounted before the stage record")?;
        let root = if whole { WHOLE } else { DATA };
        Ok(Mount { at: to.to_owned(), root, read_only: false })
    }

    /// The kernel is killed between two system calls of a step.
    pub(crate) fn crash_inside_subvolume(&mut self, step: &Step) {
        match step {
            Step::CreateSubvolume { object, tag } if self.image.is_none() => {
                let begun = object.with_file_name(unfinished_name(tag.volume));
                // Before the subvolume, or after it and before the name: by turns.
                self.image = Some(made(&begun, tag, self.boots.is_multiple_of(2)));
            }
            Step::RemoveSubvolume { .. } | Step::RemoveUnfinishedSubvolume { .. } => {
                let proven = self.proven;
                let Some(image) = &mut self.image else { return };
                assert!(proven || !image.precious, "{image:?}");
                if let Inside::Subvolume { there, .. } = &mut image.inside {
                    *there = false;
                }
            }
            _ => {}
        }
    }
}

fn is_begun(image: &Image) -> bool {
    image.path.file_name().is_some_and(|name| name == unfinished_name(image.tag.volume).as_str())
}

pub(crate) fn is_there(image: &Image) -> bool {
    matches!(image.inside, Inside::Subvolume { there: true, .. })
}

fn made(path: &Path, tag: &terrace_device_types::Tag, there: bool) -> Image {
    let (fs, uuid) = (FsType::Btrfs, volume().filesystem_uuid());
    Image {
        path: path.to_owned(),
        size: Bytes::ZERO,
        tag: tag.clone(),
        content: Content::Filesystem { fs, uuid, spans: Bytes::ZERO, laid_out: false },
        inside: Inside::Subvolume { there, read_only: false },
        precious: false,
    }
}
