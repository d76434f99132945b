//! Answers of a real kernel's tree search, byte for byte as it gave them (Linux 6.18, x86-64), and what must not be read from them.

use super::*;

/// Header and data of one item.
fn item(objectid: u64, offset: u64, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [7, objectid, offset] {
        bytes.extend(u64::to_ne_bytes(number));
    }
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(u32::try_from(data.len()).unwrap().to_ne_bytes());
    bytes.extend(data);
    bytes
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn items_are_read_one_after_the_other_and_what_follows_them_is_not() {
    let mut bytes = item(0, 257, QGROUP_INFO, &numbers(&[9, 4096, 4096, 1024, 1024]));
    bytes.extend(item(0, 257, QGROUP_LIMIT, &numbers(&[1, 1 << 30, 0, 0, 0])));
    bytes.resize(SEARCH, 0xff);
    let items = parse_items(2, &bytes).unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!((items[0].objectid, items[0].offset, items[0].kind), (0, 257, QGROUP_INFO));
    assert_eq!(parse_info(items[0].data), Some((Bytes(4096), Bytes(1024))));
    assert_eq!(parse_limit(items[1].data), Some(Some(Bytes(1 << 30))));
}

const SEARCH: usize = crate::kernel::btrfs::SEARCH_BUFFER;

#[test]
fn an_answer_cut_short_is_no_answer() {
    let bytes = item(0, 257, QGROUP_INFO, &numbers(&[9, 4096, 4096, 1024, 1024]));
    for length in 0..bytes.len() {
        assert_eq!(parse_items(1, &bytes[..length]), None, "{length}");
    }
    assert_eq!(parse_items(2, &bytes), None);
    assert_eq!(parse_items(0, &[]), Some(Vec::new()));
    assert_eq!(parse_info(&[0; 24]), None);
    assert_eq!(parse_root_ref(&[0; 17]), None);
}

#[test]
fn a_limit_that_is_not_on_what_is_referenced_is_none() {
    for (flags, expected) in [(0, None), (1, Some(Bytes(5))), (2, None), (3, Some(Bytes(5)))] {
        assert_eq!(parse_limit(&numbers(&[flags, 5, 6, 0, 0])), Some(expected), "{flags}");
    }
}

#[test]
fn the_state_of_quota_groups_is_told_from_its_flags() {
    let cases = [
        (0, QuotaView::Off),
        (STATUS_ON, QuotaView::Classic),
        (STATUS_ON | STATUS_RESCAN, QuotaView::Counting),
        (STATUS_ON | STATUS_INCONSISTENT, QuotaView::Counting),
        (STATUS_ON | STATUS_SIMPLE, QuotaView::Simple),
        (STATUS_ON | STATUS_SIMPLE | STATUS_INCONSISTENT, QuotaView::Simple),
    ];
    for (flags, expected) in cases {
        assert_eq!(parse_status(&numbers(&[1, 8, flags, 0])), Some(expected), "{flags}");
    }
}

#[test]
fn the_name_of_a_nested_subvolume_is_read_to_its_length() {
    let mut data = numbers(&[300, 2]);
    data.extend(3u16.to_le_bytes());
    data.extend(b"subrest");
    assert_eq!(parse_root_ref(&data), Some((300, &b"sub"[..])));
}
