//! The chart beside the program: every flag that the chart gives is one of the program's, and every metric that its rules and
//! its dashboard ask for is on the page.

#![allow(clippy::unwrap_used, reason = "what reads a file of the repository may end the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use terrace_probe::args::Args;
use terrace_probe::class::Bounds;
use terrace_probe::loader::Switch;
use terrace_probe::metrics::{Family, Unit};
use terrace_probe::metrics_view::{Own, View};
use terrace_probe::{metrics_alias, metrics_node, metrics_self, metrics_volume};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/terrace").join(name);
    fs::read_to_string(path).unwrap()
}

/// Every family, whether it has rows now or not.
fn families() -> Vec<Family> {
    let view = View {
        volumes: Vec::new(),
        groups: Vec::new(),
        own: Own::default(),
        asked_names: Switch::On,
        bounds: Bounds::default(),
    };
    let mut all = metrics_volume::families(&view);
    all.extend(metrics_node::families(&view));
    all.extend(metrics_self::families(&view));
    all.extend(metrics_alias::families(&view));
    all
}

/// The names under which a family is on the page.
fn names(family: &Family) -> Vec<String> {
    let unit = match family.unit {
        Unit::None => "",
        Unit::Seconds => "_seconds",
        Unit::Milliseconds => "_ms",
        Unit::Bytes => "_bytes",
        Unit::Ratio => "_ratio",
    };
    let name = format!("{}{unit}", family.name);
    ["", "_total", "_bucket", "_count", "_sum"].map(|end| format!("{name}{end}")).to_vec()
}

/// Words of a text that look like names of the probe's metrics.
fn asked(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| {
        ["terrace_", "process_", "storage_io_"].iter().any(|begin| word.starts_with(begin))
    };
    words.filter(ours).map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_are_on_the_page() {
    let there: BTreeSet<String> = families().iter().flat_map(names).collect();
    for (name, least) in [("files/rules.yaml", 8), ("files/dashboard.json", 15)] {
        let asked = asked(&file(name));
        assert!(asked.len() >= least, "{name} asks for {asked:?} only");
        let missing: Vec<&String> = asked.difference(&there).collect();
        assert!(missing.is_empty(), "{name} asks for {missing:?}");
    }
}

#[test]
fn the_names_that_were_asked_for_are_there() {
    let there: BTreeSet<String> = families().iter().flat_map(names).collect();
    for name in [
        "storage_io_events_processed_total",
        "storage_io_slow_operations_total",
        "storage_io_latency_ms",
        "storage_io_vfs_operations_total",
        "storage_io_k8s_volume_operations_total",
    ] {
        assert!(there.contains(name), "{name}");
        assert!(file("values.yaml").contains(name), "{name} is not in the values");
    }
}

#[test]
fn the_chart_gives_only_flags_that_the_program_knows() {
    let program = Args::command();
    let known: BTreeSet<String> =
        program.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)).collect();
    let template = file("templates/_probe.tpl");
    let given: BTreeSet<String> = template
        .lines()
        .filter_map(|line| line.strip_prefix("- --"))
        .map(|flag| flag.split('=').next().unwrap_or(flag).to_owned())
        .collect();
    assert!(given.len() > 15, "{given:?}");
    let unknown: Vec<&String> = given.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    // What the node's name is comes by the environment.
    let left: Vec<&String> = known.difference(&given).filter(|flag| *flag != "node-name").collect();
    assert!(left.is_empty(), "no value of the chart sets {left:?}");
}

#[test]
fn the_types_of_volume_are_those_of_the_program() {
    let program = Args::command();
    let types =
        program.get_arguments().find(|flag| flag.get_long() == Some("volume-types")).unwrap();
    let values = file("values.yaml");
    for kind in types.get_possible_values() {
        assert!(
            values.contains(&format!("\n    {}: true\n", kind.get_name())),
            "{}",
            kind.get_name()
        );
    }
}
