//! Groups: plans woven into one. Structure only; that it shows one moment is proven on a real host (`terrace-devices`, tests/host).

use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, proptest};
use terrace_backends::group::plan_group;
use terrace_device_types::{
    Bytes, DeviceRef, HostState, Refusal, Step, SubvolumeCopy, Tag, TagRefusal, VolumeUuid,
};

use crate::golden::{XFS, after, check};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mounted,
    Block,
    Idle,
    Empty,
    Subvolume,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Begun,
    Ready,
}

fn uuid(number: usize) -> VolumeUuid {
    VolumeUuid(uuid::Uuid::from_u128(number as u128 + 1))
}

fn tag(number: usize) -> Box<Tag> {
    let tag = after(XFS, &[]).image.unwrap().tag;
    Box::new(Tag { volume: uuid(number), ..tag })
}

/// The plan that a backend makes for a member.
fn plan(number: usize, kind: Kind, left: Left) -> Vec<Step> {
    let (from, image): (std::path::PathBuf, std::path::PathBuf) =
        (format!("/pools/fast/t-{number}").into(), format!("/pools/fast/s-{number}").into());
    let mount: std::path::PathBuf = format!("/kubelet/staging-{number}").into();
    let (volume, device) = (uuid(number), DeviceRef::LoopOf { image: from.clone() });
    if left == Left::Ready {
        return Vec::new();
    }
    let clone = Step::CloneImage {
        from: from.clone(),
        source: uuid(number + 100),
        image: image.clone(),
        tag: tag(number),
    };
    let made = match kind {
        Kind::Mounted => vec![
            Step::FreezeFilesystem { mount: mount.clone(), device: device.clone() },
            clone,
            Step::ThawFilesystem { mount, device },
        ],
        Kind::Block => vec![Step::SyncDevice { device }, clone],
        Kind::Idle => vec![clone],
        Kind::Empty => {
            let (image, size) = (image.clone(), Bytes::gib(1));
            vec![Step::AllocateImage { image, size, tag: tag(number) }]
        }
        Kind::Subvolume => {
            let (source, object) = (uuid(number + 100), image.clone());
            let member = SubvolumeCopy { from, source, object, tag: tag(number) };
            vec![Step::SnapshotSubvolumes { members: vec![member] }]
        }
    };
    let removal = match kind {
        Kind::Subvolume => Step::RemoveUnfinishedSubvolume { object: image.clone(), volume },
        Kind::Mounted | Kind::Block | Kind::Idle | Kind::Empty => {
            Step::RemoveUnfinished { image: image.clone(), volume }
        }
    };
    let after = [
        Step::SyncDir { dir: "/pools/fast".into() },
        Step::WriteState { image, volume, state: HostState::Ready },
    ];
    let before = (left == Left::Begun).then_some(removal);
    before.into_iter().chain(made).chain(after).collect()
}

fn plans(members: &[(Kind, Left)]) -> Vec<Vec<Step>> {
    members.iter().enumerate().map(|(number, (kind, left))| plan(number, *kind, *left)).collect()
}

#[test]
fn weaving() {
    use Kind::{Block, Empty, Idle, Mounted, Subvolume};
    let all = |left: Left| [Mounted, Mounted, Block, Idle, Empty].map(|kind| (kind, left));
    check("group", plan_group(plans(&all(Left::Nothing))));
    check("group-of-one", plan_group(plans(&[(Mounted, Left::Nothing)])));
    let subvolumes = [Subvolume, Mounted, Subvolume].map(|kind| (kind, Left::Nothing));
    check("group-with-subvolumes", plan_group(plans(&subvolumes)));
    check("group-begun-before-a-crash", plan_group(plans(&all(Left::Begun))));
    let half = [(Mounted, Left::Begun), (Mounted, Left::Nothing)];
    check("group-begun-in-part-before-a-crash", plan_group(plans(&half)));
    let rest = [(Mounted, Left::Ready), (Mounted, Left::Begun), (Subvolume, Left::Begun)];
    check("group-ready-in-part-before-a-crash", plan_group(plans(&rest)));
    let torn = [(Mounted, Left::Ready), (Mounted, Left::Nothing)];
    check("group-torn", plan_group(plans(&torn)));
    check("group-ready", plan_group(plans(&[(Mounted, Left::Ready), (Block, Left::Ready)])));
}

