//! How a volume ails, in CSI's words, from the conditions that operator, node and probe gave it. Pure. What nobody knows is
//! no ailment: an empty list says that nothing is known, not that all is well.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use terrace_crds::StorageVolume;
use terrace_crds::condition::{ConditionType, Reason, Truth};

use crate::volume::conditions_of;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Usable, and slower or less safe than it should be.
    Degraded,
    /// Nobody can read it now.
    Inaccessible,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ailment {
    /// How bad it is.
    pub severity: Severity,
    /// The condition's reason.
    pub reason: String,
    /// Cause and remedy, as in the condition.
    pub message: String,
}

/// Reasons of a condition by which the bytes themselves cannot be had.
const OUT_OF_REACH: [Reason; 5] = [
    Reason::NotFound,
    Reason::Inconsistent,
    Reason::Foreign,
    Reason::NodeGone,
    Reason::FilesystemShutDown,
];

/// Whether a condition tells of an ailment. Others than these are not read here, and need not be kept.
#[must_use]
pub fn is_ailment(condition: &Condition) -> bool {
    severity(condition).is_some()
}

/// Everything that is known to be wrong, each once.
#[must_use]
pub fn ailments(volume: &StorageVolume) -> Vec<Ailment> {
    let mut found: Vec<Ailment> = Vec::new();
    for condition in conditions_of(volume) {
        let Some(severity) = severity(condition) else { continue };
        let reason = condition.reason.clone();
        if !found.iter().any(|known| (known.severity, &known.reason) == (severity, &reason)) {
            found.push(Ailment { severity, reason, message: condition.message.clone() });
        }
    }
    found
}

fn severity(condition: &Condition) -> Option<Severity> {
    let is = |kind: ConditionType, status: Truth| {
        condition.type_ == kind.as_str() && condition.status == status.as_str()
    };
    let out_of_reach = OUT_OF_REACH.iter().any(|reason| condition.reason == reason.as_str());
    if is(ConditionType::Missing, Truth::True) {
        return Some(Severity::Inaccessible);
    }
    if is(ConditionType::Ready, Truth::False) || is(ConditionType::Healthy, Truth::False) {
        let degraded = is(ConditionType::Healthy, Truth::False).then_some(Severity::Degraded);
        return if out_of_reach { Some(Severity::Inaccessible) } else { degraded };
    }
    is(ConditionType::LatencyHigh, Truth::True).then_some(Severity::Degraded)
}

#[cfg(test)]
mod tests {
    use super::{Ailment, Severity, StorageVolume, ailments};
    use serde_json::{Value, from_value, json};

    fn volume(conditions: &[(&str, &str, &str)]) -> StorageVolume {
        let condition = |(kind, status, reason): &(&str, &str, &str)| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": format!("{kind} says"),
                "lastTransitionTime": "2026-11-22T10:00:00Z",
            })
        };
        let conditions: Vec<Value> = conditions.iter().map(condition).collect();
        from_value(json!({
            "apiVersion": "terrace.storage/v1alpha1", "kind": "StorageVolume", "metadata": {"name": "pvc-1"},
            "spec": {"origin": "CSI", "volumeUUID": "v", "capacity": "1Gi", "pool": "local", "fsType": "xfs"},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn said(conditions: &[(&str, &str, &str)]) -> Vec<(Severity, String)> {
        let all = ailments(&volume(conditions)).into_iter();
        all.map(|Ailment { severity, reason, message: _ }| (severity, reason)).collect()
    }

    #[test]
    fn a_volume_above_its_latency_target_is_degraded_in_the_words_of_its_condition() {
        let [ailment] = &ailments(&volume(&[("LatencyHigh", "True", "AboveTarget")]))[..] else {
            unreachable!("one ailment")
        };
        assert_eq!(ailment.severity, Severity::Degraded);
        assert_eq!(ailment.reason, "AboveTarget");
        assert_eq!(ailment.message, "LatencyHigh says");
    }

    #[test]
    fn what_nobody_knows_or_is_still_being_made_is_no_ailment() {
        let fine = [
            ("Ready", "True", "AsExpected"),
            ("Healthy", "Unknown", "WaitingForNode"),
            ("LatencyHigh", "Unknown", "NoProbe"),
            ("CapacityPressure", "True", "BytesAboveThreshold"),
            ("Missing", "False", "Found"),
        ];
        assert_eq!(said(&fine), []);
        assert_eq!(said(&[("Ready", "False", "Creating")]), []);
    }

    #[test]
    fn bytes_that_cannot_be_had_make_a_volume_inaccessible_and_are_told_once() {
        let lost = [("Ready", "False", "NotFound"), ("Missing", "True", "NotFound")];
        assert_eq!(said(&lost), [(Severity::Inaccessible, "NotFound".to_owned())]);
        let broken = [("Healthy", "False", "Inconsistent"), ("Ready", "False", "Inconsistent")];
        assert_eq!(said(&broken), [(Severity::Inaccessible, "Inconsistent".to_owned())]);
    }

    #[test]
    fn errors_below_a_volume_degrade_it() {
        let ill = [("Healthy", "False", "IoErrors"), ("LatencyHigh", "True", "IoErrors")];
        assert_eq!(said(&ill), [(Severity::Degraded, "IoErrors".to_owned())]);
        let down = [("Healthy", "False", "FilesystemShutDown")];
        assert_eq!(said(&down), [(Severity::Inaccessible, "FilesystemShutDown".to_owned())]);
    }
}
