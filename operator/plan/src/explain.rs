//! A volume in prose: what was asked, where it lies, what holds and why, and what the operator would do now.
//! Pure: the plan is made anew from the world given here, by the same function that the operator calls.

use std::fmt::Write;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use terrace_crds::StorageVolume;
use terrace_crds::condition::ConditionType;
use terrace_crds::volume::{Origin, StorageVolumeStatus, Usage, VolumeMode};

use crate::age::Age;
use crate::meaning::{meaning, parse_reason};
use crate::placement::{Ask, Judged, judge_all};
use crate::plan::Plan;
use crate::space::{Space, observe_spaces};
use crate::volume::{ask_of, claim_of, conditions_of, plan_volume};
use crate::world::{World, name_of};

/// The text that `kubectl terrace explain` prints.
#[must_use]
pub fn explain_volume(world: &World, volume: &StorageVolume, now: Timestamp) -> String {
    let mut text = title(world, volume);
    text.push_str(&line("Asked", &asked(volume)));
    text.push_str(&line("Lies", &place(world, volume)));
    let status = volume.status.as_ref();
    if let Some(usage) = status.and_then(|status| status.usage.as_deref()) {
        text.push_str(&line("Used", &used(usage)));
    }
    text.push_str(&line("Doing", &doing(volume, now)));
    text.push_str(&conditions(volume, now));
    if volume.spec.assignment.is_none() {
        text.push_str(&pools(world, volume));
    }
    text.push_str(&plan(world, volume, now));
    text
}

fn title(world: &World, volume: &StorageVolume) -> String {
    let claim = claim_of(world, volume);
    let claim = claim.map_or_else(
        || "no claim".to_owned(),
        |claim| format!("claim {}/{}", claim.namespace, claim.name),
    );
    format!("{}, for {claim}\n\n", name_of(&volume.metadata))
}

fn line(head: &str, rest: &str) -> String {
    format!("{head:<6} {rest}\n")
}

fn asked(volume: &StorageVolume) -> String {
    let spec = &volume.spec;
    let content = match (spec.volume_mode, spec.fs_type) {
        (VolumeMode::Block, _) => "as a raw block device",
        (VolumeMode::Filesystem, Some(fs)) => fs.as_str(),
        (VolumeMode::Filesystem, None) => "filesystem not named",
    };
    let target = match (&spec.pool, &spec.tier) {
        (Some(pool), _) => format!("from pool {pool}"),
        (None, Some(tier)) => format!("from any pool of tier {tier}"),
        (None, None) => "from any pool".to_owned(),
    };
    let by = match spec.origin {
        Origin::Csi => "by the CSI driver, for the claim",
        Origin::Direct => "by a person, with the claim to make for it",
    };
    format!("{}, {content}, {target}; {by}", spec.capacity)
}

fn place(world: &World, volume: &StorageVolume) -> String {
    let Some(assignment) = &volume.spec.assignment else {
        return "nowhere yet".to_owned();
    };
    let mut text = format!("on node {}", assignment.node);
    let here = |space: &&Space| {
        space.node == assignment.node && space.pool.uuid.as_ref() == Some(&assignment.pool_uuid)
    };
    match observe_spaces(world).iter().find(here) {
        Some(space) => {
            let (pool, free) = (&space.pool, terrace_crds::Size::rounded(space.free()));
            let all = terrace_crds::Size::rounded(space.limit);
            // A String takes every write.
            let _ =
                write!(text, ", pool {} (tier {}, backend {}", pool.name, pool.tier, pool.backend);
            let _ = write!(text, "; {free} of {all} free for more volumes)");
        }
        None => text.push_str(", on a pool that the node does not list now"),
    }
    let status = volume.status.as_ref();
    if let Some(StorageVolumeStatus { device: Some(device), capacity, .. }) = status {
        let size = capacity.as_ref().map_or_else(String::new, |size| format!(", {size}"));
        let _ = write!(text, ": {device}{size}");
    }
    text
}

