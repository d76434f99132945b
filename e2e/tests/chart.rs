//! The chart as an administrator meets it: helm takes it, bad values are refused with a sentence, and what it
//! renders grants no more than it says. Nothing is installed.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use terrace_crds::yaml::from_yaml;
use terrace_e2e::rig;

/// Values that make no sense, and what helm must say to them.
const BAD: [(&str, &str); 30] = [
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
    ("sidecars.snapshotter.timeout=soon", "write it as 60s or 1m30s"),
    ("snapshots.deletionPolicy=Keep", "value must be one of 'Delete', 'Retain'"),
    // What `helm upgrade --reuse-values` makes of the values of an older chart.
    ("snapshots=null", "missing property 'snapshots'"),
    ("snapshotController.replicas=0", "at '/snapshotController/replicas': minimum: got 0, want 1"),
    ("snapshotController.nonsense=1", "additional properties 'nonsense' not allowed"),
    ("telemetry.otlpEndpoint=collector", "write it as http://HOST:PORT"),
    ("probe=null", "missing property 'probe'"),
    ("probe.sampling=2", "at '/probe/sampling': maximum: got 2, want 1"),
    ("probe.tier=best", "value must be one of 'auto', 'fentry', 'kprobe'"),
    ("probe.latency.target=1m", "is no latency from 1us to 16s: write it as 10ms"),
    ("probe.alerts.for=soon", "is no span of time: write it as 30s or 5m"),
    ("probe.extraCapabilities={SYS_ADMIN}", "value must be one of 'SYS_RESOURCE', 'SYS_PTRACE'"),
    (
        "storageClasses[0].name=a,storageClasses[0].tier=x,storageClasses[0].latencyP99=1m",
        "latencyP99: \"1m\" is no latency",
    ),
    ("storageClasses[0].name=a", "names neither tier nor pool: name one of them"),
    ("storageClasses[0].name=A,storageClasses[0].tier=x", "use lower-case letters"),
    (
        "storageClasses[0].name=a,storageClasses[0].tier=x,storageClasses[0].pool=y",
        "names both tier and pool: keep one of them",
    ),
];

/// Kinds that a cluster may know: with them the chart renders more.
const SNAPSHOTS: &str = "snapshot.storage.k8s.io/v1/VolumeSnapshot";
const GROUPS: &str = "groupsnapshot.storage.k8s.io/v1/VolumeGroupSnapshot";
/// The most the chart renders.
const EVERYTHING: &str = "operator.replicas=2,snapshotController.install=true,\
    snapshotController.replicas=2,probe.enabled=true";
const RULES: &str = "monitoring.coreos.com/v1/PrometheusRule";
const PODS: &str = "monitoring.coreos.com/v1/PodMonitor";

fn chart() -> String {
    rig::repository().join("charts/terrace").display().to_string()
}

fn helm(words: &[&str]) -> Result<String> {
    rig::rig(&[&["exec", "--", "helm"], words].concat())
}

/// What is rendered for a cluster that knows every kind.
fn rendered(set: &str) -> Result<Vec<Value>> {
    rendered_for(&[SNAPSHOTS, GROUPS, RULES, PODS], set)
}

fn rendered_for(known: &[&str], set: &str) -> Result<Vec<Value>> {
    let chart = chart();
    let mut words =
        vec!["template", "terrace", &chart, "--namespace", "terrace-system", "--set", set];
    words.extend(known.iter().flat_map(|kind| ["--api-versions", kind]));
    Ok(from_yaml(&helm(&words)?)?)
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
    let objects = rendered(&format!("{EVERYTHING},commonLabels.team=storage"))?;
    ensure!(objects.len() > 40, "only {} objects", objects.len());
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
    let objects = rendered(EVERYTHING)?;
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
                ensure!(privileged == (container["name"] == "node"), "{}", container["name"]);
                let bare = security["capabilities"]["drop"] == serde_json::json!(["ALL"]);
                ensure!(privileged || bare, "{}", container["name"]);
            }
        }
    }
    Ok(())
}

#[test]
fn a_disruption_budget_guards_a_deployment_only_where_one_may_go() -> Result<()> {
    let budgets = |set: &str| -> Result<usize> {
        Ok(of_kind(&rendered(set)?, "PodDisruptionBudget").count())
    };
    let one = "operator.replicas=1,snapshotController.install=true";
    ensure!(budgets(one)? == 0, "one replica could never be moved");
    ensure!(budgets("operator.replicas=2")? == 1);
    ensure!(budgets(EVERYTHING)? == 2);
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
    let class = of_kind(&objects, "StorageClass")
        .find(|class| class["metadata"]["name"] == "fast")
        .context("a StorageClass")?;
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
    let class = of_kind(&defaults, "StorageClass")
        .find(|class| class["metadata"]["name"] == "d")
        .context("a StorageClass")?;
    let note = &class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"];
    ensure!(note == "true", "{class}");
    Ok(())
}

