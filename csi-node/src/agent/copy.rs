//! Copies: host objects that begin with the bytes of others. All that are to show one moment are one operation: its
//! locks are taken at once, its plans woven into one.

use terrace_backends::group::plan_group;
use terrace_crds::Reason;
use terrace_device_types::{
    Allocation, Bytes, ClusterUid, HostObject, Intent, OperationId, Refusal, Step, TagRefusal,
    VolumeMode, VolumeUuid,
};

use super::Agent;
use super::desired::ValidSource;
use super::verdict::Standing;
use super::volume::reason_of;
use crate::context::observe_and_plan;
use crate::host::{Host, Probe};
use crate::journal::KnownPool;
use crate::journal::record::Subject;
use crate::operation::OpKind;
use crate::queue::schedule::Priority;
use crate::runner::{self, AGENT_PATIENCE, Job, Outcome};

/// One host object to make, and of what.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    /// Where both lie.
    pub(super) pool: KnownPool,
    /// What it becomes.
    pub(super) object: HostObject,
    /// Its UUID.
    pub(super) uuid: VolumeUuid,
    /// Name of its StorageVolume or StorageSnapshot.
    pub(super) name: String,
    /// Whose bytes.
    pub(super) source: ValidSource,
    /// The size it gets.
    pub(super) size: Bytes,
    /// What it is made of.
    pub(super) mode: VolumeMode,
}

impl Copy {
    fn intent(&self, cluster: &ClusterUid, allocation: Allocation) -> Intent {
        let Self { pool: _, object, uuid, name, source, size, mode } = self.clone();
        let (cluster, source) = (cluster.clone(), source.uuid);
        Intent::Copy { object, volume: uuid, cluster, name, source, size, mode, allocation }
    }

    fn subject(&self) -> Subject {
        Subject {
            volume: Some(self.uuid),
            pool: Some(self.pool.uuid),
            name: self.name.clone(),
            target: None,
            to: Some(self.size),
        }
    }
}

/// Makes what is missing of `copies`, all of one moment. The journal keeps the operation under the first of them.
///
/// # Errors
/// Those of the operation.
pub(super) async fn run(agent: &Agent, copies: &[Copy]) -> Result<Outcome, runner::Error> {
    let (Some(first), Some(cluster)) = (copies.first(), agent.context.cluster()) else {
        return Ok(Outcome::Already);
    };
    let both = copies.iter().flat_map(|copy| [copy.uuid, copy.source.uuid]);
    let job = Job::on_volume(OpKind::Copy, first.subject(), Priority::Agent, AGENT_PATIENCE);
    let job = job.with_others(both).with_pools(copies.iter().map(|copy| copy.pool.uuid));
    let wanted: Vec<_> = copies.iter().map(|copy| wanted(agent, copy, &cluster)).collect();
    let plan = move |host: &dyn Host, _: &OperationId| -> Result<Vec<Step>, runner::Error> {
        let plans = wanted.iter().map(|(pool, uuid, intent)| {
            observe_and_plan(host, &pool.dir, *uuid, Probe::Look, intent)
        });
        Ok(plan_group(plans.collect::<Result<_, _>>()?)?)
    };
    let outcome = agent.context.runner.run(job, plan).await;
    agent.dirty.notify_one();
    outcome
}

fn wanted(agent: &Agent, copy: &Copy, cluster: &ClusterUid) -> (KnownPool, VolumeUuid, Intent) {
    let allocation = agent.facts().get(&copy.pool.uuid).map(|facts| facts.allocation);
    let intent = copy.intent(cluster, allocation.unwrap_or(Allocation::Reserved));
    (copy.pool.clone(), copy.uuid, intent)
}

/// How the operation ended, in words of the objects that were asked for.
pub(super) fn standing(result: Result<Outcome, runner::Error>, copies: &[Copy]) -> Standing {
    let error = match result {
        Ok(Outcome::Changed | Outcome::Already) => return Standing::Made,
        Err(error) => error,
    };
    match missing_source(&error, copies) {
        Some(ValidSource { object, name, uuid }) => {
            let message = format!(
                "its source, {object} {name} ({uuid}), is not on this node: there is nothing to copy"
            );
            Standing::NotMade { reason: Reason::NotFound, message }
        }
        None => Standing::NotMade { reason: reason_of(&error), message: error.chain() },
    }
}

fn missing_source<'a>(error: &runner::Error, copies: &'a [Copy]) -> Option<&'a ValidSource> {
    let runner::Error::Refused(Refusal::Tag(TagRefusal::NoImage { volume })) = error else {
        return None;
    };
    copies.iter().map(|copy| &copy.source).find(|source| source.uuid == *volume)
}
