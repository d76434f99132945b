//! A story's stage: a namespace of its own, claims and Pods in it, waits that end at a deadline with what was seen last,
//! and a look at the host at the end: nothing of the story may be left.
//!
//! It speaks to the cluster as an administrator does, through kubectl: `kubectl wait` watches, nothing here polls the API.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::ground::{Ground, doubled};
use crate::rig::{kubeconfig, on_node, said};

/// kubectl with these words; its standard output.
///
/// # Errors
/// Where it fails, with what it said.
pub fn kubectl(words: &[&str]) -> Result<String> {
    said(Command::new("kubectl").arg("--kubeconfig").arg(kubeconfig()?).args(words))
}

/// Applies YAML server-side.
///
/// # Errors
/// What the API server answers.
pub fn apply(yaml: &str) -> Result<String> {
    feed(&["apply", "--server-side", "--force-conflicts", "-f", "-"], yaml)
}

fn feed(words: &[&str], text: &str) -> Result<String> {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(kubeconfig()?).args(words);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start kubectl")?;
    child.stdin.take().context("kubectl has no input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}{told}", String::from_utf8_lossy(&output.stderr));
    Ok(told)
}

/// Looks until it is so: for things that have no watch, such as the host. The interval is not part of any claim.
///
/// # Errors
/// At the deadline, with what was seen last.
pub fn until<T>(
    what: &str,
    seconds: u64,
    mut look: impl FnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        match look() {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(seen)) if Instant::now() >= end => {
                bail!("{what}: not within {seconds} s; seen last: {seen}")
            }
            Err(error) if Instant::now() >= end => {
                return Err(error.context(format!("{what}: not within {seconds} s")));
            }
            Ok(Err(_)) | Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// One story.
#[derive(Debug)]
pub struct Story {
    /// Its namespace.
    pub namespace: String,
    clean: Clean,
}

#[derive(Debug, PartialEq, Eq)]
enum Clean {
    Open,
    Done,
}

impl Story {
    /// Makes the pool and the classes (once for all stories) and the namespace.
    ///
    /// # Errors
    /// Where the cluster does not do it.
    pub fn begin(name: &str) -> Result<Self> {
        let mut all = format!(
            "apiVersion: terrace.storage/v1alpha1\nkind: StoragePool\nmetadata: {{name: stories}}\nspec: {{tier: stories, {}}}\n",
            Ground::of_environment().spec()?
        );
        let plain = "{terrace.storage/pool: stories}";
        all += &class_yaml("stories-plain", plain, "WaitForFirstConsumer", "Delete");
        for (class, fs, binding) in [
            ("stories-xfs", "xfs", "WaitForFirstConsumer"),
            ("stories-ext4", "ext4", "WaitForFirstConsumer"),
            ("stories-btrfs", "btrfs", "WaitForFirstConsumer"),
            ("stories-now", "xfs", "Immediate"),
        ] {
            let parameters =
                format!("{{terrace.storage/pool: stories, terrace.storage/fs-type: {fs}}}");
            all += &class_yaml(class, &parameters, binding, "Delete");
        }
        apply(&all)?;
        kubectl(&["wait", "spool/stories", "--for=condition=Ready", "--timeout=60s"])?;
        let namespace = format!("story-{name}");
        kubectl(&["delete", "namespace", &namespace, "--ignore-not-found", "--timeout=120s"])?;
        kubectl(&["create", "namespace", &namespace])?;
        kubectl(&["-n", &namespace, "wait", "--for=create", "sa/default", "--timeout=60s"])?;
        Ok(Self { namespace, clean: Clean::Open })
    }

    /// kubectl in the story's namespace.
    ///
    /// # Errors
    /// As [`kubectl`].
    pub fn kubectl(&self, words: &[&str]) -> Result<String> {
        kubectl(&[&["-n", &self.namespace], words].concat())
    }

    /// Applies YAML in the namespace.
    ///
    /// # Errors
    /// As [`apply`].
    pub fn apply(&self, yaml: &str) -> Result<String> {
        feed(
            &["-n", &self.namespace, "apply", "--server-side", "--force-conflicts", "-f", "-"],
            yaml,
        )
    }

    /// A claim of this class and size; `more` is put into its spec.
    ///
    /// # Errors
    /// As [`apply`].
    pub fn claim(&self, name: &str, class: &str, size: &str, more: &str) -> Result<()> {
        let yaml = format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec: {{accessModes: [ReadWriteOnce], storageClassName: {class}, resources: {{requests: {{storage: {size}}}}}{more}}}\n"
        );
        self.apply(&yaml).map(drop)
    }

    /// Waits until the claim is bound.
    ///
    /// # Errors
    /// At the deadline, with the claim's Events.
    pub fn binds(&self, claim: &str) -> Result<()> {
        let bound = "--for=jsonpath={.status.phase}=Bound";
        let waited = self.kubectl(&["wait", &format!("pvc/{claim}"), bound, "--timeout=120s"]);
        waited.map(drop).map_err(|error| {
            let seen = self.kubectl(&["describe", "pvc", claim]).unwrap_or_default();
            error.context(format!("claim {claim} is not bound:\n{seen}"))
        })
    }

    /// A Pod that sleeps, with the claim at /data; `pod` goes into its spec, `mount` into the mount.
    ///
    /// # Errors
    /// As [`apply`].
    pub fn pod(&self, name: &str, claim: &str, pod: &str, mount: &str) -> Result<()> {
        self.apply(&pod_yaml(
            name,
            pod,
            &format!("volumeMounts: [{{name: v, mountPath: /data{mount}}}]"),
            &format!("persistentVolumeClaim: {{claimName: {claim}}}"),
        ))
        .map(drop)
    }

    /// Waits until the Pod runs.
    ///
    /// # Errors
    /// At the deadline, with the Pod's Events.
    pub fn runs(&self, pod: &str) -> Result<()> {
        let waited = self.kubectl(&[
            "wait",
            &format!("pod/{pod}"),
            "--for=condition=Ready",
            "--timeout=120s",
        ]);
        waited.map(drop).map_err(|error| {
            let seen = self.kubectl(&["describe", "pod,pvc"]).unwrap_or_default();
            let volumes = kubectl(&["get", "sv", "-o", "yaml"]).unwrap_or_default();
            error.context(format!("Pod {pod} does not run:\n{seen}\n{volumes}"))
        })
    }

    /// A shell line in the Pod.
    ///
    /// # Errors
    /// Where it fails, with what it said.
    pub fn exec(&self, pod: &str, line: &str) -> Result<String> {
        self.kubectl(&["exec", pod, "--", "/bin/sh", "-c", line])
    }

    /// Deletes the Pod and waits until it is gone.
    ///
    /// # Errors
    /// At the deadline.
    pub fn drop_pod(&self, pod: &str) -> Result<()> {
        self.kubectl(&["delete", "pod", pod, "--timeout=90s"]).map(drop)
    }

    /// The StorageVolume behind a bound claim.
    ///
    /// # Errors
    /// Where the claim is not bound to one of ours.
    pub fn volume(&self, claim: &str) -> Result<Value> {
        let pv = self.kubectl(&["get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}"])?;
        ensure!(!pv.is_empty(), "claim {claim} has no volume");
        let handle = kubectl(&["get", "pv", &pv, "-o", "jsonpath={.spec.csi.volumeHandle}"])?;
        Ok(serde_json::from_str(&kubectl(&["get", "sv", &handle, "-o", "json"])?)?)
    }

    /// Waits for an Event about the object whose note contains this, and gives the note.
    ///
    /// # Errors
    /// At the deadline, with every note there was.
    pub fn event(&self, about: &str, words: &str, seconds: u64) -> Result<String> {
        until(&format!("an Event on {about} that says {words:?}"), seconds, || {
            let jsonpath = "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}";
            let selector = format!("involvedObject.name={about}");
            let notes =
                self.kubectl(&["get", "events", "--field-selector", &selector, "-o", jsonpath])?;
            Ok(notes
                .lines()
                .find(|note| note.contains(words))
                .map(str::to_owned)
                .ok_or(notes.clone()))
        })
    }

    /// Deletes the namespace; then no volume of it, no image, loop device or mount may be left.
    ///
    /// # Errors
    /// Names what is left.
    pub fn end(mut self) -> Result<()> {
        self.clean = Clean::Done;
        let uuids = self.uuids()?;
        kubectl(&["delete", "namespace", &self.namespace, "--timeout=120s"])?;
        until("the volumes go with their namespace", 90, || {
            let left = self.volumes()?;
            Ok(if left.is_empty() { Ok(()) } else { Err(left.join(", ")) })
        })?;
        for uuid in uuids {
            host_is_rid_of(&uuid)?;
        }
        Ok(())
    }

    fn volumes(&self) -> Result<Vec<String>> {
        self.of_claims(|item| item["metadata"]["name"].as_str().map(str::to_owned))
    }

    fn uuids(&self) -> Result<Vec<String>> {
        self.of_claims(|item| item["spec"]["volumeUUID"].as_str().map(str::to_owned))
    }

    fn of_claims(&self, pick: impl Fn(&Value) -> Option<String>) -> Result<Vec<String>> {
        let all: Value = serde_json::from_str(&kubectl(&["get", "sv", "-o", "json"])?)?;
        let ours = all["items"].as_array().into_iter().flatten();
        Ok(ours
            .filter(|item| item["spec"]["claimRef"]["namespace"] == self.namespace.as_str())
            .filter_map(pick)
            .collect())
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if self.clean == Clean::Open {
            // The story failed: make room for the next one; what is left is found by its own checks.
            let _ = kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
        }
    }
}

