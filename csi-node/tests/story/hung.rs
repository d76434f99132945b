//! A pool whose disk does not answer: it costs its own volumes, and those of no other pool.
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use csi_proto_rs::csi::v1::NodeGetVolumeStatsRequest;
use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use futures::future::join_all;
use terrace_device_types::lvm::{GroupPlace, ThinPoolStatus};
use terrace_device_types::{
    DeviceView, ImageView, PoolUuid, PoolView, Signature, SmartView, Step, StepDone, View,
    VolumeUuid, Wipe,
};
use terrace_devices::DeviceError;
use terrace_node::agent::disks::Disks;
use terrace_node::context::{Context, LOOK_DEADLINE};
use terrace_node::csi::{publish, stage, stats};
use terrace_node::host::{Facilities, Host, Probe, RealHost, Usage, Wary};
use terrace_node::journal::KnownPool;

use crate::agent::{agent, pass, volume};
use crate::api::FakeApi;
use crate::bench::{Bench, EXT4, mounted};
use crate::pools::Disk;

/// The real host, but for one pool directory, or the file of one disk: who looks at it waits until the test is over.
#[derive(Debug)]
struct Hung {
    real: RealHost,
    dir: PathBuf,
    end: Mutex<Receiver<()>>,
}

impl Hung {
    fn wait_in(&self, dir: &Path) {
        if dir == self.dir {
            // An error means that the test is over.
            let _ = self.end.lock().expect("nobody panics").recv();
        }
    }
}

impl Host for Hung {
    fn volume(
        &self,
        dir: &Path,
        volume: VolumeUuid,
        source: Option<VolumeUuid>,
        probe: Probe,
    ) -> Result<View, DeviceError> {
        self.wait_in(dir);
        self.real.volume(dir, volume, source, probe)
    }
    fn mounted(
        &self,
        dir: &Path,
        volume: VolumeUuid,
        path: &Path,
    ) -> Result<Option<ImageView>, DeviceError> {
        self.wait_in(dir);
        self.real.mounted(dir, volume, path)
    }
    fn mounts(&self) -> Result<View, DeviceError> {
        self.real.mounts()
    }
    fn pool(&self, dir: &Path) -> Result<PoolView, DeviceError> {
        self.wait_in(dir);
        self.real.pool(dir)
    }
    fn images(&self, dir: &Path) -> Result<Vec<ImageView>, DeviceError> {
        self.wait_in(dir);
        self.real.images(dir)
    }
    fn devices(&self) -> Result<Vec<DeviceView>, DeviceError> {
        self.real.devices()
    }
    fn probe_device(&self, device: DeviceView) -> Result<DeviceView, DeviceError> {
        self.wait_in(device.id.strip_prefix("loop:").unwrap_or_default().as_ref());
        self.real.probe_device(device)
    }
    fn group(
        &self,
        devices: Vec<(DeviceView, Wipe)>,
        pool: PoolUuid,
    ) -> Result<GroupPlace, DeviceError> {
        self.real.group(devices, pool)
    }
    fn smart(&self, path: &Path) -> Result<Option<SmartView>, DeviceError> {
        self.real.smart(path)
    }
    fn thin_use(&self, dir: &Path) -> Result<Option<ThinPoolStatus>, DeviceError> {
        self.real.thin_use(dir)
    }
    fn usage(&self, path: &Path) -> Result<Usage, DeviceError> {
        self.real.usage(path)
    }
    fn taken_at(&self, object: &Path) -> Result<SystemTime, DeviceError> {
        self.real.taken_at(object)
    }
    fn facilities(&self) -> Facilities {
        self.real.facilities()
    }
    fn execute(&self, step: &Step, deadline: Duration) -> Result<StepDone, DeviceError> {
        self.real.execute(step, deadline)
    }
}

