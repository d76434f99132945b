//! A group whose devices are held open since their labels were read: for as long as they are, the kernel can't give their numbers to other devices, so
//! the paths that `lvm` is told lead to what was proven.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use terrace_device_types::lvm::{GroupRef, LabelView, PvUuid, VgMark};

use super::label::read_label;
use crate::DeviceError;
use crate::tagged::changed;

/// See above.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) name: String,
    pub(super) devices: Vec<PathBuf>,
    /// For as long as these are open.
    pub(super) _open: Vec<File>,
}

/// A device of the group with its mark, as one look found it.
struct Member {
    path: PathBuf,
    open: File,
    pv: PvUuid,
    mark: VgMark,
}

/// Proves that the devices are that group's. One that is gone is left out; LVM then says what is missing.
pub(super) fn hold(group: &GroupRef) -> Result<Held, DeviceError> {
    let GroupRef { uuid, devices } = group;
    let mut members = Vec::new();
    for device in devices {
        members.extend(member(device, group)?);
    }
    expect_no_duplicate(&members)?;
    let newest = members.iter().map(|member| &member.mark).max_by_key(|mark| mark.seqno);
    let Some(name) = newest.map(|mark| mark.name.clone()) else {
        let path = devices.first().cloned().unwrap_or_default();
        return Err(changed(&path, format!("volume group {uuid}"), "nothing".to_owned()));
    };
    let (paths, open) = members.into_iter().map(|member| (member.path, member.open)).unzip();
    Ok(Held { name, devices: paths, _open: open })
}

fn member(device: &Path, group: &GroupRef) -> Result<Option<Member>, DeviceError> {
    let open = match File::open(device) {
        Err(error) if is_gone(&error) => return Ok(None),
        other => other.map_err(|source| DeviceError::io("open", device, source))?,
    };
    let label = match read_label(&open, device) {
        // Pulled out: nothing can be read, and what is said of it comes from the other devices.
        Err(DeviceError::Io { source, .. }) if is_gone(&source) => return Ok(None),
        other => other?,
    };
    let found = match label {
        Some(LabelView { pv, group: Some(mark) }) if mark.uuid == group.uuid => {
            return Ok(Some(Member { path: device.to_owned(), open, pv, mark }));
        }
        Some(LabelView { pv: _, group: Some(mark) }) => {
            format!("volume group {} ({})", mark.uuid, mark.name)
        }
        Some(LabelView { pv, group: None }) => format!("physical volume {pv} of no group"),
        None => "no physical volume".to_owned(),
    };
    Err(changed(device, format!("volume group {}", group.uuid), found))
}

/// ENOENT: no node. ENXIO, ENODEV: a node without a device. EIO: a device without a disk, or one that can't be read.
fn is_gone(error: &io::Error) -> bool {
    let gone = [libc::ENOENT, libc::ENXIO, libc::ENODEV, libc::EIO];
    error.raw_os_error().is_some_and(|errno| gone.contains(&errno))
}

fn expect_no_duplicate(members: &[Member]) -> Result<(), DeviceError> {
    let mut seen: BTreeMap<&PvUuid, &Path> = BTreeMap::new();
    for Member { path, pv, open: _, mark: _ } in members {
        if let Some(one) = seen.insert(pv, path) {
            let (pv, one, other) = (pv.clone(), one.to_owned(), path.clone());
            return Err(DeviceError::DuplicatePv { pv, one, other });
        }
    }
    Ok(())
}
