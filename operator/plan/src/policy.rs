//! What the two kinds of policy have in common: schedules, selectors, rates, and the verdicts on them. Pure.

use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use terrace_crds::condition::{ConditionType, Reason, Truth, Verdict, find};
use terrace_crds::period::{Period, PeriodError};
use terrace_crds::size::SizeError;

use crate::class::Class;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// A fault in the text of a policy, with the place where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a cron line of five fields.
    #[error(
        "{place}: {schedule:?} is no schedule: write five cron fields, such as \"0 3 * * *\" ({why})"
    )]
    Schedule {
        /// Where.
        place: String,
        /// As written.
        schedule: String,
        /// What the parser says.
        why: String,
    },
    /// Not a path pattern.
    #[error("{place}: {pattern:?} is no path pattern below the volume's root: {why}")]
    Pattern {
        /// Where.
        place: String,
        /// As written.
        pattern: String,
        /// What the parser says.
        why: String,
    },
    /// Not a label selector.
    #[error("{place}: key {key:?} cannot be selected by: {why}")]
    Selector {
        /// Where.
        place: String,
        /// Of the expression.
        key: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A span of time that does not parse.
    #[error("{place}: {fault}")]
    Time {
        /// Where.
        place: String,
        /// What is wrong.
        fault: PeriodError,
    },
    /// A size that does not parse.
    #[error("{place}: {fault}")]
    Bytes {
        /// Where.
        place: String,
        /// What is wrong.
        fault: SizeError,
    },
    /// Least above greatest.
    #[error("{place}: minSize {least} is above maxSize {greatest}: no file matches")]
    NoSize {
        /// Where.
        place: String,
        /// As written.
        least: String,
        /// As written.
        greatest: String,
    },
    /// A rate that the window is too short to tell.
    #[error(
        "{place}: {value} accesses a day cannot be told within {window}: take at least {need} days"
    )]
    Window {
        /// Where.
        place: String,
        /// Accesses a day.
        value: String,
        /// As written.
        window: String,
        /// Days that are enough.
        need: u64,
    },
    /// A rate without a time to count in.
    #[error("{place}: accessesPerDayBelow needs olderThan: accesses are counted over that time")]
    RateWithoutAge {
        /// Where.
        place: String,
    },
    /// One name twice.
    #[error("{place}: the name {name:?} is used twice")]
    Twice {
        /// Where.
        place: &'static str,
        /// The name.
        name: String,
    },
    /// A transition from or to a tier that is not there.
    #[error("transition {name:?}: there is no tier {tier:?} in spec.tiers")]
    NoTier {
        /// Of the transition.
        name: String,
        /// As written.
        tier: String,
    },
    /// Transitions that would move a volume round and round.
    #[error(
        "transitions {names} form a circle and can all hold at once: a volume would move round and round; make two of them exclude each other, such as accessesPerDayBelow 1 and accessesPerDayAbove 1 over the same window"
    )]
    Cycle {
        /// Of the transitions, in their order.
        names: String,
    },
}

impl Fault {
    /// Only the author can help.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Schedule { .. }
            | Self::Pattern { .. }
            | Self::Selector { .. }
            | Self::Time { .. }
            | Self::Bytes { .. }
            | Self::NoSize { .. }
            | Self::Window { .. }
            | Self::RateWithoutAge { .. }
            | Self::Twice { .. }
            | Self::NoTier { .. }
            | Self::Cycle { .. } => Class::Invalid,
        }
    }
}

/// A cron line of five fields.
///
/// # Errors
/// [`Fault::Schedule`].
pub(crate) fn validate_schedule(place: &str, schedule: &str) -> Result<(), Fault> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(schedule).map(drop).map_err(|error| Fault::Schedule {
        place: place.to_owned(),
        schedule: schedule.to_owned(),
        why: error.to_string(),
    })
}

/// A label selector as Kubernetes takes it.
///
/// # Errors
/// [`Fault::Selector`].
pub(crate) fn validate_selector(place: &str, selector: &LabelSelector) -> Result<(), Fault> {
    for expression in selector.match_expressions.iter().flatten() {
        let values = expression.values.as_ref().is_some_and(|values| !values.is_empty());
        let why = match (expression.operator.as_str(), values) {
            ("In" | "NotIn", true) | ("Exists" | "DoesNotExist", false) => continue,
            ("In" | "NotIn", false) => "In and NotIn need values",
            ("Exists" | "DoesNotExist", true) => "Exists and DoesNotExist take no values",
            _ => "the operator is one of In, NotIn, Exists and DoesNotExist",
        };
        let (place, key) = (place.to_owned(), expression.key.clone());
        return Err(Fault::Selector { place, key, why });
    }
    Ok(())
}

/// Seconds of a period.
///
/// # Errors
/// [`Fault::Time`].
pub(crate) fn seconds(place: &str, period: &Period) -> Result<u64, Fault> {
    let fault = |fault| Fault::Time { place: place.to_owned(), fault };
    period.duration().map(|duration| duration.as_secs()).map_err(fault)
}

/// A rate can be told only where at least one access would fall into the window.
///
/// # Errors
/// [`Fault::Window`], [`Fault::Time`].
pub(crate) fn validate_rate(place: &str, value: f64, window: &Period) -> Result<(), Fault> {
    #[expect(clippy::cast_precision_loss, reason = "windows are far below 2^52 seconds")]
    let days = seconds(place, window)? as f64 / DAY;
    if days * value >= 1.0 {
        return Ok(());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the schema bounds the value to at least 0.000001"
    )]
    let need = (1.0 / value).ceil() as u64;
    let (place, window) = (place.to_owned(), window.to_string());
    Err(Fault::Window { place, value: value.to_string(), window, need })
}

/// A name that comes a second time.
pub(crate) fn validate_unique<'a>(
    place: &'static str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), Fault> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Fault::Twice { place, name: name.to_owned() });
        }
    }
    Ok(())
}

/// Accepted or not, and not enforced: there is no engine yet.
pub(crate) fn verdicts(checked: Result<(), Fault>) -> Vec<Verdict> {
    let (accepted, enforced) = (ConditionType::Accepted, ConditionType::Enforced);
    match checked {
        Ok(()) => vec![
            Verdict::new(accepted, Truth::True, Reason::AsExpected, "the policy is sound"),
            Verdict::new(
                enforced,
                Truth::False,
                Reason::EngineNotInstalled,
                "this release carries no policy out: nothing is moved, deleted or copied",
            ),
        ],
        Err(fault) => {
            let message = fault.to_string();
            vec![
                Verdict::new(accepted, Truth::False, Reason::Invalid, message),
                Verdict::new(enforced, Truth::False, Reason::Invalid, "the policy is not accepted"),
            ]
        }
    }
}

/// The conditions to write; `None` where they are there already.
pub(crate) fn news(
    verdicts: &[Verdict],
    there: &[Condition],
    generation: i64,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let wanted: Vec<Condition> =
        verdicts.iter().map(|verdict| verdict.against(there, generation, now)).collect();
    let told =
        verdicts.iter().zip(&wanted).all(|(verdict, new)| find(there, verdict.kind) == Some(new));
    (!told).then_some(wanted)
}
