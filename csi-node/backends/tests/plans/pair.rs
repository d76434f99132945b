//! Two worlds beside each other: a source, and what is to be a copy of it. Copies without standing still, and any touch of the source, fail here.

use terrace_device_types::{
    Allocation, Bytes, DeviceRef, HostObject, Intent, Kernel, Step, StepDone, SubvolumeCopy, View,
    VolumeMode, VolumeUuid, unfinished_name,
};

use crate::model::Refused;
use crate::subvolume::is_there;
use crate::world::{Image, Inside, World, cluster, volume};

/// A source, and the object that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) source: World,
    pub(crate) object: World,
    pub(crate) frozen: bool,
    /// The page cache of the source's device holds what its image does not.
    pub(crate) unsynced: bool,
    pub(crate) kernel: Kernel,
}

/// The copy's UUID.
pub(crate) fn copied() -> VolumeUuid {
    "7c2e9a10-5b1d-5f6a-8d3c-2a9e4b6f1d77".parse().unwrap()
}

pub(crate) fn copy(object: HostObject, size: Bytes, mode: VolumeMode) -> Intent {
    let (cluster, name, allocation) = (cluster(), "copy-1".into(), Allocation::Reserved);
    let (volume, source) = (copied(), volume());
    Intent::Copy { object, volume, cluster, name, source, size, mode, allocation }
}

impl Pair {
    pub(crate) fn of(source: World) -> Self {
        let object = World { pool: source.pool.clone(), kind: source.kind, ..World::new() };
        let kernel = Kernel { major: 6, minor: 18 };
        Self { source, object, frozen: false, unsynced: false, kernel }
    }

    pub(crate) fn view(&self) -> View {
        let mut source = self.source.view();
        let mut object = self.object.view();
        for mount in &mut object.mounts {
            mount.id += 1000;
        }
        object.volume.mounts = object.mounts.iter().map(|mount| mount.id).collect();
        source.mounts.append(&mut object.mounts);
        View {
            source: Some(source.volume),
            volume: object.volume,
            kernel: self.kernel,
            pool: source.pool,
            boot: source.boot,
            mounts: source.mounts,
        }
    }

    fn original(&self) -> Result<&Image, Refused> {
        self.source.image.as_ref().ok_or_else(|| "no source".to_owned())
    }

    fn is_of_source(&self, device: &DeviceRef) -> bool {
        let image = self.source.image.as_ref().map(|image| &image.path);
        matches!(device, DeviceRef::LoopOf { image: asked } if Some(asked) == image)
    }

    pub(crate) fn apply(&mut self, step: &Step) -> Result<StepDone, Refused> {
        let before = self.clone();
        assert!(!before.frozen || is_part_of_a_window(step), "{step} while writers wait");
        let done = self.act(step)?;
        assert_eq!(before.source, self.source, "{step} touched the source");
        Ok(done)
    }

    fn act(&mut self, step: &Step) -> Result<StepDone, Refused> {
        match step {
            Step::FreezeFilesystem { mount, device } => {
                let ours = self.is_of_source(device) && self.source.is_mounted(mount);
                if !ours || std::mem::replace(&mut self.frozen, true) {
                    return Err("not mounted, or frozen already".to_owned());
                }
                Ok(StepDone::Changed)
            }
            Step::ThawFilesystem { device, .. } => {
                let ours = self.is_of_source(device);
                if !ours || !std::mem::replace(&mut self.frozen, false) {
                    return Err("it was not frozen throughout".to_owned());
                }
                Ok(StepDone::Changed)
            }
            Step::EndFreeze { .. } => {
                let was = std::mem::replace(&mut self.frozen, false);
                Ok(if was { StepDone::Changed } else { StepDone::Already })
            }
            Step::SyncDevice { device } => {
                if !self.is_of_source(device) || self.source.attached.is_none() {
                    return Err("no such device".to_owned());
                }
                self.unsynced = false;
                Ok(StepDone::Changed)
            }
            Step::CloneImage { .. } => self.clone_image(step),
            Step::SnapshotSubvolumes { members } => {
                members.iter().try_for_each(|member| self.snapshot(member))?;
                Ok(StepDone::Changed)
            }
            other => self.object.apply(other),
        }
    }

    fn clone_image(&mut self, step: &Step) -> Result<StepDone, Refused> {
        let Step::CloneImage { from, source, image, tag } = step else { panic!("{step}") };
        if self.object.image.is_some() {
            return Ok(StepDone::Already);
        }
        let original = self.original()?.clone();
        let is_it = original.path == *from && original.tag.volume == *source;
        let still =
            self.source.mounts.iter().all(|mount| mount.root.starts_with("/loop")) || self.frozen;
        if !is_it || !still || self.unsynced || !self.source.pool.reflink {
            return Err(format!("of another, in motion, or without reflink: {self:#?}"));
        }
        let path = image.clone();
        self.object.image = Some(Image { path, tag: (**tag).clone(), ..original });
        Ok(StepDone::Changed)
    }
}

impl Pair {
    /// A copy of the source's subvolume; what an earlier attempt left under the unfinished name goes first.
    fn snapshot(&mut self, copy: &SubvolumeCopy) -> Result<(), Refused> {
        let SubvolumeCopy { from, source, object, tag } = copy;
        let original = self.original()?.clone();
        let left = self.object.image.take();
        assert!(left.is_none_or(|left| left.path != *object), "made over another copy");
        if original.path != *from || original.tag.volume != *source || !is_there(&original) {
            return Err(format!("of another: {self:#?}"));
        }
        let read_only = tag.object == HostObject::Snapshot;
        self.object.image = Some(Image {
            path: object.clone(),
            size: Bytes::ZERO,
            tag: (**tag).clone(),
            content: original.content,
            inside: Inside::Subvolume { there: true, read_only },
            precious: original.precious,
        });
        Ok(())
    }

    /// A death inside a copy of a subvolume: some of it under the unfinished name.
    pub(crate) fn crash_inside(&mut self, step: &Step) {
        let Step::SnapshotSubvolumes { members } = step else { return };
        for member in members {
            let path = member.object.with_file_name(unfinished_name(member.tag.volume));
            if self.snapshot(member).is_ok() {
                self.object.image_mut().path = path;
            }
        }
    }
}

/// What may run while writers wait.
fn is_part_of_a_window(step: &Step) -> bool {
    matches!(step, Step::CloneImage { .. } | Step::ThawFilesystem { .. } | Step::EndFreeze { .. })
}
