//! What the steps of LVM do to the model's host, how it shows a logical volume, and stories of the lvm backend. A real run in a guest showed each of these before
//! (`terrace-devices`, tests/lvm).

use terrace_backends::{Backend, LvmBackend};
use terrace_device_types::lvm::{
    GroupView, LvDevice, LvKind, LvObject, LvSeen, LvmStep, NewVolume, VgUuid, VolumeKind,
};
use terrace_device_types::{
    Access, BackendKind, Bytes, Claimed, DeletionProof, DeletionStamp, DevT, Erase, FileId, Form,
    FsType, HostObject, HostState, ImageView, Intent, Opened, PoolFile, PoolFileReading, PvReading,
    Signature, StageState, Step, StepDone, TagReading, VolumeMode, VolumeView, image_name,
};

use crate::golden::{check, create, stage};
use crate::model::{Refused, done, need};
use crate::pair::copy;
use crate::world::{Content, DEVICE, Image, Inside, Loop, World, pool_file, signature, volume};

pub(crate) const EXTENT: Bytes = Bytes::mib(4);
const EXT4: VolumeMode = VolumeMode::Filesystem { fs: FsType::Ext4 };

pub(crate) fn group() -> VgUuid {
    "7NiBDF-JPUK-Ubdd-Xuik-sxcc-9BUG-2QfA7B".parse().unwrap()
}

impl World {
    /// A host with a pool on a volume group.
    pub(crate) fn on_lvm() -> Self {
        let mut world = Self::new();
        world.kind = BackendKind::Lvm;
        world.pool.fs = "ext4".into();
        world.pool.reflink = false;
        world.pool.file =
            PoolFileReading::Read(PoolFile { backend: BackendKind::Lvm, ..pool_file() });
        world.pool.group = Some(GroupView {
            uuid: group(),
            name: "terrace-pool".into(),
            size: Bytes::gib(10),
            free: Bytes::gib(8),
            extent: EXTENT,
            missing: 0,
            thin: None,
        });
        world
    }

    pub(crate) fn view_lv(&self, image: &Image, mounts: &[u64]) -> Option<VolumeView> {
        let Inside::Lv { there } = image.inside else { return None };
        let lv = there.then(|| LvObject {
            uuid: "a".repeat(32).parse().unwrap(),
            name: image_name(HostObject::Volume, volume()),
            size: image.size,
            kind: if self.kind == BackendKind::LvmThin { LvKind::Thin } else { LvKind::Linear },
            tag: TagReading::Read(image.tag.clone()),
            health: None,
            device: self.attached.map(device),
        });
        let seen = LvSeen { group: group(), group_name: "terrace-pool".into(), lv };
        let used = self.held_open || !mounts.is_empty();
        Some(VolumeView {
            image: Some(ImageView {
                path: image.path.clone(),
                id: FileId { dev: 1, ino: 77 },
                apparent: if there { image.size } else { Bytes::ZERO },
                allocated: if there { image.size } else { Bytes::ZERO },
                form: Form::Lv(Box::new(seen)),
                tag: TagReading::Read(image.tag.clone()),
            }),
            attached: None,
            signature: if there { signature(&image.content) } else { Signature::NotProbed },
            mounts: mounts.to_vec(),
            filesystem: if there { self.filesystem(image) } else { None },
            opened: if used { Opened::BySomebody } else { Opened::ByNobody },
        })
    }

    pub(crate) fn apply_lvm(&mut self, step: &LvmStep) -> Result<StepDone, Refused> {
        match step {
            LvmStep::CreateEntry { object, tag } => {
                need(self.image.is_none(), "an entry is there")?;
                self.image = Some(Image {
                    path: object.clone(),
                    size: Bytes::ZERO,
                    tag: (**tag).clone(),
                    content: Content::Zeros,
                    inside: Inside::Lv { there: false },
                    precious: false,
                });
                done(true)
            }
            LvmStep::CreateLv { new, .. } => self.create_lv(new),
            LvmStep::GrowLv { to, .. } => {
                let image = self.image_mut();
                need(image.inside == Inside::Lv { there: true }, "no logical volume")?;
                need(*to > image.size, "logical volumes never shrink")?;
                image.size = to.round_up(EXTENT);
                self.refresh()
            }
            LvmStep::ZeroLv { .. } => {
                let image = self.image_mut();
                need(image.inside == Inside::Lv { there: true }, "no logical volume")?;
                need(image.tag.state == HostState::Creating, "it was used")?;
                image.content = Content::Zeros;
                done(true)
            }
            LvmStep::RefreshLv { .. } => self.refresh(),
            LvmStep::SetAccess { access, .. } => {
                let attached = self.attached.as_mut().ok_or("no device")?;
                let read_only = *access == Access::ReadOnly;
                done(std::mem::replace(&mut attached.read_only, read_only) != read_only)
            }
            LvmStep::EraseLv { deletion, .. } | LvmStep::RemoveLv { deletion, .. } => {
                need(self.mounts.is_empty() && !self.held_open, "it is in use")?;
                let removes = matches!(step, LvmStep::RemoveLv { .. });
                let proven = self.proven;
                let image = self.image_mut();
                let state = HostState::Quarantined { deletion: deletion.clone() };
                need(image.tag.state == state, "it is not quarantined")?;
                assert!(proven, "destroyed without a proof");
                if removes {
                    image.inside = Inside::Lv { there: false };
                    self.attached = None;
                }
                done(true)
            }
            LvmStep::RemoveUnfinishedLv { .. } => {
                need(self.mounts.is_empty() && !self.held_open, "it is in use")?;
                let image = self.image_mut();
                need(image.tag.state == HostState::Creating, "it was used")?;
                assert!(!image.precious && image.tag.stage == StageState::Never, "{image:?}");
                image.inside = Inside::Lv { there: false };
                self.attached = None;
                done(true)
            }
            other => Err(format!("no step for a volume: {other}")),
        }
    }

