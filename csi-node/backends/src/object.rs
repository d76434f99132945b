//! What a host object's bytes are reached by: an image's loop device, or an entry's logical volume. The latter is ours only if LVM keeps this volume's tag with it (I4).

use std::path::{Path, PathBuf};

use terrace_device_types::lvm::{LvObject, LvRef, LvSeen, PARTIAL, VgUuid};
use terrace_device_types::{DeviceRef, Form, Refusal, TagReading, TagRefusal};

use crate::check::OurImage;

/// The logical volume of an entry, with this volume's tag.
#[derive(Clone)]
pub(crate) struct OurLv<'a> {
    pub(crate) group: &'a VgUuid,
    pub(crate) lv: &'a LvObject,
    pub(crate) named: LvRef,
}

/// It, if the entry has one; `None` for what keeps its bytes otherwise, too.
pub(crate) fn find_lv(ours: OurImage<'_>) -> Result<Option<OurLv<'_>>, Refusal> {
    let Form::Lv(seen) = &ours.image.form else { return Ok(None) };
    let LvSeen { group, group_name, lv: Some(lv) } = &**seen else { return Ok(None) };
    let (image, wanted) = (path_of(group_name, lv), ours.tag.volume);
    match &lv.tag {
        TagReading::Read(tag) if tag.volume == wanted && tag.cluster == ours.tag.cluster => {
            let name = lv.name.parse().map_err(|_| TagRefusal::Untagged { image })?;
            Ok(Some(OurLv { group, lv, named: LvRef { name, volume: wanted } }))
        }
        TagReading::Read(tag) if tag.volume != wanted => {
            Err(TagRefusal::OtherVolume { image, found: tag.volume, wanted }.into())
        }
        TagReading::Read(tag) => {
            Err(TagRefusal::OtherCluster { image, cluster: tag.cluster.clone() }.into())
        }
        TagReading::Absent => Err(TagRefusal::Untagged { image }.into()),
        TagReading::Unreadable(why) => {
            Err(TagRefusal::Unreadable { image, why: why.clone() }.into())
        }
    }
}

/// The device that shows the bytes. Whether a loop device is there, its steps find out.
pub(crate) fn device_of(ours: OurImage<'_>) -> Result<DeviceRef, Refusal> {
    let image = ours.image.path.clone();
    let Form::Lv(seen) = &ours.image.form else { return Ok(DeviceRef::LoopOf { image }) };
    let Some(OurLv { group, lv, named: _ }) = find_lv(ours)? else {
        return Err(TagRefusal::NoLogicalVolume { image, group: seen.group_name.clone() }.into());
    };
    let volume = path_of(&seen.group_name, lv);
    match &lv.device {
        None if lv.health.as_deref() == Some(PARTIAL) => Err(TagRefusal::Partial { volume }.into()),
        None => Err(TagRefusal::Inactive { volume }.into()),
        Some(device) if device.suspended => Err(TagRefusal::Suspended { volume }.into()),
        Some(_) => {
            let (group, lv, name) = (group.clone(), lv.uuid.clone(), lv.name.clone());
            Ok(DeviceRef::Lv { group, lv, name })
        }
    }
}

/// As people know it.
fn path_of(group: &str, lv: &LvObject) -> PathBuf {
    Path::new("/dev").join(group).join(&lv.name)
}
