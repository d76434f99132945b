//! Which host objects nobody claims, what a person can do about each, and which of them the sweeper may come to
//! remove. Pure: a listing and the claims go in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use terrace_crds::node::{HostVolume, Orphan, OrphanReason};
use terrace_device_types::{HostObject, HostState, Leftover, StageState};

use super::node_status::{readable, unreadable};
use super::objects::Claims;
use super::sweep_plan::Candidate;
use crate::inventory::{Listing, Located};

/// Every orphan, one for each UUID, sorted by it. What lies on a pool that cannot be looked at is as it was `before`.
#[must_use]
pub fn plan_orphans(
    listing: &Listing,
    claims: &Claims,
    before: &[Orphan],
    sweep_after: Duration,
) -> Vec<Orphan> {
    let unclaimed = listing.ours.iter().filter(|located| !claims.contains(&located.tag.volume));
    let ours = unclaimed.map(|located| orphan(located, sweep_after));
    let unreadable = listing.unreadable.iter().filter_map(|(pool, image)| {
        let listed = unreadable(pool, image)?;
        let message = format!(
            "the tag of {} cannot be read, so nothing touches it: look at it on the node",
            image.path.display()
        );
        Some(listed_as(listed, OrphanReason::Unreadable, message))
    });
    let unseen: BTreeSet<String> =
        listing.failed.iter().map(|(pool, _)| pool.uuid.to_string()).collect();
    let unseen = before.iter().filter(|orphan| unseen.contains(&orphan.pool_uuid)).cloned();
    let mut by_uuid: BTreeMap<String, Orphan> = BTreeMap::new();
    for orphan in ours.chain(unreadable).chain(unseen) {
        let known = by_uuid.get(&orphan.uuid);
        // What a person can do something about comes before what goes by itself.
        if known.is_none_or(|known| orphan.reason < known.reason) {
            by_uuid.insert(orphan.uuid.clone(), orphan);
        }
    }
    by_uuid.into_values().collect()
}

/// What the sweeper may come to remove: begun and never finished, or proven to go; never anything else.
#[must_use]
pub fn plan_candidates(listing: &Listing, claims: &Claims) -> BTreeSet<Candidate> {
    let unclaimed = listing.ours.iter().filter(|located| !claims.contains(&located.tag.volume));
    unclaimed
        .filter_map(|Located { pool, image: _, tag }| {
            let leftover = match &tag.state {
                HostState::Quarantined { deletion } => {
                    Leftover::Quarantined { deletion: deletion.clone() }
                }
                HostState::Creating if tag.stage == StageState::Never => Leftover::Unfinished,
                HostState::Creating | HostState::Ready | HostState::Retained => return None,
            };
            let (object, name) = (tag.object, tag.name.clone());
            Some(Candidate { uuid: tag.volume, object, name, pool: pool.uuid, leftover })
        })
        .collect()
}

fn orphan(located: &Located, sweep_after: Duration) -> Orphan {
    let Located { pool: _, image: _, tag } = located;
    let object = tag.object;
    let after = span(sweep_after);
    let (reason, message) = match (&tag.state, &tag.stage) {
        (HostState::Retained, _) => (
            OrphanReason::Retained,
            format!("kept when its {} went; {}", kind(object), verbs(object)),
        ),
        (HostState::Ready, _) => (
            OrphanReason::NoObject,
            format!("in service, and no {} names it; {}", kind(object), verbs(object)),
        ),
        (HostState::Creating, StageState::Never) => (
            OrphanReason::Unfinished,
            format!("begun and never finished: removed when nothing has named it for {after}"),
        ),
        (HostState::Creating, StageState::At { .. } | StageState::Past) => (
            OrphanReason::Unfinished,
            format!("never finished, yet it was staged, so it is kept; {}", verbs(object)),
        ),
        (HostState::Quarantined { .. }, _) => (
            OrphanReason::Quarantined,
            format!("its deletion is proven: removed when nothing has named it for {after}"),
        ),
    };
    listed_as(readable(located), reason, message)
}

fn listed_as(listed: HostVolume, reason: OrphanReason, message: String) -> Orphan {
    let HostVolume { uuid, kind, name, pool_uuid, size, state: _, volume_mode: _, fs_type: _ } =
        listed;
    Orphan { uuid, kind, name, pool_uuid, size, reason, message }
}

/// The kind of object that would claim it.
const fn kind(object: HostObject) -> &'static str {
    match object {
        HostObject::Volume => "StorageVolume",
        HostObject::Snapshot => "StorageSnapshot",
    }
}

const fn verbs(object: HostObject) -> &'static str {
    match object {
        HostObject::Volume => {
            "`kubectl terrace orphan adopt` takes it into service, `kubectl terrace orphan delete` destroys it"
        }
        HostObject::Snapshot => "`kubectl terrace orphan delete` destroys it",
    }
}

/// Minutes where they are whole.
fn span(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (minutes, 0) if minutes > 0 => format!("{minutes} min"),
        _ => format!("{} s", time.as_secs()),
    }
}

/// How many host objects of each kind are in service.
#[must_use]
pub fn in_service(listing: &Listing) -> (usize, usize) {
    let ready = listing.ours.iter().filter(|located| located.tag.state == HostState::Ready);
    let (volumes, snapshots): (Vec<_>, Vec<_>) =
        ready.partition(|located| located.tag.object == HostObject::Volume);
    (volumes.len(), snapshots.len())
}

#[cfg(test)]
#[path = "orphans_tests.rs"]
mod tests;