/// Names of the containers beside the operator.
fn sidecars(objects: &[Value]) -> Result<Vec<String>> {
    let operator = of_kind(objects, "Deployment").next().context("a Deployment")?;
    let containers = operator["spec"]["template"]["spec"]["containers"].as_array();
    let names = containers.context("containers")?.iter().filter_map(|one| one["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Every rule of every role, with the name of the role.
fn rules(objects: &[Value]) -> Vec<(String, &Value)> {
    let roles = of_kind(objects, "ClusterRole").chain(of_kind(objects, "Role"));
    roles
        .flat_map(|role| {
            let name = role["metadata"]["name"].to_string();
            let rules = role["rules"].as_array().into_iter().flatten();
            rules.map(move |rule| (name.clone(), rule))
        })
        .collect()
}

/// Whether a list in JSON holds this text.
fn holds(list: &Value, text: &str) -> bool {
    list.as_array().into_iter().flatten().any(|item| item == text)
}

#[test]
fn no_role_reads_secrets_or_grants_anything_by_a_star() -> Result<()> {
    let objects = rendered(EVERYTHING)?;
    let rules = rules(&objects);
    ensure!(rules.len() > 30, "only {} rules", rules.len());
    for (role, rule) in rules {
        ensure!(!holds(&rule["resources"], "secrets"), "{role} reads Secrets");
        for list in ["apiGroups", "resources", "verbs"] {
            ensure!(!holds(&rule[list], "*"), "{role}: {rule}");
        }
    }
    Ok(())
}

#[test]
fn what_the_cluster_does_not_know_is_left_out_and_helm_says_so() -> Result<()> {
    for (known, classes) in [
        (&[][..], &[][..]),
        (&[SNAPSHOTS], &["VolumeSnapshotClass"]),
        (&[SNAPSHOTS, GROUPS], &["VolumeSnapshotClass", "VolumeGroupSnapshotClass"]),
    ] {
        let objects = rendered_for(known, "snapshotController.install=true")?;
        let there = !known.is_empty();
        ensure!(sidecars(&objects)?.contains(&"csi-snapshotter".to_owned()) == there, "{known:?}");
        ensure!(of_kind(&objects, "Deployment").count() == 1 + usize::from(there), "{known:?}");
        for class in ["VolumeSnapshotClass", "VolumeGroupSnapshotClass"] {
            let named = of_kind(&objects, class).filter(|one| one["metadata"]["name"] == "terrace");
            ensure!(named.count() == usize::from(classes.contains(&class)), "{known:?}: {class}");
        }
        for (group, kind) in
            [("snapshot.storage.k8s.io", SNAPSHOTS), ("groupsnapshot.storage.k8s.io", GROUPS)]
        {
            let granted = rules(&objects).iter().any(|(_, rule)| holds(&rule["apiGroups"], group));
            ensure!(granted == known.contains(&kind), "{known:?}: rules on {group}");
        }
    }
    let install =
        ["install", "terrace", &chart(), "--namespace", "terrace-system", "--dry-run=client"];
    let said = helm(&install)?;
    ensure!(said.contains("NO SNAPSHOTS: this cluster does not know the kind"), "{said}");
    let without = helm(&[&install[..], &["--set", "snapshots.enabled=false"]].concat())?;
    ensure!(!without.contains("NO SNAPSHOTS"), "{without}");
    Ok(())
}

#[test]
fn snapshots_can_be_done_without_and_classes_say_what_the_values_say() -> Result<()> {
    let without = rendered("snapshots.enabled=false")?;
    ensure!(!sidecars(&without)?.contains(&"csi-snapshotter".to_owned()));
    ensure!(of_kind(&without, "VolumeSnapshotClass").count() == 0);
    ensure!(of_kind(&without, "Deployment").count() == 1, "a controller nobody asked for");
    let objects = rendered("snapshots.deletionPolicy=Retain,snapshots.default=true")?;
    for (kind, group) in [
        ("VolumeSnapshotClass", "snapshot.storage.kubernetes.io"),
        ("VolumeGroupSnapshotClass", "groupsnapshot.storage.kubernetes.io"),
    ] {
        let class = of_kind(&objects, kind).next().context(kind)?;
        ensure!(class["driver"] == "csi.terrace.storage", "{class}");
        ensure!(class["deletionPolicy"] == "Retain", "{class}");
        let note = &class["metadata"]["annotations"][format!("{group}/is-default-class")];
        ensure!(note == "true", "{class}");
    }
    Ok(())
}

#[test]
fn free_space_is_published_for_the_scheduler_and_read_every_few_seconds() -> Result<()> {
    let objects = rendered("operator.replicas=1")?;
    let operator = of_kind(&objects, "Deployment").next().context("a Deployment")?;
    let containers = operator["spec"]["template"]["spec"]["containers"].as_array();
    let provisioner = containers
        .context("containers")?
        .iter()
        .find(|one| one["name"] == "csi-provisioner")
        .context("a provisioner")?;
    for flag in [
        "--timeout=60s",
        "--kube-api-qps=100",
        "--kube-api-burst=200",
        "--extra-create-metadata",
        "--strict-topology",
        "--enable-capacity",
        "--capacity-ownerref-level=2",
        "--capacity-poll-interval=5s",
    ] {
        ensure!(holds(&provisioner["args"], flag), "the provisioner lacks {flag}");
    }
    let driver = of_kind(&objects, "CSIDriver").next().context("a CSIDriver")?;
    ensure!(driver["spec"]["storageCapacity"] == true, "the scheduler does not look: {driver}");
    Ok(())
}
