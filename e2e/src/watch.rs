//! Following objects as they change, by `kubectl get --watch`: what is waited for is seen when it happens, not when one
//! looks again. It judges nothing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::rig::kubeconfig;

/// Hands every state of the objects that `kubectl get WORDS` names to `see`, a line each, those of the beginning first,
/// until it gives something. The words say how a line looks (`-o jsonpath=...{"\n"}`).
///
/// # Errors
/// At the deadline or the end of the watch, with the last line.
pub fn follow<T>(
    what: &str,
    limit: Duration,
    words: &[&str],
    see: impl FnMut(&str) -> Result<Option<T>>,
) -> Result<T> {
    let mut watch = Command::new("kubectl");
    watch.arg("--kubeconfig").arg(kubeconfig()?).args(words).arg("--watch");
    let mut child = watch.stdout(Stdio::piped()).spawn().context("start kubectl")?;
    let output = child.stdout.take().context("kubectl has no output")?;
    let (tell, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody listens once it was seen.
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    let found = listen(&lines, Instant::now() + limit, see);
    child.kill().and_then(|()| child.wait()).context("end kubectl")?;
    found.with_context(|| format!("{what}: not within {} s", limit.as_secs()))
}

fn listen<T>(
    lines: &Receiver<String>,
    end: Instant,
    mut see: impl FnMut(&str) -> Result<Option<T>>,
) -> Result<T> {
    let mut last = String::from("nothing");
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some(found) = see(&line)? {
                    return Ok(found);
                }
                last = line;
            }
            Err(RecvTimeoutError::Timeout) => bail!("seen last: {last}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the watch ended; seen last: {last}"),
        }
    }
}
