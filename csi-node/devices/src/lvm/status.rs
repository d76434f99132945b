//! What device-mapper says of a logical volume, without a command and without a write.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use terrace_device_types::lvm::{
    DmStatus, DmTarget, LvKind, LvUuid, LvView, PoolMode, RaidLeg, RaidStatus, ThinPoolStatus,
    Used, VgUuid, VgView,
};
use terrace_device_types::{Bytes, DevT};

use super::Lvm;
use super::create::path_of;
use crate::DeviceError;
use crate::deadline::settle;
use crate::kernel::dm::{self, Named};
use crate::looped::split_dev;
use crate::tagged::changed;

/// A volume's device, held open.
pub(crate) struct OpenLv {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

/// The UUID that LVM gives a volume's device.
pub(super) fn dm_uuid(group: &VgUuid, lv: &LvUuid) -> String {
    format!("LVM-{}{}", group.compact(), lv.compact())
}

impl Lvm {
    pub(super) fn control(&self) -> Result<File, DeviceError> {
        dm::control(&self.host.dev).map_err(|source| self.fail("open", source))
    }

    pub(super) fn fail(&self, doing: &'static str, source: io::Error) -> DeviceError {
        DeviceError::io(doing, &self.host.dev.join("mapper/control"), source)
    }

    /// How a volume or a thin pool is at this moment; none, if it is not active. Two system calls: no command, no write.
    ///
    /// # Errors
    /// When this kernel has no device-mapper, or does not answer.
    pub fn observe_status(
        &self,
        group: &VgUuid,
        lv: &LvUuid,
        kind: &LvKind,
    ) -> Result<Option<DmStatus>, DeviceError> {
        let mut uuid = dm_uuid(group, lv);
        match kind {
            // The pool itself stands below the device that has its name.
            LvKind::ThinPool => uuid.push_str("-tpool"),
            LvKind::Linear
            | LvKind::Striped
            | LvKind::Raid1
            | LvKind::Thin
            | LvKind::Other { .. } => {}
        }
        let answered = dm::targets(&self.control()?, Named::Uuid(&uuid));
        let answered = answered.map_err(|source| self.fail("ask for a status by", source))?;
        Ok(answered.map(|(device, targets)| {
            let dm::Device { dev_t, name, uuid, open, suspended, prepared: _, read_only, event } =
                device;
            let targets = targets.iter().map(parse_target).collect();
            DmStatus { dev_t, name, uuid, open, suspended, read_only, event, targets }
        }))
    }

    /// A device without its targets; none, if there is none.
    pub(super) fn look_at(&self, uuid: &str) -> Result<Option<dm::Device>, DeviceError> {
        let looked = dm::look(&self.control()?, Named::Uuid(uuid));
        looked.map_err(|source| self.fail("look at a device by", source))
    }

    /// Fails if anybody has the volume open. One that is not active nobody has.
    pub(super) fn refuse_if_open(&self, seen: &VgView, lv: &LvView) -> Result<(), DeviceError> {
        let uuid = dm_uuid(&seen.uuid, &lv.uuid);
        let free = settle(|| Ok(self.look_at(&uuid)?.is_none_or(|device| device.open == 0)))?;
        let path = path_of(seen, lv);
        if free { Ok(()) } else { Err(DeviceError::Busy { path, by: "it is open or mounted" }) }
    }

    /// Opens an active volume's device for writing and alone.
    pub(super) fn open_exclusively(
        &self,
        group: &VgUuid,
        lv: &LvUuid,
    ) -> Result<OpenLv, DeviceError> {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_EXCL | libc::O_CLOEXEC);
        self.open_by(group, lv, &options)
    }

    /// Opens an active volume's device beside whoever has it open.
    pub(crate) fn open_held(&self, group: &VgUuid, lv: &LvUuid) -> Result<OpenLv, DeviceError> {
        self.open_by(group, lv, File::options().read(true))
    }

    /// As [`Self::open_held`]; `None`, if it is not active.
    pub(crate) fn find_held(
        &self,
        group: &VgUuid,
        lv: &LvUuid,
    ) -> Result<Option<OpenLv>, DeviceError> {
        match self.look_at(&dm_uuid(group, lv))? {
            Some(_) => self.open_held(group, lv).map(Some),
            None => Ok(None),
        }
    }

