//! `hack/bench footprint`: memory of every process of Terrace and of its sidecars with more and more volumes mounted on the
//! node, then what they do while nothing is asked of them: processor time, commands run, writes to the API server. It takes
//! away what it made.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use terrace_e2e::story::{Story, kubectl, until};

use crate::audit::{self, LEASES, Write};
use crate::burst::{CLASS, SIZE, prepare};
use crate::peers;
use crate::process::{Process, in_containers};

/// Ours, and the sidecars beside them; names as the kernel cuts them off.
const NAMES: [&str; 6] = [
    "terrace-node",
    "terrace-operato",
    "csi-provisioner",
    "csi-resizer",
    "csi-snapshotter",
    "snapshot-contro",
];
const NODE: &str = "terrace-node";
/// Volumes in one Pod.
const POD: usize = 25;
/// Nothing written for so long is rest: longer than the time between two looks at a filesystem's use.
const QUIET: Duration = Duration::from_secs(20);
/// The goal for the node's process, and at how many volumes.
const GOAL_KIB: u64 = 25 << 10;
const GOAL_AT: usize = 100;

/// Arguments of `hack/bench footprint`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Volumes mounted when memory is looked at; in rising order.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 300])]
    volumes: Vec<usize>,
    /// How long nothing is asked afterwards, such as 5m or 90s.
    #[arg(long, default_value = "5m", value_parser = parse_time)]
    idle: Duration,
}

/// Memory of each process at one number of volumes.
struct Look {
    volumes: usize,
    processes: Vec<Process>,
}

/// Mounts, looks, waits, looks again, tells.
pub(crate) fn measure(arguments: &Arguments) -> Result<()> {
    let Arguments { volumes, idle } = arguments;
    ensure!(volumes.is_sorted() && !volumes.is_empty(), "--volumes rises");
    let story = Story::begin("bench-footprint")?;
    prepare()?;
    let node = kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let (mut there, mut looks) = (0, Vec::new());
    for &wanted in volumes {
        while there < wanted {
            let more = (wanted - there).min(POD);
            mount(&story, &node, there, more)?;
            there += more;
        }
        rest()?;
        looks.push(Look { volumes: wanted, processes: in_containers(&NAMES)? });
        eprintln!("{wanted} volumes are mounted and at rest");
    }
    print!("{}", memory_table(&looks));
    let (before, mark) = (in_containers(&NAMES)?, audit::mark()?);
    let began = Instant::now();
    std::thread::sleep(*idle);
    let (after, writes) = (in_containers(&NAMES)?, audit::writes_since(mark)?);
    print!("{}", idle_table(there, began.elapsed(), &before, &after, &writes));
    print!("{}", peers::table(&peers::FOOTPRINT));
    story.kubectl(&["delete", "pods", "--all", "--timeout=300s"])?;
    story.end()
}

/// So many more volumes in one Pod, which the node has from the start: the scheduler's limit of volumes is not measured.
fn mount(story: &Story, node: &str, first: usize, count: usize) -> Result<()> {
    let names: Vec<String> = (first..first + count).map(|number| format!("v-{number}")).collect();
    let claims = names.iter().map(|name| {
        format!(
            "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec: {{accessModes: [ReadWriteOnce], storageClassName: {CLASS}, resources: {{requests: {{storage: {SIZE}}}}}}}\n"
        )
    });
    story.apply(&claims.collect::<String>())?;
    let bound = "--for=jsonpath={.status.phase}=Bound";
    story.kubectl(&["wait", "pvc", "--all", bound, "--timeout=180s"])?;
    let mounts = names.iter().map(|name| format!("{{name: {name}, mountPath: /{name}}}"));
    let volumes = names
        .iter()
        .map(|name| format!("{{name: {name}, persistentVolumeClaim: {{claimName: {name}}}}}"));
    let pod = format!("holds-{first}");
    story.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}}}\nspec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: c\n    image: localhost/busybox:1\n    imagePullPolicy: IfNotPresent\n    command: [/bin/sh, -c, \"exec sleep 1000000\"]\n    volumeMounts: [{}]\n  volumes: [{}]\n",
        mounts.collect::<Vec<_>>().join(", "),
        volumes.collect::<Vec<_>>().join(", "),
    ))?;
    let ready = ["wait", &format!("pod/{pod}"), "--for=condition=Ready", "--timeout=300s"];
    story.kubectl(&ready).map(drop)
}

