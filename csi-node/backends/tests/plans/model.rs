//! What each step does to the model's host. A step that the real executor would refuse is an error here; one that would lose a Pod's data fails the test at once.

use terrace_device_types::{
    Access, BackendKind, Erase, HostState, Latch, StageState, Step, StepDone, VolumeMode,
};

use crate::subvolume::WHOLE;
use crate::world::{Content, Image, Inside, Loop, Mount, World};

/// Why the model's host refuses.
pub(crate) type Refused = String;

pub(crate) fn done(changed: bool) -> Result<StepDone, Refused> {
    Ok(if changed { StepDone::Changed } else { StepDone::Already })
}

pub(crate) fn need(holds: bool, what: &str) -> Result<(), Refused> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

impl World {
    pub(crate) fn apply(&mut self, step: &Step) -> Result<StepDone, Refused> {
        match step {
            Step::AllocateImage { image, size, tag } => {
                need(self.image.is_none(), "an image is there")?;
                let (path, size, tag) = (image.clone(), *size, (**tag).clone());
                let content = Content::Zeros;
                self.image = Some(Image {
                    path,
                    size,
                    tag,
                    content,
                    inside: Inside::Image,
                    precious: false,
                });
                done(true)
            }
            Step::SyncDir { .. } | Step::CheckFilesystem { .. } => done(false),
            Step::WriteState { state, .. } => {
                let tag = &mut self.image_mut().tag;
                need(!matches!(tag.state, HostState::Quarantined { .. }), "it is quarantined")?;
                need(!matches!(state, HostState::Quarantined { .. }), "that takes a proof")?;
                done(std::mem::replace(&mut tag.state, state.clone()) != *state)
            }
            Step::WriteLatch { latch, .. } => {
                let tag = &mut self.image_mut().tag;
                need(tag.latch.may_become(latch), "a latch never moves back")?;
                done(std::mem::replace(&mut tag.latch, latch.clone()) != *latch)
            }
            Step::WriteStage { stage, .. } => {
                need(*stage != StageState::Never, "staged is staged")?;
                let tag = &mut self.image_mut().tag;
                done(std::mem::replace(&mut tag.stage, stage.clone()) != *stage)
            }
            Step::GrowImage { to, .. } => {
                let image = self.image_mut();
                need(*to > image.size, "images never shrink")?;
                image.size = *to;
                done(true)
            }
            Step::AttachLoop { access, .. } => {
                need(self.attached.is_none(), "a second loop device")?;
                let read_only = *access == Access::ReadOnly;
                let size = self.image_mut().size;
                self.attached = Some(Loop { size, autoclear: false, read_only });
                done(true)
            }
            Step::SetAutoclear { .. } => {
                need(!self.mounts.is_empty(), "nothing would hold the loop device")?;
                let attached = self.attached.as_mut().ok_or("no loop device")?;
                done(!std::mem::replace(&mut attached.autoclear, true))
            }
            Step::ResizeLoop { .. } => {
                let size = self.image_mut().size;
                let attached = self.attached.as_mut().ok_or("no loop device")?;
                done(std::mem::replace(&mut attached.size, size) != size)
            }
            Step::DetachLoop { .. } => {
                need(self.mounts.is_empty() && !self.held_open, "the loop device is held")?;
                done(self.attached.take().is_some())
            }
            Step::MakeFilesystem { .. } | Step::GrowOffline { .. } => self.apply_format(step),
            Step::MountFilesystem { .. } | Step::MakeLayout { .. } | Step::MakeTarget { .. } => {
                self.apply_mount(step)
            }
            Step::BindMount { .. } | Step::BindDevice { .. } => self.apply_mount(step),
            Step::GrowFilesystem { .. } | Step::ProveSize { .. } => self.apply_growth(step),
            Step::Unmount { target } => {
                let before = self.mounts.len();
                self.mounts.retain(|mount| mount.at != *target);
                if self.mounts.is_empty() && self.attached.is_some_and(|it| it.autoclear) {
                    self.attached = None;
                }
                done(before != self.mounts.len())
            }
            Step::RemoveTarget { target } => {
                need(!self.is_mounted(target), "something is mounted there")?;
                done(false)
            }
            Step::MarkQuarantined { .. }
            | Step::RenameToQuarantine { .. }
            | Step::EraseImage { .. }
            | Step::RemoveImage { .. }
            | Step::RemoveUnfinished { .. } => self.apply_end(step),
            Step::CreateSubvolume { .. }
            | Step::LimitSubvolume { .. }
            | Step::RemoveSubvolume { .. }
            | Step::RemoveUnfinishedSubvolume { .. } => self.apply_subvolume(step),
            Step::CloneImage { .. }
            | Step::FreezeFilesystem { .. }
            | Step::ThawFilesystem { .. }
            | Step::EndFreeze { .. }
            | Step::SyncDevice { .. }
            | Step::SnapshotSubvolumes { .. }
            | Step::EnableQuota { .. } => Err("not part of this model".to_owned()),
            Step::Lvm(step) => self.apply_lvm(step),
            Step::WipeSignatures { .. }
            | Step::MakePoolDirectory { .. }
            | Step::WritePoolFile { .. } => Err("no step for a volume".to_owned()),
        }
    }

