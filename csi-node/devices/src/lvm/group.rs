//! Volume groups: looking at one, making one on blank devices, adding blank devices to one. A group is never removed here, nor a device taken out of one.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use terrace_device_types::lvm::{GroupRef, LabelView, LvmTag, NewGroup, NewPv, VgUuid, VgView};
use terrace_device_types::{
    Bytes, DeviceUse, PoolFile, PoolFileReading, Signature, StepDone, Tool,
};

use super::held::{Held, hold};
use super::known::remember;
use super::label::read_label;
use super::report::{FIELDS, parse_report};
use super::run::{Words, refused, words};
use super::{Looked, Lvm};
use crate::block::{observe_devices, probe_device};
use crate::looped::{is_unclaimed, split_dev};
use crate::tagged::changed;
use crate::tool::failure;
use crate::{Deadline, DeviceError};

/// Room for the metadata of several thousand volumes with tags; LVM's own default holds some hundreds.
const METADATA: &str = "16m";

/// What a group gives out at a time: volumes are whole MiB, and none of them gets more than it was promised.
const EXTENT: &str = "1m";

/// What a device that is named for a group is by now.
enum Standing {
    /// Blank, and nobody's.
    Blank,
    /// Given its UUID by us, and part of no group yet.
    Prepared,
    /// Part of a group.
    Member(VgUuid),
}

impl Lvm {
    /// A group as it is: one command. Nothing is changed.
    ///
    /// # Errors
    /// When a device is another group's ([`DeviceError::Changed`]), none of them is there, or two are the same physical volume.
    pub fn observe_group(
        &self,
        group: &GroupRef,
        deadline: Deadline,
    ) -> Result<VgView, DeviceError> {
        self.look(&hold(group)?, &group.uuid, deadline)
    }

    /// The report of a held group.
    pub(super) fn look(
        &self,
        held: &Held,
        uuid: &VgUuid,
        deadline: Deadline,
    ) -> Result<VgView, DeviceError> {
        let fixed = "fullreport --all --units b --nosuffix --reportformat json";
        let mut command = words(fixed, []);
        for (report, fields) in FIELDS {
            command.extend(["--configreport", report, "-o", fields].map(str::to_owned));
        }
        command.push(held.name.clone());
        let ended = self.run(&held.devices, &command, deadline)?;
        let groups = match parse_report(&ended.stdout) {
            Ok(groups) => groups,
            Err(_) if !ended.status.success() => return Err(failure(Tool::Lvm, &ended)),
            Err(error) => return Err(error),
        };
        let Some(seen) = groups.into_iter().find(|group| group.uuid == *uuid) else {
            let path = PathBuf::from("/dev").join(&held.name);
            let found = "another group of that name".to_owned();
            return Err(changed(&path, format!("volume group {uuid}"), found));
        };
        remember(&seen);
        Ok(seen)
    }

    /// Makes a group on devices that are proven blank, or that an earlier try left half made, which their UUIDs tell.
    ///
    /// # Errors
    /// When a device is not blank, is in use, or is another's; nothing was written then.
    pub fn make_group(&self, new: &NewGroup, deadline: Deadline) -> Result<Looked, DeviceError> {
        let NewGroup { name, pool, devices } = new;
        let (mut commands, mut found) = (Vec::new(), None);
        for device in devices {
            match self.standing(device, deadline)? {
                Standing::Blank => commands.push(pvcreate(device)?),
                Standing::Prepared => {}
                Standing::Member(uuid) => found = Some(uuid),
            }
        }
        if let Some(uuid) = found {
            return self.finish_group(new, uuid, deadline);
        }
        let tag = pool_tag(pool)?;
        let fixed = format!("vgcreate -qq --setautoactivation n -s {EXTENT} --addtag");
        let paths = paths_of(devices)?;
        commands.push(words(&fixed, [tag.to_string(), name.to_string()].into_iter().chain(paths)));
        let places: Vec<PathBuf> = devices.iter().map(|device| device.path.clone()).collect();
        let ended = self.run_all(&places, &commands, deadline)?;
        match self.first_group(&places)? {
            Some(uuid) => {
                let group = self.expect_group(new, uuid, deadline)?;
                Ok(Looked { done: StepDone::Changed, group })
            }
            None => Err(failure(Tool::Lvm, &ended)),
        }
    }

