//! Direct volumes: applied, used, grown, deleted by their claim, kept and adopted. Nothing of them goes but by a
//! claim whose PersistentVolume says Delete, and old bytes come back only where they are named.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use terrace_e2e::ground::bytes_of;
use terrace_e2e::rig::on_node;
use terrace_e2e::story::{Story, apply, host_is_rid_of, kubectl, until};

const DELETE: &str = r#"{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}"#;

pub(crate) fn yaml(story: &Story, name: &str, claim: &str, more: &str) -> String {
    let namespace = &story.namespace;
    format!(
        "apiVersion: terrace.storage/v1alpha1\nkind: StorageVolume\nmetadata: {{name: {name}}}\nspec:\n  origin: Direct\n  claimRef: {{namespace: {namespace}, name: {claim}}}\n  capacity: 512Mi\n  pool: stories\n{more}"
    )
}

fn read(name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&kubectl(&["get", "sv", name, "-o", "json"])?)?)
}

pub(crate) fn uuid(name: &str) -> Result<String> {
    Ok(read(name)?["spec"]["volumeUUID"].as_str().context("no UUID")?.to_owned())
}

pub(crate) fn bound(story: &Story, claim: &str) -> Result<()> {
    let claim = format!("pvc/{claim}");
    story.kubectl(&["wait", "--for=create", &claim, "--timeout=60s"])?;
    let phase = "--for=jsonpath={.status.phase}=Bound";
    story.kubectl(&["wait", &claim, phase, "--timeout=60s"]).map(drop)
}

/// Waits until a condition of the volume has this reason, and gives its message.
pub(crate) fn says(name: &str, kind: &str, reason: &str) -> Result<String> {
    until(&format!("{name} says {kind} {reason}"), 60, || {
        let volume = read(name)?;
        let mut all = volume["status"]["conditions"].as_array().into_iter().flatten();
        let found = all.find(|one| one["type"] == kind && one["reason"] == reason);
        let message = found.and_then(|one| one["message"].as_str()).map(str::to_owned);
        Ok(message.ok_or_else(|| volume["status"]["conditions"].to_string()))
    })
}

/// Lets the bytes go by the claim, which is what every end of a Direct volume comes to.
pub(crate) fn let_go(story: &Story, name: &str, claim: &str) -> Result<()> {
    let uuid = uuid(name)?;
    kubectl(&["patch", "pv", name, "-p", DELETE])?;
    story.kubectl(&["delete", "pvc", claim, "--timeout=60s"])?;
    kubectl(&["wait", &format!("sv/{name}"), "--for=delete", "--timeout=90s"])?;
    kubectl(&["wait", &format!("pv/{name}"), "--for=delete", "--timeout=60s"])?;
    host_is_rid_of(&uuid)
}

pub(crate) fn refused(done: Result<String>, sentence: &str) -> Result<()> {
    let said = done.err().map(|error| error.to_string()).unwrap_or_default();
    println!("{said}");
    ensure!(said.contains(sentence), "does not say {sentence:?}: {said:?}");
    Ok(())
}

