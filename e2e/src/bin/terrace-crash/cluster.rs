//! The API server as a patient user meets it: whatever is asked is asked again until it is granted or the clock says that it is
//! stuck. Every wait is a watch; a watch that breaks is begun anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::{Condition, await_condition};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::clock::Clock;
use crate::fault::{Fault, Wrong};

/// Who writes.
const MANAGER: &str = "terrace-crash";
/// Before a refused request is made again; what is waited for is watched.
const AGAIN: Duration = Duration::from_millis(250);

/// What the lanes make and look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Namespace,
    Claim,
    Persistent,
    Pod,
    Class,
    Volume,
    Snapshot,
    Pool,
    Node,
    Lifecycle,
    Tiering,
    VolumeSnapshot,
    Content,
    Group,
    GroupContent,
}

impl Kind {
    /// Group, version, kind, plural.
    const fn words(self) -> (&'static str, &'static str, &'static str, &'static str) {
        const TERRACE: &str = "terrace.storage";
        const SNAPSHOT: &str = "snapshot.storage.k8s.io";
        const GROUP: &str = "groupsnapshot.storage.k8s.io";
        match self {
            Self::Namespace => ("", "v1", "Namespace", "namespaces"),
            Self::Claim => ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Self::Persistent => ("", "v1", "PersistentVolume", "persistentvolumes"),
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::Class => ("storage.k8s.io", "v1", "StorageClass", "storageclasses"),
            Self::Volume => (TERRACE, "v1alpha1", "StorageVolume", "storagevolumes"),
            Self::Snapshot => (TERRACE, "v1alpha1", "StorageSnapshot", "storagesnapshots"),
            Self::Pool => (TERRACE, "v1alpha1", "StoragePool", "storagepools"),
            Self::Node => (TERRACE, "v1alpha1", "StorageNode", "storagenodes"),
            Self::Lifecycle => (TERRACE, "v1alpha1", "LifecyclePolicy", "lifecyclepolicies"),
            Self::Tiering => (TERRACE, "v1alpha1", "TieringPolicy", "tieringpolicies"),
            Self::VolumeSnapshot => (SNAPSHOT, "v1", "VolumeSnapshot", "volumesnapshots"),
            Self::Content => (SNAPSHOT, "v1", "VolumeSnapshotContent", "volumesnapshotcontents"),
            Self::Group => (GROUP, "v1", "VolumeGroupSnapshot", "volumegroupsnapshots"),
            Self::GroupContent => {
                (GROUP, "v1", "VolumeGroupSnapshotContent", "volumegroupsnapshotcontents")
            }
        }
    }

    const fn is_in_a_namespace(self) -> bool {
        match self {
            Self::Claim | Self::Pod | Self::Lifecycle | Self::VolumeSnapshot | Self::Group => true,
            Self::Namespace
            | Self::Persistent
            | Self::Class
            | Self::Volume
            | Self::Snapshot
            | Self::Pool
            | Self::Node
            | Self::Tiering
            | Self::Content
            | Self::GroupContent => false,
        }
    }
}

/// The cluster, as one lane uses it.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) clock: Arc<Clock>,
}

