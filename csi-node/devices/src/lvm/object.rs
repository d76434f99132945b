//! Pools on volume groups and the volumes in them, as a look at a pool or a volume shows them: by mountinfo, /sys, device-mapper and what is known of the group.
//! No command, unless the group has changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use terrace_device_types::lvm::{
    DmTarget, FOLDER_LV, GroupView, LvDevice, LvKind, LvObject, LvSeen, LvView, THIN_LV,
    ThinPoolStatus, ThinRoom, ThinView, VgName, VgUuid, VgView,
};
use terrace_device_types::{Bytes, DevT, PoolUuid, Tag, image_name};

use super::Lvm;
use super::known::last_known;
use super::status::dm_uuid;
use crate::host::{Host, read_text};
use crate::looped::split_dev;
use crate::{Deadline, DeviceError};

/// How long a look at a group may take that has changed.
const LOOK: Duration = Duration::from_secs(30);
const SECTOR: u64 = 512;
/// LVM's own name for what it keeps back for a repair of a thin pool's metadata.
const SPARE_LV: &str = "lvol0_pmspare";
/// LVM's UUIDs in device-mapper.
const PREFIX: &str = "LVM-";
const ID: usize = 32;

/// A pool's group as a look found it.
pub(crate) struct PoolGroup {
    lvm: Lvm,
    pub(crate) seen: std::sync::Arc<VgView>,
}

/// What `/sys` says of a device of device-mapper.
fn dm_of(host: &Host, dev_t: DevT) -> Option<(String, String)> {
    let dir =
        host.sys.join("dev/block").join(format!("{}:{}", dev_t.major, dev_t.minor)).join("dm");
    let text = |name: &str| Some(read_text(&dir.join(name)).ok()?.trim().to_owned());
    Some((text("name")?, text("uuid")?))
}

/// The name that device-mapper has for a volume of LVM's: dashes doubled, one between group and volume.
fn dm_name(group: &str, lv: &str) -> String {
    format!("{}-{}", group.replace('-', "--"), lv.replace('-', "--"))
}

/// The group of a folder that lies on a pool's own logical volume, and the pool that its name says; `None`: it lies elsewhere.
fn group_below(host: &Host, dev_t: DevT) -> Option<(VgUuid, PoolUuid)> {
    let (name, uuid) = dm_of(host, dev_t)?;
    let group = uuid.strip_prefix(PREFIX)?.get(..ID)?.parse().ok()?;
    let folder = format!("-{}", FOLDER_LV.replace('-', "--"));
    let named = name.strip_suffix(&folder)?.replace("--", "-");
    let pool = named.strip_prefix("terrace-")?.parse().ok()?;
    (dm_name(VgName::of_pool(pool).as_str(), FOLDER_LV) == name).then_some((group, pool))
}

/// Whether a device is one of a pool's own: a disk to nobody.
pub(crate) fn is_of_pool(host: &Host, name: &str) -> bool {
    let text = |what: &str| read_text(&host.sys.join("block").join(name).join("dm").join(what));
    let begins = |what: &str, with: &str| text(what).is_ok_and(|text| text.starts_with(with));
    name.starts_with("dm-") && begins("uuid", PREFIX) && begins("name", "terrace--")
}

/// Whether LVM keeps a tag of ours with it.
pub(super) fn is_ours(lv: &LvView) -> bool {
    lv.tags.iter().any(|tag| tag.starts_with("terrace."))
}

/// The group that a pool directory is on, if its volumes are logical volumes.
pub(crate) fn observe_pool_group(
    host: &Host,
    dir: &Path,
) -> Result<Option<PoolGroup>, DeviceError> {
    let Ok(status) = fs::metadata(dir) else { return Ok(None) };
    let Some((group, _pool)) = group_below(host, split_dev(status.dev())) else { return Ok(None) };
    let lvm = Lvm::here(host)?;
    let seen = lvm.group(&group, Deadline::after(LOOK))?;
    Ok(Some(PoolGroup { lvm, seen }))
}

