//! Naming on this host's own kernel: a private namespace stands for the node, a second one for a Pod. Real filesystems on loop
//! devices, bound as the kubelet and a runtime bind them. Needs root; all goes with the two processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on must fail")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use terrace_probe::aya_loader::{AyaLoader, Loaded};
use terrace_probe::host_proc::HostProc;
use terrace_probe::loader::{Attached, Loader, Plan, Sighting, Thing};
use terrace_probe::mountinfo::{Mount, Mounts};
use terrace_probe::mountinfo_watch::MountWatch;
use terrace_probe::names::{NameBook, VolumeKey};
use terrace_probe::naming::{Host, Seen, Unnamed, Verdict, find, find_sighted, name_mount};
use terrace_probe::place::Layout;
use terrace_probe::slots::{Policy, Slots, apply};
use terrace_probe_abi::layout::{Operation, SharedClass, Tier, VOLUME_SLOTS};
use terrace_probe_abi::wire::{Names, VolumeName};

/// A shell in a mount namespace of its own, told what to do line by line.
struct Shell {
    child: Child,
    told: BufReader<std::process::ChildStdout>,
}

impl Shell {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        let mut shell = Self { child, told };
        shell.run("true");
        shell
    }

    /// A namespace of its own, made from this process's.
    fn beside() -> Self {
        Self::start(Command::new("unshare").args(["-m", "--propagation", "private", "sh"]))
    }

    /// A namespace made from another shell's, as a runtime makes a container's.
    fn within(other: &Self) -> Self {
        let target = other.child.id().to_string();
        let enter = ["-t", &target, "-m", "unshare", "-m", "--propagation", "private", "sh"];
        Self::start(Command::new("nsenter").args(enter))
    }

    fn run(&mut self, script: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{{ {script}\n}} && echo done || echo failed").unwrap();
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n", "{script}");
    }

    fn mounts(&self) -> Mounts {
        let mounts = HostProc::new(Path::new("/proc")).mounts_of(self.child.id()).unwrap();
        assert_eq!(mounts.unreadable(), 0);
        mounts
    }

    fn mount_at(&self, path: &str) -> Mount {
        let mounts = self.mounts();
        mounts.all().iter().rfind(|mount| mount.at == path.as_bytes()).unwrap().clone()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A node with a kubelet's folder, and one Pod.
struct Rig {
    node: Shell,
    pod: Shell,
    scratch: tempfile::TempDir,
    names: Names,
}

impl Rig {
    fn new(on_node: &str, in_pod: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let scratch = tempfile::Builder::new().prefix("terrace-naming-").tempdir().unwrap();
        let mut node = Shell::beside();
        node.run(&format!("cd {}; set -e; mkdir kubelet pod", scratch.path().display()));
        node.run("csi() { echo kubelet/pods/$1/volumes/kubernetes.io~csi/$2/mount; }");
        node.run("staged() { echo kubelet/plugins/kubernetes.io/csi/x.example/$1/globalmount; }");
        node.run("image() { truncate -s $2 $1.img; mkfs.$3 -q $1.img >/dev/null; }");
        node.run("bound() { mkdir -p $2; mount --bind $1 $2; }");
        node.run(on_node);
        let mut pod = Shell::within(&node);
        pod.run(&format!("cd {}", scratch.path().display()));
        pod.run("csi() { echo kubelet/pods/$1/volumes/kubernetes.io~csi/$2/mount; }");
        pod.run("bound() { mkdir -p $2; mount --bind $1 $2; }");
        pod.run(in_pod);
        Self { node, pod, scratch, names: Names::default() }
    }

    fn told(mut self, volumes: &[(&str, &[&str])]) -> Self {
        let volume = |(name, pods): &(&str, &[&str])| VolumeName {
            pv_name: (*name).into(),
            pod_uids: pods.iter().map(|pod| (*pod).to_owned()).collect(),
            ..VolumeName::default()
        };
        self.names.volumes = volumes.iter().map(volume).collect();
        self
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.scratch.path().canonicalize().unwrap().display())
    }

    /// What the Pod has at a path, judged from outside by the id that the kernel would have seen.
    fn verdict(&self, name: &str) -> Verdict {
        let seen = self.pod.mount_at(&self.path(name));
        let on_host = find(&self.node.mounts(), seen.id, seen.device).is_some();
        assert!(!on_host, "a Pod's mount has an id of its own");
        let pods = self.pod.mounts();
        let mount = find(&pods, seen.id, seen.device).unwrap();
        let host = Host::new(self.node.mounts(), Layout::at(&self.path("kubelet")));
        name_mount(mount, Seen::Within, &host, Some(&NameBook::new(self.names.clone())))
    }
}