    /// A group that is there already: ours of before, perhaps not yet written to each of its devices.
    fn finish_group(
        &self,
        new: &NewGroup,
        uuid: VgUuid,
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let places: Vec<PathBuf> = new.devices.iter().map(|device| device.path.clone()).collect();
        if let Ok(group) = self.expect_group(new, uuid.clone(), deadline) {
            return Ok(Looked { done: StepDone::Already, group });
        }
        let ended = self.run(
            &places,
            &words("vgck -qq --updatemetadata", [new.name.to_string()]),
            deadline,
        )?;
        let group = self.expect_group(new, uuid, deadline);
        match group {
            Ok(group) => Ok(Looked { done: StepDone::Changed, group }),
            Err(_) if !ended.status.success() => Err(failure(Tool::Lvm, &ended)),
            Err(error) => Err(error),
        }
    }

    /// The group as it was asked for: name, pool, and each device a part of it.
    fn expect_group(
        &self,
        new: &NewGroup,
        uuid: VgUuid,
        deadline: Deadline,
    ) -> Result<VgView, DeviceError> {
        let NewGroup { name, pool, devices } = new;
        let places = devices.iter().map(|device| device.path.clone()).collect();
        let seen = self.observe_group(&GroupRef { uuid, devices: places }, deadline)?;
        let path = PathBuf::from("/dev").join(&seen.name);
        if seen.name != name.as_str() {
            return Err(changed(&path, name.to_string(), seen.name));
        }
        if seen.pool != PoolFileReading::Read(pool.clone()) {
            let found = format!("{:?}", seen.pool);
            return Err(changed(&path, format!("pool {}", pool.pool_uuid), found));
        }
        expect_members(&seen, devices)?;
        Ok(seen)
    }

    /// Adds devices to a group under the same conditions as [`Self::make_group`].
    ///
    /// # Errors
    /// As there.
    pub fn extend_group(
        &self,
        group: &GroupRef,
        new: &[NewPv],
        deadline: Deadline,
    ) -> Result<Looked, DeviceError> {
        let held = hold(group)?;
        let (mut commands, mut adding) = (Vec::new(), Vec::new());
        for device in new {
            match self.standing(device, deadline)? {
                Standing::Blank => {
                    commands.push(pvcreate(device)?);
                    adding.push(device.clone());
                }
                Standing::Prepared => adding.push(device.clone()),
                Standing::Member(uuid) if uuid == group.uuid => {}
                Standing::Member(uuid) => {
                    let expected = format!("blank, or of volume group {}", group.uuid);
                    return Err(changed(&device.path, expected, format!("of volume group {uuid}")));
                }
            }
        }
        let mut places = held.devices.clone();
        let more =
            new.iter().map(|device| &device.path).filter(|path| !held.devices.contains(path));
        places.extend(more.cloned());
        let together = GroupRef { uuid: group.uuid.clone(), devices: places.clone() };
        if adding.is_empty() {
            let seen = self.observe_group(&together, deadline)?;
            expect_members(&seen, new)?;
            return Ok(Looked { done: StepDone::Already, group: seen });
        }
        let paths = [held.name.clone()].into_iter().chain(paths_of(&adding)?);
        commands.push(words("vgextend -qq", paths));
        let ended = self.run_all(&places, &commands, deadline)?;
        let seen = self.look(&Held { devices: places, ..held }, &group.uuid, deadline)?;
        expect_members(&seen, new).map_err(|_| refused(&ended, &seen.name, Bytes::ZERO))?;
        Ok(Looked { done: StepDone::Changed, group: seen })
    }

