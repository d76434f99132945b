//! The guest's disks, one test at a time, blank before each and wiped after it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use terrace_device_types::lvm::{
    GroupRef, LvName, LvRef, NewGroup, NewPv, NewThinPool, NewVolume, PoolSize, PvUuid, VgView,
    VolumeKind,
};
use terrace_device_types::{
    Allocation, BackendKind, Bytes, DevT, HostObject, HostState, Latch, PoolFile, PoolUuid,
    StageState, StepDone, Tag, VolumeMode, VolumeUuid,
};
use terrace_devices::lvm::Lvm;
use terrace_devices::{Deadline, DeviceError, Host};

static TURN: Mutex<()> = Mutex::new(());
static ONCE: Once = Once::new();

/// How much of each end of a disk is wiped: what is looked at before it counts as blank, and more.
const ENDS: usize = 2 << 20;

/// The disks, and LVM as our code has it.
pub(crate) struct Rig {
    pub(crate) lvm: Lvm,
    pub(crate) disks: Vec<PathBuf>,
    pub(crate) pool: PoolUuid,
    _dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// The guest's disks; `None`, with a sentence, where there is no guest with device-mapper.
pub(crate) fn guest_disks() -> Option<Vec<PathBuf>> {
    let in_guest = std::env::var_os("TERRACE_GUEST").is_some();
    if !in_guest || File::open("/dev/mapper/control").is_err() {
        let told = "skipped: needs a guest with device-mapper and disks: hack/guest test -p terrace-devices --disks 6\n";
        // Past the capture of test output: who reads a passed run must see it.
        ONCE.call_once(|| std::io::stderr().write_all(told.as_bytes()).unwrap());
        return None;
    }
    let disks = std::env::var("TERRACE_DISKS").unwrap_or_default();
    let disks: Vec<PathBuf> = disks.split_whitespace().map(PathBuf::from).collect();
    assert!(disks.len() >= 4, "the guest needs at least 4 disks: --disks 6");
    Some(disks)
}

impl Rig {
    /// With every disk of the guest blank.
    pub(crate) fn new() -> Option<Self> {
        let disks = guest_disks()?;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        clear(&disks);
        let dir = tempfile::tempdir().unwrap();
        let lvm = Lvm::prepare(Host::real(), &dir.path().join("lvm")).unwrap();
        let pool = PoolUuid(uuid::Uuid::new_v4());
        Some(Self { lvm, disks, pool, _dir: dir, _turn: turn })
    }

    pub(crate) fn pool_file(&self) -> PoolFile {
        PoolFile {
            pool_uuid: self.pool,
            cluster_uid: "0c6d0c46-3a0d-4b6e-b6f5-8f8e2a0f8b3c".parse().unwrap(),
            pool: "fast & \"small\"".into(),
            backend: BackendKind::File,
        }
    }

    pub(crate) fn new_group(&self, name: &str, disks: &[PathBuf]) -> NewGroup {
        let devices = disks.iter().map(|disk| self.new_pv(disk)).collect();
        NewGroup { name: name.parse().unwrap(), pool: self.pool_file(), devices }
    }

    pub(crate) fn new_pv(&self, disk: &Path) -> NewPv {
        let uuid = PvUuid::derived(self.pool, disk.to_str().unwrap());
        NewPv { path: disk.to_owned(), dev_t: number_of(disk), uuid }
    }

    /// A group `tank` on so many disks.
    pub(crate) fn tank(&self, disks: usize) -> GroupRef {
        self.group_on("tank", &self.disks[..disks])
    }

    pub(crate) fn group_on(&self, name: &str, disks: &[PathBuf]) -> GroupRef {
        let made = self.lvm.make_group(&self.new_group(name, disks), soon()).unwrap();
        assert_eq!(made.done, StepDone::Changed);
        GroupRef { uuid: made.group.uuid, devices: disks.to_vec() }
    }

    /// A thin pool `pool` in the group.
    pub(crate) fn thin_pool(&self, group: &GroupRef, data: u64) -> VgView {
        let looked = self.lvm.create_thin_pool(group, &new_thin_pool(data), soon()).unwrap();
        assert_eq!(looked.done, StepDone::Changed);
        looked.group
    }

    /// One volume, which must come to be.
    pub(crate) fn create(&self, group: &GroupRef, new: &NewVolume) -> VgView {
        let mut created =
            self.lvm.create_volumes(group, std::slice::from_ref(new), soon()).unwrap();
        assert_eq!(created.each.pop().unwrap().unwrap(), StepDone::Changed);
        created.group
    }

