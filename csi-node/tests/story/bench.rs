//! A node without a cluster: a pool on the disk, a runner on the real host, the CSI socket.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use csi_proto_rs::csi::v1::identity_client::IdentityClient;
use csi_proto_rs::csi::v1::node_client::NodeClient;
use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use csi_proto_rs::csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use csi_proto_rs::csi::v1::{
    NodePublishVolumeRequest, NodeStageVolumeRequest, NodeUnpublishVolumeRequest,
    NodeUnstageVolumeRequest, VolumeCapability,
};
use hyper_util::rt::TokioIo;
use terrace_backends::{BackendKind, backend};
use terrace_device_types::{
    Allocation, Bytes, ClusterUid, FsType, Intent, OperationId, POOL_FILE_NAME, PoolFile,
    PoolIntent, PoolPlace, PoolUuid, Step, View, VolumeMode, VolumeUuid,
};
use terrace_node::audit::Audit;
use terrace_node::context::{Context, observe_and_plan};
use terrace_node::csi::identity::IdentityService;
use terrace_node::csi::node::NodeService;
use terrace_node::csi::serve::serve_csi;
use terrace_node::fault::{Faults, NoFaults, Point};
use terrace_node::host::{Host, Probe, RealHost};
use terrace_node::journal::record::Subject;
use terrace_node::journal::{Journal, KnownPool};
use terrace_node::metrics::Metrics;
use terrace_node::operation::OpKind;
use terrace_node::pools::Pools;
use terrace_node::queue::Queue;
use terrace_node::queue::schedule::Priority;
use terrace_node::runner::{AGENT_PATIENCE, Error, Job, Outcome, Runner};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::transport::{Channel, Endpoint, Uri};
use uuid::Uuid;

use crate::disks::{Disks, logical_volumes};

/// The folder of one story.
pub(crate) struct Bench {
    pub(crate) disks: Option<Disks>,
    dir: tempfile::TempDir,
    pub(crate) cluster: ClusterUid,
    pub(crate) pool: KnownPool,
}

