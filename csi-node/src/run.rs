//! Wiring: takes the host, opens the journal, learns who we are, finishes what an earlier run left, then
//! serves. The order is the point: nothing is served before recovery.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use terrace_device_types::ClusterUid;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::agent::api::ApiServer;
use crate::agent::events::Events;
use crate::agent::pool::Allowed;
use crate::agent::watch as agent_watch;
use crate::agent::{Agent, disk_watch, node, probe, sweep, thin_watch, usage_watch};
use crate::args::Args;
use crate::audit::{self, Audit};
use crate::context::Context;
use crate::csi::identity::IdentityService;
use crate::csi::node::NodeService;
use crate::csi::serve::{self, serve_csi, serve_registration};
use crate::fault;
use crate::host::{Host, RealHost, Wary};
use crate::host_lock::{self, HostLock};
use crate::http::{self, Pages};
use crate::journal::{self, Found, Journal};
use crate::metrics::Metrics;
use crate::pools::Pools;
use crate::queue::Queue;
use crate::registration::{Registrar, Standing};
use crate::runner::recovery::{recover, thaw};
use crate::runner::{self, Runner};

/// How long another process may take to give the host up: an old Pod that is being replaced.
const HOST_PATIENCE: Duration = Duration::from_secs(60);
/// How long the API server is asked who we are before the pool files are believed.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);
/// What the calls in flight get to end after SIGTERM.
const LAST_CALLS: Duration = Duration::from_secs(20);