fn is(name: &str) -> Verdict {
    Verdict::Volume(VolumeKey::Volume(name.into()))
}

#[test]
fn filesystems_folders_and_kinds_of_volumes_are_told_apart_on_this_kernel() {
    let on_node = r#"
        image one 16M ext4; mkdir -p $(staged h1); mount -o loop one.img $(staged h1); mkdir $(staged h1)/data
        bound $(staged h1)/data $(csi a pvc-one); bound $(staged h1)/data $(csi b pvc-one)
        image two 16M ext4; mkdir -p $(staged h2); mount -o loop two.img $(staged h2); mkdir -p $(staged h2)/data/sub
        bound $(staged h2)/data $(csi a pvc-two)
        bound $(csi a pvc-two)/sub kubelet/pods/a/volume-subpaths/pvc-two/web/0
        mkdir -p kubelet/pods/a/volumes/kubernetes.io~empty-dir/cache kubelet/pods/a/volumes/kubernetes.io~configmap/conf srv
        mkdir -p kubelet/pods/a/volumes/kubernetes.io~secret/key; mount -t tmpfs tmpfs kubelet/pods/a/volumes/kubernetes.io~secret/key
        mkdir -p host-folders/v3; bound host-folders/v3 $(csi a pvc-folder)
        true"#;
    let in_pod = r#"
        bound $(csi a pvc-one) pod/one; bound $(csi b pvc-one) pod/other; bound $(csi a pvc-two) pod/two
        bound kubelet/pods/a/volume-subpaths/pvc-two/web/0 pod/subpath; bound $(csi a pvc-two)/sub 'pod/a b'
        bound kubelet/pods/a/volumes/kubernetes.io~empty-dir/cache pod/cache
        bound kubelet/pods/a/volumes/kubernetes.io~configmap/conf pod/conf
        bound kubelet/pods/a/volumes/kubernetes.io~secret/key pod/key
        bound $(csi a pvc-folder) pod/folder; bound host-folders pod/folders; bound srv pod/srv
        mkdir pod/own; mount -t tmpfs tmpfs pod/own
        true"#;
    let rig = Rig::new(on_node, &in_pod.replace("'pod/a b'", "pod/deep"));
    let rig = rig.told(&[("pvc-one", &["a", "b"]), ("pvc-two", &["a"]), ("pvc-folder", &["a"])]);
    for (name, expected) in [
        ("pod/one", is("pvc-one")),
        ("pod/other", is("pvc-one")),
        ("pod/two", is("pvc-two")),
        ("pod/subpath", is("pvc-two")),
        ("pod/deep", is("pvc-two")),
        ("pod/folder", is("pvc-folder")),
        ("pod/folders", Verdict::Class(SharedClass::HostPath)),
        ("pod/srv", Verdict::Class(SharedClass::HostPath)),
        ("pod/cache", Verdict::Class(SharedClass::EmptyDir)),
        ("pod/conf", Verdict::Class(SharedClass::ConfigMap)),
        ("pod/key", Verdict::Class(SharedClass::Secret)),
        ("pod/own", Verdict::Class(SharedClass::ContainerRoot)),
    ] {
        assert_eq!(rig.verdict(name), expected, "{name}");
    }
}

#[test]
fn btrfs_subvolumes_of_one_filesystem_are_told_apart_on_this_kernel() {
    let on_node = r#"
        image pool 128M btrfs; mkdir pool; mount -o loop pool.img pool
        for v in one two; do
            btrfs -q subvolume create pool/t-$v; mkdir pool/t-$v/data
            bound pool/t-$v $(staged $v); bound $(staged $v)/data $(csi a pvc-$v)
        done"#;
    let in_pod =
        "bound $(csi a pvc-one) pod/one; bound $(csi a pvc-two) pod/two; bound pool pod/pool";
    let rig = Rig::new(on_node, in_pod).told(&[("pvc-one", &["a"]), ("pvc-two", &["a"])]);
    let [one, two] = ["pod/one", "pod/two"].map(|name| rig.pod.mount_at(&rig.path(name)));
    assert_eq!(one.device, two.device, "one superblock");
    assert_eq!((rig.verdict("pod/one"), rig.verdict("pod/two")), (is("pvc-one"), is("pvc-two")));
    assert_eq!(rig.verdict("pod/pool"), Verdict::Class(SharedClass::HostPath));
}

