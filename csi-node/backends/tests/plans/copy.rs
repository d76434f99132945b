//! Stories of copies: who is copied how, and who is refused.

use terrace_backends::{Backend, FileBackend};
use terrace_device_types::{
    Access, Bytes, FsType, HostObject, HostState, Intent, Kernel, Latch, Leftover, Opened,
    StageState, TagReading, VolumeMode,
};

use crate::golden::{EXT4, STAGING, XFS, after, check, publish, stage, unstage};
use crate::pair::{Pair, copied, copy};
use crate::world::World;

const BTRFS: VolumeMode = VolumeMode::Filesystem { fs: FsType::Btrfs };
const GIB: Bytes = Bytes::gib(1);

fn check_pair(name: &str, object: HostObject, size: Bytes, mode: VolumeMode, pair: &Pair) {
    check(name, FileBackend.plan(&copy(object, size, mode), &pair.view()));
}

fn mounted() -> Pair {
    Pair::of(after(XFS, &[stage(XFS), publish(Access::ReadWrite)]))
}

/// The snapshot of a mounted volume, as a source.
fn snapshot() -> Pair {
    let mut pair = mounted();
    let intent = copy(HostObject::Snapshot, GIB, XFS);
    for step in FileBackend.plan(&intent, &pair.view()).unwrap() {
        pair.apply(&step).unwrap();
    }
    let mut source = pair.object;
    source.image_mut().tag.volume = crate::world::volume();
    Pair::of(source)
}

#[test]
fn copying() {
    use HostObject::{Snapshot, Volume};
    check_pair("copy-snapshot-of-a-mounted-volume", Snapshot, GIB, XFS, &mounted());
    check_pair("copy-clone-of-a-mounted-volume", Volume, GIB, XFS, &mounted());
    check_pair("copy-restore-larger", Volume, Bytes::gib(2), XFS, &snapshot());
    let idle = Pair::of(after(EXT4, &[stage(EXT4), unstage()]));
    check_pair("copy-snapshot-of-an-unstaged-volume", Snapshot, GIB, EXT4, &idle);
    let block = Pair::of(after(VolumeMode::Block, &[stage(VolumeMode::Block)]));
    check_pair("copy-snapshot-of-a-block-volume", Snapshot, GIB, VolumeMode::Block, &block);
    let idle = Pair::of(after(VolumeMode::Block, &[]));
    check_pair("copy-clone-of-an-unstaged-block-volume", Volume, GIB, VolumeMode::Block, &idle);
    let unformatted = Pair::of(after(XFS, &[]));
    check_pair("copy-snapshot-of-an-unformatted-volume", Snapshot, GIB, XFS, &unformatted);
    check_pair("copy-clone-of-an-unformatted-volume", Volume, Bytes::gib(2), XFS, &unformatted);
    let mut pair = mounted();
    pair.source.pool.reflink = false;
    check_pair("copy-without-reflink", Snapshot, GIB, XFS, &pair);
    let mut pair = mounted();
    pair.source.pool.free = Bytes::mib(900);
    check_pair("copy-snapshot-pool-full", Snapshot, GIB, XFS, &pair);
    // Larger than was known when it was asked for: a snapshot is what its source is.
    check_pair("copy-snapshot-smaller-than-asked", Snapshot, Bytes::mib(512), XFS, &mounted());
    let btrfs = |minor| {
        let mut pair = Pair::of(after(BTRFS, &[stage(BTRFS)]));
        pair.kernel = Kernel { major: 6, minor };
        pair
    };
    check_pair("copy-clone-of-btrfs-before-6.7", Volume, GIB, BTRFS, &btrfs(6));
    check_pair("copy-clone-of-btrfs-since-6.7", Volume, GIB, BTRFS, &btrfs(7));
    check_pair("copy-snapshot-of-btrfs-before-6.7", Snapshot, GIB, BTRFS, &btrfs(6));
}

