//! Copies under writers: what is copied shows one moment, of one volume and of a group.
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use terrace_crds::StorageSnapshot;
use terrace_device_types::{HostState, TagReading};

use crate::bench::{Bench, EXT4};
use crate::snapshots::{Node, group, host_name, ready};

/// A program that goes on writing until it is stopped.
struct Writer {
    end: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Calls `write` with 1, 2, 3 ...
    fn start(write: impl Fn(u64) + Send + 'static) -> Self {
        let (end, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, counts) = (Arc::clone(&end), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            for number in 1.. {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                write(number);
                counts.store(number, Ordering::SeqCst);
            }
        });
        Self { end, done, thread: Some(thread) }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// Until it wrote some more.
    fn goes_on(&self) -> u64 {
        let (before, until) = (self.done(), Instant::now() + Duration::from_secs(20));
        while self.done() < before + 20 {
            assert!(Instant::now() < until, "the writer stands still");
            std::thread::yield_now();
        }
        self.done()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no write failed");
        }
    }
}

fn record(number: u64) -> [u8; 16] {
    let mut record = [0; 16];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record[8..].copy_from_slice(&(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes());
    record
}

/// How many records there are, each whole and in its place.
fn records(file: &Path) -> u64 {
    let bytes = std::fs::read(file).expect("there");
    let all = bytes.chunks(16).zip(1_u64..);
    all.map(|(found, number)| assert_eq!(found, record(number), "record {number}")).count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_of_a_volume_under_a_writer_has_all_that_was_written_and_the_writer_goes_on() {
    let mut node = Node::start().await;
    node.bench.create(&node.running, "vol", EXT4).await;
    let file = node.publish("vol").await.join("log");
    let log = std::sync::Mutex::new(File::create(&file).expect("a file"));
    let writer = Writer::start(move |number| {
        let mut log = log.lock().expect("one writer");
        log.write_all(&record(number)).and_then(|()| log.sync_data()).expect("written");
    });
    let known = writer.goes_on();
    node.copy("clone", "16Mi", "Volume", "vol").await;
    let after = writer.done();
    writer.goes_on();
    drop(writer);
    let clone = records(&node.publish("clone").await.join("log"));
    assert!((known..=after + 1).contains(&clone), "{known} <= {clone} <= {after} + 1");
    assert!(records(&file) > clone, "the source went on");
}

/// A program with two volumes: what it wrote to the second it wrote to the first before.
async fn write_to_both(node: &mut Node, names: [&str; 2]) -> Writer {
    let mut files = Vec::new();
    for name in names {
        node.bench.create(&node.running, name, EXT4).await;
        files.push(File::create(node.publish(name).await.join("count")).expect("a file"));
    }
    Writer::start(move |number| {
        for file in &files {
            file.write_all_at(&record(number), 0).and_then(|()| file.sync_data()).expect("written");
        }
    })
}

fn count(dir: PathBuf) -> u64 {
    let bytes = std::fs::read(dir.join("count")).expect("there");
    let number = u64::from_le_bytes(bytes[..8].try_into().expect("eight"));
    assert_eq!(bytes, record(number), "a torn write");
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shows_one_moment_of_all_its_volumes() {
    let mut node = Node::start().await;
    let writer = write_to_both(&mut node, ["a", "b"]).await;
    writer.goes_on();
    let mut all = group(&node.bench, &["a", "b"]);
    let others = all.clone();
    node.pass(&mut all[1], &others).await;
    assert!(all[1].status.is_none(), "the first acts for all");
    node.pass(&mut all[0], &others).await;
    let others = all.clone();
    node.pass(&mut all[1], &others).await;
    for one in &all {
        assert_eq!(ready(one).0, "True", "{:?}", ready(one));
    }
    writer.goes_on();
    drop(writer);
    let mut counts = Vec::new();
    for (restored, source) in [("from-a", "a"), ("from-b", "b")] {
        node.copy(restored, "16Mi", "Snapshot", source).await;
        counts.push(count(node.publish(restored).await));
    }
    let one_moment = counts[0] == counts[1] || counts[0] == counts[1] + 1;
    assert!(one_moment && counts[0] > 0, "{counts:?}");
    // One of them may go later; the other one stays what it is.
    let rest = [all[1].clone()];
    assert_eq!(node.pass(&mut all[1], &rest).await, [], "I8");
}

fn state(bench: &Bench, name: &str) -> Option<HostState> {
    match bench.view(&host_name(name)).volume.image?.tag {
        TagReading::Read(tag) => Some(tag.state),
        TagReading::Absent | TagReading::Unreadable(_) => None,
    }
}

async fn pass_both(node: &Node, all: &mut [StorageSnapshot]) {
    for index in 0..all.len() {
        let others = all.to_vec();
        node.pass(&mut all[index], &others).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_a_member_that_cannot_be_copied_makes_nothing_and_all_say_why() {
    let mut node = Node::start().await;
    node.bench.create(&node.running, "a", EXT4).await;
    let file = node.publish("a").await.join("file");
    let mut all = group(&node.bench, &["a", "b"]);
    pass_both(&node, &mut all).await;
    for one in &all {
        let (truth, reason, message) = ready(one);
        assert_eq!((truth.as_str(), reason.as_str()), ("False", "NotFound"));
        assert!(message.contains("volume b"), "{message}");
    }
    assert_eq!((state(&node.bench, "a"), state(&node.bench, "b")), (None, None));
    std::fs::write(file, "not frozen").expect("written");
    // Once it can be, it is.
    node.bench.create(&node.running, "b", EXT4).await;
    pass_both(&node, &mut all).await;
    let made = Some(HostState::Ready);
    assert_eq!((state(&node.bench, "a"), state(&node.bench, "b")), (made.clone(), made));
    assert_eq!((ready(&all[0]).0.as_str(), ready(&all[1]).0.as_str()), ("True", "True"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_group_of_which_one_is_gone_is_not_completed_at_another_moment() {
    let node = Node::start().await;
    for name in ["a", "b"] {
        node.bench.create(&node.running, name, EXT4).await;
    }
    let mut all = group(&node.bench, &["a", "b"]);
    let (fresh, others) = (all.clone(), all.clone());
    node.pass(&mut all[0], &others).await;
    let lost = node.bench.view(&host_name("b")).volume.image.expect("made").path;
    std::fs::remove_file(lost).expect("lost");
    // Nobody was told yet: the API knows of no snapshot.
    all = fresh;
    pass_both(&node, &mut all).await;
    for one in &all {
        let (truth, reason, message) = ready(one);
        assert_eq!((truth.as_str(), reason.as_str()), ("False", "Inconsistent"), "{message}");
        assert!(message.contains("take it again"), "{message}");
    }
    assert_eq!(state(&node.bench, "a"), Some(HostState::Ready), "nothing is deleted");
    assert_eq!(state(&node.bench, "b"), None, "nor made");
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_group_that_does_not_come_together_says_whom_it_waits_for() {
    let node = Node::start().await;
    node.bench.create(&node.running, "a", EXT4).await;
    let mut all = group(&node.bench, &["a", "b"]);
    node.pass(&mut all[0], &[]).await;
    let (truth, reason, message) = ready(&all[0]);
    assert_eq!((truth.as_str(), reason.as_str()), ("False", "WaitingForNode"));
    assert!(message.contains("on their way out: b;"), "{message}");
    assert_eq!(state(&node.bench, "a"), None);
}
