//! The API server: connect, list, get, and the two things that a person may change by this plugin. It decides nothing
//! but which error it was.

use std::fmt::Debug;
use std::time::Duration;

use futures::try_join;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;
use terrace_crds::volume::{ClaimRef, Origin};
use terrace_crds::{StorageNode, StoragePool, StorageSnapshot, StorageVolume};
use terrace_plan::heal::Lost;
use terrace_plan::observe::{observe_claim, observe_host, observe_lost, observe_persistent};
use terrace_plan::world::{ClaimFound, Looked, World};

use crate::args::Connection;
use crate::fault::Fault;
use crate::forward::{Answer, Port, get, post};

/// Field manager of what a person makes by this plugin.
const MANAGER: &str = "kubectl-terrace";
/// Labels of the agents' Pods, as the chart sets them.
const AGENTS: &str = "app.kubernetes.io/name=terrace,app.kubernetes.io/component=node";
/// Port of the agent's pages on its Pod's loopback, as the chart sets it.
const AGENT_PORT: u16 = 9808;

/// Longest reading of a page.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// A node's agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Agent {
    /// Its node.
    pub node: String,
    /// Namespace of its Pod.
    pub namespace: String,
    /// Its Pod.
    pub pod: String,
}

impl Agent {
    /// One that runs, and will not end next.
    fn of(pod: Pod) -> Option<Self> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase != Some("Running") || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        Some(Self {
            node: pod.spec?.node_name?,
            namespace: pod.metadata.namespace?,
            pod: pod.metadata.name?,
        })
    }
}

/// A connection, and the namespace that names are taken to be in.
pub struct Cluster {
    client: Client,
    /// Namespace of claims that are named without one.
    pub namespace: String,
    /// The namespace that was asked for, if one was.
    pub asked: Option<String>,
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
        let asked = namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| Fault::Client(Box::new(error)))?;
        Ok(Self { client, namespace, asked })
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

    /// Makes a StorageVolume.
    ///
    /// # Errors
    /// [`Fault`], by what the API server answered.
    pub async fn create(&self, volume: &StorageVolume) -> Result<(), Fault> {
        let api = Api::<StorageVolume>::all(self.client.clone());
        let how = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        let made = api.create(&how, volume).await;
        let fault = |error| match &error {
            kube::Error::Api(status) if status.code == 409 => {
                let name = volume.metadata.name.clone().unwrap_or_default();
                Fault::Exists { kind: "StorageVolume".into(), name }
            }
            _ => Fault::of_call("StorageVolume", error),
        };
        made.map(drop).map_err(fault)
    }

    /// Hands the person's word to the agent of the node, and waits until the bytes are gone.
    ///
    /// # Errors
    /// [`Fault`], with what the node said.
    pub async fn delete_orphan(&self, node: &str, uuid: &str, name: &str) -> Result<(), Fault> {
        let no_pod = || Fault::NoPod { node: node.to_owned() };
        let agent = self.agents(Some(node)).await?.pop().ok_or_else(no_pod)?;
        let pods = Api::<Pod>::namespaced(self.client.clone(), &agent.namespace);
        let word = json!({ "name": name, "by": self.who().await });
        let path = format!("/v1/orphans/{uuid}/delete");
        let asked = post(&pods, Port { pod: &agent.pod, port: AGENT_PORT }, &path, &word).await;
        let Answer { code, date: _, text } = asked
            .map_err(|source| Fault::Forward { node: node.to_owned(), source: Box::new(source) })?;
        if code.is_success() {
            return Ok(());
        }
        Err(Fault::NotDeleted { node: node.to_owned(), message: text.trim().to_owned() })
    }

    /// The running agents, by node: of all nodes, or of this one.
    ///
    /// # Errors
    /// [`Fault`], by what the API server answered.
    pub async fn agents(&self, node: Option<&str>) -> Result<Vec<Agent>, Fault> {
        let mut asked = ListParams::default().labels(AGENTS);
        if let Some(node) = node {
            asked = asked.fields(&format!("spec.nodeName={node}"));
        }
        let listed = Api::<Pod>::all(self.client.clone()).list(&asked).await;
        let listed = listed.map_err(|error| Fault::of_call("Pod", error))?;
        let mut agents: Vec<Agent> = listed.items.into_iter().filter_map(Agent::of).collect();
        agents.sort();
        Ok(agents)
    }

    /// A page of an agent: its clock and its text.
    ///
    /// # Errors
    /// [`Fault::Forward`] where it cannot be reached, [`Fault::NotTold`] where it has no such page now.
    pub async fn page(&self, agent: &Agent, path: &str) -> Result<(Timestamp, String), Fault> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &agent.namespace);
        let node = || agent.node.clone();
        let at = Port { pod: &agent.pod, port: AGENT_PORT };
        let asked = get(&pods, at, path, READ_WITHIN).await;
        let Answer { code, date, text } =
            asked.map_err(|source| Fault::Forward { node: node(), source: Box::new(source) })?;
        if code.is_success() {
            return Ok((date.unwrap_or_else(Timestamp::now), text));
        }
        Err(Fault::NotTold { node: node(), message: text.trim().to_owned() })
    }

    /// Who asks, as the API server knows him: for the node's log. Nothing depends on it.
    async fn who(&self) -> String {
        let api = Api::<SelfSubjectReview>::all(self.client.clone());
        let asked = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
        let user = asked.ok().and_then(|review| review.status?.user_info?.username);
        user.unwrap_or_else(|| "unknown".to_owned())
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

    /// The PersistentVolume of a claim that is bound, if it is one of ours.
    ///
    /// # Errors
    /// [`Fault`], by what the API server answered.
    pub async fn lost(&self, claim: &PersistentVolumeClaim) -> Result<Option<Lost>, Fault> {
        let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
        let Some(name) = named.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let got = Api::<PersistentVolume>::all(self.client.clone()).get_opt(name).await;
        let got = got.map_err(|error| Fault::of_call("PersistentVolume", error))?;
        Ok(got.as_ref().and_then(observe_lost))
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
            self.list::<StorageVolume>(),
            self.list::<StorageSnapshot>(),
            self.list::<StoragePool>(),
            self.list::<StorageNode>(),
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
