//! device-mapper's own ioctls (`include/uapi/linux/dm-ioctl.h`), typed: list, look, resume, remove. Knows nothing of LVM. A device is named by its UUID, which no
//! other has; the names of devices are anybody's.

use std::fs::File;
use std::io;
use std::path::Path;

use terrace_device_types::DevT;

use super::ioctl_struct;

/// `_IOWR(0xfd, nr, struct dm_ioctl)` without the number.
const REQUEST: u32 = 0xC138_FD00;
const LIST_DEVICES: u32 = REQUEST | 2;
const DEV_REMOVE: u32 = REQUEST | 4;
const DEV_SUSPEND: u32 = REQUEST | 6;
const DEV_STATUS: u32 = REQUEST | 7;
const TABLE_CLEAR: u32 = REQUEST | 10;
const TABLE_DEPS: u32 = REQUEST | 11;
const TABLE_STATUS: u32 = REQUEST | 12;
const TARGET_MESSAGE: u32 = REQUEST | 14;
const TARGET_VERSION: u32 = REQUEST | 17;

const READONLY: u32 = 1;
const SUSPENDED: u32 = 1 << 1;
const PREPARED: u32 = 1 << 6;
const BUFFER_FULL: u32 = 1 << 8;
/// A pool then tells what it knows, and writes nothing for it.
const NOFLUSH: u32 = 1 << 11;

const HEADER: usize = 312;
const UUID_LENGTH: usize = 129;
/// A device of a hundred targets, or a list of a thousand devices.
const ANSWER: usize = 256 * 1024;
const SPEC: usize = 40;

/// `struct dm_ioctl` and what the kernel writes behind it.
#[repr(C, align(8))]
struct Request {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; UUID_LENGTH],
    unused: [u8; 7],
    answer: [u8; ANSWER],
}

const _: () = assert!(size_of::<Request>() == HEADER + ANSWER);

/// How a device is named.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Named<'a> {
    Uuid(&'a str),
    Dev(DevT),
}

/// A device, without what it is made of.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) dev_t: DevT,
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) open: u32,
    pub(crate) suspended: bool,
    /// Whether a table was made ready for it that is not in force.
    pub(crate) prepared: bool,
    pub(crate) read_only: bool,
    pub(crate) event: u32,
}

/// One target, as the kernel words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// device-mapper itself. ENODEV, ENXIO or ENOENT: this kernel has none.
pub(crate) fn control(dev: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(dev.join("mapper/control"))
}