#[test]
fn a_mount_whose_host_side_went_is_nobodys_and_one_that_went_itself_is_not_found() {
    let on_node =
        "image one 16M ext4; mkdir -p $(csi a pvc-one); mount -o loop one.img $(csi a pvc-one)";
    let mut rig = Rig::new(on_node, "bound $(csi a pvc-one) pod/one").told(&[("pvc-one", &["a"])]);
    assert_eq!(rig.verdict("pod/one"), is("pvc-one"));
    let seen = rig.pod.mount_at(&rig.path("pod/one"));
    rig.node.run("umount $(csi a pvc-one)");
    assert_eq!(rig.verdict("pod/one"), Verdict::Nobody(Unnamed::NotOnHost));
    rig.pod.run("umount pod/one");
    let every = HostProc::new(Path::new("/proc")).every();
    assert!(every.iter().all(|mounts| find(mounts, seen.id, seen.device).is_none()));
}

#[test]
fn a_deleted_folder_is_still_its_volumes_but_not_what_took_its_name() {
    let on_node = "image one 16M ext4; mkdir -p $(csi a pvc-one); mount -o loop one.img $(csi a pvc-one); mkdir $(csi a pvc-one)/sub";
    let mut rig =
        Rig::new(on_node, "bound $(csi a pvc-one)/sub pod/sub").told(&[("pvc-one", &["a"])]);
    rig.node.run("rmdir $(csi a pvc-one)/sub; mkdir $(csi a pvc-one)/sub");
    let gone = rig.pod.mount_at(&rig.path("pod/sub"));
    assert_eq!(gone.linked, terrace_probe::mountinfo::Linked::Deleted);
    assert_eq!(rig.verdict("pod/sub"), is("pvc-one"));
}

/// A file in one namespace is read from another by process, and a process that is gone is found by the scan.
#[test]
fn every_namespace_is_found_through_any_of_its_processes() {
    let rig = Rig::new("true", "mkdir pod/own; mount -t tmpfs mine pod/own");
    let seen = rig.pod.mount_at(&rig.path("pod/own"));
    let every = HostProc::new(Path::new("/proc")).every();
    let found = every.iter().filter(|mounts| find(mounts, seen.id, seen.device).is_some());
    assert_eq!(found.count(), 1);
}

#[tokio::test]
async fn a_mount_and_an_unmount_wake_and_nothing_else_does() {
    let mut rig = Rig::new("true", "true");
    let path = format!("/proc/{}/mountinfo", rig.node.child.id());
    let watch = MountWatch::open(Path::new(&path)).unwrap();
    let moment = Duration::from_millis(300);
    let long = Duration::from_secs(20);
    assert!(tokio::time::timeout(moment, watch.changed()).await.is_err(), "woken by nothing");
    for change in ["mount -t tmpfs tmpfs srv", "umount srv"] {
        rig.node.run(&format!("mkdir -p srv; {change}"));
        tokio::time::timeout(long, watch.changed()).await.unwrap().unwrap();
    }
    rig.pod.run("mkdir pod/own; mount -t tmpfs tmpfs pod/own");
    assert!(
        tokio::time::timeout(moment, watch.changed()).await.is_err(),
        "woken by another namespace"
    );
}

/// Folders of one filesystem as volumes, which nothing but their roots tells apart.
fn folders(count: usize) -> Rig {
    let on_node = format!(
        "image one 16M ext4; mkdir fs; mount -o loop one.img fs
        for v in $(seq 0 {}); do mkdir fs/$v; bound fs/$v $(csi a pvc-$v); done",
        count - 1
    );
    let names: Vec<_> = (0..count).map(|v| format!("pvc-{v}")).collect();
    let volumes: Vec<_> = names.iter().map(|name| (name.as_str(), &["a"][..])).collect();
    Rig::new(&on_node, "mkdir pod/m").told(&volumes)
}

fn attach() -> Loaded {
    let plan = Plan { forced: Some(Tier::RawTracepoint), ..Plan::default() };
    AyaLoader.attach(&plan).unwrap()
}