/// A node that runs in it.
pub(crate) struct Running {
    pub(crate) context: Context,
    pub(crate) node: NodeClient<Channel>,
    pub(crate) identity: IdentityClient<Channel>,
    end: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self::bare();
        bench.make_pool_of(BackendKind::File);
        bench
    }

    pub(crate) fn bare() -> Self {
        // Not in /tmp, which may be a tmpfs: a pool needs trusted attributes.
        let dir = tempfile::tempdir_in("/var/tmp").expect("a folder on a disk");
        let cluster: ClusterUid = Uuid::new_v4().to_string().parse().expect("a token");
        let uuid = PoolUuid(Uuid::new_v4());
        let path = dir.path().join("pool");
        let pool =
            KnownPool { uuid, name: "pool".into(), dir: path, device: None, devices: Vec::new() };
        Self { disks: None, dir, cluster, pool }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn make_pool_of(&self, kind: BackendKind) {
        let (host, dir) = (RealHost::new(), &self.pool.dir);
        let intent = PoolIntent::Make { file: self.pool_file(kind), place: PoolPlace::Directory };
        for _ in 0..3 {
            let view = host.pool(dir).expect("a look");
            let steps = backend(kind).plan_pool(&intent, &view, &[]).expect("a plan");
            for step in steps {
                host.execute(&step, Duration::from_secs(30)).expect("a pool");
            }
        }
    }

    pub(crate) fn pool_file(&self, backend: BackendKind) -> PoolFile {
        PoolFile {
            pool_uuid: self.pool.uuid,
            cluster_uid: self.cluster.clone(),
            pool: self.pool.name.clone(),
            backend,
        }
    }

    pub(crate) fn runner(&self, faults: Arc<dyn Faults<Point>>) -> Runner {
        let now = jiff::Timestamp::now();
        let (journal, _) = Journal::open(&self.path("journal.redb"), now).expect("a journal");
        let host: Arc<dyn Host> = Arc::new(RealHost::new());
        let audit = Arc::new(Audit::open(&self.path(""), "node-a").expect("an audit"));
        Runner::new(host, Queue::new(8), Arc::new(journal), audit, faults, Metrics::new())
    }

    pub(crate) fn context(&self, faults: Arc<dyn Faults<Point>>) -> Context {
        let runner = self.runner(faults);
        let pools = Pools::default();
        pools.put(self.pool.clone(), &runner.journal).expect("journal");
        let (_, cluster) = watch::channel(Some(self.cluster.clone()));
        let (changed, _) = mpsc::unbounded_channel();
        Context { runner, pools, cluster, changed, kubelet_dir: self.path("kubelet") }
    }

    /// A node that serves the socket of this folder.
    pub(crate) async fn start(&self) -> Running {
        self.start_with(Arc::new(NoFaults)).await
    }

    pub(crate) async fn start_with(&self, faults: Arc<dyn Faults<Point>>) -> Running {
        let context = self.context(faults);
        let socket = self.path("csi.sock");
        let (_, ready) = watch::channel(true);
        let identity = IdentityService::new(ready);
        let service = NodeService::new(context.clone(), "node-1".into(), 16);
        let (end, ended) = oneshot::channel::<()>();
        let path = socket.clone();
        let served = tokio::spawn(async move {
            let ended = async { drop(ended.await) };
            serve_csi(&path, identity, service, ended).await.expect("served");
        });
        let channel = connect(socket).await;
        let (node, identity) = (NodeClient::new(channel.clone()), IdentityClient::new(channel));
        Running { context, node, identity, end: Some(end), served }
    }

    pub(crate) fn uuid(&self, name: &str) -> VolumeUuid {
        VolumeUuid(Uuid::new_v5(&self.pool.uuid.0, name.as_bytes()))
    }

    pub(crate) fn view(&self, name: &str) -> View {
        RealHost::new().volume(&self.pool.dir, self.uuid(name), None, Probe::Look).expect("a look")
    }

    pub(crate) fn create_intent(&self, name: &str, mode: VolumeMode, size: Bytes) -> Intent {
        Intent::Create {
            volume: self.uuid(name),
            cluster: self.cluster.clone(),
            name: name.to_owned(),
            size,
            mode,
            allocation: Allocation::Reserved,
        }
    }

    pub(crate) async fn run(
        &self,
        runner: &Runner,
        kind: OpKind,
        name: &str,
        intent: Intent,
    ) -> Result<Outcome, Error> {
        let subject = Subject {
            volume: Some(self.uuid(name)),
            pool: Some(self.pool.uuid),
            name: name.to_owned(),
            target: None,
            to: None,
        };
        let (dir, uuid) = (self.pool.dir.clone(), self.uuid(name));
        let plan = move |host: &dyn Host, _: &OperationId| -> Result<Vec<Step>, Error> {
            observe_and_plan(host, &dir, uuid, Probe::Look, &intent)
        };
        let job = Job::on_volume(kind, subject, Priority::Agent, AGENT_PATIENCE);
        runner.run(job, plan).await
    }

    pub(crate) async fn create(&self, running: &Running, name: &str, mode: VolumeMode) {
        let intent = self.create_intent(name, mode, mode.least());
        let made = self.run(&running.context.runner, OpKind::Create, name, intent).await;
        assert_eq!(made.expect("created"), Outcome::Changed);
    }

    pub(crate) fn stage(&self, name: &str, capability: VolumeCapability) -> NodeStageVolumeRequest {
        std::fs::create_dir_all(self.path("kubelet/stage").join(name)).expect("a folder");
        NodeStageVolumeRequest {
            volume_id: name.to_owned(),
            staging_target_path: text(&self.path("kubelet/stage").join(name)),
            volume_capability: Some(capability),
            ..Default::default()
        }
    }

    pub(crate) fn unstage(&self, name: &str) -> NodeUnstageVolumeRequest {
        NodeUnstageVolumeRequest {
            volume_id: name.to_owned(),
            staging_target_path: text(&self.path("kubelet/stage").join(name)),
        }
    }

    pub(crate) fn publish(
        &self,
        name: &str,
        pod: &str,
        capability: VolumeCapability,
    ) -> NodePublishVolumeRequest {
        std::fs::create_dir_all(self.path("kubelet").join(pod)).expect("a folder");
        NodePublishVolumeRequest {
            volume_id: name.to_owned(),
            staging_target_path: text(&self.path("kubelet/stage").join(name)),
            target_path: text(&self.target(pod)),
            volume_capability: Some(capability),
            ..Default::default()
        }
    }

    pub(crate) fn unpublish(&self, name: &str, pod: &str) -> NodeUnpublishVolumeRequest {
        NodeUnpublishVolumeRequest {
            volume_id: name.to_owned(),
            target_path: text(&self.target(pod)),
        }
    }

    pub(crate) fn target(&self, pod: &str) -> PathBuf {
        self.path("kubelet").join(pod).join("mount")
    }

    /// Mount points below this folder.
    fn all_mounts(&self) -> Vec<PathBuf> {
        let view = RealHost::new().mounts().expect("a look");
        let below = view.mounts.into_iter().map(|mount| mount.at);
        below.filter(|at| at.starts_with(self.dir.path())).collect()
    }

    /// The same, but for the pool's own.
    pub(crate) fn mounts(&self) -> Vec<PathBuf> {
        self.all_mounts().into_iter().filter(|at| *at != self.pool.dir).collect()
    }

    /// Names of the host objects in the pool, finished or not. Of a volume group each is an entry and a logical volume.
    pub(crate) fn objects(&self) -> Vec<String> {
        let listed = std::fs::read_dir(&self.pool.dir).expect("listed").flatten();
        let names = listed.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let own = |name: &String| name == POOL_FILE_NAME || name == "lost+found";
        let mut names: Vec<String> = names.filter(|name| !own(name)).collect();
        names.sort();
        if self.disks.is_some() {
            let mut volumes = logical_volumes();
            volumes.sort();
            assert_eq!(volumes, names, "each has its entry");
        }
        names
    }

    /// Loop devices on images of this folder.
    pub(crate) fn loops(&self) -> Vec<String> {
        let mut listed = std::process::Command::new("losetup");
        listed.args(["-a", "-O", "NAME,BACK-FILE"]);
        let output = listed.output().expect("losetup");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let ours = self.dir.path().display().to_string();
        text.lines().filter(|line| line.contains(&ours)).map(str::to_owned).collect()
    }
}