    /// One volume, and the error that it is.
    pub(crate) fn create_fails(&self, group: &GroupRef, new: &NewVolume) -> DeviceError {
        let mut created =
            self.lvm.create_volumes(group, std::slice::from_ref(new), soon()).unwrap();
        created.each.pop().unwrap().unwrap_err()
    }

    pub(crate) fn tag(&self, volume: VolumeUuid) -> Tag {
        Tag {
            object: HostObject::Volume,
            source: None,
            volume,
            cluster: self.pool_file().cluster_uid,
            pool: self.pool,
            name: "pvc, \"quoted\" & more".into(),
            mode: VolumeMode::Block,
            allocation: Allocation::Reserved,
            state: HostState::Creating,
            latch: Latch::None,
            stage: StageState::Never,
        }
    }

    pub(crate) fn volume(&self, name: &str, kind: VolumeKind) -> NewVolume {
        NewVolume { name: lv_name(name), kind, tag: self.tag(volume_of(name)) }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        clear(&self.disks);
    }
}

pub(crate) fn new_thin_pool(data: u64) -> NewThinPool {
    let size = PoolSize { data: Bytes::mib(data), metadata: Bytes::mib(8) };
    NewThinPool { name: lv_name("pool"), size, chunk: Bytes::kib(64) }
}

pub(crate) fn thin(size: u64) -> VolumeKind {
    VolumeKind::Thin { size: Bytes::mib(size), pool: lv_name("pool") }
}

pub(crate) fn linear(size: u64) -> VolumeKind {
    VolumeKind::Linear { size: Bytes::mib(size) }
}

/// A volume's UUID from its name, so that a test need not carry it about.
pub(crate) fn volume_of(name: &str) -> VolumeUuid {
    VolumeUuid(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()))
}

pub(crate) fn lv(name: &str) -> LvRef {
    LvRef { name: lv_name(name), volume: volume_of(name) }
}

pub(crate) fn lv_name(name: &str) -> LvName {
    name.parse().unwrap()
}

pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(120))
}

pub(crate) fn number_of(disk: &Path) -> DevT {
    let rdev = std::fs::metadata(disk).unwrap().rdev();
    DevT { major: rustix::fs::major(rdev), minor: rustix::fs::minor(rdev) }
}

/// The node of an active volume.
pub(crate) fn node(seen: &VgView, name: &str) -> PathBuf {
    let DevT { major: _, minor } = seen.lv(name).unwrap().dev_t.unwrap();
    format!("/dev/dm-{minor}").into()
}

pub(crate) fn write_at(device: &Path, at: u64, byte: u8, length: usize) {
    let file = File::options().write(true).open(device).unwrap();
    file.write_all_at(&vec![byte; length], at).unwrap();
    file.sync_all().unwrap();
}

pub(crate) fn read_at(device: &Path, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open(device).unwrap().read_exact_at(&mut bytes, at).unwrap();
    bytes
}

/// Runs a shell's line; what it printed. It must end well.
pub(crate) fn sh(line: &str) -> String {
    let ended = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

/// Takes every device of device-mapper away, those that stand on others first, and both ends of every disk.
pub(crate) fn clear(disks: &[PathBuf]) {
    clear_mapper();
    for disk in disks {
        sh(&format!("blockdev --setrw {}", disk.display()));
        let file = File::options().write(true).open(disk).unwrap();
        let length = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).unwrap();
        let ends = ENDS.min(usize::try_from(length).unwrap());
        let zeros = vec![0; ends];
        file.write_all_at(&zeros, 0).unwrap();
        file.write_all_at(&zeros, length - ends as u64).unwrap();
        file.sync_all().unwrap();
    }
}

/// Without force: that would put an error in the place of a pool whose volumes are still there.
pub(crate) fn clear_mapper() {
    for _ in 0..20 {
        let names = sh("dmsetup ls");
        if names.starts_with("No devices") {
            // Where no udev runs, they outlive what they lead to, and LVM makes no group whose folder is there.
            sh("rm -rf /dev/tank* /dev/sectors /dev/terrace-*");
            return;
        }
        for name in names.lines().filter_map(|line| line.split_whitespace().next()) {
            sh(&format!("dmsetup resume {name}; dmsetup remove {name}; true"));
        }
    }
    panic!("left in device-mapper: {}", sh("dmsetup info -c"));
}
