//! I3: the process may die anywhere. Each story is run once to learn the points it passes, then once for
//! each of them with the process dead from there on; after every death the node starts again, recovers,
//! and the story must end as if nothing had happened.
use std::sync::Arc;

use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use terrace_device_types::{HostState, Intent, Latch, StepKind, TagReading};
use terrace_node::fault::{ApiWrite, Edge, NoFaults, Point, StopAt};
use terrace_node::operation::OpKind;
use terrace_node::runner::recovery::recover;

use crate::agent::{agent, deleted, stamp};
use crate::api::FakeApi;
use crate::bench::{Bench, EXT4, Running, mounted};

/// On each ground, runs `story` with the process dead at each point in turn, then recovers and runs it to its end.
pub(crate) async fn at_every_point<S, F>(
    prepare: impl AsyncFn(&Bench),
    story: S,
    proof: impl Fn(&Bench),
) where
    S: Fn(Arc<Bench>, Running) -> F,
    F: Future<Output = Result<(), ()>>,
{
    for make in Bench::grounds() {
        at_every_point_of(*make, &prepare, &story, &proof).await;
    }
}

/// As [`at_every_point`], on such benches.
pub(crate) async fn at_every_point_of<S, F>(
    make: fn() -> Bench,
    prepare: impl AsyncFn(&Bench),
    story: S,
    proof: impl Fn(&Bench),
) where
    S: Fn(Arc<Bench>, Running) -> F,
    F: Future<Output = Result<(), ()>>,
{
    let points = {
        let bench = Arc::new(make());
        prepare(&bench).await;
        let faults = Arc::new(StopAt::never());
        let running = bench.start_with(faults.clone()).await;
        story(Arc::clone(&bench), running).await.expect("no fault, no failure");
        proof(&bench);
        faults.passed()
    };
    assert!(points.len() > 7, "a story worth its name: {points:?}");
    println!("dies at {} points", points.len());
    for (number, point) in points.iter().enumerate() {
        let bench = Arc::new(make());
        prepare(&bench).await;
        let faults = Arc::new(StopAt::nth(number));
        let running = bench.start_with(faults.clone()).await;
        let died = story(Arc::clone(&bench), running).await;
        // Nobody learns whether an Event was written, so the dead may seem to succeed there.
        let told = matches!(point, Point::ApiWrite(ApiWrite::Event, _));
        assert!(died.is_err() || told, "{point}: the dead do not succeed");
        assert_eq!(faults.passed().last(), Some(point));
        revive(&bench, *point).await;
        let running = bench.start().await;
        let ended = story(Arc::clone(&bench), running).await;
        assert!(ended.is_ok(), "{point}: not to be ended after recovery");
        proof(&bench);
    }
}

/// What a start does before it serves.
pub(crate) async fn revive(bench: &Bench, point: Point) {
    let context = bench.context(Arc::new(NoFaults));
    let recovered = recover(&context.runner, &context.pools, &bench.cluster).await;
    for one in recovered.expect("the journal is read") {
        let harmless =
            one.error.is_none() || matches!(one.record.kind, OpKind::Create | OpKind::Copy);
        assert!(harmless, "{point}: {:?}", one.error);
    }
    let open = context.runner.journal.open_operations().expect("the journal is read");
    assert!(open.is_empty(), "{point}: {open:?}");
}

