//! Whether what is attached sees what it is thought to see: operations of a known number on a file of a known mount. A tier is
//! believed only after this. Reads the process's own program file; writes nothing.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{Dir, Mode, OFlags};
use terrace_probe_abi::layout::{CLASS_SLOTS, FIRST_CLASS, MountWord, Operation, Slot, Tier};

use crate::ladder::{Choice, Fault, Refusal};
use crate::maps::Maps;
use crate::program::Hook;
use crate::record::{device_number, parse_thing};

/// How often each operation is done.
const TIMES: u64 = 16;
/// A slot of the classes' that is nobody else's.
const SLOT: Slot = FIRST_CLASS + CLASS_SLOTS - 2;

/// What does not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    hook: Hook,
    function: &'static str,
    tier: Tier,
    why: String,
    fault: Fault,
}

impl Finding {
    fn new(choice: &Choice, why: String, fault: Fault) -> Self {
        Self { hook: choice.hook, function: choice.function, tier: choice.tier, why, fault }
    }

    /// The tier is not to be taken for this function.
    pub(crate) fn into_refusal(self) -> Refusal {
        let Self { hook, function, tier, why, fault } = self;
        Refusal { hook, function, tier, why, fault }
    }
}

/// A system call, and one operation by it. What fails there shows as not seen.
type Call = (&'static str, fn(&Ground));

/// The operations that can be done on a file open for reading, by hook, with every call that may go past the hook's function by
/// itself. Compilers may put `vfs_fsync_range` into fdatasync(2) and not into fsync(2): so does Debian's 6.1.
const TRIALS: [(Hook, Operation, &[Call]); 4] = [
    (Hook::Read, Operation::Read, &[("pread64(2)", Ground::pread)]),
    (Hook::Readv, Operation::Read, &[("preadv(2)", Ground::preadv)]),
    (
        Hook::Fsync,
        Operation::Fsync,
        &[("fsync(2)", Ground::fsync), ("fdatasync(2)", Ground::fdatasync)],
    ),
    (Hook::Iterate, Operation::Readdir, &[("getdents64(2)", Ground::list)]),
];

/// What is tried, and for which choice.
struct Trial<'a> {
    choice: &'a Choice,
    operation: Operation,
    calls: &'static [Call],
}

/// Does each operation that is followed, and tells which were not seen, or on another mount than they were. What cannot be tried
/// here (no program file to be opened) is not found fault with.
pub(crate) fn self_test(maps: &Maps, choices: &[Choice]) -> Vec<Finding> {
    let followed =
        |hook: Hook| choices.iter().find(|choice| choice.hook == hook && choice.tier != Tier::None);
    let trials: Vec<Trial<'_>> = TRIALS
        .iter()
        .filter_map(|(hook, operation, calls)| {
            followed(*hook).map(|choice| Trial { choice, operation: *operation, calls })
        })
        .collect();
    let (Some(ground), Some(first)) = (Ground::open(), trials.first()) else {
        return vec![];
    };
    first.calls.iter().for_each(|(_, call)| call(&ground));
    match ground.identify(maps) {
        Ok(word) => ground.count(maps, word, &trials),
        Err(why) => choices
            .iter()
            .filter(|choice| choice.tier == first.choice.tier)
            .map(|choice| Finding::new(choice, why.clone(), Fault::Refused))
            .collect(),
    }
}

/// What was seen of [`TIMES`] times each call.
fn judge(choice: &Choice, seen: &[(&str, u64)]) -> Option<Finding> {
    let past: Vec<&str> =
        seen.iter().filter(|(_, seen)| *seen < TIMES).map(|(name, _)| *name).collect();
    if past.is_empty() {
        return None;
    }
    let all: u64 = seen.iter().map(|(_, seen)| *seen).sum();
    let done = TIMES * seen.len() as u64;
    Some(if past.len() < seen.len() {
        let (past, function) = (past.join(" and "), choice.function);
        let why = format!("{past} goes past {function} on this kernel");
        Finding::new(choice, why, Fault::Bypassed)
    } else {
        let why = format!("the self-test did {done} operations, {all} were seen");
        Finding::new(choice, why, Fault::Refused)
    })
}

/// A file and the folder it lies in, both of one mount.
struct Ground {
    file: File,
    mount: u32,
    device: (u32, u32),
}

impl Ground {
    fn open() -> Option<Self> {
        let file = File::open("/proc/self/exe").ok()?;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
        let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse();
        let mount = mount.ok()?;
        let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let device = parse_device(&table, mount)?;
        Some(Self { file, mount, device })
    }

