//! The chart's recording rules and alerts, tried out by Prometheus' own engine: `promtool` checks them and runs their tests,
//! with the chart's default values in their place. An alert without a test in which it fires and then ends is a fault.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::paths::Paths;
use crate::run::{command, run};

/// What the values are called in the chart: `probe.alerts`.
const SECTION: &str = "  alerts:";

/// Checks rules and tests; gives the number of alerts.
pub(crate) fn check(paths: &Paths) -> Result<usize> {
    let chart = paths.repo.join("charts/terrace");
    let read = |name: &str| {
        let path = chart.join(name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let (rules, tests, values) =
        (read("files/rules.yaml")?, read("tests/rules.yaml")?, read("values.yaml")?);
    let alerts = names(&rules, "- alert: ");
    let untested: Vec<&str> =
        alerts.iter().copied().filter(|alert| !fires_and_ends(&tests, alert)).collect();
    ensure!(untested.is_empty(), "no test makes these fire and end: {}", untested.join(", "));
    let rules = filled(&rules, &defaults(&values))?;
    let folder = paths.target.join("rules");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("rules.yaml"), rules)?;
    fs::write(folder.join("tests.yaml"), &tests)?;
    promtool(&folder, &["check", "rules", "rules.yaml"])?;
    promtool(&folder, &["test", "rules", "tests.yaml"])?;
    Ok(alerts.len())
}

fn promtool(folder: &Path, words: &[&str]) -> Result<()> {
    let mut promtool = command("promtool", words);
    // It writes to both; what it says counts only where it fails.
    run(promtool.current_dir(folder).stdout(std::process::Stdio::null()))
}

/// What follows `key` on its lines.
fn names<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim().strip_prefix(key)).map(str::trim).collect()
}

/// Whether some test expects the alert, and the same one later does not.
fn fires_and_ends(tests: &str, alert: &str) -> bool {
    tests.split("\n  - name: ").any(|test| {
        // Each moment from its time on.
        let moments: Vec<&str> = test.split("eval_time: ").skip(1).collect();
        let about = |moment: &&&str| moment.contains(&format!("alertname: {alert}"));
        let of_it: Vec<&str> = moments.iter().filter(about).copied().collect();
        let fires = of_it.iter().position(|moment| moment.contains("exp_labels"));
        fires.is_some_and(|fires| of_it[fires..].iter().any(|it| it.contains("exp_alerts: []")))
    })
}

/// `probe.alerts` of the chart's values: lines of `key: value` below it.
fn defaults(values: &str) -> BTreeMap<&str, &str> {
    let lines = values.lines().skip_while(|line| *line != SECTION).skip(1);
    let own = lines.take_while(|line| line.starts_with("    ") || line.is_empty());
    own.map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .collect()
}

fn filled(rules: &str, defaults: &BTreeMap<&str, &str>) -> Result<String> {
    // The head of the file is about the notation itself.
    let start = rules.find("\ngroups:").context("rules.yaml has no groups")?;
    let mut text = rules[start..].to_owned();
    for (key, value) in defaults {
        text = text.replace(&format!("$({key})"), value);
    }
    if let Some((_, rest)) = text.split_once("$(") {
        let name = rest.split(')').next().unwrap_or_default();
        bail!("rules.yaml asks for {name}, which probe.alerts of values.yaml lacks");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{defaults, filled, fires_and_ends};

    #[test]
    fn a_test_must_see_the_alert_end() {
        let fires = "  - name: x\n      - eval_time: 1m\n        alertname: A\n          - exp_labels: {}\n";
        assert!(!fires_and_ends(fires, "A"));
        let ends = format!("{fires}      - {{eval_time: 9m, alertname: A, exp_alerts: []}}\n");
        assert!(fires_and_ends(&ends, "A"));
        assert!(!fires_and_ends(&ends, "B"));
        let never = "  - name: x\n      - {eval_time: 9m, alertname: A, exp_alerts: []}\n";
        assert!(!fires_and_ends(never, "A"));
    }

    #[test]
    fn every_value_that_a_rule_asks_for_must_be_there() {
        let values =
            "probe:\n  alerts:\n    # Why.\n    iops: 5000\n    for: 5m\n  other:\n    iops: 1\n";
        let defaults = defaults(values);
        let rules = "# $(...)\ngroups:\n  - expr: a > $(iops)\n    for: $(for)\n";
        assert_eq!(
            filled(rules, &defaults).unwrap(),
            "\ngroups:\n  - expr: a > 5000\n    for: 5m\n"
        );
        assert!(filled("\ngroups: $(none)", &defaults).is_err());
    }
}
