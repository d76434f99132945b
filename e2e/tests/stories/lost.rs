//! What is lost under volumes in use: every kind of Terrace with its objects, and the Node object itself. No byte goes,
//! and nobody has to do more than to put back what was taken away.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use terrace_e2e::ground::bytes_of;
use terrace_e2e::rig::{on_node, rig};
use terrace_e2e::story::{Story, apply, kubectl, until};

use crate::direct::{bound, let_go, yaml};

/// The volume's object; null where there is none.
fn object(name: &str) -> Result<Value> {
    let text = kubectl(&["get", "sv", name, "-o", "json", "--ignore-not-found"])?;
    if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
}

fn is_ready(volume: &Value) -> bool {
    let mut all = volume["status"]["conditions"].as_array().into_iter().flatten();
    all.any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Every StoragePool as a person has it in a file.
fn pools() -> Result<String> {
    let all: Value = serde_json::from_str(&kubectl(&["get", "spool", "-o", "json"])?)?;
    let items = all["items"].as_array().context("no list")?;
    let kept = |item: &Value| {
        json!({
            "apiVersion": item["apiVersion"], "kind": item["kind"],
            "metadata": {"name": item["metadata"]["name"]}, "spec": item["spec"],
        })
    };
    let items: Vec<Value> = items.iter().map(kept).collect();
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
}

/// Every kind of ours, by the names of their definitions.
fn kinds() -> Result<Vec<String>> {
    let names =
        "jsonpath={range .items[?(@.spec.group==\"terrace.storage\")]}{.metadata.name} {end}";
    let all = kubectl(&["get", "crd", "-o", names])?;
    Ok(all.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn kinds_deleted_and_applied_again_cost_no_bytes_and_volumes_come_back_by_themselves() -> Result<()>
{
    let story = Story::begin("kinds")?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo kept > /data/f && sync")?;
    apply(&yaml(&story, "direct-lost", "direct", ""))?;
    bound(&story, "direct")?;
    let csi = story.volume("data")?;
    let direct = object("direct-lost")?;
    let name = csi["metadata"]["name"].as_str().context("no name")?.to_owned();
    let uuid = csi["spec"]["volumeUUID"].as_str().context("no UUID")?.to_owned();
    let bytes = bytes_of(&uuid)?;
    let filesystem = format!("blkid -p -s UUID -o value {bytes}");
    let made = on_node(&filesystem)?;
    let (pools, kinds) = (pools()?, kinds()?);
    ensure!(kinds.len() == 6, "{kinds:?}");
    let mut words = vec!["delete", "crd", "--timeout=120s"];
    words.extend(kinds.iter().map(String::as_str));
    kubectl(&words)?;
    story.exec("one", "grep -q kept /data/f && echo more >> /data/f && sync")?;
    on_node(&format!("ls {bytes}"))?;
    let folder = format!("{}/../crds/yaml", env!("CARGO_MANIFEST_DIR"));
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &folder])?;
    for kind in &kinds {
        kubectl(&["wait", &format!("crd/{kind}"), "--for=condition=Established", "--timeout=30s"])?;
    }
    apply(&pools)?;
    for (name, before) in [(name.as_str(), &csi), ("direct-lost", &direct)] {
        let healed = until(&format!("{name} is there again, and Ready"), 180, || {
            let volume = object(name)?;
            Ok(if is_ready(&volume) { Ok(volume) } else { Err(volume.to_string()) })
        })?;
        for field in ["volumeUUID", "origin", "capacity", "volumeMode", "fsType", "claimRef"] {
            ensure!(healed["spec"][field] == before["spec"][field], "{field}: {healed}");
        }
        let place = |volume: &Value| volume["spec"]["assignment"]["poolUUID"].clone();
        ensure!(place(&healed) == place(before), "it lies elsewhere: {healed}");
    }
    println!("{}", story.event("data", "was lost: made again", 30)?);
    ensure!(on_node(&filesystem)? == made, "the filesystem was made anew");
    let images = on_node(&format!("find /var/lib/terrace/pools -name '*{uuid}*' | wc -l"))?;
    ensure!(images.trim() == "1", "{images} images of {uuid}");
    story.exec("one", "grep -q more /data/f")?;
    story.drop_pod("one")?;
    story.pod("two", "data", "", "")?;
    story.runs("two")?;
    story.exec("two", "grep -q kept /data/f && grep -q more /data/f")?;
    kubectl(&["wait", "spool/stories", "--for=condition=Ready", "--timeout=90s"])?;
    let_go(&story, "direct-lost", "direct")?;
    story.end()
}

fn missing(name: &str) -> Result<Option<String>> {
    let volume = object(name)?;
    let mut all = volume["status"]["conditions"].as_array().into_iter().flatten();
    let found = all.find(|one| one["type"] == "Missing" && one["reason"] == "NodeGone");
    Ok(found.and_then(|one| one["message"].as_str()).map(str::to_owned))
}

#[test]
fn a_node_object_deleted_and_made_again_costs_no_bytes() -> Result<()> {
    let story = Story::begin("node-object")?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo kept > /data/f && sync")?;
    let volume = story.volume("data")?;
    let name = volume["metadata"]["name"].as_str().context("no name")?.to_owned();
    let uuid = volume["spec"]["volumeUUID"].as_str().context("no UUID")?.to_owned();
    let filesystem = format!("blkid -p -s UUID -o value {}", bytes_of(&uuid)?);
    let made = on_node(&filesystem)?;
    kubectl(&["delete", "node", "node-a", "--timeout=30s"])?;
    let said = until("the volume says that its node is gone", 60, || {
        Ok(missing(&name)?.ok_or_else(|| "nothing".to_owned()))
    });
    // A kubelet registers its node when it starts.
    rig(&["kill", "kubelet"])?;
    rig(&["start", "kubelet"])?;
    println!("{}", said?);
    kubectl(&["wait", "--for=create", "node/node-a", "--timeout=60s"])?;
    kubectl(&["wait", "node/node-a", "--for=condition=Ready", "--timeout=120s"])?;
    for part in ["ds/terrace-node", "deploy/terrace-operator"] {
        let words = ["-n", "terrace-system", "rollout", "status", part, "--timeout=180s"];
        kubectl(&words)?;
    }
    until("the volume is seen again", 120, || {
        let left = missing(&name)?;
        Ok(left.map_or(Ok(()), Err))
    })?;
    // Kubernetes may have taken the Pod together with its node.
    story.kubectl(&["delete", "pod", "one", "--ignore-not-found", "--timeout=90s"])?;
    story.pod("two", "data", "", "")?;
    story.runs("two")?;
    story.exec("two", "grep -q kept /data/f")?;
    ensure!(on_node(&filesystem)? == made, "the filesystem was made anew");
    story.end()
}
