//! `hack/bench scale`: a real API server, nodes that nobody runs (kwok), and the operator with thousands of volumes. Measured:
//! placements a second, claims through csi-provisioner, memory and processor time at rest, and how long a new operator takes
//! until it is at rest. `hack/bench` starts the API server for it and takes it away.

mod nodes;
mod parts;
mod report;
mod world;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::Value;
use terrace_crds::StorageVolume;
use terrace_e2e::rig;
use terrace_e2e::story::{apply, class_yaml};

use crate::process::Process;
use crate::provision::{claim_of, next_of, watch_bound};
use crate::times::summarise;

use self::nodes::Agents;
use self::parts::Running;
use self::report::{Claims, Placements, Report, Start};
use self::world::{
    NAMESPACE, POOL, Simulated, Volume, each, listing, make_bound, make_node, make_volume,
};

/// Longest wait for anything here.
const DEADLINE: Duration = Duration::from_secs(600);
/// An operator is at rest when it used less of a processor than this for so long, and reconciled nothing.
const REST: Duration = Duration::from_secs(5);
const REST_SHARE: f64 = 0.02;
const LOOK: Duration = Duration::from_millis(250);

/// Arguments of `hack/bench scale`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Simulated nodes.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// StorageVolumes in all, each with its PersistentVolume and claim.
    #[arg(long, default_value_t = 10_000)]
    volumes: usize,
    /// Of these, volumes that the operator places while it is measured.
    #[arg(long, default_value_t = 2000)]
    placed: usize,
    /// Of these, volumes that csi-provisioner makes by CreateVolume.
    #[arg(long, default_value_t = 300)]
    claims: usize,
    /// How long processor time at rest is measured, in seconds.
    #[arg(long, default_value_t = 60)]
    idle: u64,
}

/// What every step needs.
struct Stage {
    client: Client,
    folder: tempfile::TempDir,
    agents: Agents,
}

/// Builds the cluster up, step by step, and tells what each took.
#[tokio::main]
pub(crate) async fn measure(arguments: &Arguments) -> Result<()> {
    let Arguments { nodes, volumes, placed, claims, idle } = *arguments;
    ensure!(placed + claims <= volumes, "--placed and --claims are part of --volumes");
    let settled = volumes - placed - claims;
    let stage = Stage {
        client: rig::client().await?,
        folder: tempfile::tempdir()?,
        agents: Agents::holding(held(nodes, settled)),
    };
    prepare()?;
    let _kwok = parts::kwok(stage.folder.path())?;
    write(&stage, nodes, settled, placed).await?;
    stage.agents.start(&stage.client);
    let (mut operator, placements) = place(&stage, placed).await?;
    bind(&stage, settled..settled + placed).await?;
    let provisioner = parts::provisioner(stage.folder.path())?;
    let (mut provisioner, provisioned) = provision(&stage, provisioner, nodes, claims).await?;
    rest(&mut operator, Instant::now()).await?;
    let first = idle_for(&mut operator, idle).await?;
    let sidecar = provisioner.look()?;
    operator.end()?;
    let start = restart(&stage, idle).await?;
    let counted = Api::<StorageVolume>::all(stage.client.clone());
    let there = counted.list(&ListParams::default().limit(1)).await?;
    let left = there.metadata.remaining_item_count.unwrap_or(0);
    let there = usize::try_from(left)? + there.items.len();
    ensure!(there == volumes, "{there} StorageVolumes are there, {volumes} were to be");
    let report =
        Report { nodes, volumes, settled, placements, claims: provisioned, first, sidecar, start };
    print!("{report}");
    Ok(())
}

/// What each node holds of the volumes that are there from the beginning.
fn held(nodes: usize, settled: usize) -> BTreeMap<usize, Vec<Value>> {
    let mut held: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    for volume in (0..settled).map(Volume) {
        let node = Simulated(volume.0 % nodes);
        let listed = listing(&volume.uuid(), &volume.name(), &node.pool_uuid());
        held.entry(node.0).or_default().push(listed);
    }
    held
}

