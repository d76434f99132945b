//! The sweeper on real pools: what a crash left goes after its time, what may be somebody's never does, and whatever makes
//! the API server's word doubtful stops it.
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector::{self, store::Writer};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use terrace_crds::condition::Truth;
use terrace_crds::node::OrphanReason;
use terrace_crds::{Reason, StorageSnapshot, StorageVolume};
use terrace_device_types::{
    BootId, Claimed, DeletionProof, DeletionStamp, Erase, FsType, HostState, Intent, PvReading,
    StageState, Step, Tag, TagReading, VolumeMode,
};
use terrace_node::agent::sweep::{Error, Sweeper, Swept};
use terrace_node::agent::{Agent, orphans, stock, sweep};
use terrace_node::fault::{Edge, Point, StopAt};
use terrace_node::host::{Host, RealHost};
use terrace_node::operation::OpKind;
use tokio::sync::watch;

use crate::agent::new_agent;
use crate::api::{Cluster, FakeApi};
use crate::bench::{Bench, Running};
use crate::crash::revive;

const HOUR: Duration = Duration::from_secs(3600);
const BTRFS: VolumeMode = VolumeMode::Filesystem { fs: FsType::Btrfs };

/// What a volume of this pool is made of.
pub(crate) fn mode(bench: &Bench) -> VolumeMode {
    let marked = std::fs::read_to_string(bench.pool.dir.join("terrace-pool.json"));
    if marked.expect("marked").contains("btrfs") { BTRFS } else { VolumeMode::Block }
}

/// Makes a volume in service.
pub(crate) async fn make(bench: &Bench, name: &str) {
    let running = bench.start().await;
    bench.create(&running, name, mode(bench)).await;
    running.stop().await;
}

/// Rewrites what the tag says.
pub(crate) fn retag(bench: &Bench, name: &str, state: HostState) {
    let image = bench.view(name).volume.image.expect("there").path;
    let step = Step::WriteState { image, volume: bench.uuid(name), state };
    RealHost::new().execute(&step, HOUR).expect("written");
}

/// A creation that died before its end, and whose journal is lost.
pub(crate) async fn leave_unfinished(bench: &Bench, name: &str) {
    make(bench, name).await;
    retag(bench, name, HostState::Creating);
}

pub(crate) fn tag(bench: &Bench, name: &str) -> Option<Tag> {
    match bench.view(name).volume.image?.tag {
        TagReading::Read(tag) => Some(tag),
        TagReading::Absent | TagReading::Unreadable(_) => None,
    }
}

/// How far a deletion got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Its mark is written.
    Marked,
    /// It has its new name, too.
    Renamed,
}

/// How far the deletion of it got.
fn left(bench: &Bench, name: &str) -> Option<Left> {
    let image = bench.view(name).volume.image?;
    let renamed =
        image.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("q-"));
    match tag(bench, name)?.state {
        HostState::Quarantined { .. } if renamed => Some(Left::Renamed),
        HostState::Quarantined { .. } => Some(Left::Marked),
        HostState::Creating | HostState::Ready | HostState::Retained => None,
    }
}

/// A deletion that died so far on its way; the next start found no object for it.
pub(crate) async fn leave_quarantined(bench: &Bench, name: &str, wanted: Left) {
    make(bench, name).await;
    for number in 0.. {
        let running = bench.start_with(Arc::new(StopAt::nth(number))).await;
        let volume = bench.uuid(name);
        let stamp = DeletionStamp { volume, id: "d-1".parse().expect("an id") };
        let claimed = Claimed::Volume(PvReading::NotFound);
        let there = tag(bench, name).expect("there");
        let proof = DeletionProof::check(Some(&stamp), volume, &bench.cluster, &claimed, &there);
        let proof = proof.expect("proven");
        let intent = Intent::Delete { volume, proof, erase: Erase::No };
        let died = bench.run(&running.context.runner, OpKind::Delete, name, intent).await;
        running.stop().await;
        assert!(died.is_err(), "it dies before its end");
        revive(bench, Point::JournalFinish(OpKind::Delete, Edge::Before)).await;
        if left(bench, name) == Some(wanted) {
            return;
        }
    }
}

