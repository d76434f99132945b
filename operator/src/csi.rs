//! The CSI Controller and Identity services: decode, plan, apply, wait, reply. A call writes intent and watches
//! for the outcome; dropped anywhere, it leaves nothing that a retry does not find.

pub mod calls;
pub mod capacity;
pub mod controller;
pub mod create;
pub mod deadline;
pub mod delete;
pub mod expand;
pub mod group;
pub mod health;
pub mod identity;
pub mod list;
pub mod snapshot;
pub mod snapshots;
pub mod validate;
pub mod wait;
pub mod wire;

use std::fmt::Debug;
use std::sync::Arc;

use kube::core::ClusterResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use terrace_crds::StorageVolume;
use terrace_crds::names::is_dns_label;
use uuid::Uuid;

use crate::apply::Effects;
use crate::cache::Caches;
use crate::csi::calls::Calls;
use crate::error::Error;
use crate::fault::{Faults, Point};
use crate::metrics::Metrics;
use crate::promises::Promises;

/// What the methods share.
#[derive(Clone)]
pub struct Service {
    /// To read volumes without a cache.
    pub client: Client,
    /// What was last told.
    pub caches: Arc<Caches>,
    /// The only way to change anything.
    pub effects: Effects,
    /// Space promised and not yet told.
    pub promises: Arc<Promises>,
    /// Where it may be made to die or fail.
    pub faults: Arc<dyn Faults<Point>>,
    /// Calls under way.
    pub calls: Arc<Calls>,
    /// What happened.
    pub metrics: Arc<Metrics>,
    /// UID of the namespace kube-system.
    pub cluster: Uuid,
}

impl Service {
    /// The volume as the API server has it now: what exists is not decided on old news.
    ///
    /// # Errors
    /// [`Error::Api`] where the API server does not answer.
    pub async fn read(&self, name: &str) -> Result<Option<StorageVolume>, Error> {
        self.read_object(name).await
    }

    /// As [`Service::read`], for an object of any of our cluster-wide kinds.
    ///
    /// # Errors
    /// As [`Service::read`].
    pub async fn read_object<K>(&self, name: &str) -> Result<Option<K>, Error>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        if !is_dns_label(name) {
            return Ok(None);
        }
        let verb = format!("get {}", K::kind(&()));
        let objects = Api::<K>::all(self.client.clone());
        objects.get_opt(name).await.map_err(|error| Error::api(&verb, name, error))
    }
}