/// What the thin pool of a pool directory has in use at this moment, if there is one. System calls alone: no command, and nothing is read off a disk.
///
/// # Errors
/// When this kernel has no device-mapper, or does not answer.
pub fn observe_thin_use(host: &Host, dir: &Path) -> Result<Option<ThinPoolStatus>, DeviceError> {
    let Ok(status) = fs::metadata(dir) else { return Ok(None) };
    let Some((group, _pool)) = group_below(host, split_dev(status.dev())) else { return Ok(None) };
    Lvm::here(host)?.observe_thin_use(&group)
}

impl PoolGroup {
    /// What the pool's view says of it.
    pub(crate) fn view(&self) -> Result<GroupView, DeviceError> {
        let VgView { uuid, name, size, free, extent, missing, .. } = &*self.seen;
        let thin = self.seen.lv(THIN_LV).filter(|lv| lv.kind == LvKind::ThinPool);
        Ok(GroupView {
            uuid: uuid.clone(),
            name: name.clone(),
            size: *size,
            free: *free,
            extent: *extent,
            missing: *missing,
            thin: thin.map(|pool| self.thin(pool)).transpose()?,
        })
    }

    fn thin(&self, pool: &LvView) -> Result<ThinView, DeviceError> {
        let status = self.lvm.observe_status(&self.seen.uuid, &pool.uuid, &pool.kind)?;
        let status = status.and_then(|status| match status.targets.first() {
            Some(DmTarget::ThinPool(status)) => Some(*status),
            Some(_) | None => None,
        });
        let of_pool = self.seen.lvs.iter().filter(|lv| lv.pool.as_deref() == Some(&pool.name));
        let promised = of_pool.fold(0u64, |sum, lv| sum.saturating_add(lv.size.0));
        Ok(ThinView {
            size: pool.size,
            metadata_size: pool.metadata_size.unwrap_or_default(),
            spare: self.seen.lv(SPARE_LV).map_or(Bytes::ZERO, |spare| spare.size),
            chunk: pool.chunk.unwrap_or_default(),
            transaction: pool.transaction,
            promised: Bytes(promised),
            status,
        })
    }

    /// What a pool of it has for volumes, and what of that is free: on a thin pool, what the group could give to data.
    pub(crate) fn room(&self) -> Result<(Bytes, Bytes), DeviceError> {
        let group = self.view()?;
        if let Some(thin) = &group.thin {
            let all = ThinRoom::of(&group, thin).most().data;
            let used = thin.status.map_or(all.0, |s| s.data.used.saturating_mul(thin.chunk.0));
            return Ok((all, all.minus(Bytes(used))));
        }
        let folder = self.seen.lv(FOLDER_LV).map_or(Bytes::ZERO, |lv| lv.size);
        Ok((self.seen.size.minus(folder), self.seen.free))
    }

    /// The logical volume of an entry. Its name is that of the tag, whatever the entry is called by now.
    pub(crate) fn of_entry(&self, entry: &Path, tag: Option<&Tag>) -> Result<LvSeen, DeviceError> {
        let named = entry.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = tag.map(|tag| image_name(tag.object, tag.volume)).or(named).unwrap_or_default();
        let lv = self.seen.lv(&name).map(|lv| self.object(lv)).transpose()?;
        Ok(self.shown(lv))
    }

