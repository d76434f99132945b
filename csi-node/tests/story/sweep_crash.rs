//! I3 for the sweeper, and for an orphan's end on a person's word: wherever the process dies, the next start leaves no more
//! than what a sweep ends, and never less than what is in service.
use std::sync::Arc;
use std::time::Duration;

use terrace_device_types::HostState;
use terrace_node::agent::deletion::orphan;

use crate::bench::{Bench, Running};
use crate::crash::{at_every_point, at_every_point_of};
use crate::sweep::{Left, Node, leave_quarantined, leave_unfinished, make, retag, tag};

async fn swept(bench: Arc<Bench>, running: Running) -> Result<(), ()> {
    let node = Node::on(&bench, running, Duration::ZERO, &["kept"]);
    let swept = node.sweep().await;
    node.stop().await;
    swept.map(drop).map_err(drop)
}

fn gone(bench: &Bench) {
    assert!(bench.view("vol").volume.image.is_none(), "it leaks");
    assert_eq!(tag(bench, "kept").expect("there").state, HostState::Ready);
    assert_eq!(bench.objects().len(), 1, "the volume in service");
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_i1_a_sweep_of_what_was_proven_to_go_ends_wherever_the_process_dies() {
    let prepare = async |bench: &Bench| {
        make(bench, "kept").await;
        leave_quarantined(bench, "vol", Left::Marked).await;
    };
    at_every_point(prepare, swept, gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_i1_a_sweep_of_what_was_never_finished_ends_wherever_the_process_dies() {
    let prepare = async |bench: &Bench| {
        make(bench, "kept").await;
        leave_unfinished(bench, "vol").await;
    };
    at_every_point(prepare, swept, gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_i1_a_sweep_of_subvolumes_ends_wherever_the_process_dies() {
    let prepare = async |bench: &Bench| {
        make(bench, "kept").await;
        leave_quarantined(bench, "vol", Left::Marked).await;
    };
    at_every_point_of(Bench::on_btrfs, prepare, swept, gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_i1_an_orphans_end_on_a_persons_word_ends_wherever_the_process_dies() {
    let prepare = async |bench: &Bench| {
        make(bench, "kept").await;
        make(bench, "vol").await;
        retag(bench, "vol", HostState::Retained);
    };
    let story = |bench: Arc<Bench>, running: Running| async move {
        let node = Node::on(&bench, running, Duration::ZERO, &["kept"]);
        let deleted = orphan::delete(&node.agent, bench.uuid("vol"), "vol", "tester").await;
        node.stop().await;
        match deleted {
            Ok(()) | Err(orphan::Error::NotHere { .. }) => Ok(()),
            Err(_) => Err(()),
        }
    };
    at_every_point(prepare, story, gone).await;
}
