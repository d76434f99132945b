//! LifecyclePolicy: is its text sound, beyond what the API server could check. Pure. It matches no file.

use globset::GlobBuilder;
use jiff::Timestamp;
use terrace_crds::LifecyclePolicy;
use terrace_crds::lifecycle::{Backup, Budget, Delete, Keep, LifecycleRule, Match, Snapshot};

use crate::effect::{Effect, ObjectRef};
use crate::plan::{Next, Plan};
use crate::policy::{
    Fault, news, seconds, validate_rate, validate_schedule, validate_selector, validate_unique,
    verdicts,
};

/// What to say about this policy.
#[must_use]
pub fn plan_lifecycle(policy: &LifecyclePolicy, now: Timestamp) -> Plan {
    let verdicts = verdicts(validate_lifecycle(policy));
    let there = policy.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let generation = policy.metadata.generation.unwrap_or(0);
    let conditions = news(&verdicts, there, generation, now);
    let policy = || ObjectRef::of(&policy.metadata);
    let report = |conditions| Effect::ReportLifecycle { policy: policy(), conditions };
    let effects = conditions.map(report).into_iter().collect();
    Plan { effects, verdicts, said: Vec::new(), next: Next::Change }
}

/// Checks what the schema cannot.
///
/// # Errors
/// The first [`Fault`], in the order of the text.
pub fn validate_lifecycle(policy: &LifecyclePolicy) -> Result<(), Fault> {
    let spec = &policy.spec;
    validate_selector("spec.claimSelector", &spec.claim_selector)?;
    validate_schedule("spec.schedule", &spec.schedule)?;
    validate_unique("spec.rules", spec.rules.iter().map(|rule| rule.name.as_str()))?;
    spec.rules.iter().try_for_each(validate_rule)?;
    spec.budget.iter().try_for_each(validate_budget)
}

fn validate_rule(rule: &LifecycleRule) -> Result<(), Fault> {
    let LifecycleRule { name, matches, move_tier: _, delete, snapshot, backup } = rule;
    let place = format!("rule {name:?}");
    matches.iter().try_for_each(|matches| validate_match(&place, matches))?;
    if let Some(Delete { keep_for: Some(period), .. }) = delete {
        seconds(&place, period)?;
    }
    if let Some(Snapshot { schedule, keep, .. }) = snapshot {
        validate_schedule(&place, schedule)?;
        validate_keep(&place, keep)?;
    }
    if let Some(Backup { schedule, keep, .. }) = backup {
        validate_schedule(&place, schedule)?;
        validate_keep(&place, keep)?;
    }
    Ok(())
}

fn validate_match(place: &str, matches: &Match) -> Result<(), Fault> {
    let Match {
        include,
        exclude,
        older_than,
        age: _,
        accesses_per_day_below,
        min_size,
        max_size,
        free_space_below: _,
    } = matches;
    include.iter().chain(exclude).try_for_each(|pattern| validate_pattern(place, pattern))?;
    older_than.iter().try_for_each(|period| seconds(place, period).map(drop))?;
    match (accesses_per_day_below, older_than) {
        (Some(value), Some(window)) => validate_rate(place, *value, window)?,
        (Some(_), None) => return Err(Fault::RateWithoutAge { place: place.to_owned() }),
        (None, _) => {}
    }
    let size = |size: &terrace_crds::Size| {
        size.bytes().map_err(|fault| Fault::Bytes { place: place.to_owned(), fault })
    };
    let least = min_size.as_ref().map(size).transpose()?.unwrap_or(0);
    let greatest = max_size.as_ref().map(size).transpose()?.unwrap_or(u64::MAX);
    match (min_size, max_size) {
        (Some(min), Some(max)) if least > greatest => Err(Fault::NoSize {
            place: place.to_owned(),
            least: min.to_string(),
            greatest: max.to_string(),
        }),
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

fn validate_pattern(place: &str, pattern: &str) -> Result<(), Fault> {
    let refused =
        |why: String| Fault::Pattern { place: place.to_owned(), pattern: pattern.to_owned(), why };
    if pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
        return Err(refused("it starts with '/' or contains '..'".to_owned()));
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(drop).map_err(|error| refused(error.kind().to_string()))
}

fn validate_keep(place: &str, keep: &Keep) -> Result<(), Fault> {
    let Keep { last: _, within } = keep;
    within.iter().try_for_each(|period| seconds(place, period).map(drop))
}

fn validate_budget(budget: &Budget) -> Result<(), Fault> {
    let Budget { bytes_per_second, files_per_run: _, window } = budget;
    let place = "spec.budget";
    if let Some(size) = bytes_per_second {
        size.bytes().map_err(|fault| Fault::Bytes { place: place.to_owned(), fault })?;
    }
    window.iter().try_for_each(|period| seconds(place, period).map(drop))
}
