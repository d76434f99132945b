//! What the probe costs and where it runs, as the kernel tells it. Reads its own /proc entries, nothing else's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Memory of this process that is resident, in bytes; 0 if the kernel does not say.
#[must_use]
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * u64::try_from(rustix::param::page_size()).unwrap_or(0)
}

/// Processor time of this process, in nanoseconds.
#[must_use]
pub fn cpu_ns() -> u64 {
    nanoseconds(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The clock by which the kernel's side tells time.
#[must_use]
pub fn monotonic_ns() -> u64 {
    nanoseconds(libc::CLOCK_MONOTONIC)
}

/// Since 1970.
#[must_use]
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Since 1970, in whole seconds.
#[must_use]
pub fn unix_seconds() -> i64 {
    i64::try_from(unix_time().as_secs()).unwrap_or(i64::MAX)
}

/// A duration in nanoseconds, for as long as 580 years.
#[must_use]
pub fn whole_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What to add to the monotonic clock for the time since 1970. Asked each time: the clock may be set.
#[must_use]
pub fn clock_offset_ns() -> u64 {
    whole_ns(unix_time()).saturating_sub(monotonic_ns())
}

/// The release of the running kernel.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// When the machine was started, in nanoseconds since 1970; the same at every call. Pinned counters are at most as old.
#[must_use]
pub fn boot_ns(proc: &std::path::Path) -> u64 {
    let stat = std::fs::read_to_string(proc.join("stat")).unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse::<u64>().ok()).unwrap_or(0) * 1_000_000_000
}

/// Whether a folder, or the nearest one above it that exists, is on a bpffs.
#[must_use]
pub fn is_on_bpffs(folder: &std::path::Path) -> bool {
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    let mut existing = folder.ancestors();
    let status = existing.find_map(|folder| rustix::fs::statfs(folder).ok());
    status
        .is_some_and(|status| u64::try_from(status.f_type).is_ok_and(|magic| magic == BPF_FS_MAGIC))
}

/// By libc: rustix panics on a kernel whose vDSO does not tell the processor, as User Mode Linux.
#[expect(unsafe_code, reason = "clock_gettime(2)")]
fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a `timespec` that the call may write into, and nothing else has it.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{boot_ns, clock_offset_ns, cpu_ns, kernel_release, resident_bytes};

    #[test]
    fn the_kernel_tells_what_this_process_costs() {
        assert!(resident_bytes() > 1 << 20);
        assert!(cpu_ns() > 0);
        assert!(kernel_release().contains('.'));
    }

    #[test]
    fn the_machine_was_started_before_now_and_always_at_the_same_moment() {
        let boot = boot_ns(Path::new("/proc"));
        assert_eq!(boot, boot_ns(Path::new("/proc")));
        assert!(boot <= clock_offset_ns() + 2_000_000_000, "{boot}");
    }
}
