//! The chart as an administrator meets it: helm takes it, bad values are refused with a sentence, and what it
//! renders grants no more than it says. Nothing is installed.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use terrace_crds::yaml::from_yaml;
use terrace_e2e::rig;

/// Values that make no sense, and what helm must say to them.
const BAD: [(&str, &str); 18] = [
    ("nonsense=1", "additional properties 'nonsense' not allowed"),
    ("node.nonsense=1", "additional properties 'nonsense' not allowed"),
    ("operator.replicas=0", "at '/operator/replicas': minimum: got 0, want 1"),
    ("image.pullPolicy=Sometimes", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
    ("node.capacityPressurePercent=101", "maximum: got 101, want 100"),
    ("node.kubeletDir=kubelet", "write an absolute path such as /var/lib/terrace"),
    ("node.poolDirectories={/}", "write an absolute path such as /var/lib/terrace"),
    ("node.poolDirectories={/mnt/../etc}", "write an absolute path such as /var/lib/terrace"),
    ("node.poolDirectories={/usr}", "belongs to the system: use a folder below it or elsewhere"),
    ("node.poolDirectories={/var/lib/terrace}", "where the journal lies: use a folder such as"),
    ("node.poolDirectories={/var/lib/kubelet/x}", "choose a folder of its own"),
    ("node.stateDir=/var/lib/kubelet/terrace", "choose a folder of its own"),
    ("node.maxUnavailable=0", "lets no node be upgraded: write a number from 1"),
    ("sidecars.provisioner.timeout=soon", "write it as 60s or 1m30s"),
    ("telemetry.otlpEndpoint=collector", "write it as http://HOST:PORT"),
    ("storageClasses[0].name=a", "names neither tier nor pool: name one of them"),
    ("storageClasses[0].name=A,storageClasses[0].tier=x", "use lower-case letters"),
    (
        "storageClasses[0].name=a,storageClasses[0].tier=x,storageClasses[0].pool=y",
        "names both tier and pool: keep one of them",
    ),
];

fn chart() -> String {
    rig::repository().join("charts/terrace").display().to_string()
}

fn helm(words: &[&str]) -> Result<String> {
    rig::rig(&[&["exec", "--", "helm"], words].concat())
}

fn rendered(set: &str) -> Result<Vec<Value>> {
    let chart = chart();
    let text =
        helm(&["template", "terrace", &chart, "--namespace", "terrace-system", "--set", set])?;
    Ok(from_yaml(&text)?)
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

#[test]
fn helm_finds_no_fault_with_the_chart() -> Result<()> {
    let said = helm(&["lint", "--strict", &chart()])?;
    ensure!(said.contains("0 chart(s) failed"), "{said}");
    Ok(())
}

#[test]
fn bad_values_are_refused_with_a_sentence() -> Result<()> {
    for (set, sentence) in BAD {
        let Err(error) = rendered(set) else { bail!("{set} was accepted") };
        let said = format!("{error:#}");
        ensure!(said.contains(sentence), "{set}: {said}\nlacks: {sentence}");
    }
    Ok(())
}

#[test]
fn everything_carries_the_labels_by_which_it_is_found() -> Result<()> {
    let objects = rendered("operator.replicas=2,commonLabels.team=storage")?;
    ensure!(objects.len() > 20, "only {} objects", objects.len());
    for object in &objects {
        let labels = &object["metadata"]["labels"];
        for label in ["name", "instance", "version", "component", "part-of", "managed-by"] {
            let there = labels[format!("app.kubernetes.io/{label}")].is_string();
            ensure!(there, "{} {} lacks {label}", object["kind"], object["metadata"]["name"]);
        }
        ensure!(labels["team"] == "storage");
    }
    Ok(())
}

#[test]
fn only_the_node_agent_is_privileged_and_nobody_shares_the_hosts_namespaces() -> Result<()> {
    let objects = rendered("operator.replicas=2")?;
    for kind in ["Deployment", "DaemonSet"] {
        for object in of_kind(&objects, kind) {
            let pod = &object["spec"]["template"]["spec"];
            for forbidden in ["hostPID", "hostIPC", "hostNetwork"] {
                ensure!(pod[forbidden].is_null(), "{kind} asks for {forbidden}");
            }
            for container in pod["containers"].as_array().context("containers")? {
                let security = &container["securityContext"];
                let privileged = security["privileged"] == true;
                ensure!(security["readOnlyRootFilesystem"] == true, "{}", container["name"]);
                ensure!(privileged == (kind == "DaemonSet"), "{}", container["name"]);
                let bare = security["capabilities"]["drop"] == serde_json::json!(["ALL"]);
                ensure!(privileged || bare, "{}", container["name"]);
            }
        }
    }
    Ok(())
}

#[test]
fn a_disruption_budget_guards_the_operator_only_where_one_may_go() -> Result<()> {
    let budgets = |set: &str| -> Result<usize> {
        Ok(of_kind(&rendered(set)?, "PodDisruptionBudget").count())
    };
    ensure!(budgets("operator.replicas=1")? == 0, "one replica could never be moved");
    ensure!(budgets("operator.replicas=2")? == 1);
    Ok(())
}

#[test]
fn every_pool_folder_outside_the_state_folder_is_mounted_and_allowed() -> Result<()> {
    let objects = rendered("node.poolDirectories={/var/lib/terrace/pools,/mnt/ssd}")?;
    let node = of_kind(&objects, "DaemonSet").next().context("a DaemonSet")?;
    let container = &node["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().context("args")?;
    for folder in ["/var/lib/terrace/pools", "/mnt/ssd"] {
        ensure!(arguments.iter().any(|a| *a == format!("--pool-root={folder}")), "{folder}");
    }
    let mounts = container["volumeMounts"].as_array().context("mounts")?;
    ensure!(mounts.iter().filter(|mount| mount["mountPath"] == "/mnt/ssd").count() == 1);
    ensure!(mounts.iter().all(|mount| mount["mountPath"] != "/var/lib/terrace/pools"));
    Ok(())
}

#[test]
fn storage_classes_say_what_the_values_say_and_none_is_the_default() -> Result<()> {
    let set = "storageClasses[0].name=fast,storageClasses[0].pool=nvme,storageClasses[0].fsType=xfs,\
               storageClasses[0].eraseOnDelete=true,storageClasses[0].allowVolumeExpansion=false";
    let objects = rendered(set)?;
    let class = of_kind(&objects, "StorageClass").next().context("a StorageClass")?;
    let parameters = serde_json::json!({
        "terrace.storage/pool": "nvme", "terrace.storage/fs-type": "xfs", "terrace.storage/erase-on-delete": "true",
    });
    ensure!(class["parameters"] == parameters, "{class}");
    ensure!(class["allowVolumeExpansion"] == false, "{class}");
    ensure!(class["volumeBindingMode"] == "WaitForFirstConsumer", "{class}");
    ensure!(class["metadata"]["annotations"].is_null(), "{class}");
    let defaults = rendered(
        "storageClasses[0].name=d,storageClasses[0].tier=t,storageClasses[0].default=true",
    )?;
    let class = of_kind(&defaults, "StorageClass").next().context("a StorageClass")?;
    let note = &class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"];
    ensure!(note == "true", "{class}");
    Ok(())
}
