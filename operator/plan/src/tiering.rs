//! TieringPolicy: is its ladder sound, beyond what the API server could check. Pure. It moves no volume.

use jiff::Timestamp;
use terrace_crds::TieringPolicy;
use terrace_crds::tiering::{AccessRate, Tier, Transition, When};

use crate::effect::{Effect, ObjectRef};
use crate::plan::{Next, Plan};
use crate::policy::{
    Fault, news, seconds, validate_rate, validate_selector, validate_unique, verdicts,
};

/// What to say about this policy.
#[must_use]
pub fn plan_tiering(policy: &TieringPolicy, now: Timestamp) -> Plan {
    let verdicts = verdicts(validate_tiering(policy));
    let there = policy.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let generation = policy.metadata.generation.unwrap_or(0);
    let conditions = news(&verdicts, there, generation, now);
    let policy = || ObjectRef::of(&policy.metadata);
    let report = |conditions| Effect::ReportTiering { policy: policy(), conditions };
    let effects = conditions.map(report).into_iter().collect();
    Plan { effects, verdicts, said: Vec::new(), next: Next::Change }
}

/// Checks what the schema cannot.
///
/// # Errors
/// The first [`Fault`], in the order of the text.
pub fn validate_tiering(policy: &TieringPolicy) -> Result<(), Fault> {
    let spec = &policy.spec;
    validate_unique("spec.tiers", spec.tiers.iter().map(|tier| tier.name.as_str()))?;
    spec.tiers.iter().try_for_each(validate_tier)?;
    spec.volume_selector.iter().try_for_each(|s| validate_selector("spec.volumeSelector", s))?;
    validate_unique("spec.transitions", spec.transitions.iter().map(|t| t.name.as_str()))?;
    for transition in &spec.transitions {
        validate_transition(&spec.tiers, transition)?;
    }
    validate_cycles(&spec.transitions)
}

fn validate_tier(tier: &Tier) -> Result<(), Fault> {
    let Tier { name, max_size, restore_time, cost_per_gb_month: _, object_store: _, cache } = tier;
    let place = format!("tier {name:?}");
    let sizes = max_size.iter().chain(cache.iter().map(|cache| &cache.size));
    for size in sizes {
        size.bytes().map_err(|fault| Fault::Bytes { place: place.clone(), fault })?;
    }
    let ttl = cache.iter().filter_map(|cache| cache.ttl.as_ref());
    restore_time.iter().chain(ttl).try_for_each(|period| seconds(&place, period).map(drop))
}

fn validate_transition(tiers: &[Tier], transition: &Transition) -> Result<(), Fault> {
    let Transition { name, from, to, when } = transition;
    for end in [from, to] {
        if !tiers.iter().any(|tier| tier.name == *end) {
            return Err(Fault::NoTier { name: name.clone(), tier: end.clone() });
        }
    }
    let place = format!("transition {name:?}");
    let When {
        older_than,
        not_accessed_for,
        accesses_per_day_below,
        accesses_per_day_above,
        p99_above: _,
    } = when;
    for AccessRate { value, window } in accesses_per_day_below.iter().chain(accesses_per_day_above)
    {
        validate_rate(&place, *value, window)?;
    }
    older_than.iter().chain(not_accessed_for).try_for_each(|p| seconds(&place, p).map(drop))
}

/// A circle of transitions is harmless only if two of them can never hold at once.
fn validate_cycles(transitions: &[Transition]) -> Result<(), Fault> {
    transitions.iter().try_for_each(|first| follow(transitions, &mut vec![first]))
}

/// Goes on from the end of a path that visits no tier twice. The schema's bounds (8 tiers, 16 transitions)
/// keep this short.
fn follow<'a>(all: &'a [Transition], path: &mut Vec<&'a Transition>) -> Result<(), Fault> {
    let (start, end) = (&path[0].from, &path[path.len() - 1].to);
    if start == end {
        return validate_cycle(path);
    }
    for next in all.iter().filter(|next| next.from == *end) {
        if path[1..].iter().all(|taken| taken.from != next.from) {
            path.push(next);
            follow(all, path)?;
            path.pop();
        }
    }
    Ok(())
}

fn validate_cycle(cycle: &[&Transition]) -> Result<(), Fault> {
    let breaks = |(place, one): (usize, &&Transition)| {
        cycle[place + 1..].iter().any(|other| exclude_each_other(&one.when, &other.when))
    };
    if cycle.iter().enumerate().any(breaks) {
        return Ok(());
    }
    let names: Vec<&str> = cycle.iter().map(|transition| transition.name.as_str()).collect();
    Err(Fault::Cycle { names: names.join(", ") })
}

/// Whether no volume can meet both at once, as far as that can be told from the text.
fn exclude_each_other(a: &When, b: &When) -> bool {
    excludes(a, b) || excludes(b, a)
}

/// Few accesses against many over the same window, or none for longer than the window of many.
fn excludes(cold: &When, hot: &When) -> bool {
    let Some(above) = &hot.accesses_per_day_above else { return false };
    let window = above.window.duration().ok();
    let few = cold
        .accesses_per_day_below
        .as_ref()
        .is_some_and(|below| below.value <= above.value && below.window.duration().ok() == window);
    let none = cold.not_accessed_for.as_ref().and_then(|period| period.duration().ok());
    few || none.zip(window).is_some_and(|(none, window)| none >= window)
}