/// A StorageVolume as a list shows it.
pub(crate) fn volume(name: &str, uuid: impl ToString) -> Value {
    json!({
        "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume",
        "metadata": { "name": name },
        "spec": { "volumeUUID": uuid.to_string(), "origin": "CSI", "capacity": "1Gi", "pool": "p" },
    })
}

/// A PersistentVolume of ours as a list shows it.
pub(crate) fn persistent(name: &str, handle: &str, uuid: impl ToString) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name },
        "spec": { "csi": { "driver": "csi.terrace.storage", "volumeHandle": handle,
            "volumeAttributes": { "terrace.storage/volume-uuid": uuid.to_string() } } },
    })
}

/// A node with its agent, whose watches have listed `claims`.
pub(crate) struct Node {
    pub(crate) running: Running,
    pub(crate) fake: FakeApi,
    pub(crate) agent: Arc<Agent>,
    pub(crate) cluster: Cluster,
    volumes: Writer<StorageVolume>,
    _snapshots: Writer<StorageSnapshot>,
}

impl Node {
    pub(crate) async fn start(bench: &Bench, after: Duration, claims: &[&str]) -> Self {
        let running = bench.start().await;
        Self::on(bench, running, after, claims)
    }

    pub(crate) fn on(bench: &Bench, running: Running, after: Duration, claims: &[&str]) -> Self {
        let fake = FakeApi::default();
        let agent = Arc::new(new_agent(&running, &fake).sweeping_after(after));
        let cluster = Cluster {
            uid: bench.cluster.to_string(),
            volumes: claims.iter().map(|name| volume(name, bench.uuid(name))).collect(),
            ..Cluster::default()
        };
        fake.set_cluster(cluster.clone());
        let (store, mut volumes) = reflector::store();
        agent.objects.watch_volumes(store);
        let (store, mut snapshots) = reflector::store();
        agent.objects.watch_snapshots(store);
        volumes.apply_watcher_event(&Event::Init);
        for claim in &cluster.volumes {
            let claim = serde_json::from_value(claim.clone()).expect("a StorageVolume");
            volumes.apply_watcher_event(&Event::InitApply(claim));
        }
        volumes.apply_watcher_event(&Event::InitDone);
        snapshots.apply_watcher_event(&Event::InitDone);
        Self { running, fake, agent, cluster, volumes, _snapshots: snapshots }
    }

    /// Ends, and lets go of the journal.
    pub(crate) async fn stop(self) {
        let Self { running, fake: _, agent, cluster: _, volumes: _, _snapshots } = self;
        drop(agent);
        running.stop().await;
    }

    /// An object of this node appears.
    pub(crate) fn watch(&mut self, claim: Value) {
        let claim = serde_json::from_value(claim).expect("a StorageVolume");
        self.volumes.apply_watcher_event(&Event::Apply(claim));
    }

    /// The cluster, changed.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Cluster)) {
        let mut cluster = self.cluster.clone();
        change(&mut cluster);
        self.fake.set_cluster(cluster);
    }

    /// What the node's own pass does first.
    pub(crate) async fn look(&self) {
        let stock = stock::take(&self.agent).await.expect("a look");
        stock::note(&self.agent, &stock);
    }

    /// One pass of a sweeper that has just begun.
    pub(crate) async fn sweep(&self) -> Result<Swept, Error> {
        self.look().await;
        Sweeper::default().pass(&self.agent).await
    }

    async fn orphans(&self) -> Vec<(OrphanReason, String)> {
        let stock = stock::take(&self.agent).await.expect("a look");
        let claims = stock.claims.as_ref().expect("listed");
        let orphans = orphans::plan_orphans(&stock.listing, claims, &[], HOUR);
        let mut all: Vec<_> =
            orphans.into_iter().map(|orphan| (orphan.reason, orphan.name)).collect();
        all.sort();
        all
    }

    fn condition(&self) -> (Truth, Reason) {
        let swept = self.agent.swept().clone().expect("said");
        (swept.truth, swept.reason)
    }
}