    /// The mount was seen, and on the device that mountinfo says.
    fn identify(&self, maps: &Maps) -> Result<MountWord, String> {
        let word = maps.mount(self.mount);
        if word.tag == 0 {
            return Err(format!("the self-test's mount {} was not seen", self.mount));
        }
        let things = maps.things().map_err(|error| error.to_string())?;
        let is_it = |id, tag| id == self.mount && tag == word.tag;
        let Some((_, record)) = things.into_iter().find(|(key, _)| is_it(key.id, key.tag)) else {
            return Err(format!(
                "the self-test's mount {} was taken for a pseudo filesystem",
                self.mount
            ));
        };
        let seen = device_number(parse_thing(record).s_dev);
        if seen != self.device {
            return Err(format!(
                "the self-test's mount was seen on device {seen:?}, it is on {:?}",
                self.device
            ));
        }
        Ok(word)
    }

    /// Every call raises its count by what was done. Others on the same mount may raise it further.
    fn count(&self, maps: &Maps, word: MountWord, trials: &[Trial<'_>]) -> Vec<Finding> {
        maps.set_keep(SLOT, u32::MAX);
        maps.set_threshold(SLOT, 0);
        maps.change_mount(self.mount, word.generation, |word| MountWord {
            slot: SLOT,
            has_directories: false,
            ..word
        });
        let mut findings = Vec::new();
        for Trial { choice, operation, calls } in trials {
            let count = || maps.figures(SLOT)[operation.index()].count();
            let does = |(name, call): &Call| {
                let before = count();
                (0..TIMES).for_each(|_| call(self));
                (*name, count() - before)
            };
            let seen: Vec<(&str, u64)> = calls.iter().map(does).collect();
            findings.extend(judge(choice, &seen));
        }
        maps.change_mount(self.mount, word.generation, |_| word);
        maps.clear(SLOT);
        findings
    }

    fn pread(&self) {
        let _ = self.file.read_at(&mut [0; 1], 0);
    }

    fn preadv(&self) {
        let mut byte = [0; 1];
        let _ = rustix::io::preadv(&self.file, &mut [std::io::IoSliceMut::new(&mut byte)], 0);
    }

    fn fsync(&self) {
        let _ = rustix::fs::fsync(&self.file);
    }

    fn fdatasync(&self) {
        let _ = rustix::fs::fdatasync(&self.file);
    }

    /// One getdents, at least, of a folder on the same mount.
    fn list(&self) {
        let Ok(path) = fs::read_link("/proc/self/exe") else { return };
        let Some(folder) = path.parent() else { return };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(folder) = rustix::fs::open(folder, flags, Mode::empty())
            && let Ok(mut entries) = Dir::read_from(folder.as_fd())
        {
            let _ = entries.read();
        }
    }
}

/// The third field of a mount's line.
fn parse_device(mountinfo: &str, mount: u32) -> Option<(u32, u32)> {
    let mut lines = mountinfo.lines().map(|line| line.split_ascii_whitespace());
    let mut line = lines.find(|line| line.clone().next() == Some(&mount.to_string()))?;
    let (major, minor) = line.nth(2)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use terrace_probe_abi::layout::Tier;

    use super::{TIMES, judge, parse_device};
    use crate::ladder::{Choice, Fault};
    use crate::program::Hook;

    #[test]
    fn a_call_that_goes_past_the_function_is_named_and_what_sees_nothing_does_not_work() {
        let choice = Choice {
            hook: Hook::Fsync,
            tier: Tier::Kprobe,
            function: "vfs_fsync_range",
            reason: String::new(),
        };
        let found = |fsync, fdatasync| {
            let found = judge(&choice, &[("fsync(2)", fsync), ("fdatasync(2)", fdatasync)]);
            found.map(|found| (found.fault, found.why))
        };
        assert_eq!(found(TIMES, TIMES + 3), None);
        let past = "fdatasync(2) goes past vfs_fsync_range on this kernel".to_owned();
        assert_eq!(found(TIMES, TIMES - 1), Some((Fault::Bypassed, past)));
        let nothing = "the self-test did 32 operations, 1 were seen".to_owned();
        assert_eq!(found(0, 1), Some((Fault::Refused, nothing)));
    }

    #[test]
    fn the_device_of_a_mount_is_its_third_field() {
        let table =
            "21 26 0:20 / /sys rw - sysfs sysfs rw\n121 26 7:3 /data /x rw - xfs /dev/loop3 rw\n";
        assert_eq!(parse_device(table, 121), Some((7, 3)));
        assert_eq!(parse_device(table, 12), None);
    }
}
