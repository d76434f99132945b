//! Taking the rig away: every process, namespace, mount, loop device, cgroup and file of it, also after a killed rig.
//! Then it counts what is left.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{major, minor};
use serde_json::Value;

use crate::holder::{Holder, cmdline, processes};
use crate::init::{LOCK, cgroups};
use crate::paths::Paths;
use crate::run::{Progress, command, output, succeeds, wait_for};

/// Ends the rig of this work tree and says what is left.
pub(crate) fn main(paths: &Paths, progress: &Progress) -> Result<()> {
    let namespaces = match Holder::find(paths)? {
        Some(holder) => end(paths, &holder, progress)?,
        None => Vec::new(),
    };
    let devices = sweep(paths)?;
    report(paths, &namespaces, &devices, progress)
}

/// Removes what no living rig needs; gives the loop devices that had to be freed. Called with no rig running.
pub(crate) fn sweep(paths: &Paths) -> Result<Vec<String>> {
    let devices = loop_devices(paths)?;
    for device in &devices {
        succeeds(&mut command("losetup", ["--detach", device]));
    }
    for group in cgroups() {
        remove_group(&group);
    }
    for gone in [paths.state(), paths.conf(), paths.rig.join("run")] {
        if gone.exists() {
            fs::remove_dir_all(&gone).with_context(|| format!("remove {}", gone.display()))?;
        }
    }
    for gone in [paths.kubeconfig(), paths.durable(), PathBuf::from(LOCK)] {
        if gone.exists() {
            fs::remove_file(&gone).with_context(|| format!("remove {}", gone.display()))?;
        }
    }
    Ok(devices)
}

/// Inside: end all, unmount volumes, free loop devices. Then process 1, and with it the namespaces.
fn end(paths: &Paths, holder: &Holder, progress: &Progress) -> Result<Vec<PathBuf>> {
    let namespaces = holder.namespaces();
    progress.say("ending processes, mounts and loop devices");
    if !succeeds(holder.enter().args(["sh", "-c", EMPTY_OUT])) {
        progress.say("not all could be unmounted inside; the namespaces' end does the rest");
    }
    let pid = holder.pid.to_string();
    succeeds(&mut command("kill", ["-s", "KILL", &pid]));
    let proc_dir = PathBuf::from(format!("/proc/{pid}"));
    wait_for("the rig's end", Duration::from_secs(30), &paths.log(), || !proc_dir.exists())?;
    Ok(namespaces)
}

/// `kill -1` reaches all of the process namespace but process 1 and itself. Mounts are undone youngest first.
const EMPTY_OUT: &str = r#"
kill -s KILL -1
for i in 1 2 3 4 5; do
  left=$(awk '$5 ~ "^/var/lib/(kubelet|terrace)/" {print $5}' /proc/self/mountinfo | tac)
  [ -z "$left" ] && break; sleep 0.1
  echo "$left" | while read -r point; do umount "$(printf '%b' "$point")"; done