fn used(usage: &Usage) -> String {
    let Usage { total_bytes, used_bytes, total_inodes, used_inodes } = usage;
    let percent = |used: u64, all: u64| used.saturating_mul(100).checked_div(all).unwrap_or(0);
    let bytes = |size: &terrace_crds::Size| size.bytes().unwrap_or(0);
    let (used, all) = (bytes(used_bytes), bytes(total_bytes));
    let words = terrace_crds::Size::rounded;
    let mut text = format!("{} of {} ({}%)", words(used), words(all), percent(used, all));
    if *total_inodes > 0 {
        let share = percent(*used_inodes, *total_inodes);
        let _ = write!(text, ", {used_inodes} of {total_inodes} inodes ({share}%)");
    }
    text
}

fn doing(volume: &StorageVolume, now: Timestamp) -> String {
    let operation = volume.status.as_ref().and_then(|status| status.operation.as_ref());
    match operation {
        Some(operation) => {
            let age = Age::between(operation.since.0, now);
            let (kind, step, tries) = (&operation.kind, &operation.step, operation.attempts);
            format!("{kind}: {step}; since {age}, attempt {tries}")
        }
        None if volume.metadata.deletion_timestamp.is_some() => "asked to go".to_owned(),
        None => "nothing".to_owned(),
    }
}

fn conditions(volume: &StorageVolume, now: Timestamp) -> String {
    let mut all: Vec<&Condition> = conditions_of(volume).iter().collect();
    if all.is_empty() {
        return "\nNothing was reported about it yet.\n".to_owned();
    }
    all.sort_by_key(|condition| rank(&condition.type_));
    all.into_iter().map(|one| condition(one, now)).collect()
}

/// The order of the list of types; what another release knows comes last.
fn rank(kind: &str) -> usize {
    let known = ConditionType::ALL.iter().position(|known| known.as_str() == kind);
    known.unwrap_or(ConditionType::ALL.len())
}

fn condition(condition: &Condition, now: Timestamp) -> String {
    let Condition { type_, status, reason, message, last_transition_time, observed_generation: _ } =
        condition;
    let age = Age::between(last_transition_time.0, now);
    let mut text = format!("\n{type_} is {status} for {age}, because {reason}.\n");
    if !message.is_empty() {
        let _ = writeln!(text, "  {message}");
    }
    if let Some(reason) = parse_reason(reason) {
        let _ = writeln!(text, "  {}", meaning(reason));
    }
    text
}

fn pools(world: &World, volume: &StorageVolume) -> String {
    ask_of(volume).map_or_else(|error| format!("\n{error}\n"), |ask| pools_for(world, &ask))
}

/// Every pool that was looked at, and why it will do or not.
pub(crate) fn pools_for(world: &World, ask: &Ask) -> String {
    let Judged { pools, possible, rejected } = judge_all(world, ask);
    let mut text = "\nPools that were looked at\n".to_owned();
    if possible.is_empty() && rejected.is_empty() {
        let none = if pools.is_empty() {
            "there is none of that name or tier".to_owned()
        } else {
            format!("no node offers {}", pools.join(", "))
        };
        let _ = writeln!(text, "  {none}");
    }
    for space in possible {
        let free = terrace_crds::Size::rounded(space.free());
        let _ = writeln!(text, "  {}/{}: will do, {free} free", space.node, space.pool.name);
    }
    for why in rejected {
        let _ = writeln!(text, "  {why}");
    }
    text
}

fn plan(world: &World, volume: &StorageVolume, now: Timestamp) -> String {
    told(&plan_volume(world, volume, now))
}

/// A plan, for people.
pub(crate) fn told(plan: &Plan) -> String {
    let mut text = "\nThe operator's plan, as of now\n".to_owned();
    if plan.effects.is_empty() {
        text.push_str("  nothing to do\n");
    }
    for effect in &plan.effects {
        let _ = writeln!(text, "  {effect}");
    }
    for said in &plan.said {
        let _ = writeln!(text, "  because: {said}");
    }
    text
}
