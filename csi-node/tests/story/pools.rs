//! Pools on real folders and real (loop) disks: made once, found again, never over anything of anybody's.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use terrace_crds::node::NodePool;
use terrace_crds::pool::PoolState;
use terrace_crds::{StoragePool, StorageVolume};
use terrace_node::agent::Agent;
use terrace_node::agent::pool::{self, Allowed};
use terrace_node::host::{Host, RealHost};
use terrace_node::inventory::{self, Scope, Wanted};

use crate::agent::agent;
use crate::api::FakeApi;
use crate::bench::{Bench, Running};

fn pool(name: &str, spec: Value) -> StoragePool {
    let object = json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StoragePool",
        "metadata": { "name": name, "creationTimestamp": "2026-11-22T10:00:00Z" }, "spec": spec,
    });
    serde_json::from_value(object).expect("a StoragePool")
}

fn folder(name: &str, dir: &Path) -> StoragePool {
    pool(name, json!({ "tier": "ssd", "file": { "directory": dir } }))
}

fn disk(name: &str, id: &str) -> StoragePool {
    disk_of("file", name, id)
}

/// The name makes the filesystem's UUID, and mkfs.btrfs refuses one that another disk has: tests that run beside each other have names of their own.
fn disk_of(backend: &str, name: &str, id: &str) -> StoragePool {
    let mut spec = json!({ "tier": "ssd", "devices": [{ "id": id }] });
    spec[backend] = json!({});
    pool(name, spec)
}

async fn pass(bench: &Bench, running: &Running, pools: &[&StoragePool]) -> Vec<NodePool> {
    pass_of(&agent(running, &FakeApi::default()), bench, pools).await
}

async fn pass_of(agent: &Agent, bench: &Bench, pools: &[&StoragePool]) -> Vec<NodePool> {
    let allowed = Allowed { roots: vec![bench.path("")], mounts: bench.path("mnt") };
    let devices = RealHost::new().devices().expect("a look");
    pool::pass(agent, pools, &BTreeMap::new(), &allowed, &devices, &[]).await
}

/// As once both watches have listed what there is; the writers keep the lists.
fn watched(agent: &Agent, volumes: Vec<StorageVolume>) -> (impl Sized, impl Sized) {
    let (of_volumes, mut volume_writer) = reflector::store();
    volume_writer.apply_watcher_event(&Event::Init);
    volumes
        .into_iter()
        .for_each(|volume| volume_writer.apply_watcher_event(&Event::InitApply(volume)));
    volume_writer.apply_watcher_event(&Event::InitDone);
    agent.objects.watch_volumes(of_volumes);
    let (of_snapshots, mut snapshot_writer) = reflector::store();
    snapshot_writer.apply_watcher_event(&Event::InitDone);
    agent.objects.watch_snapshots(of_snapshots);
    (volume_writer, snapshot_writer)
}

/// A disk of 400 MiB: a loop device that is no volume of ours.
pub(crate) struct Disk {
    device: String,
    pub(crate) file: PathBuf,
}

impl Disk {
    pub(crate) fn new(bench: &Bench, name: &str) -> Self {
        let file = bench.path(name);
        let made = std::fs::File::create(&file).and_then(|file| file.set_len(400 << 20));
        made.expect("a file");
        let output = Command::new("losetup").args(["-f", "--show"]).arg(&file).output();
        let device = String::from_utf8(output.expect("losetup").stdout).expect("text");
        Self { device: device.trim().to_owned(), file }
    }

    pub(crate) fn id(&self) -> String {
        format!("loop:{}", self.file.display())
    }

