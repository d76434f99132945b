//! Filesystems to operate on: on loop devices, taken away again when the test ends.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use terrace_probe::loader::{Attached, Sighting, Thing};
use terrace_probe_abi::layout::{Figures, Slot};

/// A filesystem on a loop device.
pub(crate) struct Ground {
    folder: TempDir,
    mounts: Vec<PathBuf>,
    zram: Option<String>,
}

impl Ground {
    /// Makes and mounts one: "xfs" or "ext4".
    pub(crate) fn new(kind: &str) -> Self {
        Self::within(&std::env::temp_dir(), kind)
    }

    /// The same with its image in a folder.
    pub(crate) fn within(folder: &Path, kind: &str) -> Self {
        let folder = tempfile::tempdir_in(folder).unwrap();
        let image = folder.path().join("image");
        // The least that xfs takes; what is filled to the end is small.
        let size = if kind == "xfs" { 320 } else { 48 };
        File::create(&image).unwrap().set_len(size << 20).unwrap();
        run(&format!("mkfs.{kind}"), &["-q", &text(&image)]);
        let mut ground = Self { folder, mounts: vec![], zram: None };
        ground.mount(&["-o", "loop"], &image, "mount");
        ground
    }

    /// ext4 on a device that takes no requests, as device-mapper's: compressed memory.
    pub(crate) fn without_requests() -> Self {
        let number = fs::read_to_string("/sys/class/zram-control/hot_add").unwrap();
        let number = number.trim().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let mut ground = Self { folder, mounts: vec![], zram: Some(number.clone()) };
        fs::write(format!("/sys/block/zram{number}/disksize"), "64M").unwrap();
        let device = PathBuf::from(format!("/dev/zram{number}"));
        run("mkfs.ext4", &["-q", &text(&device)]);
        ground.mount(&[], &device, "mount");
        ground
    }

    /// Where it is mounted.
    pub(crate) fn root(&self) -> &Path {
        &self.mounts[0]
    }

    /// The image below.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Mounts its root at another place, too.
    pub(crate) fn bind(&mut self) -> PathBuf {
        let root = self.root().to_owned();
        self.mount(&["--bind"], &root, "bound")
    }

    /// Mounts it anew after [`Ground::leave`].
    pub(crate) fn enter(&mut self) {
        let image = self.image();
        self.mount(&["-o", "loop"], &image, "mount");
    }

    /// Unmounts all of it.
    pub(crate) fn leave(&mut self) {
        for mount in self.mounts.drain(..).rev() {
            run("umount", &[&text(&mount)]);
        }
    }

    fn mount(&mut self, how: &[&str], what: &Path, name: &str) -> PathBuf {
        let target = self.folder.path().join(name);
        fs::create_dir_all(&target).unwrap();
        let mut arguments = how.to_vec();
        let (what, at) = (text(what), text(&target));
        arguments.extend([what.as_str(), at.as_str()]);
        run("mount", &arguments);
        self.mounts.push(target.clone());
        target
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for mount in self.mounts.drain(..).rev() {
            let _ = Command::new("umount").arg("--lazy").arg(mount).status();
        }
        if let Some(number) = &self.zram {
            let _ = fs::write(format!("/sys/block/zram{number}/reset"), "1");
            let _ = fs::write("/sys/class/zram-control/hot_remove", number);
        }
    }
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Opens for reading and writing, made if it is not there.
pub(crate) fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// The id of the mount at a path, from mountinfo.
pub(crate) fn mount_id(path: &Path) -> u32 {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let at = text(path);
    let line = table.lines().rfind(|line| line.split(' ').nth(4) == Some(at.as_str()));
    line.and_then(|line| line.split(' ').next()).and_then(|id| id.parse().ok()).unwrap()
}

/// The device of the mount at a path, from mountinfo.
pub(crate) fn device(path: &Path) -> (u32, u32) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let id = mount_id(path).to_string();
    let line = table.lines().find(|line| line.split(' ').next() == Some(id.as_str())).unwrap();
    let (major, minor) = line.split(' ').nth(2).unwrap().split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

/// Uses a mount once, and finds what the probe says of it.
pub(crate) fn sight(probe: &impl Attached, root: &Path) -> Sighting {
    let _ = fs::read_dir(root).unwrap().count();
    let mount = Thing::Mount(mount_id(root));
    find(probe, mount).unwrap_or_else(|| panic!("{mount:?} was not seen"))
}

/// What the probe says of a thing.
pub(crate) fn find(probe: &impl Attached, thing: Thing) -> Option<Sighting> {
    probe.sightings().unwrap().into_iter().find(|sighting| sighting.thing == thing)
}

/// Uses a mount once and gives it a slot; what was counted before that is elsewhere.
pub(crate) fn name(probe: &impl Attached, root: &Path, slot: Slot) -> Sighting {
    let sighting = sight(probe, root);
    let changed = probe.set_slot(sighting.thing, sighting.generation, slot).unwrap();
    assert_eq!(changed, terrace_probe::loader::Changed::Yes);
    sighting
}

/// Operations in a slot: read, write, fsync, readdir.
pub(crate) fn counts(figures: &Figures) -> [u64; 4] {
    std::array::from_fn(|operation| figures[operation].count())
}