    fn apply_format(&mut self, step: &Step) -> Result<StepDone, Refused> {
        let attached = self.attached.ok_or("no loop device")?;
        need(self.mounts.is_empty(), "it is mounted")?;
        let image = self.image_mut();
        let Step::MakeFilesystem { fs, uuid, .. } = step else {
            let Content::Filesystem { spans, .. } = &mut image.content else {
                return Err("no filesystem".to_owned());
            };
            return done(std::mem::replace(spans, attached.size) != attached.size);
        };
        assert!(!image.precious, "mkfs over a Pod's data: {image:?}");
        need(matches!(image.tag.latch, Latch::Formatting { .. }), "mkfs without its latch")?;
        need(image.tag.stage == StageState::Never, "mkfs on what was staged")?;
        need(!attached.read_only, "the loop device is read-only")?;
        let (fs, uuid, spans) = (*fs, *uuid, attached.size);
        image.content = Content::Filesystem { fs, uuid, spans, laid_out: false };
        done(true)
    }

    fn apply_mount(&mut self, step: &Step) -> Result<StepDone, Refused> {
        let mount = match step {
            Step::MountFilesystem { uuid, target, .. } => {
                need(self.attached.is_some(), "no loop device")?;
                let image = self.image_mut();
                let latched = Latch::Formatted { filesystem: *uuid };
                need(image.tag.latch == latched, "mounted before the latch says formatted")?;
                need(image.tag.stage != StageState::Never, "mounted before the stage record")?;
                let whole =
                    matches!(&image.content, Content::Filesystem { uuid: u, .. } if u == uuid);
                need(whole, "another filesystem or none")?;
                Mount { at: target.clone(), root: "/", read_only: false }
            }
            Step::BindMount { from, to, access, .. } if self.kind == BackendKind::Btrfs => {
                let read_only = *access == Access::ReadOnly;
                Mount { read_only, ..self.bind_of_subvolume(from, to)? }
            }
            Step::BindMount { to, access, .. } => {
                Mount { at: to.clone(), root: "/data", read_only: *access == Access::ReadOnly }
            }
            Step::BindDevice { to, access, .. } => {
                need(self.attached.is_some(), "no loop device")?;
                Mount { at: to.clone(), root: "/loop7", read_only: *access == Access::ReadOnly }
            }
            Step::MakeLayout { .. } => {
                let Content::Filesystem { laid_out, .. } = &mut self.image_mut().content else {
                    return Err("no filesystem".to_owned());
                };
                return done(!std::mem::replace(laid_out, true));
            }
            other => {
                return need(matches!(other, Step::MakeTarget { .. }), "no mount").and(done(false));
            }
        };
        need(!self.is_mounted(&mount.at), "something is mounted there")?;
        self.mounts.push(mount);
        done(true)
    }

    fn apply_growth(&mut self, step: &Step) -> Result<StepDone, Refused> {
        let attached = self.attached.ok_or("no loop device")?;
        need(self.mounts.iter().any(|mount| mount.root == "/"), "it is not mounted")?;
        let Content::Filesystem { fs, spans, .. } = &mut self.image_mut().content else {
            return Err("no filesystem".to_owned());
        };
        match step {
            Step::ProveSize { grown, .. } => {
                need(*spans >= fs.reachable(grown.device_size), "it did not grow")?;
                done(false)
            }
            _ => done(std::mem::replace(spans, attached.size) != attached.size),
        }
    }

    fn apply_end(&mut self, step: &Step) -> Result<StepDone, Refused> {
        let loose = self.attached.is_none() || self.kind == BackendKind::Lvm;
        let free = self.mounts.is_empty() && loose && !self.held_open;
        let boot = self.boot();
        let image = self.image_mut();
        match step {
            Step::MarkQuarantined { proof, .. } => {
                need(free, "it is in use")?;
                let staged =
                    matches!(&image.tag.stage, StageState::At { boot: b, .. } if *b == boot);
                need(!staged, "it is staged")?;
                image.tag.state = HostState::Quarantined { deletion: proof.id().clone() };
            }
            Step::RenameToQuarantine { to, deletion, .. } => {
                need(
                    image.tag.state == HostState::Quarantined { deletion: deletion.clone() },
                    "no",
                )?;
                image.path = to.clone();
            }
            Step::EraseImage { deletion, erase, .. } => {
                need(
                    image.tag.state == HostState::Quarantined { deletion: deletion.clone() },
                    "no",
                )?;
                assert_eq!(*erase, Erase::Zeros);
            }
            Step::RemoveImage { deletion, image: path } => {
                need(
                    image.tag.state == HostState::Quarantined { deletion: deletion.clone() },
                    "no",
                )?;
                need(image.path == *path, "another path")?;
                need(image.inside != (Inside::Lv { there: true }), "its bytes are there")?;
                assert!(self.proven, "removed without a proof");
                self.image = None;
            }
            _ => {
                need(image.inside != (Inside::Lv { there: true }), "its bytes are there")?;
                need(free && image.tag.state == HostState::Creating, "it was used")?;
                // A copy that was only begun holds nothing but what its source has too.
                let own = !image.precious && image.tag.latch == Latch::None;
                assert!(own || image.tag.source.is_some(), "{image:?}");
                self.image = None;
            }
        }
        done(true)
    }

    /// The kernel is killed in the middle of a step: of the steps of an image only mkfs leaves something between.
    pub(crate) fn crash_inside(&mut self, step: &Step) {
        self.crash_inside_subvolume(step);
        self.crash_inside_lvm(step);
        if matches!(step, Step::MakeFilesystem { .. }) && self.attached.is_some() {
            assert!(!self.image_mut().precious, "mkfs over a Pod's data");
            self.image_mut().content = Content::Half;
        }
    }

    /// A Pod writes wherever it is let.
    pub(crate) fn pod_writes(&mut self) {
        let writable = self
            .mounts
            .iter()
            .any(|mount| mount.root != "/" && mount.root != WHOLE && !mount.read_only);
        if let Some(image) = self.image.as_mut().filter(|_| writable) {
            image.precious = true;
            if image.tag.mode == VolumeMode::Block {
                image.content = Content::Half;
            }
        }
    }
}
