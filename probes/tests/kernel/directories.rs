//! Folders with a class of their own that are no mounts: what lies in them by the name it was opened by, and nothing else.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use terrace_probe::aya_loader::Loaded;
use terrace_probe::loader::{Attached, Changed, Plan, Switch};
use terrace_probe::place_directory::DirectoryClass;
use terrace_probe_abi::layout::{Operation, SharedClass};
use terrace_probe_abi::wire::Device;

use crate::ground::{Ground, name, open, run, sight};
use crate::{attach, plan, ring};

const HOST: SharedClass = SharedClass::Host;
const ETCD: SharedClass = SharedClass::CriticalEtcd;
const UNNAMED: SharedClass = SharedClass::Unnamed;

/// A filesystem as the host's root may be: `etcd` in it has a class of its own, `srv` has none.
struct Root {
    probe: Loaded,
    ground: Ground,
    etcd: PathBuf,
    srv: PathBuf,
}

impl Root {
    fn new() -> Self {
        let probe = attach(&Plan { sampling: 1.0, ..plan() });
        let ground = Ground::new("ext4");
        let [etcd, srv] = ["var/lib/etcd", "srv"].map(|path| ground.root().join(path));
        fs::create_dir_all(&etcd).unwrap();
        fs::create_dir_all(&srv).unwrap();
        let mount = name(&probe, ground.root(), HOST.slot());
        probe.set_directories(&[class_of(&etcd)]).unwrap();
        let set = probe.set_has_directories(mount.thing, mount.generation, Switch::On);
        assert_eq!(set.unwrap(), Changed::Yes);
        Self { probe, ground, etcd, srv }
    }

    fn count(&self, class: SharedClass, operation: Operation) -> u64 {
        self.probe.figures(class.slot())[operation.index()].count()
    }

    fn writes(&self) -> [u64; 3] {
        [ETCD, HOST, UNNAMED].map(|class| self.count(class, Operation::Write))
    }

    /// What was written meanwhile, to etcd, to the host, and to what is too deep to tell.
    fn written(&self, meanwhile: impl FnOnce()) -> [u64; 3] {
        let before = self.writes();
        meanwhile();
        let after = self.writes();
        std::array::from_fn(|at| after[at] - before[at])
    }
}

fn class_of(folder: &Path) -> DirectoryClass {
    let there = fs::metadata(folder).unwrap();
    let device =
        Device { major: rustix::fs::major(there.dev()), minor: rustix::fs::minor(there.dev()) };
    DirectoryClass { device, inode: there.ino(), path: Vec::new(), class: ETCD }
}

fn write(file: &File, times: u64) {
    (0..times).for_each(|_| assert_eq!(file.write_at(&[1; 64], 0).unwrap(), 64));
}

#[test]
fn what_lies_in_a_folder_is_counted_for_it_however_deep() {
    let root = Root::new();
    let deep = |levels: usize| {
        let path = (0..levels).fold(root.etcd.clone(), |path, _| path.join("d"));
        fs::create_dir_all(&path).unwrap();
        open(&path.join("file"))
    };
    let files = [deep(0), deep(1), deep(40)];
    let below = deep(70);
    let beside = [open(&root.srv.join("file")), open(&root.ground.root().join("var/lib/file"))];
    let told = root.written(|| {
        files.iter().for_each(|file| write(file, 7));
        beside.iter().for_each(|file| write(file, 5));
        write(&below, 3);
    });
    assert_eq!(told, [21, 10, 3], "too deep to tell is nobody's, not the host's");
    let before = [ETCD, HOST].map(|class| root.count(class, Operation::Readdir));
    assert_eq!(fs::read_dir(&root.etcd).unwrap().count(), 2);
    let after = [ETCD, HOST].map(|class| root.count(class, Operation::Readdir));
    assert!(
        after[0] > before[0] && after[1] == before[1],
        "the folder itself: {before:?} {after:?}"
    );
    let file = open(&root.etcd.join("ring"));
    assert_eq!(root.written(|| ring(&file, 0, 9, 0)), [9, 0, 0]);
}

