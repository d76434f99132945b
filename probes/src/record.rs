//! Records as the kernel's side writes them, into values.

use terrace_probe_abi::layout::{NAME_BYTES, NAMES, SlowRecord, ThingRecord};

/// Bits of the minor number in the kernel's own device numbers (include/linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

/// The kernel's own form of a device number.
pub(crate) const fn kernel_device((major, minor): (u32, u32)) -> u32 {
    major << MINOR_BITS | minor
}

/// Major and minor of the kernel's own form.
pub(crate) const fn device_number(device: u32) -> (u32, u32) {
    (device >> MINOR_BITS, device & ((1 << MINOR_BITS) - 1))
}

/// What was known at first sight: two words, then halves.
#[expect(clippy::cast_possible_truncation, reason = "the fields are cut out of the words")]
pub(crate) fn parse_thing(words: [u64; 4]) -> ThingRecord {
    let [root_hash, seen_ns, devices, process] = words;
    ThingRecord {
        root_hash,
        seen_ns,
        s_dev: devices as u32,
        magic: (devices >> 32) as u32,
        tgid: process as u32,
        unused: 0,
    }
}

/// A slow operation; `None` for a notice, which only wakes.
pub(crate) fn parse_slow(bytes: &[u8]) -> Option<SlowRecord> {
    if bytes.len() < size_of::<SlowRecord>() {
        return None;
    }
    let mut rest = bytes;
    let slow = SlowRecord {
        start_ns: u64::from_ne_bytes(take(&mut rest)?),
        duration_ns: u64::from_ne_bytes(take(&mut rest)?),
        cpu_ns: u64::from_ne_bytes(take(&mut rest)?),
        queue_ns: u64::from_ne_bytes(take(&mut rest)?),
        block_ns: u64::from_ne_bytes(take(&mut rest)?),
        cgroup: u64::from_ne_bytes(take(&mut rest)?),
        inode: u64::from_ne_bytes(take(&mut rest)?),
        result: i64::from_ne_bytes(take(&mut rest)?),
        tgid: u32::from_ne_bytes(take(&mut rest)?),
        tid: u32::from_ne_bytes(take(&mut rest)?),
        s_dev: u32::from_ne_bytes(take(&mut rest)?),
        magic: u32::from_ne_bytes(take(&mut rest)?),
        mount: u32::from_ne_bytes(take(&mut rest)?),
        slot: u16::from_ne_bytes(take(&mut rest)?),
        generation: u16::from_ne_bytes(take(&mut rest)?),
        operation: u8::from_ne_bytes(take(&mut rest)?),
        path: u8::from_ne_bytes(take(&mut rest)?),
        blocked: u8::from_ne_bytes(take(&mut rest)?),
        depth: u8::from_ne_bytes(take(&mut rest)?),
        deeper: u8::from_ne_bytes(take(&mut rest)?),
        unused: take(&mut rest)?,
        command: take(&mut rest)?,
        names: parse_names(&mut rest)?,
    };
    Some(slow)
}

fn parse_names(rest: &mut &[u8]) -> Option<[[u8; NAME_BYTES]; NAMES]> {
    let mut names = [[0; NAME_BYTES]; NAMES];
    for name in &mut names {
        *name = take(rest)?;
    }
    Some(names)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::{device_number, kernel_device, parse_slow, parse_thing};

    #[test]
    fn device_numbers_go_both_ways() {
        assert_eq!(kernel_device((259, 1)), (259 << 20) + 1);
        assert_eq!(device_number(kernel_device((7, 1_000_000))), (7, 1_000_000));
    }

    #[test]
    fn halves_of_words_are_told_apart() {
        let thing = parse_thing([128, 5, 0x5846_5342_0070_0001, 4242]);
        assert_eq!((thing.root_hash, thing.magic, thing.tgid), (128, 0x5846_5342, 4242));
        assert_eq!(device_number(thing.s_dev), (7, 1));
    }

    #[test]
    fn a_slow_operation_is_read_field_by_field() {
        let mut bytes = [0_u8; 408];
        bytes[8..16].copy_from_slice(&11_000_000_u64.to_ne_bytes());
        bytes[56..64].copy_from_slice(&(-5_i64).to_ne_bytes());
        bytes[84..86].copy_from_slice(&17_u16.to_ne_bytes());
        bytes[112..115].copy_from_slice(b"wal");
        let slow = parse_slow(&bytes).unwrap();
        assert_eq!((slow.duration_ns, slow.result, slow.slot), (11_000_000, -5, 17));
        assert_eq!(&slow.names[0][..4], b"wal\0");
        assert_eq!(parse_slow(&[0; 8]), None, "a notice");
    }
}
