//! Making logical volumes: any number in one process. LVM makes each with its tag in one commit of the metadata, so one of our name without our tag was
//! never ours.

use std::path::PathBuf;

use terrace_device_types::lvm::{
    GroupRef, LvKind, LvRef, LvView, LvmTag, NewVolume, VgView, VolumeKind,
};
use terrace_device_types::{
    Access, Bytes, HostState, Latch, StageState, StepDone, Tag, TagReading, Tool,
};

use super::Lvm;
use super::change::selecting;
use super::held::{Held, hold};
use super::remove::refuse_incomplete;
use super::run::{Words, refused, words};
use crate::mkfs::zero_ends;
use crate::tagged::changed;
use crate::tool::{Ended, failure};
use crate::{Deadline, DeviceError};

/// LVM counts in sectors.
const SECTOR: Bytes = Bytes(512);

/// What became of one volume.
pub type Each = Result<StepDone, DeviceError>;

/// What became of each volume, in the order of the request, and the group as it was seen afterwards.
#[derive(Debug)]
pub struct Created {
    /// One for each.
    pub each: Vec<Each>,
    /// The group.
    pub group: VgView,
}

impl Lvm {
    /// Makes volumes: one `lvm` for all of them, and one look. Each is active afterwards, and of one that is no copy and was never staged the first and last
    /// MiB are zeros: what a removed volume left there is no signature of the new one.
    ///
    /// # Errors
    /// When the group can't be proven or looked at. What is wrong with one volume is said in [`Created::each`].
    pub fn create_volumes(
        &self,
        group: &GroupRef,
        new: &[NewVolume],
        deadline: Deadline,
    ) -> Result<Created, DeviceError> {
        let held = hold(group)?;
        let commands: Result<Vec<Words>, DeviceError> =
            new.iter().map(|new| lvcreate(&held.name, new)).collect();
        let commands = commands?;
        let ended = match &commands[..] {
            [] => None,
            [one] => Some(self.run(&held.devices, one, deadline)?),
            _several => Some(self.run_batch(&held.devices, &commands, deadline)?),
        };
        let mut seen = self.look(&held, &group.uuid, deadline)?;
        let activated = self.activate_ours(&held, &seen, new, deadline)?;
        if activated.is_some() {
            seen = self.look(&held, &group.uuid, deadline)?;
        }
        let anew = self.make_anew(&held, &seen, new, deadline)?;
        if anew.is_some() {
            seen = self.look(&held, &group.uuid, deadline)?;
        }
        let ended = anew.or(activated).or(ended);
        let many = if new.len() == 1 { Many::One } else { Many::More };
        let each = new.iter().map(|new| self.made(&seen, new, many, ended.as_ref())).collect();
        Ok(Created { each, group: seen })
    }

    /// An earlier try may have been killed between making and activating.
    fn activate_ours(
        &self,
        held: &Held,
        seen: &VgView,
        new: &[NewVolume],
        deadline: Deadline,
    ) -> Result<Option<Ended>, DeviceError> {
        let inactive = |new: &&NewVolume| {
            find_ours(seen, new).is_ok_and(|lv| lv.is_some_and(|lv| lv.dev_t.is_none()))
        };
        let names = new.iter().filter(inactive).map(|new| format!("{}/{}", held.name, new.name));
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            return Ok(None);
        }
        self.run(&held.devices, &words("lvchange -qq -K -ay", names), deadline).map(Some)
    }

    /// A thin volume that a killed lvm wrote down and never told the pool of can't be activated: lvm tells the pool with the next volume that it makes. One that
    /// nobody can have written into is removed and made again.
    fn make_anew(
        &self,
        held: &Held,
        seen: &VgView,
        new: &[NewVolume],
        deadline: Deadline,
    ) -> Result<Option<Ended>, DeviceError> {
        let mut last = None;
        for new in new {
            let Ok(Some(lv)) = find_ours(seen, new) else { continue };
            let untouched = matches!(&lv.tag, TagReading::Read(tag) if is_untouched(tag));
            if lv.dev_t.is_some() || lv.kind != LvKind::Thin || !untouched {
                continue;
            }
            refuse_incomplete(seen)?;
            let remove = selecting("lvremove -qq --yes", held, lv);
            self.run(&held.devices, &remove, deadline)?;
            last = Some(self.run(&held.devices, &lvcreate(&held.name, new)?, deadline)?);
        }
        Ok(last)
    }

    fn made(&self, seen: &VgView, new: &NewVolume, many: Many, ended: Option<&Ended>) -> Each {
        let Some(lv) = find_ours(seen, new)? else {
            return Err(match ended {
                // What lvm says of one lack of room names no volume.
                Some(ended) if many == Many::One || lacks_room(seen, &new.kind) => {
                    refused(ended, &seen.name, size_of(&new.kind))
                }
                Some(ended) => failure(Tool::Lvm, ended),
                None => DeviceError::Bug { why: "nothing was asked of lvm" },
            });
        };
        match ended {
            Some(ended) if lv.dev_t.is_none() => return Err(failure(Tool::Lvm, ended)),
            Some(_) | None => expect_as_asked(seen, lv, new)?,
        }
        let NewVolume { name, kind, tag } = new;
        let fresh = match kind {
            VolumeKind::Linear { .. } | VolumeKind::Striped { .. } | VolumeKind::Raid1 { .. } => {
                is_untouched(tag) && matches!(&lv.tag, TagReading::Read(tag) if is_untouched(tag))
            }
            VolumeKind::Thin { .. } | VolumeKind::ThinSnapshot { .. } => false,
        };
        if fresh {
            let open = self.open_exclusively(&seen.uuid, &lv.uuid)?;
            zero_ends(&open.file, &open.path)?;
        }
        let there = format!("\"{name}\" already exists");
        let before = ended.is_none_or(|ended| ended.stderr.contains(&there));
        Ok(if before { StepDone::Already } else { StepDone::Changed })
    }
}

