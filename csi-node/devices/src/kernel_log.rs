//! The kernel's own log (`/dev/kmsg`, Linux 3.5): what it says of failed reads and writes, whatever the driver. It tells also of what was logged
//! before, since the boot. Never writes to it. `device/ioerr_cnt` of SCSI is no substitute: it counts every command that a disk does not know.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use terrace_device_types::Logged;

use crate::DeviceError;
use crate::host::{Host, read_text};

/// The kernel gives no longer record.
const RECORD: usize = 8192;

/// What the block layer calls a failure of the disk. A "critical target error" is a command that it does not know.
const FAILURES: [&str; 4] =
    ["I/O error", "critical medium error", "timeout error", "protection error"];

/// Operations that may fail on a disk that is well.
const OPTIONAL: [&str; 3] = [":(DISCARD)", ":(SECURE_ERASE)", ":(WRITE_ZEROES)"];

/// The log, read record by record without waiting.
#[derive(Debug)]
pub struct KernelLog(File);

impl KernelLog {
    /// From its oldest record on.
    ///
    /// # Errors
    /// Where the kernel keeps it from this process (`dmesg_restrict` without `CAP_SYSLOG`).
    pub fn open(host: &Host) -> io::Result<Self> {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags);
        options.open(host.dev.join("kmsg")).map(Self)
    }

    /// All that was logged of disks since the last call.
    ///
    /// # Errors
    /// Of the kernel; that nothing is there is none.
    pub fn read(&mut self) -> io::Result<Vec<Logged>> {
        let mut record = [0; RECORD];
        let mut all = Vec::new();
        loop {
            match self.0.read(&mut record) {
                Ok(0) => return Ok(all),
                Ok(length) => all.extend(parse_record(&String::from_utf8_lossy(&record[..length]))),
                // Records were overwritten before they were read: the next one is the oldest that is left.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(all),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsRawFd for KernelLog {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What the clock of the log shows now, to the second. From `/proc/uptime`: rustix panics at its first question for the time in User Mode Linux.
///
/// # Errors
/// When /proc can't be read.
pub fn since_boot(host: &Host) -> Result<Duration, DeviceError> {
    let path = host.proc.join("uptime");
    let text = read_text(&path)?;
    let seconds = text.split('.').next().and_then(|whole| whole.parse().ok());
    seconds.map(Duration::from_secs).ok_or(DeviceError::Parse { path, text })
}

/// `6,339,5140900,-;the text`, with microseconds since the boot in the third place. What a program wrote into the log is of another facility than 0.
fn parse_record(record: &str) -> Option<Logged> {
    let (head, text) = record.split_once(';')?;
    let text = text.lines().next()?;
    let mut head = head.split(',');
    let is_kernels = head.next()?.parse::<u32>().ok()? < 8;
    let at = Duration::from_micros(head.nth(1)?.parse().ok()?);
    let logged = attached(text).or_else(|| failed(text, at));
    logged.filter(|_| is_kernels)
}

/// `sd 2:0:0:0: [sda] Attached SCSI disk`
fn attached(text: &str) -> Option<Logged> {
    let (before, after) = text.split_once("] ")?;
    let (_, disk) = before.split_once('[')?;
    after.starts_with("Attached SCSI").then(|| Logged::Attached { disk: disk.to_owned() })
}

/// `critical medium error, dev sda, sector 4660 op 0x0:(READ) flags ...`, or `Buffer I/O error on dev dm-0, logical block 0, ...`
fn failed(text: &str, at: Duration) -> Option<Logged> {
    let is_failure = FAILURES.iter().any(|failure| text.contains(failure));
    let is_optional = OPTIONAL.iter().any(|operation| text.contains(operation));
    let (_, rest) = text.split_once(", dev ").or_else(|| text.split_once(" on dev "))?;
    let disk = rest.split([',', ' ']).next()?.to_owned();
    (is_failure && !is_optional && !disk.is_empty()).then_some(Logged::Failed { disk, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure_of(text: &str) -> Option<String> {
        match parse_record(&format!("3,339,5140900,-;{text}\n SUBSYSTEM=block\n DEVICE=b8:0\n"))? {
            Logged::Failed { disk, at } => {
                assert_eq!(at, Duration::from_micros(5_140_900));
                Some(disk)
            }
            Logged::Attached { disk } => panic!("{disk} was attached"),
        }
    }

    /// As Linux 5.10, 6.1 and 6.18 wrote them.
    #[test]
    fn every_way_the_kernel_tells_of_a_failed_read_or_write_names_the_disk() {
        let told = [
            (
                "blk_update_request: I/O error, dev sdb, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 0",
                "sdb",
            ),
            (
                "critical medium error, dev sda, sector 4660 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
                "sda",
            ),
            (
                "timeout error, dev nvme0n1, sector 8 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
                "nvme0n1",
            ),
            (
                "I/O error, dev vda, sector 0 op 0x1:(WRITE) flags 0x800 phys_seg 0 prio class 2",
                "vda",
            ),
            ("Buffer I/O error on dev dm-3, logical block 16, async page read", "dm-3"),
        ];
        for (text, disk) in told {
            assert_eq!(failure_of(text).as_deref(), Some(disk), "{text}");
        }
    }

    #[test]
    fn what_a_disk_does_not_know_and_what_programs_log_is_no_failure() {
        let other = [
            "critical target error, dev sda, sector 0 op 0x3:(DISCARD) flags 0x800 phys_seg 1 prio class 2",
            "I/O error, dev sda, sector 0 op 0x9:(WRITE_ZEROES) flags 0x800 phys_seg 0 prio class 2",
            "EXT4-fs (dm-0): mounted filesystem with ordered data mode",
        ];
        for text in other {
            assert_eq!(failure_of(text), None, "{text}");
        }
        assert_eq!(parse_record("12,1,2,-;I/O error, dev sda, sector 1"), None, "a program's");
    }

    #[test]
    fn a_disk_that_is_attached_begins_anew() {
        let told = parse_record("5,9,77,-;sd 2:0:0:0: [sda] Attached SCSI disk\n");
        assert_eq!(told, Some(Logged::Attached { disk: "sda".into() }));
    }
}
