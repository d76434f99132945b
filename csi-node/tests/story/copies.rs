//! Copies run by the node: no death and no slowness leaves a volume frozen, half a copy, or one of two moments.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use terrace_backends::group::plan_group;
use terrace_device_types::{
    Allocation, HostObject, HostState, Intent, OperationId, Step, StepKind, TagReading,
};
use terrace_devices::DeviceError;
use terrace_node::context::observe_and_plan;
use terrace_node::fault::{Edge, Fault, Faults, NoFaults, Point, Verdict};
use terrace_node::host::{Host, Probe};
use terrace_node::journal::record::Subject;
use terrace_node::operation::OpKind;
use terrace_node::queue::schedule::Priority;
use terrace_node::runner::recovery::{recover, thaw};
use terrace_node::runner::{AGENT_PATIENCE, Error, Job, Outcome};

use crate::bench::{Bench, EXT4, Running, mounted};
use crate::crash::at_every_point_of;

const SOURCES: [&str; 2] = ["one", "two"];

fn snapshot_of(source: &str) -> String {
    format!("snapshot-of-{source}")
}

/// One operation that takes a snapshot of each.
async fn take(bench: &Bench, running: &Running, sources: &[&str]) -> Result<Outcome, Error> {
    let intents = sources.iter().map(|source| {
        let (volume, from) = (bench.uuid(&snapshot_of(source)), bench.uuid(source));
        let intent = Intent::Copy {
            object: HostObject::Snapshot,
            volume,
            cluster: bench.cluster.clone(),
            name: snapshot_of(source),
            source: from,
            size: EXT4.least(),
            mode: EXT4,
            allocation: Allocation::Reserved,
        };
        (volume, intent)
    });
    let (intents, dir): (Vec<_>, PathBuf) = (intents.collect(), bench.pool.dir.clone());
    let subject = Subject {
        volume: Some(intents[0].0),
        pool: Some(bench.pool.uuid),
        name: snapshot_of(sources[0]),
        target: None,
        to: None,
    };
    let plan = move |host: &dyn Host, _: &OperationId| -> Result<Vec<Step>, Error> {
        let plan =
            |(volume, intent): &(_, _)| observe_and_plan(host, &dir, *volume, Probe::Look, intent);
        let plans: Result<Vec<_>, _> = intents.iter().map(plan).collect();
        Ok(plan_group(plans?)?)
    };
    let job = Job::on_volume(OpKind::Copy, subject, Priority::Agent, AGENT_PATIENCE);
    running.context.runner.run(job, plan).await
}

fn staging(bench: &Bench, source: &str) -> PathBuf {
    bench.path("kubelet/stage").join(source)
}

/// Volumes, staged, with a file in each.
async fn stage(bench: &Bench, running: &mut Running, sources: &[&str]) {
    for source in sources {
        bench.create(running, source, EXT4).await;
        let capability = mounted(Mode::SingleNodeWriter, "", &[]);
        running.node.node_stage_volume(bench.stage(source, capability)).await.expect("staged");
        std::fs::write(staging(bench, source).join("data/file"), *source).expect("written");
    }
}

fn assert_ready(bench: &Bench, source: &str) {
    let image = bench.view(&snapshot_of(source)).volume.image.expect("made");
    let TagReading::Read(tag) = image.tag else { unreachable!() };
    assert_eq!((tag.state, tag.object), (HostState::Ready, HostObject::Snapshot));
    assert_eq!(tag.source, Some(bench.uuid(source)));
}

/// A second freeze is answered with EBUSY while one stands.
fn is_frozen(mount: &Path) -> bool {
    let freeze = |way: &str| {
        let ended = std::process::Command::new("fsfreeze").arg(way).arg(mount).output();
        ended.expect("fsfreeze").status.success()
    };
    let stands = !freeze("--freeze");
    if !stands {
        assert!(freeze("--unfreeze"));
    }
    stands
}

