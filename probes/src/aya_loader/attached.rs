//! The probe in the kernel, as everything above sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;

use aya::Ebpf;
use terrace_probe_abi::layout::{
    DirectoryKey, Figures, MountWord, OPERATIONS, Path, Slot, SlotKind, SlowRecord,
};

use super::pins::map_bytes;
use super::programs::{Running, figures};
use crate::ladder::{Choice, report, unobservable};
use crate::loader::{
    Attached, BlockFigures, Changed, Counters, FunctionReport, LoadError, Plan, Sighting, Switch,
    Thing,
};
use crate::maps::{Key, Maps, lock};
use crate::place_directory::DirectoryClass;
use crate::record::{device_number, kernel_device, parse_slow, parse_thing};

/// What aya loaded, or nothing where no tier works.
pub struct Loaded {
    maps: Option<Maps>,
    running: Running,
    functions: Vec<FunctionReport>,
    unobservable: Vec<Path>,
    map_bytes: u64,
    /// Records of what has gone, as of the last look: they are taken away at the next.
    stale: Mutex<BTreeSet<Key>>,
    idle: std::os::fd::OwnedFd,
    /// Holds what has no link of its own.
    _ebpf: Option<Ebpf>,
}

impl Loaded {
    pub(super) fn new(
        maps: Option<Maps>,
        choices: &[Choice],
        plan: &Plan,
        running: Running,
        ebpf: Option<Ebpf>,
    ) -> Result<Self, LoadError> {
        let is_held_by_aya = running.iter().any(|working| working.link.is_none());
        let idle = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
        Ok(Self {
            map_bytes: maps.as_ref().map_or(0, map_bytes),
            maps,
            running,
            functions: report(choices),
            unobservable: unobservable(choices, &plan.operations),
            stale: Mutex::default(),
            idle: idle.map_err(crate::maps::object("make an event descriptor"))?,
            _ebpf: ebpf.filter(|_| is_held_by_aya),
        })
    }

    fn change(
        &self,
        thing: Thing,
        generation: u16,
        to: impl Fn(MountWord) -> MountWord,
    ) -> Result<Changed, LoadError> {
        let Some(maps) = &self.maps else { return Ok(Changed::No) };
        match thing {
            Thing::Mount(id) => Ok(maps.change_mount(id, generation, to)),
            Thing::Device { major, minor } => {
                maps.change_device(kernel_device((major, minor)), generation, to)
            }
        }
    }
}

/// Things whose id is another's by now, or whose word is being written at this moment. Of devices of one number the last is the one
/// that there is.
fn stale<T>(things: &[(Key, T)], word: impl Fn(Key) -> MountWord) -> BTreeSet<Key> {
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    for (key, _) in things.iter().filter(|(key, _)| key.is_device()) {
        let tag = last.entry(key.id).or_default();
        *tag = key.tag.max(*tag);
    }
    let keys = things.iter().map(|(key, _)| *key);
    let is_last = |key: Key| last.get(&key.id).is_none_or(|tag| *tag == key.tag);
    keys.filter(|key| word(*key).tag != key.tag || !is_last(*key)).collect()
}

impl Attached for Loaded {
    fn functions(&self) -> &[FunctionReport] {
        &self.functions
    }

    fn unobservable(&self) -> &[Path] {
        &self.unobservable
    }

    fn figures(&self, slot: Slot) -> Box<Figures> {
        self.maps.as_ref().map_or_else(Box::default, |maps| maps.figures(slot))
    }

    fn take_longest(&self, slot: Slot) -> [u64; OPERATIONS] {
        self.maps.as_ref().map_or([0; OPERATIONS], |maps| maps.take_longest(slot))
    }

    fn block_figures(&self, slot: Slot) -> BlockFigures {
        let phases = self.maps.as_ref().map(|maps| (maps.block(slot, 0), maps.block(slot, 1)));
        let (queue, device) = phases.unwrap_or_default();
        BlockFigures { queue, device }
    }

    fn fold(&self, from: Slot, to: Slot) -> Result<(), LoadError> {
        self.retire(from, to);
        self.release(from)
    }

    fn retire(&self, volume: Slot, to: Slot) {
        if let Some(maps) = &self.maps {
            maps.fold(volume, to);
        }
    }

    fn clear(&self, slot: Slot) {
        if let Some(maps) = &self.maps {
            maps.clear(slot);
        }
    }

    fn sightings(&self) -> Result<Vec<Sighting>, LoadError> {
        let Some(maps) = &self.maps else { return Ok(vec![]) };
        let things = maps.things()?;
        let stale = stale(&things, |key| maps.word(key));
        let mut stale_before = lock(&self.stale);
        for key in stale_before.intersection(&stale) {
            maps.remove_thing(*key)?;
        }
        let seen = things.into_iter().filter(|(key, _)| !stale.contains(key));
        let seen = seen.map(|(key, record)| {
            let record = parse_thing(record);
            let word = maps.word(key);
            let thing = if key.is_device() {
                let (major, minor) = device_number(key.id);
                Thing::Device { major, minor }
            } else {
                Thing::Mount(key.id)
            };
            Sighting {
                thing,
                generation: word.generation,
                slot: word.slot,
                s_dev: device_number(record.s_dev),
                root_hash: record.root_hash,
                magic: record.magic,
                tgid: record.tgid,
                seen_ns: record.seen_ns,
            }
        });
        let seen = seen.collect();
        *stale_before = stale;
        Ok(seen)
    }

