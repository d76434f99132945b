//! Verdicts on mountinfo as real nodes have it (`tests/fixtures`), and on the stories of research that no rig has.

use terrace_probe_abi::layout::{SharedClass, root_hash};
use terrace_probe_abi::wire::{Device, InlineVolume, Names, PodName, VolumeName};

use super::{Host, Seen, Unnamed, Verdict, Waiting, find, find_sighted, name_mount};
use crate::loader::{Sighting, Thing};
use crate::mountinfo::{Mount, Mounts};
use crate::names::{NameBook, VolumeKey};
use crate::place::Layout;

const K: &str = "/var/lib/kubelet";

/// A host with its root on 8:1 and what else is said, a line each: `id device root at fs source`.
struct World {
    host: Host,
    book: Option<NameBook>,
}

fn line(text: &str) -> String {
    let fields: Vec<_> = text.split_whitespace().collect();
    let [id, device, root, at, fs, source] = fields[..] else { panic!("{text}") };
    format!("{id} 1 {device} {root} {at} rw shared:1 - {fs} {source} rw\n")
}

fn mount(text: &str) -> Mount {
    Mounts::parse(line(text).as_bytes()).all()[0].clone()
}

fn world(lines: &[String]) -> World {
    let root = line("1 8:1 / / ext4 /dev/sda1");
    let text: String = lines.iter().map(|text| line(text)).collect();
    let mounts = Mounts::parse((root + &text).as_bytes());
    assert_eq!(mounts.unreadable(), 0);
    World { host: Host::new(mounts, Layout::at(K)), book: None }
}

impl World {
    /// csi-node has said that these Pods use these volumes.
    fn told(mut self, volumes: &[(&str, &[&str])]) -> Self {
        let volumes = volumes.iter().map(|(name, pods)| volume(name, pods)).collect();
        self.book = Some(NameBook::new(Names { volumes, ..Names::default() }));
        self
    }

    fn within(&self, text: &str) -> Verdict {
        name_mount(&mount(text), Seen::Within, &self.host, self.book.as_ref())
    }

    fn on_host(&self, id: u32) -> Verdict {
        let mount = self.host.mounts().get(id).unwrap();
        name_mount(mount, Seen::OnHost, &self.host, self.book.as_ref())
    }
}

fn volume(name: &str, pods: &[&str]) -> VolumeName {
    let pod_uids = pods.iter().map(|pod| (*pod).to_owned()).collect();
    VolumeName { pv_name: name.into(), pod_uids, ..VolumeName::default() }
}

fn published(pod: &str, name: &str) -> String {
    format!("{K}/pods/{pod}/volumes/kubernetes.io~csi/{name}/mount")
}

fn staged(handle: &str) -> String {
    format!("{K}/plugins/kubernetes.io/csi/x.example/{handle}/globalmount")
}

fn is(name: &str) -> Verdict {
    Verdict::Volume(VolumeKey::Volume(name.into()))
}

fn class(class: SharedClass) -> Verdict {
    Verdict::Class(class)
}

const AMBIGUOUS: Verdict = Verdict::Nobody(Unnamed::Ambiguous);

#[path = "naming_real_tests.rs"]
mod real;
#[test]
fn two_pods_on_one_claim_are_one_volume() {
    let world = world(&[
        format!("10 7:8 / {} xfs /dev/loop8", staged("h")),
        format!("11 7:8 /data {} xfs /dev/loop8", published("a", "pvc-1")),
        format!("12 7:8 /data {} xfs /dev/loop8", published("b", "pvc-1")),
    ])
    .told(&[("pvc-1", &["a", "b"])]);
    assert_eq!(world.within("90 7:8 /data /srv xfs /dev/loop8"), is("pvc-1"));
    assert_eq!(world.on_host(11), is("pvc-1"));
    assert_eq!(world.on_host(10), is("pvc-1"));
}