#[test]
fn what_is_made_or_made_anew_later_is_in_it_too() {
    let root = Root::new();
    let later = root.etcd.join("member/later");
    fs::create_dir_all(&later).unwrap();
    assert_eq!(root.written(|| write(&open(&later.join("wal")), 4)), [4, 0, 0]);
    let old = open(&root.etcd.join("old"));
    write(&old, 1);
    fs::rename(&root.etcd, root.srv.join("old")).unwrap();
    fs::create_dir(&root.etcd).unwrap();
    let new = open(&root.etcd.join("new"));
    assert_eq!(root.written(|| write(&new, 2)), [0, 2, 0], "nobody said what it is now");
    root.probe.set_directories(&[class_of(&root.etcd)]).unwrap();
    let both = root.written(|| {
        write(&new, 6);
        write(&old, 3);
    });
    assert_eq!(both, [6, 3, 0]);
}

#[test]
fn what_is_renamed_goes_where_it_then_lies() {
    let root = Root::new();
    let folder = root.etcd.join("a/b");
    fs::create_dir_all(&folder).unwrap();
    let file = open(&folder.join("file"));
    assert_eq!(root.written(|| write(&file, 5)), [5, 0, 0]);
    fs::rename(folder.join("file"), root.srv.join("file")).unwrap();
    assert_eq!(root.written(|| write(&file, 3)), [0, 3, 0]);
    fs::rename(root.srv.join("file"), folder.join("file")).unwrap();
    assert_eq!(root.written(|| write(&file, 2)), [2, 0, 0]);
    fs::rename(root.etcd.join("a"), root.srv.join("a")).unwrap();
    assert_eq!(root.written(|| write(&file, 6)), [0, 6, 0], "a folder two levels above it");
    fs::rename(root.srv.join("a"), root.etcd.join("a")).unwrap();
    assert_eq!(root.written(|| write(&file, 4)), [4, 0, 0]);
}

#[test]
fn memory_of_an_open_file_that_is_used_again_says_nothing_of_the_next() {
    let root = Root::new();
    let [inside, outside] = [&root.etcd, &root.srv].map(|folder| folder.join("m/n"));
    fs::create_dir_all(&inside).unwrap();
    write(&open(&inside.join("file")), 1);
    write(&open(&root.srv.join("other")), 1);
    let told = root.written(|| {
        for _ in 0..500 {
            write(&open(&inside.join("file")), 1);
            write(&open(&root.srv.join("other")), 2);
        }
    });
    assert_eq!(told, [500, 1000, 0]);
    let told = root.written(|| {
        for _ in 0..200 {
            write(&open(&inside.join("file")), 1);
            fs::rename(root.etcd.join("m"), root.srv.join("m")).unwrap();
            write(&open(&outside.join("file")), 2);
            fs::rename(root.srv.join("m"), root.etcd.join("m")).unwrap();
        }
    });
    assert_eq!(told, [200, 400, 0], "the same file, entry and parent, elsewhere");
}

#[test]
fn a_file_with_two_names_lies_where_it_was_opened() {
    let root = Root::new();
    let (inside, outside) = (root.etcd.join("file"), root.srv.join("link"));
    write(&open(&inside), 1);
    fs::hard_link(&inside, &outside).unwrap();
    let (inside, outside) = (open(&inside), open(&outside));
    let told = root.written(|| {
        for _ in 0..10 {
            write(&inside, 2);
            write(&outside, 3);
        }
    });
    assert_eq!(told, [20, 30, 0]);
}

#[test]
fn another_mount_in_it_is_its_own_and_a_volume_pays_nothing() {
    let root = Root::new();
    let covered = root.etcd.join("disk");
    fs::create_dir(&covered).unwrap();
    let beneath = open(&covered.join("file"));
    let at = covered.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "tmpfs", at]);
    let above = open(&covered.join("file"));
    let sighting = sight(&root.probe, &covered);
    root.probe.set_slot(sighting.thing, sighting.generation, 90).unwrap();
    let told = root.written(|| {
        write(&beneath, 4);
        write(&above, 9);
    });
    drop(above);
    run("umount", &[at]);
    assert_eq!(told, [4, 0, 0]);
    let of_mount = |slot| root.probe.figures(slot)[Operation::Write.index()].count();
    assert_eq!(of_mount(90), 9);
}

#[test]
fn the_same_filesystem_mounted_as_a_volume_is_the_volumes() {
    let mut root = Root::new();
    let bound = root.ground.bind();
    name(&root.probe, &bound, 91);
    let file = open(&bound.join("var/lib/etcd/file"));
    assert_eq!(root.written(|| write(&file, 8)), [0, 0, 0]);
    assert_eq!(root.probe.figures(91)[Operation::Write.index()].count(), 8);
}
