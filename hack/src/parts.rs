//! The parts of the cluster: how each is called and configured, how it is started, stopped and found alive.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::json;

use crate::holder::Holder;
use crate::paths::Paths;
use crate::pki::{NODE_IP, NODE_NAME};
use crate::run::{run, succeeds, wait_for};
use crate::tools::Tools;

/// A program of the cluster that can be stopped and started alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Etcd,
    Apiserver,
    ControllerManager,
    Scheduler,
    Containerd,
    Kubelet,
}

impl Part {
    pub(crate) const ALL: [Self; 6] = [
        Self::Etcd,
        Self::Apiserver,
        Self::Containerd,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
    ];
    /// An API server and its store, nothing that acts.
    pub(crate) const API: [Self; 2] = [Self::Etcd, Self::Apiserver];

    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Apiserver => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
        }
    }

    fn args(self, paths: &Paths) -> Vec<String> {
        let conf = paths.conf().display().to_string();
        let state = paths.state().display().to_string();
        let text = match self {
            Self::Etcd => format!(
                "--data-dir={state}/etcd {} --listen-client-urls=http://127.0.0.1:2379 \
                 --advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380",
                if paths.durable().exists() { "" } else { "--unsafe-no-fsync" }
            ),
            Self::Apiserver => format!(
                "--etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=443 --advertise-address={NODE_IP} \
                 --tls-cert-file={conf}/api.crt --tls-private-key-file={conf}/api.key --client-ca-file={conf}/ca.crt \
                 --token-auth-file={conf}/tokens.csv --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
                 --service-account-issuer=https://kubernetes.default.svc --service-account-key-file={conf}/sa.pub \
                 --service-account-signing-key-file={conf}/sa.key --service-cluster-ip-range=10.96.0.0/16 \
                 --kubelet-client-certificate={conf}/api-to-kubelet.crt --kubelet-client-key={conf}/api-to-kubelet.key \
                 --kubelet-certificate-authority={conf}/ca.crt --kubelet-preferred-address-types=InternalIP \
                 --allow-privileged=true --endpoint-reconciler-type=none --profiling=false \
                 --audit-policy-file={conf}/audit.json --audit-log-path={}/audit.log",
                paths.log().display()
            ),
            Self::ControllerManager => format!(
                "--kubeconfig={conf}/admin.kubeconfig --root-ca-file={conf}/ca.crt --service-account-private-key-file={conf}/sa.key \
                 --leader-elect=false --secure-port=0 --kube-api-qps=200 --kube-api-burst=400"
            ),
            Self::Scheduler => {
                format!("--kubeconfig={conf}/admin.kubeconfig --leader-elect=false --secure-port=0")
            }
            Self::Containerd => format!("--config={conf}/containerd.toml"),
            Self::Kubelet => format!(
                "--config={conf}/kubelet.json --kubeconfig={conf}/kubelet.kubeconfig --hostname-override={NODE_NAME} \
                 --node-ip={NODE_IP} --root-dir=/var/lib/kubelet"
            ),
        };
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn pid_file(self, paths: &Paths) -> PathBuf {
        paths.rig.join("run").join(format!("{}.pid", self.program()))
    }

    fn log(self, paths: &Paths) -> PathBuf {
        paths.log().join(format!("{}.log", self.program()))
    }

    /// Its process number inside the rig, if it lives.
    pub(crate) fn alive(self, paths: &Paths, holder: &Holder) -> Option<u32> {
        let pid = fs::read_to_string(self.pid_file(paths)).ok()?.trim().parse().ok()?;
        holder.runs(pid, self.program()).then_some(pid)
    }

    /// Starts it unless it lives. It is not waited for.
    pub(crate) fn start(self, paths: &Paths, tools: &Tools, holder: &Holder) -> Result<()> {
        if self.alive(paths, holder).is_some() {
            return Ok(());
        }
        write_configs(paths)?;
        if self.pid_file(paths).exists() {
            fs::remove_file(self.pid_file(paths))?;
        }
        let log = File::options().create(true).append(true).open(self.log(paths))?;
        let mut start = holder.enter();
        // Paths are arguments of the little script, so that they may hold any character.
        start
            .args(["setsid", "--fork", "sh", "-c", "echo $$ > \"$0\"; exec \"$@\""])
            .arg(self.pid_file(paths));
        start.arg(tools.path(self.program())?).args(self.args(paths));
        start.env("PATH", tools.search_path()).env_remove("KUBECONFIG").current_dir("/");
        run(start.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))?;
        let pid_file = self.pid_file(paths);
        wait_for(self.program(), Duration::from_secs(10), &self.log(paths), || pid_file.exists())
    }

    /// Sends the signal and waits until it is gone.
    pub(crate) fn stop(self, paths: &Paths, holder: &Holder, signal: &str) -> Result<()> {
        let Some(pid) = self.alive(paths, holder) else { return Ok(()) };
        self.signal(holder, pid, signal)?;
        wait_for(self.program(), Duration::from_secs(60), &self.log(paths), || {
            self.alive(paths, holder).is_none()
        })?;
        fs::remove_file(self.pid_file(paths)).context("remove its pid file")
    }

    /// Sends a signal and does not wait.
    pub(crate) fn signal(self, holder: &Holder, pid: u32, signal: &str) -> Result<()> {
        run(holder.enter().args(["kill", "-s", signal, &pid.to_string()]))
    }

    /// Waits until it answers.
    pub(crate) fn wait_ready(self, paths: &Paths, tools: &Tools, holder: &Holder) -> Result<()> {
        let limit = Duration::from_secs(120);
        match self {
            Self::Apiserver => {
                let mut ask = kubectl(paths, tools)?;
                ask.args(["get", "--raw", "/readyz"]);
                wait_for("the API server", limit, &self.log(paths), || succeeds(&mut ask))
            }
            Self::Containerd => {
                let ctr = tools.path("ctr")?;
                wait_for("containerd", limit, &self.log(paths), || {
                    succeeds(holder.enter().arg(&ctr).arg("version"))
                })
            }
            Self::Kubelet => {
                // Its own answer first: after a restart the API still tells of the old Ready.
                let mut health = kubectl(paths, tools)?;
                health.args(["get", "--raw", &format!("/api/v1/nodes/{NODE_NAME}/proxy/healthz")]);
                wait_for("the kubelet", limit, &self.log(paths), || succeeds(&mut health))?;
                let mut ask = kubectl(paths, tools)?;
                ask.args(["wait", "--for=condition=Ready", "--timeout=1s", "node", NODE_NAME]);
                wait_for("the node", limit, &self.log(paths), || succeeds(&mut ask))
            }
            Self::Etcd | Self::ControllerManager | Self::Scheduler => Ok(()),
        }
    }
}

