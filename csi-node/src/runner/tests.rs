//! The runner on a host that answers when the test lets it.
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use terrace_device_types::lvm::{GroupPlace, ThinPoolStatus};
use terrace_device_types::{
    DeviceView, HostState, ImageView, OperationId, PoolUuid, PoolView, SmartView, Step, StepDone,
    View, VolumeUuid, Wipe,
};
use terrace_devices::DeviceError;
use uuid::Uuid;

use super::{AGENT_PATIENCE, Error, Job, Outcome, Runner};
use crate::audit::{Audit, Phase, Wanted};
use crate::fault::{NoFaults, Point};
use crate::host::{Facilities, Host, Probe, Usage};
use crate::journal::Journal;
use crate::journal::record::{Record, Subject};
use crate::metrics::Metrics;
use crate::operation::OpKind;
use crate::queue::Queue;
use crate::queue::schedule::{OpId, Priority};

/// Every step waits for a word of the test.
#[derive(Debug)]
struct Hanging {
    begun: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

fn none<T>() -> Result<T, DeviceError> {
    Err(DeviceError::Bug { why: "this test does not look" })
}

impl Host for Hanging {
    fn volume(
        &self,
        _: &Path,
        _: VolumeUuid,
        _: Option<VolumeUuid>,
        _: Probe,
    ) -> Result<View, DeviceError> {
        none()
    }
    fn mounted(&self, _: &Path, _: VolumeUuid, _: &Path) -> Result<Option<ImageView>, DeviceError> {
        none()
    }
    fn mounts(&self) -> Result<View, DeviceError> {
        none()
    }
    fn pool(&self, _: &Path) -> Result<PoolView, DeviceError> {
        none()
    }
    fn images(&self, _: &Path) -> Result<Vec<ImageView>, DeviceError> {
        none()
    }
    fn devices(&self) -> Result<Vec<DeviceView>, DeviceError> {
        none()
    }
    fn probe_device(&self, _: DeviceView) -> Result<DeviceView, DeviceError> {
        none()
    }
    fn group(&self, _: Vec<(DeviceView, Wipe)>, _: PoolUuid) -> Result<GroupPlace, DeviceError> {
        none()
    }
    fn smart(&self, _: &Path) -> Result<Option<SmartView>, DeviceError> {
        none()
    }
    fn thin_use(&self, _: &Path) -> Result<Option<ThinPoolStatus>, DeviceError> {
        none()
    }
    fn usage(&self, _: &Path) -> Result<Usage, DeviceError> {
        none()
    }
    fn taken_at(&self, _: &Path) -> Result<SystemTime, DeviceError> {
        none()
    }
    fn facilities(&self) -> Facilities {
        unreachable!("this test does not look")
    }
    fn execute(&self, _: &Step, _: Duration) -> Result<StepDone, DeviceError> {
        self.begun.send(()).expect("the test listens");
        // An error means that the test is over.
        let _ = self.go_on.lock().expect("one at a time").recv();
        Ok(StepDone::Changed)
    }
}

struct Rig {
    _dir: tempfile::TempDir,
    runner: Runner,
    begun: Receiver<()>,
    go_on: Sender<()>,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("journal.redb");
    let (journal, _) = Journal::open(&path, jiff::Timestamp::UNIX_EPOCH).expect("a journal");
    let ((told, begun), (go_on, waits)) = (channel(), channel());
    let host = Arc::new(Hanging { begun: told, go_on: Mutex::new(waits) });
    let audit = Arc::new(Audit::open(dir.path(), "node-a").expect("an audit"));
    let (journal, faults) = (Arc::new(journal), Arc::new(NoFaults));
    let runner = Runner::new(host, Queue::new(1), journal, audit, faults, Metrics::new());
    Rig { _dir: dir, runner, begun, go_on }
}

fn subject(number: u128) -> Subject {
    let volume = Some(VolumeUuid(Uuid::from_u128(number)));
    Subject { volume, pool: Some(PoolUuid(Uuid::nil())), name: "vol".into(), ..Subject::default() }
}

fn job(kind: OpKind, number: u128) -> Job {
    Job::on_volume(kind, subject(number), Priority::Agent, AGENT_PATIENCE)
}

fn steps() -> Vec<Step> {
    let (volume, state) = (VolumeUuid(Uuid::from_u128(1)), HostState::Ready);
    vec![Step::WriteState { image: "/pool/t-1".into(), volume, state }]
}

async fn until_begun(begun: &Receiver<()>) {
    while begun.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
}

fn nothing(_: &dyn Host, _: &OperationId) -> Result<Vec<Step>, Error> {
    Ok(Vec::new())
}

#[tokio::test(start_paused = true)]
async fn i10_a_step_that_hangs_is_not_waited_for_and_keeps_its_volume_but_not_the_node() {
    let Rig { _dir, runner, begun, go_on } = rig();
    let hangs = {
        let runner = runner.clone();
        tokio::spawn(async move {
            runner.run(job(OpKind::Retain, 1), |_: &dyn Host, _: &OperationId| Ok(steps())).await
        })
    };
    until_begun(&begun).await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    let hung = hangs.await.expect("no panic");
    assert!(matches!(hung, Err(Error::Hangs { .. })), "{hung:?}");
    let other = runner.run(job(OpKind::Retain, 2), nothing).await;
    assert_eq!(other.expect("the node goes on"), Outcome::Already);
    let same = tokio::spawn({
        let runner = runner.clone();
        async move { runner.run(job(OpKind::Grow, 1), nothing).await }
    });
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    let same = same.await.expect("no panic");
    assert!(matches!(same, Err(Error::Busy(_))), "beside a step at work: {same:?}");
    go_on.send(()).expect("it waits");
    while !runner.queue.snapshot().is_empty() {
        tokio::task::yield_now().await;
    }
    let free = runner.run(job(OpKind::Grow, 1), nothing).await;
    assert_eq!(free.expect("the step came back"), Outcome::Already);
}

#[tokio::test(start_paused = true)]
async fn i10_a_look_that_hangs_is_not_waited_for() {
    let Rig { _dir, runner, begun: _begun, go_on: _go_on } = rig();
    let (release, held) = channel::<()>();
    let (told, looks) = channel();
    let hangs = {
        let runner = runner.clone();
        tokio::spawn(async move {
            let plan = move |_: &dyn Host, _: &OperationId| {
                told.send(()).expect("the test listens");
                let _ = held.recv();
                Ok(Vec::new())
            };
            runner.run(job(OpKind::Stage, 1), plan).await
        })
    };
    until_begun(&looks).await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    let hung = hangs.await.expect("no panic");
    assert!(matches!(hung, Err(Error::Hangs { .. })), "{hung:?}");
    assert!(!runner.queue.snapshot().is_empty(), "its volume stays locked");
    drop(release);
}

/// The end of a publish could not be written (the disk was full); the kubelet asked again and was told that
/// it is published. A restart must not unmount it under the Pod.
#[tokio::test]
async fn i3_what_is_found_done_is_not_taken_back_at_the_next_start() {
    let Rig { _dir, runner, begun: _begun, go_on: _go_on } = rig();
    let (id, now) = (OpId(Uuid::from_u128(7)), jiff::Timestamp::UNIX_EPOCH);
    let left = Record::new(id, OpKind::Publish, subject(1), &steps(), now);
    let other = OpId(Uuid::from_u128(8));
    let others = Record::new(other, OpKind::Publish, subject(2), &steps(), now);
    runner.journal.begin(&left).expect("written");
    runner.journal.begin(&others).expect("written");
    let again = runner.run(job(OpKind::Publish, 1), nothing).await;
    assert_eq!(again.expect("published"), Outcome::Already);
    let open = runner.journal.open_operations().expect("read");
    assert_eq!(open.iter().map(|record| record.id).collect::<Vec<_>>(), [other]);
}

#[tokio::test]
async fn i3_nothing_is_done_when_the_journals_code_fails() {
    let Rig { _dir, runner, begun, go_on: _go_on } = rig();
    let id = OpId(Uuid::from_u128(7));
    let point = |edge| Point::JournalSettle(OpKind::Publish, edge);
    let written =
        runner.journaled(id, point, |_: &Journal, (): &()| panic!("a damaged page"), &()).await;
    assert!(matches!(written, Err(Error::Panicked(_))), "{written:?}");
    assert!(begun.try_recv().is_err());
}

/// What is destroyed is in the audit while it is, and its end after it.
#[tokio::test]
async fn i3_a_step_that_destroys_is_in_the_audit_before_the_host_hears_of_it() {
    let Rig { _dir, runner, begun, go_on } = rig();
    let removal = {
        let runner = runner.clone();
        let plan = |_: &dyn Host, _: &OperationId| {
            let volume = VolumeUuid(Uuid::from_u128(1));
            Ok(vec![Step::RemoveUnfinished { image: "/pool/t-1".into(), volume }])
        };
        tokio::spawn(async move { runner.run(job(OpKind::Sweep, 1), plan).await })
    };
    until_begun(&begun).await;
    let phases = || {
        let found = runner.audit.read(&Wanted::default()).expect("read");
        found.entries.iter().map(|entry| entry.phase).collect::<Vec<_>>()
    };
    assert_eq!(phases(), [Phase::Intent]);
    go_on.send(()).expect("it waits");
    removal.await.expect("no panic").expect("removed");
    assert_eq!(phases(), [Phase::Intent, Phase::Result]);
}
