//! What may not be had twice, and how much a node takes: ReadWriteOncePod, and the limit of volumes a node.

use anyhow::{Context, Result, ensure};
use terrace_e2e::story::{Story, kubectl, pod_yaml, until};

const MOUNT: &str = "volumeMounts: [{name: v, mountPath: /data}]";
const SET: &str = "ds/terrace-node";

#[test]
fn a_volume_for_one_pod_is_refused_to_a_second_one_until_the_first_has_gone() -> Result<()> {
    let story = Story::begin("one-pod")?;
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOncePod], storageClassName: stories-xfs, resources: {requests: {storage: 320Mi}}}\n";
    story.apply(claim)?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo mine > /data/f && sync")?;
    // The scheduler refuses the second one; the third one goes past the scheduler, and the node refuses it.
    story.pod("two", "data", "", "")?;
    println!("{}", story.event("two", "ReadWriteOncePod", 60)?);
    let volume = "persistentVolumeClaim: {claimName: data}";
    story.apply(&pod_yaml("three", "nodeName: node-a", MOUNT, volume))?;
    println!("{}", story.event("three", "ReadWriteOncePod", 60)?);
    for waits in ["two", "three"] {
        let phase = story.kubectl(&["get", "pod", waits, "-o", "jsonpath={.status.phase}"])?;
        ensure!(phase == "Pending", "Pod {waits} is {phase}");
    }
    story.exec("one", "grep -q mine /data/f")?;
    story.drop_pod("three")?;
    story.drop_pod("one")?;
    story.runs("two")?;
    story.exec("two", "grep -q mine /data/f")?;
    story.end()
}

/// Volumes of ours that the scheduler may put on the node, as the kubelet has it from us.
fn limit() -> Result<u64> {
    let path = "jsonpath={.spec.drivers[?(@.name==\"csi.terrace.storage\")].allocatable.count}";
    let said = kubectl(&["get", "csinode", "node-a", "-o", path])?;
    said.parse().with_context(|| format!("CSINode says {said:?}"))
}

fn becomes(wanted: u64) -> Result<()> {
    kubectl(&["-n", "terrace-system", "rollout", "status", SET, "--timeout=120s"])?;
    until("the kubelet knows the limit", 60, || {
        let now = limit()?;
        Ok(if now == wanted { Ok(()) } else { Err(now.to_string()) })
    })
}

/// The node's agent with another limit, as `node.maxVolumes` of the chart sets it, until this is dropped.
struct Few;

impl Few {
    fn volumes(count: u64) -> Result<Self> {
        let patch = format!(
            r#"[{{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--max-volumes={count}"}}]"#
        );
        kubectl(&["-n", "terrace-system", "patch", SET, "--type=json", "-p", &patch])?;
        Ok(Self)
    }
}

impl Drop for Few {
    fn drop(&mut self) {
        // Its outcome is looked at where the story went well.
        let _ = kubectl(&["-n", "terrace-system", "rollout", "undo", SET]);
    }
}

#[test]
fn a_node_is_given_no_more_volumes_than_it_says_it_takes() -> Result<()> {
    let story = Story::begin("few")?;
    let before = limit()?;
    ensure!(before >= 8, "a node of this size takes more than {before} volumes");
    let few = Few::volumes(1)?;
    becomes(1)?;
    for name in ["one", "two"] {
        story.claim(name, "stories-xfs", "320Mi", "")?;
        story.pod(name, name, "", "")?;
        if name == "one" {
            story.runs(name)?;
        }
    }
    println!("{}", story.event("two", "exceed max volume count", 60)?);
    story.drop_pod("one")?;
    story.runs("two")?;
    drop(few);
    becomes(before)?;
    story.end()
}
