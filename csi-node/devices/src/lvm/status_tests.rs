//! Status lines as kernels 6.1 and 7.2 write them.

use super::*;

fn target(kind: &str, text: &str) -> DmTarget {
    parse_target(&dm::Target { kind: kind.to_owned(), text: text.to_owned() })
}

#[test]
fn a_thin_pool_tells_its_room_and_its_mode() {
    let text = "2 317/3072 12/3200 - rw no_discard_passdown error_if_no_space - 768";
    let DmTarget::ThinPool(pool) = target("thin-pool", text) else { panic!("{text}") };
    assert_eq!((pool.mode, pool.transaction), (PoolMode::Writable, 2));
    assert_eq!(pool.metadata, Used { used: 317, total: 3072 });
    assert_eq!((pool.data.percent(), pool.metadata.percent()), (1, 11));
    assert!(pool.fails_when_full && !pool.needs_check);
    let full = "3 9/9 5/5 - out_of_data_space discard_passdown queue_if_no_space needs_check 1";
    let DmTarget::ThinPool(pool) = target("thin-pool", full) else { panic!("{full}") };
    assert_eq!((pool.mode, pool.data.percent()), (PoolMode::OutOfData, 100));
    assert!(pool.needs_check && !pool.fails_when_full);
    let DmTarget::ThinPool(pool) = target("thin-pool", "Fail") else { panic!("Fail") };
    assert_eq!(pool.mode, PoolMode::Failed);
}

#[test]
fn copies_tell_which_of_them_failed() {
    let text = "raid1 3 AaD 100/200 recover 0 0 -";
    let DmTarget::Raid(raid) = target("raid", text) else { panic!("{text}") };
    assert_eq!(raid.legs, [RaidLeg::Whole, RaidLeg::Behind, RaidLeg::Failed]);
    assert_eq!((raid.synced.percent(), raid.action.as_str()), (50, "recover"));
}

#[test]
fn a_thin_volume_tells_what_it_holds_or_that_its_pool_failed() {
    assert_eq!(target("thin", "2048 4095"), DmTarget::Thin { mapped: Some(Bytes::mib(1)) });
    assert_eq!(target("thin", "0 -"), DmTarget::Thin { mapped: Some(Bytes::ZERO) });
    assert_eq!(target("thin", "Fail"), DmTarget::Thin { mapped: None });
}

#[test]
fn what_cannot_be_read_is_passed_on_as_it_is() {
    for (kind, text) in [("thin-pool", "x 1/2"), ("raid", "raid1 2 AX 1/2 idle"), ("crypt", "")] {
        let other = DmTarget::Other { kind: kind.to_owned(), status: text.to_owned() };
        assert_eq!(target(kind, text), other);
    }
}

#[test]
fn a_watermark_passed_by_anything_is_passed() {
    assert_eq!(Used { used: 8501, total: 10_000 }.percent(), 86);
    assert_eq!(Used { used: 8500, total: 10_000 }.percent(), 85);
    assert_eq!(Used { used: 0, total: 0 }.percent(), 0);
}
