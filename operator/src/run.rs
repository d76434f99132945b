//! Wiring: who gets what, and in which order all of it ends. No rule of Terrace is here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use csi_proto_rs::csi::v1::controller_server::ControllerServer;
use csi_proto_rs::csi::v1::group_controller_server::GroupControllerServer;
use csi_proto_rs::csi::v1::identity_server::IdentityServer;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use uuid::Uuid;

use crate::apply::Effects;
use crate::args::Args;
use crate::cache::Caches;
use crate::csi::Service;
use crate::csi::calls::Calls;
use crate::csi::identity::Identified;
use crate::events::Events;
use crate::fault;
use crate::http::{self, Health};
use crate::leader::{Election, Leading};
use crate::metrics::Metrics;
use crate::promises::Promises;
use crate::reconcile::{self, Context};

/// The namespace whose UID is the cluster's identity.
const CLUSTER: &str = "kube-system";
/// How often the heap is tidied: some milliseconds each.
const TIDY: Duration = Duration::from_secs(30);

/// Why the operator cannot start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No configuration, or an API server that refuses us.
    #[error("reach the API server")]
    Api(#[source] Box<kube::Error>),
    /// A namespace without a UID that parses.
    #[error("read the UID of namespace {CLUSTER}")]
    Cluster(#[source] uuid::Error),
    /// A socket, address or signal that cannot be had.
    #[error("listen on {what}")]
    Listen {
        /// Which.
        what: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The gRPC server gave up.
    #[error("serve CSI")]
    Serve(#[source] tonic::transport::Error),
}

/// Runs until SIGTERM or SIGINT: then takes no new call, ends those under way, and gives the lease back.
///
/// # Errors
/// [`RunError`] where something that the operator cannot be without is missing.
pub async fn run(args: Args) -> Result<(), RunError> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let client = Client::try_default().await.map_err(|error| RunError::Api(Box::new(error)))?;
    tokio::spawn(keep_small());
    run_with(client, args, stop).await
}

/// Lists and bursts leave holes in the heap: given back to the kernel. Ends with the runtime.
async fn keep_small() {
    let mut ticks = tokio::time::interval(TIDY);
    loop {
        ticks.tick().await;
        // That the runtime is going down is no error.
        tokio::task::spawn_blocking(terrace_telemetry::give_memory_back).await.ok();
    }
}

/// As [`run`], with a client and an end of the caller's choice.
///
/// # Errors
/// As [`run`].
pub async fn run_with(client: Client, args: Args, stop: CancellationToken) -> Result<(), RunError> {
    let cluster = observe_cluster(&client).await?;
    let (metrics, promises) = (Arc::new(Metrics::default()), Arc::new(Promises::default()));
    let caches = Arc::new(Caches::start(&client));
    let faults = fault::of_process(&args.csi_endpoint)
        .map_err(|source| listen("the folder of fault points", source))?;
    let events = Events::new(client.clone(), &args.identity);
    let effects = Effects::new(client.clone(), events, faults.clone());
    let (lead, leading) = watch::channel(None);
    let service = Service {
        client: client.clone(),
        caches: caches.clone(),
        effects: effects.clone(),
        promises: promises.clone(),
        faults: faults.clone(),
        calls: Arc::new(Calls::default()),
        metrics: metrics.clone(),
        cluster,
    };
    let health = Health { caches: caches.clone(), metrics: metrics.clone() };
    let election =
        Election::new(client.clone(), &args.namespace, &args.lease, &args.identity, faults);
    let context =
        Arc::new(Context { client, caches, effects, cluster, promises, leading, metrics });
    // The lease is given back last: until then nobody else may think that our last write was not made.
    let controllers = tokio::spawn(lead_when_elected(context, stop.clone()));
    let pages = http::run(args.http, health, stop.clone());
    let pages = pages.map(|done| done.map_err(|source| listen(&args.http.to_string(), source)));
    let served = futures::try_join!(serve(service, &args.csi_endpoint, stop.clone()), pages, {
        let stop = stop.clone();
        async move {
            election.run(lead, stop).await;
            Ok(())
        }
    });
    stop.cancel();
    if let Err(error) = controllers.await {
        tracing::error!(%error, "controllers ended badly");
    }
    served.map(drop)
}

async fn observe_cluster(client: &Client) -> Result<Uuid, RunError> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let found = namespaces.get(CLUSTER).await.map_err(|error| RunError::Api(Box::new(error)))?;
    let uid = found.metadata.uid.unwrap_or_default();
    Uuid::parse_str(&uid).map_err(RunError::Cluster)
}

async fn serve(service: Service, socket: &Path, stop: CancellationToken) -> Result<(), RunError> {
    let what = || socket.display().to_string();
    // A socket left behind by a killed process is nobody's; a live one would refuse the bind below.
    match std::fs::remove_file(socket) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(listen(&what(), source)),
    }
    let listener = UnixListener::bind(socket).map_err(|source| listen(&what(), source))?;
    let identity = Identified { caches: service.caches.clone() };
    Server::builder()
        .add_service(IdentityServer::new(identity))
        .add_service(GroupControllerServer::new(service.clone()))
        .add_service(ControllerServer::new(service))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned())
        .await
        .map_err(RunError::Serve)
}

/// Runs the controllers while this replica leads, from full caches.
async fn lead_when_elected(context: Arc<Context>, stop: CancellationToken) {
    let mut leading = context.leading.clone();
    while elected(&mut leading, &stop).await {
        context.metrics.leads(*leading.borrow());
        tracing::info!("leading");
        tokio::select! {
            () = async { context.caches.synced().await; reconcile::run_all(context.clone()).await } => {}
            () = deposed(leading.clone()) => {}
            () = stop.cancelled() => {}
        }
        context.metrics.leads(None);
        tracing::info!("not leading any more");
    }
}

/// Waits for the election; false when it is time to end.
async fn elected(leading: &mut watch::Receiver<Leading>, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        held = leading.wait_for(Option::is_some) => held.is_ok(),
    }
}

/// Ends when the lease is lost, or has run out without anybody saying so.
async fn deposed(mut leading: watch::Receiver<Leading>) {
    loop {
        let Some(until) = *leading.borrow_and_update() else { return };
        tokio::select! {
            () = tokio::time::sleep_until(until) => {
                if leading.borrow().is_none_or(|renewed| renewed <= until) { return }
            }
            changed = leading.changed() => if changed.is_err() { return },
        }
    }
}

fn stop_on_signal(stop: CancellationToken) -> Result<(), RunError> {
    let on = |kind, what: &str| signal(kind).map_err(|source| listen(what, source));
    let mut terminate = on(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = on(SignalKind::interrupt(), "SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

fn listen(what: &str, source: std::io::Error) -> RunError {
    RunError::Listen { what: what.to_owned(), source }
}