async fn make(bench: &Bench) {
    let running = bench.start().await;
    bench.create(&running, "vol", EXT4).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_create_ends_or_is_undone_wherever_the_process_dies() {
    let story = |bench: Arc<Bench>, running: Running| async move {
        let intent = bench.create_intent("vol", EXT4, EXT4.least());
        let made = bench.run(&running.context.runner, OpKind::Create, "vol", intent).await;
        running.stop().await;
        made.map(|_| ()).map_err(|_| ())
    };
    at_every_point(
        async |_| {},
        story,
        |bench| {
            let view = bench.view("vol");
            let image = view.volume.image.expect("made");
            assert!(matches!(image.tag, TagReading::Read(tag) if tag.state == HostState::Ready));
            assert_eq!(bench.loops(), Vec::<String>::new());
            assert_eq!(bench.objects().len(), 1);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_i2_stage_and_publish_end_or_are_undone_wherever_the_process_dies() {
    let story = |bench: Arc<Bench>, mut running: Running| async move {
        let capability = || mounted(Mode::SingleNodeWriter, "", &[]);
        let staged = running.node.node_stage_volume(bench.stage("vol", capability())).await;
        let published = match staged {
            Ok(_) => running
                .node
                .node_publish_volume(bench.publish("vol", "pod", capability()))
                .await
                .map(drop),
            Err(status) => Err(status),
        };
        running.stop().await;
        published.map_err(drop)
    };
    at_every_point(
        async |bench| make(bench).await,
        story,
        |bench| {
            let view = bench.view("vol");
            let image = view.volume.image.as_ref().expect("there");
            let TagReading::Read(tag) = &image.tag else { unreachable!() };
            let made = bench.uuid("vol").filesystem_uuid();
            assert_eq!(tag.latch, Latch::Formatted { filesystem: made });
            assert_eq!(view.volume_mounts().count(), 2, "staged and published once each");
            std::fs::write(bench.target("pod").join("file"), b"bytes").expect("usable");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_unpublish_and_unstage_end_wherever_the_process_dies() {
    let prepare = async |bench: &Bench| {
        let mut running = bench.start().await;
        bench.create(&running, "vol", EXT4).await;
        let capability = || mounted(Mode::SingleNodeWriter, "", &[]);
        running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
        running
            .node
            .node_publish_volume(bench.publish("vol", "pod", capability()))
            .await
            .expect("published");
        running.stop().await;
    };
    let story = |bench: Arc<Bench>, mut running: Running| async move {
        let gone =
            running.node.node_unpublish_volume(bench.unpublish("vol", "pod")).await.map(drop);
        let gone = match gone {
            Ok(()) => running.node.node_unstage_volume(bench.unstage("vol")).await.map(drop),
            Err(status) => Err(status),
        };
        running.stop().await;
        gone.map_err(drop)
    };
    at_every_point(prepare, story, |bench| {
        assert_eq!((bench.mounts(), bench.loops()), (Vec::new(), Vec::new()));
        assert!(!bench.target("pod").exists());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_growing_ends_wherever_the_process_dies() {
    let story = |bench: Arc<Bench>, running: Running| async move {
        let (volume, cluster) = (bench.uuid("vol"), bench.cluster.clone());
        let to = terrace_device_types::Bytes::mib(64);
        let intent = Intent::Grow { volume, cluster, to };
        let grown = bench.run(&running.context.runner, OpKind::Grow, "vol", intent).await;
        let staged = match grown {
            Ok(_) => {
                let mut node = running.node.clone();
                let stage = bench.stage("vol", mounted(Mode::SingleNodeWriter, "", &[]));
                node.node_stage_volume(stage).await.map(drop).map_err(drop)
            }
            Err(_) => Err(()),
        };
        running.stop().await;
        staged
    };
    at_every_point(
        async |bench| make(bench).await,
        story,
        |bench| {
            let view = bench.view("vol");
            assert_eq!(
                view.volume.image.expect("there").apparent,
                terrace_device_types::Bytes::mib(64)
            );
            let filesystem = view.volume.filesystem.expect("mounted");
            assert!(
                filesystem.spans >= filesystem.fs.reachable(terrace_device_types::Bytes::mib(64))
            );
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_i1_deletion_ends_wherever_the_process_dies() {
    let story = |bench: Arc<Bench>, running: Running| async move {
        let fake = FakeApi::default();
        let agent = agent(&running, &fake);
        let volume = Arc::new(deleted(&bench, stamp(&bench)));
        let passed = terrace_node::agent::volume::reconcile(volume, agent).await;
        running.stop().await;
        let dropped =
            fake.take_writes().iter().any(|(_, path, _)| path.ends_with("/storagevolumes/vol"));
        let gone = bench.view("vol").volume.image.is_none();
        assert!(gone || !dropped, "the object never goes before the bytes");
        passed.map(drop).map_err(drop).and(if dropped { Ok(()) } else { Err(()) })
    };
    at_every_point(
        async |bench| make(bench).await,
        story,
        |bench| {
            assert_eq!(bench.objects(), Vec::<String>::new());
        },
    )
    .await;
}

/// Dies in the middle of a stage, then again at each point of taking it back: the third start still ends it.
#[tokio::test(flavor = "multi_thread")]
async fn i3_a_second_death_while_an_operation_is_taken_back_loses_nothing() {
    for make in Bench::grounds() {
        dies_twice(*make).await;
    }
}

async fn dies_twice(ground: fn() -> Bench) {
    let mounted_at = {
        let bench = ground();
        make(&bench).await;
        let faults = Arc::new(StopAt::never());
        let mut running = bench.start_with(faults.clone()).await;
        let staged = bench.stage("vol", mounted(Mode::SingleNodeWriter, "", &[]));
        running.node.node_stage_volume(staged).await.expect("staged");
        running.stop().await;
        let mount = Point::Step(OpKind::Stage, StepKind::MountFilesystem, Edge::After);
        faults.passed().iter().position(|point| *point == mount).expect("it is mounted")
    };
    let died_at = |bench: Arc<Bench>| async move {
        let mut running = bench.start_with(Arc::new(StopAt::nth(mounted_at))).await;
        let staged = bench.stage("vol", mounted(Mode::SingleNodeWriter, "", &[]));
        assert!(running.node.node_stage_volume(staged).await.is_err());
        running.stop().await;
        assert_eq!(bench.mounts().len(), 1, "mounted when it died");
    };
    for number in 0.. {
        let bench = Arc::new(ground());
        make(&bench).await;
        died_at(Arc::clone(&bench)).await;
        let faults = Arc::new(StopAt::nth(number));
        let context = bench.context(faults.clone());
        recover(&context.runner, &context.pools, &bench.cluster).await.expect("read");
        let died = faults.passed().len() == number + 1;
        drop(context);
        revive(&bench, Point::Reply(terrace_node::fault::Rpc::Stage)).await;
        assert_eq!(bench.mounts(), Vec::<std::path::PathBuf>::new(), "death {number}");
        assert_eq!(bench.loops(), Vec::<String>::new(), "death {number}");
        if !died {
            assert!(number > 4, "recovery passes points");
            break;
        }
    }
}
