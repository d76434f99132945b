//! The sweeper: removes what earlier operations left behind and nothing names. It runs when what is left behind
//! changed, and at its time; without a candidate it has no timer (I8). What it may remove is decided in
//! [`super::sweep_plan`], and once more by the plan of the operation, under its lock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use terrace_crds::condition::{Truth, Verdict};
use terrace_crds::{ConditionType, Reason};
use terrace_device_types::{Intent, OperationId, ProofRefusal, Refusal, Step, VolumeUuid};
use tokio::sync::watch;

use super::evidence::Evidence;
use super::sweep_plan::{Candidate, Plan, Voided, World, plan_sweep};
use super::volume::reason_of;
use super::{Agent, orphans, report, stock};
use crate::context::observe_and_plan;
use crate::host::{Host, Probe};
use crate::journal::record::Subject;
use crate::operation::OpKind;
use crate::queue::schedule::Priority;
use crate::runner::{self, AGENT_PATIENCE, Job};

/// The first pause after a pass that left a candidate there; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// The longest pause, unless what is left behind has more time than that.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why a pass did not come to its end; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host does not answer.
    #[error(transparent)]
    Look(#[from] super::volume::Error),
    /// The journal cannot be read: nobody knows what is at work.
    #[error(transparent)]
    Journal(#[from] crate::journal::Error),
    /// A removal failed; what it was about stays a candidate.
    #[error("{candidate} cannot be removed")]
    Removal {
        /// What.
        candidate: Box<Candidate>,
        /// Why.
        source: runner::Error,
    },
}

/// What a pass came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swept {
    /// No candidate is old enough.
    NotYet,
    /// Nothing was removed, and why.
    Voided(Voided),
    /// These were.
    Removed(Vec<Candidate>),
}

/// How long to pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// As after a pass that got somewhere, or that the API server did not answer.
    First,
    /// Twice as long as before.
    Longer,
}

/// What stays between passes.
#[derive(Debug, Default)]
pub struct Sweeper {
    pause: Option<(Instant, Duration)>,
    said: String,
}

/// Runs passes until `end` turns true.
pub async fn run(agent: Arc<Agent>, mut end: watch::Receiver<bool>) {
    let mut sweeper = Sweeper::default();
    loop {
        let wait = sweeper.next(&agent, Instant::now());
        let due = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = end.wait_for(|end| *end) => return,
            () = agent.leftovers_turned.notified() => {}
            () = due => {}
        }
        if let Err(error) = sweeper.pass(&agent).await {
            let error = report::chain(&error);
            tracing::warn!(error, "a pass of the sweeper failed; it is tried again");
        }
    }
}

impl Sweeper {
    /// How long until there is something to do; `None` without a candidate.
    #[must_use]
    pub fn next(&self, agent: &Agent, now: Instant) -> Option<Duration> {
        let due = agent.leftovers().next(agent.sweep_after, now)?;
        let paused = self.pause.map(|(until, _)| until.saturating_duration_since(now));
        Some(paused.map_or(due, |paused| paused.max(due)))
    }

    /// One pass: look again, ask the API server, plan, remove, say.
    ///
    /// # Errors
    /// [`Error`]; what could be removed was.
    pub async fn pass(&mut self, agent: &Agent) -> Result<Swept, Error> {
        if agent.leftovers().next(agent.sweep_after, Instant::now()).is_none() {
            self.pause = None;
            self.say(agent, &Ok(Plan::default()), None);
            return Ok(Swept::NotYet);
        }
        let now = Instant::now();
        if self.next(agent, now).is_some_and(|wait| !wait.is_zero()) {
            return Ok(Swept::NotYet);
        }
        self.put_off(agent, now, Pause::Longer);
        let stock = stock::take(agent).await?;
        stock::note(agent, &stock);
        let candidates = agent.leftovers().ages(Instant::now());
        let journal = agent.context.runner.journal.open_operations()?;
        let journal: BTreeSet<VolumeUuid> =
            journal.iter().filter_map(|record| record.subject.volume).collect();
        let Some(cluster) = agent.context.cluster() else { return Ok(Swept::NotYet) };
        let evidence = agent.api.evidence().await.map_err(|error| report::chain(&error));
        let evidence = evidence.as_ref().map_err(String::as_str);
        let planned = plan_sweep(&World {
            cluster: &cluster,
            after: agent.sweep_after,
            candidates: &candidates,
            in_service: orphans::in_service(&stock.listing),
            journal: &journal,
            evidence: evidence as Result<&Evidence, &str>,
        });
        let (removed, failed) = match &planned {
            Ok(plan) => remove_all(agent, plan).await,
            Err(_) => (Vec::new(), None),
        };
        if !removed.is_empty() || matches!(planned, Err(Voided::Unread { .. })) {
            self.put_off(agent, now, Pause::First);
        }
        self.say(agent, &planned, failed.as_ref());
        agent.dirty.notify_one();
        match (failed, planned) {
            (Some(failed), _) => Err(failed),
            (None, Err(voided)) => Ok(Swept::Voided(voided)),
            (None, Ok(_)) => Ok(Swept::Removed(removed)),
        }
    }

