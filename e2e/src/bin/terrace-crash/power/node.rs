//! The product's node without a cluster: its planner and executor make pools and volumes, its CSI service stages and publishes
//! them, its inventory finds them again. Nothing here decides how.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use csi_proto_rs::csi::v1::node_server::Node as _;
use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use csi_proto_rs::csi::v1::volume_capability::{AccessMode, AccessType, MountVolume};
use csi_proto_rs::csi::v1::{
    NodePublishVolumeRequest, NodeStageVolumeRequest, NodeUnpublishVolumeRequest,
    NodeUnstageVolumeRequest, VolumeCapability,
};
use terrace_backends::{BackendKind, backend};
use terrace_device_types::{
    Allocation, Bytes, Claimed, ClusterUid, DeletionProof, DeletionStamp, Erase, HostState, Intent,
    OperationId, PoolFile, PoolIntent, PoolPlace, PoolUuid, PvReading, VolumeMode, VolumeUuid,
};
use terrace_node::audit::Audit;
use terrace_node::context::{Context, observe_and_plan};
use terrace_node::csi::node::NodeService;
use terrace_node::fault::NoFaults;
use terrace_node::host::{Host, Probe, RealHost};
use terrace_node::inventory::{self, Listing, Located, Scope, Wanted};
use terrace_node::journal::record::Subject;
use terrace_node::journal::{Journal, KnownPool};
use terrace_node::metrics::Metrics;
use terrace_node::operation::OpKind;
use terrace_node::pools::Pools;
use terrace_node::queue::Queue;
use terrace_node::queue::schedule::Priority;
use terrace_node::runner::recovery::recover;
use terrace_node::runner::{AGENT_PATIENCE, Job, Runner};
use tokio::sync::{mpsc, watch};
use tonic::Request;
use uuid::Uuid;

use super::alone::Place;

/// What a step of making a pool may take.
const STEP: Duration = Duration::from_secs(60);

/// A node that serves the pools below a folder.
pub(crate) struct Node {
    context: Context,
    service: NodeService,
    cluster: ClusterUid,
    kubelet: PathBuf,
}

/// What lies in its pools.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// The state of each host object, by the name in its tag.
    pub(crate) states: BTreeMap<String, HostState>,
    /// What could not be read.
    pub(crate) unreadable: Vec<String>,
}

/// Makes a pool in `dir`, a folder that may be missing.
pub(crate) fn make_pool(dir: &Path, kind: BackendKind) -> Result<()> {
    let file = PoolFile {
        pool_uuid: PoolUuid(Uuid::new_v4()),
        cluster_uid: Uuid::new_v4().to_string().parse().context("name the cluster")?,
        pool: "crash".to_owned(),
        backend: kind,
    };
    let (host, intent) = (RealHost::new(), PoolIntent::Make { file, place: PoolPlace::Directory });
    for _ in 0..4 {
        let steps = backend(kind).plan_pool(&intent, &host.pool(dir)?, &host.mounts()?.mounts)?;
        if steps.is_empty() {
            return Ok(());
        }
        for step in steps {
            host.execute(&step, STEP).with_context(|| step.to_string())?;
        }
    }
    bail!("the pool in {} is never made", dir.display())
}

impl Node {
    /// Starts on what lies in folders of `ground`, as after a boot: `own` is its own folder, for journal and kubelet.
    pub(crate) fn start(own: &Path, ground: &Path) -> Result<Self> {
        fs::create_dir_all(own)?;
        let host: Arc<dyn Host> = Arc::new(RealHost::new());
        let (journal, _) = Journal::open(&own.join("journal.redb"), jiff::Timestamp::now())?;
        let pools = Pools::default();
        pools.load(&journal, &*host, &[ground.to_owned()])?;
        let cluster = pools.cluster(&*host).context("no pool says which cluster it is of")?;
        let metrics = Metrics::new();
        let (journal, audit) = (Arc::new(journal), Arc::new(Audit::open(own, "crash")?));
        let runner = Runner::new(host, Queue::new(8), journal, audit, Arc::new(NoFaults), metrics);
        let (_, known) = watch::channel(Some(cluster.clone()));
        let (changed, _) = mpsc::unbounded_channel();
        let kubelet = own.join("kubelet");
        let context =
            Context { runner, pools, cluster: known, changed, kubelet_dir: kubelet.clone() };
        let service = NodeService::new(context.clone(), "crash".to_owned(), 64);
        Ok(Self { context, service, cluster, kubelet })
    }

    /// Ends or takes back what an earlier life of this node had begun.
    pub(crate) async fn recover(&self) -> Result<()> {
        let Context { runner, pools, .. } = &self.context;
        recover(runner, pools, &self.cluster).await.context("recover")?;
        Ok(())
    }

