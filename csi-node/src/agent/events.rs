//! Events on the claim (of a snapshot: on its StorageSnapshot), for its owner: what happened, in words. Best effort: conditions are
//! the truth, and no operation fails because an Event was not taken.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use terrace_crds::volume::ClaimRef;
use terrace_crds::{StorageSnapshot, StorageVolume};

use crate::fault::{ApiWrite, Edge, Fault, Faults, Point, pass};

/// What is worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The host object was made.
    Created(String),
    /// It was grown.
    Grown(String),
    /// It cannot be made, grown or removed; the text says why and what helps.
    Failed(String),
    /// The volume is nearly full.
    CapacityPressure(String),
    /// Its filesystem does not serve as it should.
    Unhealthy(String),
    /// Its operations take longer than the target.
    LatencyHigh(String),
    /// They do not any more.
    LatencyRecovered(String),
    /// Its operations fail.
    Failing(String),
    /// They do not any more, or its filesystem serves again.
    Healed(String),
    /// It is kept on the node without its object.
    Retained(String),
    /// A snapshot was taken.
    SnapshotTaken(String),
    /// A snapshot cannot be taken or removed; the text says why and what helps.
    SnapshotFailed(String),
    /// A snapshot is kept on the node without its object.
    SnapshotRetained(String),
}

impl Notice {
    const fn reason(&self) -> &'static str {
        match self {
            Self::Created(_) => "VolumeCreated",
            Self::Grown(_) => "VolumeGrown",
            Self::Failed(_) => "VolumeFailed",
            Self::CapacityPressure(_) => "CapacityPressure",
            Self::Unhealthy(_) => "VolumeUnhealthy",
            Self::LatencyHigh(_) => "LatencyHigh",
            Self::LatencyRecovered(_) => "LatencyRecovered",
            Self::Failing(_) => "IoErrors",
            Self::Healed(_) => "VolumeHealthy",
            Self::Retained(_) => "VolumeRetained",
            Self::SnapshotTaken(_) => "SnapshotTaken",
            Self::SnapshotFailed(_) => "SnapshotFailed",
            Self::SnapshotRetained(_) => "SnapshotRetained",
        }
    }

    const fn event_type(&self) -> EventType {
        match self {
            Self::Created(_)
            | Self::Grown(_)
            | Self::LatencyRecovered(_)
            | Self::Healed(_)
            | Self::SnapshotTaken(_) => EventType::Normal,
            Self::Failed(_)
            | Self::Unhealthy(_)
            | Self::LatencyHigh(_)
            | Self::Failing(_)
            | Self::CapacityPressure(_)
            | Self::Retained(_)
            | Self::SnapshotFailed(_)
            | Self::SnapshotRetained(_) => EventType::Warning,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Created(text)
            | Self::Grown(text)
            | Self::Failed(text)
            | Self::CapacityPressure(text)
            | Self::Unhealthy(text)
            | Self::LatencyHigh(text)
            | Self::LatencyRecovered(text)
            | Self::Failing(text)
            | Self::Healed(text)
            | Self::Retained(text)
            | Self::SnapshotTaken(text)
            | Self::SnapshotFailed(text)
            | Self::SnapshotRetained(text) => text,
        }
    }
}

/// Tells claims.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    faults: Arc<dyn Faults<Point>>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// In the name of the agent on `node`.
    #[must_use]
    pub fn new(client: Client, node: &str, faults: Arc<dyn Faults<Point>>) -> Self {
        let reporter = Reporter {
            controller: terrace_crds::names::manager::NODE.to_owned(),
            instance: Some(node.to_owned()),
        };
        Self { recorder: Recorder::new(client, reporter), faults }
    }

    /// Publishes `notice` on the claim of `volume`, if it has one.
    pub async fn tell(
        &self,
        volume: &StorageVolume,
        persistent: Option<&PersistentVolume>,
        notice: &Notice,
    ) {
        let Some(claim) = claim_of(volume, persistent) else { return };
        self.publish(&claim, notice).await;
    }

    /// Publishes `notice` on `snapshot`.
    pub async fn tell_snapshot(&self, snapshot: &StorageSnapshot, notice: &Notice) {
        self.publish(&snapshot.object_ref(&()), notice).await;
    }

    /// Publishes `notice` on any object.
    pub async fn tell_reference(&self, about: &ObjectReference, notice: &Notice) {
        self.publish(about, notice).await;
    }

    async fn publish(&self, about: &ObjectReference, notice: &Notice) {
        let told = async {
            pass(&*self.faults, Point::ApiWrite(ApiWrite::Event, Edge::Before)).await?;
            self.write(about, notice).await;
            pass(&*self.faults, Point::ApiWrite(ApiWrite::Event, Edge::After)).await
        };
        let told: Result<(), Fault> = told.await;
        if let Err(fault) = told {
            tracing::warn!(%fault, reason = notice.reason(), "an event was not taken");
        }
    }

    async fn write(&self, about: &ObjectReference, notice: &Notice) {
        // The API takes at most 1 kB; a cause at the end of a long chain is worth less than its start.
        let note = notice.text().chars().take(1000).collect();
        let event = Event {
            type_: notice.event_type(),
            reason: notice.reason().to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        match self.recorder.publish(&event, about).await {
            Ok(()) => {}
            // The namespace is on its way out: nobody is left to be told.
            Err(kube::Error::Api(status)) if status.code == 403 || status.code == 404 => {
                tracing::debug!(reason = notice.reason(), "an event was not wanted");
            }
            Err(error) => {
                tracing::warn!(%error, reason = notice.reason(), "an event was not taken");
            }
        }
    }
}

/// The claim with its UID, without which `kubectl describe` does not show the Event. The UID is in the
/// PersistentVolume, and in the name that the provisioner makes (`pvc-<uid>`).
fn claim_of(
    volume: &StorageVolume,
    persistent: Option<&PersistentVolume>,
) -> Option<ObjectReference> {
    let ClaimRef { namespace, name } = volume.spec.claim_ref.clone()?;
    let bound = persistent.and_then(|volume| volume.spec.as_ref()?.claim_ref.clone()?.uid);
    let named = volume.metadata.name.as_deref().and_then(|name| name.strip_prefix("pvc-"));
    let uid = bound.or_else(|| named.filter(|uid| uid.len() == 36).map(str::to_owned));
    Some(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: Some(namespace),
        name: Some(name),
        uid,
        ..ObjectReference::default()
    })
}
