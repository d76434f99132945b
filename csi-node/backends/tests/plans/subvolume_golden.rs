//! Stories of the btrfs backend: a world in, prose out, as in `golden.rs`.

use terrace_backends::{Backend, BtrfsBackend};
use terrace_device_types::{
    Access, BackendKind, Bytes, Claimed, DeletionProof, DeletionStamp, DevT, DeviceKind,
    DeviceView, Erase, FsType, HostObject, HostState, Intent, PoolFile, PoolFileReading,
    PoolIntent, PoolPlace, PvReading, QuotaView, Sharing, Signature, StageState, VolumeMode, Wipe,
};

use crate::golden::{EXT4, STAGING, check, create, stage};
use crate::pair::{Pair, copied, copy};
use crate::world::{Inside, World, cluster, pool_file, volume};

const BTRFS: VolumeMode = VolumeMode::Filesystem { fs: FsType::Btrfs };
const POD: &str = "/kubelet/pod/mount";

fn tell(name: &str, intent: &Intent, world: &World) {
    check(&format!("btrfs-{name}"), BtrfsBackend.plan(intent, &world.view()));
}

fn unstage() -> Intent {
    Intent::Unstage { volume: volume(), cluster: cluster(), target: STAGING.into() }
}

fn grow(to: Bytes) -> Intent {
    Intent::Grow { volume: volume(), cluster: cluster(), to }
}

fn delete(world: &World, erase: Erase) -> Intent {
    let stamp = DeletionStamp { volume: volume(), id: "deletion-1".parse().unwrap() };
    let tag = &world.image.as_ref().unwrap().tag;
    let claimed = Claimed::Volume(PvReading::NotFound);
    let proof = DeletionProof::check(Some(&stamp), volume(), &cluster(), &claimed, tag).unwrap();
    Intent::Delete { volume: volume(), proof, erase }
}

/// A btrfs world in which these were done.
pub(crate) fn after(intents: &[Intent]) -> World {
    let mut world = World::on_btrfs();
    for intent in [&[create(BTRFS, Bytes::gib(1))], intents].concat() {
        for step in BtrfsBackend.plan(&intent, &world.view()).unwrap() {
            world.apply(&step).unwrap();
        }
    }
    world
}

fn with_options(options: &[&str]) -> Intent {
    let Intent::Stage { volume, cluster, mode, target, options: _, access, operation } =
        stage(BTRFS)
    else {
        panic!()
    };
    let options = options.iter().map(|option| (*option).to_owned()).collect();
    Intent::Stage { volume, cluster, mode, target, options, access, operation }
}

#[test]
fn making_a_subvolume() {
    let world = World::on_btrfs();
    tell("create", &create(BTRFS, Bytes::gib(1)), &world);
    tell("create-again", &create(BTRFS, Bytes::gib(1)), &after(&[]));
    tell("create-again-larger", &create(BTRFS, Bytes::gib(2)), &after(&[]));
    tell("create-raw-block", &create(VolumeMode::Block, Bytes::gib(1)), &world);
    tell("create-small", &create(BTRFS, Bytes::mib(1)), &world);
    tell("create-too-small", &create(BTRFS, Bytes(4096)), &world);
    tell("create-ext4", &create(EXT4, Bytes::gib(1)), &world);
    tell("create-pool-full", &create(BTRFS, Bytes::gib(9)), &world);
    let mut begun = after(&[]);
    begun.image_mut().tag.state = HostState::Creating;
    tell("create-begun-before-a-crash", &create(BTRFS, Bytes::gib(1)), &begun);
    begun.image_mut().inside = Inside::Subvolume { there: false, read_only: false };
    tell("create-taken-back-in-part", &create(BTRFS, Bytes::gib(1)), &begun);
    for (name, quota) in [("off", QuotaView::Off), ("simple", QuotaView::Simple)] {
        let mut world = World::on_btrfs();
        world.pool.quota = quota;
        tell(&format!("create-quota-{name}"), &create(BTRFS, Bytes::gib(1)), &world);
    }
}

#[test]
fn using_a_subvolume() {
    let staged = after(&[stage(BTRFS)]);
    tell("stage-first", &stage(BTRFS), &after(&[]));
    tell("stage-again", &stage(BTRFS), &staged);
    tell("stage-second-time", &stage(BTRFS), &after(&[stage(BTRFS), unstage()]));
    tell("stage-with-options", &with_options(&["nosuid", "rw", "noatime"]), &after(&[]));
    tell("stage-with-options-of-the-filesystem", &with_options(&["compress=zstd"]), &after(&[]));
    let mut rebooted = staged.clone();
    rebooted.reboot();
    tell("stage-after-a-reboot", &stage(BTRFS), &rebooted);
    let mut lost = after(&[]);
    lost.image_mut().inside = Inside::Subvolume { there: false, read_only: false };
    tell("i2-stage-lost", &stage(BTRFS), &lost);
    let publish = Intent::Publish {
        volume: volume(),
        cluster: cluster(),
        staging: STAGING.into(),
        target: POD.into(),
        access: Access::ReadOnly,
        sharing: Sharing::Exclusive,
    };
    tell("publish", &publish, &staged);
    tell("unstage", &unstage(), &staged);
    tell("unstage-while-published", &unstage(), &after(&[stage(BTRFS), publish]));
    tell("grow", &grow(Bytes::gib(2)), &staged);
    tell("grow-done", &grow(Bytes::gib(1)), &staged);
}

