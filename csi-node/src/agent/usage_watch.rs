//! Looks at the use of every mounted volume and wakes the pass over those that moved. One `statvfs` each,
//! no command, no write (I8).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use terrace_device_types::{StageState, VolumeMode};

use super::Agent;
use super::health::{FilesystemState, filesystem_state};
use super::usage::{Pressure, Reported, is_worth_reporting, plan_pressure, to_wire};
use crate::host::Usage;
use crate::inventory;

/// How often it looks: a volume that fills in less is full before anybody could act.
const EVERY: Duration = Duration::from_secs(10);

/// Looks until the end.
pub async fn watch(agent: Arc<Agent>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        look(&agent).await;
        // That look, and whatever burst was before it, left holes in the heap. That the runtime is going down is no error.
        tokio::task::spawn_blocking(terrace_telemetry::give_memory_back).await.ok();
    }
}

/// One look at all.
pub async fn look(agent: &Agent) {
    let Some(cluster) = agent.context.cluster() else { return };
    let pools = agent.context.pools.clone();
    let seen = agent.context.look(move |host| {
        let mounted = inventory::list(host, &pools, &cluster).ours.into_iter();
        let mounted = mounted.filter_map(|located| match (located.tag.mode, located.tag.stage) {
            (VolumeMode::Filesystem { .. }, StageState::At { boot: _, target }) => {
                Some((located.tag.name, target))
            }
            (VolumeMode::Filesystem { .. } | VolumeMode::Block, _) => None,
        });
        let mounts = host.mounts();
        let looked = mounted.filter_map(|(name, target)| {
            let mount = mounts.as_ref().ok()?.mount_at(&target)?;
            let usage = host.usage(&target);
            let filesystem = filesystem_state(mount, usage.as_ref().err());
            Some(Looked { name, usage: usage.ok(), filesystem })
        });
        looked.collect::<Vec<_>>()
    });
    match seen.await {
        Ok(seen) => take_in(agent, &seen, Timestamp::now()),
        Err(error) => tracing::warn!(%error, "use of volumes is not known"),
    }
}

/// What a look at one mounted volume showed.
struct Looked {
    name: String,
    usage: Option<Usage>,
    filesystem: FilesystemState,
}

fn take_in(agent: &Agent, all: &[Looked], now: Timestamp) {
    let mut moved = Vec::new();
    let mut seen = agent.seen();
    for Looked { name, usage, filesystem } in all {
        let entry = seen.entry(name.clone()).or_default();
        if entry.filesystem != *filesystem {
            entry.filesystem = *filesystem;
            moved.push(name.clone());
        }
        let Some(usage) = usage else { continue };
        let pressure = plan_pressure(usage, agent.pressure_percent, &entry.pressure);
        let turned = pressure.is_high() != entry.pressure.is_high()
            || (entry.pressure == Pressure::Unknown) != (pressure == Pressure::Unknown);
        let worth = is_worth_reporting(usage, entry.reported.as_ref(), now);
        if turned || worth {
            // Both together: the message of a condition carries figures too.
            entry.reported = Some(Reported { usage: to_wire(usage), at: now });
            entry.pressure = pressure;
            moved.push(name.clone());
        }
    }
    for (name, entry) in seen.iter_mut() {
        let mounted = all.iter().any(|other| other.name == *name);
        let is_past =
            entry.pressure != Pressure::Unknown || entry.filesystem != FilesystemState::NotSeen;
        if !mounted && is_past {
            entry.pressure = Pressure::Unknown;
            entry.filesystem = FilesystemState::NotSeen;
            moved.push(name.clone());
        }
    }
    drop(seen);
    for name in moved {
        agent.context.tell_changed(&name);
    }
}
