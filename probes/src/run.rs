//! Wiring: the loop around [`Watch`], the line to csi-node, the pages, events on stdout and to a collector. One thread does it
//! all; only writes to stdout, which may block, have one of their own.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::args::Args;
use crate::latency::WINDOW;
use crate::loader::{Attached, LoadError};
use crate::mountinfo_watch::MountWatch;
use crate::otlp;
use crate::pages::{Pages, router};
use crate::run_settings::Settings;
use crate::run_watch::Watch;
use crate::socket::Heard;

#[path = "run_lines.rs"]
mod lines;

use lines::{Lines, open_lines};

/// After the kernel woke us: more is likely on its way, and is taken along.
const GATHER: Duration = Duration::from_millis(20);
/// Between two looks at what is new.
const LOOK: Duration = Duration::from_millis(250);
/// What the last events get to leave in.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// Why the probe ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's side.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The address is taken or not ours.
    #[error("listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel does not wake us.
    #[error("wait for the kernel's side")]
    Wake(#[source] std::io::Error),
    /// The collector's address.
    #[error(transparent)]
    Collector(#[from] otlp::Error),
}

/// Runs until `stop` is done.
///
/// # Errors
/// [`Error`]; the kubelet starts the container again, and pinned maps have lost nothing.
pub async fn run<A: Attached>(
    args: &Args,
    attached: A,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let watch = Watch::new(attached, Settings::of(args))?;
    let (ask, asked) = mpsc::channel(4);
    let (unready_now, unready) = watch::channel("the host's mounts are not read yet".to_owned());
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|source| Error::Listen { address: args.listen, source })?;
    let (end_now, mut end) = watch::channel(false);
    let pages = router(Pages { ask, unready });
    let served = tokio::spawn(async move {
        let ended = async move {
            let _ = end.wait_for(|end| *end).await;
        };
        if let Err(error) = axum::serve(listener, pages).with_graceful_shutdown(ended).await {
            tracing::error!(%error, "the pages are no longer served");
        }
    });
    let mut lines = open_lines(args, asked)?;
    let result = tokio::select! {
        result = turn(args, watch, &mut lines, &unready_now) => result,
        () = stop => Ok(()),
    };
    end_now.send_replace(true);
    let _ = tokio::time::timeout(LAST_EVENTS, served).await;
    let flushed = tokio::task::spawn_blocking(move || lines.flush());
    let _ = tokio::time::timeout(LAST_EVENTS, flushed).await;
    result
}

async fn turn<A: Attached>(
    args: &Args,
    mut watch: Watch<A>,
    lines: &mut Lines,
    unready: &watch::Sender<String>,
) -> Result<(), Error> {
    let wake = watch.attached().wake().try_clone_to_owned().map_err(Error::Wake)?;
    let wake = polled(wake, Interest::READABLE).map_err(Error::Wake)?;
    let mounts = MountWatch::open(&args.proc.join("1/mountinfo")).ok();
    let mut windows = ticker(WINDOW);
    let mut pushes = ticker(args.otlp_interval);
    let mut looked = Instant::now();
    let mut due = None;
    log_outcome(watch.look(), "what was seen has no names yet");
    unready.send_replace(String::new());
    loop {
        tokio::select! {
            woken = wake.readable() => {
                woken.map_err(Error::Wake)?.clear_ready();
                tokio::time::sleep(GATHER).await;
                lines.pass_events(&mut watch);
                due.get_or_insert(looked + LOOK);
            }
            () = until(due) => {
                (looked, due) = (Instant::now(), None);
                log_outcome(watch.look(), "what was seen has no names yet");
            }
            () = changed(mounts.as_ref()) => watch.host_changed(),
            _ = windows.tick() => {
                (looked, due) = (Instant::now(), None);
                lines.pass_events(&mut watch);
                match watch.window() {
                    Ok(told) => lines.tell(told),
                    Err(error) => log_outcome(Err(error), "a window is lost"),
                }
            }
            _ = pushes.tick(), if lines.collector.is_some() => lines.push(&watch, &args.proc),
            Some(heard) = lines.heard.recv() => hear(&mut watch, lines, heard),
            Some(answer) = lines.asked.recv() => drop(answer.send(lines.view(&watch))),
        }
    }
}

/// Never, where nothing is due.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = tokio::time::interval_at(Instant::now() + period, period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

fn log_outcome(outcome: Result<(), LoadError>, meaning: &'static str) {
    if let Err(error) = outcome {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        tracing::warn!(%error, source, "{meaning}");
    }
}

#[expect(
    deprecated,
    reason = "what it warns of cannot happen to a descriptor that is owned; the new one is unsafe"
)]
fn polled(descriptor: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, interest)
}

/// Where the file cannot be waited for, new mounts are found when they are used.
async fn changed(mounts: Option<&MountWatch>) {
    let Some(mounts) = mounts else { return std::future::pending().await };
    if mounts.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn hear<A: Attached>(watch: &mut Watch<A>, lines: &mut Lines, heard: Heard) {
    match heard {
        Heard::Connected(connection) => {
            lines.connection = Some(connection);
            lines.tell(watch.hello());
        }
        Heard::Gone => lines.connection = None,
        Heard::Names(names) => {
            watch.names(names);
            log_outcome(watch.look(), "names are known, places are not");
        }
        Heard::Histogram(pv_name) => lines.tell(vec![watch.histogram(pv_name)]),
    }
}
