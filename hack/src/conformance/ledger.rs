//! What is known of each spec, kept on disk shard by shard, so that a run that was killed goes on where it stopped.
//! Which specs make up which shard is a pure function of the list and of what is known.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::conformance::suite::read_json;

/// How the name of a report of ginkgo ends that was not taken in yet.
pub(crate) const RAW: &str = "raw.json";
/// Specs of a shard that runs one at a time: they are the long ones.
const ALONE_SIZE: usize = 4;

/// Whether a spec bears others beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Together,
    Alone,
}

/// Specs of one call of ginkgo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) kind: Kind,
    /// From 1, of all shards of the class in this run.
    pub(crate) position: usize,
    pub(crate) specs: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// What came of one spec.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) seconds: f64,
    /// Why it failed or was skipped, on one line.
    pub(crate) reason: String,
}

/// Outcomes by name of spec.
pub(crate) type Outcomes = BTreeMap<String, Outcome>;

/// Cuts what is left into shards. Neighbours in the list take alike, so they go to different shards.
pub(crate) fn plan_shards(specs: &[String], known: &Outcomes, shards: usize) -> Vec<Shard> {
    let is_alone = |name: &&String| name.contains("[Serial]");
    let (_, together): (Vec<&String>, Vec<&String>) = specs.iter().partition(is_alone);
    let size = together.len().div_ceil(shards.max(1)).max(1);
    let left = specs.iter().filter(|name| !known.contains_key(*name));
    let (alone, together): (Vec<&String>, Vec<&String>) = left.partition(is_alone);
    let mut found = Vec::new();
    for (kind, names, size) in [(Kind::Together, together, size), (Kind::Alone, alone, ALONE_SIZE)]
    {
        let count = names.len().div_ceil(size);
        for first in 0..count {
            let specs = names.iter().skip(first).step_by(count).map(|name| (*name).clone());
            found.push(Shard { kind, position: found.len() + 1, specs: specs.collect() });
        }
    }
    found
}

/// All that lies in the folder of a class. A report that was left behind is taken in first.
pub(crate) fn read_outcomes(dir: &Path) -> Result<Outcomes> {
    let mut found = Outcomes::new();
    for name in files(dir)? {
        if name.ends_with(RAW) {
            settle(&dir.join(name))?;
        }
    }
    for name in files(dir)?.into_iter().filter(|name| name.ends_with(".json")) {
        for spec in read_json(&dir.join(&name))?.as_array().into_iter().flatten() {
            if let Some((name, outcome)) = of_ours(spec) {
                found.insert(name, outcome);
            }
        }
    }
    Ok(found)
}

/// Reduces a report of ginkgo (some 14 MB) to the specs that ran, in a file beside it.
pub(crate) fn settle(raw: &Path) -> Result<Outcomes> {
    // A killed ginkgo leaves half a report: nothing is known then.
    let outcomes = read_json(raw).map_or_else(|_| Outcomes::new(), |report| parse_ran(&report));
    let text = raw.display().to_string();
    let settled = text.replace(RAW, "json");
    let ours: Vec<Value> = outcomes.iter().map(to_ours).collect();
    fs::write(&settled, serde_json::to_vec_pretty(&ours)?).context("write outcomes")?;
    fs::remove_file(raw)?;
    Ok(outcomes)
}

/// One more than the highest shard in the folder.
pub(crate) fn next_number(dir: &Path) -> Result<usize> {
    let number = |name: &String| name.strip_prefix("shard-")?.get(..3)?.parse().ok();
    Ok(files(dir)?.iter().filter_map(number).max().unwrap_or(0) + 1)
}

fn files(dir: &Path) -> Result<Vec<String>> {
    fs::create_dir_all(dir)?;
    let entries = fs::read_dir(dir)?.flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Specs that ginkgo chose, of a dry run.
pub(crate) fn parse_selected(report: &Value) -> Vec<String> {
    let mut names: Vec<String> =
        specs_of(report).filter(|spec| spec["State"] != "skipped").map(full_name).collect();
    names.sort();
    names
}

/// Specs that ran to an end or skipped themselves. One that ginkgo left out is skipped without a word.
fn parse_ran(report: &Value) -> Outcomes {
    let read = |spec: &Value| {
        let reason = one_line(spec["Failure"]["Message"].as_str().unwrap_or_default());
        let verdict = match spec["State"].as_str()? {
            "passed" => Verdict::Passed,
            "failed" | "panicked" | "timedout" => Verdict::Failed,
            "skipped" if !reason.is_empty() => Verdict::Skipped,
            _ => return None,
        };
        let seconds = spec["RunTime"].as_f64().unwrap_or_default() / 1e9;
        Some((full_name(spec), Outcome { verdict, seconds, reason }))
    };
    specs_of(report).filter_map(read).collect()
}

fn specs_of(report: &Value) -> impl Iterator<Item = &Value> {
    let suites = report.as_array().into_iter().flatten();
    let specs = suites.flat_map(|suite| suite["SpecReports"].as_array().into_iter().flatten());
    specs.filter(|spec| spec["LeafNodeType"] == "It")
}

/// As ginkgo spells it where it looks for a focus: nodes without a text count for nothing.
fn full_name(spec: &Value) -> String {
    let above = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten();
    let texts = above.chain([&spec["LeafNodeText"]]).filter_map(|text| text.as_str());
    texts.filter(|text| !text.is_empty()).collect::<Vec<&str>>().join(" ")
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(600).collect()
}

fn to_ours((name, outcome): (&String, &Outcome)) -> Value {
    let Outcome { verdict, seconds, reason } = outcome;
    let verdict = match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Skipped => "skipped",
    };
    json!({"name": name, "verdict": verdict, "seconds": seconds, "reason": reason})
}

fn of_ours(spec: &Value) -> Option<(String, Outcome)> {
    let verdict = match spec["verdict"].as_str()? {
        "passed" => Verdict::Passed,
        "failed" => Verdict::Failed,
        "skipped" => Verdict::Skipped,
        _ => return None,
    };
    let reason = spec["reason"].as_str()?.to_owned();
    let outcome = Outcome { verdict, seconds: spec["seconds"].as_f64()?, reason };
    Some((spec["name"].as_str()?.to_owned(), outcome))
}

#[cfg(test)]
mod tests;