#[test]
fn a_subpath_is_its_volumes_whatever_kind_that_is() {
    let empty_dir = format!("{K}/pods/a/volumes/kubernetes.io~empty-dir/cache/sub");
    let config = format!("{K}/pods/a/volumes/kubernetes.io~configmap/conf/..data/app.ini");
    let world = world(&[
        format!("11 7:8 /data {} xfs /dev/loop8", published("a", "pvc-1")),
        format!("12 7:8 /data/sub {K}/pods/a/volume-subpaths/pvc-1/web/0 xfs /dev/loop8"),
        format!("13 8:1 {empty_dir} {K}/pods/a/volume-subpaths/cache/web/1 ext4 /dev/sda1"),
        format!("14 8:1 {config} {K}/pods/a/volume-subpaths/conf/web/2 ext4 /dev/sda1"),
    ])
    .told(&[("pvc-1", &["a"])]);
    assert_eq!(world.within("90 7:8 /data/sub /srv xfs /dev/loop8"), is("pvc-1"));
    assert_eq!(world.on_host(12), is("pvc-1"));
    assert_eq!(
        world.within(&format!("91 8:1 {empty_dir} /c ext4 /dev/sda1")),
        class(SharedClass::EmptyDir)
    );
    assert_eq!(
        world.within(&format!("92 8:1 {config} /f ext4 /dev/sda1")),
        class(SharedClass::ConfigMap)
    );
}

#[test]
fn a_folder_bound_elsewhere_stays_the_volumes() {
    let world = world(&[
        format!("11 7:8 /data {} xfs /dev/loop8", published("a", "pvc-1")),
        "12 7:8 /data/deep /home/u/deep xfs /dev/loop8".into(),
    ])
    .told(&[("pvc-1", &["a"])]);
    assert_eq!(world.on_host(12), is("pvc-1"));
    assert_eq!(world.within("90 7:8 /data/deep/er /x xfs /dev/loop8"), is("pvc-1"));
    assert_eq!(
        world.within("91 7:8 /database /x xfs /dev/loop8"),
        Verdict::Nobody(Unnamed::NotOnHost)
    );
}

#[test]
fn a_volume_that_is_a_folder_of_the_host_is_told_from_the_host() {
    let world = world(&[format!("11 8:1 /csi/v1 {} ext4 /dev/sda1", published("a", "pvc-1"))])
        .told(&[("pvc-1", &["a"])]);
    assert_eq!(world.within("90 8:1 /csi/v1 /data ext4 /dev/sda1"), is("pvc-1"));
    assert_eq!(world.within("91 8:1 /csi /data ext4 /dev/sda1"), class(SharedClass::HostPath));
    assert_eq!(world.within("92 8:1 /csi/v10 /data ext4 /dev/sda1"), class(SharedClass::HostPath));
    assert_eq!(world.on_host(1), class(SharedClass::Host));
}

#[test]
fn shares_of_one_server_are_told_apart_by_their_source_alone() {
    let world = world(&[
        format!("11 0:50 / {} nfs4 nas:/a", published("a", "pvc-1")),
        format!("12 0:50 / {} nfs4 nas:/b", published("b", "pvc-2")),
    ])
    .told(&[("pvc-1", &["a"]), ("pvc-2", &["b"])]);
    assert_eq!(world.within("90 0:50 / /data nfs4 nas:/a"), is("pvc-1"));
    assert_eq!(world.within("91 0:50 / /data nfs4 nas:/b"), is("pvc-2"));
    assert_eq!(world.within("92 0:50 / /data nfs4 nas:/c"), Verdict::Nobody(Unnamed::NotOnHost));
}

#[test]
fn what_may_be_either_of_two_volumes_is_nobodys() {
    let world = world(&[
        format!("11 0:50 / {} nfs4 nas:/", published("a", "pvc-1")),
        format!("12 0:50 / {} nfs4 nas:/", published("b", "pvc-2")),
    ])
    .told(&[("pvc-1", &["a"]), ("pvc-2", &["b"])]);
    assert_eq!(world.within("90 0:50 / /data nfs4 nas:/"), AMBIGUOUS);
    assert_eq!(world.on_host(11), is("pvc-1"));
    assert_eq!(world.on_host(12), is("pvc-2"));
}

#[test]
fn a_filesystem_staged_for_two_volumes_is_neithers_but_its_folders_are() {
    let world = world(&[
        format!("10 0:60 / {} lustre mgs:/fs", staged("h1")),
        format!("11 0:60 / {} lustre mgs:/fs", staged("h2")),
        format!("12 0:60 /one {} lustre mgs:/fs", published("a", "pvc-1")),
    ])
    .told(&[("pvc-1", &["a"])]);
    assert_eq!(world.within("90 0:60 /one/sub /data lustre mgs:/fs"), is("pvc-1"));
    assert_eq!(world.within("91 0:60 /two /data lustre mgs:/fs"), AMBIGUOUS);
    assert_eq!(world.on_host(10), AMBIGUOUS);
}

