//! Everything the loop tells and hears: the line to csi-node, questions from the pages, slow operations to stdout and to a
//! collector. What cannot be told now is dropped and counted, never waited for.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use terrace_probe_abi::wire::ToNode;
use tokio::sync::{mpsc, oneshot};

use super::Error;
use crate::args::{Args, OnOff};
use crate::loader::Attached;
use crate::metrics_view::View;
use crate::otlp::Collector;
use crate::otlp_metrics::Span;
use crate::own;
use crate::run_watch::Watch;
use crate::slow::SlowEvent;
use crate::slow_buffer::Buffer;
use crate::socket::{self, Heard, Told};

/// Events written to stdout at a time.
const LINES: usize = 256;
/// The variable that names a collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// All of them.
pub(super) struct Lines {
    pub(super) heard: mpsc::Receiver<Heard>,
    tell: mpsc::Sender<Told>,
    pub(super) asked: mpsc::Receiver<oneshot::Sender<Box<View>>>,
    to_stdout: Option<Arc<Buffer<SlowEvent>>>,
    to_collector: Option<Arc<Buffer<SlowEvent>>>,
    pub(super) collector: Option<Collector>,
    pub(super) connection: Option<u64>,
}

/// Opens them all.
pub(super) fn open_lines(
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

impl Lines {
    /// Passes on all slow operations there are.
    pub(super) fn pass_events<A: Attached>(&self, watch: &mut Watch<A>) {
        loop {
            let events = watch.slow();
            if events.is_empty() {
                return;
            }
            for event in events.into_iter().map(Arc::new) {
                let buffers = [&self.to_stdout, &self.to_collector];
                buffers.into_iter().flatten().for_each(|buffer| buffer.push(&event));
            }
        }
    }

    /// What still waits for stdout.
    pub(super) fn flush(&self) -> std::io::Result<()> {
        self.to_stdout.as_ref().map_or(Ok(()), |buffer| write(&buffer.take(usize::MAX)))
    }

    /// What csi-node does not take in time is lost: there are newer figures soon.
    pub(super) fn tell(&self, messages: Vec<ToNode>) {
        let Some(connection) = self.connection else { return };
        for message in messages {
            if self.tell.try_send((connection, message)).is_err() {
                tracing::warn!("csi-node does not keep up with what it is told");
                return;
            }
        }
    }

    /// A moment, with what only this end knows.
    pub(super) fn view<A: Attached>(&self, watch: &Watch<A>) -> Box<View> {
        let mut view = watch.view();
        let buffers = [&self.to_stdout, &self.to_collector];
        let overflowed = buffers.into_iter().flatten().map(|buffer| buffer.overflowed());
        view.own.slow_overflowed = overflowed.sum();
        view.own.is_connected = self.connection.is_some();
        view
    }

    /// Sends the metrics of this moment to the collector, if there is one.
    pub(super) fn push<A: Attached>(&self, watch: &Watch<A>, proc: &Path) {
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
