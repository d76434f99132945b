//! `kubectl terrace volumes`: StorageVolumes as a table. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use terrace_crds::condition::{ConditionType, find};
use terrace_crds::volume::{StorageVolumeStatus, Usage, VolumeMode};
use terrace_crds::{Size, StorageVolume};
use terrace_plan::age::Age;

use crate::table::Table;

/// How much of each volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// What fits a terminal.
    Narrow,
    /// Everything.
    Wide,
}

/// Which volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Those on this node.
    pub node: Option<String>,
    /// Those on this pool.
    pub pool: Option<String>,
}

impl Only {
    /// Whether the volume is asked for.
    #[must_use]
    pub fn admits(&self, volume: &StorageVolume) -> bool {
        let Self { node, pool } = self;
        let on = volume.spec.assignment.as_ref().map(|assignment| &assignment.node);
        let lies = volume.status.as_ref().and_then(|status| status.pool.as_ref());
        let pools = [lies, volume.spec.pool.as_ref()];
        node.as_ref().is_none_or(|name| on == Some(name))
            && pool.as_ref().is_none_or(|name| pools.contains(&Some(name)))
    }
}

/// The table, by claim.
#[must_use]
pub fn table(volumes: &[StorageVolume], width: Width, now: Timestamp) -> Table {
    let mut heads =
        vec!["NAME", "READY", "CLAIM", "NODE", "POOL", "TIER", "SIZE", "USED", "AGE", "REASON"];
    match width {
        Width::Narrow => {}
        Width::Wide => heads.extend(["BACKEND", "FSTYPE", "PHASE", "DEVICE", "MESSAGE"]),
    }
    let mut table = Table::new(heads);
    let mut rows: Vec<&StorageVolume> = volumes.iter().collect();
    rows.sort_by_key(|volume| (claim(volume), volume.metadata.name.clone()));
    for volume in rows {
        table.push(row(volume, width, now));
    }
    table
}

fn row(volume: &StorageVolume, width: Width, now: Timestamp) -> Vec<String> {
    let spec = &volume.spec;
    let status = volume.status.as_ref();
    let said = |pick: fn(&StorageVolumeStatus) -> &Option<String>| {
        status.and_then(|status| pick(status).clone()).unwrap_or_default()
    };
    let ready = status.and_then(|status| find(&status.conditions, ConditionType::Ready));
    let attention = attention(volume);
    let born = volume.metadata.creation_timestamp.as_ref();
    let mut cells = vec![
        volume.metadata.name.clone().unwrap_or_default(),
        ready.map_or_else(|| "Unknown".to_owned(), |ready| ready.status.clone()),
        claim(volume),
        spec.assignment.as_ref().map(|assignment| assignment.node.clone()).unwrap_or_default(),
        or(said(|status| &status.pool), spec.pool.as_ref()),
        or(said(|status| &status.tier), spec.tier.as_ref()),
        spec.capacity.to_string(),
        status.and_then(|status| status.usage.as_deref()).map(used).unwrap_or_default(),
        born.map(|born| Age::between(born.0, now).to_string()).unwrap_or_default(),
        attention.map_or_else(|| "NotReported".to_owned(), |condition| condition.reason.clone()),
    ];
    match width {
        Width::Narrow => {}
        Width::Wide => cells.extend([
            said(|status| &status.backend),
            content(volume),
            status
                .and_then(|status| status.phase)
                .map(|phase| format!("{phase:?}"))
                .unwrap_or_default(),
            said(|status| &status.device),
            attention.map(|condition| condition.message.clone()).unwrap_or_default(),
        ]),
    }
    cells
}

fn or(said: String, asked: Option<&String>) -> String {
    if said.is_empty() { asked.cloned().unwrap_or_default() } else { said }
}

/// `namespace/name` of the claim: as reported, else as asked.
#[must_use]
pub fn claim(volume: &StorageVolume) -> String {
    let reported = volume.status.as_ref().and_then(|status| status.claim.clone());
    let asked = volume.spec.claim_ref.as_ref();
    reported
        .or_else(|| asked.map(|claim| format!("{}/{}", claim.namespace, claim.name)))
        .unwrap_or_default()
}

fn content(volume: &StorageVolume) -> String {
    match volume.spec.volume_mode {
        VolumeMode::Block => "block".to_owned(),
        VolumeMode::Filesystem => {
            volume.spec.fs_type.map(|fs| fs.as_str().to_owned()).unwrap_or_default()
        }
    }
}

fn used(usage: &Usage) -> String {
    let Usage { total_bytes, used_bytes, .. } = usage;
    let (Ok(all), Ok(used)) = (total_bytes.bytes(), used_bytes.bytes()) else {
        return used_bytes.to_string();
    };
    let percent = used.saturating_mul(100).checked_div(all).unwrap_or(0);
    format!("{} ({percent}%)", Size::rounded(used))
}

/// What needs attention first: not ready, then gone, full or slow, then that all is well.
fn attention(volume: &StorageVolume) -> Option<&Condition> {
    let conditions = volume.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let holds = |kind| find(conditions, kind).filter(|condition| condition.status == "True");
    let ready = find(conditions, ConditionType::Ready);
    if ready.is_some_and(|ready| ready.status != "True") {
        return ready;
    }
    let alarms =
        [ConditionType::Missing, ConditionType::CapacityPressure, ConditionType::LatencyHigh];
    alarms.into_iter().find_map(holds).or(ready)
}