/// Pool, class and namespaces.
fn prepare() -> Result<()> {
    let pool = format!(
        "---\napiVersion: terrace.storage/v1alpha1\nkind: StoragePool\nmetadata: {{name: {POOL}}}\nspec: {{tier: {POOL}, file: {{directory: /var/lib/terrace/pools/{POOL}}}}}\n"
    );
    let spaces = ["terrace-system", NAMESPACE]
        .map(|name| format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"));
    let parameters = format!("{{terrace.storage/pool: {POOL}}}");
    let class = class_yaml(POOL, &parameters, "WaitForFirstConsumer", "Delete");
    let driver = "---\napiVersion: storage.k8s.io/v1\nkind: CSIDriver\nmetadata: {name: csi.terrace.storage}\nspec: {attachRequired: false, podInfoOnMount: true}\n";
    apply(&[&pool, &spaces.concat(), &class, driver].concat()).map(drop)
}

/// Nodes, the volumes that lie on them, and those that wait for a place.
async fn write(stage: &Stage, nodes: usize, settled: usize, placed: usize) -> Result<()> {
    let began = Instant::now();
    let mut held = held(nodes, settled);
    let all = (0..nodes).map(|at| (Simulated(at), held.remove(&at).unwrap_or_default()));
    let client = || stage.client.clone();
    each(all, |(node, listed)| make_node(client(), node, listed)).await?;
    said(began, &format!("{nodes} nodes are written"));
    each((0..settled).map(Volume), |volume| {
        make_volume(client(), volume, Some(Simulated(volume.0 % nodes)))
    })
    .await?;
    said(began, &format!("{settled} volumes with their places are written"));
    each((0..settled).map(Volume), |volume| {
        make_bound(client(), volume, Simulated(volume.0 % nodes).name())
    })
    .await?;
    said(began, &format!("{settled} claims with their PersistentVolumes are written"));
    each((settled..settled + placed).map(Volume), |volume| make_volume(client(), volume, None))
        .await?;
    said(began, &format!("{placed} volumes without a place are written"));
    wait("every Node is Ready", || async {
        let all = Api::<Node>::all(client()).list(&ListParams::default()).await?;
        let is_ready = |node: &&Node| {
            let conditions =
                node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.filter(|c| c.type_ == "Ready").any(|c| c.status == "True")
        };
        Ok(all.items.iter().filter(is_ready).count() == nodes)
    })
    .await
}

/// Starts the operator, which finds volumes without a place, and waits until the last has one and is answered for.
async fn place(stage: &Stage, placed: usize) -> Result<(Running, Placements)> {
    let began = Instant::now();
    let mut operator = parts::operator(stage.folder.path())?;
    wait("every volume has its place", || {
        let died = operator.look();
        async { died.map(|_| stage.agents.answered() >= placed && stage.agents.untold() == 0) }
    })
    .await?;
    let times = stage.agents.placed();
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        bail!("no volume got a place");
    };
    let placements = Placements {
        count: times.len(),
        until_first: first.saturating_duration_since(began),
        took: last.duration_since(*first),
    };
    said(began, &format!("{} volumes got their places", placements.count));
    Ok((operator, placements))
}

/// Claims and PersistentVolumes for volumes that the operator placed.
async fn bind(stage: &Stage, numbers: std::ops::Range<usize>) -> Result<()> {
    let all = Api::<StorageVolume>::all(stage.client.clone());
    let listed = all.list(&ListParams::default()).await?;
    let places: HashMap<String, String> = listed
        .items
        .into_iter()
        .filter_map(|volume| Some((volume.metadata.name?, volume.spec.assignment?.node)))
        .collect();
    each(numbers.map(Volume), |volume| {
        let node = places.get(&volume.name()).cloned();
        async move {
            let node = node.with_context(|| format!("{} has no place", volume.name()))?;
            make_bound(stage.client.clone(), volume, node).await
        }
    })
    .await
}