/// How many were asked for at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Many {
    One,
    More,
}

/// Whether what is free now is less than it would take.
fn lacks_room(seen: &VgView, kind: &VolumeKind) -> bool {
    let takes = match kind {
        VolumeKind::Linear { size } | VolumeKind::Striped { size, .. } => size.0,
        VolumeKind::Raid1 { size, mirrors } => size.0.saturating_mul(u64::from(*mirrors) + 1),
        VolumeKind::Thin { .. } | VolumeKind::ThinSnapshot { .. } => 0,
    };
    takes > seen.free.0
}

/// Nobody can have written into it.
fn is_untouched(tag: &Tag) -> bool {
    tag.state == HostState::Creating && tag.stage == StageState::Never && tag.latch == Latch::None
}

const fn size_of(kind: &VolumeKind) -> Bytes {
    match kind {
        VolumeKind::Linear { size }
        | VolumeKind::Striped { size, .. }
        | VolumeKind::Raid1 { size, .. }
        | VolumeKind::Thin { size, .. } => *size,
        VolumeKind::ThinSnapshot { .. } => Bytes::ZERO,
    }
}

/// The volume of that name, if it is ours: whoever else has it, it is not touched.
fn find_ours<'a>(seen: &'a VgView, new: &NewVolume) -> Result<Option<&'a LvView>, DeviceError> {
    let wanted = LvRef { name: new.name.clone(), volume: new.tag.volume };
    find(seen, &wanted)
}

/// The volume of that name with that volume's tag; none, if no volume has the name.
pub(super) fn find<'a>(seen: &'a VgView, lv: &LvRef) -> Result<Option<&'a LvView>, DeviceError> {
    let LvRef { name, volume } = lv;
    let Some(found) = seen.lv(name.as_str()) else { return Ok(None) };
    let path = path_of(seen, found);
    match &found.tag {
        TagReading::Read(tag) if tag.volume == *volume => Ok(Some(found)),
        TagReading::Read(tag) => {
            Err(changed(&path, format!("volume {volume}"), format!("volume {}", tag.volume)))
        }
        TagReading::Absent => {
            Err(changed(&path, format!("volume {volume}"), "a volume without our tag".to_owned()))
        }
        TagReading::Unreadable(source) => {
            Err(DeviceError::Tag { image: path, source: source.clone() })
        }
    }
}

/// Where LVM shows it; for people, never opened.
pub(super) fn path_of(seen: &VgView, lv: &LvView) -> PathBuf {
    PathBuf::from("/dev").join(&seen.name).join(&lv.name)
}

fn expect_as_asked(seen: &VgView, lv: &LvView, new: &NewVolume) -> Result<(), DeviceError> {
    let wanted = match &new.kind {
        VolumeKind::Linear { .. } => LvKind::Linear,
        VolumeKind::Striped { .. } => LvKind::Striped,
        VolumeKind::Raid1 { .. } => LvKind::Raid1,
        VolumeKind::Thin { .. } | VolumeKind::ThinSnapshot { .. } => LvKind::Thin,
    };
    let size = size_of(&new.kind);
    if lv.kind != wanted || lv.size < size || lv.dev_t.is_none() {
        let state = if lv.dev_t.is_some() { "active" } else { "inactive" };
        let found = format!("{:?} of {}, {state}", lv.kind, lv.size);
        return Err(changed(&path_of(seen, lv), format!("{wanted:?} of {size}, active"), found));
    }
    Ok(())
}

/// Nothing is wiped by lvm: it would look for signatures first, and we write zeros where they are.
fn lvcreate(group: &str, new: &NewVolume) -> Result<Words, DeviceError> {
    let NewVolume { name, kind, tag } = new;
    let tag = LvmTag::of_volume(tag)
        .map_err(|_| DeviceError::Bug { why: "a tag longer than LVM keeps" })?;
    let bytes = |size: Bytes| format!("{}b", size.round_up(SECTOR).0);
    let (fixed, at) = match kind {
        VolumeKind::Linear { size } => {
            (format!("--type linear -Wn -Zn -L {}", bytes(*size)), group.to_owned())
        }
        VolumeKind::Striped { size, stripes, piece } => {
            let (size, piece) = (bytes(*size), bytes(*piece));
            (format!("--type striped -Wn -Zn -i {stripes} -I {piece} -L {size}"), group.to_owned())
        }
        VolumeKind::Raid1 { size, mirrors } => {
            let size = bytes(*size);
            (format!("--type raid1 -Wn -Zn -m {mirrors} -L {size}"), group.to_owned())
        }
        VolumeKind::Thin { size, pool } => {
            (format!("--type thin -V {} --thinpool {pool}", bytes(*size)), group.to_owned())
        }
        VolumeKind::ThinSnapshot { of, access } => {
            let permission = match access {
                Access::ReadWrite => "rw",
                Access::ReadOnly => "r",
            };
            (format!("-s -p {permission}"), format!("{group}/{}", of.name))
        }
    };
    let mut command = words(&format!("lvcreate -qq --yes -kn {fixed}"), []);
    command.extend(["--addtag", tag.as_str(), "-n", name.as_str(), &at].map(str::to_owned));
    Ok(command)
}
