//! Bringing the cluster up: namespaces, keys, parts in order, images. What lives already is left alone.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::down;
use crate::holder::Holder;
use crate::image::Archive;
use crate::parts::Part;
use crate::paths::Paths;
use crate::pki;
use crate::run::{Progress, output, run};
use crate::tools::Tools;

/// How much of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// etcd and the API server.
    Api,
    /// A node that runs Pods.
    Node,
}

/// Starts what is missing and waits until it answers.
pub(crate) fn start(
    paths: &Paths,
    tools: &Tools,
    progress: &Progress,
    extent: Extent,
    images: &[Archive],
) -> Result<Holder> {
    let holder = namespaces(paths, progress)?;
    let first: &[Part] = match extent {
        Extent::Api => &Part::API,
        Extent::Node => &[Part::Etcd, Part::Apiserver, Part::Containerd],
    };
    for part in first {
        part.start(paths, tools, &holder)?;
    }
    if extent == Extent::Node {
        Part::Containerd.wait_ready(paths, tools, &holder)?;
        import(tools, &holder, progress, images)?;
        if paths.durable().exists() {
            // containerd does not sync what it unpacks: programs would be empty after a power loss.
            run(&mut std::process::Command::new("sync"))?;
        }
    }
    Part::Apiserver.wait_ready(paths, tools, &holder)?;
    progress.say("the API server answers");
    if extent == Extent::Node {
        for part in Part::ALL {
            part.start(paths, tools, &holder)?;
        }
        Part::Kubelet.wait_ready(paths, tools, &holder)?;
        progress.say("the node is Ready");
    }
    Ok(holder)
}

fn namespaces(paths: &Paths, progress: &Progress) -> Result<Holder> {
    if let Some(holder) = Holder::find(paths)? {
        return Ok(holder);
    }
    if paths.durable().exists() {
        // What a power loss left is taken up; the numbers of its processes mean others now.
        let numbers = paths.rig.join("run");
        if numbers.exists() {
            fs::remove_dir_all(numbers)?;
        }
    } else {
        // What a killed rig left would be taken for this one's.
        down::sweep(paths)?;
    }
    if let Ok(logs) = fs::read_dir(paths.log()) {
        for log in logs.flatten() {
            fs::remove_file(log.path())?;
        }
    }
    let (holder, port) = Holder::start(paths)?;
    pki::write_all(paths, port)?;
    progress.say(format!("namespaces made, API server on 127.0.0.1:{port}"));
    Ok(holder)
}

/// Imports images whose digest containerd does not have under that name.
pub(crate) fn import(
    tools: &Tools,
    holder: &Holder,
    progress: &Progress,
    images: &[Archive],
) -> Result<()> {
    let ctr = tools.path("ctr")?;
    let known = output(holder.enter().arg(&ctr).args(["--namespace", "k8s.io", "images", "list"]))?;
    for Archive { reference, path, digest } in images {
        if known.lines().any(|line| {
            line.starts_with(&format!("{reference} ")) && line.contains(digest.as_str())
        }) {
            continue;
        }
        progress.say(format!("import {reference}"));
        let mut import = holder.enter();
        import.arg(&ctr).args(["--namespace", "k8s.io", "images", "import", "--local"]).arg(path);
        output(&mut import)?;
    }
    Ok(())
}

/// Copies etcd's data as it is at one instant, as a power loss would leave it. Nothing is stopped.
pub(crate) fn snapshot_etcd(paths: &Paths, holder: &Holder, to: &Path) -> Result<()> {
    let pid = Part::Etcd.alive(paths, holder).context("etcd does not run")?;
    Part::Etcd.signal(holder, pid, "STOP")?;
    let copied = run(crate::run::command("tar", ["--create", "--file"])
        .arg(to)
        .arg("--directory")
        .arg(paths.state())
        .arg("etcd"));
    Part::Etcd.signal(holder, pid, "CONT")?;
    copied
}

/// Puts an older state of the API server in place of this one. Watches break, as they do in a real restore.
pub(crate) fn restore_etcd(
    paths: &Paths,
    tools: &Tools,
    holder: &Holder,
    from: &Path,
) -> Result<()> {
    let from = from.canonicalize().with_context(|| format!("find {}", from.display()))?;
    let stopped = [Part::Scheduler, Part::ControllerManager, Part::Apiserver, Part::Etcd];
    for part in stopped {
        part.stop(paths, holder, "KILL")?;
    }
    fs::remove_dir_all(paths.state().join("etcd"))?;
    run(crate::run::command("tar", ["--extract", "--file"])
        .arg(from)
        .arg("--directory")
        .arg(paths.state()))?;
    for part in [Part::Etcd, Part::Apiserver] {
        part.start(paths, tools, holder)?;
    }
    Part::Apiserver.wait_ready(paths, tools, holder)?;
    for part in [Part::ControllerManager, Part::Scheduler] {
        part.start(paths, tools, holder)?;
    }
    Ok(())
}
