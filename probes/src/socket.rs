//! The line to csi-node: connects, tells what it is given, passes on what it hears, and connects again. csi-node may be away for
//! as long as it likes: what could not be told is lost, never kept.

use std::path::PathBuf;
use std::time::Duration;

use terrace_probe_abi::wire::{Lines, Names, ToNode, ToProbe, WireError, from_line, to_line};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{Receiver, Sender};

/// Between two tries, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How long csi-node may leave a line unread.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is heard.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Connected, for the so-manieth time: all is to be said anew.
    Connected(u64),
    /// Whose volumes these are.
    Names(Names),
    /// Somebody asks for a volume's buckets.
    Histogram(String),
    /// Nobody listens any more.
    Gone,
}

/// What is told, and in which connection: it means nothing in another.
pub type Told = (u64, ToNode);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("read from or write to csi-node")]
    Io(#[from] std::io::Error),
    #[error("csi-node leaves its lines unread")]
    Unread,
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("csi-node closed the connection")]
    Closed,
    #[error("nobody listens to what csi-node says")]
    Deaf,
}

/// Runs until the other end of either channel is dropped.
pub async fn run(path: PathBuf, heard: Sender<Heard>, mut tell: Receiver<Told>) {
    let (mut pause, mut number) = (PAUSE.0, 0);
    loop {
        if let Ok(stream) = UnixStream::connect(&path).await {
            number += 1;
            pause = PAUSE.0;
            if heard.send(Heard::Connected(number)).await.is_err() {
                return;
            }
            match converse(stream, number, &heard, &mut tell).await {
                Ok(()) | Err(Error::Deaf) => return,
                Err(error) => tracing::info!(%error, "the line to csi-node is down"),
            }
            if heard.send(Heard::Gone).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Until one side ends it; `Ok` when there is nothing left to tell, ever.
async fn converse(
    stream: UnixStream,
    number: u64,
    heard: &Sender<Heard>,
    tell: &mut Receiver<Told>,
) -> Result<(), Error> {
    let (mut reader, mut writer) = stream.into_split();
    let (mut lines, mut buffer) = (Lines::default(), vec![0; 16 << 10]);
    loop {
        tokio::select! {
            told = tell.recv() => {
                let Some((connection, message)) = told else { return Ok(()) };
                if connection == number {
                    let line = to_line(&message)?;
                    let written = tokio::time::timeout(PATIENCE, writer.write_all(&line));
                    written.await.map_err(|_| Error::Unread)??;
                }
            }
            read = reader.read(&mut buffer) => {
                let count = read?;
                if count == 0 {
                    return Err(Error::Closed);
                }
                lines.push(&buffer[..count]);
                while let Some(line) = lines.next_line()? {
                    let said = match from_line::<ToProbe>(line)? {
                        ToProbe::Names(names) => Heard::Names(names),
                        ToProbe::Histogram { pv_name } => Heard::Histogram(pv_name),
                        ToProbe::Unknown => continue,
                    };
                    heard.send(said).await.map_err(|_| Error::Deaf)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use terrace_probe_abi::wire::{Hello, Names, ToNode, ToProbe, from_line, to_line};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixListener;
    use tokio::sync::mpsc;

    use super::{Heard, run};

    fn hello() -> ToNode {
        ToNode::Hello(Hello { version: "1".into(), ..Hello::default() })
    }

    #[tokio::test]
    async fn either_may_restart_and_all_is_said_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.sock");
        let (heard, mut hears) = mpsc::channel(8);
        let (tell, told) = mpsc::channel(8);
        tokio::spawn(run(path.clone(), heard, told));
        for connection in 1..=2 {
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).unwrap();
            assert_eq!(hears.recv().await, Some(Heard::Connected(connection)));
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            // What was meant for an earlier connection is not told in this one.
            tell.send((connection - 1, ToNode::Unknown)).await.unwrap();
            tell.send((connection, hello())).await.unwrap();
            let mut line = String::new();
            BufReader::new(reader).read_line(&mut line).await.unwrap();
            assert_eq!(from_line::<ToNode>(line.as_bytes()).unwrap(), hello());
            let names = to_line(&ToProbe::Names(Names::default())).unwrap();
            writer.write_all(&names[..7]).await.unwrap();
            tokio::task::yield_now().await;
            writer.write_all(&names[7..]).await.unwrap();
            assert_eq!(hears.recv().await, Some(Heard::Names(Names::default())));
            drop((writer, listener));
            assert_eq!(hears.recv().await, Some(Heard::Gone));
        }
    }

    #[tokio::test]
    async fn nonsense_ends_the_connection_and_a_new_one_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (heard, mut hears) = mpsc::channel(8);
        let (_tell, told) = mpsc::channel(8);
        tokio::spawn(run(path, heard, told));
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"{\"v\":1,\n").await.unwrap();
        assert_eq!(hears.recv().await, Some(Heard::Connected(1)));
        assert_eq!(hears.recv().await, Some(Heard::Gone));
        let again = tokio::time::timeout(Duration::from_secs(10), hears.recv()).await;
        assert_eq!(again.unwrap(), Some(Heard::Connected(2)));
    }
}
