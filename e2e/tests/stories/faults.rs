//! Parts that fail under a volume in use: the API server away, put back to an older state; the journal garbled; the
//! node idle.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use terrace_e2e::ground::bytes_of;
use terrace_e2e::rig::{on_node, rig};
use terrace_e2e::story::{Story, kubectl, until};

fn answers() -> Result<()> {
    until("the API server answers", 60, || {
        Ok(kubectl(&["get", "--raw", "/readyz"]).map(drop).map_err(|error| error.to_string()))
    })
}

fn node_is_back() -> Result<()> {
    kubectl(&["wait", "node/node-a", "--for=condition=Ready", "--timeout=120s"])?;
    kubectl(&["-n", "terrace-system", "rollout", "status", "ds/terrace-node", "--timeout=120s"])?;
    kubectl(&[
        "-n",
        "terrace-system",
        "rollout",
        "status",
        "deploy/terrace-operator",
        "--timeout=120s",
    ])
    .map(drop)
}

#[test]
fn a_minute_without_the_api_server_costs_nothing() -> Result<()> {
    let story = Story::begin("api-away")?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "(while :; do date >> /data/log; sleep 1; done) >/dev/null 2>&1 &")?;
    rig(&["kill", "apiserver"])?;
    // A minute is what the story is about, not a wait for something.
    std::thread::sleep(std::time::Duration::from_secs(60));
    rig(&["start", "apiserver"])?;
    answers()?;
    node_is_back()?;
    let lines = story.exec("one", "wc -l < /data/log")?;
    ensure!(lines.trim().parse::<u64>()? >= 55, "the Pod wrote {lines} lines in a minute");
    story.claim("later", "stories-now", "320Mi", "")?;
    story.binds("later")?;
    story.end()
}

#[test]
fn an_api_server_put_back_to_before_the_volume_costs_no_bytes_no_mkfs_and_makes_no_second_volume()
-> Result<()> {
    let story = Story::begin("restore")?;
    story.claim("data", "stories-now", "320Mi", "")?;
    story.binds("data")?;
    let backup = "/tmp/terrace-story-etcd.tar";
    rig(&["snapshot-etcd", backup])?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo kept > /data/f && sync")?;
    let before = story.volume("data")?;
    let uuid = before["spec"]["volumeUUID"].as_str().context("no UUID")?.to_owned();
    let filesystem = format!("blkid -p -s UUID -o value {}", bytes_of(&uuid)?);
    let made = on_node(&filesystem)?;
    rig(&["restore-etcd", backup])?;
    std::fs::remove_file(backup)?;
    answers()?;
    // Kubernetes' own parts remember versions that are no more; every guide to a restore says to start them anew.
    // Terrace's parts must find out by themselves.
    for part in ["controller-manager", "scheduler", "kubelet"] {
        rig(&["kill", part])?;
        rig(&["start", part])?;
    }
    node_is_back()?;
    // The Pod is from after the backup: the kubelet ends it. The claim and its volume are there again.
    story.kubectl(&["wait", "pod/one", "--for=delete", "--timeout=120s"])?;
    story.pod("two", "data", "", "")?;
    story.runs("two")?;
    story.exec("two", "grep -q kept /data/f")?;
    ensure!(on_node(&filesystem)? == made, "the filesystem was made anew");
    let images = on_node(&format!("find /var/lib/terrace/pools -name '*{uuid}*' | wc -l"))?;
    ensure!(images.trim() == "1", "{images} images of {uuid}");
    story.end()
}

#[test]
fn garbage_in_the_journal_is_set_aside_and_volumes_go_on() -> Result<()> {
    let story = Story::begin("journal")?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    story.exec("one", "echo kept > /data/f && sync")?;
    on_node(
        "dd if=/dev/urandom of=/var/lib/terrace/journal.redb bs=4k count=16 conv=notrunc && pkill -KILL -x terrace-node",
    )?;
    node_is_back()?;
    until("csi-node is up again", 120, || {
        let said = kubectl(&[
            "-n",
            "terrace-system",
            "get",
            "pods",
            "-o",
            "jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}",
        ])?;
        Ok(if said.lines().any(|line| line.starts_with("terrace-node") && line.ends_with("True")) {
            Ok(())
        } else {
            Err(said)
        })
    })?;
    story.drop_pod("one")?;
    story.pod("two", "data", "", "")?;
    story.runs("two")?;
    story.exec("two", "grep -q kept /data/f")?;
    story.end()
}

