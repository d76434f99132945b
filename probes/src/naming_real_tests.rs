//! One node with xfs, ext4 and btrfs volumes, as its own agent's Pod and a Pod with a claim saw it.

use terrace_probe_abi::layout::SharedClass;
use terrace_probe_abi::wire::Names;

use super::{AMBIGUOUS, K, class, is, published, volume};
use crate::mountinfo::{Mount, Mounts};
use crate::names::NameBook;
use crate::naming::{Host, Seen, Verdict, name_mount};
use crate::place::Layout;

fn fixture(name: &str) -> Mounts {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let mounts = Mounts::parse(&std::fs::read(path).unwrap());
    assert_eq!(mounts.unreadable(), 0);
    mounts
}

fn verdicts(name: &str, host: &Host, book: &NameBook) -> Vec<(String, Verdict)> {
    let judge = |mount: &Mount| {
        let at = String::from_utf8(mount.at.clone()).unwrap();
        (at, name_mount(mount, Seen::Within, host, Some(book)))
    };
    fixture(name).all().iter().map(judge).collect()
}

fn at<'a>(all: &'a [(String, Verdict)], path: &str) -> &'a Verdict {
    &all.iter().rfind(|(at, _)| at == path).unwrap().1
}

#[test]
fn a_pods_claim_is_found_though_ids_differ() {
    let host = Host::new(fixture("pod/host"), Layout::at(K));
    let name = "pvc-69868eca-26f4-4b90-961d-2cbc9d806bf7";
    let volumes = vec![volume(name, &["f2a7b87d-e783-4bea-bfdb-442d1409e514"])];
    let book = NameBook::new(Names { volumes, ..Names::default() });
    let all = verdicts("pod/pod", &host, &book);
    assert_eq!(at(&all, "/l7-28-data"), &is(name));
    assert_eq!(at(&all, "/"), &class(SharedClass::ContainerRoot));
    assert_eq!(at(&all, "/talk"), &class(SharedClass::HostPath));
    for path in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"] {
        assert_eq!(at(&all, path), &class(SharedClass::ContainerFiles), "{path}");
    }
    let volumes = all.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Volume(_)));
    assert_eq!(volumes.count(), 1);
}

#[test]
fn every_volume_the_agent_has_mounted_is_its_own_pv_or_waits_for_its_name() {
    let host = Host::new(fixture("node/host"), Layout::at(K));
    let published: Vec<_> = host.mounts().all().iter().filter_map(claim_of).collect();
    assert_eq!(published.len(), 6);
    let volumes = published.iter().map(|(pod, name)| volume(name, &[pod])).collect();
    let book = NameBook::new(Names { volumes, ..Names::default() });
    let mut named = 0;
    for mount in fixture("node/agent").all() {
        let (at, verdict) = (
            String::from_utf8_lossy(&mount.at),
            name_mount(mount, Seen::Within, &host, Some(&book)),
        );
        match (claim_of(mount), verdict) {
            (Some((_, name)), verdict) if published.iter().any(|(_, known)| *known == name) => {
                assert_eq!(verdict, is(&name), "{at}");
                named += 1;
            }
            (None, Verdict::Volume(_)) => assert!(at.ends_with("/globalmount"), "{at}"),
            (Some(_), verdict) => assert!(!matches!(verdict, Verdict::Volume(_)), "{at}"),
            (None, verdict) => assert_ne!(verdict, AMBIGUOUS, "{at}"),
        }
    }
    assert_eq!(named, 6);
}

/// Pod and volume of a place where one is published.
fn claim_of(mount: &Mount) -> Option<(String, String)> {
    let at = String::from_utf8(mount.at.clone()).unwrap();
    let rest = at.strip_prefix("/var/lib/kubelet/pods/")?;
    let (pod, rest) = rest.split_once("/volumes/kubernetes.io~csi/")?;
    Some((pod.to_owned(), rest.strip_suffix("/mount")?.to_owned()))
}

#[test]
fn btrfs_volumes_on_one_filesystem_are_told_apart_and_their_pool_is_neither() {
    let host = Host::new(fixture("node/host"), Layout::at(K));
    let name = "pvc-520c5853-3c5e-4edc-b538-54ee7b1d48e9";
    let volumes = vec![volume(name, &["ad2d88d8-8e87-4bd1-8c36-e363881e8eca"])];
    let book = NameBook::new(Names { volumes, ..Names::default() });
    let all = verdicts("node/agent", &host, &book);
    let pool = "/var/lib/terrace/mnt/cbd18bf9-1a7e-5faa-bf9c-a1508288a594";
    assert_eq!(at(&all, pool), &class(SharedClass::HostPath));
    assert_eq!(at(&all, &published("ad2d88d8-8e87-4bd1-8c36-e363881e8eca", name)), &is(name));
}

#[test]
fn memory_of_the_agents_pod_has_its_kind() {
    let host = Host::new(fixture("node/host"), Layout::at(K));
    let all = verdicts("node/agent", &host, &NameBook::default());
    assert_eq!(at(&all, "/run"), &class(SharedClass::EmptyDir));
    assert_eq!(at(&all, "/tmp"), &class(SharedClass::EmptyDir));
    let token = "/var/run/secrets/kubernetes.io/serviceaccount";
    assert_eq!(at(&all, token), &class(SharedClass::Projected));
    assert_eq!(at(&all, "/var/lib/kubelet"), &class(SharedClass::Kubelet));
}
