//! What a user can see of a fault: Events, conditions, gRPC codes, how long a writer stood still.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use terrace_e2e::story::{Story, kubectl};

/// So much of a sentence.
const WORDS: usize = 220;

/// A row of the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// What the user saw.
    pub(super) saw: String,
    /// Conditions that were not as they should be, and codes of calls that failed.
    pub(super) conditions: BTreeSet<String>,
    /// From the end of the fault until all is as it should be.
    pub(super) normal: Option<Duration>,
}

impl Told {
    pub(super) fn row(&self, name: &str) -> String {
        let Self { saw, conditions, normal } = self;
        let conditions: Vec<&str> = conditions.iter().map(String::as_str).collect();
        let normal = normal.map_or(String::new(), |time| format!("{:.1} s", time.as_secs_f64()));
        format!("| {name} | {} | {} | {normal} |", one_line(saw), one_line(&conditions.join("; ")))
    }
}

/// As a cell of a table.
pub(super) fn one_line(text: &str) -> String {
    text.replace('|', "/").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn brief(text: &str) -> String {
    let line = one_line(text);
    if line.chars().count() <= WORDS {
        return line;
    }
    line.chars().take(WORDS).chain(['…']).collect()
}

/// The Warnings in the story's namespace, each once; and the codes of failed calls in them.
pub(super) fn warnings(story: &Story) -> Result<(Vec<String>, BTreeSet<String>)> {
    let events =
        story.kubectl(&["get", "events", "--field-selector", "type=Warning", "-o", "json"])?;
    let events: Value = serde_json::from_str(&events)?;
    let (mut said, mut found, mut seen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for event in events["items"].as_array().into_iter().flatten() {
        let message = event["message"].as_str().unwrap_or_default();
        found.extend(codes(message));
        let reason = event["reason"].as_str().unwrap_or_default().to_owned();
        if seen.insert((event["involvedObject"]["kind"].to_string(), reason.clone())) {
            said.push(format!("{reason}: {}", brief(message)));
        }
    }
    Ok((said, found))
}

/// gRPC codes as Kubernetes prints them.
fn codes(text: &str) -> Vec<String> {
    let parts = text.split("code = ").skip(1);
    let words = parts.filter_map(|part| part.split_whitespace().next());
    words.map(|word| format!("gRPC {}", word.trim_end_matches(','))).collect()
}

/// Conditions of volumes, pools and nodes that are not as they should be.
pub(super) fn troubles() -> Result<BTreeSet<String>> {
    let all: Value = serde_json::from_str(&kubectl(&["get", "sv,spool,snode", "-o", "json"])?)?;
    let mut found = BTreeSet::new();
    for object in all["items"].as_array().into_iter().flatten() {
        for condition in object["status"]["conditions"].as_array().into_iter().flatten() {
            let text = |key: &str| condition[key].as_str().unwrap_or_default();
            let wants = match text("type") {
                "CapacityPressure" | "Resizing" | "Moving" | "Missing" | "LatencyHigh" => "False",
                _ => "True",
            };
            if text("status") != wants && text("reason") != "NoProbe" {
                let kind = object["kind"].as_str().unwrap_or_default();
                found.insert(format!(
                    "{kind} {}={} {}",
                    text("type"),
                    text("status"),
                    text("reason")
                ));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{brief, codes};

    #[test]
    fn codes_are_found_in_kubernetes_sentences() {
        let text = "failed to provision volume: rpc error: code = ResourceExhausted desc = no room";
        assert_eq!(codes(text), ["gRPC ResourceExhausted"]);
        assert!(codes("nothing of the kind").is_empty());
    }

    #[test]
    fn a_long_sentence_is_cut() {
        assert_eq!(brief("a  b\nc"), "a b c");
        assert_eq!(brief(&"x".repeat(300)).chars().count(), 221);
    }
}
