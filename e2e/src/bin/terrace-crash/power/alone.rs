//! A process of its own for what mounts: its mounts are in a namespace that ends with it, its files below one folder, and whoever
//! started it takes both away, however it ended. Ctrl-C lets it finish what it is at.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use terrace_device_types::VolumeUuid;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

/// Tells the process which is its folder.
const FOLDER: &str = "TERRACE_CRASH_FOLDER";
/// Not /tmp, which may be a tmpfs: a pool needs a disk.
const BELOW: &str = "/var/tmp";
/// How every folder begins.
const OURS: &str = "terrace-crash-";
/// A file in the folder that says: a person wants to see it.
const KEEP: &str = "keep";
/// How long what was interrupted may take to end.
const LAST_ROUND: Duration = Duration::from_secs(30);
/// How long the kernel may take to let loop devices go.
const LET_GO: Duration = Duration::from_secs(10);

/// Where the work is done.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its folder.
    pub(crate) dir: PathBuf,
    token: String,
    end: Arc<AtomicBool>,
}

impl Place {
    /// A folder whose volumes have the same UUIDs in every life of a machine.
    pub(crate) fn lasting(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), token: "01a57".to_owned(), end: Arc::default() }
    }

    /// Whether somebody wants it to end.
    pub(crate) fn is_to_end(&self) -> bool {
        self.end.load(Ordering::SeqCst)
    }

    /// The UUID of a volume: it begins with what the folder's name ends with, so that a loop device tells whose it is even when its
    /// pool is mounted nowhere any more.
    pub(crate) fn volume(&self, name: &str) -> VolumeUuid {
        let uuid = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{}/{name}", self.token).as_bytes());
        let text = format!("{}{}", self.token, &uuid.simple().to_string()[self.token.len()..]);
        VolumeUuid(Uuid::try_parse(&text).unwrap_or(uuid))
    }

    /// Leaves the folder where it is, for a person.
    pub(crate) fn keep(&self) -> Result<()> {
        fs::write(self.dir.join(KEEP), "").context("mark the folder")
    }
}

/// Runs `work` where its mounts are nobody else's: this program is started again with the same arguments.
///
/// # Errors
/// If it failed, or something of it is left behind.
pub(crate) fn alone<W, F>(work: W) -> Result<()>
where
    W: FnOnce(Place) -> F,
    F: Future<Output = Result<()>>,
{
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    match std::env::var_os(FOLDER) {
        Some(dir) => {
            let place = enter(PathBuf::from(dir))?;
            runtime.block_on(work(place))
        }
        None => supervise(&runtime),
    }
}

fn enter(dir: PathBuf) -> Result<Place> {
    let name = dir.file_name().and_then(|name| name.to_str()).context("the folder has no name")?;
    let token = name.rsplit('-').next().unwrap_or_default().to_owned();
    forget_strangers(&dir)?;
    let end = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&end);
    // The other end is the supervisor's: it closes when that wants an end, and when that is gone.
    std::thread::spawn(move || {
        let _bytes = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::SeqCst);
    });
    Ok(Place { dir, token, end })
}

/// Drops this namespace's copies of loop devices' mounts: they would hold others' devices after those let them go.
fn forget_strangers(dir: &Path) -> Result<()> {
    let mounts = terrace_devices::observe_mounts(&terrace_devices::Host::real())?;
    for mount in mounts.iter().rev() {
        let is_loop = Path::new(&mount.source).to_string_lossy().starts_with("/dev/loop");
        if is_loop && !dir.starts_with(&mount.at) {
            unmount(&mount.at, UnmountFlags::DETACH)
                .with_context(|| format!("forget {}", mount.at.display()))?;
        }
    }
    Ok(())
}

fn supervise(runtime: &Runtime) -> Result<()> {
    forget_killed()?;
    let token = Uuid::new_v4().simple().to_string()[..8].to_owned();
    // It has its name once it is held: another of us takes what is not for abandoned.
    let (dir, new) =
        (Path::new(BELOW).join(format!("{OURS}{token}")), Path::new(BELOW).join(&token));
    fs::create_dir(&new).with_context(|| format!("make {}", new.display()))?;
    let _held = hold(&new)?;
    fs::rename(&new, &dir)?;
    let ended = runtime.block_on(guard(&dir));
    let left = take_away(&token, &dir)?;
    if !left.is_empty() {
        bail!("left behind, and taken away by hand: {}", left.join(", "));
    }
    if !ended?.success() {
        bail!("it failed; what it said is above");
    }
    Ok(())
}

/// Takes a folder for this process, for as long as it lives; `None`: another has it, or had.
fn hold(dir: &Path) -> Result<Option<File>> {
    let open = match File::open(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("open {}", dir.display()))?,
    };
    match flock(&open, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(open)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno).with_context(|| format!("lock {}", dir.display())),
    }
}

/// Removes the folders of those that were killed before they could, and that nobody wants to see.
fn forget_killed() -> Result<()> {
    for entry in fs::read_dir(BELOW).with_context(|| format!("list {BELOW}"))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let Some(token) = name.strip_prefix(OURS) else { continue };
        let abandoned = hold(&path)?.is_some() && loops_of(token)?.is_empty();
        if abandoned && !path.join(KEEP).exists() {
            fs::remove_dir_all(&path).with_context(|| format!("remove {name}"))?;
        }
    }
    Ok(())
}

/// Starts the process in a group of its own, so that an interrupt from the keyboard reaches only us, and waits for its end.
async fn guard(dir: &Path) -> Result<ExitStatus> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "slave", "--"]).arg(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env(FOLDER, dir).stdin(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let mut child = command.process_group(0).kill_on_drop(true).spawn().context("start unshare")?;
    let mut stdin = child.stdin.take();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        ended = child.wait() => return Ok(ended?),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    eprintln!("interrupted: waiting for what is under way");
    drop(stdin.take());
    match tokio::time::timeout(LAST_ROUND, child.wait()).await {
        Ok(ended) => {
            ended?;
            bail!("interrupted: what was done until then is above")
        }
        Err(_) => {
            child.kill().await?;
            bail!("it did not end within {} s and was killed", LAST_ROUND.as_secs())
        }
    }
}

/// Waits until no loop device is of that folder, detaches what remains, removes the folder unless somebody wants to see it. What
/// had to be detached.
fn take_away(token: &str, dir: &Path) -> Result<Vec<String>> {
    let until = Instant::now() + LET_GO;
    let mut left = loops_of(token)?;
    while !left.is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
        left = loops_of(token)?;
    }
    for device in &left {
        Command::new("losetup").args(["--detach", device]).status().context("start losetup")?;
    }
    if dir.join(KEEP).exists() {
        eprintln!("kept to look at: {}", dir.display());
    } else {
        fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(left)
}

/// Loop devices whose file lies in the folder or is an image of a volume of ours.
fn loops_of(token: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").context("list /sys/block")? {
        let entry = entry?;
        let backing = fs::read_to_string(entry.path().join("loop/backing_file"));
        let words = [format!("{OURS}{token}"), format!("t-{token}")];
        if backing.is_ok_and(|backing| words.iter().any(|word| backing.contains(word))) {
            found.push(format!("/dev/{}", entry.file_name().to_string_lossy()));
        }
    }
    Ok(found)
}
