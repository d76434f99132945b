//! Wiring: the loop around [`Watch`], the line to csi-node, the pages, events on stdout and to a collector. One thread does it
//! all; only writes to stdout, which may block, have one of their own.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use terrace_probe_abi::wire::ToNode;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::args::{Args, OnOff};
use crate::latency::WINDOW;
use crate::loader::{Attached, LoadError};
use crate::metrics_view::View;
use crate::mountinfo_watch::MountWatch;
use crate::otlp::{self, Collector};
use crate::otlp_metrics::Span;
use crate::own;
use crate::pages::{Pages, router};
use crate::run_settings::Settings;
use crate::run_watch::Watch;
use crate::slow::SlowEvent;
use crate::slow_buffer::Buffer;
use crate::socket::{self, Heard, Told};

/// After the kernel woke us: more is likely on its way, and is taken along.
const GATHER: Duration = Duration::from_millis(20);
/// Between two looks at what is new.
const LOOK: Duration = Duration::from_millis(250);
/// What the last events get to leave in.
const LAST_EVENTS: Duration = Duration::from_secs(1);
/// Events written to stdout at a time.
const LINES: usize = 256;
/// The variable that names a collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

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

/// Everything the loop tells and hears.
struct Lines {
    heard: mpsc::Receiver<Heard>,
    tell: mpsc::Sender<Told>,
    asked: mpsc::Receiver<oneshot::Sender<Box<View>>>,
    to_stdout: Option<Arc<Buffer<SlowEvent>>>,
    to_collector: Option<Arc<Buffer<SlowEvent>>>,
    collector: Option<Collector>,
    connection: Option<u64>,
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
    if let Some(buffer) = &lines.to_stdout {
        let last: Vec<_> = buffer.take(usize::MAX);
        let _ =
            tokio::time::timeout(LAST_EVENTS, tokio::task::spawn_blocking(move || write(&last)))
                .await;
    }
    result
}

fn open_lines(
    args: &Args,
    asked: mpsc::Receiver<oneshot::Sender<Box<View>>>,
) -> Result<Lines, Error> {
    let (hear, heard) = mpsc::channel(16);
    let (tell, told) = mpsc::channel(64);
    tokio::spawn(socket::run(args.probe_socket.clone(), hear, told));
    let buffer = || Arc::new(Buffer::new(usize::try_from(args.event_buffer).unwrap_or(usize::MAX)));
    let to_stdout = match args.event_lines {
        OnOff::On => Some(buffer()),
        OnOff::Off => None,
    };
    if let Some(buffer) = &to_stdout {
        tokio::spawn(write_events(Arc::clone(buffer)));
    }
    let address = std::env::var(ENDPOINT).ok().filter(|address| !address.is_empty());
    let collector = address.map(|address| Collector::new(&address, &args.node_name)).transpose()?;
    let to_collector = collector.as_ref().map(|collector| {
        let events = buffer();
        tokio::spawn(collector.clone().send_events(Arc::clone(&events)));
        events
    });
    Ok(Lines { heard, tell, asked, to_stdout, to_collector, collector, connection: None })
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
    log_outcome(watch.look(), "what was seen has no names yet");
    unready.send_replace(String::new());
    loop {
        tokio::select! {
            woken = wake.readable() => {
                woken.map_err(Error::Wake)?.clear_ready();
                tokio::time::sleep(GATHER).await;
                pass_events(&mut watch, lines);
                if looked.elapsed() >= LOOK {
                    looked = Instant::now();
                    log_outcome(watch.look(), "what was seen has no names yet");
                }
            }
            () = changed(mounts.as_ref()) => watch.host_changed(),
            _ = windows.tick() => {
                looked = Instant::now();
                pass_events(&mut watch, lines);
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

fn pass_events<A: Attached>(watch: &mut Watch<A>, lines: &Lines) {
    loop {
        let events = watch.slow();
        if events.is_empty() {
            return;
        }
        for event in events.into_iter().map(Arc::new) {
            let buffers = [&lines.to_stdout, &lines.to_collector];
            buffers.into_iter().flatten().for_each(|buffer| buffer.push(&event));
        }
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

impl Lines {
    /// What csi-node does not take in time is lost: there are newer figures soon.
    fn tell(&self, messages: Vec<ToNode>) {
        let Some(connection) = self.connection else { return };
        for message in messages {
            if self.tell.try_send((connection, message)).is_err() {
                tracing::warn!("csi-node does not keep up with what it is told");
                return;
            }
        }
    }

    fn view<A: Attached>(&self, watch: &Watch<A>) -> Box<View> {
        let mut view = watch.view();
        let buffers = [&self.to_stdout, &self.to_collector];
        let overflowed = buffers.into_iter().flatten().map(|buffer| buffer.overflowed());
        view.own.slow_overflowed = overflowed.sum();
        view.own.is_connected = self.connection.is_some();
        view
    }

    fn push<A: Attached>(&self, watch: &Watch<A>, proc: &Path) {
        let Some(collector) = self.collector.clone() else { return };
        let view = self.view(watch);
        let span = Span { start: own::boot_ns(proc), now: own::whole_ns(own::unix_time()) };
        tokio::spawn(async move {
            if let Err(status) = collector.send_metrics(&view, span).await {
                tracing::warn!(%status, "metrics did not reach the collector");
            }
        });
    }
}

async fn write_events(buffer: Arc<Buffer<SlowEvent>>) {
    loop {
        buffer.filled().await;
        let batch = buffer.take(LINES);
        let written = tokio::task::spawn_blocking(move || write(&batch)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::error!("slow operations can no longer be written to stdout");
            return;
        }
    }
}

fn write(events: &[Arc<SlowEvent>]) -> std::io::Result<()> {
    let mut out = Vec::new();
    for event in events {
        serde_json::to_writer(&mut out, &**event)?;
        out.push(b'\n');
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&out)?;
    stdout.flush()
}
