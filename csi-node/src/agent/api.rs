//! The agent's writes to the API server, each between its fault points and each compared with what is
//! there: an idle node writes nothing (I8). Server-side apply under one field manager.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::ClusterResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use terrace_crds::names::{FINALIZER_NODE, manager};
use terrace_crds::snapshot::StorageSnapshotStatus;
use terrace_crds::volume::StorageVolumeStatus;
use terrace_crds::{
    GROUP, StorageNode, StorageNodeStatus, StoragePool, StorageSnapshot, StorageVolume, VERSION,
};
use terrace_device_types::{ClusterUid, PvReading};

use crate::fault::{ApiWrite, Edge, Fault, Faults, Point, pass};
use crate::metrics::Metrics;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);

/// Why the API server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It refused, or did not answer.
    #[error("{doing} {name}")]
    Kube {
        /// What was being done: a verb.
        doing: &'static str,
        /// With what.
        name: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// It did not answer in time (I10).
    #[error("{doing} {name}: no answer from the API server within {} s", ANSWER.as_secs())]
    TimedOut {
        /// What was being done: a verb.
        doing: &'static str,
        /// With what.
        name: String,
    },
    /// The namespace that names the cluster has no usable UID.
    #[error("namespace kube-system has no usable UID: {0:?}")]
    NoCluster(Option<String>),
    /// It was made to fail, or the process to die.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Error {
    /// Whether there is no such object.
    fn is_missing(&self) -> bool {
        matches!(self, Self::Kube { source, .. } if matches!(&**source, kube::Error::Api(status) if status.code == 404))
    }

    /// Whether the object, or its version, is not what we took it for: a fresh look mends it.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Kube { source, .. } => match &**source {
                kube::Error::Api(status) => status.code == 404 || status.code == 409,
                _ => false,
            },
            Self::TimedOut { .. } | Self::NoCluster(_) | Self::Fault(_) => false,
        }
    }
}

/// The API server as the agent uses it.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    faults: std::sync::Arc<dyn Faults<Point>>,
    metrics: Metrics,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiServer")
    }
}

impl ApiServer {
    /// Through this client.
    #[must_use]
    pub fn new(
        client: Client,
        faults: std::sync::Arc<dyn Faults<Point>>,
        metrics: Metrics,
    ) -> Self {
        Self { client, faults, metrics }
    }