fn removed(swept: Result<Swept, Error>) -> usize {
    match swept.expect("a pass that ends") {
        Swept::Removed(all) => all.len(),
        other => {
            assert!(matches!(other, Swept::Removed(_)), "{other:?}");
            0
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_of_a_deletion_goes_after_its_time() {
    // With its mark alone, and with its new name too.
    for (make_bench, far) in [
        (Bench::new as fn() -> Bench, Left::Marked),
        (Bench::new, Left::Renamed),
        (Bench::on_btrfs, Left::Marked),
        (Bench::on_btrfs, Left::Renamed),
    ] {
        let bench = make_bench();
        make(&bench, "kept").await;
        leave_quarantined(&bench, "gone", far).await;
        let early = Node::start(&bench, HOUR, &["kept"]).await;
        assert_eq!(early.orphans().await, [(OrphanReason::Quarantined, "gone".to_owned())]);
        assert_eq!(early.sweep().await.expect("a pass"), Swept::NotYet);
        assert!(left(&bench, "gone").is_some(), "it has its time");
        early.stop().await;

        let node = Node::start(&bench, Duration::ZERO, &["kept"]).await;
        node.fake.take_reads();
        assert_eq!(removed(node.sweep().await), 1);
        assert!(bench.view("gone").volume.image.is_none());
        assert_eq!(tag(&bench, "kept").expect("there").state, HostState::Ready);
        assert_eq!(node.condition(), (Truth::True, Reason::AsExpected));
        let reads = node.fake.take_reads();
        assert!(reads.len() > 4 && reads.iter().all(|path| !path.contains("resourceVersion")));
        assert_eq!(node.running.context.runner.journal.open_operations().expect("read"), []);
        assert_eq!(node.orphans().await, []);
        assert_eq!(node.sweep().await.expect("a pass"), Swept::NotYet);
        assert_eq!(node.fake.take_reads(), Vec::<String>::new(), "I8: nothing left to ask");
        assert_eq!(node.fake.take_writes(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_and_never_finished_goes_by_itself() {
    for make_bench in [Bench::new as fn() -> Bench, Bench::on_btrfs] {
        let bench = make_bench();
        make(&bench, "kept").await;
        leave_unfinished(&bench, "begun").await;
        let node = Node::start(&bench, Duration::from_millis(1), &["kept"]).await;
        let (end, ended) = watch::channel(false);
        let sweeper = tokio::spawn(sweep::run(Arc::clone(&node.agent), ended));
        node.look().await;
        while tag(&bench, "begun").is_some() {
            let told = tokio::time::timeout(Duration::from_secs(20), node.agent.dirty.notified());
            told.await.expect("the sweeper runs at its time, and says so");
        }
        assert_eq!(tag(&bench, "kept").expect("there").state, HostState::Ready);
        end.send_replace(true);
        sweeper.await.expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_what_is_kept_staged_or_in_service_never_goes() {
    for make_bench in [Bench::new as fn() -> Bench, Bench::on_btrfs] {
        let bench = make_bench();
        for name in ["retained", "in-service", "staged"] {
            make(&bench, name).await;
        }
        retag(&bench, "retained", HostState::Retained);
        let image = bench.view("staged").volume.image.expect("there").path;
        let boot: BootId = "some-boot".parse().expect("a token");
        let stage = StageState::At { boot, target: "/staging".into() };
        let step = Step::WriteStage { image, volume: bench.uuid("staged"), stage };
        RealHost::new().execute(&step, HOUR).expect("written");
        retag(&bench, "staged", HostState::Creating);
        let node = Node::start(&bench, Duration::ZERO, &[]).await;
        node.with(|cluster| cluster.volumes.push(volume("other", uuid::Uuid::nil())));
        assert_eq!(node.sweep().await.expect("a pass"), Swept::NotYet);
        let expected = [
            (OrphanReason::Retained, "retained".to_owned()),
            (OrphanReason::NoObject, "in-service".to_owned()),
            (OrphanReason::Unfinished, "staged".to_owned()),
        ];
        assert_eq!(node.orphans().await, expected);
        for name in ["retained", "in-service", "staged"] {
            assert!(tag(&bench, name).is_some(), "{name}");
        }
    }
}

/// What becomes of the cluster, and what is said of it.
type Doubt = (Reason, fn(&mut Cluster));

#[tokio::test(flavor = "multi_thread")]
async fn i1_every_doubt_voids_the_pass_and_is_said() {
    let bench = Bench::new();
    make(&bench, "kept").await;
    leave_unfinished(&bench, "begun").await;
    leave_quarantined(&bench, "gone", Left::Marked).await;
    let node = Node::start(&bench, Duration::ZERO, &["kept"]).await;
    let doubts: [Doubt; 8] = [
        (Reason::ReadFailed, |api| api.failing = Some(("storagevolumes", 500))),
        (Reason::ReadFailed, |api| api.failing = Some(("storagesnapshots", 403))),
        (Reason::ReadFailed, |api| api.failing = Some(("persistentvolumes", 429))),
        (Reason::ReadFailed, |api| api.failing = Some(("storagesnapshots.terrace.storage", 404))),
        (Reason::ReadFailed, |api| api.failing = Some(("kube-system", 504))),
        (Reason::NoObjects, |api| api.volumes.clear()),
        (Reason::OtherCluster, |api| api.uid = "another".into()),
        (Reason::DefinitionTerminating, |api| {
            api.terminating = Some("storagevolumes.terrace.storage");
        }),
    ];
    for (reason, doubt) in doubts {
        node.with(doubt);
        let swept = node.sweep().await.expect("a pass that ends");
        assert!(matches!(&swept, Swept::Voided(why) if why.reason() == reason), "{swept:?}");
        assert_eq!(node.condition(), (Truth::False, reason));
        assert!(tag(&bench, "begun").is_some() && left(&bench, "gone").is_some(), "{reason}");
    }
    node.with(|_| {});
    assert_eq!(removed(node.sweep().await), 2);
    assert_eq!(node.condition(), (Truth::True, Reason::AsExpected));
    assert_eq!(tag(&bench, "kept").expect("there").state, HostState::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_what_anything_in_the_cluster_names_stays() {
    let bench = Bench::new();
    leave_unfinished(&bench, "begun").await;
    leave_quarantined(&bench, "gone", Left::Marked).await;
    let mut node = Node::start(&bench, Duration::ZERO, &[]).await;
    let other = || volume("other", uuid::Uuid::nil());
    // On the second page, of another node.
    node.with(|cluster| {
        cluster.volumes = vec![other(), volume("elsewhere", bench.uuid("begun"))];
        cluster.persistent =
            vec![persistent("pv-0", "other", ""), persistent("pv-1", "x", bench.uuid("gone"))];
    });
    assert_eq!(removed(node.sweep().await), 0);
    node.with(|cluster| {
        cluster.volumes = vec![other(), volume("gone", uuid::Uuid::nil())];
        cluster.persistent = vec![persistent("pv-1", "begun", "")];
    });
    assert_eq!(removed(node.sweep().await), 0, "by the handle too");
    assert!(tag(&bench, "begun").is_some() && left(&bench, "gone").is_some());
    // No list names them any more, but this node's watch has just shown who does.
    node.with(|cluster| cluster.volumes = vec![other()]);
    node.look().await;
    node.watch(volume("begun", bench.uuid("begun")));
    node.watch(volume("gone", bench.uuid("gone")));
    let late = Sweeper::default().pass(&node.agent).await.expect("a pass");
    assert!(matches!(&late, Swept::Removed(none) if none.is_empty()), "{late:?}");
    assert!(tag(&bench, "begun").is_some() && left(&bench, "gone").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_what_somebody_has_open_waits_and_goes_when_it_is_free() {
    let bench = Bench::new();
    leave_unfinished(&bench, "begun").await;
    leave_quarantined(&bench, "gone", Left::Renamed).await;
    let node = Node::start(&bench, Duration::ZERO, &[]).await;
    let open = |name: &str| {
        let image = bench.view(name).volume.image.expect("there").path;
        std::fs::File::open(image).expect("opened")
    };
    let held = [open("begun"), open("gone")];
    node.sweep().await.expect_err("open");
    assert_eq!(node.condition(), (Truth::False, Reason::InUse));
    assert!(tag(&bench, "begun").is_some() && left(&bench, "gone").is_some());
    drop(held);
    assert_eq!(removed(node.sweep().await), 2);
    assert_eq!(node.condition().0, Truth::True);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_begins_the_time_anew() {
    let bench = Bench::new();
    leave_unfinished(&bench, "begun").await;
    for _ in 0..2 {
        let node = Node::start(&bench, HOUR, &[]).await;
        node.look().await;
        let left = Sweeper::default().next(&node.agent, std::time::Instant::now());
        assert!(left.is_some_and(|left| left > HOUR - Duration::from_secs(60)), "{left:?}");
        node.stop().await;
    }
}
