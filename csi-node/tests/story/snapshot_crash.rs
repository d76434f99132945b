//! I3 for what the agent makes of snapshots: wherever the process dies, the API's writes included, the next start ends
//! the story. Deaths under a freeze are told in `copies`.
use std::sync::Arc;

use terrace_crds::volume::VolumeMode as WireMode;
use terrace_crds::{StorageSnapshot, StorageVolume};
use terrace_device_types::{Bytes, HostState, TagReading, VolumeMode};
use terrace_node::agent::volume;
use terrace_node::operation::OpKind;
use terrace_node::runner::Outcome;

use crate::agent::agent;
use crate::api::FakeApi;
use crate::bench::{Bench, Running};
use crate::crash::at_every_point_of;
use crate::snapshots::{
    copy, deleted, dropped, group, host_name, ready, snapshot, stamp, try_pass,
};

const BYTES: &[u8] = b"what the source holds";
/// One extent of a volume group.
const SIZE: Bytes = Bytes::mib(4);

/// A raw volume with bytes in it.
async fn source(bench: &Bench, name: &str) {
    let running = bench.start().await;
    let intent = bench.create_intent(name, VolumeMode::Block, SIZE);
    let made = bench.run(&running.context.runner, OpKind::Create, name, intent).await;
    assert_eq!(made.expect("created"), Outcome::Changed);
    let image = bench.view(name).volume.image.expect("made").place();
    std::os::unix::fs::FileExt::write_all_at(
        &std::fs::OpenOptions::new().write(true).open(image).expect("opened"),
        BYTES,
        0,
    )
    .expect("written");
    running.stop().await;
}

fn raw_snapshot(mut one: StorageSnapshot) -> StorageSnapshot {
    one.spec.volume_mode = WireMode::Block;
    one.spec.fs_type = None;
    one
}

fn raw_copy(bench: &Bench) -> StorageVolume {
    let mut copy = copy(bench, "restored", "8Mi", "Snapshot", "snap");
    copy.spec.volume_mode = WireMode::Block;
    copy.spec.fs_type = None;
    copy
}

fn assert_whole(bench: &Bench, name: &str, size: Bytes) {
    let image = bench.view(name).volume.image.expect("made");
    let at = image.place();
    let TagReading::Read(tag) = image.tag else { unreachable!() };
    assert_eq!((tag.state, image.apparent), (HostState::Ready, size), "{name}");
    assert!(std::fs::read(at).expect("read").starts_with(BYTES), "{name}");
}

/// Passes over each; all must be Ready in the end.
async fn all_ready(running: &Running, mut all: Vec<StorageSnapshot>) -> Result<(), ()> {
    let fake = FakeApi::default();
    let agent = agent(running, &fake);
    for index in 0..all.len() {
        let others = all.clone();
        try_pass(&agent, &fake, &mut all[index], &others).await.map_err(drop)?;
    }
    let is_ready = |one: &StorageSnapshot| ready(one).0 == "True";
    if all.iter().all(is_ready) { Ok(()) } else { Err(()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_restore_ends_wherever_the_process_dies() {
    let prepare = async |bench: &Bench| {
        source(bench, "vol").await;
        let running = bench.start().await;
        let one = raw_snapshot(snapshot(bench, "snap", "vol"));
        all_ready(&running, vec![one]).await.expect("taken");
        running.stop().await;
    };
    let story = |bench: Arc<Bench>, running: Running| async move {
        let fake = FakeApi::default();
        let agent = agent(&running, &fake);
        let passed = volume::reconcile(Arc::new(raw_copy(&bench)), agent).await;
        let wrote = fake.take_writes().iter().any(|(_, _, body)| {
            let conditions = body["status"]["conditions"].as_array().cloned();
            let mut ready = conditions.unwrap_or_default().into_iter();
            ready.any(|one| one["type"] == "Ready" && one["status"] == "True")
        });
        running.stop().await;
        passed.map(drop).map_err(drop).and(if wrote { Ok(()) } else { Err(()) })
    };
    at_every_point_of(Bench::copying(), prepare, story, |bench| {
        assert_whole(bench, "restored", Bytes::mib(8));
        assert_whole(bench, &host_name("snap"), SIZE);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_group_is_taken_whole_wherever_the_process_dies() {
    let prepare = async |bench: &Bench| {
        source(bench, "a").await;
        source(bench, "b").await;
    };
    let story = |bench: Arc<Bench>, running: Running| async move {
        let all = group(&bench, &["a", "b"]).into_iter().map(raw_snapshot).collect();
        let ended = all_ready(&running, all).await;
        running.stop().await;
        ended
    };
    at_every_point_of(Bench::copying(), prepare, story, |bench| {
        for name in ["a", "b"] {
            assert_whole(bench, &host_name(name), SIZE);
        }
        assert_eq!(bench.objects().len(), 4, "two volumes, two snapshots");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_i1_a_snapshots_deletion_ends_wherever_the_process_dies() {
    let prepare = async |bench: &Bench| {
        source(bench, "vol").await;
        let running = bench.start().await;
        let one = raw_snapshot(snapshot(bench, "snap", "vol"));
        all_ready(&running, vec![one]).await.expect("taken");
        running.stop().await;
    };
    let story = |bench: Arc<Bench>, running: Running| async move {
        let fake = FakeApi::default();
        let agent = agent(&running, &fake);
        let one = raw_snapshot(snapshot(&bench, "snap", "vol"));
        let stamped = stamp(&one);
        let passed = try_pass(&agent, &fake, &mut deleted(one, stamped), &[]).await;
        drop(agent);
        running.stop().await;
        let dropped = passed.as_ref().is_ok_and(|writes| dropped(writes));
        let gone = bench.view(&host_name("snap")).volume.image.is_none();
        assert!(gone || !dropped, "the object never goes before the bytes");
        passed.map(drop).map_err(drop).and(if dropped { Ok(()) } else { Err(()) })
    };
    at_every_point_of(Bench::copying(), prepare, story, |bench| {
        assert_eq!(bench.objects().len(), 1, "the source");
        assert_whole(bench, "vol", SIZE);
    })
    .await;
}
