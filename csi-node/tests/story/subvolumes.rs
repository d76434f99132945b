//! The same agent on a pool of subvolumes: volumes, snapshots, restores, clones, groups and their ends.
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use terrace_crds::volume::FsType;
use terrace_crds::{StorageSnapshot, StorageVolume};
use terrace_device_types::{HostState, TagReading};

use crate::agent::{condition, pass, status};
use crate::bench::{BTRFS, Bench};
use crate::snapshots::{Node, copy, deleted, dropped, group, host_name, ready, snapshot, stamp};

const SIZE: &str = "109Mi";

fn subvolume(mut one: StorageSnapshot) -> StorageSnapshot {
    one.spec.fs_type = Some(FsType::Btrfs);
    one.spec.capacity = SIZE.parse().expect("a size");
    one
}

fn subvolume_copy(bench: &Bench, name: &str, size: &str, kind: &str, of: &str) -> StorageVolume {
    let mut copy = copy(bench, name, size, kind, of);
    copy.spec.fs_type = Some(FsType::Btrfs);
    copy
}

async fn source(node: &mut Node, name: &str) -> PathBuf {
    node.bench.create(&node.running, name, BTRFS).await;
    let dir = node.publish(name).await;
    std::fs::write(dir.join("file"), name).expect("written");
    dir
}

async fn made(node: &mut Node, wanted: StorageVolume) -> PathBuf {
    let writes = pass(&node.agent, &node.fake, &wanted).await;
    assert_eq!(condition(status(&writes), "Ready").0, "True", "{writes:?}");
    node.publish(wanted.metadata.name.as_deref().expect("a name")).await
}

fn read(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("file")).expect("there")
}

fn state(bench: &Bench, name: &str) -> Option<HostState> {
    match bench.view(name).volume.image?.tag {
        TagReading::Read(tag) => Some(tag.state),
        TagReading::Absent | TagReading::Unreadable(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subvolume_its_snapshot_its_restore_and_its_clone_stand_side_by_side() {
    let mut node = Node::start_on(Bench::on_btrfs()).await;
    let original = source(&mut node, "vol").await;
    let before = Timestamp::now().as_second();
    let mut one = subvolume(snapshot(&node.bench, "vol", "vol"));
    node.pass(&mut one, &[]).await;
    assert_eq!(ready(&one).0, "True", "{:?}", ready(&one));
    assert_eq!(node.pass(&mut one, &[]).await, [], "I8");
    let said = one.status.clone().expect("a status");
    assert_eq!(said.backend.as_deref(), Some("btrfs"));
    let taken = said.created_at.clone().expect("a moment").0.as_second();
    assert!((before..=Timestamp::now().as_second()).contains(&taken), "{taken}");

    std::fs::write(original.join("file"), "changed").expect("written");
    let bench = std::sync::Arc::clone(&node.bench);
    let restored = subvolume_copy(&bench, "restored", "128Mi", "Snapshot", "vol");
    let restored = made(&mut node, restored).await;
    let clone = made(&mut node, subvolume_copy(&bench, "clone", SIZE, "Volume", "vol")).await;
    assert_eq!((read(&original).as_str(), read(&restored).as_str()), ("changed", "vol"));
    assert_eq!(read(&clone), "changed");
    std::fs::write(restored.join("file"), "mine").expect("a restore can be written");
    assert_eq!(read(&clone), "changed");

    let mut forgotten = subvolume(snapshot(&node.bench, "vol", "vol"));
    node.pass(&mut forgotten, &[]).await;
    assert_eq!(forgotten.status.expect("a status").created_at, said.created_at, "the same moment");
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_subvolumes_snapshot_goes_with_its_stamp_alone_and_outlives_its_source() {
    let mut node = Node::start_on(Bench::on_btrfs()).await;
    source(&mut node, "vol").await;
    let mut one = subvolume(snapshot(&node.bench, "snap", "vol"));
    node.pass(&mut one, &[]).await;
    let service = &mut node.running.node;
    service.node_unpublish_volume(node.bench.unpublish("vol", "vol")).await.expect("unpublished");
    service.node_unstage_volume(node.bench.unstage("vol")).await.expect("unstaged");
    let mut gone = crate::agent::deleted(&node.bench, crate::agent::stamp(&node.bench));
    gone.spec.fs_type = Some(FsType::Btrfs);
    pass(&node.agent, &node.fake, &gone).await;
    assert_eq!(state(&node.bench, "vol"), None);
    let writes = node.pass(&mut deleted(one.clone(), None), &[]).await;
    assert!(dropped(&writes), "the object may go, the bytes stay");
    assert_eq!(state(&node.bench, &host_name("snap")), Some(HostState::Retained));
    let mut again = subvolume(snapshot(&node.bench, "snap", "vol"));
    node.pass(&mut again, &[]).await;
    assert_eq!(state(&node.bench, &host_name("snap")), Some(HostState::Ready), "adopted");
    let stamped = stamp(&one);
    let writes = node.pass(&mut deleted(one, stamped), &[]).await;
    assert!(dropped(&writes), "{writes:?}");
    let left = std::fs::read_dir(&node.bench.pool.dir).expect("listed").flatten();
    assert_eq!(left.count(), 1, "the pool file alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_subvolumes_is_taken_by_its_first() {
    let mut node = Node::start_on(Bench::on_btrfs()).await;
    for name in ["a", "b"] {
        source(&mut node, name).await;
    }
    let mut all: Vec<_> = group(&node.bench, &["a", "b"]).into_iter().map(subvolume).collect();
    for index in [1, 0, 1] {
        let others = all.clone();
        node.pass(&mut all[index], &others).await;
    }
    for one in &all {
        assert_eq!(ready(one).0, "True", "{:?}", ready(one));
    }
    let bench = std::sync::Arc::clone(&node.bench);
    let restored = subvolume_copy(&bench, "from-b", SIZE, "Snapshot", "b");
    assert_eq!(read(&made(&mut node, restored).await), "b");
}
