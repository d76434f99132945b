//! Files as they were read on nodes of each make; ids shortened to one letter repeated where they say nothing.

use super::{Container, parse_cgroup, parse_path};

const UID: &str = "48d00e8d-f347-4995-bdea-7c45d2320e22";
const ID: &str = "69c5fc816843b762c97bd4269187831279c7a28e940b4c4e2728d0456aac5f20";

fn both() -> Container {
    Container { pod_uid: Some(UID.into()), id: Some(ID.into()) }
}

#[test]
fn every_make_of_node_names_pod_and_container() {
    let systemd = UID.replace('-', "_");
    let paths = [
        format!("/kubepods/burstable/pod{UID}/{ID}"),
        format!("/kubepods/pod{UID}/{ID}"),
        format!("/terrace-rig/kubepods/besteffort/pod{UID}/{ID}"),
        format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{systemd}.slice/cri-containerd-{ID}.scope"
        ),
        format!("/kubepods.slice/kubepods-pod{systemd}.slice/crio-{ID}.scope"),
        format!("/kubepods.slice/kubepods-pod{systemd}.slice/crio-{ID}.scope/container"),
        format!(
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{systemd}.slice/docker-{ID}.scope"
        ),
        format!(
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{systemd}.slice/cri-containerd-{ID}.scope"
        ),
        format!(
            "/system.slice/containerd.service/kubepods-burstable-pod{systemd}.slice:cri-containerd:{ID}"
        ),
        format!("/kubepods/burstable/pod{UID}/crio-{ID}"),
        format!("/kubepods/burstable/pod{UID}/{ID}/init.scope"),
        format!("/../../kubepods/burstable/pod{UID}/{ID}"),
    ];
    for path in paths {
        assert_eq!(parse_path(&path), both(), "{path}");
    }
}

#[test]
fn a_hybrid_node_is_read() {
    let path = format!("/terrace-rig/kubepods/burstable/pod{UID}/{ID}");
    let mut text = String::new();
    for (number, controller) in [(9, "name=systemd"), (8, "pids"), (4, "memory"), (0, "")] {
        text += &format!("{number}:{controller}:{path}\n");
    }
    assert_eq!(parse_cgroup(&text), both());
}

#[test]
fn a_process_moved_in_some_hierarchies_only_is_still_known() {
    let text = format!("4:memory:/kubepods/pod{UID}/{ID}\n1:cpu:/\n0::/\n");
    assert_eq!(parse_cgroup(&text), both());
}

#[test]
fn hierarchies_that_disagree_say_nothing() {
    let other = "f".repeat(64);
    let text = format!("4:memory:/kubepods/pod{UID}/{ID}\n1:cpu:/kubepods/pod{UID}/{other}\n");
    let expected = Container { pod_uid: Some(UID.into()), id: None };
    assert_eq!(parse_cgroup(&text), expected);
}

#[test]
fn a_static_pod_has_a_hash_for_a_uid() {
    let hash = "2f2bd4a1fb1e7ebca8eaf30c4e0d5f28";
    let systemd = parse_path(&format!(
        "/kubepods.slice/kubepods-burstable-pod{hash}.slice/cri-containerd-{ID}.scope"
    ));
    assert_eq!(systemd.pod_uid.as_deref(), Some(hash));
    assert_eq!(
        parse_path(&format!("/kubepods/burstable/pod{hash}/{ID}")).pod_uid.as_deref(),
        Some(hash)
    );
}

#[test]
fn a_node_that_is_itself_a_container_has_the_inner_pod() {
    let outer = "a".repeat(64);
    let path = format!("/docker/{outer}/kubelet/kubepods/burstable/pod{UID}/{ID}");
    assert_eq!(parse_path(&path), both());
    let pod_only = parse_path(&format!("/docker/{outer}/kubepods/pod{UID}"));
    assert_eq!(pod_only, Container { pod_uid: Some(UID.into()), id: None });
}

#[test]
fn what_is_no_container_is_none() {
    for path in [
        "/",
        "/system.slice/kubelet.service",
        "/user.slice/user-0.slice/session-c1.scope",
        "/kubepods/burstable",
        "/kubepods.slice/kubepods-burstable.slice",
        "/podman",
        "/pods/podium",
        "/machine.slice/systemd-nspawn@pod1.service",
    ] {
        assert_eq!(parse_path(path), Container::default(), "{path}");
    }
    let conmon = parse_path(&format!("/system.slice/crio-conmon-{ID}.scope"));
    assert_eq!(conmon.id, None);
}
