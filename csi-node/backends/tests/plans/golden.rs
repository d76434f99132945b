//! Stories: a world in, prose out. `BLESS=1 cargo test -p terrace-backends` rewrites `tests/golden/*.plan`; read the diff before you commit it.

use std::path::PathBuf;

use terrace_backends::{Backend, FileBackend};
use terrace_device_types::{
    Access, Allocation, Bytes, Claimed, DeletionProof, DeletionStamp, DevT, DeviceKind, DeviceUse,
    DeviceView, Erase, FsType, FsUuid, HostState, Intent, Latch, PoolFile, PoolFileError,
    PoolFileReading, PoolIntent, PoolPlace, PvReading, Refusal, Sharing, Signature, StageState,
    Step, TagError, TagReading, View, VolumeMode, Wipe,
};

use crate::world::{Content, World, cluster, pool_file, volume};

pub(crate) const XFS: VolumeMode = VolumeMode::Filesystem { fs: FsType::Xfs };
pub(crate) const EXT4: VolumeMode = VolumeMode::Filesystem { fs: FsType::Ext4 };
pub(crate) const STAGING: &str = "/kubelet/staging";
const POD: &str = "/kubelet/pod/mount";

/// The plan, or the refusal with its class, as text; compared with the file of that name.
pub(crate) fn check(name: &str, plan: Result<Vec<Step>, Refusal>) {
    let text = match plan {
        Ok(steps) if steps.is_empty() => "nothing to do\n".to_owned(),
        Ok(steps) => steps.iter().map(|step| format!("{step}\n")).collect(),
        Err(refusal) => {
            let (class, reason) = (refusal.class(), refusal.reason());
            format!("refused ({class:?}, {reason}): {refusal}\n")
        }
    };
    let path = PathBuf::from("tests/golden").join(format!("{name}.plan"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; BLESS=1 rewrites it", path.display());
}

fn check_volume(name: &str, intent: &Intent, view: &View) {
    check(name, FileBackend.plan(intent, view));
}

pub(crate) fn create(mode: VolumeMode, size: Bytes) -> Intent {
    let (name, allocation) = ("pvc-1".into(), Allocation::Reserved);
    Intent::Create { volume: volume(), cluster: cluster(), name, size, mode, allocation }
}

pub(crate) fn stage(mode: VolumeMode) -> Intent {
    Intent::Stage {
        volume: volume(),
        cluster: cluster(),
        mode,
        target: STAGING.into(),
        options: Vec::new(),
        access: Access::ReadWrite,
        operation: "op-2".parse().unwrap(),
    }
}

pub(crate) fn publish(access: Access) -> Intent {
    let (volume, cluster, sharing) = (volume(), cluster(), Sharing::Exclusive);
    let (staging, target) = (STAGING.into(), POD.into());
    Intent::Publish { volume, cluster, staging, target, access, sharing }
}

pub(crate) fn unstage() -> Intent {
    Intent::Unstage { volume: volume(), cluster: cluster(), target: STAGING.into() }
}

fn grow(to: Bytes) -> Intent {
    Intent::Grow { volume: volume(), cluster: cluster(), to }
}

fn delete(world: &World, erase: Erase) -> Intent {
    let stamp = DeletionStamp { volume: volume(), id: "deletion-1".parse().unwrap() };
    let tag = &world.image.as_ref().unwrap().tag;
    let proof = DeletionProof::check(
        Some(&stamp),
        volume(),
        &cluster(),
        &Claimed::Volume(PvReading::NotFound),
        tag,
    )
    .unwrap();
    Intent::Delete { volume: volume(), proof, erase }
}

/// A world in which these were done.
pub(crate) fn after(mode: VolumeMode, intents: &[Intent]) -> World {
    let mut world = World::new();
    let mut all = vec![create(mode, Bytes::gib(1))];
    all.extend_from_slice(intents);
    for intent in all {
        for step in FileBackend.plan(&intent, &world.view()).unwrap() {
            world.apply(&step).unwrap();
        }
    }
    world
}

#[test]
fn creating() {
    let world = World::new();
    check_volume("create", &create(XFS, Bytes::gib(1)), &world.view());
    check_volume("create-too-small", &create(XFS, Bytes::mib(100)), &world.view());
    check_volume("create-not-aligned", &create(XFS, Bytes(Bytes::gib(1).0 + 1)), &world.view());
    check_volume("create-pool-full", &create(XFS, Bytes::gib(9)), &world.view());
    check_volume("create-again", &create(XFS, Bytes::gib(1)), &after(XFS, &[]).view());
    check_volume("create-again-larger", &create(XFS, Bytes::gib(2)), &after(XFS, &[]).view());
    check_volume("create-other-mode", &create(EXT4, Bytes::gib(1)), &after(XFS, &[]).view());
    let mut begun = after(XFS, &[]);
    begun.image_mut().tag.state = HostState::Creating;
    check_volume("create-begun-before-a-crash", &create(XFS, Bytes::gib(1)), &begun.view());
}

#[test]
fn creating_where_it_cannot_be() {
    type Spoil = fn(&mut World);
    let pools: [(&str, Spoil); 4] = [
        ("foreign", |world| {
            let cluster_uid = "another-cluster".parse().unwrap();
            world.pool.file = PoolFileReading::Read(PoolFile { cluster_uid, ..pool_file() });
        }),
        ("unmarked", |world| world.pool.file = PoolFileReading::Absent),
        ("read-only", |world| world.pool.writable = false),
        ("missing", |world| world.pool.exists = false),
    ];
    for (name, spoil) in pools {
        let mut world = World::new();
        spoil(&mut world);
        let intent = create(XFS, Bytes::gib(1));
        check_volume(&format!("create-pool-{name}"), &intent, &world.view());
    }
}

#[test]
fn staging_and_formatting() {
    check_volume("stage-first-xfs", &stage(XFS), &after(XFS, &[]).view());
    check_volume("stage-first-ext4", &stage(EXT4), &after(EXT4, &[]).view());
    check_volume("stage-block", &stage(VolumeMode::Block), &after(VolumeMode::Block, &[]).view());
    let staged = after(XFS, &[stage(XFS)]);
    check_volume("stage-again", &stage(XFS), &staged.view());
    check_volume("stage-second-time", &stage(XFS), &after(XFS, &[stage(XFS), unstage()]).view());
    let mut rebooted = staged;
    rebooted.reboot();
    check_volume("stage-after-a-reboot", &stage(XFS), &rebooted.view());
    let ext4 = after(EXT4, &[stage(EXT4), unstage(), grow(Bytes::gib(2))]);
    check_volume("stage-ext4-grown-meanwhile", &stage(EXT4), &ext4.view());
    let xfs = after(XFS, &[stage(XFS), unstage(), grow(Bytes::gib(2))]);
    check_volume("stage-xfs-grown-meanwhile", &stage(XFS), &xfs.view());
}

/// The table of I2: latch by signature by stage record.
#[test]
fn i2_every_latch_meets_every_signature() {
    let ours = volume().filesystem_uuid();
    let latches = [
        ("none", Latch::None),
        ("formatting", Latch::Formatting { operation: "op-1".parse().unwrap() }),
        ("formatted", Latch::Formatted { filesystem: ours }),
    ];
    let fs = FsType::Xfs;
    let signatures = [
        ("blank", Signature::Blank),
        ("unrecognized", Signature::Unrecognized),
        ("ours", Signature::Filesystem { fs, uuid: ours }),
        ("ours-unfinished", Signature::Unfinished { fs, uuid: ours }),
        ("others", Signature::Filesystem { fs, uuid: FsUuid(volume().0) }),
        ("swap", Signature::Other { kind: "swap".into(), uuid: None }),
        ("several", Signature::Ambivalent),
        ("not-probed", Signature::NotProbed),
    ];
    for (latch_name, latch) in latches {
        for (signature_name, signature) in &signatures {
            let mut world = after(XFS, &[]);
            world.image_mut().tag.latch = latch.clone();
            let mut view = world.view();
            view.volume.signature = signature.clone();
            let name = format!("i2-latch-{latch_name}-finds-{signature_name}");
            check_volume(&name, &stage(XFS), &view);
        }
    }
    let mut world = after(XFS, &[]);
    world.image_mut().tag.stage = StageState::Past;
    check_volume("i2-staged-before-it-was-formatted", &stage(XFS), &world.view());
}

#[test]
fn i4_a_tag_that_is_not_ours_is_not_touched() {
    let view = after(XFS, &[]).view();
    let with = |reading: TagReading| {
        let mut view = view.clone();
        view.volume.image.as_mut().unwrap().tag = reading;
        view
    };
    let TagReading::Read(tag) = view.volume.image.clone().unwrap().tag else { panic!() };
    check_volume("i4-tag-absent", &stage(XFS), &with(TagReading::Absent));
    let why = TagError::Value { key: "latch", found: "nnoe".into() };
    check_volume("i4-tag-unreadable", &stage(XFS), &with(TagReading::Unreadable(why)));
    let mut theirs = tag.clone();
    theirs.cluster = "another-cluster".parse().unwrap();
    check_volume("i4-tag-of-another-cluster", &stage(XFS), &with(TagReading::Read(theirs)));
    let mut other = tag;
    other.volume = "4f1f6d3e-93a9-5b8e-9d55-1f2d5b0f2c12".parse().unwrap();
    check_volume("i4-tag-of-another-volume", &stage(XFS), &with(TagReading::Read(other)));
}

#[test]
fn publishing() {
    let staged = after(XFS, &[stage(XFS)]);
    let published = after(XFS, &[stage(XFS), publish(Access::ReadWrite)]);
    let block = after(VolumeMode::Block, &[stage(VolumeMode::Block)]);
    check_volume("publish", &publish(Access::ReadWrite), &staged.view());
    check_volume("publish-read-only", &publish(Access::ReadOnly), &staged.view());
    check_volume("publish-block", &publish(Access::ReadWrite), &block.view());
    check_volume("publish-again", &publish(Access::ReadWrite), &published.view());
    check_volume("publish-other-access", &publish(Access::ReadOnly), &published.view());
    check_volume("publish-before-stage", &publish(Access::ReadWrite), &after(XFS, &[]).view());
    let mut elsewhere = published.clone();
    elsewhere.mounts[1].at = "/kubelet/other-pod/mount".into();
    check_volume("publish-second-pod", &publish(Access::ReadWrite), &elsewhere.view());
    let mut taken = published.view();
    taken.volume.mounts.pop();
    check_volume("publish-onto-another-mount", &publish(Access::ReadWrite), &taken);
    check_volume("unpublish", &Intent::Unpublish { target: POD.into() }, &published.view());
    check_volume("unpublish-gone", &Intent::Unpublish { target: POD.into() }, &staged.view());
    check_volume("unstage", &unstage(), &staged.view());
    check_volume("unstage-while-published", &unstage(), &published.view());
    check_volume("unstage-nothing-left", &unstage(), &World::new().view());
}

#[test]
fn growing() {
    let mounted = after(XFS, &[stage(XFS)]);
    check_volume("grow-mounted", &grow(Bytes::gib(2)), &mounted.view());
    check_volume("grow-unstaged", &grow(Bytes::gib(2)), &after(XFS, &[]).view());
    check_volume("grow-done", &grow(Bytes::gib(1)), &mounted.view());
    check_volume("grow-pool-full", &grow(Bytes::gib(20)), &mounted.view());
    let mut half_way = mounted;
    half_way.image_mut().size = Bytes::gib(2);
    check_volume("grow-crashed-after-the-image", &grow(Bytes::gib(2)), &half_way.view());
}

#[test]
fn deleting() {
    let world = after(XFS, &[stage(XFS), unstage()]);
    check_volume("i1-delete", &delete(&world, Erase::No), &world.view());
    check_volume("i1-delete-erased", &delete(&world, Erase::Zeros), &world.view());
    check_volume("i1-delete-gone", &delete(&world, Erase::No), &World::new().view());
    let mounted = after(XFS, &[stage(XFS)]);
    check_volume("i1-delete-mounted", &delete(&mounted, Erase::No), &mounted.view());
    let staged = after(VolumeMode::Block, &[stage(VolumeMode::Block)]);
    check_volume("i1-delete-staged", &delete(&staged, Erase::No), &staged.view());
    let mut rebooted = staged.clone();
    rebooted.reboot();
    check_volume(
        "i1-delete-staged-before-a-reboot",
        &delete(&rebooted, Erase::No),
        &rebooted.view(),
    );
    let mut held = rebooted;
    held.held_open = true;
    check_volume("i1-delete-open", &delete(&held, Erase::No), &held.view());
    let mut quarantined = world.clone();
    let deletion = "deletion-1".parse().unwrap();
    quarantined.image_mut().tag.state = HostState::Quarantined { deletion };
    check_volume("i1-stage-quarantined", &stage(XFS), &quarantined.view());
    let retain = Intent::Retain { volume: volume(), cluster: cluster() };
    check_volume("i1-retain", &retain, &world.view());
}

pub(crate) fn disk(signature: Signature) -> DeviceView {
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
fn making_pools() {
    let check_pool = |name: &str, place: PoolPlace, spoil: fn(&mut World)| {
        let mut world = World::new();
        world.pool.file = PoolFileReading::Absent;
        spoil(&mut world);
        let intent = PoolIntent::Make { file: pool_file(), place };
        check(name, FileBackend.plan_pool(&intent, &world.pool, &[]));
    };
    let dir = || PoolPlace::Directory;
    check_pool("pool-directory", dir(), |_| {});
    check_pool("pool-directory-missing", dir(), |world| world.pool.exists = false);
    check_pool("pool-directory-ours", dir(), |world| *world = World::new());
    check_pool("pool-directory-not-empty", dir(), |world| world.pool.strangers = vec!["a".into()]);
    check_pool("pool-directory-on-tmpfs", dir(), |world| world.pool.fs = "tmpfs".into());
    check_pool("pool-directory-garbled", dir(), |world| {
        let why = PoolFileError::Malformed { why: "expected value at line 1".into() };
        world.pool.file = PoolFileReading::Unreadable(why);
    });
    let place =
        |device: DeviceView, wipe: Wipe| PoolPlace::Device { device: Box::new(device), wipe };
    let uuid = pool_file().pool_uuid.filesystem_uuid();
    let ours = Signature::Filesystem { fs: FsType::Xfs, uuid };
    let data = Signature::Other { kind: "LVM2_member".into(), uuid: Some("x-1".into()) };
    let found = || Wipe::IfFound { found: "LVM2_member x-1".into() };
    check_pool("pool-disk-blank", place(disk(Signature::Blank), Wipe::Never), |_| {});
    check_pool("pool-disk-ours", place(disk(ours), Wipe::Never), |_| {});
    check_pool("pool-disk-with-data", place(disk(data.clone()), Wipe::Never), |_| {});
    check_pool("pool-disk-with-data-permitted", place(disk(data.clone()), found()), |_| {});
    let mut used = disk(data);
    used.uses.push(DeviceUse::Holder { name: "dm-3".into(), as_what: None });
    check_pool("pool-disk-in-use", place(used, found()), |_| {});
}

#[test]
fn a_content_the_model_knows_has_its_signature() {
    let mut world = after(XFS, &[]);
    world.image_mut().content = Content::Half;
    assert_eq!(world.view().volume.signature, Signature::Unrecognized);
}
