//! A claim of another CSI driver: no StorageVolume, and all the rest of what the probe tells.

use anyhow::{Context, Result, ensure};
use terrace_e2e::rig::on_node;
use terrace_e2e::story::{Story, apply, kubectl, until};
use terrace_e2e::throttle::Throttle;

use crate::explain::terrace;

/// Where the driver keeps its folders: on a disk of its own, which takes a throttle and can be read past the page cache.
const DATA: &str = "/var/lib/terrace-foreign";
const IMAGE: &str = "/var/lib/terrace/story-foreign.img";
/// Operations a second of the throttled container.
const SLOWLY: u64 = 50;

/// The other driver, until this is dropped.
struct Foreign {
    pid: String,
}

impl Foreign {
    fn start() -> Result<Self> {
        let test = std::env::current_exe()?;
        let built = test.parent().and_then(|deps| deps.parent()).context("no target folder")?;
        let program = built.join("terrace-foreign");
        on_node(&format!(
            "mkdir -p {DATA} && truncate -s 256M {IMAGE} && mkfs.ext4 -q -F {IMAGE} && mount -o loop {IMAGE} {DATA}"
        ))?;
        let line = format!(
            "setsid {} --data {DATA} >/tmp/terrace-foreign.log 2>&1 </dev/null & echo $!",
            program.display()
        );
        let pid = on_node(&line)?.trim().to_owned();
        Ok(Self { pid })
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let line = format!(
            "kill {}; umount {DATA}; rm -rf {DATA} {IMAGE} /tmp/terrace-foreign.log /var/lib/kubelet/plugins/foreign.example /var/lib/kubelet/plugins_registry/foreign@foreign.example.sock",
            self.pid
        );
        // What is left is found by the next start.
        on_node(&line).ok();
    }
}

fn objects(namespace: &str) -> String {
    format!(
        "apiVersion: storage.k8s.io/v1\nkind: CSIDriver\nmetadata: {{name: foreign.example}}\nspec: {{attachRequired: false}}\n---\n\
         apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: foreign}}\nspec:\n  capacity: {{storage: 1Gi}}\n  accessModes: [ReadWriteOnce]\n  persistentVolumeReclaimPolicy: Retain\n  storageClassName: foreign\n  claimRef: {{namespace: {namespace}, name: data}}\n  csi: {{driver: foreign.example, volumeHandle: one}}\n"
    )
}

fn remove_objects() -> Result<()> {
    kubectl(&["delete", "pv/foreign", "csidriver/foreign.example", "--ignore-not-found"]).map(drop)
}

#[test]
fn a_claim_of_another_driver_is_measured_and_told_of_and_gets_no_storage_volume() -> Result<()> {
    let story = Story::begin("foreign")?;
    let foreign = Foreign::start()?;
    let registered = "jsonpath={.spec.drivers[?(@.name==\"foreign.example\")].nodeID}";
    until("the kubelet knows the driver", 60, || {
        let said = kubectl(&["get", "csinode", "node-a", "-o", registered])?;
        Ok(if said == "node-a" { Ok(()) } else { Err(said) })
    })?;
    remove_objects()?;
    apply(&objects(&story.namespace))?;
    story.claim("data", "foreign", "1Gi", "")?;
    story.binds("data")?;
    story.pod("reader", "data", "", "")?;
    story.runs("reader")?;
    story.exec("reader", "dd if=/dev/zero of=/data/file bs=4k count=2000 && sync")?;
    let reads =
        "(while :; do dd if=/data/file of=/dev/null bs=4k iflag=direct; done) >/dev/null 2>&1 &";
    story.exec("reader", reads)?;
    let line = until("its figures", 60, || {
        let table = terrace(&["top", "--once", "-n", &story.namespace])?;
        let line = table.lines().find(|line| line.contains("/data") && line.contains("read"));
        Ok(line.map(str::to_owned).ok_or(table))
    })?;
    println!("{line}");
    let drawn = terrace(&["latency", &format!("{}/data", story.namespace)])?;
    ensure!(drawn.contains("driver foreign.example"), "{drawn}");
    let volumes = kubectl(&["get", "sv", "-o", "jsonpath={.items[*].status.claim}"])?;
    ensure!(!volumes.contains(&format!("{}/data", story.namespace)), "{volumes}");
    let device = on_node(&format!("stat -c '%Hd:%Ld' {DATA}/one"))?;
    let (major, minor) = device.trim().split_once(':').context("no device")?;
    let path = "jsonpath={.status.containerStatuses[0].containerID}";
    let id = story.kubectl(&["get", "pod", "reader", "-o", path])?;
    let id = id.trim_start_matches("containerd://");
    let slow = Throttle::of_container(id, (major.parse()?, minor.parse()?), SLOWLY)?;
    println!("{}", story.event("data", "above the target", 60)?);
    println!("{}", story.event("reader", "above the target", 60)?);
    drop(slow);
    story.drop_pod("reader")?;
    story.kubectl(&["delete", "pvc/data", "--timeout=60s"])?;
    remove_objects()?;
    drop(foreign);
    story.end()
}