impl Cluster {
    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        let (group, version, word, plural) = kind.words();
        let gvk = GroupVersionKind::gvk(group, version, word);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        if kind.is_in_a_namespace() {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        }
    }

    /// Makes it so, again and again.
    pub(crate) async fn apply(&self, kind: Kind, object: Value) -> Result<DynamicObject> {
        let (group, version, word, _) = kind.words();
        let mut object = object;
        object["apiVersion"] =
            if group.is_empty() { version.into() } else { format!("{group}/{version}").into() };
        object["kind"] = word.into();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let (api, how) = (self.api(kind), PatchParams::apply(MANAGER).force());
        let object = Patch::Apply(object);
        let what = format!("apply {word} {name}");
        self.patiently(&what, || api.patch(&name, &how, &object)).await
    }

    /// Changes a part of it.
    pub(crate) async fn merge(&self, kind: Kind, name: &str, change: Value) -> Result<()> {
        let (api, how, change) = (self.api(kind), PatchParams::default(), Patch::Merge(change));
        let what = format!("change {} {name}", kind.words().2);
        self.patiently(&what, || api.patch(name, &how, &change)).await.map(drop)
    }

    pub(crate) async fn get(&self, kind: Kind, name: &str) -> Result<Option<DynamicObject>> {
        let api = self.api(kind);
        self.patiently(&format!("get {} {name}", kind.words().2), || api.get_opt(name)).await
    }

    pub(crate) async fn list(&self, kind: Kind) -> Result<Vec<DynamicObject>> {
        let (api, all) = (self.api(kind), ListParams::default());
        let listed = self.patiently(kind.words().3, || api.list(&all)).await?;
        Ok(listed.items)
    }

    /// Asks for its end; what is gone is no error.
    pub(crate) async fn delete(&self, kind: Kind, name: &str) -> Result<()> {
        let (api, how) = (self.api(kind), DeleteParams::default());
        let what = format!("delete {} {name}", kind.words().2);
        self.patiently(&what, || async {
            match api.delete(name, &how).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Waits until nothing of that name is there.
    pub(crate) async fn gone(&self, kind: Kind, name: &str) -> Result<()> {
        let waited = self.until(kind, name, "gone", |found| found.is_none()).await;
        waited.map(drop).map_err(|error| match error.downcast::<Fault>() {
            Ok(fault) if fault.seen.contains("deletionTimestamp") => {
                Fault::new(Wrong::Finalizer, fault.seen).into()
            }
            Ok(fault) => Fault::new(Wrong::Leaked, fault.seen).into(),
            Err(other) => other,
        })
    }

    /// Deletes all of these, then waits for each.
    pub(crate) async fn end(&self, objects: &[(Kind, String)]) -> Result<()> {
        for (kind, name) in objects {
            self.delete(*kind, name).await?;
        }
        for (kind, name) in objects {
            self.gone(*kind, name).await?;
        }
        Ok(())
    }

    /// Watches it until it is so.
    pub(crate) async fn until(
        &self,
        kind: Kind,
        name: &str,
        what: &str,
        is_so: impl Fn(Option<&DynamicObject>) -> bool + Clone,
    ) -> Result<Option<DynamicObject>> {
        let since = Instant::now();
        let seen = Mutex::new(String::from("nothing"));
        loop {
            let left = self.clock.left(since);
            let condition = Seeing { is_so: is_so.clone(), seen: &seen };
            match tokio::time::timeout(left, await_condition(self.api(kind), name, condition)).await
            {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(_)) => tokio::time::sleep(AGAIN).await,
                Err(_) => {}
            }
            if self.clock.left(since).is_zero() {
                let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let text = format!("{} {name} is not {what}: {seen}", kind.words().2);
                return Err(Fault::new(Wrong::Stuck, text).into());
            }
        }
    }

    /// The request, again while it is refused.
    async fn patiently<T, F, E>(&self, what: &str, mut ask: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, E>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let since = Instant::now();
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) if self.clock.left(since).is_zero() => {
                    return Err(error).context(what.to_owned());
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

/// A condition that remembers what it saw last.
struct Seeing<'a, F> {
    is_so: F,
    seen: &'a Mutex<String>,
}

impl<F: Fn(Option<&DynamicObject>) -> bool> Condition<DynamicObject> for Seeing<'_, F> {
    fn matches_object(&self, found: Option<&DynamicObject>) -> bool {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = found.map_or_else(
            || "it is not there".to_owned(),
            |object| {
                let metadata = &object.metadata;
                let going = metadata.deletion_timestamp.as_ref().map_or(String::new(), |at| {
                    format!("deletionTimestamp {:?}, finalizers {:?}, ", at.0, object.finalizers())
                });
                format!("{going}status {}", object.data["status"])
            },
        );
        (self.is_so)(found)
    }
}

/// The text at this place of an object; empty where there is none.
pub(crate) fn text(object: &DynamicObject, pointer: &str) -> String {
    object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Status and reason of a condition.
pub(crate) fn condition(object: &DynamicObject, kind: &str) -> (String, String) {
    let all = object.data["status"]["conditions"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|one| one["type"] == kind);
    let word = |key: &str| found.and_then(|one| one[key].as_str()).unwrap_or_default().to_owned();
    (word("status"), word("reason"))
}
