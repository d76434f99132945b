//! Stories of the lvmThin backend as goldens: a volume's life, its copies, and what a pool that is nearly given out refuses.

use terrace_backends::group::plan_group;
use terrace_backends::{Backend, LvmThinBackend};
use terrace_device_types::lvm::{PoolMode, ThinPoolStatus, ThinView, Used};
use terrace_device_types::{
    BackendKind, Bytes, Erase, FsType, HostObject, HostState, Intent, Kernel, PoolFile,
    PoolFileReading, Step, TagReading, View, VolumeMode, VolumeView,
};

use crate::golden::{check, create, publish, stage};
use crate::lv::delete;
use crate::pair::{copied, copy};
use crate::world::{World, cluster, pool_file, volume};

const XFS: VolumeMode = VolumeMode::Filesystem { fs: FsType::Xfs };
const SIZE: Bytes = Bytes::gib(1);

/// What a pool of 6 GiB has in use: MiB of data, and of its 32 MiB of metadata in percent.
pub(crate) fn thin(data: u64, metadata: u64) -> ThinView {
    let (size, chunk, blocks) = (Bytes::gib(6), Bytes::kib(64), 32 * 256);
    ThinView {
        size,
        metadata_size: Bytes::mib(32),
        spare: Bytes::mib(32),
        chunk,
        transaction: Some(4),
        promised: Bytes::gib(9),
        status: Some(ThinPoolStatus {
            mode: PoolMode::Writable,
            transaction: 4,
            metadata: Used { used: blocks * metadata / 100, total: blocks },
            data: Used { used: data * 16, total: size.0 / chunk.0 },
            needs_check: false,
            fails_when_full: true,
        }),
    }
}

pub(crate) fn on_thin(free: Bytes, thin: ThinView) -> World {
    let mut world = World::on_lvm();
    world.kind = BackendKind::LvmThin;
    let file = PoolFile { backend: BackendKind::LvmThin, ..pool_file() };
    world.pool.file = PoolFileReading::Read(file);
    let group = world.pool.group.as_mut().unwrap();
    (group.free, group.thin) = (free, Some(thin));
    world
}

fn roomy() -> World {
    on_thin(Bytes::gib(1), thin(100, 5))
}

fn after(mut world: World, intents: &[Intent]) -> World {
    for intent in intents {
        for step in LvmThinBackend.plan(intent, &world.view()).unwrap() {
            world.apply(&step).unwrap();
        }
    }
    world
}

fn tell(name: &str, intent: &Intent, view: &View) {
    check(&format!("lvm-thin-{name}"), LvmThinBackend.plan(intent, view));
}

/// The volume as the source of a copy of which there is nothing yet.
fn beside(world: &World) -> View {
    let view = world.view();
    let kernel = Kernel { major: 6, minor: 18 };
    View { source: Some(view.volume.clone()), volume: VolumeView::default(), kernel, ..view }
}

/// A copy that was begun: its entry, and its logical volume if it came that far.
fn begun(world: &World, object: HostObject) -> View {
    let view = beside(world);
    let mut image = view.source.as_ref().unwrap().image.clone().unwrap();
    let TagReading::Read(tag) = &mut image.tag else { panic!("no tag") };
    (tag.volume, tag.object, tag.source) = (copied(), object, Some(volume()));
    tag.state = HostState::Creating;
    tag.stage = terrace_device_types::StageState::Never;
    let tag = tag.clone();
    let terrace_device_types::Form::Lv(seen) = &mut image.form else { panic!("no entry") };
    let lv = seen.lv.as_mut().unwrap();
    lv.name = terrace_device_types::image_name(object, copied());
    lv.tag = TagReading::Read(tag);
    image.path = view.pool.dir.join(&lv.name);
    View { volume: VolumeView { image: Some(image), ..VolumeView::default() }, ..view }
}

fn grow(to: Bytes) -> Intent {
    Intent::Grow { volume: volume(), cluster: cluster(), to }
}

