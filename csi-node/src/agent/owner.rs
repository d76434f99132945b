//! An object of the API whose bytes lie on this node, a StorageVolume or a StorageSnapshot: what is the same at their
//! end, and the few things that differ.

use jiff::Timestamp;
use terrace_crds::{StorageSnapshot, StorageVolume};
use terrace_device_types::{Bytes, Claimed, Erase, PoolUuid, VolumeUuid};

use super::desired::{ValidVolume, is_held};
use super::events::Notice;
use super::report::{self, Outlook};
use super::snapshot::desired::ValidSnapshot;
use super::volume::Error;
use super::{Agent, api, snapshot};
use crate::fault::ApiWrite;
use crate::journal::record::Subject;
use crate::operation::OpKind;
use crate::queue::schedule::Priority;
use crate::runner::{self, AGENT_PATIENCE, Job, Outcome};

/// The object, as it is in the API and as it was checked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner<'a> {
    /// A volume.
    Volume(&'a StorageVolume, &'a ValidVolume),
    /// A snapshot.
    Snapshot(&'a StorageSnapshot, &'a ValidSnapshot),
}

impl Owner<'_> {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Volume(_, valid) => &valid.name,
            Self::Snapshot(_, valid) => &valid.name,
        }
    }

    /// The UUID of its host object.
    pub(super) fn uuid(&self) -> VolumeUuid {
        match self {
            Self::Volume(_, valid) => valid.uuid,
            Self::Snapshot(_, valid) => valid.uuid,
        }
    }

    /// The pool it lies on.
    pub(super) fn pool(&self) -> PoolUuid {
        match self {
            Self::Volume(_, valid) => valid.pool,
            Self::Snapshot(_, valid) => valid.pool,
        }
    }

    /// What happens to the bytes at the end. A snapshot shares its own with others: there is nothing to overwrite.
    pub(super) fn erase(&self) -> Erase {
        match self {
            Self::Volume(_, valid) => valid.erase,
            Self::Snapshot(..) => Erase::No,
        }
    }

    fn size(&self) -> Bytes {
        match self {
            Self::Volume(_, valid) => valid.size,
            Self::Snapshot(_, valid) => valid.size,
        }
    }

    /// Whether the node still holds it back from vanishing.
    pub(super) fn is_held(&self) -> bool {
        match self {
            Self::Volume(volume, _) => is_held(*volume),
            Self::Snapshot(snapshot, _) => is_held(*snapshot),
        }
    }

    /// Since when it is to go.
    pub(super) fn deleted_at(&self) -> Option<Timestamp> {
        let time = match self {
            Self::Volume(volume, _) => volume.metadata.deletion_timestamp.as_ref(),
            Self::Snapshot(snapshot, _) => snapshot.metadata.deletion_timestamp.as_ref(),
        };
        time.map(|time| time.0)
    }

    /// What its owner can do about a deletion that waits too long.
    pub(super) const fn way_out(&self) -> &'static str {
        match self {
            Self::Volume(..) => "end the Pods that use it, then deletion goes on by itself",
            Self::Snapshot(..) => {
                "end what has it open on the node, then deletion goes on by itself"
            }
        }
    }

    /// Who may still count on the bytes: our own quorum read, where there is something to read.
    pub(super) async fn observe_claimed(&self, agent: &Agent) -> Result<Claimed, api::Error> {
        match self {
            Self::Volume(_, valid) => {
                let (reading, _) = agent.api.persistent_volume(&valid.pv_name).await?;
                Ok(Claimed::Volume(reading))
            }
            Self::Snapshot(..) => Ok(Claimed::Snapshot),
        }
    }

    /// A job of the agent on its host object.
    pub(super) fn job(&self, kind: OpKind) -> Job {
        let subject = Subject {
            volume: Some(self.uuid()),
            pool: Some(self.pool()),
            name: self.name().to_owned(),
            target: None,
            to: Some(self.size()),
        };
        Job::on_volume(kind, subject, Priority::Agent, AGENT_PATIENCE)
    }

    /// Waits for an operation; a volume's status shows one that takes its time.
    pub(super) async fn while_running(
        &self,
        agent: &Agent,
        running: impl Future<Output = Result<Outcome, runner::Error>>,
    ) -> Result<Outcome, runner::Error> {
        match self {
            Self::Volume(volume, _) => report::while_running(agent, volume, running).await,
            Self::Snapshot(..) => running.await,
        }
    }

    /// Writes its status, if it differs.
    pub(super) async fn report(&self, agent: &Agent, outlook: &Outlook) -> Result<(), Error> {
        match self {
            Self::Volume(volume, valid) => report::report(agent, volume, valid, outlook).await,
            Self::Snapshot(snapshot, valid) => {
                snapshot::report::report(agent, snapshot, valid, outlook, None).await
            }
        }
    }

    /// Tells its owner that the bytes stay.
    pub(super) async fn tell_retained(&self, agent: &Agent, text: String) {
        match self {
            Self::Volume(volume, _) => {
                agent.events.tell(volume, None, &Notice::Retained(text)).await;
            }
            Self::Snapshot(snapshot, _) => {
                agent.events.tell_snapshot(snapshot, &Notice::SnapshotRetained(text)).await;
            }
        }
    }

    /// Lets it go, and forgets what was remembered of it.
    pub(super) async fn let_go(&self, agent: &Agent) -> Result<(), api::Error> {
        match self {
            Self::Volume(volume, valid) => {
                agent.api.write_finalizer(*volume, ApiWrite::DropFinalizer).await?;
                agent.seen().remove(&valid.name);
                agent.context.pools.forget_home(&valid.name);
            }
            Self::Snapshot(snapshot, valid) => {
                agent.removed().insert(valid.uuid);
                agent.api.write_finalizer(*snapshot, ApiWrite::DropFinalizer).await?;
            }
        }
        agent.dirty.notify_one();
        Ok(())
    }
}
