//! The logical volume that holds a pool's folder, and what is done to a group as a whole before the pool is in service.

use terrace_device_types::lvm::{
    FOLDER_LV, FOLDER_SIZE, GroupRef, LvKind, LvRef, LvView, LvmTag, VgView,
};
use terrace_device_types::{Bytes, PoolFile, PoolFileReading, StepDone, TagReading};

use super::create::path_of;
use super::group::pool_tag;
use super::run::words;
use super::status::dm_uuid;
use super::{Looked, Lvm};
use crate::mkfs::zero_ends;
use crate::tagged::changed;
use crate::{Deadline, DeviceError};

impl Lvm {
    /// Makes it with the tag of its group, which must be of that pool. In a group without any volume its first and last MiB are zeros afterwards: what the devices
    /// held in their midst is no signature of it.
    ///
    /// # Errors
    /// When the group is another pool's, or has no room, or a volume of that name is not ours.
    pub fn create_folder(
        &self,
        group: &GroupRef,
        pool: &PoolFile,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let before = self.before(group, deadline)?;
        let path = std::path::Path::new("/dev").join(&before.seen.name);
        if before.seen.pool != PoolFileReading::Read(pool.clone()) {
            let found = format!("{:?}", before.seen.pool);
            return Err(changed(&path, format!("pool {}", pool.pool_uuid), found));
        }
        let tag = pool_tag(pool)?;
        let looked = match find_folder(&before.seen, &tag)? {
            Some(_) => Looked { done: StepDone::Already, group: before.seen.clone() },
            None => {
                let fixed = "lvcreate -qq --yes -kn --type linear -Wn -Zn -L";
                let size = format!("{}b", FOLDER_SIZE.0);
                let others = ["--addtag", tag.as_str(), "-n", FOLDER_LV, &before.held.name];
                let others = [size].into_iter().chain(others.map(str::to_owned));
                let said = |group: &VgView| Ok(find_folder(group, &tag)?.is_some());
                self.carry_out(&before, &words(fixed, others), FOLDER_SIZE, said, deadline)?
            }
        };
        let holds_volumes = looked.group.lvs.iter().any(|lv| lv.tag != TagReading::Absent);
        match find_folder(&looked.group, &tag)? {
            Some(folder) if !holds_volumes => self.blank(&looked.group, folder)?,
            Some(_) | None => {}
        }
        Ok(looked)
    }

    fn blank(&self, seen: &VgView, folder: &LvView) -> Result<(), DeviceError> {
        if self.look_at(&dm_uuid(&seen.uuid, &folder.uuid))?.is_none() {
            // A crash came before it was active. It is by the next step, and then this is done.
            return Ok(());
        }
        let open = self.open_exclusively(&seen.uuid, &folder.uuid)?;
        zero_ends(&open.file, &open.path)
    }

    /// Gives every volume of a group its device, but for those that lie partly on a device that is missing.
    ///
    /// # Errors
    /// When one of ours has none afterwards.
    pub fn activate_group(
        &self,
        group: &GroupRef,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let (_, before) = self.finish_growth(self.before(group, deadline)?, deadline)?;
        let command = words("vgchange -qq --yes -K -ay", [before.held.name.clone()]);
        let active = |group: &VgView| {
            for lv in group.lvs.iter().filter(|lv| lv.tag != TagReading::Absent) {
                if lv.kind != LvKind::ThinPool && lv.dev_t.is_none() && !lv.is_partial() {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        self.carry_out(&before, &command, Bytes::ZERO, active, deadline)
    }

    /// Loads a volume's device anew, as LVM has it written down.
    ///
    /// # Errors
    /// When it is another's, or not active afterwards.
    pub fn refresh_volume(
        &self,
        group: &GroupRef,
        lv: &LvRef,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let before = self.before(group, deadline)?;
        before.expect(lv)?;
        let at = format!("{}/{}", before.held.name, lv.name);
        let command = words("lvchange -qq --yes --refresh", [at]);
        let is_active =
            |group: &VgView| Ok(group.lv(lv.name.as_str()).is_some_and(|lv| lv.dev_t.is_some()));
        self.carry_out(&before, &command, Bytes::ZERO, is_active, deadline)
    }
}

/// The folder's volume with that tag; none, if no volume has the name.
fn find_folder<'a>(seen: &'a VgView, tag: &LvmTag) -> Result<Option<&'a LvView>, DeviceError> {
    let Some(found) = seen.lv(FOLDER_LV) else { return Ok(None) };
    if found.kind == LvKind::Linear && found.tags.iter().any(|other| other == tag.as_str()) {
        return Ok(Some(found));
    }
    let what = format!("{:?} with the tags {:?}", found.kind, found.tags);
    Err(changed(&path_of(seen, found), "a pool's folder with our tag".to_owned(), what))
}