/// As the probe does it; `node` stands for the host.
fn judge(rig: &Rig, sighting: &Sighting) -> Verdict {
    let Thing::Mount(id) = sighting.thing else { return Verdict::Class(SharedClass::Host) };
    let host = Host::new(rig.node.mounts(), Layout::at(&rig.path("kubelet")));
    let book = NameBook::new(rig.names.clone());
    if let Some(mount) = find_sighted(host.mounts(), id, sighting) {
        return name_mount(mount, Seen::OnHost, &host, Some(&book));
    }
    let pod = rig.pod.mounts();
    let within = find_sighted(&pod, id, sighting);
    let within = within.map(|mount| name_mount(mount, Seen::Within, &host, Some(&book)));
    within.unwrap_or(Verdict::Nobody(Unnamed::Gone))
}

/// The id, the superblock and the place are the same, and only the root is not: what the first one did is not the second one's.
#[test]
fn an_id_that_went_on_to_another_folder_takes_no_operations_along() {
    let mut rig = folders(2);
    let probe = attach();
    for _ in 0..100 {
        rig.pod.run("mount --bind $(csi a pvc-0) pod/m; echo x >pod/m/f");
        let first = rig.pod.mount_at(&rig.path("pod/m")).id;
        rig.pod.run("umount pod/m; mount --bind $(csi a pvc-1) pod/m");
        let second = rig.pod.mount_at(&rig.path("pod/m")).id;
        let sighted = || {
            let all = probe.sightings().unwrap();
            all.into_iter().find(|sighting| sighting.thing == Thing::Mount(second))
        };
        if first == second {
            let before = sighted().unwrap();
            assert_ne!(before.root_hash, 0);
            assert_eq!(judge(&rig, &before), Verdict::Nobody(Unnamed::Gone));
            rig.pod.run("echo x >pod/m/f");
            let after = sighted().unwrap();
            assert_ne!(after.generation, before.generation);
            assert_eq!(judge(&rig, &after), is("pvc-1"));
            return;
        }
        rig.pod.run("umount pod/m");
    }
    panic!("the kernel never handed an id out again");
}

/// Every other mount is gone before anybody looks; those that were looked at in time are counted to the last write.
#[test]
fn five_hundred_mounts_on_few_ids_are_counted_right_and_leak_no_slot() {
    let mut rig = folders(8);
    let probe = attach();
    let policy = Policy { keep_readings: 40, ..Policy::default() };
    let mut slots = Slots::new(policy);
    let (mut written, mut named) = ([0_u64; 8], [0_u64; 8]);
    for turn in 0..500_usize {
        let volume = turn * 7 % 8;
        rig.pod.run(&format!("mount --bind $(csi a pvc-{volume}) pod/m"));
        rig.pod.run("for i in 1 2 3; do echo x; done >pod/m/f");
        written[volume] += 3;
        if turn % 2 == 0 {
            named[volume] += 3;
            look(&rig, &probe, &mut slots);
        }
        rig.pod.run("umount pod/m");
        look(&rig, &probe, &mut slots);
        if turn % 25 == 24 {
            read(&rig, &probe, &mut slots);
        }
    }
    let counted = |volume: usize| {
        let slot = slots.slot_of(&VolumeKey::Volume(format!("pvc-{volume}")));
        slot.map_or(0, |slot| probe.figures(slot)[Operation::Write.index()].count())
    };
    let counted: Vec<_> = (0..8).map(counted).collect();
    assert_eq!(counted, named, "of {written:?} written");
    let nobodys = probe.figures(SharedClass::Unnamed.slot())[Operation::Write.index()].count();
    assert!(nobodys >= written.iter().sum::<u64>() - named.iter().sum::<u64>(), "{nobodys}");
    (0..50).for_each(|_| read(&rig, &probe, &mut slots));
    assert_eq!(slots.free(), usize::from(VOLUME_SLOTS));
    assert!(probe.orphans().unwrap().is_empty());
}

fn look(rig: &Rig, probe: &Loaded, slots: &mut Slots) {
    for sighting in slots.observe(&probe.sightings().unwrap()) {
        let verdict = judge(rig, &sighting);
        let steps = slots.decide(sighting.thing, sighting.generation, &verdict);
        apply(&steps, probe, slots).unwrap();
    }
}

fn read(rig: &Rig, probe: &Loaded, slots: &mut Slots) {
    let ids = HostProc::ids(&[rig.node.mounts(), rig.pod.mounts()]);
    let steps = slots.sweep(&ids);
    apply(&steps, probe, slots).unwrap();
    slots.orphaned(&probe.orphans().unwrap());
    let steps = slots.read(|_| false);
    apply(&steps, probe, slots).unwrap();
}
