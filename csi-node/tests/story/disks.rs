//! The guest's disks as the pool of a story: one story at a time has them, blank before it and after it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::Duration;

use terrace_backends::backend;
use terrace_device_types::{PoolFile, PoolIntent, PoolPlace, Wipe};
use terrace_devices::lvm::keep_in;
use terrace_node::host::{Host, RealHost};

/// Whether a story has the disks.
static TAKEN: Mutex<bool> = Mutex::new(false);
static GIVEN_BACK: Condvar = Condvar::new();
/// LVM's configuration of this process.
static LVM: OnceLock<tempfile::TempDir> = OnceLock::new();
/// How much of each end of a disk is wiped.
const ENDS: u64 = 2 << 20;
/// How many a story has.
const TWO: usize = 2;

/// Disks with nothing on them.
pub(crate) struct Disks {
    paths: Vec<PathBuf>,
}

/// Whether this is a guest with disks and device-mapper: nobody's disks but a guest's are written to.
pub(crate) fn has_disks() -> bool {
    let in_guest = std::env::var_os("TERRACE_GUEST").is_some();
    in_guest && File::open("/dev/mapper/control").is_ok() && named().len() >= TWO
}

fn named() -> Vec<PathBuf> {
    let disks = std::env::var("TERRACE_DISKS").unwrap_or_default();
    disks.split_whitespace().map(PathBuf::from).collect()
}

impl Disks {
    /// Waits for the story that has them.
    pub(crate) fn take() -> Self {
        let taken = TAKEN.lock().expect("nobody panics with it");
        *GIVEN_BACK.wait_while(taken, |taken| *taken).expect("nobody panics with it") = true;
        LVM.get_or_init(|| {
            let dir = tempfile::tempdir().expect("a folder");
            keep_in(dir.path()).expect("a configuration of lvm");
            dir
        });
        let paths: Vec<PathBuf> = named().into_iter().take(TWO).collect();
        clear(&paths);
        Self { paths }
    }

    /// Makes the pool of all of them, as the agent does: pass by pass until nothing is left to do.
    pub(crate) fn make_pool(&self, file: &PoolFile, dir: &Path) {
        make_of(&self.paths, file, dir);
    }

    /// The same of the first, and then gives the group the others: what is on it has not grown yet.
    pub(crate) fn make_pool_that_gains(&self, file: &PoolFile, dir: &Path) {
        make_of(&self.paths[..1], file, dir);
        assert!(pass(&self.paths, file, dir), "the group gains nothing");
    }
}

fn make_of(disks: &[PathBuf], file: &PoolFile, dir: &Path) {
    let ended = (0..8).any(|_| !pass(disks, file, dir));
    assert!(ended, "a pool that is never made");
}

/// Whether there was something to do.
fn pass(disks: &[PathBuf], file: &PoolFile, dir: &Path) -> bool {
    let host = RealHost::new();
    let devices = host.devices().expect("a look");
    let ours = devices.into_iter().filter(|device| disks.contains(&device.path));
    let ours = ours.map(|device| (device, Wipe::Never)).collect();
    let place = host.group(ours, file.pool_uuid).expect("a look");
    let intent = PoolIntent::Make { file: file.clone(), place: PoolPlace::Group(Box::new(place)) };
    let (view, mounts) = (host.pool(dir), host.mounts().expect("a look").mounts);
    let steps = backend(file.backend).plan_pool(&intent, &view.expect("a look"), &mounts);
    let steps = steps.expect("a plan");
    for step in &steps {
        host.execute(step, Duration::from_secs(60)).expect("a step");
    }
    !steps.is_empty()
}

/// Logical volumes by LVM's own word, but those that are the pool's own.
pub(crate) fn logical_volumes() -> Vec<String> {
    let listed = sh("lvm lvs --noheadings -o lv_name");
    let names = listed.lines().map(|line| line.trim().to_owned());
    names.filter(|name| !name.starts_with("terrace-")).collect()
}

impl Drop for Disks {
    fn drop(&mut self) {
        clear(&self.paths);
        *TAKEN.lock().expect("nobody panics with it") = false;
        GIVEN_BACK.notify_one();
    }
}

/// Takes device-mapper's devices away, those first that stand on others, and both ends of every disk.
fn clear(disks: &[PathBuf]) {
    for _ in 0..20 {
        let names = sh("dmsetup ls");
        if names.starts_with("No devices") {
            break;
        }
        for name in names.lines().filter_map(|line| line.split_whitespace().next()) {
            sh(&format!("dmsetup resume {name}; dmsetup remove {name}; true"));
        }
    }
    // Where no udev runs, these outlive what they lead to.
    sh("rm -rf /dev/terrace-*");
    for disk in disks {
        let file = File::options().write(true).open(disk).expect("a disk");
        let length = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).expect("a length");
        let zeros = vec![0; usize::try_from(ENDS).expect("small")];
        for at in [0, length - ENDS] {
            file.write_all_at(&zeros, at).expect("wiped");
        }
        file.sync_all().expect("wiped");
    }
}

fn sh(line: &str) -> String {
    let ended = Command::new("sh").args(["-c", line]).output().expect("a shell");
    assert!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).expect("text")
}
