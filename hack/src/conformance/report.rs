//! The table at the end, and a line for each spec that did not pass.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::conformance::ledger::{Outcome, Outcomes, Verdict};

/// Counts of one class.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    pub(crate) not_run: usize,
}

impl Counts {
    pub(crate) fn of(specs: &[String], known: &Outcomes) -> Self {
        let count = |verdict: Verdict| {
            let is = |name: &&String| known.get(*name).is_some_and(|one| one.verdict == verdict);
            specs.iter().filter(is).count()
        };
        let not_run = specs.iter().filter(|name| !known.contains_key(*name)).count();
        let [passed, failed, skipped] =
            [Verdict::Passed, Verdict::Failed, Verdict::Skipped].map(count);
        Self { passed, failed, skipped, not_run }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.failed == 0 && self.not_run == 0
    }
}

/// One row a class.
pub(crate) fn table(rows: &[(&str, Counts)]) -> String {
    let mut text = format!(
        "{:12} {:>7} {:>7} {:>7} {:>7}\n",
        "class", "passed", "failed", "skipped", "not run"
    );
    for (class, Counts { passed, failed, skipped, not_run }) in rows {
        let _ = writeln!(text, "{class:12} {passed:7} {failed:7} {skipped:7} {not_run:7}");
    }
    text
}

/// Failed ones by name, then skipped ones by reason with their number.
pub(crate) fn not_passed(class: &str, specs: &[String], known: &Outcomes) -> String {
    let mut text = String::new();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for name in specs {
        match known.get(name) {
            Some(Outcome { verdict: Verdict::Failed, reason, .. }) => {
                let _ = writeln!(text, "failed  {class}: {name}: {reason}");
            }
            Some(Outcome { verdict: Verdict::Skipped, reason, .. }) => {
                *reasons.entry(reason).or_default() += 1;
            }
            Some(Outcome { verdict: Verdict::Passed, .. }) | None => {}
        }
    }
    for (reason, count) in reasons {
        let _ = writeln!(text, "skipped {class}: {count:3} x {reason}");
    }
    text
}

/// One line a spec, for the file beside the reports.
pub(crate) fn every_line(specs: &[String], known: &Outcomes) -> String {
    let mut text = String::new();
    for name in specs {
        let _ = match known.get(name) {
            Some(Outcome { verdict: Verdict::Passed, seconds, .. }) => {
                writeln!(text, "passed  {seconds:7.1} s  {name}")
            }
            Some(Outcome { verdict: Verdict::Failed, seconds, reason }) => {
                writeln!(text, "failed  {seconds:7.1} s  {name}: {reason}")
            }
            Some(Outcome { verdict: Verdict::Skipped, reason, .. }) => {
                writeln!(text, "skipped            {name}: {reason}")
            }
            None => writeln!(text, "not run            {name}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Counts, every_line, not_passed, table};
    use crate::conformance::ledger::{Outcome, Outcomes, Verdict};

    fn known() -> Outcomes {
        let one = |name: &str, verdict, reason: &str| {
            (name.to_owned(), Outcome { verdict, seconds: 1.0, reason: reason.into() })
        };
        Outcomes::from([
            one("a", Verdict::Passed, ""),
            one("b", Verdict::Failed, "no room"),
            one("c", Verdict::Skipped, "one node"),
            one("d", Verdict::Skipped, "one node"),
            one("of another list", Verdict::Failed, "x"),
        ])
    }

    #[test]
    fn each_spec_of_the_list_is_counted_once() {
        let specs = ["a", "b", "c", "d", "e"].map(str::to_owned);
        let counts = Counts::of(&specs, &known());
        assert_eq!(counts, Counts { passed: 1, failed: 1, skipped: 2, not_run: 1 });
        assert!(!counts.is_clean());
        let rows = table(&[("btrfs", counts)]);
        assert!(rows.ends_with("btrfs              1       1       2       1\n"), "{rows}");
        let told = not_passed("btrfs", &specs, &known());
        assert_eq!(told, "failed  btrfs: b: no room\nskipped btrfs:   2 x one node\n");
        assert_eq!(every_line(&specs, &known()).lines().count(), 5);
    }

    #[test]
    fn skipping_is_clean_and_what_did_not_run_is_not() {
        let specs = ["a", "c"].map(str::to_owned);
        assert!(Counts::of(&specs, &known()).is_clean());
        assert!(!Counts::of(&specs, &Outcomes::new()).is_clean());
    }
}
