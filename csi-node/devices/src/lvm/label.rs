//! What LVM wrote on a device: the label with the physical volume's UUID, and the head of the group's metadata. Read by ourselves: it takes microseconds, asks
//! nobody and can be done through a descriptor that is held. Only the first area of metadata counts, which is where LVM writes without being told otherwise.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use terrace_device_types::lvm::{LabelView, VgMark};

use crate::DeviceError;

const SECTOR: usize = 512;
/// The label is in one of the first four sectors.
const PLACES: usize = 4;
const LABEL: &[u8] = b"LABELONE";
const KIND: &[u8] = b"LVM2 001";
const AREA: &[u8] = b" LVM2 x[5A%r0N*>";
/// LVM's checksum is CRC-32 that begins here and is not inverted at the end.
const CRC_FROM: u32 = 0xf597_a6cf;
/// As much of the metadata as its head takes.
const HEAD: usize = 512;

/// What each device says; `None`: it is no physical volume of LVM's. No command is run.
#[must_use]
pub fn observe_labels(
    devices: &[PathBuf],
) -> Vec<(PathBuf, Result<Option<LabelView>, DeviceError>)> {
    let look = |device: &PathBuf| {
        let open = File::open(device).map_err(|source| DeviceError::io("open", device, source));
        (device.clone(), open.and_then(|file| read_label(&file, device)))
    };
    devices.iter().map(look).collect()
}

/// What an open device says.
pub(super) fn read_label(file: &File, device: &Path) -> Result<Option<LabelView>, DeviceError> {
    let fail = |source| DeviceError::io("read the label of", device, source);
    let mut sectors = [0u8; SECTOR * PLACES];
    match file.read_exact_at(&mut sectors, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other.map_err(fail)?,
    }
    let Some(label) = sectors.chunks_exact(SECTOR).enumerate().find_map(parse_label) else {
        return Ok(None);
    };
    let Label { pv, area } = label;
    let unreadable = |text: String| DeviceError::Parse { path: device.to_owned(), text };
    let pv = pv.parse().map_err(|_| unreadable(pv))?;
    let Some(area) = area else { return Ok(Some(LabelView { pv, group: None })) };
    let group = match read_head(file, area).map_err(fail)? {
        Head::None => None,
        Head::Text(text) => {
            let parsed = parse_head(&text);
            Some(parsed.ok_or_else(|| unreadable(text.chars().take(64).collect()))?)
        }
        Head::Damaged => return Err(unreadable("a damaged area of metadata".to_owned())),
    };
    Ok(Some(LabelView { pv, group }))
}

struct Label {
    pv: String,
    /// Where its first area of metadata begins.
    area: Option<u64>,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// `struct label_header`, then `struct pv_header`: the UUID, the size, areas of data up to an empty one, areas of metadata up to an empty one.
fn parse_label((place, sector): (usize, &[u8])) -> Option<Label> {
    let here = u64_at(sector, 8)? == place as u64;
    let whole = u32_at(sector, 16)? == crc(sector.get(20..)?);
    if !sector.starts_with(LABEL) || sector.get(24..32)? != KIND || !here || !whole {
        return None;
    }
    let header = sector.get(u32_at(sector, 20)? as usize..)?;
    let pv = String::from_utf8_lossy(header.get(..32)?).into_owned();
    let mut at = 40;
    while u64_at(header, at)? != 0 {
        at += 16;
    }
    let area = u64_at(header, at + 16).filter(|offset| *offset != 0);
    Some(Label { pv, area })
}

enum Head {
    /// It is part of no group, or keeps none of its metadata.
    None,
    Text(String),
    Damaged,
}

/// `struct mda_header`, whose first `struct raw_locn` says where the metadata in force is: in a ring behind the header.
fn read_head(file: &File, area: u64) -> io::Result<Head> {
    let mut header = [0u8; SECTOR];
    file.read_exact_at(&mut header, area)?;
    let whole = u32_at(&header, 0) == Some(crc(&header[4..]));
    if !whole || header[4..20] != *AREA {
        return Ok(Head::Damaged);
    }
    let field = |at| u64_at(&header, at).unwrap_or_default();
    let (ring, offset, size) = (field(32), field(40), field(48));
    let ignored = u32_at(&header, 60).unwrap_or_default() & 1 == 1;
    if offset == 0 || ignored {
        return Ok(Head::None);
    }
    if offset >= ring {
        return Ok(Head::Damaged);
    }
    let length = HEAD.min(usize::try_from(size).unwrap_or(HEAD));
    let before_end = length.min(usize::try_from(ring - offset).unwrap_or(length));
    let mut text = vec![0u8; length];
    file.read_exact_at(&mut text[..before_end], area + offset)?;
    file.read_exact_at(&mut text[before_end..], area + SECTOR as u64)?;
    Ok(Head::Text(String::from_utf8_lossy(&text).into_owned()))
}

/// `NAME {`, then `id = "UUID"` and `seqno = NUMBER`, a line each.
fn parse_head(text: &str) -> Option<VgMark> {
    let mut lines = text.lines();
    let name = lines.next()?.strip_suffix(" {")?.to_owned();
    let mut value = |key: &str| {
        let line = lines.next()?.trim().strip_prefix(key)?;
        Some(line.trim_start().strip_prefix("= ")?.trim_matches('"').to_owned())
    };
    let uuid = value("id")?.parse().ok()?;
    let seqno = value("seqno")?.parse().ok()?;
    Some(VgMark { uuid, name, seqno })
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    bytes.iter().fold(CRC_FROM, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
#[path = "label_tests.rs"]
mod tests;
