//! Reports of a real lvm (2.03.16), taken in the guest: a group with a volume of each kind, and the same without one of its two disks.

use terrace_device_types::{Tag, TagReading};

use super::*;

const WHOLE: &str = include_str!("../../fixtures/lvm/whole.json");
const MISSING: &str = include_str!("../../fixtures/lvm/missing.json");

fn one(text: &str) -> VgView {
    let mut groups = parse_report(text).unwrap();
    assert_eq!(groups.len(), 1);
    groups.remove(0)
}

#[test]
fn a_group_is_read_with_all_that_is_in_it() {
    let group = one(WHOLE);
    assert_eq!((group.name.as_str(), group.extent, group.missing), ("tank", Bytes::mib(4), 0));
    let PoolFileReading::Read(pool) = &group.pool else { panic!("{:?}", group.pool) };
    assert_eq!(pool.pool, "fast");
    assert_eq!(group.pvs.len(), 2);
    assert!(group.pvs.iter().all(|pv| !pv.missing && pv.device.is_some() && pv.free < pv.size));
    let kind = |name: &str| group.lv(name).unwrap().kind.clone();
    let kinds = [
        ("linear", LvKind::Linear),
        ("striped", LvKind::Striped),
        ("mirror", LvKind::Raid1),
        ("thin", LvKind::Thin),
        ("copy", LvKind::Thin),
        ("pool", LvKind::ThinPool),
    ];
    for (name, wanted) in kinds {
        assert_eq!(kind(name), wanted, "{name}");
    }
    assert_eq!(group.lv("mirror").unwrap().synced, Some(10_000));
    assert_eq!(group.lv("off").unwrap().dev_t, None);
    assert!(group.lv("linear").unwrap().dev_t.is_some());
}

#[test]
fn a_thin_pool_and_its_volumes_are_read_with_their_figures() {
    let group = one(WHOLE);
    let pool = group.lv("pool").unwrap();
    assert_eq!((pool.size, pool.metadata_size), (Bytes::mib(64), Some(Bytes::mib(8))));
    assert_eq!((pool.chunk, pool.data_used), (Some(Bytes::kib(64)), Some(2500)));
    assert!(pool.metadata_used.is_some() && pool.transaction == Some(2));
    assert_eq!(pool.scope, LvScope::Private);
    let thin = group.lv("thin").unwrap();
    assert_eq!((thin.pool.as_deref(), thin.thin_id), (Some("pool"), Some(1)));
    assert_eq!((thin.size, thin.scope), (Bytes::gib(1), LvScope::Public));
    let TagReading::Read(Tag { name, .. }) = &thin.tag else { panic!("{:?}", thin.tag) };
    assert_eq!((name.as_str(), thin.tags.len()), ("pvc-1", 2));
    let copy = group.lv("copy").unwrap();
    assert_eq!((copy.origin.as_deref(), copy.read_only), (Some("thin"), true));
    assert_eq!(copy.tag, TagReading::Absent);
    assert_eq!(group.lv("pool_tdata").unwrap().scope, LvScope::Private);
}

#[test]
fn a_missing_disk_is_missing_and_what_was_on_it_partial() {
    let group = one(MISSING);
    assert_eq!(group.missing, 1);
    let gone: Vec<&PvView> = group.pvs.iter().filter(|pv| pv.missing).collect();
    assert_eq!((gone.len(), gone[0].device.clone(), gone[0].device_size), (1, None, Bytes::ZERO));
    assert_eq!(group.lv("mirror").unwrap().health.as_deref(), Some("partial"));
    assert_eq!(group.lv("striped").unwrap().health.as_deref(), Some("partial"));
}

#[test]
fn what_lvm_says_to_people_is_passed_by_wherever_it_stands() {
    let advice = "  WARNING: Sum of all thin volume sizes (1.00 GiB) exceeds {the} \"size\".\n  Consider: [lvmconf]\n";
    let mut noisy = advice.to_owned();
    for line in WHOLE.lines() {
        noisy.push_str(&format!("{line}\n{advice}"));
    }
    assert_eq!(one(&noisy), one(WHOLE));
    assert_eq!(one(&format!("  {{\n  }}\n{WHOLE}  {{\n  }}\n")), one(WHOLE));
}

#[test]
fn half_a_report_is_an_error_and_not_a_smaller_group() {
    for part in 1..20 {
        let cut = &WHOLE[..WHOLE.len() * part / 20];
        assert!(parse_report(cut).is_err(), "{part}/20");
    }
    assert!(parse_report("").is_err() && parse_report("  Volume group not found\n").is_err());
}

#[test]
fn a_field_that_was_not_answered_or_is_of_another_kind_is_an_error() {
    let (key, value) = ("\"vg_seqno\":", "\"vg_size\":\"");
    assert!(parse_report(&WHOLE.replace(key, "\"vg_seqnum\":")).is_err());
    assert!(parse_report(&WHOLE.replace(value, "\"vg_size\":\"about ")).is_err());
}

#[test]
fn the_newer_form_with_numbers_and_lists_is_read_as_well() {
    let newer = WHOLE.replace("\"vg_seqno\":\"", "\"vg_seqno\":1").replacen(
        "\", \"vg_missing",
        ", \"vg_missing",
        1,
    );
    assert!(one(&newer).seqno > one(WHOLE).seqno);
    let tags = WHOLE.replacen("\"lv_tags\":\"\"", "\"lv_tags\":[\"a\",\"b\"]", 1);
    assert_eq!(one(&tags).lv("copy").unwrap().tags, ["a", "b"]);
    let none = WHOLE.replace("\"lv_health_status\":\"\"", "\"lv_health_status\":null");
    assert_eq!(one(&none), one(WHOLE));
}