    /// Makes a volume, with its space reserved.
    pub(crate) async fn create(
        &self,
        place: &Place,
        name: &str,
        mode: VolumeMode,
        size: Bytes,
    ) -> Result<()> {
        let pools = self.context.pools.all();
        let pool = pools.first().context("no pool")?;
        let volume = place.volume(name);
        let intent = self.intent(volume, name, mode, size);
        self.run(OpKind::Create, pool, volume, name, intent).await
    }

    /// Destroys a volume that no PersistentVolume names.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        let wanted = Wanted { name, uuid: None, pool: None, scope: Scope::Any };
        let Located { pool, tag, .. } = self.context.find(&self.cluster, wanted).await??;
        let (volume, claimed) = (tag.volume, Claimed::Volume(PvReading::NotFound));
        let stamp = DeletionStamp { volume, id: name.parse().context("name a deletion")? };
        let proof = DeletionProof::check(Some(&stamp), volume, &self.cluster, &claimed, &tag)?;
        let intent = Intent::Delete { volume, proof, erase: Erase::No };
        self.run(OpKind::Delete, &pool, volume, name, intent).await
    }

    async fn run(
        &self,
        kind: OpKind,
        pool: &KnownPool,
        volume: VolumeUuid,
        name: &str,
        intent: Intent,
    ) -> Result<()> {
        let subject = Subject {
            volume: Some(volume),
            pool: Some(pool.uuid),
            name: name.to_owned(),
            target: None,
            to: None,
        };
        let dir = pool.dir.clone();
        let plan = move |host: &dyn Host, _: &OperationId| {
            observe_and_plan(host, &dir, volume, Probe::Look, &intent)
        };
        let job = Job::on_volume(kind, subject, Priority::Agent, AGENT_PATIENCE);
        let done = self.context.runner.run(job, plan).await;
        done.with_context(|| format!("{kind} {name}"))?;
        Ok(())
    }

    /// What the node finds in its pools.
    pub(crate) fn listed(&self) -> Listed {
        let Context { runner, pools, .. } = &self.context;
        let Listing { ours, unreadable, failed } =
            inventory::list(&*runner.host, pools, &self.cluster);
        let states = ours.into_iter().map(|located| (located.tag.name, located.tag.state));
        let unreadable = unreadable.into_iter().map(|(_, image)| image.path.display().to_string());
        let failed = failed.into_iter().map(|(pool, why)| format!("pool {}: {why}", pool.name));
        Listed { states: states.collect(), unreadable: unreadable.chain(failed).collect() }
    }

    fn intent(&self, volume: VolumeUuid, name: &str, mode: VolumeMode, size: Bytes) -> Intent {
        let (cluster, name) = (self.cluster.clone(), name.to_owned());
        let allocation = Allocation::Reserved;
        Intent::Create { volume, cluster, name, size, mode, allocation }
    }

    /// Stages and publishes a volume, as the kubelet does; where its Pod would write.
    pub(crate) async fn give(&self, name: &str) -> Result<PathBuf> {
        let (staging, target) = (self.staging(name), self.target(name));
        fs::create_dir_all(&staging)?;
        fs::create_dir_all(target.parent().context("a target has a folder")?)?;
        let stage = NodeStageVolumeRequest {
            volume_id: name.to_owned(),
            staging_target_path: text(&staging)?,
            volume_capability: Some(capability()),
            ..Default::default()
        };
        let staged = self.service.node_stage_volume(Request::new(stage)).await;
        staged.with_context(|| format!("stage {name}"))?;
        let publish = NodePublishVolumeRequest {
            volume_id: name.to_owned(),
            staging_target_path: text(&staging)?,
            target_path: text(&target)?,
            volume_capability: Some(capability()),
            ..Default::default()
        };
        let published = self.service.node_publish_volume(Request::new(publish)).await;
        published.with_context(|| format!("publish {name}"))?;
        Ok(target)
    }

    /// Takes a volume back.
    pub(crate) async fn take(&self, name: &str) -> Result<()> {
        let unpublish = NodeUnpublishVolumeRequest {
            volume_id: name.to_owned(),
            target_path: text(&self.target(name))?,
        };
        let done = self.service.node_unpublish_volume(Request::new(unpublish)).await;
        done.with_context(|| format!("unpublish {name}"))?;
        let unstage = NodeUnstageVolumeRequest {
            volume_id: name.to_owned(),
            staging_target_path: text(&self.staging(name))?,
        };
        let done = self.service.node_unstage_volume(Request::new(unstage)).await;
        done.with_context(|| format!("unstage {name}"))?;
        Ok(())
    }

    fn staging(&self, name: &str) -> PathBuf {
        self.kubelet.join("staging").join(name)
    }

    fn target(&self, name: &str) -> PathBuf {
        self.kubelet.join("pods").join(name).join("mount")
    }
}

fn capability() -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    }
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("a path that is no UTF-8")?.to_owned())
}