#[test]
fn ending_a_subvolume() {
    let world = after(&[stage(BTRFS), unstage()]);
    tell("i1-delete", &delete(&world, Erase::No), &world);
    tell("i1-delete-erased", &delete(&world, Erase::Zeros), &world);
    let staged = after(&[stage(BTRFS)]);
    tell("i1-delete-mounted", &delete(&staged, Erase::No), &staged);
    let mut recorded = world.clone();
    let (boot, target) = (recorded.boot(), STAGING.into());
    recorded.image_mut().tag.stage = StageState::At { boot, target };
    tell("i1-delete-staged", &delete(&recorded, Erase::No), &recorded);
    recorded.reboot();
    tell("i1-delete-staged-before-a-reboot", &delete(&recorded, Erase::No), &recorded);
}

#[test]
fn copying_a_subvolume() {
    let (snapshot, clone) = (HostObject::Snapshot, HostObject::Volume);
    let pair = Pair::of(after(&[stage(BTRFS)]));
    let tell = |name: &str, intent: &Intent, pair: &Pair| {
        check(&format!("btrfs-{name}"), BtrfsBackend.plan(intent, &pair.view()));
    };
    tell("snapshot", &copy(snapshot, Bytes::gib(1), BTRFS), &pair);
    tell("clone", &copy(clone, Bytes::gib(1), BTRFS), &pair);
    tell("clone-larger", &copy(clone, Bytes::gib(2), BTRFS), &pair);
    tell("clone-smaller", &copy(clone, Bytes::mib(512), BTRFS), &pair);
    tell("copy-of-nothing", &copy(clone, Bytes::gib(1), BTRFS), &Pair::of(World::on_btrfs()));
    let mut begun = pair.clone();
    let mut half = after(&[]).image.unwrap();
    half.tag.volume = copied();
    half.tag.source = Some(volume());
    half.tag.state = HostState::Creating;
    begun.object.image = Some(half);
    tell("clone-begun-before-a-crash", &copy(clone, Bytes::gib(1), BTRFS), &begun);
    begun.source.image = None;
    tell("clone-whose-source-went", &copy(clone, Bytes::gib(1), BTRFS), &begun);
}

fn disk(signature: Signature) -> DeviceView {
    DeviceView {
        kind: DeviceKind::Disk,
        id: "wwn-0x5000c500".into(),
        path: "/dev/sdb".into(),
        dev_t: DevT { major: 8, minor: 16 },
        size: Bytes::gib(100),
        model: None,
        serial: None,
        wwn: None,
        rotational: false,
        logical_sector: 512,
        physical_sector: 4096,
        read_only: false,
        removable: false,
        facts: terrace_device_types::DeviceFacts::default(),
        signature,
        uses: Vec::new(),
    }
}

#[test]
fn making_btrfs_pools() {
    let file = || PoolFile { backend: BackendKind::Btrfs, ..pool_file() };
    let tell = |name: &str, place: PoolPlace, spoil: fn(&mut World)| {
        let mut world = World::on_btrfs();
        world.pool.file = PoolFileReading::Absent;
        spoil(&mut world);
        let intent = PoolIntent::Make { file: file(), place };
        check(&format!("btrfs-pool-{name}"), BtrfsBackend.plan_pool(&intent, &world.pool, &[]));
    };
    let dir = || PoolPlace::Directory;
    tell("directory", dir(), |_| {});
    tell("directory-quota-off", dir(), |world| world.pool.quota = QuotaView::Off);
    tell("directory-quota-simple", dir(), |world| world.pool.quota = QuotaView::Simple);
    tell("directory-ours", dir(), |world| *world = World::on_btrfs());
    tell("directory-ours-out-of-step", dir(), |world| {
        *world = World::on_btrfs();
        world.pool.quota = QuotaView::Counting;
    });
    tell("directory-ours-careless", dir(), |world| {
        *world = World::on_btrfs();
        world.pool.quota = QuotaView::Careless;
    });
    tell("directory-on-xfs", dir(), |world| {
        world.pool.fs = "xfs".into();
        world.pool.quota = QuotaView::NotBtrfs;
    });
    tell("directory-of-a-file-pool", dir(), |world| {
        world.pool.file = PoolFileReading::Read(pool_file());
    });
    let place =
        |signature| PoolPlace::Device { device: Box::new(disk(signature)), wipe: Wipe::Never };
    let uuid = pool_file().pool_uuid.filesystem_uuid();
    tell("disk-blank", place(Signature::Blank), |_| {});
    tell("disk-ours", place(Signature::Filesystem { fs: FsType::Btrfs, uuid }), |_| {});
    tell("disk-of-a-file-pool", place(Signature::Filesystem { fs: FsType::Xfs, uuid }), |_| {});
}
