//! The API server: connect, list, get. It reads only, and decides nothing but which error it was.

use std::fmt::Debug;

use futures::try_join;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use terrace_crds::StorageVolume;
use terrace_crds::volume::{ClaimRef, Origin};
use terrace_plan::observe::{observe_claim, observe_host, observe_persistent};
use terrace_plan::world::{ClaimFound, Looked, World};

use crate::args::Connection;
use crate::fault::Fault;

/// A connection, and the namespace that names are taken to be in.
pub struct Cluster {
    client: Client,
    /// Namespace of claims that are named without one.
    pub namespace: String,
}

impl Cluster {
    /// Reads the kubeconfig; nothing is asked of the API server yet.
    ///
    /// # Errors
    /// [`Fault::Kubeconfig`], [`Fault::Client`].
    pub async fn connect(connection: Connection) -> Result<Self, Fault> {
        let Connection { kubeconfig, context, namespace } = connection;
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let read = |error| Fault::Kubeconfig(Box::new(error));
        let config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(read)?;
                Config::from_custom_kubeconfig(file, &options).await
            }
            None => Config::from_kubeconfig(&options).await,
        };
        let config = config.map_err(read)?;
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| Fault::Client(Box::new(error)))?;
        Ok(Self { client, namespace })
    }

    /// Every object of a kind.
    ///
    /// # Errors
    /// [`Fault`], by what the API server answered.
    pub async fn list<K>(&self) -> Result<Vec<K>, Fault>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let list = api.list(&ListParams::default()).await;
        list.map(|list| list.items).map_err(|error| Fault::of_call(&K::kind(&()), error))
    }

    /// A claim, if it is there.
    ///
    /// # Errors
    /// [`Fault`], by what the API server answered.
    pub async fn claim(&self, claim: &ClaimRef) -> Result<Option<PersistentVolumeClaim>, Fault> {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &claim.namespace);
        let got = api.get_opt(&claim.name).await;
        got.map_err(|error| Fault::of_call("PersistentVolumeClaim", error))
    }

    /// What the operator reads before it decides about a Direct volume: the claim that it names.
    ///
    /// # Errors
    /// [`Fault`], by what the API server answered.
    pub async fn look(&self, volume: &StorageVolume) -> Result<Option<Looked>, Fault> {
        let (Origin::Direct, Some(claim)) = (volume.spec.origin, &volume.spec.claim_ref) else {
            return Ok(None);
        };
        let found = self.claim(claim).await?;
        let claim =
            found.map_or(ClaimFound::Absent, |claim| ClaimFound::There(observe_claim(&claim)));
        Ok(Some(Looked { uuid: volume.spec.volume_uuid.clone(), claim, stranger: None }))
    }

    /// The class of a claim, if it is there.
    ///
    /// # Errors
    /// [`Fault`], by what the API server answered.
    pub async fn class_of(
        &self,
        claim: &PersistentVolumeClaim,
    ) -> Result<Option<StorageClass>, Fault> {
        let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
        let Some(name) = named.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let got = Api::<StorageClass>::all(self.client.clone()).get_opt(name).await;
        got.map_err(|error| Fault::of_call("StorageClass", error))
    }

    /// Everything that the operator decides by.
    ///
    /// # Errors
    /// [`Fault`], by what the API server answered.
    pub async fn world(&self) -> Result<World, Fault> {
        let (volumes, snapshots, pools, nodes, hosts, persistent) = try_join!(
            self.list(),
            self.list(),
            self.list(),
            self.list(),
            self.list::<Node>(),
            self.list::<PersistentVolume>()
        )?;
        Ok(World {
            volumes: volumes.into_iter().collect(),
            snapshots: snapshots.into_iter().collect(),
            pools: pools.into_iter().collect(),
            nodes: nodes.into_iter().collect(),
            hosts: hosts.iter().map(observe_host).collect(),
            persistent: persistent.iter().filter_map(observe_persistent).collect(),
            ..World::default()
        })
    }
}
