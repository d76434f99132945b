//! Shards and outcomes, from reports in ginkgo's words.

use serde_json::{Value, json};

use super::{Kind, Outcome, Outcomes, Shard, Verdict, parse_ran, parse_selected, plan_shards};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("spec {number}")).collect()
}

fn passed() -> Outcome {
    Outcome { verdict: Verdict::Passed, seconds: 1.0, reason: String::new() }
}

fn report(specs: &[(&str, &str, &str)]) -> Value {
    let spec = |(name, state, message): &(&str, &str, &str)| {
        json!({
            "ContainerHierarchyTexts": ["External Storage", ""], "LeafNodeType": "It", "LeafNodeText": name,
            "State": state, "RunTime": 2_500_000_000_u64, "Failure": {"Message": message},
        })
    };
    let suite_node = json!({"ContainerHierarchyTexts": null, "LeafNodeType": "ReportBeforeSuite", "LeafNodeText": "", "State": "passed"});
    let specs: Vec<Value> = specs.iter().map(spec).chain([suite_node]).collect();
    json!([{ "SpecReports": specs }])
}

#[test]
fn every_spec_is_in_one_shard_and_serial_ones_are_apart() {
    let mut specs = names(10);
    specs.push("one that wants the cluster for itself [Serial]".into());
    let shards = plan_shards(&specs, &Outcomes::new(), 3);
    let kinds: Vec<Kind> = shards.iter().map(|shard| shard.kind).collect();
    assert_eq!(kinds, [Kind::Together, Kind::Together, Kind::Together, Kind::Alone]);
    let positions: Vec<usize> = shards.iter().map(|shard| shard.position).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
    let mut all: Vec<String> = shards.iter().flat_map(|shard| shard.specs.clone()).collect();
    all.sort();
    specs.sort();
    assert_eq!(all, specs);
}

#[test]
fn what_is_known_is_not_run_again_and_the_rest_makes_shards_of_the_same_size() {
    let specs = names(9);
    let known = specs.iter().take(5).map(|name| (name.clone(), passed())).collect();
    let shards = plan_shards(&specs, &known, 3);
    let first =
        Shard { kind: Kind::Together, position: 1, specs: vec!["spec 5".into(), "spec 7".into()] };
    assert_eq!(shards.first(), Some(&first));
    assert_eq!(shards.len(), 2);
    let known = specs.iter().map(|name| (name.clone(), passed())).collect();
    assert!(plan_shards(&specs, &known, 3).is_empty());
}

#[test]
fn a_spec_that_was_left_out_or_cut_short_is_not_known() {
    let report = report(&[
        ("a", "passed", ""),
        ("b", "skipped", "Driver does not\n  support it"),
        ("c", "skipped", ""),
        ("d", "interrupted", "stopped"),
        ("e", "timedout", "too long"),
    ]);
    let ran = parse_ran(&report);
    let verdicts: Vec<(&str, Verdict)> =
        ran.iter().map(|(name, outcome)| (name.as_str(), outcome.verdict)).collect();
    assert_eq!(
        verdicts,
        [
            ("External Storage a", Verdict::Passed),
            ("External Storage b", Verdict::Skipped),
            ("External Storage e", Verdict::Failed),
        ]
    );
    assert_eq!(ran["External Storage b"].reason, "Driver does not support it");
    assert_eq!(ran["External Storage a"].seconds, 2.5);
}

#[test]
fn a_dry_run_lists_what_it_would_run_and_nothing_else() {
    let report = report(&[("z", "passed", ""), ("a", "passed", ""), ("b", "skipped", "")]);
    assert_eq!(parse_selected(&report), ["External Storage a", "External Storage z"]);
}

#[test]
fn a_killed_run_goes_on_from_what_it_left() {
    let dir = std::env::temp_dir().join(format!("ledger-test-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let left = report(&[("a", "passed", ""), ("b", "skipped", "")]).to_string();
    std::fs::write(dir.join("shard-007.raw.json"), left).unwrap();
    std::fs::write(dir.join("shard-008.raw.json"), "[{\"SpecRep").unwrap();
    let known = super::read_outcomes(&dir).unwrap();
    assert_eq!(known.keys().collect::<Vec<_>>(), ["External Storage a"]);
    assert_eq!(super::read_outcomes(&dir).unwrap(), known, "read again from what was kept");
    assert_eq!(super::next_number(&dir).unwrap(), 9);
    std::fs::remove_dir_all(&dir).unwrap();
}
