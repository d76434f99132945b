//! Whose turn it is in a group of snapshots that are to show one moment: the first of its members acts for all, once
//! every member is there. Pure: it looks at the node's cache alone.

use std::sync::Arc;

use terrace_crds::{ConditionType, Reason, StorageSnapshot, condition};

use super::desired::{ValidSnapshot, validate_snapshot};
use super::is_made;
use crate::agent::desired::{Fate, is_held};

/// What is to be done about a snapshot that is not known to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Take these, all at once: it stands alone, or is the first of its group.
    Take(Vec<ValidSnapshot>),
    /// The first of the group is in service, so every member's copy was made: what is left to do for this one, this
    /// one does.
    Complete(Vec<ValidSnapshot>),
    /// These members are not there yet, or no more.
    Gather(Vec<String>),
    /// Another member acts.
    Follow,
    /// Another member tried, and it cannot be done.
    Fail {
        /// Why, from the closed list.
        reason: Reason,
        /// Cause and remedy.
        message: String,
    },
}

/// Reasons that only an operation on this node gives.
const FAILURES: [Reason; 8] = [
    Reason::Failed,
    Reason::NotFound,
    Reason::Inconsistent,
    Reason::InUse,
    Reason::Invalid,
    Reason::PoolFull,
    Reason::FacilityMissing,
    Reason::Foreign,
];

/// Whose turn it is, with the snapshots as `find` knows them.
#[must_use]
pub fn plan_turn(own: &ValidSnapshot, find: impl Fn(&str) -> Option<Arc<StorageSnapshot>>) -> Turn {
    let Some(group) = &own.group else { return Turn::Take(vec![own.clone()]) };
    let (mut members, mut absent) = (Vec::new(), Vec::new());
    for name in &group.members {
        match find(name).as_deref().and_then(|snapshot| member(snapshot, own)) {
            Some(member) => members.push(member),
            None => absent.push(name.clone()),
        }
    }
    if !absent.is_empty() {
        return Turn::Gather(absent);
    }
    let first = group.members.first().filter(|first| **first != own.name);
    match first.and_then(|first| find(first)) {
        None => Turn::Take(members),
        Some(first) if is_made(&first) => Turn::Complete(members),
        Some(first) => failure(&first).unwrap_or(Turn::Follow),
    }
}

/// A member of the group of `own` that can be taken with it.
fn member(snapshot: &StorageSnapshot, own: &ValidSnapshot) -> Option<ValidSnapshot> {
    let valid = validate_snapshot(snapshot).ok()?;
    let fits = valid.fate == Fate::Kept && is_held(snapshot) && valid.group == own.group;
    fits.then_some(valid)
}

fn failure(first: &StorageSnapshot) -> Option<Turn> {
    let conditions = first.status.as_ref().map(|status| status.conditions.as_slice());
    let ready = condition::find(conditions.unwrap_or_default(), ConditionType::Ready)?;
    let reason = FAILURES.into_iter().find(|reason| reason.as_str() == ready.reason)?;
    Some(Turn::Fail { reason, message: ready.message.clone() })
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