    /// Logical volumes with a name as ours have, other than those of that name.
    pub(crate) fn without_entry(
        &self,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Vec<LvSeen>, DeviceError> {
        let ours = |lv: &&LvView| ["t-", "s-"].iter().any(|prefix| lv.name.starts_with(prefix));
        let strays = self.seen.lvs.iter().filter(ours).filter(|lv| !is_known(&lv.name));
        let shown = strays.map(|lv| Ok(self.shown(Some(self.object(lv)?))));
        shown.collect()
    }

    fn shown(&self, lv: Option<LvObject>) -> LvSeen {
        LvSeen { group: self.seen.uuid.clone(), group_name: self.seen.name.clone(), lv }
    }

    fn object(&self, lv: &LvView) -> Result<LvObject, DeviceError> {
        Ok(LvObject {
            uuid: lv.uuid.clone(),
            name: lv.name.clone(),
            size: lv.size,
            kind: lv.kind.clone(),
            tag: lv.tag.clone(),
            health: lv.health.clone(),
            device: self.lvm.observe_device(&self.seen.uuid, lv)?,
        })
    }
}

impl Lvm {
    /// Of the group's one thin pool, by what was last known of the group: its UUID does not change.
    fn observe_thin_use(&self, group: &VgUuid) -> Result<Option<ThinPoolStatus>, DeviceError> {
        let Some(seen) = last_known(group) else { return Ok(None) };
        let Some(pool) = seen.lv(THIN_LV).filter(|lv| lv.kind == LvKind::ThinPool) else {
            return Ok(None);
        };
        let status = self.observe_status(group, &pool.uuid, &pool.kind)?;
        Ok(status.and_then(|status| match status.targets.first() {
            Some(DmTarget::ThinPool(status)) => Some(*status),
            Some(_) | None => None,
        }))
    }

    /// The device of a volume, if it is active.
    pub(super) fn observe_device(
        &self,
        group: &VgUuid,
        lv: &LvView,
    ) -> Result<Option<LvDevice>, DeviceError> {
        let Some(device) = self.look_at(&dm_uuid(group, &lv.uuid))? else { return Ok(None) };
        let mapped = match lv.kind {
            LvKind::Thin => self.observe_status(group, &lv.uuid, &lv.kind)?.and_then(|status| {
                match status.targets.first() {
                    Some(DmTarget::Thin { mapped }) => *mapped,
                    Some(_) | None => None,
                }
            }),
            LvKind::Linear
            | LvKind::Striped
            | LvKind::Raid1
            | LvKind::ThinPool
            | LvKind::Other { .. } => None,
        };
        let name = format!("dm-{}", device.dev_t.minor);
        let size = self.host.sys.join("block").join(&name).join("size");
        // Gone since: then it has none.
        let sectors = read_text(&size).ok().and_then(|text| text.trim().parse::<u64>().ok());
        Ok(sectors.map(|sectors| LvDevice {
            path: self.host.dev.join(&name),
            dev_t: device.dev_t,
            size: Bytes(sectors.saturating_mul(SECTOR)),
            open: device.open,
            suspended: device.suspended,
            read_only: device.read_only || self.is_read_only(&name),
            mapped,
        }))
    }

    fn is_read_only(&self, name: &str) -> bool {
        let path = self.host.sys.join("block").join(name).join("ro");
        read_text(&path).is_ok_and(|text| text.trim() == "1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pools_folder_is_told_by_its_devices_name_and_uuid() {
        let scratch = tempfile::tempdir().unwrap();
        let host = Host::fixture(scratch.path());
        let pool: PoolUuid = "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10".parse().unwrap();
        let group: VgUuid = "7NiBDF-JPUK-Ubdd-Xuik-sxcc-9BUG-2QfA7B".parse().unwrap();
        let lv = "a".repeat(ID);
        let ours = format!("terrace--{}-terrace--folder", pool.to_string().replace('-', "--"));
        let write = |minor: u32, name: &str, uuid: &str| {
            let dir = host.sys.join(format!("dev/block/254:{minor}/dm"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("name"), format!("{name}\n")).unwrap();
            fs::write(dir.join("uuid"), format!("{uuid}\n")).unwrap();
        };
        write(0, &ours, &format!("LVM-{}{lv}", group.compact()));
        write(1, &ours, "CRYPT-LUKS2-x");
        write(2, "system-root", &format!("LVM-{}{lv}", group.compact()));
        let below = |minor| group_below(&host, DevT { major: 254, minor });
        assert_eq!(below(0), Some((group, pool)));
        assert_eq!([below(1), below(2), below(3)], [None, None, None]);
    }
}
