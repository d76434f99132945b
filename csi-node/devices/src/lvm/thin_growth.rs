//! Lengthening a thin pool. While lvm lengthens one, the longer parts are in force before the group's metadata says so, and the kernel at once counts on them: it
//! writes down how long they are, and puts a part of its own metadata there. Killed in between, or at a power loss, lvm would say that the pool is shorter than
//! the pool knows itself to be, and nobody could start it again.
//!
//! So what the pool will gain is written down first: a volume takes the extents, a tag of the pool names them, and only then the pool becomes longer, by these
//! very extents. Whoever finds the tag ends that growth before lvm does anything else to the pool.

use std::path::Path;

use serde::{Deserialize, Serialize};
use terrace_device_types::lvm::{GroupRef, LvKind, LvName, LvView, LvmTag, PoolSize, VgView};
use terrace_device_types::{Bytes, StepDone};

use super::change::{Before, selecting};
use super::create::path_of;
use super::object::is_ours;
use super::remove::refuse_incomplete;
use super::run::{Words, refused, words};
use super::thin_pool::{find_pool, tag_of};
use super::{Looked, Lvm};
use crate::tagged::changed;
use crate::{Deadline, DeviceError};

/// Has the extents until they are the pool's.
const GAIN_LV: &str = "terrace-gain";

/// Which of a pool's two volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    Data,
    Metadata,
}

impl Part {
    fn of(self, pool: &LvView) -> Bytes {
        match self {
            Self::Data => pool.size,
            Self::Metadata => pool.metadata_size.unwrap_or_default(),
        }
    }

    const fn option(self) -> &'static str {
        match self {
            Self::Data => "-L",
            Self::Metadata => "--poolmetadatasize",
        }
    }
}

/// What a pool is about to gain, as its tag has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Gain {
    part: Part,
    to: u64,
    /// On which physical volume, and its extents: `<first>-<last>`.
    on: Vec<(String, String)>,
}

impl Gain {
    fn tag(&self) -> Result<LvmTag, DeviceError> {
        let text = serde_json::to_string(self)
            .map_err(|_| DeviceError::Bug { why: "a growth that can't be written" })?;
        LvmTag::of_gain(&text)
            .map_err(|_| DeviceError::Bug { why: "free extents in more pieces than a tag names" })
    }

    /// None: the pool is not growing.
    fn read(seen: &VgView, pool: &LvView) -> Result<Option<Self>, DeviceError> {
        let Some(text) = LvmTag::read_gain(&pool.tags) else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            let text = format!("{}: {error}", String::from_utf8_lossy(&text));
            DeviceError::Parse { path: path_of(seen, pool), text }
        })
    }

    fn is_had(&self, pool: &LvView) -> bool {
        self.part.of(pool).0 >= self.to
    }

    fn lvextend(&self, seen: &VgView, pool: &LvView) -> Result<Words, DeviceError> {
        let at = format!("{}/{}", seen.name, pool.name);
        let size = format!("{}b", self.to);
        let mut words = words("lvextend -qq --yes", [self.part.option().to_owned(), size, at]);
        for (pv, extents) in &self.on {
            let there = seen.pvs.iter().find(|there| there.uuid.to_string() == *pv);
            let device = there.and_then(|there| there.device.as_ref()).ok_or_else(|| {
                let path = path_of(seen, pool);
                changed(&path, format!("physical volume {pv}"), "none such".to_owned())
            })?;
            words.push(format!("{}:{extents}", device.display()));
        }
        Ok(words)
    }
}

/// Whether a growth of a thin pool was begun and is not at its end.
pub(super) fn is_growing(seen: &VgView) -> bool {
    let grows = |lv: &LvView| LvmTag::read_gain(&lv.tags).is_some();
    seen.lvs.iter().any(|lv| is_gain(lv) || grows(lv))
}

/// Whether a volume is what a pool is about to gain: nobody reads or writes it.
pub(super) fn is_gain(lv: &LvView) -> bool {
    lv.name == GAIN_LV && is_ours(lv)
}

impl Lvm {
    /// Lengthens a thin pool's data, its metadata, or both; what is as long already stays.
    ///
    /// # Errors
    /// [`DeviceError::NoSpace`] when the group has not as much.
    pub fn extend_thin_pool(
        &self,
        group: &GroupRef,
        name: &LvName,
        to: PoolSize,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let (mut done, mut before) = self.finish_growth(self.before(group, deadline)?, deadline)?;
        let PoolSize { data, metadata } = to;
        for (part, to) in [(Part::Data, data), (Part::Metadata, metadata)] {
            let to = to.round_up(before.seen.extent);
            if part.of(expect_pool(&before, name)?) < to {
                before = self.write_down(before, name, part, to, deadline)?;
                before = self.finish_growth(before, deadline)?.1;
                done = StepDone::Changed;
            }
        }
        Ok(Looked { done, group: before.seen })
    }