/// Boxed and zeroed: it is large.
fn request(named: Option<Named<'_>>, flags: u32) -> io::Result<Box<Request>> {
    let mut request = Box::new(Request {
        version: [4, 0, 0],
        data_size: size_of::<Request>() as u32,
        data_start: HEADER as u32,
        target_count: 0,
        open_count: 0,
        flags,
        event: 0,
        padding: 0,
        dev: 0,
        name: [0; 128],
        uuid: [0; UUID_LENGTH],
        unused: [0; 7],
        answer: [0; ANSWER],
    });
    match named {
        None => {}
        Some(Named::Dev(DevT { major, minor })) => request.dev = huge_dev(major, minor),
        Some(Named::Uuid(uuid)) => {
            if uuid.is_empty() || uuid.len() >= UUID_LENGTH {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
            request.uuid[..uuid.len()].copy_from_slice(uuid.as_bytes());
        }
    }
    Ok(request)
}

/// The kernel's `huge_encode_dev`.
const fn huge_dev(major: u32, minor: u32) -> u64 {
    ((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)) as u64
}

fn split_huge(dev: u64) -> DevT {
    let dev = (dev & u64::from(u32::MAX)) as u32;
    DevT { major: (dev & 0x000f_ff00) >> 8, minor: (dev & 0xff) | ((dev >> 12) & 0x000f_ff00) }
}

#[expect(unsafe_code, reason = "dm-ioctl(4)")]
fn ask(control: &File, number: u32, request: &mut Request) -> io::Result<()> {
    // SAFETY: every request of device-mapper takes a `struct dm_ioctl` of `data_size` bytes, which is the size of `Request`, asserted above.
    unsafe { ioctl_struct(control, number, request) }?;
    if request.flags & BUFFER_FULL != 0 {
        return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
    }
    Ok(())
}

/// `None`: there is no such device.
fn found(result: io::Result<()>) -> io::Result<Option<()>> {
    match result {
        Ok(()) => Ok(Some(())),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

fn device_of(request: &Request) -> Device {
    Device {
        dev_t: split_huge(request.dev),
        name: text_of(&request.name),
        uuid: text_of(&request.uuid),
        open: u32::try_from(request.open_count).unwrap_or_default(),
        suspended: request.flags & SUSPENDED != 0,
        prepared: request.flags & PREPARED != 0,
        read_only: request.flags & READONLY != 0,
        event: request.event,
    }
}

fn text_of(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The numbers of all devices.
pub(crate) fn list(control: &File) -> io::Result<Vec<DevT>> {
    let mut request = request(None, 0)?;
    ask(control, LIST_DEVICES, &mut request)?;
    Ok(parse_list(&request.answer))
}

/// `struct dm_name_list`: a device number, the distance to the next, a name. A number of zero: there is none at all.
fn parse_list(answer: &[u8]) -> Vec<DevT> {
    let mut devices = Vec::new();
    let mut rest = answer;
    while let Some((head, _)) = rest.split_at_checked(12) {
        let dev = number(&head[..8]);
        if dev == 0 {
            break;
        }
        devices.push(split_huge(dev));
        let next = number(&head[8..]) as usize;
        match rest.get(next..) {
            Some(more) if next > 0 => rest = more,
            Some(_) | None => break,
        }
    }
    devices
}

/// Little-endian, as every machine that we build for.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// A device, if it is there.
pub(crate) fn look(control: &File, named: Named<'_>) -> io::Result<Option<Device>> {
    let mut request = request(Some(named), 0)?;
    let answered = found(ask(control, DEV_STATUS, &mut request))?;
    Ok(answered.map(|()| device_of(&request)))
}

/// A device and its targets, if it is there. Asks the kernel alone: nothing is written for it.
pub(crate) fn targets(
    control: &File,
    named: Named<'_>,
) -> io::Result<Option<(Device, Vec<Target>)>> {
    let mut request = request(Some(named), NOFLUSH)?;
    let answered = found(ask(control, TABLE_STATUS, &mut request))?;
    Ok(answered.map(|()| {
        let targets = parse_targets(&request.answer, request.target_count);
        (device_of(&request), targets)
    }))
}

/// `struct dm_target_spec`, then a text; `next` counts from the first one.
fn parse_targets(answer: &[u8], count: u32) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let Some(spec) = answer.get(at..at + SPEC) else { break };
        let text = answer.get(at + SPEC..).unwrap_or_default();
        targets.push(Target { kind: text_of(&spec[24..]), text: text_of(text) });
        at = number(&spec[20..24]) as usize;
    }
    targets
}

/// The devices that one stands on, if it is there.
pub(crate) fn stands_on(control: &File, uuid: &str) -> io::Result<Vec<DevT>> {
    let mut request = request(Some(Named::Uuid(uuid)), 0)?;
    let answered = found(ask(control, TABLE_DEPS, &mut request))?;
    Ok(answered.map_or_else(Vec::new, |()| parse_deps(&request.answer)))
}

/// `struct dm_target_deps`: a number of devices, four bytes of nothing, the devices.
fn parse_deps(answer: &[u8]) -> Vec<DevT> {
    let Some((head, devices)) = answer.split_at_checked(8) else { return Vec::new() };
    let count = usize::try_from(number(&head[..4])).unwrap_or_default();
    devices.chunks_exact(8).take(count).map(|dev| split_huge(number(dev))).collect()
}

/// Drops a table that was made ready for a device and never came into force.
pub(crate) fn drop_prepared(control: &File, uuid: &str) -> io::Result<()> {
    ask(control, TABLE_CLEAR, &mut *request(Some(Named::Uuid(uuid)), 0)?)
}

/// Lets a suspended device go on as it was.
pub(crate) fn resume_as_before(control: &File, uuid: &str) -> io::Result<()> {
    drop_prepared(control, uuid)?;
    // Without the flag that suspends, this is what resumes.
    ask(control, DEV_SUSPEND, &mut *request(Some(Named::Uuid(uuid)), 0)?)
}

/// Has the kernel load the module of a kind of target, if it is none that it has yet. It runs modprobe itself, outside of any container.
pub(crate) fn provide(control: &File, kind: &str) -> io::Result<()> {
    let mut request = request(None, 0)?;
    request.version = [4, 41, 0];
    request.name[..kind.len()].copy_from_slice(kind.as_bytes());
    ask(control, TARGET_VERSION, &mut request)
}

/// Tells a device's first target something: `struct dm_target_msg`, a sector and a text.
pub(crate) fn tell(control: &File, uuid: &str, text: &str) -> io::Result<()> {
    let mut request = request(Some(Named::Uuid(uuid)), 0)?;
    let Some(room) = request.answer.get_mut(8..8 + text.len()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    room.copy_from_slice(text.as_bytes());
    ask(control, TARGET_MESSAGE, &mut request)
}

/// Removes a device that nobody has open (EBUSY).
pub(crate) fn remove(control: &File, uuid: &str) -> io::Result<()> {
    let mut request = request(Some(Named::Uuid(uuid)), 0)?;
    ask(control, DEV_REMOVE, &mut request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_number_of_many_bits_survives() {
        for (major, minor) in [(254, 0), (254, 300), (4095, 1_048_575), (8, 256)] {
            assert_eq!(split_huge(huge_dev(major, minor)), DevT { major, minor });
        }
    }

    #[test]
    fn a_list_ends_where_the_kernel_says_and_never_beyond_the_answer() {
        assert_eq!(parse_list(&[0; 24]), []);
        let entry = |minor: u32, next: u32| {
            let mut bytes = huge_dev(254, minor).to_le_bytes().to_vec();
            bytes.extend(next.to_le_bytes());
            bytes.extend(b"abc\0");
            bytes
        };
        let both = [entry(3, 16), entry(4, 0)].concat();
        let minors = |bytes: &[u8]| parse_list(bytes).iter().map(|d| d.minor).collect::<Vec<_>>();
        assert_eq!(minors(&both), [3, 4]);
        assert_eq!(minors(&entry(3, 5000)), [3]);
    }

    #[test]
    fn targets_are_found_by_the_kernels_own_distances() {
        let target = |kind: &str, next: u32, text: &str| {
            let mut bytes = vec![0; SPEC];
            bytes[20..24].copy_from_slice(&next.to_le_bytes());
            bytes[24..24 + kind.len()].copy_from_slice(kind.as_bytes());
            bytes.extend(text.as_bytes());
            bytes.push(0);
            bytes
        };
        let mut bytes = target("linear", 48, "");
        bytes.resize(48, 0);
        bytes.extend(target("raid", 200, "raid1 2 AA"));
        let found = parse_targets(&bytes, 2);
        assert_eq!(found[0], Target { kind: "linear".into(), text: String::new() });
        assert_eq!(found[1], Target { kind: "raid".into(), text: "raid1 2 AA".into() });
        assert_eq!(parse_targets(&bytes[..30], 2), []);
    }
}
