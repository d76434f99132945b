//! The end of volumes: at odd moments, with parts away, and what is kept.

use anyhow::{Context, Result, ensure};
use terrace_e2e::ground::bytes_of;
use terrace_e2e::rig::on_node;
use terrace_e2e::story::{Story, apply, class_yaml, host_is_rid_of, kubectl, until};

const NODE: [&str; 4] = ["-n", "terrace-system", "ds/terrace-node", "--timeout=120s"];

/// Takes csi-node away from the node, as a broken rollout would.
fn without_csi_node<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let away = r#"{"spec":{"template":{"spec":{"nodeSelector":{"terrace.storage/nowhere":"x"}}}}}"#;
    let back =
        r#"{"spec":{"template":{"spec":{"nodeSelector":{"terrace.storage/nowhere":null}}}}}"#;
    let patch =
        |with| kubectl(&["-n", "terrace-system", "patch", "ds", "terrace-node", "-p", with]);
    patch(away)?;
    let done = until("csi-node is away", 60, || {
        let pods = kubectl(&["-n", "terrace-system", "get", "pods", "-o", "name"])?;
        Ok(if pods.contains("terrace-node") { Err(pods) } else { Ok(()) })
    })
    .and_then(|()| work());
    patch(back)?;
    kubectl(&[&["rollout", "status"], &NODE[..]].concat())?;
    done
}

#[test]
fn a_claim_deleted_while_its_volume_is_being_made_leaves_nothing() -> Result<()> {
    let story = Story::begin("delete-early")?;
    for number in 0..10 {
        story.claim(&format!("data-{number}"), "stories-now", "320Mi", "")?;
    }
    story.kubectl(&["delete", "pvc", "--all", "--timeout=90s"])?;
    until("every volume goes", 90, || {
        let left = kubectl(&[
            "get",
            "sv",
            "-o",
            "jsonpath={range .items[*]}{.spec.claimRef.namespace}{\"\\n\"}{end}",
        ])?;
        Ok(if left.contains(&story.namespace) { Err(left) } else { Ok(()) })
    })?;
    let pvs = kubectl(&[
        "get",
        "pv",
        "-o",
        "jsonpath={range .items[*]}{.spec.claimRef.namespace}{\"\\n\"}{end}",
    ])?;
    ensure!(!pvs.contains(&story.namespace), "PersistentVolumes are left: {pvs}");
    story.end()
}

#[test]
fn a_pod_deleted_while_csi_node_is_away_is_unmounted_when_it_is_back() -> Result<()> {
    let story = Story::begin("node-away")?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo kept > /data/f && sync")?;
    without_csi_node(|| {
        // The Pod goes on reading and writing without csi-node.
        story.exec("one", "grep -q kept /data/f && echo more >> /data/f && sync")?;
        story.kubectl(&["delete", "pod", "one", "--wait=false"]).map(drop)
    })?;
    story.kubectl(&["wait", "pod/one", "--for=delete", "--timeout=150s"])?;
    story.pod("two", "data", "", "")?;
    story.runs("two")?;
    story.exec("two", "grep -q kept /data/f && grep -q more /data/f")?;
    story.end()
}

#[test]
fn a_namespace_deleted_with_pods_running_takes_its_volumes_along() -> Result<()> {
    let story = Story::begin("namespace")?;
    for name in ["one", "two"] {
        story.claim(name, "stories-xfs", "320Mi", "")?;
        story.pod(name, name, "", "")?;
    }
    story.runs("one")?;
    story.runs("two")?;
    story.exec("one", "dd if=/dev/zero of=/data/f bs=1M count=50")?;
    story.end()
}

#[test]
fn a_retained_volume_keeps_object_and_bytes() -> Result<()> {
    let story = Story::begin("retain")?;
    apply(&class_yaml(
        "stories-retain",
        "{terrace.storage/pool: stories}",
        "WaitForFirstConsumer",
        "Retain",
    ))?;
    story.claim("data", "stories-retain", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo kept > /data/f && sync")?;
    let volume = story.volume("data")?;
    let name = volume["metadata"]["name"].as_str().context("no name")?.to_owned();
    let uuid = volume["spec"]["volumeUUID"].as_str().context("no UUID")?.to_owned();
    story.drop_pod("one")?;
    story.kubectl(&["delete", "pvc", "data", "--timeout=60s"])?;
    kubectl(&[
        "wait",
        &format!("pv/{name}"),
        "--for=jsonpath={.status.phase}=Released",
        "--timeout=60s",
    ])?;
    on_node(&format!("ls {}", bytes_of(&uuid)?)).context("the bytes are gone")?;
    kubectl(&["get", "sv", &name])?;
    // The way out: let the PersistentVolume go with Delete.
    kubectl(&[
        "patch",
        "pv",
        &name,
        "-p",
        r#"{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}"#,
    ])?;
    kubectl(&["wait", &format!("sv/{name}"), "--for=delete", "--timeout=90s"])?;
    host_is_rid_of(&uuid)?;
    kubectl(&["delete", "storageclass", "stories-retain"])?;
    story.end()
}