impl Running {
    /// Ends as SIGTERM would: calls in flight are answered, the socket closes.
    pub(crate) async fn stop(mut self) {
        let end = self.end.take().expect("not stopped before");
        drop((self.node, self.identity));
        end.send(()).expect("it runs");
        self.served.await.expect("it ends");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Twice: a pool on a disk of its own is busy while a loop device has an image of it.
        for _ in 0..2 {
            for at in self.all_mounts().into_iter().rev() {
                // What is frozen stays mounted in secret, and its device taken.
                let _ = std::process::Command::new("fsfreeze").arg("-u").arg(&at).output();
                let _ = std::process::Command::new("umount").arg(&at).output();
            }
            for line in self.loops() {
                let device = line.split_whitespace().next().unwrap_or_default().to_owned();
                let _ = std::process::Command::new("losetup").args(["-d", &device]).output();
            }
        }
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

async fn connect(socket: PathBuf) -> Channel {
    let endpoint = Endpoint::from_static("http://socket");
    loop {
        let socket = socket.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move {
                Ok::<_, std::io::Error>(TokioIo::new(
                    tokio::net::UnixStream::connect(socket).await?,
                ))
            }
        });
        match endpoint.connect_with_connector(connector).await {
            Ok(channel) => return channel,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

pub(crate) fn mounted(mode: Mode, fs: &str, flags: &[&str]) -> VolumeCapability {
    let mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let mount = MountVolume { fs_type: fs.into(), mount_flags, ..Default::default() };
    VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(AccessType::Mount(mount)),
    }
}

pub(crate) fn raw(mode: Mode) -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(AccessType::Block(BlockVolume {})),
    }
}

pub(crate) const EXT4: VolumeMode = VolumeMode::Filesystem { fs: FsType::Ext4 };
pub(crate) const BTRFS: VolumeMode = VolumeMode::Filesystem { fs: FsType::Btrfs };
pub(crate) const XFS: VolumeMode = VolumeMode::Filesystem { fs: FsType::Xfs };