#[test]
fn a_staged_volume_has_its_name_from_its_handle_or_waits_until_it_is_published() {
    let mut world = world(&[format!("10 7:8 / {} xfs /dev/loop8", staged("h1"))]).told(&[]);
    assert_eq!(world.on_host(10), Verdict::Later(Waiting::Staged));
    let known = VolumeName { handle_sha256: Some("h1".into()), ..volume("pvc-1", &[]) };
    world.book = Some(NameBook::new(Names { volumes: vec![known], ..Names::default() }));
    assert_eq!(world.on_host(10), is("pvc-1"));
}

#[test]
fn an_old_kubelets_staging_folder_bears_the_name() {
    let at = format!("{K}/plugins/kubernetes.io/csi/pv/pvc-1/globalmount");
    let world = world(&[format!("10 7:8 / {at} xfs /dev/loop8")]);
    assert_eq!(world.on_host(10), is("pvc-1"));
}

#[test]
fn names_are_waited_for_and_then_told() {
    let lines = [
        format!("11 7:8 /data {} xfs /dev/loop8", published("a", "pvc-1")),
        format!("12 0:70 / {} tmpfs tmpfs", published("a", "scratch")),
    ];
    let mut world = world(&lines);
    let [pv, inline] = ["90 7:8 /data /d xfs /dev/loop8", "91 0:70 / /s tmpfs tmpfs"];
    assert_eq!(world.within(pv), Verdict::Later(Waiting::Names));
    world = world.told(&[("pvc-1", &["other"])]);
    let waiting = Waiting::Published { pod: "a".into(), name: "pvc-1".into() };
    assert_eq!(world.within(pv), Verdict::Later(waiting));
    let names = Names {
        pods: vec![PodName { uid: "a".into(), namespace: "n".into(), name: "p".into() }],
        volumes: vec![volume("pvc-1", &["a"])],
        inline_volumes: vec![InlineVolume { pod_uid: "a".into(), name: "scratch".into() }],
        ..Names::default()
    };
    world.book = Some(NameBook::new(names));
    assert_eq!(world.within(pv), is("pvc-1"));
    let key = VolumeKey::Inline { pod: "a".into(), name: "scratch".into() };
    assert_eq!(world.within(inline), Verdict::Volume(key));
}

#[test]
fn one_pod_that_is_known_does_not_speak_for_another() {
    let world = world(&[
        format!("11 7:8 /data {} xfs /dev/loop8", published("a", "pvc-1")),
        format!("12 7:8 /data {} xfs /dev/loop8", published("b", "pvc-1")),
    ])
    .told(&[("pvc-1", &["a"])]);
    let waiting = Waiting::Published { pod: "b".into(), name: "pvc-1".into() };
    assert_eq!(world.within("90 7:8 /data /d xfs /dev/loop8"), Verdict::Later(waiting));
}

#[test]
fn a_volume_of_the_kubelets_own_kinds_is_one_if_csi_node_says_so() {
    let at = format!("{K}/pods/a/volumes/kubernetes.io~local-volume/disk-1");
    let mut world = world(&[format!("11 8:17 / {at} ext4 /dev/sdb1")]).told(&[]);
    let [seen, sub] = ["90 8:17 / /d ext4 /dev/sdb1", "91 8:17 /x /d ext4 /dev/sdb1"];
    assert_eq!(world.within(seen), class(SharedClass::Kubelet));
    world = world.told(&[("disk-1", &["a"])]);
    assert_eq!((world.within(seen), world.within(sub)), (is("disk-1"), is("disk-1")));
}

#[test]
fn a_folder_where_no_volume_is_mounted_is_the_kubelets() {
    let path = published("a", "pvc-1");
    let world = world(&[]).told(&[("pvc-1", &["a"])]);
    let verdict = world.within(&format!("90 8:1 {path} /data ext4 /dev/sda1"));
    assert_eq!(verdict, class(SharedClass::Kubelet));
}

#[test]
fn host_paths_have_their_class_through_a_mount_too() {
    let world = world(&["20 8:1 /srv/state/kubelet /var/lib/kubelet ext4 /dev/sda1".into()]);
    for (root, expected) in [
        ("/var/lib/etcd", SharedClass::CriticalEtcd),
        ("/etc/kubernetes/pki", SharedClass::CriticalKubernetes),
        ("/var/log/pods", SharedClass::Logs),
        ("/srv/state/kubelet/pods/a/volumes/kubernetes.io~secret/s", SharedClass::Secret),
        ("/srv/state/kubelet/pods/a/volumes/kubernetes.io~downward-api/d", SharedClass::Downward),
        ("/srv/state", SharedClass::HostPath),
        ("/", SharedClass::HostPath),
    ] {
        let text = format!("90 8:1 {root} /x ext4 /dev/sda1");
        assert_eq!(world.within(&text), class(expected), "{root}");
    }
}

