//! The end of an orphan, on a person's word (I1): only while nothing in the API names it, by quorum reads of our own; only
//! what its tag says it is; only while nobody has it open.

use std::path::PathBuf;
use std::sync::Arc;

use terrace_device_types::{
    DeletionId, DeletionProof, Erase, HostState, Intent, OperationId, PersonsWord, ProofRefusal,
    Refusal, Step, TagReading, TagRefusal, VolumeUuid,
};
use uuid::Uuid;

use crate::agent::sweep_plan::{Voided, validate_evidence};
use crate::agent::{Agent, api, node_status, stock, volume};
use crate::audit::Asked;
use crate::context::observe_and_plan;
use crate::host::{Host, Probe};
use crate::inventory::{Listing, Located};
use crate::journal::record::Subject;
use crate::operation::OpKind;
use crate::queue::schedule::Priority;
use crate::runner::{self, CALL_PATIENCE, Job};

/// Why an orphan is not destroyed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node has just begun.
    #[error("the node does not know yet which cluster this is and what it has: ask again")]
    Starting,
    /// The host does not answer.
    #[error(transparent)]
    Look(#[from] volume::Error),
    /// There is none.
    #[error("this node has no host object {uuid}")]
    NotHere {
        /// What was asked for.
        uuid: VolumeUuid,
    },
    /// Perhaps there is none.
    #[error("host object {uuid} was not found, but pool {pool} cannot be looked at: {why}")]
    Unseen {
        /// What was asked for.
        uuid: VolumeUuid,
        /// The pool.
        pool: String,
        /// Why.
        why: String,
    },
    /// What it is cannot be proven.
    #[error("the tag of {path} cannot be read: nothing is destroyed by Terrace without it", path = .path.display())]
    Unreadable {
        /// Where it lies.
        path: PathBuf,
    },
    /// Which one is meant?
    #[error("host object {uuid} is on this node twice, as {first} and {second}: nothing is destroyed", first = .first.display(), second = .second.display())]
    Twice {
        /// What was asked for.
        uuid: VolumeUuid,
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The API server did not say what names it.
    #[error("the API server did not say what names this host object: nothing is destroyed")]
    Unread(#[source] api::Error),
    /// What it said cannot be believed.
    #[error(transparent)]
    Doubtful(#[from] Voided),
    /// A piece of proof is missing.
    #[error(transparent)]
    Refused(#[from] ProofRefusal),
    /// The operation failed.
    #[error("the orphan cannot be destroyed")]
    Operation(#[from] runner::Error),
}

/// Destroys the orphan `uuid` on the word of the person `by`, who knows its name.
///
/// # Errors
/// [`Error`].
pub async fn delete(agent: &Agent, uuid: VolumeUuid, name: &str, by: &str) -> Result<(), Error> {
    let stock = stock::take(agent).await?;
    let cluster = agent.context.cluster().ok_or(Error::Starting)?;
    if stock.claims.is_none() {
        return Err(Error::Starting);
    }
    let Located { pool, image: _, tag } = choose(&stock.listing, uuid)?;
    let evidence = agent.api.evidence().await.map_err(Error::Unread)?;
    validate_evidence(&cluster, &evidence)?;
    let id = match &tag.state {
        // It goes on where its own deletion stopped.
        HostState::Quarantined { deletion } => deletion.clone(),
        HostState::Creating | HostState::Ready | HostState::Retained => {
            DeletionId::from(Uuid::new_v4())
        }
    };
    let word = PersonsWord { volume: uuid, name: name.to_owned(), id };
    let reading = evidence.reading(tag.object, uuid, &tag.name);
    let proof = DeletionProof::check_orphan(&word, &cluster, &reading, &tag)?;
    let subject = Subject {
        volume: Some(uuid),
        pool: Some(pool.uuid),
        name: tag.name.clone(),
        target: None,
        to: None,
    };
    let job = Job::on_volume(OpKind::Delete, subject, Priority::Agent, CALL_PATIENCE)
        .asked_by(Asked::Person { by: by.to_owned(), id: word.id });
    let (intent, state) = (Intent::Delete { volume: uuid, proof, erase: Erase::No }, tag.state);
    let objects = Arc::clone(&agent.objects);
    let plan = move |host: &dyn Host, _: &OperationId| -> Result<Vec<Step>, runner::Error> {
        // An object may have come, and have taken it into service, while this waited for its turn.
        if objects.claims().is_none_or(|claims| claims.contains(&uuid)) {
            let by = "an object of this node".to_owned();
            return Err(Refusal::from(ProofRefusal::StillClaimed { volume: uuid, by }).into());
        }
        validate_unchanged(host, &pool.dir, uuid, &state)?;
        observe_and_plan(host, &pool.dir, uuid, Probe::Look, &intent)
    };
    let outcome = agent.context.runner.run(job, plan).await;
    agent.dirty.notify_one();
    Ok(outcome.map(drop)?)
}

/// It is in the state in which it was an orphan.
fn validate_unchanged(
    host: &dyn Host,
    dir: &std::path::Path,
    uuid: VolumeUuid,
    then: &HostState,
) -> Result<(), runner::Error> {
    let view = host.volume(dir, uuid, None, Probe::Skip).map_err(runner::Error::Observe)?;
    let Some(image) = view.volume.image else { return Ok(()) };
    match image.tag {
        TagReading::Read(tag) if tag.state != *then => {
            let (image, state, verb) = (image.path, tag.state, "delete as an orphan");
            Err(Refusal::from(TagRefusal::WrongState { image, state, verb }).into())
        }
        // A tag that cannot be read any more is for the plan to refuse.
        TagReading::Read(_) | TagReading::Absent | TagReading::Unreadable(_) => Ok(()),
    }
}

/// The one host object that is meant. What is quarantined beside it goes by itself.
fn choose(listing: &Listing, uuid: VolumeUuid) -> Result<Located, Error> {
    let Listing { ours, unreadable, failed } = listing;
    let named = || ours.iter().filter(|located| located.tag.volume == uuid);
    let is_proven = |located: &&Located| matches!(located.tag.state, HostState::Quarantined { .. });
    let mut alive = named().filter(|located| !is_proven(located));
    match (alive.next(), alive.next(), named().next()) {
        (Some(first), Some(second), _) => Err(Error::Twice {
            uuid,
            first: first.image.path.clone(),
            second: second.image.path.clone(),
        }),
        (Some(one), None, _) | (None, _, Some(one)) => Ok(one.clone()),
        (None, _, None) => {
            let text = uuid.to_string();
            let lost = unreadable.iter().find(|(pool, image)| {
                node_status::unreadable(pool, image).is_some_and(|listed| listed.uuid == text)
            });
            if let Some((_, image)) = lost {
                return Err(Error::Unreadable { path: image.path.clone() });
            }
            match failed.first() {
                Some((pool, why)) => {
                    let (pool, why) = (pool.name.clone(), crate::agent::report::chain(why));
                    Err(Error::Unseen { uuid, pool, why })
                }
                None => Err(Error::NotHere { uuid }),
            }
        }
    }
}