    fn run(&self, program: &str, args: &[&str]) {
        let ended = Command::new(program).args(args).arg(&self.device).output().expect(program);
        assert!(ended.status.success(), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_becomes_a_pool_once_and_is_found_again() {
    let bench = Bench::new();
    let running = bench.start().await;
    let wanted = folder("fast", &bench.path("fast"));
    let first = pass(&bench, &running, &[&wanted]).await;
    assert_eq!((first[0].state, &first[0].message), (PoolState::Ready, &None));
    let operations = running.context.runner.journal.open_operations().expect("read");
    assert!(operations.is_empty());
    let again = pass(&bench, &running, &[&wanted]).await;
    assert_eq!(again[0].uuid, first[0].uuid);
    let uuid = first[0].uuid.as_ref().expect("a UUID").parse().expect("a UUID");
    assert_eq!(running.context.pools.get(uuid).expect("served").dir, bench.path("fast"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_folder_of_another_cluster_is_foreign_and_untouched() {
    let bench = Bench::new();
    let running = bench.start().await;
    let dir = bench.path("foreign");
    std::fs::create_dir(&dir).expect("a folder");
    let text = json!({
        "poolUUID": "8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10", "clusterUID": "other", "pool": "theirs",
    });
    std::fs::write(dir.join("terrace-pool.json"), text.to_string()).expect("written");
    let found = pass(&bench, &running, &[&folder("mine", &dir)]).await;
    assert_eq!(found[0].state, PoolState::Foreign);
    assert!(found[0].message.as_ref().expect("said").contains("belongs to cluster other"));
    let left = std::fs::read_to_string(dir.join("terrace-pool.json")).expect("there");
    assert_eq!(left, text.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_files_of_others_is_refused_and_named() {
    let bench = Bench::new();
    let running = bench.start().await;
    let dir = bench.path("used");
    std::fs::create_dir(&dir).expect("a folder");
    std::fs::write(dir.join("letters.txt"), "mine").expect("written");
    let found = pass(&bench, &running, &[&folder("p", &dir)]).await;
    assert_eq!(found[0].state, PoolState::Refused);
    assert!(found[0].message.as_ref().expect("said").contains("letters.txt"), "{found:?}");
    assert!(!dir.join("terrace-pool.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_disk_is_not_mounted_is_missing_and_not_marked_again() {
    let bench = Bench::new();
    let running = bench.start().await;
    let wanted = folder("fast", &bench.path("fast"));
    pass(&bench, &running, &[&wanted]).await;
    std::fs::remove_file(bench.path("fast/terrace-pool.json")).expect("as if unmounted");
    let found = pass(&bench, &running, &[&wanted]).await;
    assert_eq!(found[0].state, PoolState::Missing, "{found:?}");
    assert!(!bench.path("fast/terrace-pool.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_pool_without_its_storagepool_is_forgotten_and_one_with_volumes_is_not() {
    let bench = Bench::new();
    let running = bench.start().await;
    bench.create(&running, "vol", crate::bench::EXT4).await;
    let wanted = folder("fast", &bench.path("fast"));
    pass(&bench, &running, &[&wanted]).await;
    assert_eq!(running.context.pools.all().len(), 2);
    pass(&bench, &running, &[]).await;
    assert_eq!(running.context.pools.all(), std::slice::from_ref(&bench.pool), "it holds a volume");
    std::fs::remove_file(bench.path("fast/terrace-pool.json")).expect("emptied on purpose");
    let again = pass(&bench, &running, &[&wanted]).await;
    assert_eq!(again[0].state, PoolState::Ready, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_went_with_its_storagepool_is_forgotten_once_nothing_names_it() {
    let bench = Bench::new();
    let running = bench.start().await;
    let wanted = folder("fast", &bench.path("fast"));
    let made = pass(&bench, &running, &[&wanted]).await;
    let uuid = made[0].uuid.clone().expect("a UUID");
    std::fs::remove_dir_all(bench.path("fast")).expect("its disk is taken away");
    let known = || running.context.pools.get(uuid.parse().expect("a UUID")).is_some();
    let (host, pools) = (RealHost::new(), running.context.pools.clone());
    let look = || {
        let wanted = Wanted { name: "never-was", uuid: None, pool: None, scope: Scope::Any };
        inventory::find(&host, &pools, &running.context.cluster().expect("known"), &wanted)
    };
    pass(&bench, &running, &[]).await;
    assert!(known(), "what lies on it is not known yet");
    assert!(matches!(look(), Err(inventory::Error::Unknown { .. })), "in doubt");
    let spec = json!({
        "origin": "CSI", "capacity": "1Gi", "volumeMode": "Block", "pool": "fast",
        "assignment": { "node": "n", "poolUUID": uuid },
    });
    let volume = serde_json::from_value(json!({ "metadata": { "name": "v" }, "spec": spec }));
    let used = agent(&running, &FakeApi::default());
    let _watches = watched(&used, vec![volume.expect("a StorageVolume")]);
    pass_of(&used, &bench, &[]).await;
    assert!(known(), "a volume lies on it");
    let unused = agent(&running, &FakeApi::default());
    let _watches = watched(&unused, Vec::new());
    pass_of(&unused, &bench, &[]).await;
    assert!(!known());
    assert!(matches!(look(), Err(inventory::Error::NotFound { .. })), "not here, and no doubt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_disk_becomes_a_pool_of_either_backend_and_is_mounted_again_after_a_reboot() {
    for backend in ["file", "btrfs"] {
        let bench = Bench::new();
        let running = bench.start().await;
        let disk_one = Disk::new(&bench, "disk");
        let wanted = disk_of(backend, "rebooted", &disk_one.id());
        let found = pass(&bench, &running, &[&wanted]).await;
        assert_eq!(found[0].state, PoolState::Ready, "{found:?}");
        assert_eq!(found[0].backend, backend);
        let dir = bench.path("mnt").join(found[0].uuid.as_ref().expect("a UUID"));
        assert!(dir.join("terrace-pool.json").exists());
        let mounted = pass(&bench, &running, &[&wanted]).await;
        assert_eq!(mounted[0].state, PoolState::Ready, "{mounted:?}");
        assert!(Command::new("umount").arg(&dir).status().expect("umount").success());
        let again = pass(&bench, &running, &[&wanted]).await;
        assert_eq!((again[0].state, &again[0].uuid), (PoolState::Ready, &found[0].uuid));
        assert!(dir.join("terrace-pool.json").exists(), "the same filesystem, not a new one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_holds_data_is_refused_and_what_was_found_is_said() {
    let bench = Bench::new();
    let running = bench.start().await;
    let disk_one = Disk::new(&bench, "disk");
    disk_one.run("mkfs.ext4", &["-q"]);
    let found = pass(&bench, &running, &[&disk("disks", &disk_one.id())]).await;
    assert_eq!(found[0].state, PoolState::Refused);
    let message = found[0].message.clone().expect("said");
    assert!(message.contains("holds data (ext4"), "{message}");
    disk_one.run("e2fsck", &["-n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pools_on_one_disk_the_older_has_it_and_both_say_so() {
    let bench = Bench::new();
    let running = bench.start().await;
    let disk_one = Disk::new(&bench, "disk");
    let old = disk("old", &disk_one.id());
    let mut young = disk("young", &disk_one.id());
    young.metadata.creation_timestamp =
        serde_json::from_value(json!("2026-11-22T11:00:00Z")).expect("a time");
    let found = pass(&bench, &running, &[&young, &old]).await;
    let states: Vec<_> = found.iter().map(|pool| (pool.name.as_str(), pool.state)).collect();
    assert_eq!(states, [("old", PoolState::Ready), ("young", PoolState::Refused)]);
    let said =
        |pool: &NodePool, word: &str| pool.message.as_ref().is_some_and(|text| text.contains(word));
    assert!(said(&found[0], "young") && said(&found[1], "old"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_disk_that_was_a_pool_and_looks_blank_now_is_not_formatted_again() {
    for backend in ["file", "btrfs"] {
        let bench = Bench::new();
        let running = bench.start().await;
        let disk_one = Disk::new(&bench, "disk");
        let wanted = disk_of(backend, "blanked", &disk_one.id());
        let found = pass(&bench, &running, &[&wanted]).await;
        assert_eq!(found[0].state, PoolState::Ready, "{found:?}");
        let dir = bench.path("mnt").join(found[0].uuid.as_ref().expect("a UUID"));
        assert!(Command::new("umount").arg(&dir).status().expect("umount").success());
        disk_one.run("blkdiscard", &["-z", "-o", "0", "-l", "4194304"]);
        disk_one.run("wipefs", &["-q", "-a"]);
        let again = pass(&bench, &running, &[&wanted]).await;
        assert_eq!(again[0].state, PoolState::Missing, "{again:?}");
        let said = again[0].message.as_ref().expect("said");
        assert!(said.contains("not formatted again"), "{said}");
        let left = Command::new("blkid").arg("-p").arg(&disk_one.device).output().expect("blkid");
        assert!(left.stdout.is_empty(), "formatted a second time: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_btrfs_pool_on_another_filesystem_is_refused_with_what_to_do() {
    let bench = Bench::on_xfs();
    let running = bench.start().await;
    let dir = bench.pool.dir.join("subvolumes");
    let wanted = pool("subvolumes", json!({ "tier": "ssd", "btrfs": { "directory": dir } }));
    let found = pass(&bench, &running, &[&wanted]).await;
    assert_eq!((found[0].state, found[0].backend.as_str()), (PoolState::Refused, "btrfs"));
    let said = found[0].message.as_ref().expect("said");
    assert!(said.contains("on xfs") && said.contains("use spec.file"), "{said}");
}

/// As mkfs.btrfs leaves a disk from its first superblock until its last write.
fn undo_last_write_of_mkfs(disk: &Disk) {
    let file = std::fs::File::options().write(true).open(&disk.file).expect("the file");
    let magic = (64 << 10) + 64;
    std::os::unix::fs::FileExt::write_all_at(&file, b"!BHRfS_M", magic).expect("written");
    Command::new("blockdev").args(["--flushbufs", &disk.device]).status().expect("blockdev");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_btrfs_whose_mkfs_was_killed_is_made_anew_if_it_was_to_be_this_pools() {
    let bench = Bench::new();
    let disk_one = Disk::new(&bench, "disk");
    let wanted = disk_of("btrfs", "killed", &disk_one.id());
    // No journal knows the pool: it was never in service.
    let anew = async || {
        let running = bench.start().await;
        let found = pass(&bench, &running, &[&wanted]).await;
        running.stop().await;
        std::fs::remove_file(bench.path("journal.redb")).expect("removed");
        let dir = found[0].uuid.as_ref().map(|uuid| bench.path("mnt").join(uuid));
        if let Some(dir) = dir.filter(|dir| dir.exists()) {
            assert!(Command::new("umount").arg(&dir).status().expect("umount").success());
        }
        found
    };
    assert_eq!(anew().await[0].state, PoolState::Ready);
    undo_last_write_of_mkfs(&disk_one);
    // mkfs.btrfs asks a cache that all programs of the host share, and which may be seconds old, whose UUID this is: the device's own, of before. The agent tries again.
    let until = Instant::now() + Duration::from_secs(60);
    let mut again = anew().await;
    while again[0].state != PoolState::Ready && Instant::now() < until {
        again = anew().await;
    }
    assert_eq!(again[0].state, PoolState::Ready, "{again:?}");
    disk_one.run("mkfs.btrfs", &["-q", "-f"]);
    undo_last_write_of_mkfs(&disk_one);
    let refused = anew().await;
    let message = refused[0].message.clone().expect("said");
    assert!(message.contains("holds data (unfinished btrfs"), "{message}");
}