fn dies_anywhere(sources: &'static [&'static str]) -> impl Future<Output = ()> {
    let prepare = async move |bench: &Bench| {
        let mut running = bench.start().await;
        stage(bench, &mut running, sources).await;
        running.stop().await;
    };
    let story = move |bench: Arc<Bench>, running: Running| async move {
        // The dead leave it frozen; whoever lives again finds it so only until the start's own pass.
        let frozen = sources.iter().any(|source| is_frozen(&staging(&bench, source)));
        assert!(!frozen, "the start left it frozen");
        let taken = take(&bench, &running, sources).await;
        running.stop().await;
        taken.map(drop).map_err(drop)
    };
    at_every_point_of(Bench::copying(), prepare, story, move |bench| {
        for source in sources {
            assert_ready(bench, source);
            assert!(!is_frozen(&staging(bench, source)));
            std::fs::write(staging(bench, source).join("data/more"), "more").expect("usable");
        }
        assert_eq!(bench.objects().len(), 2 * sources.len(), "each copied once");
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_i10_a_copy_ends_or_is_undone_and_thawed_wherever_the_process_dies() {
    dies_anywhere(&SOURCES[..1]).await;
}

/// Also between the first member that is ready and the last.
#[tokio::test(flavor = "multi_thread")]
async fn i3_a_group_is_of_one_moment_wherever_the_process_dies() {
    dies_anywhere(&SOURCES).await;
}

/// Before the thaw somebody writes, which takes until the freeze ends by itself.
#[derive(Debug)]
struct WritesBeforeTheThaw {
    file: PathBuf,
}

impl Faults<Point> for WritesBeforeTheThaw {
    fn reach(&self, point: Point) -> Verdict {
        if point == Point::Step(OpKind::Copy, StepKind::ThawFilesystem, Edge::Before) {
            std::fs::write(&self.file, "let through by the watchdog").expect("written at last");
        }
        Verdict::Go
    }
}

/// Dead once the blocks are shared, with the freeze standing.
#[derive(Debug, Default)]
struct DiesFrozen {
    dead: AtomicBool,
}

impl Faults<Point> for DiesFrozen {
    fn reach(&self, point: Point) -> Verdict {
        let shared = [StepKind::CloneImage, StepKind::CreateLv];
        if shared.iter().any(|&step| point == Point::Step(OpKind::Copy, step, Edge::After)) {
            self.dead.store(true, Ordering::SeqCst);
        }
        if self.dead.load(Ordering::SeqCst) { Verdict::Stop } else { Verdict::Go }
    }
}

/// The API server may be away when the node starts, and the cluster unknown: writers don't wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn i10_the_next_start_thaws_before_it_knows_anything_else() {
    let bench = Bench::copying()();
    let mut running = bench.start().await;
    stage(&bench, &mut running, &SOURCES[..1]).await;
    running.stop().await;
    let running = bench.start_with(Arc::new(DiesFrozen::default())).await;
    assert!(matches!(
        take(&bench, &running, &SOURCES[..1]).await,
        Err(Error::Fault(Fault::Stopped(_)))
    ));
    running.stop().await;
    let stood = is_frozen(&staging(&bench, "one"));
    let context = bench.context(Arc::new(NoFaults));
    thaw(&context.runner).await.expect("the journal is read");
    assert!(stood && !is_frozen(&staging(&bench, "one")));
    let open = context.runner.journal.open_operations().expect("the journal is read");
    assert_eq!(open.len(), 1, "what else it began is still to be taken back");
    recover(&context.runner, &context.pools, &bench.cluster).await.expect("the journal is read");
    assert!(bench.view(&snapshot_of("one")).volume.image.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_copy_that_takes_longer_than_a_freeze_may_is_refused_and_taken_back() {
    let bench = Bench::copying()();
    let file = staging(&bench, "one").join("data/late");
    let mut running = bench.start_with(Arc::new(WritesBeforeTheThaw { file })).await;
    stage(&bench, &mut running, &SOURCES[..1]).await;
    let taken = take(&bench, &running, &SOURCES[..1]).await;
    let Err(Error::Step { source: DeviceError::NotStill { .. }, .. }) = taken else {
        panic!("{taken:?}")
    };
    assert!(bench.view(&snapshot_of("one")).volume.image.is_none(), "half a copy was left");
    assert!(!is_frozen(&staging(&bench, "one")));
    let open = running.context.runner.journal.open_operations().expect("the journal is read");
    assert!(open.is_empty(), "{open:?}");
    running.stop().await;
    let running = bench.start().await;
    take(&bench, &running, &SOURCES[..1]).await.expect("now it is quick");
    assert_ready(&bench, "one");
    running.stop().await;
}
