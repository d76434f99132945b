//! Laws over random lives: any order of requests, a crash before or inside any step, reboots, Pods that write.

use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use terrace_backends::backend;
use terrace_device_types::lvm::LvmStep;
use terrace_device_types::{
    Access, Allocation, BackendKind, Bytes, Claimed, DeletionProof, DeletionStamp, Erase, FsType,
    HostState, Intent, Latch, Leftover, PvReading, Sharing, Step, StepDone, VolumeMode,
};

use crate::world::{Content, Inside, World, cluster, volume};

/// What may happen next.
#[derive(Debug, Clone)]
enum Event {
    Ask { verb: Verb, crash: Option<Crash> },
    PodWrites,
    Reboot,
    ProgramHolds { open: bool },
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Create,
    Grow { gib: u64 },
    Stage { path: u8 },
    Unstage { path: u8 },
    Publish { path: u8 },
    Unpublish { path: u8 },
    Delete { erase: Erase },
    SweepQuarantined,
    SweepUnfinished,
    Retain,
    Adopt,
}

#[derive(Debug, Clone, Copy)]
enum Crash {
    Before(usize),
    Inside(usize),
}

fn verbs() -> impl Strategy<Value = Verb> {
    let path = 0u8..2;
    prop_oneof![
        2 => Just(Verb::Create),
        2 => (1u64..4).prop_map(|gib| Verb::Grow { gib }),
        4 => path.clone().prop_map(|path| Verb::Stage { path }),
        2 => path.clone().prop_map(|path| Verb::Unstage { path }),
        3 => path.clone().prop_map(|path| Verb::Publish { path }),
        2 => path.prop_map(|path| Verb::Unpublish { path }),
        1 => prop_oneof![Just(Erase::No), Just(Erase::Zeros)].prop_map(|erase| Verb::Delete { erase }),
        1 => Just(Verb::SweepQuarantined),
        1 => Just(Verb::SweepUnfinished),
        1 => Just(Verb::Retain),
        1 => Just(Verb::Adopt),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let crash = prop_oneof![
        4 => Just(None),
        1 => (0usize..9).prop_map(|at| Some(Crash::Before(at))),
        1 => (0usize..9).prop_map(|at| Some(Crash::Inside(at))),
    ];
    let event = prop_oneof![
        10 => (verbs(), crash).prop_map(|(verb, crash)| Event::Ask { verb, crash }),
        2 => Just(Event::PodWrites),
        1 => Just(Event::Reboot),
        1 => any::<bool>().prop_map(|open| Event::ProgramHolds { open }),
    ];
    prop::collection::vec(event, 1..40)
}

/// Every backend with what it can hold.
fn hosts() -> impl Strategy<Value = (World, VolumeMode)> {
    let fs = prop::sample::select(FsType::ALL.to_vec());
    let subvolume = VolumeMode::Filesystem { fs: FsType::Btrfs };
    prop_oneof![
        3 => fs.prop_map(|fs| (World::new(), VolumeMode::Filesystem { fs })),
        1 => Just((World::new(), VolumeMode::Block)),
        3 => prop::sample::select(FsType::ALL.to_vec())
            .prop_map(|fs| (World::on_lvm(), VolumeMode::Filesystem { fs })),
        1 => Just((World::on_lvm(), VolumeMode::Block)),
        3 => Just((World::on_btrfs(), subvolume)),
    ]
}

fn staging(path: u8) -> std::path::PathBuf {
    format!("/kubelet/staging-{path}").into()
}

fn target(path: u8) -> std::path::PathBuf {
    format!("/kubelet/pod-{path}").into()
}

/// The request as an intent. A deletion is asked only with a proof; there is no other way to write it.
fn intent(verb: Verb, mode: VolumeMode, world: &mut World) -> Option<Intent> {
    let (volume, cluster) = (volume(), cluster());
    Some(match verb {
        Verb::Create => {
            let (name, size, allocation) = ("pvc-1".into(), Bytes::gib(1), Allocation::Reserved);
            Intent::Create { volume, cluster, name, size, mode, allocation }
        }
        Verb::Grow { gib } => Intent::Grow { volume, cluster, to: Bytes::gib(gib) },
        Verb::Stage { path } => {
            let (options, access, operation) =
                (Vec::new(), Access::ReadWrite, "op-1".parse().unwrap());
            let target = staging(path);
            Intent::Stage { volume, cluster, mode, target, options, access, operation }
        }
        Verb::Unstage { path } => Intent::Unstage { volume, cluster, target: staging(path) },
        Verb::Publish { path } => {
            let (access, sharing) = (Access::ReadWrite, Sharing::Shared);
            let (staging, target) = (staging(0), target(path));
            Intent::Publish { volume, cluster, staging, target, access, sharing }
        }
        Verb::Unpublish { path } => Intent::Unpublish { target: target(path) },
        Verb::Delete { erase } => {
            let tag = &world.image.as_ref()?.tag;
            let stamp = DeletionStamp { volume, id: "deletion-1".parse().unwrap() };
            let pv = PvReading::NotFound;
            let proof =
                DeletionProof::check(Some(&stamp), volume, &cluster, &Claimed::Volume(pv), tag)
                    .unwrap();
            world.proven = true;
            Intent::Delete { volume, proof, erase }
        }
        Verb::SweepQuarantined => {
            let leftover = Leftover::Quarantined { deletion: "deletion-1".parse().unwrap() };
            Intent::Sweep { volume, cluster, leftover }
        }
        Verb::SweepUnfinished => Intent::Sweep { volume, cluster, leftover: Leftover::Unfinished },
        Verb::Retain => Intent::Retain { volume, cluster },
        Verb::Adopt => Intent::Adopt { volume, cluster },
    })
}

/// Plans, carries out as far as the crash lets it, and if it ended, plans again.
fn ask(world: &mut World, intent: &Intent, crash: Option<Crash>) {
    let view = world.view();
    let planned = backend(world.kind).plan(intent, &view);
    assert_eq!(
        planned,
        backend(world.kind).plan(intent, &view),
        "a plan is a function of its view"
    );
    let Ok(steps) = planned else { return };
    assert_touches_only_ours(&steps);
    assert_destroys_only_when_asked(intent, &steps);
    for (at, step) in steps.iter().enumerate() {
        match crash {
            Some(Crash::Before(stop)) if stop == at => return,
            Some(Crash::Inside(stop)) if stop == at => return world.crash_inside(step),
            Some(Crash::Before(_) | Crash::Inside(_)) | None => {}
        }
        if let Err(why) = world.apply(step) {
            let held = world.held_open;
            assert!(held, "{step}: {why}\nin {world:#?}\nof {steps:#?}");
            return;
        }
    }
    let again = backend(world.kind).plan(intent, &world.view());
    let again = again.unwrap_or_else(|why| panic!("{intent:?} done, then refused: {why}"));
    for step in &again {
        assert!(matches!(intent, Intent::Unpublish { .. }), "{step} is left of {intent:?}");
        assert_eq!(world.apply(step), Ok(StepDone::Already), "{step}");
    }
}

fn assert_touches_only_ours(steps: &[Step]) {
    for step in steps {
        let prose = step.to_string();
        let strange = prose.contains("t-") && !prose.contains(&format!("t-{}", volume()));
        assert!(!strange && !prose.contains("/dev/loop"), "{prose}");
    }
}

/// I1: what destroys is planned for a deletion with its proof, for finishing one, or for what was never used.
fn assert_destroys_only_when_asked(intent: &Intent, steps: &[Step]) {
    let marks = steps.iter().any(|step| matches!(step, Step::MarkQuarantined { .. }));
    let ends = steps.iter().any(|step| {
        matches!(
            step,
            Step::EraseImage { .. }
                | Step::RemoveImage { .. }
                | Step::RemoveSubvolume { .. }
                | Step::Lvm(LvmStep::EraseLv { .. } | LvmStep::RemoveLv { .. })
                | Step::RenameToQuarantine { .. }
        )
    });
    let takes_back = steps.iter().any(|step| {
        let of_lvm = matches!(step, Step::Lvm(LvmStep::RemoveUnfinishedLv { .. }));
        of_lvm || matches!(step, Step::RemoveUnfinished { .. })
    });
    assert!(!marks || matches!(intent, Intent::Delete { .. }), "{intent:?}");
    let sweeps = |what: fn(&Leftover) -> bool| matches!(intent, Intent::Sweep { leftover, .. } if what(leftover));
    let of_proven = sweeps(|leftover| matches!(leftover, Leftover::Quarantined { .. }));
    let of_unfinished = sweeps(|leftover| matches!(leftover, Leftover::Unfinished));
    assert!(!ends || of_proven || matches!(intent, Intent::Delete { .. }), "{intent:?}");
    assert!(!takes_back || of_unfinished, "{intent:?}");
    // A making may begin anew with what a removal left of an earlier one.
    let anew = steps.iter().any(|step| matches!(step, Step::RemoveUnfinishedSubvolume { .. }));
    assert!(!anew || of_unfinished || matches!(intent, Intent::Create { .. }), "{intent:?}");
}

fn live(mut world: World, mode: VolumeMode, events: &[Event]) {
    for event in events {
        let before = world.clone();
        match event {
            Event::Ask { verb, crash } => {
                if let Some(intent) = intent(*verb, mode, &mut world) {
                    ask(&mut world, &intent, *crash);
                }
            }
            Event::PodWrites => world.pod_writes(),
            Event::Reboot => world.reboot(),
            Event::ProgramHolds { open } => world.held_open = *open && world.attached.is_some(),
        }
        assert_history_holds(&before, &world);
    }
}

/// I2 and no shrinking, step by step.
fn assert_history_holds(before: &World, after: &World) {
    let Some(old) = &before.image else { return };
    let Some(new) = &after.image else {
        let is_subvolume = matches!(old.inside, Inside::Subvolume { .. });
        let unformatted = old.tag.latch == Latch::None || is_subvolume;
        let taken_back = old.tag.state == HostState::Creating && unformatted;
        assert!(after.proven || (taken_back && !old.precious), "{old:?} went without a proof");
        return;
    };
    let forward = match (&old.tag.latch, &new.tag.latch) {
        (Latch::Formatted { .. }, new) => *new == old.tag.latch,
        (Latch::Formatting { .. }, new) => *new != Latch::None,
        (Latch::None, _) => true,
    };
    assert!(forward, "the latch moved back");
    assert!(new.size >= old.size || old.tag.state == HostState::Creating, "it shrank");
    assert!(!old.precious || new.precious, "data was lost");
    if let (true, Content::Filesystem { uuid, .. }) = (old.precious, &old.content) {
        let kept = matches!(&new.content, Content::Filesystem { uuid: u, .. } if u == uuid);
        assert!(kept, "a filesystem with data was replaced");
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 3000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn i1_i2_no_life_loses_a_pods_data_or_formats_twice(
        (world, mode) in hosts(),
        events in events(),
    ) {
        live(world, mode, &events);
    }

    #[test]
    fn i2_whatever_crashes_on_the_way_a_volume_is_staged_in_the_end(
        (mut world, mode) in hosts(),
        crashes in prop::collection::vec((0usize..9, any::<bool>(), any::<bool>()), 0..12),
    ) {
        for verb in [Verb::Create, Verb::Stage { path: 0 }, Verb::Publish { path: 0 }] {
            for (at, inside, reboot) in &crashes {
                let crash = if *inside { Crash::Inside(*at) } else { Crash::Before(*at) };
                if let Some(intent) = intent(verb, mode, &mut world) {
                    ask(&mut world, &intent, Some(crash));
                }
                let publishing = matches!(verb, Verb::Publish { .. });
                if *reboot && !publishing {
                    world.reboot();
                }
            }
            let intent = intent(verb, mode, &mut world).unwrap();
            let left = backend(world.kind).plan(&intent, &world.view());
            prop_assert!(left.is_ok(), "{verb:?} after {crashes:?}: {left:?}");
            ask(&mut world, &intent, None);
        }
        prop_assert!(world.is_mounted(&target(0)));
        world.pod_writes();
        prop_assert!(world.image.is_some_and(|image| image.precious));
    }

    #[test]
    fn i3_a_deletion_that_crashed_anywhere_ends_with_nothing_left(
        (mut world, mode) in hosts(),
        crashes in prop::collection::vec(0usize..7, 0..6),
        erase in prop_oneof![Just(Erase::No), Just(Erase::Zeros)],
    ) {
        // What writes elsewhere at every write can't be written over: that is refused when it is made.
        let erase = if world.kind == BackendKind::Btrfs { Erase::No } else { erase };
        let create = intent(Verb::Create, mode, &mut world).unwrap();
        ask(&mut world, &create, None);
        for at in crashes {
            if let Some(intent) = intent(Verb::Delete { erase }, mode, &mut world) {
                ask(&mut world, &intent, Some(Crash::Before(at)));
            }
            world.reboot();
        }
        if let Some(intent) = intent(Verb::Delete { erase }, mode, &mut world) {
            ask(&mut world, &intent, None);
        }
        prop_assert_eq!(world.image, None);
    }
}
