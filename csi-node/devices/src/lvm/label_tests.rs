//! Labels written as LVM writes them, into files.

use super::*;

/// A device of 4 MiB: label in sector 1, metadata at 4096 in a ring of 1 MiB.
fn device(uuid: &str, metadata: &str, ring_offset: u64) -> Vec<u8> {
    let mut bytes = vec![0u8; 4 << 20];
    let ring = 1u64 << 20;
    let mut area = vec![0u8; SECTOR];
    area[4..20].copy_from_slice(AREA);
    area[20..24].copy_from_slice(&1u32.to_le_bytes());
    area[24..32].copy_from_slice(&4096u64.to_le_bytes());
    area[32..40].copy_from_slice(&ring.to_le_bytes());
    if !metadata.is_empty() {
        area[40..48].copy_from_slice(&ring_offset.to_le_bytes());
        area[48..56].copy_from_slice(&(metadata.len() as u64).to_le_bytes());
    }
    let sum = crc(&area[4..]);
    area[..4].copy_from_slice(&sum.to_le_bytes());
    bytes[4096..4096 + SECTOR].copy_from_slice(&area);
    for (index, byte) in metadata.bytes().enumerate() {
        let at = ring_offset + index as u64;
        let at = if at < ring { at } else { SECTOR as u64 + at - ring };
        bytes[4096 + at as usize] = byte;
    }
    let mut label = vec![0u8; SECTOR];
    label[..8].copy_from_slice(LABEL);
    label[8..16].copy_from_slice(&1u64.to_le_bytes());
    label[20..24].copy_from_slice(&32u32.to_le_bytes());
    label[24..32].copy_from_slice(KIND);
    label[32..64].copy_from_slice(uuid.as_bytes());
    label[64..72].copy_from_slice(&(4u64 << 20).to_le_bytes());
    // One area of data, an empty one, one of metadata, an empty one.
    label[72..80].copy_from_slice(&(2u64 << 20).to_le_bytes());
    label[104..112].copy_from_slice(&4096u64.to_le_bytes());
    label[112..120].copy_from_slice(&ring.to_le_bytes());
    let sum = crc(&label[20..]);
    label[16..20].copy_from_slice(&sum.to_le_bytes());
    bytes[SECTOR..2 * SECTOR].copy_from_slice(&label);
    bytes
}

const PV: &str = "0123456789abcdefghijABCDEFGHIJ!#";
const HEAD_OF_GROUP: &str =
    "va {\nid = \"7NiBDF-JPUK-Ubdd-Xuik-sxcc-9BUG-2QfA7B\"\nseqno = 41\nformat = \"lvm2\"\n";

fn look(bytes: &[u8]) -> Result<Option<LabelView>, DeviceError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    read_label(file.as_file(), file.path())
}

#[test]
fn a_label_says_which_volume_and_which_group_and_how_often_it_changed() {
    let label = look(&device(PV, HEAD_OF_GROUP, 512)).unwrap().unwrap();
    assert_eq!(label.pv.compact(), PV);
    let mark = label.group.unwrap();
    assert_eq!((mark.name.as_str(), mark.seqno), ("va", 41));
    assert_eq!(mark.uuid.to_string(), "7NiBDF-JPUK-Ubdd-Xuik-sxcc-9BUG-2QfA7B");
}

#[test]
fn metadata_that_goes_over_the_end_of_its_ring_is_read_on_from_the_beginning() {
    let label = look(&device(PV, HEAD_OF_GROUP, (1 << 20) - 20)).unwrap().unwrap();
    assert_eq!(label.group.unwrap().seqno, 41);
}

#[test]
fn a_physical_volume_without_a_group_and_no_physical_volume_are_told_apart() {
    let label = look(&device(PV, "", 512)).unwrap().unwrap();
    assert_eq!(label.group, None);
    assert_eq!(look(&vec![0; 1 << 20]).unwrap(), None);
    assert_eq!(look(b"short").unwrap(), None);
}

#[test]
fn what_is_damaged_is_no_label_or_an_error_and_never_a_guess() {
    let whole = device(PV, HEAD_OF_GROUP, 512);
    let mut label = whole.clone();
    label[SECTOR + 40] ^= 1;
    assert_eq!(look(&label).unwrap(), None);
    let mut area = whole.clone();
    area[4096 + 41] ^= 1;
    assert!(matches!(look(&area), Err(DeviceError::Parse { .. })));
    let mut text = whole;
    text[4096 + 512] = b'\n';
    assert!(matches!(look(&text), Err(DeviceError::Parse { .. })));
}