    fn standing(&self, new: &NewPv, deadline: Deadline) -> Result<Standing, DeviceError> {
        let NewPv { path, dev_t, uuid } = new;
        let open = File::open(path).map_err(|source| DeviceError::io("open", path, source))?;
        let status = open.metadata().map_err(|source| DeviceError::io("stat", path, source))?;
        let number = split_dev(status.rdev());
        if number != *dev_t {
            return Err(changed(path, dev_t.to_string(), number.to_string()));
        }
        match read_label(&open, path)? {
            None => self.expect_blank(new, deadline).map(|()| Standing::Blank),
            Some(LabelView { pv, group: Some(mark) }) if pv == *uuid => {
                Ok(Standing::Member(mark.uuid))
            }
            Some(LabelView { pv, group: None }) if pv == *uuid => match is_unclaimed(path)? {
                true => Ok(Standing::Prepared),
                false => Err(busy(path.clone(), "somebody has claimed it")),
            },
            Some(LabelView { pv, group }) => {
                let of = group.map_or("no group".to_owned(), |mark| mark.name);
                Err(changed(path, "blank".to_owned(), format!("physical volume {pv} of {of}")))
            }
        }
    }

    fn expect_blank(&self, new: &NewPv, deadline: Deadline) -> Result<(), DeviceError> {
        let NewPv { path, dev_t, uuid: _ } = new;
        let all = observe_devices(&self.host)?;
        let seen = all.into_iter().find(|device| device.path == *path && device.dev_t == *dev_t);
        let Some(seen) = seen else {
            return Err(changed(path, dev_t.to_string(), "no disk of this host".to_owned()));
        };
        let seen = probe_device(&self.host, seen, deadline)?;
        if let Some(first) = seen.uses.first() {
            let by = match first {
                DeviceUse::Holder { .. } => "another device stands on it",
                DeviceUse::Partition { .. } => "it has partitions",
                DeviceUse::Mounted { .. } => "it is mounted",
                DeviceUse::Swap => "it is swap",
                DeviceUse::Claimed => "somebody has claimed it",
            };
            return Err(busy(path.clone(), by));
        }
        if seen.read_only {
            return Err(changed(path, "writable".to_owned(), "read-only".to_owned()));
        }
        match seen.signature {
            Signature::Blank => Ok(()),
            other => Err(changed(path, "blank".to_owned(), other.to_string())),
        }
    }

    /// The group that any of the devices is part of.
    fn first_group(&self, devices: &[PathBuf]) -> Result<Option<VgUuid>, DeviceError> {
        for (_, label) in super::observe_labels(devices) {
            if let Some(LabelView { pv: _, group: Some(mark) }) = label? {
                return Ok(Some(mark.uuid));
            }
        }
        Ok(None)
    }
}

fn busy(path: PathBuf, by: &'static str) -> DeviceError {
    DeviceError::Busy { path, by }
}

/// Answers `no` to whatever lvm asks: a signature that it finds where we found none ends it.
fn pvcreate(device: &NewPv) -> Result<Words, DeviceError> {
    let fixed = format!("pvcreate -qq --norestorefile --metadatasize {METADATA} --uuid");
    Ok(words(&fixed, [device.uuid.to_string(), text_of(device)?]))
}

fn text_of(device: &NewPv) -> Result<String, DeviceError> {
    let why = "a device whose path is no text";
    device.path.to_str().map(str::to_owned).ok_or(DeviceError::Bug { why })
}

fn paths_of(devices: &[NewPv]) -> Result<Vec<String>, DeviceError> {
    devices.iter().map(text_of).collect()
}

/// What a group and its thin pools say about the pool that they are.
pub(super) fn pool_tag(pool: &PoolFile) -> Result<LvmTag, DeviceError> {
    let text = serde_json::to_string(pool)
        .map_err(|_| DeviceError::Bug { why: "a pool file that can't be written" })?;
    LvmTag::of_pool(&text).map_err(|_| DeviceError::Bug { why: "a pool file longer than a tag" })
}

fn expect_members(seen: &VgView, devices: &[NewPv]) -> Result<(), DeviceError> {
    for NewPv { path, dev_t: _, uuid } in devices {
        let there = seen.pvs.iter().any(|pv| pv.uuid == *uuid && !pv.missing);
        if !there {
            return Err(changed(path, format!("part of {}", seen.name), "not yet".to_owned()));
        }
    }
    Ok(())
}
