//! Whether what is attached sees what it is thought to see: operations of a known number on a file of a known mount. A tier is
//! believed only after this. Reads the process's own program file; writes nothing.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{Dir, Mode, OFlags};
use terrace_probe_abi::layout::{CLASS_SLOTS, FIRST_CLASS, MountWord, Operation, Slot, Tier};

use crate::ladder::{Choice, Refusal};
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
}

impl Finding {
    fn new(choice: &Choice, why: String) -> Self {
        Self { hook: choice.hook, function: choice.function, tier: choice.tier, why }
    }

    /// The tier is not to be taken for this function.
    pub(crate) fn into_refusal(self) -> Refusal {
        let Self { hook, function, tier, why } = self;
        Refusal { hook, function, tier, why }
    }
}

/// The operations that can be done on a file open for reading, by hook.
const TRIALS: [(Hook, Operation); 4] = [
    (Hook::Read, Operation::Read),
    (Hook::Readv, Operation::Read),
    (Hook::Fsync, Operation::Fsync),
    (Hook::Iterate, Operation::Readdir),
];

/// Does each operation that is followed, and tells which were not seen, or on another mount than they were. What cannot be tried
/// here (no program file to be opened) is not found fault with.
pub(crate) fn self_test(maps: &Maps, choices: &[Choice]) -> Vec<Finding> {
    let followed =
        |hook: Hook| choices.iter().find(|choice| choice.hook == hook && choice.tier != Tier::None);
    let trials: Vec<(&Choice, Operation)> = TRIALS
        .iter()
        .filter_map(|(hook, operation)| followed(*hook).map(|choice| (choice, *operation)))
        .collect();
    let (Some(ground), Some((first, _))) = (Ground::open(), trials.first()) else {
        return vec![];
    };
    ground.operate(first.hook, 1);
    match ground.identify(maps) {
        Ok(word) => ground.count(maps, word, &trials),
        Err(why) => choices
            .iter()
            .filter(|choice| choice.tier == first.tier)
            .map(|choice| Finding::new(choice, why.clone()))
            .collect(),
    }
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

    /// Every trial raises its count by what was done. Others on the same mount may raise it further.
    fn count(&self, maps: &Maps, word: MountWord, trials: &[(&Choice, Operation)]) -> Vec<Finding> {
        maps.set_keep(SLOT, u32::MAX);
        maps.set_threshold(SLOT, 0);
        maps.change_mount(self.mount, word.generation, |word| MountWord {
            slot: SLOT,
            has_directories: false,
            ..word
        });
        let mut findings = Vec::new();
        for (choice, operation) in trials {
            let count = || maps.figures(SLOT)[operation.index()].count();
            let before = count();
            self.operate(choice.hook, TIMES);
            let seen = count() - before;
            if seen < TIMES {
                findings.push(Finding::new(
                    choice,
                    format!("the self-test did {TIMES} operations, {seen} were seen"),
                ));
            }
        }
        maps.change_mount(self.mount, word.generation, |_| word);
        maps.clear(SLOT);
        findings
    }

    /// What fails here shows as not seen.
    fn operate(&self, hook: Hook, times: u64) {
        let mut byte = [0; 1];
        for turn in 0..times {
            match hook {
                Hook::Readv => {
                    let mut buffers = [std::io::IoSliceMut::new(&mut byte)];
                    let _ = rustix::io::preadv(&self.file, &mut buffers, 0);
                }
                // Compilers may put vfs_fsync_range into fdatasync(2) and not into fsync(2): so does Debian's 6.1.
                Hook::Fsync if turn % 2 == 1 => {
                    let _ = rustix::fs::fdatasync(&self.file);
                }
                Hook::Fsync => {
                    let _ = rustix::fs::fsync(&self.file);
                }
                Hook::Iterate => self.list(),
                _ => {
                    let _ = self.file.read_at(&mut byte, 0);
                }
            }
        }
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
    use super::parse_device;

    #[test]
    fn the_device_of_a_mount_is_its_third_field() {
        let table =
            "21 26 0:20 / /sys rw - sysfs sysfs rw\n121 26 7:3 /data /x rw - xfs /dev/loop3 rw\n";
        assert_eq!(parse_device(table, 121), Some((7, 3)));
        assert_eq!(parse_device(table, 12), None);
    }
}
