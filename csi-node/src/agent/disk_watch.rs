//! Follows the disks between the passes over the node: the kernel says when one came or went (uevents) and when a read or write of one failed (its
//! log), and each is asked for its own word (SMART) once an hour. What follows is judged in [`super::disk_health`]. Nothing here waits for the
//! API server, and nothing runs while the kernel is silent but that hourly question (I8).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use terrace_device_types::{DeviceKind, DeviceView, Transport};
use terrace_devices::{KernelLog, Uevents, since_boot};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Agent;
use crate::host::Host;

/// How often a disk is asked for its own word.
const ASKED_EVERY: Duration = Duration::from_secs(3600);
/// How often new disks are looked for among those that the passes found.
const EVERY: Duration = Duration::from_secs(30);

/// Follows until the end.
pub async fn watch(agent: Arc<Agent>) {
    tokio::join!(follow_uevents(&agent), follow_log(&agent), ask_all(&agent));
}

/// A pass over the node for each disk that comes or goes. Without it, the passes every minute find it.
async fn follow_uevents(agent: &Agent) {
    let told = follow(Uevents::open(), |events: &mut Uevents| {
        if events.read()? {
            agent.dirty.notify_one();
        }
        Ok(())
    });
    let error = told.await;
    tracing::warn!(%error, "the kernel does not tell of disks that come and go: they are found within a minute");
}

async fn follow_log(agent: &Agent) {
    let host = terrace_devices::Host::real();
    let up = since_boot(&host).unwrap_or_default();
    let booted = Timestamp::now().checked_sub(up).unwrap_or(Timestamp::UNIX_EPOCH);
    let told = follow(KernelLog::open(&host), |log: &mut KernelLog| {
        let logged = log.read()?;
        if !logged.is_empty() {
            let mut signs = agent.disk_signs();
            logged.into_iter().for_each(|logged| signs.log(logged, booted));
            agent.dirty.notify_one();
        }
        Ok(())
    });
    let error = told.await;
    tracing::warn!(%error, "the kernel's log cannot be read: failed reads and writes of disks are not known");
}

/// Hands over what is opened whenever there is something to read; gives what ended it.
async fn follow<T: AsRawFd>(
    opened: io::Result<T>,
    mut take: impl FnMut(&mut T) -> io::Result<()>,
) -> io::Error {
    let mut waiting = match opened.and_then(register) {
        Ok(waiting) => waiting,
        Err(error) => return error,
    };
    loop {
        // What was there before counts too: the first wait ends at once.
        let taken = match waiting.readable_mut().await {
            Ok(mut ready) => {
                let taken = take(ready.get_inner_mut());
                ready.clear_ready();
                taken
            }
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            return error;
        }
    }
}

/// Has the runtime wait for it.
#[expect(unsafe_code, reason = "tokio wants to be told that the descriptor stays the same")]
fn register<T: AsRawFd>(opened: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: both types followed here own the one descriptor that they give, from their opening to their end.
    Ok(unsafe { AsyncFd::register_with_interest(opened, Interest::READABLE) }?)
}

/// Asks every disk once an hour, one after the other.
async fn ask_all(agent: &Agent) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut asked: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let disks = agent.disks().clone();
        asked.retain(|id, _| disks.iter().any(|disk| disk.id == *id));
        for disk in disks.iter().filter(|disk| has_smart(disk)) {
            let is_due = asked.get(&disk.id).is_none_or(|at| at.elapsed() >= ASKED_EVERY);
            if is_due {
                asked.insert(disk.id.clone(), Instant::now());
                ask(agent, disk).await;
            }
        }
    }
}

/// The disks of hypervisors, arrays and partitions know nothing of their health.
fn has_smart(disk: &DeviceView) -> bool {
    let speaks = match disk.facts.transport {
        Some(Transport::Nvme | Transport::Ata | Transport::Sas | Transport::FibreChannel) => true,
        Some(Transport::Scsi | Transport::Usb) => true,
        Some(Transport::NvmeOfFabrics | Transport::Iscsi | Transport::Mmc) => false,
        Some(Transport::Virtio) | None => false,
    };
    disk.kind == DeviceKind::Disk && speaks
}

async fn ask(agent: &Agent, disk: &DeviceView) {
    let path = disk.path.clone();
    match agent.context.look(move |host: &dyn Host| host.smart(&path)).await {
        Ok(Ok(smart)) => {
            let before = agent.disk_signs().smart(disk);
            agent.disk_signs().say(&disk.id, smart);
            if smart.is_some() && smart != before {
                agent.dirty.notify_one();
            }
        }
        Ok(Err(error)) => {
            let error = super::report::chain(&error);
            tracing::debug!(error, disk = disk.id, "a disk was not asked for its health");
        }
        Err(error) => tracing::warn!(%error, disk = disk.id, "a disk was asked for its health"),
    }
}