/// kubectl as the rig's administrator.
pub(crate) fn kubectl(paths: &Paths, tools: &Tools) -> Result<std::process::Command> {
    let mut kubectl = std::process::Command::new(tools.path("kubectl")?);
    kubectl.arg("--kubeconfig").arg(paths.kubeconfig());
    Ok(kubectl)
}

fn write_configs(paths: &Paths) -> Result<()> {
    let (conf, state) = (paths.conf(), paths.state());
    fs::create_dir_all(conf.join("cni"))?;
    fs::write(conf.join("kubelet.json"), serde_json::to_vec_pretty(&kubelet_config(paths))?)?;
    fs::write(conf.join("audit.json"), serde_json::to_vec_pretty(&audit_policy())?)?;
    let network = json!({"cniVersion": "0.4.0", "name": "terrace-rig", "plugins": [{
        "type": "bridge", "bridge": "terrace1", "isDefaultGateway": true, "ipMasq": false,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]]},
    }]});
    fs::write(conf.join("cni/10-rig.conflist"), serde_json::to_vec_pretty(&network)?)?;
    let text = CONTAINERD
        .replace("@STATE@", &state.display().to_string())
        .replace("@CONF@", &conf.display().to_string());
    Ok(fs::write(conf.join("containerd.toml"), text)?)
}

fn kubelet_config(paths: &Paths) -> serde_json::Value {
    let conf = paths.conf();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs", "cgroupRoot": "/terrace-rig", "failCgroupV1": false, "failSwapOn": false, "enforceNodeAllocatable": [],
        "tlsCertFile": conf.join("kubelet.crt"), "tlsPrivateKeyFile": conf.join("kubelet.key"),
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": conf.join("ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        // false would break /stats/summary, and with it the statistics of volumes.
        "localStorageCapacityIsolation": true,
        // No DNS here; a closed port says so at once.
        "clusterDNS": [crate::pki::SERVICE_IP],
        "volumePluginDir": "/var/lib/kubelet/volume-plugins", "resolvConf": "",
        // A container that was killed comes back within a second or two, however often: the stories and hack/crash kill on purpose.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "volumeStatsAggPeriod": "10s", "syncFrequency": "10s", "nodeStatusUpdateFrequency": "5s",
    })
}

/// Who wrote what; reads are not kept.
fn audit_policy() -> serde_json::Value {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "omitManagedFields": true,
        "rules": [{"level": "None", "verbs": ["get", "list", "watch"]}, {"level": "Metadata"}],
    })
}

/// `restrict_oom_score_adj`: without CAP_SYS_RESOURCE runc may not lower it.
const CONTAINERD: &str = r#"version = 3
root = "@STATE@/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins.'io.containerd.internal.v1.opt']
  path = "@STATE@/containerd-opt"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "@CONF@/cni"
"#;