    /// What is still there after this pass is looked at again, later and later while nothing comes of it.
    fn put_off(&mut self, agent: &Agent, now: Instant, how: Pause) {
        let first = FIRST_PAUSE.min(agent.sweep_after);
        let longest = LONGEST_PAUSE.max(agent.sweep_after);
        let pause = match (how, self.pause) {
            (Pause::Longer, Some((_, pause))) => (pause * 2).min(longest),
            (Pause::Longer, None) | (Pause::First, _) => first,
        };
        self.pause = Some((now + pause, pause));
    }

    /// Says what a pass came to, in the log and in the StorageNode, each once.
    fn say(&mut self, agent: &Agent, planned: &Result<Plan, Voided>, failed: Option<&Error>) {
        let kind = ConditionType::Swept;
        let verdict = match (planned, failed) {
            (Err(voided), _) => {
                Verdict::new(kind, Truth::False, voided.reason(), voided.to_string())
            }
            (Ok(_), Some(failed)) => {
                let reason = match failed {
                    Error::Removal { candidate: _, source } => reason_of(source),
                    Error::Look(_) | Error::Journal(_) => Reason::Failed,
                };
                Verdict::new(kind, Truth::False, reason, report::chain(failed))
            }
            (Ok(_), None) => {
                let text = "what operations leave behind is removed in its time";
                Verdict::new(kind, Truth::True, Reason::AsExpected, text)
            }
        };
        let told = match planned {
            Ok(plan) => plan.to_string(),
            Err(voided) => voided.to_string(),
        };
        if told != self.said {
            match planned {
                Ok(_) if told.is_empty() => {}
                Ok(_) => tracing::info!(plan = told, "swept"),
                Err(_) => tracing::warn!(why = told, "the sweeper's pass is void"),
            }
            self.said = told;
        }
        if agent.swept().replace(verdict.clone()).as_ref() != Some(&verdict) {
            agent.dirty.notify_one();
        }
    }
}

/// Removes what the plan says; the first failure is told when all were tried.
async fn remove_all(agent: &Agent, plan: &Plan) -> (Vec<Candidate>, Option<Error>) {
    let (mut removed, mut failed) = (Vec::new(), None);
    for candidate in plan.removed() {
        match remove(agent, candidate).await {
            Ok(()) => removed.push(candidate.clone()),
            Err(source) => {
                let candidate = Box::new(candidate.clone());
                failed = failed.or(Some(Error::Removal { candidate, source }));
            }
        }
    }
    (removed, failed)
}

async fn remove(agent: &Agent, candidate: &Candidate) -> Result<(), runner::Error> {
    let Candidate { uuid, object: _, name, pool, leftover } = candidate.clone();
    let (Some(known), Some(cluster)) = (agent.context.pools.get(pool), agent.context.cluster())
    else {
        return Ok(());
    };
    let subject = Subject { volume: Some(uuid), pool: Some(pool), name, target: None, to: None };
    let job = Job::on_volume(OpKind::Sweep, subject, Priority::Background, AGENT_PATIENCE);
    let (intent, objects) =
        (Intent::Sweep { volume: uuid, cluster, leftover }, Arc::clone(&agent.objects));
    let plan = move |host: &dyn Host, _: &OperationId| -> Result<Vec<Step>, runner::Error> {
        // An object may have come while this waited for its turn.
        if objects.claims().is_none_or(|claims| claims.contains(&uuid)) {
            let by = "an object of this node".to_owned();
            return Err(Refusal::from(ProofRefusal::StillClaimed { volume: uuid, by }).into());
        }
        observe_and_plan(host, &known.dir, uuid, Probe::Look, &intent)
    };
    agent.context.runner.run(job, plan).await.map(|_| ())
}
