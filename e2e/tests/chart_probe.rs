//! The probe in the chart: what it is given and what not (I7), that every switch arrives, and what others get of it. Nothing
//! is installed.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use terrace_crds::yaml::from_yaml;
use terrace_e2e::rig;

const RULES: &str = "monitoring.coreos.com/v1/PrometheusRule";
const PODS: &str = "monitoring.coreos.com/v1/PodMonitor";

/// A switch or number of the values, and the flag it becomes.
const FLAGS: [(&str, &str); 27] = [
    ("probe.operations.readdir=false", "--operations=read,write,fsync"),
    ("probe.operations.read=false", "--operations=write,fsync,readdir"),
    ("probe.operations.write=false", "--operations=read,fsync,readdir"),
    ("probe.operations.fsync=false", "--operations=read,write,readdir"),
    (
        "probe.volumeTypes.secret=false",
        "--volume-types=pvc,configmap,hostpath,emptydir,projected,downwardapi",
    ),
    (
        "probe.volumeTypes.pvc=false",
        "--volume-types=configmap,secret,hostpath,emptydir,projected,downwardapi",
    ),
    ("probe.sampling=1", "--sampling=1"),
    ("probe.sampling=0.5", "--sampling=0.5"),
    ("probe.tier=raw-tracepoint", "--tier=raw-tracepoint"),
    ("probe.blockTimes=false", "--block-times=off"),
    ("probe.pins=false", "--pins=none"),
    ("probe.latency.target=2ms", "--slow-threshold=2ms"),
    ("probe.latency.critical=250ms", "--critical-threshold=250ms"),
    ("probe.latency.enterWindows=3", "--enter-windows=3"),
    ("probe.latency.leaveWindows=9", "--leave-windows=9"),
    ("probe.latency.leavePercent=50", "--leave-percent=50"),
    ("probe.latency.leastOperations=7", "--least-operations=7"),
    ("probe.slowEvents.lines=false", "--event-lines=off"),
    ("probe.slowEvents.buffer=100000", "--event-buffer=100000"),
    ("probe.slowEvents.perSecond=5", "--events-per-second=5"),
    ("probe.slowEvents.host=true", "--host-events=on"),
    ("probe.slowEvents.containers=false", "--container-correlation=off"),
    ("probe.askedNames=true", "--asked-names"),
    ("probe.otlpInterval=1m", "--otlp-interval=1m"),
    ("probe.extraArgs={--later=1}", "--later=1"),
    ("node.kubeletDir=/data/kubelet", "--kubelet-dir=/data/kubelet"),
    ("telemetry.logFormat=text", "--log-format=text"),
];

fn rendered(set: &str) -> Result<Vec<Value>> {
    let chart = rig::repository().join("charts/terrace").display().to_string();
    let namespace =
        ["--namespace", "terrace-system", "--api-versions", RULES, "--api-versions", PODS];
    let words =
        [&["exec", "--", "helm", "template", "terrace", &chart, "--set", set][..], &namespace];
    Ok(from_yaml(&rig::rig(&words.concat())?)?)
}

fn with(set: &str) -> Result<Vec<Value>> {
    rendered(&format!("probe.enabled=true,{set}"))
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    let mut of_kind = objects.iter().filter(|object| object["kind"] == kind);
    of_kind
        .find(|object| object["metadata"]["name"] == name)
        .with_context(|| format!("{kind} {name}"))
}

fn container<'a>(objects: &'a [Value], name: &str) -> Result<&'a Value> {
    let pod = &find(objects, "DaemonSet", "terrace-node")?["spec"]["template"]["spec"];
    let containers = pod["containers"].as_array().context("containers")?;
    containers
        .iter()
        .find(|container| container["name"] == name)
        .with_context(|| format!("container {name}"))
}

