//! Which disks fail, and whom that hurts.
use std::time::Duration;

use terrace_device_types::{Bytes, DevT, PoolUuid, Signature, Stack};
use uuid::Uuid;

use super::*;

fn disk(name: &str) -> DeviceView {
    DeviceView {
        id: format!("id-{name}"),
        kind: DeviceKind::Disk,
        path: format!("/dev/{name}").into(),
        dev_t: DevT { major: 8, minor: 0 },
        size: Bytes::gib(1),
        model: None,
        serial: None,
        wwn: None,
        rotational: false,
        logical_sector: 512,
        physical_sector: 512,
        read_only: false,
        removable: false,
        facts: DeviceFacts::default(),
        signature: Signature::Blank,
        uses: Vec::new(),
    }
}

fn pool(dir: &str, devices: &[&str]) -> KnownPool {
    KnownPool {
        uuid: PoolUuid(Uuid::from_u128(2)),
        name: "fast".into(),
        dir: dir.into(),
        device: None,
        devices: devices.iter().map(|id| (*id).to_owned()).collect(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn failed(name: &str, seconds: u64) -> Logged {
    Logged::Failed { disk: name.into(), at: Duration::from_secs(seconds) }
}

fn messages(devices: &[DeviceView], signs: &Signs, now: i64) -> Vec<String> {
    plan_ailing(devices, signs, at(now)).into_iter().map(|disk| disk.ailment.message).collect()
}

#[test]
fn a_disk_fails_by_its_errors_until_a_day_after_the_last_or_until_another_has_its_name() {
    let mut signs = Signs::default();
    let disks = [disk("sda"), disk("sdb")];
    signs.log(failed("sdb", 10), at(1000));
    signs.log(failed("sdb", 20), at(1000));
    let told = "disk id-sdb (/dev/sdb) has failed to read or write since 1970-01-01T00:16:50Z; copy what is on it away, check its cable, and replace it";
    assert_eq!(messages(&disks, &signs, 2000), [told]);
    assert_eq!(signs.shown_errors(&disks[1]), Some(2));
    assert_eq!(messages(&disks, &signs, 1020 + 24 * 3600), [""; 0]);
    signs.log(Logged::Attached { disk: "sdb".into() }, at(1000));
    assert_eq!(messages(&disks, &signs, 2000), [""; 0]);
}

#[test]
fn a_disk_fails_by_its_own_word_and_by_the_kernels_but_not_by_its_warmth() {
    let mut signs = Signs::default();
    let mut disks = [disk("sda"), disk("sdb"), disk("sdc"), disk("nvme0n1"), disk("nvme1n1")];
    disks[0].facts.state = Some("offline".into());
    disks[1].facts.state = Some("running".into());
    let says = |passed, unreadable, warning| {
        Some(SmartView { passed, unreadable, warning, worn: Some(103) })
    };
    signs.say("id-sdb", says(Some(false), None, None));
    signs.say("id-sdc", says(Some(true), Some(8), None));
    signs.say("id-nvme0n1", says(Some(true), Some(0), Some(2)));
    signs.say("id-nvme1n1", says(None, Some(0), Some(4)));
    signs.say("id-nvme1n1", None);
    let told = messages(&disks, &signs, 2000);
    let begins = ["(/dev/sda) is offline", "(/dev/sdb) says itself", "(/dev/sdc) has 8 sectors"];
    for (told, begins) in told.iter().zip(begins) {
        assert!(told.contains(begins), "{told}");
    }
    assert!(told.len() == 4 && told[3].contains("(/dev/nvme1n1) says itself"), "{told:?}");
}

#[test]
fn a_failing_disk_hurts_the_pools_on_it_through_partitions_and_arrays_and_no_other() {
    let mut part = disk("sda1");
    part.kind = DeviceKind::Partition;
    let view = PartitionView { disk: "sda".into(), number: 1, start: Bytes(0), entry: None };
    part.facts.partition = Some(view);
    let mut array = disk("md0");
    array.facts.stack = Some(Stack::Raid { level: "raid1".into() });
    array.facts.stands_on = vec!["sda1".into(), "sdb".into()];
    array.uses = vec![DeviceUse::Mounted { at: "/pools".into() }];
    let mut root = disk("sdc");
    root.uses = vec![DeviceUse::Mounted { at: "/".into() }];
    let devices = [disk("sda"), disk("sdb"), part, array, root];
    let mut signs = Signs::default();
    signs.log(failed("sda", 1), at(1000));
    let ailing = plan_ailing(&devices, &signs, at(2000));
    let hurt = |pool: KnownPool| plan_pool_ailment(&pool, &devices, &ailing);
    let found = hurt(pool("/pools/fast", &[])).unwrap();
    assert!(found.message.starts_with("disk id-sda (/dev/sda) has failed"), "{found:?}");
    assert_eq!(found.reason, Reason::DiskFailing);
    assert_eq!(hurt(pool("/srv/slow", &[])), None, "that is on sdc");
    assert_eq!(hurt(pool("/x", &["id-sdb"])), None);
    assert!(hurt(pool("/x", &["id-sdb", "id-sda"])).is_some());
}

#[test]
fn a_disk_that_is_not_there_is_named() {
    let devices = [disk("sdb")];
    let found = plan_pool_ailment(&pool("/x", &["id-sda", "id-sdb"]), &devices, &[]).unwrap();
    assert_eq!(found.reason, Reason::DiskMissing);
    assert_eq!(
        found.message,
        "disk id-sda is not there: attach it again; what lies on it cannot be read until then"
    );
}
