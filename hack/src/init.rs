//! The first process of the rig's namespaces: mounts, network, a door to the API server, and reaping.
//! Everything the rig starts is below it, so its end is the end of every process, mount and interface of the rig.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{WaitOptions, wait};

use crate::pki::{NODE_IP, SERVICE_IP};
use crate::run::{command, run};

/// Held as long as a rig lives on this machine; tells whose it is.
pub(crate) const LOCK: &str = "/run/lock/terrace-rig.lock";
/// Below this cgroup are all Pods of the rig.
pub(crate) const CGROUP: &str = "terrace-rig";
/// Made when parts may be started.
pub(crate) const READY: &str = "run/ready";

/// Runs as process 1 of new process, mount and network namespaces. Its standard input is a listening socket of the
/// outer network. Ends only by a signal.
pub(crate) fn main(rig: &Path) -> Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let _lock = hold_lock(rig)?;
    set_up_mounts(rig)?;
    set_up_network()?;
    set_up_cgroups()?;
    fs::write(rig.join(READY), "")?;
    thread::spawn(move || serve(&listener));
    reap()
}

fn hold_lock(rig: &Path) -> Result<File> {
    fs::create_dir_all("/run/lock")?;
    let mut lock = File::options().create(true).truncate(false).write(true).open(LOCK)?;
    if lock.try_lock().is_err() {
        bail!("another rig runs on this machine: {}", fs::read_to_string(LOCK)?);
    }
    lock.set_len(0)?;
    write!(lock, "{}", rig.display())?;
    Ok(lock)
}

/// Hides what the parts write outside of the rig's folder: /run and /var/log are memory, /var/lib is the machine's
/// with a layer of memory above it, /var/lib/kubelet and /var/lib/terrace are folders of the rig.
fn set_up_mounts(rig: &Path) -> Result<()> {
    for hidden in ["/run", "/var/log", "/var/lib"] {
        if rig.starts_with(hidden) {
            bail!("the rig may not lie under {hidden}: it is covered inside");
        }
    }
    for (dir, mode) in [("/run", "0755"), ("/var/log", "0755")] {
        mount(&["-t", "tmpfs", "-o", &format!("mode={mode}"), "tmpfs", dir])?;
    }
    for dir in ["/run/lock", "/run/netns", "/run/over/upper", "/run/over/work"] {
        fs::create_dir_all(dir)?;
    }
    mount(&[
        "-t",
        "overlay",
        "-o",
        "lowerdir=/var/lib,upperdir=/run/over/upper,workdir=/run/over/work",
        "overlay",
        "/var/lib",
    ])?;
    for part in ["kubelet", "terrace"] {
        let (from, to) = (rig.join("state").join(part), Path::new("/var/lib").join(part));
        fs::create_dir_all(&from)?;
        fs::create_dir_all(&to)?;
        run(command("mount", ["--bind"]).args([&from, &to]))?;
    }
    tell_clock()?;
    mount(&["--make-rshared", "/"])
}

/// The kubelet does not start where nobody tells the processor's clock, and User Mode Linux does not.
fn tell_clock() -> Result<()> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    if !info.contains("User Mode Linux") {
        return Ok(());
    }
    fs::write("/run/cpuinfo", info.replace("bogomips", "cpu MHz\t\t: 2000.000\nbogomips"))?;
    mount(&["--bind", "/run/cpuinfo", "/proc/cpuinfo"])
}

fn mount(args: &[&str]) -> Result<()> {
    run(&mut command("mount", args))
}

fn set_up_network() -> Result<()> {
    let service = format!("{SERVICE_IP}/32");
    let node = format!("{NODE_IP}/24");
    for words in [
        "link set lo up",
        &format!("address add {service} dev lo"),
        "link add terrace0 type bridge",
        &format!("address add {node} dev terrace0"),
        "link set terrace0 up",
    ] {
        run(&mut command("ip", words.split(' ')))?;
    }
    Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?)
}

/// One group in each hierarchy (version 1) or in the one there is (version 2), where the kubelet wants three controllers; they are
/// on already unless nothing else uses them.
fn set_up_cgroups() -> Result<()> {
    let switches = Path::new("/sys/fs/cgroup/cgroup.subtree_control");
    if switches.exists() {
        fs::write(switches, "+cpu +memory +pids").context("switch controllers of cgroups on")?;
    }
    for group in cgroups() {
        fs::create_dir_all(&group).with_context(|| format!("create {}", group.display()))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let above = group.parent().unwrap_or(&group).join(file);
            if above.exists() && group.join(file).exists() {
                fs::write(group.join(file), fs::read(above)?)?;
            }
        }
    }
    Ok(())
}

/// The rig's group in every hierarchy of this machine, there or not.
pub(crate) fn cgroups() -> Vec<std::path::PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    if top.join("cgroup.controllers").exists() {
        return vec![top.join(CGROUP)];
    }
    let hierarchies = fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    hierarchies
        .filter(|path| path.is_dir() && !path.is_symlink())
        .map(|path| path.join(CGROUP))
        .collect()
}

/// Carries connections from the outer loopback to the API server within.
fn serve(listener: &TcpListener) {
    for outer in listener.incoming().flatten() {
        thread::spawn(move || {
            if let Ok(inner) = TcpStream::connect(("127.0.0.1", 443)) {
                join(&outer, &inner);
            }
        });
    }
}

fn join(outer: &TcpStream, inner: &TcpStream) {
    thread::scope(|scope| {
        scope.spawn(|| carry(outer, inner));
        carry(inner, outer);
    });
}

fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    // A broken connection is the callers' affair: both ends see it closed.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Waits for orphans for ever. The set-up above has already waited for its own children.
fn reap() -> Result<()> {
    loop {
        if wait(WaitOptions::empty()).is_err() {
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Hands a listening socket over as standard input.
pub(crate) fn as_stdin(listener: TcpListener) -> std::process::Stdio {
    OwnedFd::from(listener).into()
}