done 2>/dev/null
losetup --list --noheadings --output NAME,BACK-FILE | while read -r device file; do
  case $file in /var/lib/terrace/*|/var/lib/kubelet/*) losetup --detach "$device";; esac
done
[ -z "$left" ]
"#;

/// One loop device; `device` and `inode` are those of the file behind it.
struct Loop {
    name: String,
    file: String,
    device: String,
    inode: String,
}

/// Loop devices whose file is in the rig's folders, or on a file system on such a device, or is such a device's node
/// (the kubelet holds block volumes so).
fn loop_devices(paths: &Paths) -> Result<Vec<String>> {
    let dirs = [paths.state(), "/var/lib/terrace".into(), "/var/lib/kubelet".into()];
    let mut files = inodes(&paths.state());
    let mut on_ours = HashSet::new();
    let mut left = all_loops()?;
    let mut found = Vec::new();
    loop {
        let is_ours = |one: &Loop| {
            dirs.iter().any(|dir| Path::new(&one.file).starts_with(dir))
                || on_ours.contains(&one.device)
                || files.contains(&(one.device.clone(), one.inode.clone()))
        };
        let (ours, others): (Vec<Loop>, Vec<Loop>) = left.into_iter().partition(is_ours);
        if ours.is_empty() {
            // What lies on another is detached first.
            found.reverse();
            return Ok(found);
        }
        for one in ours {
            let node = fs::metadata(&one.name)?;
            on_ours.insert(number(node.rdev()));
            files.insert((number(node.dev()), node.ino().to_string()));
            found.push(one.name);
        }
        left = others;
    }
}

fn all_loops() -> Result<Vec<Loop>> {
    let columns = "NAME,BACK-MAJ:MIN,BACK-INO,BACK-FILE";
    let text = output(&mut command("losetup", ["--list", "--json", "--output", columns]))?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let list: Value = serde_json::from_str(&text)?;
    let word = |device: &Value, column: &str| match &device[column] {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    let devices = list["loopdevices"].as_array().into_iter().flatten();
    let read = |device: &Value| Loop {
        name: word(device, "name"),
        file: word(device, "back-file"),
        device: word(device, "back-maj:min"),
        inode: word(device, "back-ino"),
    };
    Ok(devices.map(read).collect())
}

fn number(device: u64) -> String {
    format!("{}:{}", major(device), minor(device))
}

/// Device and inode numbers of the large files below the state. Images of volumes are at least 1 MiB.
fn inodes(dir: &Path) -> HashSet<(String, String)> {
    let mut found = HashSet::new();
    let mut left = vec![dir.join("terrace"), dir.join("kubelet")];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => left.push(entry.path()),
                Ok(meta) if meta.is_file() && meta.len() >= 1 << 20 => {
                    found.insert((number(meta.dev()), meta.ino().to_string()));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    found
}

fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_group(&entry.path());
        }
    }
    // Busy for some milliseconds after its last process; what stays is counted below.
    for _ in 0..20 {
        if !group.exists() || fs::remove_dir(group).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn report(
    paths: &Paths,
    namespaces: &[PathBuf],
    devices: &[String],
    progress: &Progress,
) -> Result<()> {
    // Below it: it may be a disk of its own, as it is in a guest.
    let rig = format!("{}/", paths.rig.display());
    let held = |pid: u32| {
        ["mnt", "net", "pid"].iter().any(|kind| {
            fs::read_link(format!("/proc/{pid}/ns/{kind}")).is_ok_and(|ns| namespaces.contains(&ns))
        })
    };
    let inside = processes().filter(|pid| held(*pid)).count();
    let names_rig = |pid: u32| {
        cmdline(Path::new("/proc"), pid)
            .is_some_and(|words| words.iter().any(|word| word == "rig-init"))
    };
    let holders = processes().filter(|pid| names_rig(*pid)).count();
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let ours = |point: &str| {
        [rig.as_str(), "/var/lib/terrace", "/var/lib/kubelet"]
            .iter()
            .any(|dir| point.starts_with(dir))
    };
    let mounts = table.lines().filter(|line| line.split(' ').nth(4).is_some_and(ours)).count();
    let is_attached = |name: &&String| {
        Path::new("/sys/block").join(name.trim_start_matches("/dev/")).join("loop").exists()
    };
    let loops = loop_devices(paths)?.len() + devices.iter().filter(is_attached).count();
    let groups = cgroups().iter().filter(|group| group.exists()).count();
    let namespaces_left = if inside == 0 { 0 } else { namespaces.len() };
    progress.say(format!(
        "left: {} processes, {namespaces_left} namespaces, {mounts} mounts, {loops} loop devices, {groups} cgroups",
        inside + holders
    ));
    if inside + holders + mounts + loops + groups > 0 {
        bail!("the rig left something behind");
    }
    Ok(())
}
