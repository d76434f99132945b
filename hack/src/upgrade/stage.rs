//! The cluster of an upgrade as its administrator sees it: kubectl with deadlines, the writer's log, the node's folders.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::report::judge;
use crate::holder::Holder;
use crate::parts::kubectl;
use crate::paths::Paths;
use crate::run::{output, wait_for};
use crate::tools::Tools;

const NAMESPACE: &str = "upgrade";
/// The pool's folder on the node.
const POOL: &str = "var/lib/terrace/pools/upgrade";
/// The writer's logs on the node.
const LOGS: &str = "run/terrace-upgrade";

/// A volume under the writer: its claim, also the name of its log, and where a Pod has it.
pub(crate) const WRITTEN: [(&str, &str); 2] = [("xfs", "/data/blocks"), ("block", "/dev/volume")];

/// The running cluster.
pub(crate) struct Stage<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) tools: &'a Tools,
    pub(crate) holder: Holder,
}

impl Stage<'_> {
    pub(crate) fn kubectl(&self, words: &[&str]) -> Result<String> {
        output(kubectl(self.paths, self.tools)?.args(words))
    }

    pub(crate) fn in_namespace(&self, words: &[&str]) -> Result<String> {
        self.kubectl(&[&["--namespace", NAMESPACE], words].concat())
    }

    /// Applies a file that lies beside this one.
    pub(crate) fn apply(&self, file: &str) -> Result<()> {
        let path = self.paths.repo.join("hack/src/upgrade").join(file);
        let path = path.to_str().context("the work tree's path is no text")?;
        self.kubectl(&["apply", "--filename", path]).map(drop)
    }

    pub(crate) fn wait(&self, object: &str, condition: &str) -> Result<()> {
        let condition = format!("--for={condition}");
        let waited = self.in_namespace(&["wait", object, &condition, "--timeout=120s"]);
        waited.map(drop).with_context(|| {
            let words = ["get", "events", "--sort-by=.lastTimestamp"];
            let events = self.in_namespace(&words).unwrap_or_default();
            let last: Vec<&str> = events.lines().rev().take(8).collect();
            format!("{object} is not so: {condition}; last events:\n{}", last.join("\n"))
        })
    }

    /// Grows the claim in use, and waits until the Pod's filesystem or device has the size.
    pub(crate) fn grow(&self, claim: &str, size: &str) -> Result<String> {
        let patch = format!(r#"{{"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}"#);
        self.in_namespace(&["patch", "pvc", claim, "--patch", &patch])?;
        self.wait(
            &format!("pvc/{claim}"),
            &format!("jsonpath={{.status.capacity.storage}}={size}"),
        )?;
        Ok(format!("to {size}"))
    }

    /// Deletes the claim and waits until the volume and its bytes are gone.
    pub(crate) fn delete(&self, claim: &str) -> Result<String> {
        let volume =
            self.in_namespace(&["get", "pvc", claim, "--output=jsonpath={.spec.volumeName}"])?;
        let volume = format!("storagevolumes.terrace.storage/{volume}");
        let uuid = self.kubectl(&["get", &volume, "--output=jsonpath={.spec.volumeUUID}"])?;
        ensure!(self.images()?.contains(&format!("t-{uuid}")), "no image of volume {uuid}");
        self.in_namespace(&["delete", "pvc", claim, "--timeout=90s"])?;
        self.kubectl(&["wait", "--for=delete", &volume, "--timeout=90s"])?;
        let left = self.images()?;
        ensure!(!left.iter().any(|name| name.contains(&uuid)), "the node still has {left:?}");
        Ok("its image is gone".to_owned())
    }

    /// Deletes all of it and waits until the node has no image left.
    pub(crate) fn delete_all(&self) -> Result<String> {
        self.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=150s"])?;
        wait_for("the end of the images", Duration::from_secs(90), &self.paths.log(), || {
            self.images().is_ok_and(|left| left.is_empty())
        })?;
        Ok("no image left".to_owned())
    }

    /// Names of the images in the pool's folder, in service and in quarantine.
    fn images(&self) -> Result<Vec<String>> {
        let dir = self.on_node(POOL);
        let entries = fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| name.starts_with("t-") || name.starts_with("q-")).collect())
    }

    /// UUIDs of the node's pools and host objects, as it reports them.
    pub(crate) fn reported(&self) -> Result<Vec<String>> {
        let words = ["get", "storagenodes.terrace.storage", "--output=json"];
        let nodes: Value = serde_json::from_str(&self.kubectl(&words)?)?;
        let status = &nodes["items"][0]["status"];
        let lists = [&status["pools"], &status["volumes"]];
        let rows = lists.into_iter().flat_map(|list| list.as_array().into_iter().flatten());
        let mut uuids: Vec<String> =
            rows.filter_map(|row| row["uuid"].as_str().map(str::to_owned)).collect();
        uuids.sort();
        Ok(uuids)
    }

    /// Waits until this many blocks more are acknowledged on each volume.
    pub(crate) fn writes_on(&self, more: usize) -> Result<String> {
        for (claim, _) in WRITTEN {
            let goal = self.lines(claim) + more;
            let log = self.on_node(LOGS).join(claim);
            wait_for("the writer", Duration::from_secs(120), &log, || self.lines(claim) >= goal)?;
        }
        Ok(format!("{more} blocks more on each"))
    }

    fn lines(&self, claim: &str) -> usize {
        let text = fs::read_to_string(self.on_node(LOGS).join(claim)).unwrap_or_default();
        text.lines().filter(|line| line.starts_with("ok ")).count()
    }

    /// Tells the writer to stop, and waits until it writes no more.
    pub(crate) fn stop_writer(&self) -> Result<String> {
        for (claim, _) in WRITTEN {
            fs::write(self.on_node(LOGS).join(format!("{claim}.stop")), "")?;
        }
        wait_for("the writer's end", Duration::from_secs(60), &self.paths.log(), || {
            let listed = self.in_namespace(&["exec", "writer", "--", "sh", "-c", STILL_WRITES]);
            listed.is_ok_and(|text| text.trim() == "no")
        })?;
        Ok("both stopped".to_owned())
    }

    /// Compares what the Pod can read of the volume with what was acknowledged.
    pub(crate) fn verify(&self, pod: &str, claim: &str, target: &str) -> Result<String> {
        let log = format!("/log/{claim}");
        let words =
            ["exec", pod, "--", "xtask", "writer", "verify", "--target", target, "--log", &log];
        judge(&self.in_namespace(&words)?)
    }

    /// Waits for the last Pod with this tag to go: a roll-out is over before what it replaced has ended.
    pub(crate) fn no_pod_has_tag(&self, tag: &str) -> Result<String> {
        let image = "--output=jsonpath={.items[*].spec.containers[*].image}";
        let images = || self.kubectl(&["--namespace", crate::up::NAMESPACE, "get", "pods", image]);
        let is_earlier = |image: &str| image.ends_with(&format!(":{tag}"));
        wait_for(
            "the end of the earlier Pods",
            Duration::from_secs(90),
            &self.paths.log(),
            || images().is_ok_and(|images| !images.split_whitespace().any(is_earlier)),
        )?;
        Ok(format!("{} containers", images()?.split_whitespace().count()))
    }

    /// A path of the node, as seen from outside of the rig.
    fn on_node(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.holder.pid)).join(path)
    }
}

/// The shell that started the writers has become `sleep` when both have ended.
const STILL_WRITES: &str =
    r#"case "$(tr '\0' ' ' < /proc/1/cmdline)" in "sleep "*) echo no;; *) echo yes;; esac"#;
