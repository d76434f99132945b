//! Bytes that no object claims: listed, adopted and deleted by a person's word, and never what is in use or another
//! cluster's.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use terrace_e2e::ground::bytes_of;
use terrace_e2e::rig::on_node;
use terrace_e2e::story::{Story, host_is_rid_of, kubectl, until};

use crate::direct::{bound, let_go, refused, says};
use crate::explain::terrace;
use crate::pools::{pool, rid_of};

/// A volume of a claim whose claim, PersistentVolume and object are gone, and whose bytes stayed. Its name and UUID.
fn keep(story: &Story, claim: &str) -> Result<(String, String)> {
    story.claim(claim, "stories-xfs", "320Mi", "")?;
    story.pod(claim, claim, "", "")?;
    story.runs(claim)?;
    story.exec(claim, "echo kept > /data/f && sync")?;
    let volume = story.volume(claim)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    let name = text(&volume["metadata"]["name"])?;
    let uuid = text(&volume["spec"]["volumeUUID"])?;
    refused(terrace(&["orphan", "delete", "--uuid", &uuid, "--yes"]), "no node lists an orphan")?;
    story.drop_pod(claim)?;
    let retain = r#"{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}"#;
    kubectl(&["patch", "pv", &name, "-p", retain])?;
    story.kubectl(&["delete", "pvc", claim, "--timeout=60s"])?;
    says(&name, "Bound", "Released")?;
    kubectl(&["delete", "pv", &name, "--timeout=60s"])?;
    says(&name, "Bound", "Retained")?;
    kubectl(&["delete", "sv", &name, "--timeout=60s"])?;
    until("it is listed as an orphan", 60, || {
        let listed = terrace(&["orphan", "list", "-o", "json"])?;
        let listed: Value = serde_json::from_str(&listed)?;
        let mut items = listed["items"].as_array().into_iter().flatten();
        let found = items.find(|item| item["uuid"] == uuid.as_str());
        let reason = found.map(|found| found["reason"].clone()).unwrap_or_default();
        Ok(if reason == "Retained" { Ok(()) } else { Err(listed.to_string()) })
    })?;
    Ok((name, uuid))
}

#[test]
fn an_orphan_is_listed_and_adopted_for_a_new_claim_with_its_bytes() -> Result<()> {
    let story = Story::begin("orphan-adopt")?;
    let (name, uuid) = keep(&story, "data")?;
    let table = terrace(&["orphan", "list", "-o", "wide"])?;
    ensure!(
        table.contains(&uuid) && table.contains("Retained") && table.contains("xfs"),
        "{table}"
    );
    let claim = format!("{}/again", story.namespace);
    let words = ["orphan", "adopt", "--uuid", &uuid, "--claim", &claim];
    let shown = terrace(&[&words[..], &["--dry-run"]].concat())?;
    ensure!(shown.contains(&format!("adopt: {uuid}")), "{shown}");
    ensure!(kubectl(&["get", "sv", &name, "--ignore-not-found"])?.is_empty(), "it was no dry run");
    let other = terrace(&[&words[..], &["--volume", "another"]].concat());
    refused(other, "can be adopted under that name alone")?;
    terrace(&words)?;
    bound(&story, "again")?;
    story.pod("two", "again", "", "")?;
    story.runs("two")?;
    story.exec("two", "grep -q kept /data/f")?;
    story.drop_pod("two")?;
    let listed = terrace(&["orphan", "list"])?;
    ensure!(!listed.contains(&uuid), "it is in service: {listed}");
    let_go(&story, &name, "again")?;
    story.end()
}

#[test]
fn i1_an_orphan_is_deleted_on_a_persons_word_alone() -> Result<()> {
    let story = Story::begin("orphan-delete")?;
    let (name, uuid) = keep(&story, "data")?;
    let bytes = bytes_of(&uuid)?;
    let image = format!("ls {bytes}");
    // Nobody is there to answer.
    refused(terrace(&["orphan", "delete", "--uuid", &uuid]), "the answer was not yes")?;
    on_node(&image)?;
    // Somebody has it open on the node.
    on_node(&format!(
        "setsid sh -c 'exec sleep 300 3<{bytes}' >/dev/null 2>&1 & echo $! > /run/story-pid"
    ))?;
    let held = terrace(&["orphan", "delete", "--uuid", &uuid, "--yes"]);
    on_node("kill $(cat /run/story-pid); rm /run/story-pid")?;
    refused(held, "did not delete it")?;
    on_node(&image)?;
    let gone = terrace(&["orphan", "delete", "--uuid", &uuid, "--yes"])?;
    ensure!(gone.contains(&format!("{name} ({uuid}) is gone")), "{gone}");
    host_is_rid_of(&uuid)?;
    until("it is listed no more", 60, || {
        let listed = terrace(&["orphan", "list"])?;
        Ok(if listed.contains(&uuid) { Err(listed) } else { Ok(()) })
    })?;
    story.end()
}

#[test]
fn i4_what_a_second_cluster_left_is_foreign_listed_by_nobody_and_untouched() -> Result<()> {
    let story = Story::begin("second-cluster")?;
    let dir = "/var/lib/terrace/pools/theirs";
    let uuid = "5f0e8d3c-0000-4000-8000-0000000000aa";
    let mark = r#"{"poolUUID":"8e1c1a52-55d5-4b0e-9f9b-0f4f2b2d9f10","clusterUID":"11111111-2222-4333-8444-555555555555","pool":"theirs"}"#;
    on_node(&format!(
        "mkdir -p {dir} && echo '{mark}' > {dir}/terrace-pool.json && dd if=/dev/urandom of={dir}/t-{uuid} bs=1M count=4 2>/dev/null && sha256sum {dir}/* > /run/story-theirs"
    ))?;
    let told = (|| {
        pool("theirs", &format!("file: {{directory: {dir}}}"))?;
        let said = until("the pool is foreign", 60, || {
            let status = kubectl(&["get", "spool", "theirs", "-o", "jsonpath={.status.nodes}"])?;
            Ok(if status.contains("Foreign") { Ok(status.clone()) } else { Err(status.clone()) })
        })?;
        ensure!(said.contains("belongs to cluster"), "{said}");
        let listed = terrace(&["orphan", "list"])?;
        ensure!(!listed.contains(uuid), "{listed}");
        refused(
            terrace(&["orphan", "delete", "--uuid", uuid, "--yes"]),
            "no node lists an orphan",
        )?;
        on_node("sha256sum -c /run/story-theirs")?;
        Ok(said)
    })();
    rid_of(&["theirs"])?;
    on_node("sha256sum -c /run/story-theirs && rm /run/story-theirs")?;
    on_node(&format!("rm -rf {dir}"))?;
    println!("{}", told?);
    story.end()
}