fn members() -> impl Strategy<Value = Vec<(Kind, Left)>> {
    use Kind::{Block, Empty, Idle, Mounted, Subvolume};
    let kind = prop::sample::select(vec![Mounted, Mounted, Block, Idle, Empty, Subvolume]);
    let left = prop::sample::select(vec![Left::Nothing, Left::Nothing, Left::Begun, Left::Ready]);
    prop::collection::vec((kind, left), 1..6)
}

fn places(steps: &[Step], pick: impl Fn(&Step) -> bool) -> Vec<usize> {
    (0..steps.len()).filter(|at| pick(&steps[*at])).collect()
}

fn is_copy(step: &Step) -> bool {
    matches!(step, Step::CloneImage { .. } | Step::SnapshotSubvolumes { .. })
}

fn is_subvolumes(step: &Step) -> bool {
    matches!(step, Step::SnapshotSubvolumes { .. })
}

fn is_sync(step: &Step) -> bool {
    matches!(step, Step::SyncDir { .. })
}

fn is_freeze(step: &Step) -> bool {
    matches!(step, Step::FreezeFilesystem { .. })
}

fn is_thaw(step: &Step) -> bool {
    matches!(step, Step::ThawFilesystem { .. })
}

fn is_ready(step: &Step) -> bool {
    matches!(step, Step::WriteState { .. })
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_group_has_one_window_and_is_ready_as_a_whole(members in members()) {
        let has = |left: Left| members.iter().any(|(_, found)| *found == left);
        let woven = plan_group(plans(&members));
        let torn = has(Left::Ready) && has(Left::Nothing);
        if torn {
            prop_assert_eq!(woven, Err(Refusal::Tag(TagRefusal::TornGroup)));
            return Ok(());
        }
        let steps = woven.unwrap();
        let [freezes, copies, thaws, ready] = [is_freeze, is_copy, is_thaw, is_ready]
            .map(|pick: fn(&Step) -> bool| places(&steps, pick));
        // One window, with nothing in it but copies.
        let window: Vec<usize> = [freezes.clone(), copies.clone(), thaws.clone()].concat();
        prop_assert!(window.windows(2).all(|two| two[1] == two[0] + 1), "{:?}", steps);
        prop_assert_eq!(freezes.len(), thaws.len());
        // All names are durable before the first is ready, and after that nothing else happens.
        let left = members.iter().filter(|(_, left)| *left != Left::Ready).count();
        prop_assert_eq!(&ready, &(steps.len() - left..steps.len()).collect::<Vec<_>>());
        if left > 0 {
            prop_assert!(is_sync(&steps[steps.len() - left - 1]), "{:?}", steps);
        }
        // Who is there of the same moment only becomes ready; else everybody is made, and nobody twice.
        if has(Left::Ready) {
            let rest = steps.iter().all(|step| is_ready(step) || is_sync(step));
            prop_assert!(rest, "{:?}", steps);
        } else {
            let expected: Vec<Step> = plans(&members).concat();
            let count = |steps: &[Step]| {
                let subvolumes = steps.iter().map(|step| match step {
                    Step::SnapshotSubvolumes { members } => members.len(),
                    Step::SyncDir { .. } => 0,
                    _ => 1,
                });
                subvolumes.sum::<usize>()
            };
            prop_assert_eq!(count(&expected), count(&steps));
            for step in expected.iter().filter(|step| !is_subvolumes(step)) {
                prop_assert!(steps.contains(step), "{} is lost", step);
            }
            prop_assert!(places(&steps, is_subvolumes).len() <= 1, "{:?}", steps);
        }
    }
}
