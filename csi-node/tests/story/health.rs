//! Health: a filesystem that stops serving, errors that the probe counts, and what CSI 1.13 says of both.
use std::sync::Arc;

use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use csi_proto_rs::csi::v1::{
    NodeGetStorageHealthRequest, NodeGetVolumeHealthRequest, StorageHealthErrorType,
    VolumeHealthErrorType,
};
use jiff::Timestamp;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use terrace_node::agent::probe::board::Connection;
use terrace_node::agent::{Agent, usage_watch};
use terrace_node::csi::health;
use terrace_probe_abi::layout::Tier;
use tokio::sync::mpsc;

use crate::agent::{condition, new_agent, pass, status, volume};
use crate::api::FakeApi;
use crate::bench::{Bench, EXT4, Running, XFS, mounted};
use crate::probe::{figures, hello, turned};

fn asked(name: &str) -> NodeGetVolumeHealthRequest {
    NodeGetVolumeHealthRequest { volume_id: name.into(), ..Default::default() }
}

/// What CSI says of the volume.
async fn ailments(running: &Running, agent: &Agent) -> Vec<(i32, String)> {
    let health = health::volume(&running.context, Some(agent), asked("vol")).await;
    let health = health.expect("an answer");
    assert_eq!(health.volume_id, "vol");
    health.health_statuses.into_iter().map(|entry| (entry.status, entry.reason)).collect()
}

fn shut_down(at: &std::path::Path) {
    let mut shut = std::process::Command::new("xfs_io");
    let output = shut.args(["-x", "-c", "shutdown"]).arg(at).output().expect("xfs_io");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filesystem_that_shut_itself_down_is_unhealthy_until_it_is_mounted_anew() {
    for (mode, capacity) in [(XFS, "300Mi"), (EXT4, "16Mi")] {
        let bench = Bench::new();
        let (mut running, fake) = (bench.start().await, FakeApi::default());
        bench.create(&running, "vol", mode).await;
        let capability = || mounted(Mode::SingleNodeWriter, "", &[]);
        running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
        let agent = Arc::new(new_agent(&running, &fake));
        let mut object = volume(&bench, capacity);
        if mode == XFS {
            object.spec.fs_type = Some(terrace_crds::volume::FsType::Xfs);
        }
        usage_watch::look(&agent).await;
        let writes = pass(&agent, &fake, &object).await;
        assert_eq!(condition(status(&writes), "Healthy").0, "True");
        object.status = serde_json::from_value(status(&writes).clone()).expect("a status");

        shut_down(&bench.path("kubelet/stage/vol"));
        usage_watch::look(&agent).await;
        let writes = pass(&agent, &fake, &object).await;
        let (truth, reason, message) = condition(status(&writes), "Healthy");
        assert_eq!((truth, reason), ("False", "FilesystemShutDown"), "{mode:?}: {message}");
        let event = writes.iter().find(|(path, _)| path.contains("/namespaces/shop/events"));
        assert_eq!(event.expect("told").1["reason"], "VolumeUnhealthy");
        object.status = serde_json::from_value(status(&writes).clone()).expect("a status");
        let inaccessible = VolumeHealthErrorType::Inaccessible.into();
        let said = ailments(&running, &agent).await;
        assert_eq!(said, [(inaccessible, "FilesystemShutDown".to_owned())]);

        running.node.node_unstage_volume(bench.unstage("vol")).await.expect("unstaged");
        running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
        usage_watch::look(&agent).await;
        let writes = pass(&agent, &fake, &object).await;
        assert_eq!(condition(status(&writes), "Healthy").0, "True", "{mode:?}");
        assert_eq!(ailments(&running, &agent).await, []);
    }
}

/// A probe that is connected to the board alone.
fn connect(agent: &Agent) -> Connection {
    let (outbox, _) = mpsc::channel(1);
    let connection = agent.probe.connected(outbox, Timestamp::now());
    agent.probe.take(connection, hello(Tier::Fentry, None), Timestamp::now());
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_the_probe_counts_make_a_volume_unhealthy_and_csi_hears_of_slowness_too() {
    let bench = Bench::new();
    let (running, fake) = (bench.start().await, FakeApi::default());
    bench.create(&running, "vol", EXT4).await;
    let agent = Arc::new(new_agent(&running, &fake));
    let (store, mut writer) = reflector::store();
    agent.objects.watch_volumes(store);
    writer.apply_watcher_event(&Event::Init);
    writer.apply_watcher_event(&Event::InitApply(volume(&bench, "16Mi")));
    writer.apply_watcher_event(&Event::InitDone);
    let here = connect(&agent);
    let said = |message| agent.probe.take(here, message, Timestamp::now());
    said(figures(1, 4));
    let object = volume(&bench, "16Mi");
    let writes = pass(&agent, &fake, &object).await;
    assert_eq!(condition(status(&writes), "Healthy").0, "True", "errors of unknown age");
    said(figures(1, 6));
    said(turned("vol", true));
    let writes = pass(&agent, &fake, &object).await;
    let (truth, reason, message) = condition(status(&writes), "Healthy");
    assert_eq!((truth, reason), ("False", "IoErrors"), "{message}");
    assert!(message.contains("2 with EIO"), "{message}");
    let degraded: i32 = VolumeHealthErrorType::Degraded.into();
    let want = ["IoErrors", "LatencyHigh"].map(|reason| (degraded, reason.to_owned()));
    assert_eq!(ailments(&running, &agent).await, want);

    // A process that has only begun to watch cannot know that they ended.
    let mut known = volume(&bench, "16Mi");
    known.status = serde_json::from_value(status(&writes).clone()).expect("a status");
    let again = Arc::new(new_agent(&running, &fake));
    assert_eq!(pass(&again, &fake, &known).await, [], "it is kept as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_gone_is_told_to_the_kubelet_as_storage_that_cannot_be_reached() {
    let bench = Bench::new();
    let (mut running, fake) = (bench.start().await, FakeApi::default());
    let agent = Arc::new(new_agent(&running, &fake));
    let healthy = running.node.node_get_storage_health(NodeGetStorageHealthRequest::default());
    assert_eq!(healthy.await.expect("an answer").into_inner().backend_health, []);
    let missing = running.node.node_get_volume_health(asked("nobodys")).await;
    assert_eq!(missing.expect_err("not here").code(), tonic::Code::NotFound);
    let nameless = running.node.node_get_volume_health(asked("")).await;
    assert_eq!(nameless.expect_err("no name").code(), tonic::Code::InvalidArgument);
    std::fs::rename(&bench.pool.dir, bench.path("elsewhere")).expect("its disk is gone");
    let said = health::storage(&running.context, Some(&agent)).await.expect("an answer");
    let unreachable: i32 = StorageHealthErrorType::StorageUnreachable.into();
    assert_eq!((said.len(), said[0].status), (1, unreachable));
    assert!(said[0].message.contains("is its disk mounted"), "{}", said[0].message);
    std::fs::rename(bench.path("elsewhere"), &bench.pool.dir).expect("it is back");
}