#[test]
fn the_life_of_a_thin_volume_and_its_copies() {
    let made = after(roomy(), &[create(XFS, SIZE)]);
    tell("create", &create(XFS, SIZE), &roomy().view());
    tell("create-raw-block", &create(VolumeMode::Block, SIZE), &roomy().view());
    tell("stage-first", &stage(XFS), &made.view());
    tell("i1-delete", &delete(&made, Erase::No), &made.view());
    tell("delete-erased", &delete(&made, Erase::Zeros), &made.view());
    let staged = after(made.clone(), &[stage(XFS)]);
    tell("grow-mounted", &grow(Bytes::gib(2)), &staged.view());
    let raw = after(roomy(), &[create(VolumeMode::Block, SIZE)]);
    tell("grow-raw-block", &grow(Bytes::gib(2)), &raw.view());
    let published = after(staged, &[publish(terrace_device_types::Access::ReadWrite)]);
    let snapshot = copy(HostObject::Snapshot, SIZE, XFS);
    tell("snapshot-of-a-mounted-volume", &snapshot, &beside(&published));
    let older = View { kernel: Kernel { major: 6, minor: 1 }, ..beside(&published) };
    tell("snapshot-of-a-mounted-volume-before-6.8", &snapshot, &older);
    tell("clone-larger", &copy(HostObject::Volume, Bytes::gib(2), XFS), &beside(&published));
    tell("copy-of-nothing", &copy(HostObject::Volume, SIZE, XFS), &beside(&made));
    tell("copy-begun-before-a-crash", &snapshot, &begun(&published, HostObject::Snapshot));
    let orphaned = View { source: None, ..begun(&published, HostObject::Snapshot) };
    tell("copy-begun-whose-source-went", &snapshot, &orphaned);
}

#[test]
fn a_group_of_thin_snapshots_has_one_window_or_none_at_all() {
    let world = after(roomy(), &[create(XFS, SIZE), stage(XFS)]);
    let snapshot = copy(HostObject::Snapshot, SIZE, XFS);
    let plan = |kernel| {
        let view = View { kernel, ..beside(&world) };
        LvmThinBackend.plan(&snapshot, &view).unwrap()
    };
    let many = |kernel| plan_group(vec![plan(kernel), plan(kernel)]);
    check("lvm-thin-group", many(Kernel { major: 6, minor: 8 }));
    check("lvm-thin-group-before-6.8", many(Kernel { major: 6, minor: 7 }));
    assert!(plan_group(vec![plan(Kernel { major: 6, minor: 1 })]).is_ok(), "one needs no window");
    // A member whose logical volume never came to be is missing, whatever its entry says.
    let mut lost = begun(&world, HostObject::Snapshot);
    let terrace_device_types::Form::Lv(seen) = &mut lost.volume.image.as_mut().unwrap().form else {
        panic!("no entry")
    };
    seen.lv = None;
    let lost = LvmThinBackend.plan(&snapshot, &lost).unwrap();
    check("lvm-thin-group-torn", plan_group(vec![lost, Vec::<Step>::new()]));
}

#[test]
fn what_is_refused_when_the_group_has_no_more_to_give() {
    let make = create(XFS, SIZE);
    let refused = |name: &str, free: Bytes, thin: ThinView| {
        tell(name, &make, &on_thin(free, thin).view());
    };
    refused("full-data", Bytes::ZERO, thin(5300, 5));
    refused("full-metadata", Bytes::ZERO, thin(100, 71));
    // The group can still give both: the pool's next pass sees to it.
    refused("nearly-full-and-can-grow", Bytes::gib(3), thin(5900, 80));
    let status = |mode, needs_check| {
        let there = thin(100, 5);
        let status = there.status.map(|status| ThinPoolStatus { mode, needs_check, ..status });
        ThinView { status, ..there }
    };
    refused("to-be-checked", Bytes::gib(1), status(PoolMode::ReadOnly, true));
    refused("whose-metadata-is-full", Bytes::gib(1), status(PoolMode::ReadOnly, false));
    refused("inactive", Bytes::gib(1), ThinView { status: None, ..thin(100, 5) });
    let made = after(roomy(), std::slice::from_ref(&make));
    let full = |world: &World| {
        let mut full = world.clone();
        full.pool.group = on_thin(Bytes::ZERO, thin(5300, 5)).pool.group;
        full
    };
    tell("full-grow", &grow(Bytes::gib(2)), &full(&made).view());
    let staged = full(&after(made, &[stage(XFS)]));
    tell("full-snapshot", &copy(HostObject::Snapshot, SIZE, XFS), &beside(&staged));
}