#[test]
fn copying_again() {
    let done = |object: HostObject, size: Bytes| {
        let mut pair = mounted();
        for step in FileBackend.plan(&copy(object, size, XFS), &pair.view()).unwrap() {
            pair.apply(&step).unwrap();
        }
        pair
    };
    let check = |name: &str, size: Bytes, pair: &Pair| {
        check_pair(name, HostObject::Volume, size, XFS, pair);
    };
    let clone = done(HostObject::Volume, GIB);
    check("copy-again", GIB, &clone);
    check("copy-again-larger", Bytes::gib(2), &clone);
    let mut gone = clone.clone();
    gone.source = World::new();
    check("copy-again-source-gone", GIB, &gone);
    let mut begun = clone.clone();
    begun.object.image_mut().tag.state = HostState::Creating;
    check("copy-begun-before-a-crash", GIB, &begun);
    gone.object = begun.object.clone();
    check("copy-begun-before-a-crash-source-gone", GIB, &gone);
    check("copy-again-of-a-snapshot", GIB, &done(HostObject::Snapshot, GIB));
    let mut other = clone.clone();
    other.object.image_mut().tag.source = Some(copied());
    check("copy-again-of-another-source", GIB, &other);
    let mut retained = clone;
    retained.object.image_mut().tag.state = HostState::Retained;
    check("copy-again-retained", GIB, &retained);
    let (volume, cluster, leftover) = (copied(), crate::world::cluster(), Leftover::Unfinished);
    let sweep = Intent::Sweep { volume, cluster, leftover };
    crate::golden::check("copy-begun-and-swept", FileBackend.plan(&sweep, &begun.view()));
}

#[test]
fn copying_what_is_not_to_be_copied() {
    use HostObject::{Snapshot, Volume};
    check_pair("copy-snapshot-of-a-snapshot", Snapshot, GIB, XFS, &snapshot());
    check_pair("copy-smaller-than-its-source", Volume, Bytes::mib(512), XFS, &mounted());
    check_pair("copy-to-another-filesystem", Volume, GIB, EXT4, &mounted());
    check_pair("copy-of-nothing", Volume, GIB, XFS, &Pair::of(World::new()));
    let mut deleted = mounted();
    let deletion = "deletion-1".parse().unwrap();
    deleted.source.image_mut().tag.state = HostState::Quarantined { deletion };
    check_pair("copy-of-a-quarantined-volume", Volume, GIB, XFS, &deleted);
    let mut theirs = mounted();
    theirs.source.image_mut().tag.cluster = "another-cluster".parse().unwrap();
    check_pair("i4-copy-of-another-clusters-volume", Volume, GIB, XFS, &theirs);
    let mut view = mounted().view();
    view.source.as_mut().unwrap().image.as_mut().unwrap().tag = TagReading::Absent;
    let plan = FileBackend.plan(&copy(Volume, GIB, XFS), &view);
    check("i4-copy-of-an-untagged-image", plan);
    // Claimed, and mounted nowhere that we see: it can't be made to stand still.
    let mut view = mounted().view();
    view.source.as_mut().unwrap().mounts.clear();
    view.source.as_mut().unwrap().filesystem = None;
    check("copy-of-what-is-mounted-out-of-sight", FileBackend.plan(&copy(Volume, GIB, XFS), &view));
    view.source.as_mut().unwrap().opened = Opened::ByNobody;
    check("copy-of-what-is-attached-only", FileBackend.plan(&copy(Volume, GIB, XFS), &view));
}

#[test]
fn a_snapshot_is_kept_and_not_used() {
    let snapshot = snapshot().source;
    let check_alone =
        |name: &str, intent: &Intent| check(name, FileBackend.plan(intent, &snapshot.view()));
    check_alone("snapshot-staged", &stage(XFS));
    check_alone("snapshot-published", &publish(Access::ReadOnly));
    let (volume, cluster) = (crate::world::volume(), crate::world::cluster());
    let to = Bytes::gib(2);
    let grow = Intent::Grow { volume, cluster, to };
    check_alone("snapshot-grown", &grow);
    check_alone("snapshot-created-as-a-volume", &crate::golden::create(XFS, GIB));
    assert!(!snapshot.is_mounted(STAGING.as_ref()));
}

/// The rows of the table of I2 that are a copy's: nothing is ever formatted.
#[test]
fn i2_a_copy_is_never_formatted_whatever_its_latch_says() {
    let latches = [
        ("none", Latch::None),
        ("formatting", Latch::Formatting { operation: "op-1".parse().unwrap() }),
    ];
    for (name, latch) in latches {
        let mut world = after(XFS, &[]);
        let tag = &mut world.image_mut().tag;
        (tag.latch, tag.source, tag.stage) = (latch, Some(copied()), StageState::Never);
        check(&format!("i2-copy-with-latch-{name}"), FileBackend.plan(&stage(XFS), &world.view()));
    }
}
