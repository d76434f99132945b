//! Paths of the kubelet and of runtimes as they stand on nodes, and what comes near them without being one.

use terrace_probe_abi::layout::SharedClass;

use super::{Layout, Place, Plugin, Staged, place_of};

const K: &str = "/var/lib/kubelet";
const POD: &str = "57ae704b-a842-42dd-b456-7df685c39008";
const ID: &str = "badb27d021353e2863bd3f4da37a0d6ba538f22db5378d830d62ff0dfc900f90";

fn place(path: &str) -> Place {
    place_of(path.as_bytes(), &Layout::at(K))
}

fn published(plugin: Plugin, name: &str) -> Place {
    Place::Published { pod: POD.into(), plugin, name: name.into() }
}

#[test]
fn a_volume_is_where_it_is_mounted_and_nowhere_else() {
    let csi = format!("{K}/pods/{POD}/volumes/kubernetes.io~csi/pvc-9cb1");
    assert_eq!(place(&format!("{csi}/mount")), published(Plugin::Csi, "pvc-9cb1"));
    let kubelets_own = Place::Class(SharedClass::Kubelet);
    for path in [csi.clone(), format!("{csi}/mount/sub"), format!("{csi}/vol_data.json")] {
        assert_eq!(place(&path), kubelets_own, "{path}");
    }
    let local = format!("{K}/pods/{POD}/volumes/kubernetes.io~local-volume/disk-1");
    assert_eq!(place(&local), published(Plugin::InTree, "disk-1"));
    assert_eq!(place(&format!("{local}/sub")), kubelets_own);
}

#[test]
fn staging_folders_of_old_and_new_kubelets_are_known() {
    let csi = format!("{K}/plugins/kubernetes.io/csi");
    let handle = Place::Staged(Staged::Handle(ID.into()));
    assert_eq!(place(&format!("{csi}/ebs.csi.aws.com/{ID}/globalmount")), handle);
    let volume = Place::Staged(Staged::Volume("pvc-9cb1".into()));
    assert_eq!(place(&format!("{csi}/pv/pvc-9cb1/globalmount")), volume);
    assert_eq!(
        place(&format!("{csi}/pv/pvc-9cb1/globalmount/x")),
        Place::Class(SharedClass::Kubelet)
    );
}

#[test]
fn raw_block_volumes_are_known_by_both_of_their_folders() {
    let devices = format!("{K}/plugins/kubernetes.io/csi/volumeDevices");
    let block = Place::Block { volume: "pvc-raw".into() };
    assert_eq!(place(&format!("{devices}/publish/pvc-raw/{POD}")), block);
    assert_eq!(place(&format!("{devices}/pvc-raw/dev/{POD}")), block);
    assert_eq!(place(&format!("{devices}/staging/pvc-raw")), Place::Class(SharedClass::Kubelet));
}

#[test]
fn what_is_mounted_for_a_container_is_judged_by_its_root() {
    let path = format!("{K}/pods/{POD}/volume-subpaths/pvc-9cb1/web/0");
    assert_eq!(place(&path), Place::SubPath);
}

#[test]
fn volumes_that_share_a_slot_are_known_with_all_that_lies_in_them() {
    for (plugin, class) in [
        ("configmap", SharedClass::ConfigMap),
        ("secret", SharedClass::Secret),
        ("projected", SharedClass::Projected),
        ("empty-dir", SharedClass::EmptyDir),
        ("downward-api", SharedClass::Downward),
    ] {
        let folder = format!("{K}/pods/{POD}/volumes/kubernetes.io~{plugin}");
        assert_eq!(place(&format!("{folder}/v")), Place::Class(class));
        assert_eq!(place(&format!("{folder}/v/..data/key")), Place::Class(class));
        assert_eq!(place(&folder), Place::Class(SharedClass::Kubelet));
    }
}

#[test]
fn what_every_container_is_given_is_no_volume() {
    for path in [
        format!("{K}/pods/{POD}/etc-hosts"),
        format!("{K}/pods/{POD}/containers/web/37b6bf68"),
        format!("/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/{ID}/resolv.conf"),
        format!("/run/containerd/io.containerd.grpc.v1.cri/sandboxes/{ID}/shm"),
        format!("/srv/state/containerd/io.containerd.grpc.v1.cri/sandboxes/{ID}/hostname"),
        format!("/var/lib/docker/containers/{ID}/hosts"),
        format!("/run/containers/storage/overlay-containers/{ID}/userdata/resolv.conf"),
    ] {
        assert_eq!(place(&path), Place::Class(SharedClass::ContainerFiles), "{path}");
    }
}

#[test]
fn host_paths_have_the_class_that_was_asked_for() {
    for (path, class) in [
        ("/etc/kubernetes", SharedClass::CriticalKubernetes),
        ("/etc/kubernetes/pki/ca.crt", SharedClass::CriticalKubernetes),
        ("/var/lib/etcd/member/wal", SharedClass::CriticalEtcd),
        (
            "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/9/fs",
            SharedClass::Runtime,
        ),
        ("/var/log/containers", SharedClass::Logs),
        ("/var/log/pods/bank_ledger-0/web/0.log", SharedClass::Logs),
        ("/var/lib/kubelet", SharedClass::Kubelet),
        ("/var/lib/kubelet/plugins/kubernetes.io", SharedClass::Kubelet),
        ("/var/lib/kubelet/pods", SharedClass::Kubelet),
    ] {
        assert_eq!(place(path), Place::Class(class), "{path}");
    }
    let backup = format!("/srv/containers/{ID}/hosts");
    for path in ["/", "/etc", "/etc/kubernetes2", "/var/lib/kubelet2/pods", &backup] {
        assert_eq!(place(path), Place::Elsewhere, "{path}");
    }
}

#[test]
fn a_kubelet_elsewhere_is_found_by_its_own_folder() {
    let layout = Layout::at("/data/kubelet/");
    let path = format!("/data/kubelet/pods/{POD}/volumes/kubernetes.io~csi/x/mount");
    assert_eq!(place_of(path.as_bytes(), &layout), published(Plugin::Csi, "x"));
    let usual = format!("{K}/pods/{POD}/volumes/kubernetes.io~csi/x/mount");
    assert_eq!(place_of(usual.as_bytes(), &layout), Place::Elsewhere);
}