/// Why the node ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another csi-node has the host.
    #[error(transparent)]
    Lock(#[from] host_lock::Error),
    /// The disk does not let us keep a journal.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// Nor an audit.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// What an earlier run left cannot be dealt with.
    #[error(transparent)]
    Recovery(#[from] runner::Error),
    /// Nowhere to keep LVM's configuration.
    #[error("keep a configuration for lvm")]
    Lvm(#[source] terrace_devices::DeviceError),
    /// Of a build with fault points: nowhere to take orders from.
    #[error("make the folder of fault points")]
    Faults(#[source] std::io::Error),
    /// A socket.
    #[error(transparent)]
    Socket(#[from] serve::Error),
    /// A page.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// No way to reach the API server is configured.
    #[error("find the API server")]
    Client(#[source] kube::Error),
    /// The API server is of another cluster than we served so far: start again as what we are.
    #[error("this is cluster {now}, not {before}: starting again")]
    OtherCluster {
        /// Who we took ourselves for.
        before: ClusterUid,
        /// Who we are.
        now: ClusterUid,
    },
    /// The API server was restored to an earlier state.
    #[error(transparent)]
    Restored(#[from] node::Restored),
    /// A part panicked.
    #[error("a part of the node panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Runs until SIGTERM.
///
/// # Errors
/// [`Error`]; the kubelet starts the container again.
pub async fn run(args: Args) -> Result<(), Error> {
    let _host = take_host(&args).await?;
    let metrics = Metrics::new();
    let (journal, found) = Journal::open(&args.journal(), Timestamp::now())?;
    let aside = match found {
        Found::SetAside(path) => {
            metrics.journal_set_aside();
            Some(path.display().to_string())
        }
        Found::New | Found::Read => None,
    };
    let host: Arc<dyn Host> = Arc::new(Wary::new(RealHost::new()));
    let faults = fault::of_process(&args.csi_socket()).map_err(Error::Faults)?;
    terrace_devices::lvm::keep_in(&args.lvm_dir()).map_err(Error::Lvm)?;
    let pools = Pools::default();
    pools.load(&journal, &*host, &args.pool_roots)?;
    let queue = Queue::new(usize::from(args.max_operations));
    let (journal, audit) =
        (Arc::new(journal), Arc::new(Audit::open(&args.state_dir, &args.node_name)?));
    let runner = Runner::new(host, queue, journal, audit, Arc::clone(&faults), metrics.clone());
    let client = Client::try_default().await.map_err(Error::Client)?;
    let api = ApiServer::new(client.clone(), Arc::clone(&faults), metrics);
    let (cluster_is, cluster) = watch::channel(None);
    let (changed, told) = mpsc::unbounded_channel();
    let context =
        Context { runner, pools, cluster, changed, kubelet_dir: args.kubelet_dir.clone() };
    let events = Events::new(client, &args.node_name, faults);
    let (node, pressure) = (args.node_name.clone(), args.capacity_pressure_percent);
    let agent = Agent::new(context, api, events, node, pressure);
    let agent = Arc::new(agent.sweeping_after(args.sweep_after));
    serve_all(&args, agent, cluster_is, told, aside).await
}

async fn serve_all(
    args: &Args,
    agent: Arc<Agent>,
    cluster_is: watch::Sender<Option<ClusterUid>>,
    told: mpsc::UnboundedReceiver<String>,
    aside: Option<String>,
) -> Result<(), Error> {
    let (end_now, end) = watch::channel(false);
    let (ready_now, ready) = watch::channel(false);
    let context = agent.context.clone();
    let pages = Pages { context: context.clone(), ready: ready.clone() };
    let mut parts: JoinSet<Result<(), Error>> = JoinSet::new();
    let (http, health) = (args.http, args.health);
    let orphans = http::orphans::pages(Arc::clone(&agent));
    let latency = http::latency::pages(Arc::clone(&agent));
    let api = http::all(pages.clone()).merge(orphans).merge(latency);
    let (first, second) = (api, http::health(pages));
    let (end_http, end_health) = (end.clone(), end.clone());
    parts.spawn(async move { Ok(http::serve(http, first, end_http).await?) });
    parts.spawn(async move { Ok(http::serve(health, second, end_health).await?) });

    let stop = stop_signal();
    tokio::pin!(stop);
    thaw(&context.runner).await?;
    let cluster = tokio::select! {
        cluster = learn_cluster(&agent) => cluster,
        () = &mut stop => return Ok(()),
    };
    cluster_is.send_replace(Some(cluster.clone()));
    recover(&context.runner, &context.pools, &cluster).await?;

    let limit = args.volume_limit(memory_bytes(Path::new("/proc/meminfo")));
    let identity = IdentityService::new(ready);
    let service = NodeService::new(context, args.node_name.clone(), limit);
    let service = service.informed_by(Arc::clone(&agent));
    let socket = args.csi_socket();
    let (registrar, standing) = Registrar::new(socket.clone());
    let (registration, end_csi, end_registration) =
        (args.registration_socket(), end.clone(), end.clone());
    parts.spawn(async move { Ok(serve_csi(&socket, identity, service, ended(end_csi)).await?) });
    parts.spawn(async move {
        Ok(serve_registration(&registration, registrar, ended(end_registration)).await?)
    });
    spawn_probe(&mut parts, args, &agent, &end);
    spawn_agent(&mut parts, args, agent, told, aside, end, cluster);
    parts.spawn(follow(standing, ready_now));

    let first = tokio::select! {
        () = &mut stop => None,
        part = parts.join_next() => part,
    };
    end_now.send_replace(true);
    let last = tokio::time::timeout(LAST_CALLS, drain(&mut parts)).await;
    if last.is_err() {
        tracing::warn!("calls still in flight are cut off; the journal knows them");
    }
    // An operation that is cut off in the middle of a copy must not leave its volume frozen until some next start.
    if tokio::task::spawn_blocking(terrace_devices::end_freezes).await.is_err() {
        tracing::error!("freezes could not be ended; the next start will");
    }
    match first {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(panic)) => Err(Error::Panicked(panic)),
    }
}

fn spawn_agent(
    parts: &mut JoinSet<Result<(), Error>>,
    args: &Args,
    agent: Arc<Agent>,
    told: mpsc::UnboundedReceiver<String>,
    aside: Option<String>,
    end: watch::Receiver<bool>,
    cluster: ClusterUid,
) {
    let allowed = Allowed { roots: args.pool_roots.clone(), mounts: args.pool_mounts() };
    let pools = agent_watch::pools(&agent);
    let (thin, disks) = (Arc::clone(&agent), Arc::clone(&agent));
    let (nodes, volumes, usage) = (Arc::clone(&agent), Arc::clone(&agent), Arc::clone(&agent));
    let (snapshots, sweeper, identity) = (Arc::clone(&agent), Arc::clone(&agent), agent);
    let (end_node, end_usage, end_identity) = (end.clone(), end.clone(), end.clone());
    let (end_snapshots, end_sweeper) = (end.clone(), end.clone());
    parts.spawn(async move {
        agent_watch::snapshots(snapshots, end_snapshots).await;
        Ok(())
    });
    parts.spawn(async move {
        sweep::run(sweeper, end_sweeper).await;
        Ok(())
    });
    parts.spawn(async move { Ok(node::run(nodes, pools, allowed, aside, end_node).await?) });
    parts.spawn(async move {
        // The first look comes before the first report, or that would say "not known" for a moment.
        usage_watch::look(&volumes).await;
        agent_watch::volumes(volumes, told, end).await;
        Ok(())
    });
    parts.spawn(async move {
        tokio::select! {
            () = usage_watch::watch(usage) => {}
            () = thin_watch::watch(thin) => {}
            () = disk_watch::watch(disks) => {}
            () = ended(end_usage) => {}
        }
        Ok(())
    });
    parts.spawn(async move {
        tokio::select! {
            result = validate_cluster(&identity, cluster) => result?,
            () = ended(end_identity.clone()) => {}
        }
        ended(end_identity).await;
        Ok(())
    });
}

/// The node's half of the probe: the socket, names, Events, and the status of volumes.
fn spawn_probe(
    parts: &mut JoinSet<Result<(), Error>>,
    args: &Args,
    agent: &Arc<Agent>,
    end: &watch::Receiver<bool>,
) {
    let (turned, turns) = mpsc::unbounded_channel();
    let settings = args.probe_settings();
    let target = settings.default_target_ns;
    // Without one nobody asks for names, and the status says that nobody measures.
    if let Some(socket) = args.probe_socket() {
        keep_maps(&args.bpf_mount());
        let (board, end_socket) = (Arc::clone(&agent.probe), end.clone());
        parts.spawn(async move {
            probe::serve::run(board, socket, turned, end_socket).await;
            Ok(())
        });
        let (names, end_names) = (Arc::clone(agent), end.clone());
        parts.spawn(async move {
            probe::names::run(names, settings, end_names).await;
            Ok(())
        });
    }
    let (events, status) = (Arc::clone(agent), Arc::clone(agent));
    let (end_events, end_status) = (end.clone(), end.clone());
    parts.spawn(async move {
        probe::events::run(events, turns, end_events).await;
        Ok(())
    });
    parts.spawn(async move {
        probe::write::run(status, target, end_status).await;
        Ok(())
    });
}

/// Maps of the probe outlive its container on a bpffs in the state folder, whose mounts the host sees. Without one the probe counts
/// from zero after a restart; nothing else depends on it.
fn keep_maps(at: &Path) {
    if let Err(error) = terrace_devices::mount_bpffs(at) {
        let error = crate::agent::report::chain(&error);
        tracing::warn!(error, "the probe's counts will not outlive its restart");
    }
}

async fn drain(parts: &mut JoinSet<Result<(), Error>>) {
    while let Some(part) = parts.join_next().await {
        match part {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a part ended badly"),
            Err(panic) => tracing::error!(%panic, "a part panicked"),
        }
    }
}

/// Readiness follows the kubelet's word: until it took us, no volume can be used here.
async fn follow(
    mut standing: watch::Receiver<Standing>,
    ready: watch::Sender<bool>,
) -> Result<(), Error> {
    loop {
        let is_ready = match &*standing.borrow_and_update() {
            // Calls are served from now on; the kubelet itself asks only a plugin that answers.
            Standing::Unasked | Standing::Registered => true,
            Standing::Refused(_) => false,
        };
        ready.send_replace(is_ready);
        if standing.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn ended(mut end: watch::Receiver<bool>) {
    // An error means that the sender is gone: the process ends either way.
    let _ = end.wait_for(|end| *end).await;
}

async fn take_host(args: &Args) -> Result<HostLock, Error> {
    let pod = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    let owner = format!(
        "Pod {} on node {}, process {}, since {}",
        pod.unwrap_or_else(|_| "unknown".to_owned()),
        args.node_name,
        std::process::id(),
        Timestamp::now()
    );
    let until = tokio::time::Instant::now() + HOST_PATIENCE;
    loop {
        match host_lock::take(&args.state_dir, &owner) {
            Err(held @ host_lock::Error::Held { .. }) if tokio::time::Instant::now() < until => {
                tracing::info!(%held, "waiting for the host");
                tokio::time::sleep(AGAIN).await;
            }
            result => return Ok(result?),
        }
    }
}

/// Asks the API server; while that is away, the pools say whose they are. Neither: asks on.
async fn learn_cluster(agent: &Agent) -> ClusterUid {
    let until = tokio::time::Instant::now() + CLUSTER_PATIENCE;
    loop {
        match agent.api.cluster().await {
            Ok(cluster) => return cluster,
            Err(error) => {
                let error = crate::agent::report::chain(&error);
                tracing::warn!(error, "the API server does not say which cluster this is");
            }
        }
        if tokio::time::Instant::now() >= until {
            let pools = agent.context.pools.clone();
            let known = agent.context.look(move |host| pools.cluster(host)).await;
            if let Ok(Some(cluster)) = known {
                tracing::warn!(%cluster, "going by the pools of this node until the API server is back");
                return cluster;
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Once the API server answers, it must name the cluster that we serve.
async fn validate_cluster(agent: &Agent, before: ClusterUid) -> Result<(), Error> {
    loop {
        match agent.api.cluster().await {
            Ok(now) if now == before => return Ok(()),
            Ok(now) => return Err(Error::OtherCluster { before, now }),
            Err(_) => tokio::time::sleep(AGAIN * 10).await,
        }
    }
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to stop: finishing the calls in flight");
}

/// Memory of the host, in bytes; 0 if it cannot be read, which gives the least limit.
fn memory_bytes(meminfo: &Path) -> u64 {
    let text = std::fs::read_to_string(meminfo).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}
