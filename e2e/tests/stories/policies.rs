//! Policies on the real API server, with the real operator: what is sound is accepted and not enforced, for no engine
//! is there; what makes no sense is told apart, with the sentence that says what to change.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use terrace_e2e::examples;
use terrace_e2e::story::{Story, apply, kubectl};

/// Namespace, kind, name.
type Named<'a> = (&'a str, &'a str, &'a str);

/// Waits until the operator has judged this generation of the policy; its conditions by type, reason and message.
fn judged((namespace, kind, name): Named<'_>, accepted: &str) -> Result<Value> {
    let what = format!("{kind}/{name}");
    let wait = format!("--for=condition=Accepted={accepted}");
    kubectl(&["-n", namespace, "wait", &what, &wait, "--timeout=60s"])
        .with_context(|| format!("{what} in {namespace}"))?;
    let policy: Value =
        serde_json::from_str(&kubectl(&["-n", namespace, "get", &what, "-o", "json"])?)?;
    let all = policy["status"]["conditions"].as_array().context("no conditions")?;
    let seen = |one: &Value| one["observedGeneration"] == policy["metadata"]["generation"];
    ensure!(all.iter().all(seen), "{what}: judged by an older generation: {all:?}");
    let keyed = all.iter().map(|one| Some((one["type"].as_str()?.to_owned(), one.clone())));
    Ok(Value::Object(keyed.collect::<Option<_>>().context("a condition without a type")?))
}

fn is_accepted_and_not_enforced(named: Named<'_>) -> Result<()> {
    let told = judged(named, "True")?;
    let enforced = &told["Enforced"];
    ensure!(enforced["status"] == "False", "{named:?} is enforced: {enforced}");
    ensure!(enforced["reason"] == "EngineNotInstalled", "{named:?}: {enforced}");
    println!("{named:?}: {}", enforced["message"]);
    Ok(())
}

#[test]
fn every_good_policy_is_accepted_and_none_is_enforced_without_its_engine() -> Result<()> {
    let story = Story::begin("policies")?;
    let mut ladders = Vec::new();
    for (file, mut policy) in examples::good()? {
        let kind = policy.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
        let name = policy.metadata.name.clone().context("no name")?;
        match kind.as_str() {
            "LifecyclePolicy" => policy.metadata.namespace = Some(story.namespace.clone()),
            "TieringPolicy" => ladders.push(name.clone()),
            _ => continue,
        }
        apply(&serde_json::to_string(&policy)?).with_context(|| file.clone())?;
        is_accepted_and_not_enforced((&story.namespace, &kind, &name)).context(file)?;
    }
    ensure!(!ladders.is_empty(), "there is no example of a TieringPolicy");
    for ladder in &ladders {
        kubectl(&["delete", "tieringpolicy", ladder])?;
    }
    story.end()
}

const CIRCLE: &str = "
apiVersion: terrace.storage/v1alpha1
kind: TieringPolicy
metadata: {name: story-circle}
spec:
  tiers: [{name: hot}, {name: cold}]
  volumeSelector: {}
  transitions:
  - {name: cool, from: hot, to: cold, when: {olderThan: 30d}}
  - {name: thaw, from: cold, to: hot, when: {p99Above: 10ms}}
";
const NO_TIME: &str = "
apiVersion: terrace.storage/v1alpha1
kind: LifecyclePolicy
metadata: {name: story-no-time}
spec:
  claimSelector: {}
  schedule: \"61 3 * * *\"
  rules: [{name: tmp, match: {include: [\"tmp/**\"]}, delete: {keepFor: 30d}}]
";

/// The schema takes it; the operator says why it will never do.
fn is_told_apart(named: Named<'_>, sentence: &str) -> Result<()> {
    let told = judged(named, "False")?;
    let (accepted, enforced) = (&told["Accepted"], &told["Enforced"]);
    let message = accepted["message"].as_str().unwrap_or_default();
    println!("{named:?}: {message}");
    ensure!(accepted["reason"] == "Invalid" && message.contains(sentence), "{accepted}");
    ensure!(enforced["status"] == "False" && enforced["reason"] == "Invalid", "{enforced}");
    Ok(())
}

#[test]
fn a_policy_that_makes_no_sense_is_not_accepted_and_says_what_to_change() -> Result<()> {
    let story = Story::begin("senseless")?;
    apply(CIRCLE)?;
    let circle = (story.namespace.as_str(), "TieringPolicy", "story-circle");
    is_told_apart(circle, "transitions cool, thaw form a circle and can all hold at once")?;
    kubectl(&["delete", "tieringpolicy", "story-circle"])?;
    story.apply(NO_TIME)?;
    let rules = (story.namespace.as_str(), "LifecyclePolicy", "story-no-time");
    is_told_apart(rules, "\"61 3 * * *\" is no schedule")?;
    // Corrected, it is looked at again.
    story.apply(&NO_TIME.replace("61 3", "0 3"))?;
    is_accepted_and_not_enforced(rules)?;
    story.end()
}