/// Adds a pool that hangs until what is given back is dropped.
fn add_hung_pool(bench: &Bench, context: &mut Context) -> Sender<()> {
    let (end, ended) = channel();
    let dir = bench.path("hung");
    // Sorts before every other one, so that a walk meets it first.
    let uuid = PoolUuid(uuid::Uuid::from_u128(1));
    let known = KnownPool {
        uuid,
        name: "hung".into(),
        dir: dir.clone(),
        device: None,
        devices: Vec::new(),
    };
    context.pools.put(known, &context.runner.journal).expect("journal");
    let host = Hung { real: RealHost::new(), dir, end: Mutex::new(ended) };
    context.runner.host = Arc::new(Wary::new(host));
    end
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_hangs_costs_the_volumes_of_no_other_pool() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", EXT4).await;
    let end = add_hung_pool(&bench, &mut running.context);
    let context = &running.context;
    let capability = || mounted(Mode::SingleNodeWriter, "", &[]);

    let mut asked = bench.stage("vol", capability());
    asked.volume_context = [("terrace.storage/pool".into(), "pool".into())].into();
    stage::stage(context, asked).await.expect("the call names its pool");
    // These name none: where the volume was found last is known.
    publish::publish(context, bench.publish("vol", "pod", capability())).await.expect("published");
    let volume_path = bench.target("pod").display().to_string();
    let asked = NodeGetVolumeStatsRequest {
        volume_id: "vol".into(),
        volume_path,
        ..NodeGetVolumeStatsRequest::default()
    };
    assert_eq!(stats::stats(context, asked).await.expect("counted").len(), 2);
    publish::unpublish(context, bench.unpublish("vol", "pod")).await.expect("taken away");
    stage::unstage(context, bench.unstage("vol")).await.expect("unstaged");
    drop(end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_started_anew_learns_from_the_assignment_which_pool_to_look_at() {
    let bench = Bench::new();
    let (mut running, fake) = (bench.start().await, FakeApi::default());
    bench.create(&running, "vol", EXT4).await;
    let capability = mounted(Mode::SingleNodeWriter, "", &[]);
    running.node.node_stage_volume(bench.stage("vol", capability)).await.expect("staged");
    // Nothing but the journal and the objects of the API server outlive the process.
    let pools = terrace_node::pools::Pools::default();
    pools.put(bench.pool.clone(), &running.context.runner.journal).expect("journal");
    running.context.pools = pools;
    let end = add_hung_pool(&bench, &mut running.context);
    pass(&agent(&running, &fake), &fake, &volume(&bench, "16Mi")).await;
    stage::unstage(&running.context, bench.unstage("vol")).await.expect("unstaged");
    drop(end);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_a_dead_pool_is_asked_the_others_answer() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    let end = add_hung_pool(&bench, &mut running.context);
    let (context, dead, live) = (&running.context, bench.path("hung"), bench.pool.dir.clone());
    let ask = |dir: &Path| {
        let dir = dir.to_owned();
        context.look(move |host| host.pool(&dir))
    };
    // More than there are looks at once, as a kubelet comes to that asks once a minute of each volume.
    let ask_dead = || join_all((0..100).map(|_| ask(&dead)));
    assert!(ask_dead().await.iter().all(|answer| !matches!(answer, Ok(Ok(_)))));
    let begun = Instant::now();
    for answer in ask_dead().await {
        let error = answer.expect("told at once").expect_err("it is dead");
        assert!(matches!(error, DeviceError::Silent { .. }), "{error}");
    }
    ask(&live).await.expect("answers").expect("looked at");
    assert!(begun.elapsed() < LOOK_DEADLINE / 4, "{:?}", begun.elapsed());
    drop(end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_asked_once_and_hides_no_other() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    let (hung, other) = (Disk::new(&bench, "a-hung"), Disk::new(&bench, "b-other"));
    let (end, ended) = channel();
    let dir = hung.file.clone();
    let host = Hung { real: RealHost::new(), dir, end: Mutex::new(ended) };
    running.context.runner.host = Arc::new(Wary::new(host));
    let mut disks = Disks::default();
    let signatures = |all: &[DeviceView]| {
        let of = |disk: &Disk| all.iter().find(|seen| seen.id == disk.id()).expect("listed");
        [of(&hung).signature.clone(), of(&other).signature.clone()]
    };
    let first = disks.look(&running.context).await.expect("the others answer");
    assert_eq!(signatures(&first), [Signature::NotProbed, Signature::Blank]);
    let again = disks.look(&running.context);
    let again = tokio::time::timeout(LOOK_DEADLINE / 2, again).await.expect("not asked again");
    assert_eq!(signatures(&again.expect("listed")), signatures(&first));
    drop(end);
    // It answers after all: that is taken up.
    let answered = async {
        while signatures(&disks.look(&running.context).await.expect("listed"))[0]
            != Signature::Blank
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LOOK_DEADLINE, answered).await.expect("asked again");
}
