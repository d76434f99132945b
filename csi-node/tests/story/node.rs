//! The node's own rules: the journal is no oracle, the HTTP pages tell what is.
use std::sync::Arc;

use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use http_body_util::BodyExt;
use terrace_node::fault::NoFaults;
use terrace_node::host::RealHost;
use terrace_node::http::{Pages, all, health};
use terrace_node::journal::Journal;
use terrace_node::pools::Pools;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::bench::{Bench, EXT4, mounted};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_journal_costs_no_volume() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", EXT4).await;
    let capability = || mounted(Mode::SingleNodeWriter, "", &[]);
    running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
    running
        .node
        .node_publish_volume(bench.publish("vol", "pod", capability()))
        .await
        .expect("published");
    std::fs::write(bench.target("pod").join("file"), b"bytes").expect("written");
    running.stop().await;

    std::fs::write(bench.path("journal.redb"), b"garbage").expect("written");
    let mut running = bench.start().await;
    running
        .node
        .node_stage_volume(bench.stage("vol", capability()))
        .await
        .expect("known by its tag");
    assert_eq!(std::fs::read(bench.target("pod").join("file")).expect("there"), b"bytes");
    running.node.node_unpublish_volume(bench.unpublish("vol", "pod")).await.expect("gone");
    running.node.node_unstage_volume(bench.unstage("vol")).await.expect("unstaged");
    let aside = std::fs::read_dir(bench.path("")).expect("listed").flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains("unreadable"));
    assert_eq!(aside.count(), 1, "the garbage is kept for a person to look at");
}

async fn get(router: axum::Router, path: &str) -> (u16, String) {
    let request = http::Request::get(path).body(axum::body::Body::empty()).expect("a request");
    let response = router.oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_tell_what_is_and_the_public_ones_name_no_volume() {
    let bench = Bench::new();
    let running = bench.start().await;
    bench.create(&running, "vol-secret", EXT4).await;
    let (ready_now, ready) = watch::channel(false);
    let pages = Pages { context: running.context.clone(), ready };
    assert_eq!(get(all(pages.clone()), "/readyz").await.0, 503);
    ready_now.send_replace(true);
    assert_eq!(get(all(pages.clone()), "/readyz").await, (200, "ok".into()));
    let (_, volumes) = get(all(pages.clone()), "/v1/volumes").await;
    let volumes: serde_json::Value = serde_json::from_str(&volumes).expect("JSON");
    assert_eq!(volumes["volumes"][0]["name"], "vol-secret");
    assert_eq!(volumes["volumes"][0]["state"], "ready");
    assert_eq!(volumes["volumes"][0]["kind"], "volume");
    let (_, pools) = get(all(pages.clone()), "/v1/pools").await;
    assert!(pools.contains(&bench.pool.uuid.to_string()), "{pools}");
    let (_, operations) = get(all(pages.clone()), "/v1/operations").await;
    assert!(operations.contains("\"journal\":[]"), "{operations}");
    let (status, page) = get(health(pages.clone()), "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        page.contains("terrace_node_operations_total{kind=\"create\",outcome=\"ok\"} 1"),
        "{page}"
    );
    assert!(!page.contains("vol-secret"));
    assert_eq!(get(health(pages), "/v1/volumes").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_are_found_again_without_a_journal() {
    let bench = Bench::new();
    let context = bench.context(Arc::new(NoFaults));
    let pools = terrace_node::pools::Pools::default();
    let dir = tempfile::tempdir().expect("temp dir");
    let (empty, _) =
        terrace_node::journal::Journal::open(&dir.path().join("j"), jiff::Timestamp::now())
            .expect("a journal");
    pools.load(&empty, &*context.runner.host, &[bench.path("")]).expect("read");
    assert_eq!(pools.all(), std::slice::from_ref(&bench.pool));
    assert_eq!(pools.cluster(&*context.runner.host), Some(bench.cluster.clone()));
}

#[tokio::test]
async fn i4_a_copy_of_a_pool_is_not_taken_for_the_pool() {
    let bench = Bench::new();
    let copy = bench.path("copy");
    std::fs::create_dir(&copy).expect("a folder");
    let mark = "terrace-pool.json";
    std::fs::copy(bench.pool.dir.join(mark), copy.join(mark)).expect("copied");
    let (host, roots) = (RealHost::new(), [bench.path("")]);
    let (journal, _) =
        Journal::open(&bench.path("journal.redb"), jiff::Timestamp::now()).expect("a journal");
    let pools = Pools::default();
    pools.load(&journal, &host, &roots).expect("read");
    assert_eq!(pools.all(), [], "two folders claim to be it, and nobody said which");
    pools.put(bench.pool.clone(), &journal).expect("written");
    let again = Pools::default();
    again.load(&journal, &host, &roots).expect("read");
    assert_eq!(again.all(), std::slice::from_ref(&bench.pool), "the journal remembers which");
}

#[tokio::test]
async fn i4_an_image_of_another_cluster_in_our_own_pool_is_none_of_ours() {
    let bench = Bench::new();
    let running = bench.start().await;
    bench.create(&running, "vol", EXT4).await;
    let image = bench.view("vol").volume.image.expect("made").path;
    // Copied whole from another cluster, name and all: only the tag tells.
    let theirs = image.with_file_name(format!("t-{}", uuid::Uuid::new_v4()));
    std::fs::rename(&image, &theirs).expect("renamed");
    let listed = |cluster: &str| {
        let cluster = cluster.parse().expect("a token");
        terrace_node::inventory::list(&RealHost::new(), &running.context.pools, &cluster)
    };
    let ours = listed(bench.cluster.as_str());
    assert_eq!(ours.ours.len(), 1, "the tag decides, not the name");
    let mark = bench.pool.dir.join("terrace-pool.json");
    let text = std::fs::read_to_string(&mark).expect("marked");
    std::fs::write(&mark, text.replace(bench.cluster.as_str(), "another")).expect("written");
    let another = listed("another");
    assert!(another.failed.is_empty() && another.unreadable.is_empty());
    assert!(another.ours.is_empty(), "an image of one cluster in a pool of another");
}