    /// The client, for watches.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Who this cluster is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cluster(&self) -> Result<ClusterUid, Error> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let found = ask("read", "namespace kube-system", namespaces.get("kube-system")).await?;
        let uid = found.metadata.uid;
        let parsed = uid.as_deref().and_then(|uid| uid.parse().ok());
        parsed.ok_or(Error::NoCluster(uid))
    }

    /// The revision the API server's store is at: one quorum read of at most one object. `None` if it does
    /// not read as a number (they are comparable numbers since Kubernetes 1.35).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn revision(&self) -> Result<Option<u64>, Error> {
        let pools: Api<StoragePool> = Api::all(self.client());
        let one = ListParams::default().limit(1);
        let listed = ask("list", "storage pools", pools.list(&one)).await?;
        Ok(listed.metadata.resource_version.and_then(|text| text.parse().ok()))
    }

    /// The labels of this node.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn labels(
        &self,
        node: &str,
    ) -> Result<std::collections::BTreeMap<String, String>, Error> {
        let nodes: Api<Node> = Api::all(self.client());
        let found = ask("read node", node, nodes.get(node)).await?;
        Ok(found.metadata.labels.unwrap_or_default())
    }

    /// A volume's PersistentVolume by a quorum read (no resourceVersion is given, so no cache answers).
    ///
    /// # Errors
    /// [`Error`]: anything but "it is there" and "it is not".
    pub async fn persistent_volume(
        &self,
        name: &str,
    ) -> Result<(PvReading, Option<PersistentVolume>), Error> {
        let volumes: Api<PersistentVolume> = Api::all(self.client());
        let found = ask("read persistent volume", name, volumes.get_opt(name)).await?;
        let reading = match &found {
            None => PvReading::NotFound,
            Some(volume) => {
                let status = volume.status.as_ref();
                let spec = volume.spec.as_ref();
                let reclaim = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.clone());
                PvReading::Found {
                    phase: status.and_then(|status| status.phase.clone()).unwrap_or_default(),
                    reclaim: reclaim.unwrap_or_default(),
                }
            }
        };
        Ok((reading, found))
    }

    /// Writes the node's part of a volume's status.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn apply_volume_status(
        &self,
        name: &str,
        status: &StorageVolumeStatus,
    ) -> Result<StorageVolume, Error> {
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "StorageVolume",
            "metadata": { "name": name }, "status": status,
        });
        let volumes: Api<StorageVolume> = Api::all(self.client());
        let parameters = PatchParams::apply(manager::NODE).force();
        let patch = Patch::Apply(&body);
        pass(&*self.faults, Point::ApiWrite(ApiWrite::VolumeStatus, Edge::Before)).await?;
        let write = volumes.patch_status(name, &parameters, &patch);
        self.metrics.api_write();
        let written = ask("write status of volume", name, write).await?;
        pass(&*self.faults, Point::ApiWrite(ApiWrite::VolumeStatus, Edge::After)).await?;
        Ok(written)
    }

    /// Writes what the probe measured of a volume, in the probe's name: of exactly the object with this UID. Nothing else hangs on it,
    /// so a crash before or after it needs no fault point of its own.
    ///
    /// # Errors
    /// [`Error`]; another object under the name, or none, is [`Error::is_stale`].
    pub async fn apply_probe_status(
        &self,
        name: &str,
        uid: &str,
        status: &StorageVolumeStatus,
    ) -> Result<StorageVolume, Error> {
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "StorageVolume",
            "metadata": { "name": name, "uid": uid }, "status": status,
        });
        let volumes: Api<StorageVolume> = Api::all(self.client());
        let parameters = PatchParams::apply(manager::PROBE).force();
        self.metrics.api_write();
        let patch = Patch::Apply(&body);
        let write = volumes.patch_status(name, &parameters, &patch);
        ask("write measured status of volume", name, write).await
    }

    /// Writes the node's part of a snapshot's status.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn apply_snapshot_status(
        &self,
        name: &str,
        status: &StorageSnapshotStatus,
    ) -> Result<(), Error> {
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "StorageSnapshot",
            "metadata": { "name": name }, "status": status,
        });
        let snapshots: Api<StorageSnapshot> = Api::all(self.client());
        let parameters = PatchParams::apply(manager::NODE).force();
        let patch = Patch::Apply(&body);
        pass(&*self.faults, Point::ApiWrite(ApiWrite::SnapshotStatus, Edge::Before)).await?;
        let write = snapshots.patch_status(name, &parameters, &patch);
        self.metrics.api_write();
        ask("write status of snapshot", name, write).await?;
        pass(&*self.faults, Point::ApiWrite(ApiWrite::SnapshotStatus, Edge::After)).await?;
        Ok(())
    }

    /// Sets or drops the node's finalizer on a StorageVolume or StorageSnapshot, at exactly the version that was
    /// looked at.
    ///
    /// # Errors
    /// [`Error`]; a conflict is [`Error::is_stale`].
    pub async fn write_finalizer<K>(&self, object: &K, write: ApiWrite) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let name = object.name_any();
        let mut finalizers = object.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != FINALIZER_NODE);
        if write == ApiWrite::AddFinalizer {
            finalizers.push(FINALIZER_NODE.to_owned());
        }
        let body = json!({ "metadata": {
            "resourceVersion": object.resource_version(), "finalizers": finalizers,
        } });
        let objects: Api<K> = Api::all(self.client());
        let parameters =
            PatchParams { field_manager: Some(manager::NODE.into()), ..PatchParams::default() };
        pass(&*self.faults, Point::ApiWrite(write, Edge::Before)).await?;
        let patch = Patch::Merge(&body);
        self.metrics.api_write();
        ask("write finalizer of", &name, objects.patch(&name, &parameters, &patch)).await?;
        pass(&*self.faults, Point::ApiWrite(write, Edge::After)).await?;
        Ok(())
    }

    /// What this node's StorageNode says, if there is one.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn node_status(&self, node: &str) -> Result<Option<StorageNodeStatus>, Error> {
        let nodes: Api<StorageNode> = Api::all(self.client());
        let found = ask("read storage node", node, nodes.get_opt(node)).await?;
        Ok(found.and_then(|node| node.status))
    }

    /// Whether this node has a StorageNode.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn has_node(&self, node: &str) -> Result<bool, Error> {
        let nodes: Api<StorageNode> = Api::all(self.client());
        Ok(ask("read storage node", node, nodes.get_metadata_opt(node)).await?.is_some())
    }

    /// Writes the StorageNode of this node, which is made if it is missing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn apply_node_status(
        &self,
        node: &str,
        status: &StorageNodeStatus,
    ) -> Result<(), Error> {
        let nodes: Api<StorageNode> = Api::all(self.client());
        let parameters = PatchParams::apply(manager::NODE).force();
        let head = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "StorageNode",
            "metadata": { "name": node },
        });
        let mut body = head.clone();
        body["status"] = json!(status);
        pass(&*self.faults, Point::ApiWrite(ApiWrite::NodeStatus, Edge::Before)).await?;
        let patch = Patch::Apply(&body);
        let doing = "write status of storage node";
        self.metrics.api_write();
        match ask(doing, node, nodes.patch_status(node, &parameters, &patch)).await {
            Err(error) if error.is_missing() => {
                let made = Patch::Apply(&head);
                ask("make storage node", node, nodes.patch(node, &parameters, &made)).await?;
                self.metrics.api_write();
                ask(doing, node, nodes.patch_status(node, &parameters, &patch)).await?;
            }
            result => drop(result?),
        }
        pass(&*self.faults, Point::ApiWrite(ApiWrite::NodeStatus, Edge::After)).await?;
        Ok(())
    }
}

/// Waits for an answer, not for ever.
pub(super) async fn ask<T>(
    doing: &'static str,
    name: &str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => {
            Err(Error::Kube { doing, name: name.to_owned(), source: Box::new(source) })
        }
        Err(_) => Err(Error::TimedOut { doing, name: name.to_owned() }),
    }
}
