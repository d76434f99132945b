//! What a kubelet does, in the orders in which it does it, over the real socket.
use csi_proto_rs::csi::v1::volume_capability::access_mode::Mode;
use csi_proto_rs::csi::v1::{
    CapacityRange, GetPluginCapabilitiesRequest, GetPluginInfoRequest, NodeExpandVolumeRequest,
    NodeGetInfoRequest, NodeGetVolumeStatsRequest, NodePublishVolumeRequest,
    NodeUnpublishVolumeRequest, ProbeRequest,
};
use terrace_device_types::{Bytes, Intent, Leftover, VolumeMode};
use terrace_node::operation::OpKind;
use tonic::Code;

use crate::bench::{BTRFS, Bench, EXT4, XFS, mounted, raw};

const RW: Mode = Mode::SingleNodeWriter;

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_staged_published_survives_a_restart_of_the_plugin_and_is_taken_away() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", XFS).await;
    let capability = || mounted(RW, "xfs", &[]);
    running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
    let publish = bench.publish("vol", "pod-1", capability());
    running.node.node_publish_volume(publish.clone()).await.expect("published");
    let file = bench.target("pod-1").join("file");
    std::fs::write(&file, b"bytes").expect("written");
    running.stop().await;

    assert_eq!(std::fs::read(&file).expect("still there"), b"bytes");
    let mut running = bench.start().await;
    running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("again");
    running.node.node_publish_volume(publish).await.expect("again");
    assert_eq!(std::fs::read(&file).expect("still there"), b"bytes");
    running.node.node_unpublish_volume(bench.unpublish("vol", "pod-1")).await.expect("gone");
    running.node.node_unpublish_volume(bench.unpublish("vol", "pod-1")).await.expect("twice");
    assert!(!bench.target("pod-1").exists(), "the path the plugin made is removed");
    running.node.node_unstage_volume(bench.unstage("vol")).await.expect("unstaged");
    running.node.node_unstage_volume(bench.unstage("vol")).await.expect("twice");
    running.stop().await;
    assert_eq!((bench.mounts(), bench.loops()), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_when_it_is_staged_again() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", EXT4).await;
    let capability = || mounted(RW, "", &[]);
    for round in 0..2 {
        running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
        let publish = bench.publish("vol", "pod", capability());
        running.node.node_publish_volume(publish).await.expect("published");
        let file = bench.target("pod").join("file");
        if round == 0 {
            std::fs::write(&file, b"bytes").expect("written");
        } else {
            assert_eq!(std::fs::read(&file).expect("I2: never formatted again"), b"bytes");
        }
        running.node.node_unpublish_volume(bench.unpublish("vol", "pod")).await.expect("gone");
        running.node.node_unstage_volume(bench.unstage("vol")).await.expect("unstaged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_before_stage_is_refused() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", EXT4).await;
    let publish = bench.publish("vol", "pod", mounted(RW, "", &[]));
    let refused = running.node.node_publish_volume(publish).await.expect_err("not staged");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("stage it first"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_volume_is_not_found_but_its_paths_can_be_taken_away() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    let capability = || mounted(RW, "", &[]);
    let stage = running.node.node_stage_volume(bench.stage("no", capability())).await;
    assert_eq!(stage.expect_err("unknown").code(), Code::NotFound);
    let publish = running.node.node_publish_volume(bench.publish("no", "pod", capability())).await;
    assert_eq!(publish.expect_err("unknown").code(), Code::NotFound);
    running.node.node_unpublish_volume(bench.unpublish("no", "pod")).await.expect("nothing there");
    running.node.node_unstage_volume(bench.unstage("no")).await.expect("nothing there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_a_mount_of_something_else_is_refused_and_left_alone() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", EXT4).await;
    let capability = || mounted(RW, "", &[]);
    running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
    let outside = bench.path("outside");
    std::fs::create_dir_all(&outside).expect("a folder");
    let tmpfs =
        std::process::Command::new("mount").args(["-t", "tmpfs", "strange"]).arg(&outside).status();
    assert!(tmpfs.expect("mount").success());
    let target_path = outside.to_str().expect("UTF-8").to_owned();
    let publish = NodePublishVolumeRequest {
        target_path: target_path.clone(),
        ..bench.publish("vol", "pod", capability())
    };
    let refused = running.node.node_publish_volume(publish).await.expect_err("occupied");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("already a mount of strange"), "{}", refused.message());
    let unpublish = NodeUnpublishVolumeRequest { volume_id: "vol".into(), target_path };
    let refused = running.node.node_unpublish_volume(unpublish).await.expect_err("not ours (I4)");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(bench.mounts().contains(&outside), "the stranger's mount is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_twice_at_once_is_done_once() {
    let bench = Bench::new();
    let running = bench.start().await;
    bench.create(&running, "vol", XFS).await;
    let (mut one, mut two) = (running.node.clone(), running.node.clone());
    let stage = || bench.stage("vol", mounted(RW, "xfs", &[]));
    let (one, two) = tokio::join!(one.node_stage_volume(stage()), two.node_stage_volume(stage()));
    let codes: Vec<_> = [one, two].into_iter().filter_map(|done| done.err()).collect();
    assert!(codes.len() <= 1, "at least one is staged: {codes:?}");
    for refused in codes {
        assert_eq!(refused.code(), Code::Aborted);
        assert!(
            refused.message().contains("busy: stage"),
            "names the holder: {}",
            refused.message()
        );
    }
    assert_eq!(bench.mounts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_writer_volume_is_published_at_one_place_only() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", EXT4).await;
    let single = || mounted(Mode::SingleNodeSingleWriter, "", &[]);
    running.node.node_stage_volume(bench.stage("vol", single())).await.expect("staged");
    running.node.node_publish_volume(bench.publish("vol", "a", single())).await.expect("first");
    running.node.node_publish_volume(bench.publish("vol", "a", single())).await.expect("the same");
    let second = running.node.node_publish_volume(bench.publish("vol", "b", single())).await;
    let refused = second.expect_err("a second place");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let multi = || mounted(Mode::SingleNodeMultiWriter, "", &[]);
    running.node.node_publish_volume(bench.publish("vol", "c", multi())).await.expect("shared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_publish_cannot_be_written() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", EXT4).await;
    let capability = || mounted(RW, "", &["noatime"]);
    running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
    let publish =
        NodePublishVolumeRequest { readonly: true, ..bench.publish("vol", "pod", capability()) };
    running.node.node_publish_volume(publish).await.expect("published");
    let written = std::fs::write(bench.target("pod").join("file"), b"x").expect_err("read-only");
    assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let view = bench.view("vol");
    let options = &view.mount_at(&bench.path("kubelet/stage/vol")).expect("staged").options;
    assert!(options.iter().any(|option| option == "noatime"), "{options:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_volume_is_a_device_node_at_the_target() {
    use std::os::unix::fs::FileTypeExt;
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", VolumeMode::Block).await;
    running.node.node_stage_volume(bench.stage("vol", raw(RW))).await.expect("staged");
    running
        .node
        .node_publish_volume(bench.publish("vol", "pod", raw(RW)))
        .await
        .expect("published");
    let target = bench.target("pod");
    assert!(std::fs::metadata(&target).expect("there").file_type().is_block_device());
    let stats = NodeGetVolumeStatsRequest {
        volume_id: "vol".into(),
        volume_path: target.to_str().expect("UTF-8").into(),
        ..Default::default()
    };
    let usage = running.node.node_get_volume_stats(stats).await.expect("stats").into_inner().usage;
    assert_eq!((usage.len(), usage[0].total), (1, 1 << 20));
    running.node.node_unpublish_volume(bench.unpublish("vol", "pod")).await.expect("gone");
    assert!(!target.exists());
    running.node.node_unstage_volume(bench.unstage("vol")).await.expect("unstaged");
    assert_eq!(bench.loops(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_volume_asked_for_as_a_filesystem_is_refused() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", VolumeMode::Block).await;
    let refused = running.node.node_stage_volume(bench.stage("vol", mounted(RW, "", &[]))).await;
    assert_eq!(refused.expect_err("raw").code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn expand_follows_the_image_and_is_proven_by_statvfs() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", XFS).await;
    let capability = || mounted(RW, "xfs", &[]);
    let path = bench.target("pod").to_str().expect("UTF-8").to_owned();
    let expand = |mib: i64| NodeExpandVolumeRequest {
        volume_id: "vol".into(),
        volume_path: path.clone(),
        capacity_range: Some(CapacityRange { required_bytes: mib << 20, limit_bytes: 0 }),
        ..Default::default()
    };
    let early = running.node.node_expand_volume(expand(400)).await.expect_err("not staged");
    assert_eq!(early.code(), Code::FailedPrecondition);
    running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
    running
        .node
        .node_publish_volume(bench.publish("vol", "pod", capability()))
        .await
        .expect("published");
    let early = running.node.node_expand_volume(expand(400)).await.expect_err("the image is small");
    assert_eq!(early.code(), Code::Unavailable);

    let before = rustix::fs::statvfs(bench.target("pod")).expect("statvfs").f_blocks;
    let to = Bytes::mib(400);
    let intent = bench.create_intent("vol", XFS, to);
    bench.run(&running.context.runner, OpKind::Create, "vol", intent).await.expect("image grown");
    let grown = running.node.node_expand_volume(expand(400)).await.expect("grown").into_inner();
    assert_eq!(grown.capacity_bytes, 400 << 20);
    let after = rustix::fs::statvfs(bench.target("pod")).expect("statvfs").f_blocks;
    assert!(after > before + (90 << 20) / 4096, "{before} -> {after} blocks");
    let again = running.node.node_expand_volume(expand(400)).await.expect("twice").into_inner();
    assert_eq!(again.capacity_bytes, 400 << 20);
    let limit = CapacityRange { required_bytes: 0, limit_bytes: 350 << 20 };
    let shrink = NodeExpandVolumeRequest { capacity_range: Some(limit), ..expand(0) };
    let refused = running.node.node_expand_volume(shrink).await.expect_err("no shrink");
    assert_eq!(refused.code(), Code::OutOfRange);
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_are_of_the_volume_and_only_at_its_paths() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    bench.create(&running, "vol", EXT4).await;
    let capability = || mounted(RW, "", &[]);
    running.node.node_stage_volume(bench.stage("vol", capability())).await.expect("staged");
    running
        .node
        .node_publish_volume(bench.publish("vol", "pod", capability()))
        .await
        .expect("published");
    let stats = |path: String| NodeGetVolumeStatsRequest {
        volume_id: "vol".into(),
        volume_path: path,
        ..Default::default()
    };
    let path = bench.target("pod").to_str().expect("UTF-8").to_owned();
    let usage =
        running.node.node_get_volume_stats(stats(path)).await.expect("stats").into_inner().usage;
    assert_eq!(usage.len(), 2, "bytes and inodes");
    assert!(usage[0].total > 0 && usage[0].total <= 16 << 20, "{:?}", usage[0]);
    assert_eq!(
        usage[0].total,
        usage[0].used + usage[0].available + (usage[0].total - usage[0].used - usage[0].available)
    );
    assert!(usage[1].total > 0 && usage[1].used > 0);
    let other = running.node.node_get_volume_stats(stats("/".into())).await.expect_err("not there");
    assert_eq!(other.code(), Code::NotFound);
    let unknown = NodeGetVolumeStatsRequest { volume_id: "no".into(), ..stats("/".into()) };
    let unknown = running.node.node_get_volume_stats(unknown).await.expect_err("unknown");
    assert_eq!(unknown.code(), Code::NotFound);
}

/// What is asked once a minute of each volume must cost one volume's look: with its pool's mark out of the way, a look at
/// the pool fails.
#[tokio::test(flavor = "multi_thread")]
async fn stats_of_a_mounted_volume_look_at_nothing_else() {
    for (bench, mode) in [
        (Bench::new(), EXT4),
        (Bench::new(), BTRFS),
        (Bench::on_btrfs(), BTRFS),
        (Bench::new(), VolumeMode::Block),
    ] {
        let mut running = bench.start().await;
        bench.create(&running, "vol", mode).await;
        let capability = || match mode {
            VolumeMode::Block => raw(RW),
            VolumeMode::Filesystem { fs } => mounted(RW, fs.as_str(), &[]),
        };
        let staged = running.node.node_stage_volume(bench.stage("vol", capability())).await;
        staged.expect("staged");
        let published = bench.publish("vol", "pod", capability());
        running.node.node_publish_volume(published).await.expect("published");
        let (mark, away) = (bench.pool.dir.join("terrace-pool.json"), bench.pool.dir.join("away"));
        std::fs::rename(&mark, &away).expect("moved");
        let stats = |path: String| NodeGetVolumeStatsRequest {
            volume_id: "vol".into(),
            volume_path: path,
            ..Default::default()
        };
        let path = bench.target("pod").to_str().expect("UTF-8").to_owned();
        let usage = running.node.node_get_volume_stats(stats(path)).await.expect("stats");
        assert!(usage.into_inner().usage[0].total > 0, "{mode:?}");
        // Another's path is not answered for: all are looked at, in vain.
        let other = running.node.node_get_volume_stats(stats("/".into())).await;
        assert!(other.is_err(), "{mode:?}");
        std::fs::rename(&away, &mark).expect("moved back");
        let away = bench.unpublish("vol", "pod");
        running.node.node_unpublish_volume(away).await.expect("taken away");
        running.node.node_unstage_volume(bench.unstage("vol")).await.expect("unstaged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_volumes_do_not_touch_each_other() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    let capability = || mounted(RW, "", &[]);
    for name in ["one", "two"] {
        bench.create(&running, name, EXT4).await;
        running.node.node_stage_volume(bench.stage(name, capability())).await.expect("staged");
        running
            .node
            .node_publish_volume(bench.publish(name, name, capability()))
            .await
            .expect("published");
        std::fs::write(bench.target(name).join("file"), name).expect("written");
    }
    running.node.node_unpublish_volume(bench.unpublish("one", "one")).await.expect("gone");
    running.node.node_unstage_volume(bench.unstage("one")).await.expect("unstaged");
    assert_eq!(std::fs::read(bench.target("two").join("file")).expect("untouched"), b"two");
    let wrong = NodeUnpublishVolumeRequest {
        target_path: bench.path("kubelet/stage/two").to_str().expect("UTF-8").into(),
        ..bench.unpublish("one", "one")
    };
    drop(running.node.node_unpublish_volume(wrong).await);
    let (volume, cluster, leftover) =
        (bench.uuid("two"), bench.cluster.clone(), Leftover::Unfinished);
    let intent = Intent::Sweep { volume, cluster, leftover };
    let refused = bench.run(&running.context.runner, OpKind::Sweep, "two", intent).await;
    assert!(refused.is_err(), "a volume in service is never swept");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_says_who_it_is() {
    let bench = Bench::new();
    let mut running = bench.start().await;
    let info = running.identity.get_plugin_info(GetPluginInfoRequest {}).await.expect("info");
    assert_eq!(info.into_inner().name, "csi.terrace.storage");
    let known = running.identity.get_plugin_capabilities(GetPluginCapabilitiesRequest {}).await;
    assert_eq!(known.expect("capabilities").into_inner().capabilities.len(), 3);
    let probe = running.identity.probe(ProbeRequest {}).await.expect("probe").into_inner();
    assert_eq!(probe.ready, Some(true));
    let info = running.node.node_get_info(NodeGetInfoRequest {}).await.expect("info").into_inner();
    assert_eq!((info.node_id.as_str(), info.max_volumes_per_node), ("node-1", 16));
    let topology = info.accessible_topology.expect("topology").segments;
    assert_eq!(topology["topology.terrace.storage/node"], "node-1");
}
