//! Writes what the probe measured into the status of this node's volumes, in its own name, at most once a second. A volume that is
//! gone, or another one under the old name, is not made by a write: each carries the UID that was looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use terrace_crds::volume::StorageVolumeStatus;
use terrace_crds::{ConditionType, StorageVolume, condition};
use tokio::sync::watch;

use super::board::{Board, Reading};
use super::known::{Own, pv_name};
use super::schedule::{Candidate, Measured, Write, plan_write};
use super::status::{Seen, plan_verdict};
use crate::agent::{Agent, report};

/// Between two writes.
const APART: Duration = Duration::from_secs(1);
/// Nothing was said: looks all the same, for time may have turned something.
const QUIET: Duration = Duration::from_secs(5);
/// A volume whose write failed is left alone for so long.
const LEFT_ALONE: SignedDuration = SignedDuration::from_secs(30);

/// What is remembered of a volume.
#[derive(Clone, Debug, Default)]
struct Remembered {
    /// When its figures were last written.
    figures_at: Option<Timestamp>,
    /// Until when it is left alone.
    not_before: Option<Timestamp>,
    /// The version of the object that was written over, and what it says since: the watch lags behind.
    written: Option<(String, StorageVolumeStatus)>,
}

/// Writes until `end` turns true.
pub async fn run(
    agent: Arc<Agent>,
    default_target_ns: Option<u64>,
    mut end: watch::Receiver<bool>,
) {
    let mut remembered = BTreeMap::new();
    let mut shown = None;
    loop {
        tokio::select! {
            _ = end.wait_for(|end| *end) => return,
            () = agent.probe.changed.notified() => {}
            () = tokio::time::sleep(QUIET) => {}
        }
        let shows = agent.probe.node_status(shown.as_ref(), Timestamp::now());
        if shows != shown {
            // StorageNode shows it.
            agent.dirty.notify_one();
            shown = shows;
        }
        while write_next(&agent, default_target_ns, &mut remembered).await {
            tokio::select! {
                _ = end.wait_for(|end| *end) => return,
                () = tokio::time::sleep(APART) => {}
            }
        }
    }
}

/// Writes the most urgent; whether there was something.
async fn write_next(
    agent: &Agent,
    default_target_ns: Option<u64>,
    remembered: &mut BTreeMap<String, Remembered>,
) -> bool {
    let now = Timestamp::now();
    let volumes = agent.objects.volumes();
    let exists =
        |uid: &String| volumes.iter().any(|volume| volume.metadata.uid.as_ref() == Some(uid));
    remembered.retain(|uid, _| exists(uid));
    let Some((volume, write)) = choose(&agent.probe, &volumes, default_target_ns, remembered, now)
    else {
        return false;
    };
    let uid = volume.metadata.uid.clone().unwrap_or_default();
    let done = agent.api.apply_probe_status(&write.name, &uid, &write.status).await;
    let entry = remembered.entry(uid).or_default();
    match done {
        Ok(after) => {
            entry.figures_at = write.figures_at.or(entry.figures_at);
            let version = volume.metadata.resource_version.clone().unwrap_or_default();
            entry.written = Some((version, after.status.unwrap_or(write.status)));
            entry.not_before = None;
        }
        Err(error) => {
            entry.not_before = Some(now + LEFT_ALONE);
            if !error.is_stale() {
                let error = report::chain(&error);
                tracing::warn!(name = write.name, error, "what the probe measured was not written");
            }
        }
    }
    true
}

/// The object and what is written of it.
fn choose(
    board: &Board,
    volumes: &[Arc<StorageVolume>],
    default_target_ns: Option<u64>,
    remembered: &BTreeMap<String, Remembered>,
    now: Timestamp,
) -> Option<(Arc<StorageVolume>, Write)> {
    let (link, hello) = (board.link(), board.hello());
    let none = Remembered::default();
    let looked: Vec<_> = volumes
        .iter()
        .filter(|volume| volume.metadata.deletion_timestamp.is_none())
        .filter_map(|volume| {
            let uid = volume.metadata.uid.as_ref()?;
            let remembered = remembered.get(uid).unwrap_or(&none);
            let is_left_alone = remembered.not_before.is_some_and(|until| now < until);
            let reading = board.reading(pv_name(volume)?);
            (!is_left_alone).then(|| (volume, remembered, there(volume, remembered), reading))
        })
        .collect();
    let candidates: Vec<Candidate<'_>> = looked
        .iter()
        .filter_map(|(volume, remembered, there, reading)| {
            let own = Own::of(volume)?.1;
            let target_ns = own.target_ns.or(default_target_ns);
            let seen = Seen { link, hello: hello.as_ref(), reading: reading.as_ref(), target_ns };
            let was = condition::find(&there.conditions, ConditionType::LatencyHigh);
            Some(Candidate {
                name: volume.metadata.name.as_deref()?,
                generation: volume.metadata.generation.unwrap_or_default(),
                there,
                verdict: plan_verdict(&seen, was, now),
                measured: measured(reading.as_ref(), remembered),
            })
        })
        .collect();
    let write = plan_write(&candidates, now)?;
    let is_named =
        |volume: &&Arc<StorageVolume>| volume.metadata.name.as_ref() == Some(&write.name);
    let volume = volumes.iter().find(is_named)?;
    Some((Arc::clone(volume), write))
}

fn measured<'a>(reading: Option<&'a Reading>, remembered: &Remembered) -> Option<Measured<'a>> {
    let (at, figures) = reading?.figures.as_ref()?;
    Some(Measured { figures, at: *at, written: remembered.figures_at })
}

/// The status as it is: what was written over this very version is not in it yet.
fn there(volume: &StorageVolume, remembered: &Remembered) -> StorageVolumeStatus {
    let version = volume.metadata.resource_version.as_ref();
    match &remembered.written {
        Some((over, status)) if version == Some(over) => status.clone(),
        Some(_) | None => volume.status.clone().unwrap_or_default(),
    }
}