    fn slow_events(&mut self, limit: usize) -> Vec<SlowRecord> {
        let mut found = Vec::new();
        let Some(maps) = &mut self.maps else { return found };
        while found.len() < limit {
            let Some(item) = maps.events.next() else { break };
            found.extend(parse_slow(&item));
        }
        found
    }

    fn wake(&self) -> BorrowedFd<'_> {
        self.maps.as_ref().map_or_else(|| self.idle.as_fd(), |maps| maps.events.as_fd())
    }

    fn counters(&self) -> Result<Counters, LoadError> {
        let programs: Vec<_> = self.running.iter().map(figures).collect();
        let mut counters = Counters { programs, map_bytes: self.map_bytes, ..Counters::default() };
        if let Some(maps) = &self.maps {
            counters.missed = maps.missed();
            counters.slow_dropped = maps.dropped();
        }
        let recursion = terrace_probe_abi::layout::Missed::Recursion.index();
        counters.missed[recursion] +=
            counters.programs.iter().map(|program| program.recursion_misses).sum::<u64>();
        Ok(counters)
    }

    fn set_slot(&self, thing: Thing, generation: u16, slot: Slot) -> Result<Changed, LoadError> {
        self.change(thing, generation, |word| MountWord { slot, ..word })
    }

    fn set_directories(&self, directories: &[DirectoryClass]) -> Result<(), LoadError> {
        let Some(maps) = &self.maps else { return Ok(()) };
        let known = directories.iter().map(|DirectoryClass { device, inode, class, path: _ }| {
            let key = DirectoryKey { inode: *inode, s_dev: device.to_kernel(), unused: 0 };
            (key, class.slot())
        });
        maps.set_directories(&known.collect::<Vec<_>>())
    }

    fn set_has_directories(
        &self,
        thing: Thing,
        generation: u16,
        has: Switch,
    ) -> Result<Changed, LoadError> {
        let has_directories = has == Switch::On;
        self.change(thing, generation, |word| MountWord { has_directories, ..word })
    }

    fn remember(&self, volume: Slot, owner: &[u8]) {
        if let Some(maps) = &self.maps {
            maps.remember(volume, owner);
        }
    }

    fn remembered(&self) -> Vec<(Slot, Vec<u8>)> {
        self.maps.as_ref().map_or_else(Vec::new, Maps::remembered)
    }

    fn forget(&self, thing: Thing, generation: u16) -> Result<Changed, LoadError> {
        let Some(maps) = &self.maps else { return Ok(Changed::No) };
        // First what was seen: whoever finds the word empty then may write it anew.
        match thing {
            Thing::Mount(id) => {
                let word = maps.mount(id);
                if word.generation != generation || word.tag == 0 {
                    return Ok(Changed::No);
                }
                maps.remove_thing(Key { id, tag: word.tag })?;
            }
            Thing::Device { major, minor } => {
                return maps.forget_device(kernel_device((major, minor)), generation);
            }
        }
        self.change(thing, generation, |word| MountWord { tag: 0, has_directories: false, ..word })
    }

    fn release(&self, provisional: Slot) -> Result<(), LoadError> {
        let Some(maps) = &self.maps else { return Ok(()) };
        if SlotKind::of(provisional) != SlotKind::Provisional {
            return Ok(());
        }
        maps.clear(provisional);
        maps.give_back(provisional)
    }

    fn orphans(&self) -> Result<Vec<Slot>, LoadError> {
        self.maps.as_ref().map_or_else(|| Ok(vec![]), Maps::orphans)
    }

    fn set_threshold(&self, slot: Slot, ns: u64) {
        if let Some(maps) = &self.maps {
            maps.set_threshold(slot, ns);
        }
    }

    fn set_device(&self, slot: Slot, device: Option<(u32, u32)>) -> Result<(), LoadError> {
        let Some(maps) = &self.maps else { return Ok(()) };
        maps.set_device(slot, device.map_or(0, kernel_device))
    }
}

#[cfg(test)]
mod tests {
    use terrace_probe_abi::layout::{MOUNTS, MountWord};

    use super::stale;
    use crate::maps::Key;

    #[test]
    fn of_mounts_the_one_in_the_word_stays_and_of_devices_the_last() {
        let loop3 = MOUNTS;
        let keys = [(5, 8), (5, 9), (loop3, 40), (loop3, 41), (6, 1)];
        let things = keys.map(|(id, tag)| (Key { id, tag }, ()));
        let word = |Key { id, tag }| match id {
            5 => MountWord { tag: 9, ..MountWord::default() },
            6 => MountWord::default(),
            _ => MountWord { tag, ..MountWord::default() },
        };
        let gone: Vec<_> = stale(&things, word).into_iter().map(|key| (key.id, key.tag)).collect();
        assert_eq!(gone, [(5, 8), (6, 1), (loop3, 40)]);
    }
}