#[test]
fn a_disk_that_fills_up_while_volumes_are_made_is_told_and_leaves_no_torso() -> Result<()> {
    let story = Story::begin("disk-full")?;
    on_node(
        "mkdir -p /var/lib/terrace/pools/tiny && truncate -s 2G /var/lib/terrace/tiny.img && mkfs.xfs -q -f /var/lib/terrace/tiny.img && mount -o loop /var/lib/terrace/tiny.img /var/lib/terrace/pools/tiny",
    )?;
    let pool = "apiVersion: terrace.storage/v1alpha1\nkind: StoragePool\nmetadata: {name: tiny}\nspec: {tier: tiny, file: {directory: /var/lib/terrace/pools/tiny}}\n";
    let told = (|| {
        terrace_e2e::story::apply(pool)?;
        kubectl(&["wait", "spool/tiny", "--for=condition=Ready", "--timeout=60s"])?;
        // Somebody else takes the space after the node reported it.
        on_node("fallocate -l 1500M /var/lib/terrace/pools/tiny/stranger")?;
        terrace_e2e::story::apply(&terrace_e2e::story::class_yaml(
            "stories-tiny",
            "{terrace.storage/pool: tiny}",
            "Immediate",
            "Delete",
        ))?;
        story.claim("data", "stories-tiny", "1Gi", "")?;
        let told = story.event("data", "free", 90)?;
        let torso = on_node("find /var/lib/terrace/pools/tiny -name 't-*'")?;
        ensure!(torso.is_empty(), "left behind: {torso}");
        story.kubectl(&["delete", "pvc", "data", "--timeout=60s"])?;
        Ok(told)
    })();
    kubectl(&["delete", "spool", "tiny", "--ignore-not-found", "--timeout=60s"])?;
    kubectl(&["delete", "storageclass", "stories-tiny", "--ignore-not-found"])?;
    on_node(
        "umount /var/lib/terrace/pools/tiny; rm -rf /var/lib/terrace/pools/tiny /var/lib/terrace/tiny.img",
    )?;
    println!("{}", told?);
    story.end()
}

fn versions() -> Result<Vec<String>> {
    let all: Value = serde_json::from_str(&kubectl(&["get", "sv,spool,snode,pv", "-o", "json"])?)?;
    let items = all["items"].as_array().context("no list")?;
    Ok(items
        .iter()
        .map(|item| {
            format!(
                "{} {} {}",
                item["kind"], item["metadata"]["name"], item["metadata"]["resourceVersion"]
            )
        })
        .collect())
}

/// I8: forks of the whole node are counted by the kernel; ours are those of csi-node's own process.
#[test]
fn an_idle_node_runs_no_command_and_writes_nothing() -> Result<()> {
    let story = Story::begin("idle")?;
    story.claim("data", "stories-xfs", "320Mi", "")?;
    story.pod("one", "data", "", "")?;
    story.runs("one")?;
    let before = until("the volumes come to rest", 90, || {
        let first = versions()?;
        // Longer than the time between two looks at a filesystem's use: the look after the first writes may tell more.
        std::thread::sleep(std::time::Duration::from_secs(12));
        let second = versions()?;
        Ok(if first == second { Ok(second) } else { Err(format!("{first:?} became {second:?}")) })
    })?;
    // cutime and cstime of the process grow with every child it waits for.
    let children = "p=$(pgrep -x terrace-node | head -1); awk '{print $1, $16, $17}' /proc/$p/stat; ls /proc/$p/task | while read t; do cat /proc/$p/task/$t/children; done | wc -w";
    let calm = on_node(children)?;
    std::thread::sleep(std::time::Duration::from_secs(30));
    ensure!(on_node(children)? == calm, "csi-node ran a command: {calm:?} before");
    let after = versions()?;
    ensure!(after == before, "somebody wrote: {before:?} became {after:?}");
    story.end()
}
