//! One leader among the replicas, by a Lease. Whoever leads knows until when; before every write it looks.
//! Clocks of two machines are never compared: a rival's lease is over when it has not changed for its whole
//! length, as seen by us.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::fault::{Edge, Faults, LeaseWrite, Point, pass};

/// How long a lease holds without being renewed.
const LENGTH: Duration = Duration::from_secs(15);
/// How often it is renewed, and a rival's lease looked at.
const PERIOD: Duration = Duration::from_secs(4);
/// A leader that could not renew stops this long before its lease is over.
const MARGIN: Duration = Duration::from_secs(3);

/// Until when this replica leads; `None` where it does not.
pub type Leading = Option<Instant>;

/// Whether the lease still holds now.
#[must_use]
pub fn holds(leading: Leading) -> bool {
    leading.is_some_and(|until| Instant::now() < until)
}

/// Takes part in the election.
#[derive(Debug)]
pub struct Election {
    faults: Arc<dyn Faults<Point>>,
    leases: Api<Lease>,
    name: String,
    identity: String,
    seen: Option<Seen>,
}

/// A rival's lease, and since when it has not changed.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

/// What a look at the lease asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Write the first lease.
    Create,
    /// Write our name over this version of it.
    Take,
    /// A rival has it.
    Wait,
}

impl Election {
    /// Among all that use the lease `namespace/name`, as `identity`.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        faults: Arc<dyn Faults<Point>>,
    ) -> Self {
        let leases = Api::namespaced(client, namespace);
        let (name, identity) = (name.to_owned(), identity.to_owned());
        Self { faults, leases, name, identity, seen: None }
    }

    /// Stands for election until told to stop; then gives the lease back, so that another leads at once.
    pub async fn run(mut self, leading: watch::Sender<Leading>, stop: CancellationToken) {
        let mut beat = tokio::time::interval(PERIOD);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = beat.tick() => self.stand(&leading).await,
            }
        }
        let led = leading.send_replace(None).is_some();
        if led && let Err(error) = self.release().await {
            tracing::warn!(%error, "lease not given back; it ends by itself");
        }
    }

    /// One look at the lease, and what follows.
    async fn stand(&mut self, leading: &watch::Sender<Leading>) {
        // Counted from before the write: the lease that others see is never shorter than what we believe.
        let until = Instant::now() + LENGTH - MARGIN;
        let outcome = tokio::time::timeout(PERIOD, self.try_hold()).await;
        let held = match outcome {
            Ok(Ok(held)) => Some(held),
            Ok(Err(error)) => {
                tracing::warn!(%error, "lease not renewed");
                None
            }
            Err(_) => None,
        };
        leading.send_if_modified(|now| {
            let was = now.is_some();
            match held {
                Some(Held::Ours) => *now = Some(until),
                Some(Held::Theirs) => *now = None,
                None if !holds(*now) => *now = None,
                None => {}
            }
            was != now.is_some() || held == Some(Held::Ours)
        });
    }

    async fn try_hold(&mut self) -> Result<Held, Error> {
        let found = self.leases.get_opt(&self.name).await.map_err(|error| self.failed(error))?;
        let how = PostParams::default();
        let step = self.next_step(found.as_ref(), Instant::now());
        let ours_already = found.as_ref().and_then(holder_of) == Some(&self.identity);
        let write = if ours_already { LeaseWrite::Renew } else { LeaseWrite::Acquire };
        if step != Step::Wait {
            pass(&*self.faults, Point::Lease(write, Edge::Before)).await?;
        }
        let written = match step {
            Step::Wait => return Ok(Held::Theirs),
            Step::Create => self.leases.create(&how, &self.ours(None)).await,
            Step::Take => self.leases.replace(&self.name, &how, &self.ours(found.as_ref())).await,
        };
        match written.map_err(|error| self.failed(error)) {
            Ok(_) => {}
            Err(Error::Changed { .. }) => return Ok(Held::Theirs),
            Err(error) => return Err(error),
        }
        pass(&*self.faults, Point::Lease(write, Edge::After)).await?;
        Ok(Held::Ours)
    }

    fn failed(&self, error: kube::Error) -> Error {
        Error::api("hold lease", &self.name, error)
    }

    fn next_step(&mut self, found: Option<&Lease>, now: Instant) -> Step {
        let Some(lease) = found else { return Step::Create };
        let holder = holder_of(lease);
        if holder.is_none_or(|holder| holder.is_empty() || holder == self.identity) {
            return Step::Take;
        }
        let version = lease.metadata.resource_version.clone();
        let seen = match self.seen.take() {
            Some(seen) if seen.version == version => seen,
            Some(_) | None => Seen { version, since: now },
        };
        let over = now.duration_since(seen.since) >= length_of(lease);
        self.seen = Some(seen);
        if over { Step::Take } else { Step::Wait }
    }

    /// The lease with our name on it, in place of the version that was read.
    fn ours(&self, found: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = found.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let ours_already = old.holder_identity.as_deref() == Some(&self.identity);
        let changes = old.lease_transitions.unwrap_or(0);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(LENGTH.as_secs().try_into().unwrap_or(i32::MAX)),
            acquire_time: if ours_already { old.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if ours_already { changes } else { changes + 1 }),
            ..old
        };
        let fresh = || ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let metadata = found.map_or_else(fresh, |lease| lease.metadata.clone());
        Lease { metadata, spec: Some(spec) }
    }

    async fn release(&self) -> Result<(), Error> {
        let found = self.leases.get_opt(&self.name).await.map_err(|error| self.failed(error))?;
        let Some(mut lease) = found else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return Ok(());
        }
        spec.holder_identity = None;
        pass(&*self.faults, Point::Lease(LeaseWrite::Release, Edge::Before)).await?;
        let done = self.leases.replace(&self.name, &PostParams::default(), &lease).await;
        done.map_err(|error| self.failed(error))?;
        Ok(pass(&*self.faults, Point::Lease(LeaseWrite::Release, Edge::After)).await?)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Ours,
    Theirs,
}

fn holder_of(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref())
}

fn length_of(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    seconds.and_then(|s| u64::try_from(s).ok()).map_or(LENGTH, Duration::from_secs)
}

#[cfg(test)]
mod tests;