#[test]
fn i7_the_probe_has_no_token_no_mount_of_a_volume_and_two_capabilities() -> Result<()> {
    let objects = with("image.tag=dev")?;
    let pod = &find(&objects, "DaemonSet", "terrace-node")?["spec"]["template"]["spec"];
    ensure!(pod["automountServiceAccountToken"] == false, "every container has a token");
    let probe = container(&objects, "probe")?;
    let mounts = json!([
        {"name": "probe-socket", "mountPath": "/run/terrace"},
        {"name": "host-proc", "mountPath": "/host/proc", "readOnly": true},
        {"name": "bpf", "mountPath": "/var/lib/terrace/bpf", "mountPropagation": "HostToContainer"},
    ]);
    ensure!(probe["volumeMounts"] == mounts, "{}", probe["volumeMounts"]);
    let capabilities = json!({"drop": ["ALL"], "add": ["BPF", "PERFMON"]});
    ensure!(probe["securityContext"]["capabilities"] == capabilities, "{probe}");
    ensure!(probe["securityContext"]["privileged"] == false);
    let node = container(&objects, "node")?;
    let token = "/var/run/secrets/kubernetes.io/serviceaccount";
    let mut mounts = node["volumeMounts"].as_array().into_iter().flatten();
    ensure!(mounts.any(|mount| mount["mountPath"] == token), "the agent has no token");
    let volumes = pod["volumes"].as_array().context("volumes")?;
    let paths: Vec<&str> = ["host-proc", "bpf"]
        .iter()
        .filter_map(|name| volumes.iter().find(|volume| volume["name"] == *name))
        .filter_map(|volume| volume["hostPath"]["path"].as_str())
        .collect();
    ensure!(paths == ["/proc", "/var/lib/terrace/bpf"], "{paths:?}");
    Ok(())
}

#[test]
fn every_switch_and_number_reaches_the_probe() -> Result<()> {
    for (set, flag) in FLAGS {
        let objects = with(set)?;
        let flags = container(&objects, "probe")?["args"].as_array().context("args")?.clone();
        ensure!(flags.iter().any(|given| given == flag), "{set} gives {flags:?}");
    }
    let objects = with("probe.latency.target=2ms,probe.directories={/etc/kubernetes,/srv}")?;
    let flags = container(&objects, "node")?["args"].as_array().context("args")?;
    for flag in ["--latency-target=2ms", "--probe-directories=/etc/kubernetes,/srv"] {
        ensure!(flags.iter().any(|given| given == flag), "{flags:?}");
    }
    Ok(())
}

#[test]
fn without_the_probe_nothing_of_it_is_rendered() -> Result<()> {
    let objects = rendered("probe.enabled=false")?;
    let of_it =
        |object: &&Value| object["metadata"]["labels"]["app.kubernetes.io/component"] == "probe";
    ensure!(objects.iter().find(of_it).is_none());
    ensure!(container(&objects, "probe").is_err());
    let flags = container(&objects, "node")?["args"].as_array().context("args")?;
    ensure!(flags.iter().any(|flag| flag == "--probe-socket="), "{flags:?}");
    Ok(())
}

#[test]
fn rules_have_the_numbers_of_the_values_and_dashboard_and_monitor_their_labels() -> Result<()> {
    let objects = with(
        "probe.alerts.iops=777,probe.alerts.latencyMilliseconds=3,probe.alerts.for=2m,probe.alerts.labels.release=x,\
         probe.dashboard.labels.folder=y,probe.podMonitor.labels.release=z",
    )?;
    let rules = find(&objects, "PrometheusRule", "terrace")?;
    let text = rules["spec"].to_string();
    ensure!(!text.contains("$("), "a number is missing: {text}");
    for words in ["volume_iops > 777", "volume_latency > 3 / 1000", "\"for\":\"2m\""] {
        ensure!(text.contains(words), "{words} is not in {text}");
    }
    ensure!(rules["metadata"]["labels"]["release"] == "x");
    ensure!(find(&objects, "PodMonitor", "terrace-probe")?["metadata"]["labels"]["release"] == "z");
    let dashboard = find(&objects, "ConfigMap", "terrace-dashboard")?;
    ensure!(dashboard["metadata"]["labels"]["folder"] == "y");
    let json = dashboard["data"]["terrace-volumes.json"].as_str().context("JSON")?;
    let json: Value = serde_json::from_str(json)?;
    ensure!(json["panels"].as_array().map(Vec::len) > Some(15), "{json}");
    let less = with(
        "probe.alerts.enabled=false,probe.dashboard.enabled=false,probe.podMonitor.enabled=false",
    )?;
    for (kind, name) in [
        ("PrometheusRule", "terrace"),
        ("ConfigMap", "terrace-dashboard"),
        ("PodMonitor", "terrace-probe"),
    ] {
        ensure!(find(&less, kind, name).is_err(), "{kind} is there all the same");
    }
    Ok(())
}

#[test]
fn a_class_names_its_latency() -> Result<()> {
    let set = "storageClasses[0].name=a,storageClasses[0].tier=x,storageClasses[0].latencyP99=5ms";
    let objects = rendered(set)?;
    let class = find(&objects, "StorageClass", "a")?;
    ensure!(class["parameters"]["terrace.storage/latency-p99"] == "5ms", "{class}");
    Ok(())
}
