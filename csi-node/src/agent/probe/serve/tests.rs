//! The socket, with a probe that is a few lines of this test.
use std::os::unix::fs::PermissionsExt;

use terrace_probe_abi::wire::{Hello, Names, PodName};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::super::board::Link;
use super::super::known::Known;
use super::*;

struct Rig {
    dir: tempfile::TempDir,
    board: Arc<Board>,
    end: watch::Sender<bool>,
    served: JoinHandle<()>,
}

impl Rig {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let board = Arc::new(Board::new(Timestamp::now()));
        let (turns, _) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(false);
        let path = dir.path().join("run/probe.sock");
        let served = tokio::spawn(run(Arc::clone(&board), path, turns, ended));
        Self { dir, board, end, served }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("run/probe.sock")
    }

    async fn connect(&self) -> BufReader<UnixStream> {
        loop {
            match UnixStream::connect(self.path()).await {
                Ok(stream) => return BufReader::new(stream),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    async fn until(&self, holds: impl Fn(&Board) -> bool) {
        while !holds(&self.board) {
            tokio::task::yield_now().await;
        }
    }
}

async fn names(probe: &mut BufReader<UnixStream>) -> Names {
    let mut line = Vec::new();
    probe.read_until(b'\n', &mut line).await.expect("read");
    match from_line(&line).expect("a message") {
        ToProbe::Names(names) => names,
        ToProbe::Histogram { .. } | ToProbe::Unknown => panic!("no names"),
    }
}

async fn say_hello(probe: &mut BufReader<UnixStream>, version: &str) {
    let hello = ToNode::Hello(Hello { version: version.into(), ..Hello::default() });
    probe.write_all(&to_line(&hello).expect("a line")).await.expect("written");
}

fn version(board: &Board) -> Option<String> {
    board.hello().map(|hello| hello.version)
}

#[tokio::test]
async fn names_come_at_connect_and_when_they_change_and_the_socket_is_roots_alone() {
    let rig = Rig::start();
    let mut probe = rig.connect().await;
    assert_eq!(names(&mut probe).await, Names::default());
    let mode = fs::metadata(rig.path()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let pods = vec![PodName { uid: "u".into(), namespace: "n".into(), name: "p".into() }];
    let known = Known { names: Names { pods, ..Names::default() }, ..Known::default() };
    rig.board.tell_known(known.clone());
    assert_eq!(names(&mut probe).await, known.names);
    let mut another = rig.connect().await;
    assert_eq!(names(&mut another).await, known.names, "all is said anew");
}

#[tokio::test]
async fn a_newer_probe_is_heard_and_the_older_one_is_not() {
    let rig = Rig::start();
    let mut older = rig.connect().await;
    say_hello(&mut older, "1").await;
    rig.until(|board| version(board).as_deref() == Some("1")).await;
    let mut newer = rig.connect().await;
    say_hello(&mut newer, "2").await;
    rig.until(|board| version(board).as_deref() == Some("2")).await;
    let mut rest = Vec::new();
    older.read_to_end(&mut rest).await.expect("it is closed");
    assert!(matches!(rig.board.link(), Link::Up { .. }));
    drop(newer);
    rig.until(|board| matches!(board.link(), Link::Down { .. })).await;
}

#[tokio::test]
async fn nonsense_and_endless_lines_end_the_connection_and_nothing_else() {
    let rig = Rig::start();
    for nonsense in [b"{\"v\":1,\n".to_vec(), vec![b'x'; 5 << 20]] {
        let mut probe = rig.connect().await;
        // It may be closed before all is written.
        let _ = probe.write_all(&nonsense).await;
        let mut rest = Vec::new();
        let _ = probe.read_to_end(&mut rest).await;
        rig.until(|board| matches!(board.link(), Link::Down { .. })).await;
    }
    let mut probe = rig.connect().await;
    say_hello(&mut probe, "1").await;
    rig.until(|board| version(board).is_some()).await;
}

#[tokio::test]
async fn a_socket_that_an_earlier_run_left_is_taken_over_and_the_end_removes_it() {
    let rig = Rig::start();
    let mut probe = rig.connect().await;
    names(&mut probe).await;
    rig.served.abort();
    assert!(rig.path().exists(), "left behind");
    let (turns, _) = mpsc::unbounded_channel();
    let board = Arc::new(Board::new(Timestamp::now()));
    let again = tokio::spawn(run(board, rig.path(), turns, rig.end.subscribe()));
    let mut probe = loop {
        let mut probe = rig.connect().await;
        let mut line = Vec::new();
        if probe.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
            break probe;
        }
    };
    say_hello(&mut probe, "1").await;
    rig.end.send_replace(true);
    again.await.expect("it ends");
    assert!(!rig.path().exists());
}