/// Claims as the scheduler hands them to csi-provisioner: the node is chosen, the volume is not there.
async fn provision(
    stage: &Stage,
    mut provisioner: Running,
    nodes: usize,
    count: usize,
) -> Result<(Running, Claims)> {
    // It fills its caches first.
    wait("csi-provisioner is at rest", || {
        let before = provisioner.look();
        async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let after = Process::look(before.as_ref().map_or(0, |process| process.pid))?;
            Ok(share(before?.cpu, after.cpu, Duration::from_secs(2)) < REST_SHARE)
        }
    })
    .await?;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let mut bound = watch_bound(api.clone());
    let mut starts: BTreeMap<String, Instant> = stream::iter(0..count)
        .map(|number| ask(&api, number, Simulated(number % nodes).name()))
        .buffer_unordered(50)
        .try_collect()
        .await?;
    let mut times = Vec::new();
    while !starts.is_empty() {
        let names: Vec<&str> = starts.keys().map(String::as_str).collect();
        let (name, at) = next_of(&mut bound, &names).await?;
        times.extend(starts.remove(&name).map(|start| at.saturating_duration_since(start)));
    }
    Ok((provisioner, Claims { count, summary: summarise(&times, count) }))
}

async fn ask(
    api: &Api<PersistentVolumeClaim>,
    number: usize,
    node: String,
) -> Result<(String, Instant)> {
    let name = format!("asked-{number}");
    let mut claim = claim_of(&name, POOL, "1Gi")?;
    let notes = [("volume.kubernetes.io/selected-node".to_owned(), node)];
    claim.metadata.annotations = Some(notes.into_iter().collect());
    let start = Instant::now();
    api.create(&PostParams::default(), &claim).await?;
    Ok((name, start))
}

/// A new operator over all that is there.
async fn restart(stage: &Stage, idle: u64) -> Result<Start> {
    let began = Instant::now();
    let mut operator = parts::operator(stage.folder.path())?;
    wait("the operator is ready", || async { Ok(parts::get("/readyz").is_some()) }).await?;
    let ready = began.elapsed();
    let steady = rest(&mut operator, began).await?;
    let cpu = operator.look()?.cpu;
    let process = idle_for(&mut operator, idle).await?;
    operator.end()?;
    Ok(Start { ready, steady, cpu, idle: process })
}

/// Waits until the operator is at rest; how long after `since` that began.
async fn rest(operator: &mut Running, since: Instant) -> Result<Duration> {
    let limit = Instant::now() + DEADLINE;
    let mut began = (Instant::now(), operator.look()?, parts::reconciled());
    loop {
        tokio::time::sleep(LOOK).await;
        let (now, count) = (operator.look()?, parts::reconciled());
        let (at, then, counted) = &began;
        let busy =
            share(then.cpu, now.cpu, at.elapsed()) > REST_SHARE && now.cpu > then.cpu + LOOK / 10;
        if busy || count != *counted || count.is_none() {
            began = (Instant::now(), now, count);
        } else if at.elapsed() >= REST {
            return Ok(at.duration_since(since));
        }
        ensure!(
            Instant::now() < limit,
            "the operator is not at rest after {} s",
            DEADLINE.as_secs()
        );
    }
}

/// Processor time over so many seconds, and memory at their end.
async fn idle_for(operator: &mut Running, seconds: u64) -> Result<report::Idle> {
    let before = operator.look()?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let now = operator.look()?;
    Ok(report::Idle { seconds, cpu: now.cpu.saturating_sub(before.cpu), process: now })
}

fn share(before: Duration, after: Duration, over: Duration) -> f64 {
    after.saturating_sub(before).as_secs_f64() / over.as_secs_f64().max(0.001)
}

/// Looks again and again, for what has no watch here.
async fn wait<F>(what: &str, mut look: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    let limit = Instant::now() + DEADLINE;
    while !look().await? {
        ensure!(Instant::now() < limit, "{what}: not within {} s", DEADLINE.as_secs());
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn said(since: Instant, what: &str) {
    eprintln!("{:7.1} s  {what}", since.elapsed().as_secs_f64());
}