    /// While it is open its number can't become another's, so its UUID is read again through the number.
    fn open_by(
        &self,
        group: &VgUuid,
        lv: &LvUuid,
        options: &fs::OpenOptions,
    ) -> Result<OpenLv, DeviceError> {
        let uuid = dm_uuid(group, lv);
        let gone = |path: &PathBuf| changed(path, format!("device {uuid}"), "another".to_owned());
        let Some(device) = self.look_at(&uuid)? else {
            return Err(gone(&self.host.dev.join("mapper")));
        };
        let DevT { major: _, minor } = device.dev_t;
        let path = self.host.dev.join(format!("dm-{minor}"));
        let file = options.open(&path).map_err(|source| DeviceError::io("open", &path, source))?;
        let status = file.metadata().map_err(|source| DeviceError::io("stat", &path, source))?;
        let now = dm::look(&self.control()?, Named::Dev(split_dev(status.rdev())))
            .map_err(|source| self.fail("look at a device by", source))?;
        if now.is_some_and(|now| now.uuid == uuid) {
            Ok(OpenLv { file, path })
        } else {
            Err(gone(&path))
        }
    }
}

fn parse_target(target: &dm::Target) -> DmTarget {
    let dm::Target { kind, text } = target;
    let words: Vec<&str> = text.split_whitespace().collect();
    let parsed = match kind.as_str() {
        "linear" => Some(DmTarget::Linear),
        "striped" => Some(DmTarget::Striped),
        "error" => Some(DmTarget::Error),
        "raid" => parse_raid(&words).map(DmTarget::Raid),
        "thin-pool" => parse_thin_pool(&words).map(DmTarget::ThinPool),
        "thin" => parse_thin(&words),
        _another => None,
    };
    parsed.unwrap_or_else(|| DmTarget::Other { kind: kind.clone(), status: text.clone() })
}

fn used(text: &str) -> Option<Used> {
    let (used, total) = text.split_once('/')?;
    Some(Used { used: used.parse().ok()?, total: total.parse().ok()? })
}

/// `raid1 2 Aa 100/200 resync 0 0 -`.
fn parse_raid(words: &[&str]) -> Option<RaidStatus> {
    let [_level, _legs, health, synced, action, ..] = words else { return None };
    let leg = |c| match c {
        'A' => Some(RaidLeg::Whole),
        'a' => Some(RaidLeg::Behind),
        'D' => Some(RaidLeg::Failed),
        _another => None,
    };
    let legs: Option<Vec<RaidLeg>> = health.chars().map(leg).collect();
    Some(RaidStatus { legs: legs?, synced: used(synced)?, action: (*action).to_owned() })
}

/// `2 317/3072 0/3200 - rw no_discard_passdown error_if_no_space - 768`, or `Fail`, or `Error`.
fn parse_thin_pool(words: &[&str]) -> Option<ThinPoolStatus> {
    if let ["Fail" | "Error", ..] = words {
        let nothing = Used { used: 0, total: 0 };
        return Some(ThinPoolStatus {
            mode: PoolMode::Failed,
            transaction: 0,
            metadata: nothing,
            data: nothing,
            needs_check: true,
            fails_when_full: true,
        });
    }
    let [transaction, metadata, data, _held, mode, _discard, full, rest @ ..] = words else {
        return None;
    };
    Some(ThinPoolStatus {
        mode: match *mode {
            "rw" => PoolMode::Writable,
            "ro" => PoolMode::ReadOnly,
            "out_of_data_space" => PoolMode::OutOfData,
            _another => return None,
        },
        transaction: transaction.parse().ok()?,
        metadata: used(metadata)?,
        data: used(data)?,
        needs_check: rest.first() == Some(&"needs_check"),
        fails_when_full: *full == "error_if_no_space",
    })
}

/// Sectors that it holds, then the last of them; or `Fail`.
fn parse_thin(words: &[&str]) -> Option<DmTarget> {
    match words {
        ["Fail" | "Error", ..] => Some(DmTarget::Thin { mapped: None }),
        [mapped, ..] => {
            let sectors: u64 = mapped.parse().ok()?;
            Some(DmTarget::Thin { mapped: Some(Bytes(sectors.checked_mul(512)?)) })
        }
        [] => None,
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
