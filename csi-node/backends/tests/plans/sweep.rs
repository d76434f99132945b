//! Stories of the sweeper, on both backends: a world in, prose out, as in `golden.rs`.

use terrace_backends::backend;
use terrace_device_types::{
    BackendKind, FsType, HostState, Intent, Leftover, StageState, VolumeMode,
};

use crate::golden::{STAGING, XFS, after, check, stage, unstage};
use crate::subvolume_golden;
use crate::world::{Inside, World, cluster, volume};

fn tell(name: &str, leftover: &Leftover, world: &World) {
    let (volume, cluster, leftover) = (volume(), cluster(), leftover.clone());
    let prefix = match world.kind {
        BackendKind::File => "",
        BackendKind::Btrfs => "btrfs-",
        BackendKind::Lvm => "lvm-",
        BackendKind::LvmThin => "lvm-thin-",
    };
    let intent = Intent::Sweep { volume, cluster, leftover };
    check(&format!("{prefix}{name}"), backend(world.kind).plan(&intent, &world.view()));
}

fn quarantined(by: &str) -> Leftover {
    Leftover::Quarantined { deletion: by.parse().unwrap() }
}

/// One of each backend, once staged and now free.
fn worlds() -> [World; 2] {
    let btrfs = VolumeMode::Filesystem { fs: FsType::Btrfs };
    [after(XFS, &[stage(XFS), unstage()]), subvolume_golden::after(&[stage(btrfs), unstage()])]
}

/// One of each backend, never staged.
fn begun() -> [World; 2] {
    [after(XFS, &[]), subvolume_golden::after(&[])].map(|mut world| {
        world.image_mut().tag.state = HostState::Creating;
        world
    })
}

#[test]
fn i1_sweeping_what_was_proven_to_go() {
    let proven = quarantined("deletion-1");
    for world in worlds() {
        tell("i1-sweep-quarantined-in-service", &proven, &world);
        let mut marked = world.clone();
        marked.image_mut().tag.state =
            HostState::Quarantined { deletion: "deletion-1".parse().unwrap() };
        tell("i1-sweep-quarantined", &proven, &marked);
        tell("i1-sweep-quarantined-by-another-deletion", &quarantined("deletion-2"), &marked);
        tell("i1-sweep-unfinished-that-is-quarantined", &Leftover::Unfinished, &marked);
        let mut renamed = marked.clone();
        renamed.image_mut().path = "/pools/fast/q-deletion-1".into();
        tell("i1-sweep-quarantined-renamed", &proven, &renamed);
        if world.kind == BackendKind::File {
            let mut held = marked;
            held.held_open = true;
            tell("i1-sweep-quarantined-open", &proven, &held);
        }
        let mut retained = world;
        retained.image_mut().tag.state = HostState::Retained;
        tell("i1-sweep-retained", &proven, &retained);
        tell("i1-sweep-unfinished-that-is-retained", &Leftover::Unfinished, &retained);
    }
    tell("sweep-gone", &proven, &World::new());
}

#[test]
fn sweeping_what_was_never_finished() {
    for world in begun() {
        tell("sweep-unfinished", &Leftover::Unfinished, &world);
        let mut staged = world.clone();
        staged.image_mut().tag.stage = StageState::Past;
        tell("i1-sweep-unfinished-once-staged", &Leftover::Unfinished, &staged);
        let (boot, target) = (world.boot(), STAGING.into());
        staged.image_mut().tag.stage = StageState::At { boot, target };
        tell("i1-sweep-unfinished-staged", &Leftover::Unfinished, &staged);
        let mut theirs = world.clone();
        theirs.image_mut().tag.cluster = "another-cluster".parse().unwrap();
        tell("i4-sweep-of-another-cluster", &Leftover::Unfinished, &theirs);
        let mut ready = world.clone();
        ready.image_mut().tag.state = HostState::Ready;
        tell("i1-sweep-unfinished-in-service", &Leftover::Unfinished, &ready);
        if world.kind == BackendKind::Btrfs {
            let mut half = world;
            half.image_mut().inside = Inside::Subvolume { there: false, read_only: false };
            tell("sweep-unfinished-in-part", &Leftover::Unfinished, &half);
        } else {
            let mut held = world;
            held.held_open = true;
            tell("i1-sweep-unfinished-open", &Leftover::Unfinished, &held);
        }
    }
}
