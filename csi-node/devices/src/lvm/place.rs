//! The devices that a pool names, looked at for a volume group: what is on them, whether they are the pool's group by now, and how far its making has come.

use terrace_device_types::lvm::{
    FOLDER_LV, FolderView, GroupDevice, GroupPlace, LabelView, LvKind, LvScope, LvView, VgName,
    VgUuid, VgView,
};
use terrace_device_types::{DeviceView, PoolUuid, Signature, Wipe};

use super::object::is_ours;
use super::status::dm_uuid;
use super::thin_growth::is_gain;
use super::{Lvm, observe_labels};
use crate::block::probe_device;
use crate::host::Host;
use crate::signature::probe_signature;
use crate::{Deadline, DeviceError};

/// Looks at them. Of devices that are the pool's group already no command asks anything, unless the group has changed.
///
/// # Errors
/// When the host can't be read.
pub fn observe_place(
    host: &Host,
    devices: Vec<(DeviceView, Wipe)>,
    pool: PoolUuid,
    deadline: Deadline,
) -> Result<GroupPlace, DeviceError> {
    let lvm = Lvm::here(host)?;
    let name = VgName::of_pool(pool);
    let mut seen = Vec::new();
    for (device, wipe) in devices {
        let labels = observe_labels(std::slice::from_ref(&device.path));
        let label = labels.into_iter().next().map_or(Ok(None), |(_, label)| label)?;
        let device = match group_named(label.as_ref(), &name) {
            Some(_) => device,
            None => probe_device(host, device, deadline)?,
        };
        seen.push(GroupDevice { device, wipe, label });
    }
    let group = seen.iter().find_map(|device| group_named(device.label.as_ref(), &name)).cloned();
    let Some(group) = group else {
        let (group, folder, inactive) = (None, None, Vec::new());
        return Ok(GroupPlace { devices: seen, group, folder, inactive, leftovers: 0 });
    };
    lvm.observe_made(seen, &group, deadline)
}

fn group_named<'a>(label: Option<&'a LabelView>, name: &VgName) -> Option<&'a VgUuid> {
    let mark = label?.group.as_ref()?;
    (mark.name == name.as_str()).then_some(&mark.uuid)
}

impl Lvm {
    fn observe_made(
        &self,
        devices: Vec<GroupDevice>,
        group: &VgUuid,
        deadline: Deadline,
    ) -> Result<GroupPlace, DeviceError> {
        let members = self.members(group)?;
        let known = self.group(group, deadline)?;
        let there = known.pvs.iter().filter(|pv| !pv.missing).count();
        // A device that came back changes no number.
        let seen = if there == members.devices.len() {
            VgView::clone(&known)
        } else {
            self.observe_group(&members, deadline)?
        };
        let mut inactive = Vec::new();
        let can_be =
            |lv: &&LvView| stands_alone(lv) && is_ours(lv) && !lv.is_partial() && !is_gain(lv);
        for lv in seen.lvs.iter().filter(can_be) {
            let layer = if lv.kind == LvKind::ThinPool { "-tpool" } else { "" };
            if self.look_at(&format!("{}{layer}", dm_uuid(group, &lv.uuid)))?.is_none() {
                inactive.push(lv.name.clone());
            }
        }
        let leftovers = self.observe_leftovers(&seen)?.len();
        let folder = seen.lv(FOLDER_LV).filter(|lv| is_ours(lv) && lv.kind == LvKind::Linear);
        let folder = folder.map(|lv| self.observe_folder(group, lv, deadline)).transpose()?;
        Ok(GroupPlace { devices, group: Some(seen), folder, inactive, leftovers })
    }

    /// What is in use needs no second look at what is on it.
    fn observe_folder(
        &self,
        group: &VgUuid,
        lv: &LvView,
        deadline: Deadline,
    ) -> Result<FolderView, DeviceError> {
        let device = self.observe_device(group, lv)?;
        let idle = device.as_ref().filter(|device| device.open == 0 && !device.suspended);
        let signature = match idle {
            Some(device) => probe_signature(&device.path, deadline)?,
            None => Signature::NotProbed,
        };
        Ok(FolderView { uuid: lv.uuid.clone(), device, signature })
    }
}

fn stands_alone(lv: &LvView) -> bool {
    lv.scope == LvScope::Public || lv.kind == LvKind::ThinPool
}
