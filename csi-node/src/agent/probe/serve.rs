//! The socket on which the probe is heard: lines of JSON, one probe at a time, the newer connection wins. Whatever comes over it,
//! and whenever either side starts anew, the node goes on.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use jiff::Timestamp;
use terrace_probe_abi::wire::{Lines, ToNode, ToProbe, WireError, from_line, to_line};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::board::{Board, Connection, Turn};
use crate::agent::report::chain;

/// Whoever may read it, may write status: root alone.
const MODE: u32 = 0o600;
/// Between two tries to listen.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a probe may take to read a line.
const PATIENCE: Duration = Duration::from_secs(10);
/// Questions that may wait for a probe.
const QUESTIONS: usize = 16;
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// Why there is no socket, or a connection came to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be made.
    #[error("listen on {path}", path = path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It broke.
    #[error("the connection of the probe broke")]
    Broken(#[from] io::Error),
    /// What came is no message.
    #[error("the probe does not speak as it should")]
    Wire(#[from] WireError),
    /// It does not read.
    #[error("the probe did not take a line within {} s", PATIENCE.as_secs())]
    Deaf,
    /// It went away.
    #[error("the probe closed its connection")]
    Closed,
}

/// Listens until `end` turns true; what turned goes into `turns`.
pub async fn run(
    board: Arc<Board>,
    path: PathBuf,
    turns: mpsc::UnboundedSender<Turn>,
    mut end: watch::Receiver<bool>,
) {
    loop {
        let listener = match listen(&path) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(error = chain(&error), "no probe can connect; it is tried again");
                tokio::select! {
                    _ = end.wait_for(|end| *end) => return,
                    () = tokio::time::sleep(AGAIN) => continue,
                }
            }
        };
        tokio::select! {
            _ = end.wait_for(|end| *end) => break,
            error = accept(&board, &listener, &turns) => {
                tracing::warn!(%error, "the socket of the probe broke; it is made anew");
            }
        }
    }
    // The last one is gone or on its way out: nothing is left to be cleaned up but the name.
    drop(fs::remove_file(&path));
}

/// The socket, in the place of one that an earlier run left. It has its mode before it has its name.
fn listen(path: &Path) -> Result<UnixListener, Error> {
    let fail = |source| Error::Listen { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(fail)?;
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match fs::remove_file(&fresh) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(fail(source)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(fail)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(MODE)).map_err(fail)?;
    fs::rename(&fresh, path).map_err(fail)?;
    Ok(listener)
}

/// Takes connections until that fails. A newer one ends the older.
async fn accept(
    board: &Arc<Board>,
    listener: &UnixListener,
    turns: &mpsc::UnboundedSender<Turn>,
) -> io::Error {
    let mut current: Option<Talk> = None;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => return error,
        };
        if current.take().is_some_and(|talk| !talk.0.is_finished()) {
            tracing::info!("a newer probe connected; the older one is not heard any more");
        }
        let (board, turns) = (Arc::clone(board), turns.clone());
        current = Some(Talk(tokio::spawn(async move { talk(&board, stream, &turns).await })));
    }
}

/// A connection, which ends when this is dropped.
struct Talk(JoinHandle<()>);

impl Drop for Talk {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Says that a connection is over, also when its task is cut off.
struct Heard<'a> {
    board: &'a Board,
    connection: Connection,
}

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        self.board.disconnected(self.connection, Timestamp::now());
    }
}

async fn talk(board: &Board, stream: UnixStream, turns: &mpsc::UnboundedSender<Turn>) {
    let (reading, writing) = stream.into_split();
    let (outbox, questions) = mpsc::channel(QUESTIONS);
    let connection = board.connected(outbox, Timestamp::now());
    let heard = Heard { board, connection };
    tracing::info!("a probe connected");
    let ended = tokio::select! {
        ended = hear(board, connection, reading, turns) => ended,
        ended = say(board, writing, questions) => ended,
    };
    drop(heard);
    match ended {
        Err(error @ (Error::Wire(_) | Error::Deaf)) => {
            tracing::warn!(error = chain(&error), "the probe is not heard any more");
        }
        Err(error) => tracing::info!(error = chain(&error), "the probe is not heard any more"),
        Ok(never) => match never {},
    }
}

/// A loop that only an error ends.
type Never = std::convert::Infallible;

async fn hear(
    board: &Board,
    connection: Connection,
    mut reading: OwnedReadHalf,
    turns: &mpsc::UnboundedSender<Turn>,
) -> Result<Never, Error> {
    let mut lines = Lines::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = reading.read(&mut chunk).await?;
        if count == 0 {
            return Err(Error::Closed);
        }
        lines.push(&chunk[..count]);
        while let Some(line) = lines.next_line()? {
            let said: ToNode = from_line(line)?;
            for turn in board.take(connection, said, Timestamp::now()) {
                // Nobody listens only at the end of the process.
                let _ = turns.send(turn);
            }
        }
    }
}

/// Says who is who, at once and whenever it changed, and hands on what is asked.
async fn say(
    board: &Board,
    mut writing: OwnedWriteHalf,
    mut questions: mpsc::Receiver<ToProbe>,
) -> Result<Never, Error> {
    let mut known = board.known();
    let names = known.borrow_and_update().names.clone();
    send(&mut writing, &ToProbe::Names(names)).await?;
    loop {
        let message = tokio::select! {
            changed = known.changed() => match changed {
                Ok(()) => ToProbe::Names(known.borrow_and_update().names.clone()),
                Err(_) => return Err(Error::Closed),
            },
            question = questions.recv() => question.ok_or(Error::Closed)?,
        };
        send(&mut writing, &message).await?;
    }
}

async fn send(writing: &mut OwnedWriteHalf, message: &ToProbe) -> Result<(), Error> {
    let line = to_line(message)?;
    let sent = tokio::time::timeout(PATIENCE, writing.write_all(&line)).await;
    Ok(sent.map_err(|_| Error::Deaf)??)
}

#[cfg(test)]
#[path = "serve/tests.rs"]
mod tests;