#[test]
fn a_file_replaced_under_a_mount_keeps_its_kind_and_is_not_what_took_its_name() {
    let config = format!("{K}/pods/a/volumes/kubernetes.io~configmap/conf/app.ini");
    let world = world(&[format!("11 8:1 /csi/v1 {} ext4 /dev/sda1", published("a", "pvc-1"))])
        .told(&[("pvc-1", &["a"])]);
    let gone = |root: &str| world.within(&format!("90 8:1 {root}//deleted /f ext4 /dev/sda1"));
    assert_eq!(gone(&config), class(SharedClass::ConfigMap));
    assert_eq!(gone("/csi/v1/sub"), is("pvc-1"));
    assert_eq!(gone("/csi/v1"), class(SharedClass::HostPath));
}

#[test]
fn a_container_has_its_own_root_and_memory() {
    let world = world(&[
        "30 0:80 / /run/containerd/io.containerd.runtime.v2.task/k8s.io/c/rootfs overlay overlay"
            .into(),
    ]);
    assert_eq!(world.within("90 0:80 / / overlay overlay"), class(SharedClass::ContainerRoot));
    assert_eq!(world.on_host(30), class(SharedClass::ContainerRoot));
    assert_eq!(world.within("91 0:99 / /dev tmpfs tmpfs"), class(SharedClass::ContainerRoot));
    assert_eq!(world.within("92 0:98 / / overlay overlay"), class(SharedClass::ContainerRoot));
    let btrfs = "93 8:1 /var/lib/containerd/io.containerd.snapshotter.v1.native/snapshots/3 / ext4 /dev/sda1";
    assert_eq!(world.within(btrfs), class(SharedClass::ContainerRoot));
}

#[test]
fn a_node_whose_own_root_is_an_overlay_is_no_container() {
    let text = line("1 0:20 / / overlay overlay")
        + &line(&format!("11 7:8 / {} xfs /dev/loop8", published("a", "pvc-1")));
    let host = Host::new(Mounts::parse(text.as_bytes()), Layout::at(K));
    let root = host.mounts().get(1).unwrap();
    assert_eq!(name_mount(root, Seen::OnHost, &host, None), class(SharedClass::Host));
    let etcd = mount("90 0:20 /var/lib/etcd /var/lib/etcd overlay overlay");
    assert_eq!(name_mount(&etcd, Seen::Within, &host, None), class(SharedClass::CriticalEtcd));
}

#[test]
fn a_disk_only_a_container_has_mounted_is_nobodys() {
    let world = world(&[]);
    assert_eq!(world.within("90 7:9 / /mnt xfs /dev/loop9"), Verdict::Nobody(Unnamed::NotOnHost));
}

#[test]
fn an_id_that_is_anothers_by_now_is_not_found() {
    let mounts = Mounts::parse(line("500 7:9 / /mnt xfs /dev/loop9").as_bytes());
    assert!(find(&mounts, 500, Device { major: 7, minor: 9 }).is_some());
    assert!(find(&mounts, 500, Device { major: 7, minor: 8 }).is_none());
    assert!(find(&mounts, 501, Device { major: 7, minor: 9 }).is_none());
}

#[path = "naming_device_tests.rs"]
mod devices;

#[test]
fn an_id_that_means_another_folder_of_the_same_filesystem_by_now_is_not_found() {
    let mounts = Mounts::parse(line("500 0:44 /t-b/volume/data /d btrfs /dev/sdb").as_bytes());
    let seen = |root: &[u8]| Sighting {
        thing: Thing::Mount(500),
        generation: 1,
        slot: 512,
        s_dev: (0, 44),
        root_hash: root_hash(root),
        magic: 0,
        tgid: 1,
        seen_ns: 0,
    };
    assert!(find_sighted(&mounts, 500, &seen(b"/t-b/volume/data")).is_some());
    assert!(find_sighted(&mounts, 500, &seen(b"/t-a/volume/data")).is_none());
    let share = Mounts::parse(line("500 0:44 / /d nfs4 nas:/a").as_bytes());
    assert!(find_sighted(&share, 500, &seen(b"/a")).is_some());
}