#[test]
fn a_direct_volume_is_applied_written_grown_and_deleted_by_its_claim() -> Result<()> {
    let story = Story::begin("direct")?;
    apply(&yaml(&story, "direct-db", "db", ""))?;
    bound(&story, "db")?;
    story.pod("one", "db", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo kept > /data/f && sync")?;
    println!("{}", kubectl(&["get", "sv", "direct-db", "-o", "wide"])?);
    let size = || -> Result<u64> {
        let seen = story.exec("one", "df -k /data | tail -1 | awk '{print $2}'")?;
        Ok(seen.trim().parse::<u64>()? << 10)
    };
    let before = size()?;
    kubectl(&["patch", "sv", "direct-db", "--type=merge", "-p", r#"{"spec":{"capacity":"1Gi"}}"#])?;
    until("the Pod sees the larger filesystem", 90, || {
        let now = size()?;
        Ok(if now > before + (400 << 20) { Ok(()) } else { Err(format!("{now} bytes")) })
    })?;
    let asked = "--for=jsonpath={.status.capacity.storage}=1Gi";
    story.kubectl(&["wait", "pvc/db", asked, "--timeout=60s"])?;
    let smaller = r#"{"spec":{"capacity":"512Mi"}}"#;
    let shrunk = kubectl(&["patch", "sv", "direct-db", "--type=merge", "-p", smaller]);
    refused(shrunk, "spec.capacity cannot shrink")?;
    let claim = format!("kubectl delete pvc -n {} db", story.namespace);
    refused(kubectl(&["delete", "sv", "direct-db"]), &claim)?;
    story.exec("one", "grep -q kept /data/f")?;
    story.drop_pod("one")?;
    let_go(&story, "direct-db", "db")?;
    story.end()
}

#[test]
fn what_a_claim_let_go_is_kept_and_has_another_claim_where_adopt_names_it() -> Result<()> {
    let story = Story::begin("adopt")?;
    apply(&yaml(&story, "direct-kept", "first", ""))?;
    bound(&story, "first")?;
    story.pod("one", "first", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo kept > /data/f && sync")?;
    story.drop_pod("one")?;
    story.kubectl(&["delete", "pvc", "first", "--timeout=60s"])?;
    println!("{}", says("direct-kept", "Bound", "Released")?);
    let uuid = uuid("direct-kept")?;
    on_node(&format!("ls {}", bytes_of(&uuid)?)).context("the bytes are gone")?;
    // The same object, another claim.
    apply(&yaml(&story, "direct-kept", "second", &format!("  adopt: {uuid}\n")))?;
    bound(&story, "second")?;
    story.pod("two", "second", "", "")?;
    story.runs("two")?;
    story.exec("two", "grep -q kept /data/f")?;
    story.drop_pod("two")?;
    // Claim and PersistentVolume gone, the object forgotten: its node keeps the bytes, marked Retained.
    story.kubectl(&["delete", "pvc", "second", "--timeout=60s"])?;
    says("direct-kept", "Bound", "Released")?;
    refused(kubectl(&["delete", "sv", "direct-kept"]), "is deleted by deleting its")?;
    kubectl(&["delete", "pv", "direct-kept", "--timeout=60s"])?;
    println!("{}", says("direct-kept", "Bound", "Retained")?);
    kubectl(&["delete", "sv", "direct-kept", "--timeout=60s"])?;
    until("a node lists it as Retained", 60, || {
        let nodes = kubectl(&["get", "snode", "-o", "json"])?;
        let all: Value = serde_json::from_str(&nodes)?;
        let mut listed = all["items"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|node| node["status"]["volumes"].as_array().cloned().unwrap_or_default());
        let found = listed.find(|volume| volume["uuid"] == uuid.as_str()).unwrap_or_default();
        Ok(if found["state"] == "Retained" { Ok(()) } else { Err(found.to_string()) })
    })?;
    // Made anew under the same name it meets its own bytes, and asks.
    apply(&yaml(&story, "direct-kept", "third", ""))?;
    let said = says("direct-kept", "Ready", "AdoptionNeeded")?;
    println!("{said}");
    ensure!(said.contains(&format!("adopt: {uuid}")), "{said}");
    ensure!(read("direct-kept")?["spec"]["assignment"].is_null(), "it was placed all the same");
    apply(&yaml(&story, "direct-kept", "third", &format!("  adopt: {uuid}\n")))?;
    bound(&story, "third")?;
    story.pod("three", "third", "", "")?;
    story.runs("three")?;
    story.exec("three", "grep -q kept /data/f")?;
    story.drop_pod("three")?;
    let_go(&story, "direct-kept", "third")?;
    story.end()
}

#[test]
fn a_retained_volume_of_a_claim_is_adopted_as_a_direct_one() -> Result<()> {
    let story = Story::begin("adopt-csi")?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo kept > /data/f && sync")?;
    let volume = story.volume("data")?;
    let name = volume["metadata"]["name"].as_str().context("no name")?.to_owned();
    let uuid = uuid(&name)?;
    story.drop_pod("one")?;
    let retain = r#"{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}"#;
    kubectl(&["patch", "pv", &name, "-p", retain])?;
    story.kubectl(&["delete", "pvc", "data", "--timeout=60s"])?;
    says(&name, "Bound", "Released")?;
    // Somebody has it: no other object may.
    apply(&yaml(&story, "direct-thief", "next", &format!("  adopt: {uuid}\n")))?;
    println!("{}", says("direct-thief", "Ready", "Conflict")?);
    kubectl(&["delete", "sv", "direct-thief", "--timeout=60s"])?;
    kubectl(&["delete", "pv", &name, "--timeout=60s"])?;
    println!("{}", says(&name, "Bound", "Retained")?);
    kubectl(&["delete", "sv", &name, "--timeout=60s"])?;
    apply(&yaml(&story, &name, "next", &format!("  adopt: {uuid}\n")))?;
    bound(&story, "next")?;
    story.pod("two", "next", "", "")?;
    story.runs("two")?;
    story.exec("two", "grep -q kept /data/f")?;
    story.drop_pod("two")?;
    let_go(&story, &name, "next")?;
    story.end()
}

#[test]
fn a_direct_volume_that_is_refused_makes_nothing_and_says_why() -> Result<()> {
    let story = Story::begin("direct-refused")?;
    story.claim("bound", "stories-now", "320Mi", "")?;
    bound(&story, "bound")?;
    apply(&yaml(&story, "direct-no", "bound", ""))?;
    println!("{}", says("direct-no", "Ready", "Conflict")?);
    println!("{}", story.event("bound", "is bound to volume", 60)?);
    kubectl(&["delete", "sv", "direct-no", "--timeout=60s"])?;
    story.claim("waiting", "stories-xfs", "320Mi", "")?;
    apply(&yaml(&story, "direct-no", "waiting", ""))?;
    println!("{}", says("direct-no", "Ready", "Conflict")?);
    println!(
        "{}",
        story.event("waiting", "a Direct volume is for a claim of class terrace-direct", 60)?
    );
    kubectl(&["delete", "sv", "direct-no", "--timeout=60s"])?;
    let nobody = "  adopt: 5f0e8d3c-0000-4000-8000-00000000dead\n";
    apply(&yaml(&story, "direct-no", "fresh", nobody))?;
    println!("{}", says("direct-no", "Ready", "NotListed")?);
    ensure!(read("direct-no")?["spec"]["assignment"].is_null(), "it was placed");
    kubectl(&["delete", "sv", "direct-no", "--timeout=60s"])?;
    let left = kubectl(&["get", "pv", "direct-no", "--ignore-not-found"])?;
    ensure!(left.is_empty(), "a PersistentVolume was made: {left}");
    let own = "  volumeUUID: 5f0e8d3c-0000-4000-8000-00000000dead\n";
    refused(apply(&yaml(&story, "direct-no", "fresh", own)), "written by the operator only")?;
    story.end()
}

#[test]
fn a_claim_of_the_class_that_waits_is_bound() -> Result<()> {
    let story = Story::begin("direct-waits")?;
    story.claim("early", "terrace-direct", "320Mi", "")?;
    story.pod("one", "early", "", "")?;
    apply(&yaml(&story, "direct-early", "early", ""))?;
    story.runs("one")?;
    story.exec("one", "echo here > /data/f && sync")?;
    story.drop_pod("one")?;
    let_go(&story, "direct-early", "early")?;
    story.end()
}