    fn create_lv(&mut self, new: &NewVolume) -> Result<StepDone, Refused> {
        let size = match &new.kind {
            VolumeKind::Linear { size } if self.kind == BackendKind::Lvm => *size,
            VolumeKind::Thin { size, .. } if self.kind == BackendKind::LvmThin => *size,
            other => return Err(format!("no volume of this pool: {other:?}")),
        };
        let image = self.image_mut();
        need(image.tag.state == HostState::Creating, "its entry is not being made")?;
        assert!(!image.precious && image.tag.stage == StageState::Never, "{image:?}");
        image.content = Content::Zeros;
        if image.inside == (Inside::Lv { there: true }) {
            need(image.size >= size, "it is smaller")?;
        } else {
            image.inside = Inside::Lv { there: true };
            image.size = size.round_up(EXTENT);
        }
        self.refresh()
    }

    fn refresh(&mut self) -> Result<StepDone, Refused> {
        let size = self.image_mut().size;
        let read_only = self.attached.is_some_and(|attached| attached.read_only);
        self.attached = Some(Loop { size, autoclear: false, read_only });
        done(true)
    }

    /// lvm is killed in the middle of a step: written down, and the device is as it was.
    pub(crate) fn crash_inside_lvm(&mut self, step: &Step) {
        match step {
            Step::Lvm(LvmStep::CreateLv { new, .. }) => {
                let (VolumeKind::Linear { size } | VolumeKind::Thin { size, .. }) = new.kind else {
                    return;
                };
                let image = self.image_mut();
                if image.inside == (Inside::Lv { there: false }) {
                    image.inside = Inside::Lv { there: true };
                    image.size = size.round_up(EXTENT);
                    // What a removed volume left there.
                    image.content = Content::Half;
                }
            }
            Step::Lvm(LvmStep::GrowLv { to, .. }) => {
                self.image_mut().size = to.round_up(EXTENT);
            }
            _ => {}
        }
    }
}

fn device(attached: Loop) -> LvDevice {
    LvDevice {
        path: DEVICE.into(),
        dev_t: DevT { major: 7, minor: 7 },
        size: attached.size,
        open: 0,
        suspended: false,
        read_only: attached.read_only,
        mapped: None,
    }
}

fn tell(name: &str, intent: &Intent, world: &World) {
    check(&format!("lvm-{name}"), LvmBackend.plan(intent, &world.view()));
}

/// An lvm world in which these were done.
fn after(intents: &[Intent]) -> World {
    let mut world = World::on_lvm();
    for intent in intents {
        for step in LvmBackend.plan(intent, &world.view()).unwrap() {
            world.apply(&step).unwrap();
        }
    }
    world
}

pub(crate) fn delete(world: &World, erase: Erase) -> Intent {
    let stamp = DeletionStamp { volume: volume(), id: "deletion-1".parse().unwrap() };
    let tag = &world.image.as_ref().unwrap().tag;
    let (claimed, cluster) = (Claimed::Volume(PvReading::NotFound), tag.cluster.clone());
    let proof = DeletionProof::check(Some(&stamp), volume(), &cluster, &claimed, tag).unwrap();
    Intent::Delete { volume: volume(), proof, erase }
}

#[test]
fn the_life_of_a_logical_volume() {
    let make = || create(EXT4, Bytes::gib(1));
    tell("create", &make(), &World::on_lvm());
    tell("create-again-larger", &create(EXT4, Bytes::mib(1025)), &after(&[make()]));
    let mut begun = World::on_lvm();
    begun.apply(&LvmBackend.plan(&make(), &begun.view()).unwrap()[0]).unwrap();
    tell("create-begun-before-a-crash", &make(), &begun);
    tell("stage-first", &stage(EXT4), &after(&[make()]));
    let staged = after(&[make(), stage(EXT4)]);
    let grow = |to| Intent::Grow { volume: volume(), cluster: crate::world::cluster(), to };
    tell("grow-mounted", &grow(Bytes::gib(2)), &staged);
    tell("grow-pool-full", &grow(Bytes::gib(20)), &staged);
    tell("i1-delete-mounted", &delete(&staged, Erase::No), &staged);
    let made = after(&[make()]);
    tell("i1-delete-erased", &delete(&made, Erase::Zeros), &made);
    tell("snapshot", &copy(HostObject::Snapshot, Bytes::gib(1), EXT4), &made);
    let raw = || create(VolumeMode::Block, Bytes::gib(1));
    tell("create-raw-block", &raw(), &World::on_lvm());
    tell("grow-raw-block", &grow(Bytes::gib(2)), &after(&[raw()]));
}

#[test]
fn what_is_not_as_lvm_should_have_it_is_refused() {
    let make = create(EXT4, Bytes::gib(1));
    let mut gone = after(std::slice::from_ref(&make));
    gone.image_mut().inside = Inside::Lv { there: false };
    tell("i2-stage-without-its-logical-volume", &stage(EXT4), &gone);
    let mut lost = World::on_lvm();
    lost.pool.group = lost.pool.group.map(|group| GroupView { missing: 1, ..group });
    tell("create-while-a-device-is-missing", &make, &lost);
    let mut made = after(std::slice::from_ref(&make));
    made.pool.group = lost.pool.group;
    tell("i1-delete-while-a-device-is-missing", &delete(&made, Erase::No), &made);
}