/// A StorageClass.
pub fn class_yaml(name: &str, parameters: &str, binding: &str, reclaim: &str) -> String {
    format!(
        "---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: {name}}}\nprovisioner: csi.terrace.storage\nvolumeBindingMode: {binding}\nallowVolumeExpansion: true\nreclaimPolicy: {reclaim}\nparameters: {parameters}\n"
    )
}

/// A Pod that sleeps.
pub fn pod_yaml(name: &str, pod: &str, container: &str, volume: &str) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n"
    );
    if !pod.is_empty() {
        let _ = writeln!(text, "  {pod}");
    }
    let _ = write!(
        text,
        "  containers:\n  - name: c\n    image: localhost/busybox:1\n    imagePullPolicy: IfNotPresent\n    command: [/bin/sh, -c, \"exec sleep 1000000\"]\n    {container}\n  volumes:\n  - name: v\n    {volume}\n"
    );
    text
}

/// No image, loop device or mount of this volume is on the node.
///
/// # Errors
/// Names what is left.
pub fn host_is_rid_of(uuid: &str) -> Result<()> {
    until(&format!("the node is rid of volume {uuid}"), 60, || {
        let line = format!(
            "find /var/lib/terrace/pools -name '*{uuid}*'; losetup -a | grep '{uuid}'; grep '{uuid}' /proc/mounts; cat /sys/block/dm-*/dm/name 2>/dev/null | grep '{}'; true",
            doubled(uuid)
        );
        let left = on_node(&line)?;
        Ok(if left.trim().is_empty() { Ok(()) } else { Err(left) })
    })
}