    /// Takes the extents, and has the pool's tag name them.
    fn write_down(
        &self,
        before: Before,
        name: &LvName,
        part: Part,
        to: Bytes,
        deadline: Deadline,
    ) -> Result<Before, DeviceError> {
        refuse_incomplete(&before.seen)?;
        let tag = tag_of(&before)?;
        let more = to.minus(part.of(expect_pool(&before, name)?));
        let size = [format!("{}b", more.0), before.held.name.clone()];
        let fixed = format!(
            "lvcreate -qq --yes -an -kn --type linear -Wn -Zn -n {GAIN_LV} --addtag {tag} -L"
        );
        let taken = |seen: &VgView| Ok(seen.lvs.iter().any(is_gain));
        let looked = self.carry_out(&before, &words(&fixed, size), more, taken, deadline)?;
        let before = Before { seen: looked.group, ..before };
        let on = self.extents(&before, deadline)?;
        let pool = expect_pool(&before, name)?;
        let gain = Gain { part, to: to.0, on };
        let fixed = format!("lvchange -qq --yes --addtag {}", gain.tag()?);
        let named = |seen: &VgView| Ok(is_named(seen, name));
        let command = selecting(&fixed, &before.held, pool);
        let looked = self.carry_out(&before, &command, Bytes::ZERO, named, deadline)?;
        Ok(Before { seen: looked.group, ..before })
    }

    fn extents(
        &self,
        before: &Before,
        deadline: Deadline,
    ) -> Result<Vec<(String, String)>, DeviceError> {
        let Some(taken) = before.seen.lvs.iter().find(|lv| is_gain(lv)) else {
            return Err(DeviceError::Bug { why: "extents of a volume that was not made" });
        };
        let pv_of = |range: &String| {
            let (device, extents) = range.rsplit_once(':')?;
            let mut pvs = before.seen.pvs.iter();
            let pv = pvs.find(|pv| pv.device.as_deref() == Some(Path::new(device)))?;
            Some((pv.uuid.to_string(), extents.to_owned()))
        };
        let on: Option<Vec<_>> = self.ranges(before, taken, deadline)?.iter().map(pv_of).collect();
        on.ok_or(DeviceError::Bug { why: "extents on a device that is not of the group" })
    }

    /// Ends a growth that was begun, if any; what was taken for one that no tag names is given back.
    pub(super) fn finish_growth(
        &self,
        before: Before,
        deadline: Deadline,
    ) -> Result<(StepDone, Before), DeviceError> {
        let lvs = &before.seen.lvs;
        let mut pools = lvs.iter().filter(|lv| lv.kind == LvKind::ThinPool && is_ours(lv));
        let growing = pools.find(|pool| LvmTag::read_gain(&pool.tags).is_some()).cloned();
        let taken = lvs.iter().find(|lv| is_gain(lv)).cloned();
        let before = match (growing, taken) {
            (None, None) => return Ok((StepDone::Already, before)),
            (None, Some(taken)) => {
                let looked = self.remove_this(&before, &taken, deadline)?;
                Before { seen: looked.group, ..before }
            }
            (Some(pool), taken) => self.carry_growth(before, &pool, taken.as_ref(), deadline)?,
        };
        Ok((StepDone::Changed, before))
    }

    fn carry_growth(
        &self,
        before: Before,
        pool: &LvView,
        taken: Option<&LvView>,
        deadline: Deadline,
    ) -> Result<Before, DeviceError> {
        refuse_incomplete(&before.seen)?;
        let Before { held, seen } = before;
        let Some(gain) = Gain::read(&seen, pool)? else {
            return Err(DeviceError::Bug { why: "a growth without its tag" });
        };
        let mut commands = Vec::new();
        // Lvm's shell takes no quotes; nobody else has the UUID.
        let select = |lv: &LvView| ["--select".to_owned(), format!("lv_uuid={}", lv.uuid)];
        commands.extend(taken.map(|taken| {
            words("lvremove -qq --yes", select(taken).into_iter().chain([held.name.clone()]))
        }));
        if !gain.is_had(pool) {
            commands.push(gain.lvextend(&seen, pool)?);
        }
        let ended = match &commands[..] {
            [] => None,
            some => Some(self.run_all(&held.devices, some, deadline)?),
        };
        let seen = match &ended {
            None => seen,
            Some(_) => self.look(&held, &seen.uuid, deadline)?,
        };
        let now = seen.lvs.iter().find(|lv| lv.uuid == pool.uuid);
        let Some(now) = now.filter(|now| gain.is_had(now)) else {
            let why = DeviceError::Bug { why: "a pool that has its gain is shorter than it" };
            return Err(ended.map_or(why, |ended| refused(&ended, &seen.name, Bytes::ZERO)));
        };
        let fixed = format!("lvchange -qq --yes --deltag {}", gain.tag()?);
        let command = selecting(&fixed, &held, now);
        let over = |seen: &VgView| Ok(!is_growing(seen));
        let before = Before { held, seen };
        let looked = self.carry_out(&before, &command, Bytes::ZERO, over, deadline)?;
        Ok(Before { seen: looked.group, ..before })
    }
}

fn is_named(seen: &VgView, pool: &LvName) -> bool {
    seen.lv(pool.as_str()).is_some_and(|pool| LvmTag::read_gain(&pool.tags).is_some())
}

fn expect_pool<'a>(before: &'a Before, name: &LvName) -> Result<&'a LvView, DeviceError> {
    let tag = tag_of(before)?;
    find_pool(&before.seen, name, &tag)?.ok_or_else(|| {
        let path = Path::new("/dev").join(&before.seen.name).join(name.as_str());
        changed(&path, "a thin pool".to_owned(), "nothing".to_owned())
    })
}
