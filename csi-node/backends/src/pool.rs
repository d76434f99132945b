//! Making a pool: a marked directory, on a filesystem that is there or on a device of its own. Never over anything of anybody's.

use std::path::Path;

use terrace_device_types::lvm::VgView;
use terrace_device_types::{
    DeviceRef, DeviceView, FormatGuard, FsType, MountPoint, PoolFile, PoolFileReading, PoolPlace,
    PoolRefusal, PoolView, Refusal, RequestRefusal, Signature, Step, Wipe,
};

mod group;

/// What a backend wants of the filesystem that its pools lie on.
#[derive(Clone, Copy)]
pub(crate) struct Ground {
    /// What a device of a pool's own is formatted with.
    pub(crate) fs: FsType,
    /// What a directory needs, or why it can't hold such a pool.
    pub(crate) prepare: fn(&PoolView) -> Result<Vec<Step>, Refusal>,
    /// What a directory on a device that was formatted a moment ago needs.
    pub(crate) furnish: fn(&Path) -> Vec<Step>,
    /// What a volume group with the pool's folder in it needs besides; none: its pools lie on no group.
    pub(crate) group: Option<Furnish>,
}

/// See [`Ground::group`].
pub(crate) type Furnish = fn(&VgView, &PoolView) -> Result<Vec<Step>, Refusal>;

/// The pool file decides: ours is left as it is, another's refused, none is written only where nothing else is.
pub(crate) fn plan_make(
    ground: Ground,
    file: &PoolFile,
    place: &PoolPlace,
    view: &PoolView,
    mounts: &[MountPoint],
) -> Result<Vec<Step>, Refusal> {
    match (ground.group, place) {
        (Some(furnish), PoolPlace::Group(place)) => {
            group::plan_group(ground, furnish, file, place, view, mounts)
        }
        (Some(_), PoolPlace::Directory | PoolPlace::Device { .. }) => {
            let (what, remedy) = ("a folder of another filesystem", "name devices");
            Err(RequestRefusal::NotSupported { backend: file.backend, what, remedy }.into())
        }
        (None, PoolPlace::Group(_)) => {
            let (what, remedy) = ("a volume group", "name one device or a folder");
            Err(RequestRefusal::NotSupported { backend: file.backend, what, remedy }.into())
        }
        (None, PoolPlace::Directory) if !view.exists => {
            Ok(vec![Step::MakePoolDirectory { dir: view.dir.clone() }])
        }
        (None, PoolPlace::Directory) => plan_mark(ground, file, view),
        (None, PoolPlace::Device { device, wipe }) => {
            match mounts.iter().rev().find(|mount| mount.at == view.dir) {
                Some(mount) if mount.stands_on(device) => plan_mark(ground, file, view),
                Some(mount) => {
                    let (dir, source_device) = (view.dir.clone(), mount.source.clone());
                    Err(PoolRefusal::MountedByAnother { dir, source_device }.into())
                }
                None => plan_device(ground, file, device, wipe, view),
            }
        }
    }
}

fn plan_mark(ground: Ground, file: &PoolFile, view: &PoolView) -> Result<Vec<Step>, Refusal> {
    let dir = view.dir.clone();
    match &view.file {
        PoolFileReading::Read(found) if found.cluster_uid != file.cluster_uid => {
            Err(PoolRefusal::Foreign { dir, cluster: found.cluster_uid.clone() }.into())
        }
        PoolFileReading::Read(found) if found.pool_uuid != file.pool_uuid => {
            let (found, wanted) = (found.pool_uuid, file.pool_uuid);
            Err(PoolRefusal::OtherPool { dir, found, wanted }.into())
        }
        PoolFileReading::Read(found) if found.backend != file.backend => {
            let (found, wanted) = (found.backend, file.backend);
            Err(PoolRefusal::OtherBackend { dir, found, wanted }.into())
        }
        PoolFileReading::Read(_) => (ground.prepare)(view),
        PoolFileReading::Unreadable(why) => {
            Err(PoolRefusal::Unreadable { dir, why: why.clone() }.into())
        }
        PoolFileReading::Absent => {
            validate_empty(view)?;
            let mut steps = (ground.prepare)(view)?;
            steps.push(Step::WritePoolFile { dir, file: file.clone() });
            Ok(steps)
        }
    }
}

fn validate_empty(view: &PoolView) -> Result<(), Refusal> {
    let dir = view.dir.clone();
    if view.fs.parse::<FsType>().is_err() {
        return Err(PoolRefusal::Unsuitable { dir, fs: view.fs.clone() }.into());
    }
    if !view.writable {
        return Err(PoolRefusal::NotWritable { dir }.into());
    }
    if !view.xattrs {
        let fs = format!("{} without trusted attributes", view.fs);
        return Err(PoolRefusal::Unsuitable { dir, fs }.into());
    }
    match view.strangers.first() {
        None => Ok(()),
        Some(first) => Err(PoolRefusal::NotEmpty { dir, first: first.clone() }.into()),
    }
}

fn plan_device(
    ground: Ground,
    file: &PoolFile,
    device: &DeviceView,
    wipe: &Wipe,
    view: &PoolView,
) -> Result<Vec<Step>, Refusal> {
    validate_unused(device)?;
    let (fs, uuid) = (ground.fs, file.pool_uuid.filesystem_uuid());
    let disk = DeviceRef::Disk { path: device.path.clone(), dev_t: device.dev_t };
    let dir = view.dir.clone();
    let options = ["nodev", "nosuid", "noexec"].map(str::to_owned).to_vec();
    let mount =
        Step::MountFilesystem { device: disk.clone(), fs, uuid, target: dir.clone(), options };
    let guard = FormatGuard::Blank { pool: file.pool_uuid };
    let mut all =
        vec![Step::MakeFilesystem { device: disk.clone(), fs, uuid, guard }, mount.clone()];
    all.extend((ground.furnish)(&dir));
    all.push(Step::WritePoolFile { dir: dir.clone(), file: file.clone() });

    let mut steps = Vec::new();
    if !view.exists {
        steps.push(Step::MakePoolDirectory { dir });
    }
    match (&device.signature, wipe) {
        (Signature::NotProbed, _) => {
            return Err(PoolRefusal::DeviceNotProbed { device: device.id.clone() }.into());
        }
        (found, _) if *found == (Signature::Filesystem { fs, uuid }) => steps.push(mount),
        (Signature::Blank, _) => steps.extend(all),
        (found, _) if *found == (Signature::Unfinished { fs, uuid }) => steps.extend(all),
        (found, Wipe::IfFound { found: permitted }) if found.to_string() == *permitted => {
            steps.push(Step::WipeSignatures { device: disk, found: permitted.clone() });
            steps.extend(all);
        }
        (found, Wipe::Never | Wipe::IfFound { .. }) => {
            let (device, found) = (device.id.clone(), found.to_string());
            return Err(PoolRefusal::DeviceHoldsData { device, found }.into());
        }
    }
    Ok(steps)
}

fn validate_unused(device: &DeviceView) -> Result<(), Refusal> {
    let id = device.id.clone();
    if device.read_only {
        return Err(PoolRefusal::DeviceReadOnly { device: id }.into());
    }
    match device.uses.first() {
        None => Ok(()),
        Some(by) => Err(PoolRefusal::DeviceInUse { device: id, by: by.clone() }.into()),
    }
}
