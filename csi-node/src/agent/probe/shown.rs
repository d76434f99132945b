//! What a StorageNode shows of its probe. Pure.

use terrace_crds::measured::{Missed, ProbeFunction, ProbeStatus, ProbeTier};
use terrace_probe_abi::layout::Tier;
use terrace_probe_abi::wire::{FunctionTier, Hello, MissedCount};

/// Functions, ways and reasons that are listed at most.
const LISTED: (usize, usize, usize) = (64, 32, 16);

/// From what the probe said of itself, beside what is shown now. Texts are cut where the schema ends.
#[must_use]
pub fn plan_shown(
    hello: &Hello,
    missed: &[MissedCount],
    there: Option<&ProbeStatus>,
) -> ProbeStatus {
    let Hello { version, kernel, functions, unobservable } = hello;
    let before = there.map_or(&[][..], |there| there.missed.as_slice());
    let mut functions: Vec<ProbeFunction> = functions.iter().map(function).collect();
    // A list-map: the API server takes each name once.
    functions.sort_by(|one, two| one.name.cmp(&two.name));
    functions.dedup_by(|one, two| one.name == two.name);
    functions.truncate(LISTED.0);
    ProbeStatus {
        version: cut(version, 64),
        kernel: cut(kernel, 128),
        functions,
        unobservable: unobservable.iter().take(LISTED.1).map(|way| cut(way, 64)).collect(),
        missed: plan_missed(missed, before),
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn function(told: &FunctionTier) -> ProbeFunction {
    let FunctionTier { function, tier, reason } = told;
    ProbeFunction {
        name: cut(function, 64),
        tier: match tier {
            Tier::Fentry => ProbeTier::Fentry,
            Tier::Kprobe => ProbeTier::Kprobe,
            Tier::RawTracepoint => ProbeTier::RawTracepoint,
            Tier::None => ProbeTier::None,
        },
        reason: reason.as_ref().map(|reason| cut(reason, 512)),
    }
}

/// A number is written anew when it has doubled, or began anew: the reader learns how bad it is, and a busy node does not write at
/// every turn.
fn plan_missed(told: &[MissedCount], before: &[Missed]) -> Vec<Missed> {
    let told = told.iter().filter(|missed| missed.count > 0).take(LISTED.2);
    let mut missed: Vec<Missed> = told
        .map(|MissedCount { reason, count }| {
            let written = before.iter().find(|written| written.reason == *reason);
            let written = written.map(|written| written.count);
            let stays = written.filter(|written| count >= written && count / 2 < *written);
            Missed { reason: cut(reason, 64), count: stays.unwrap_or(*count) }
        })
        .collect();
    missed.sort_by(|one, two| one.reason.cmp(&two.reason));
    missed.dedup_by(|one, two| one.reason == two.reason);
    missed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(count: u64) -> Vec<MissedCount> {
        vec![MissedCount { reason: "compat".into(), count }]
    }

    #[test]
    fn i8_a_number_of_missed_operations_is_written_anew_when_it_has_doubled() {
        let hello = Hello { version: "1".into(), kernel: "6".into(), ..Hello::default() };
        let first = plan_shown(&hello, &told(3), None);
        assert_eq!(first.missed[0].count, 3);
        assert_eq!(plan_shown(&hello, &told(5), Some(&first)), first);
        assert_eq!(plan_shown(&hello, &told(6), Some(&first)).missed[0].count, 6);
        assert_eq!(plan_shown(&hello, &told(1), Some(&first)).missed[0].count, 1, "a new probe");
        assert_eq!(plan_shown(&hello, &told(0), Some(&first)).missed, []);
    }

    #[test]
    fn a_function_is_listed_once_with_its_tier_and_the_reason_for_it() {
        let one = |tier, reason: &str| FunctionTier {
            function: "vfs_read".into(),
            tier,
            reason: Some(reason.into()),
        };
        let functions = vec![one(Tier::RawTracepoint, "locked down"), one(Tier::None, "twice")];
        let shown = plan_shown(&Hello { functions, ..Hello::default() }, &[], None);
        assert_eq!(shown.functions.len(), 1);
        assert_eq!(shown.functions[0].tier, ProbeTier::RawTracepoint);
        assert_eq!(shown.functions[0].reason.as_deref(), Some("locked down"));
    }
}