/// Waits until nobody of ours has written for a while, Leases apart.
fn rest() -> Result<()> {
    until("nothing of Terrace writes", 300, || {
        let mark = audit::mark()?;
        std::thread::sleep(QUIET);
        let mut writes = audit::writes_since(mark)?;
        writes.retain(|write, _| write.what != LEASES);
        Ok(if writes.is_empty() { Ok(()) } else { Err(format!("{writes:?}")) })
    })
}

fn memory_table(looks: &[Look]) -> String {
    let mut text = "\nRSS and Pss in MiB, volumes mounted in Pods\n\n| process |".to_owned();
    looks.iter().for_each(|look| text.push_str(&format!(" {} volumes |", look.volumes)));
    text.push_str("\n|---|");
    looks.iter().for_each(|_| text.push_str("---|"));
    text.push('\n');
    for name in NAMES {
        text.push_str(&format!("| {name} |"));
        for look in looks {
            let found = look.processes.iter().find(|process| process.name == name);
            let cell = found.map_or_else(
                || "not there".to_owned(),
                |process| format!("{} / {}", mib(process.rss_kib), mib(process.pss_kib)),
            );
            text.push_str(&format!(" {cell} |"));
        }
        text.push('\n');
    }
    let at_goal = looks.iter().find(|look| look.volumes == GOAL_AT);
    let node = at_goal.and_then(|look| look.processes.iter().find(|p| p.name == NODE));
    if let Some(node) = node {
        let verdict = if node.rss_kib <= GOAL_KIB { "reached" } else { "missed" };
        let (has, goal) = (mib(node.rss_kib), mib(GOAL_KIB));
        text.push_str(&format!(
            "\nGoal: {NODE} <= {goal} MiB RSS at {GOAL_AT} volumes: {has} MiB, {verdict}\n"
        ));
    }
    text
}

fn idle_table(
    volumes: usize,
    took: Duration,
    before: &[Process],
    after: &[Process],
    writes: &BTreeMap<Write, usize>,
) -> String {
    let mut text = format!(
        "\n{} s with {volumes} volumes mounted and nothing asked\n\n| process | processor seconds | commands run |\n|---|---|---|\n",
        took.as_secs()
    );
    for process in before {
        let now = after.iter().find(|now| now.pid == process.pid);
        let Some(now) = now else {
            text.push_str(&format!("| {} | ended meanwhile | |\n", process.name));
            continue;
        };
        let cpu = now.cpu.saturating_sub(process.cpu).as_secs_f64();
        let commands = if now.child_faults == process.child_faults { "0" } else { "some" };
        text.push_str(&format!("| {} | {cpu:.2} | {commands} |\n", process.name));
    }
    text.push_str("\n| who wrote to the API server | what | times |\n|---|---|---|\n");
    for (Write { who, what }, times) in writes {
        text.push_str(&format!("| {who} | {what} | {times} |\n"));
    }
    let others: usize =
        writes.iter().filter(|(write, _)| write.what != LEASES).map(|(_, times)| times).sum();
    text.push_str(&format!(
        "\nGoal: 0 commands, 0 writes, Lease renewals apart: {others} writes\n"
    ));
    text
}

/// As people read it.
pub(crate) fn mib(kib: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people, to the tenth")]
    let mib = kib as f64 / 1024.0;
    format!("{mib:.1}")
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let number: u64 =
        number.parse().map_err(|_| format!("{text:?} is no time such as 5m or 90s"))?;
    match unit {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => Err(format!("{text:?} has neither s nor m at its end")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Look, Process, memory_table, parse_time};

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(parse_time("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_time("90s"), Ok(Duration::from_secs(90)));
        assert!(parse_time("5").is_err() && parse_time("m").is_err() && parse_time("5h").is_err());
    }

    #[test]
    fn a_table_has_a_row_for_each_process_and_says_whether_the_goal_is_reached() {
        let node = Process {
            name: "terrace-node".into(),
            pid: 1,
            rss_kib: 26 << 10,
            pss_kib: 20 << 10,
            peak_kib: 30 << 10,
            cpu: Duration::ZERO,
            child_faults: 0,
        };
        let looks = [1, 100].map(|volumes| Look { volumes, processes: vec![node.clone()] });
        let text = memory_table(&looks);
        assert!(text.contains("| process | 1 volumes | 100 volumes |"), "{text}");
        assert!(text.contains("| terrace-node | 26.0 / 20.0 | 26.0 / 20.0 |"), "{text}");
        assert!(text.contains("| csi-resizer | not there | not there |"), "{text}");
        assert!(text.contains("at 100 volumes: 26.0 MiB, missed"), "{text}");
    }
}
