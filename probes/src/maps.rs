//! The maps by name and shape, and what user space does with each. Which of them exist already (pinned) is the loader's matter.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use aya::maps::{HashMap, Map, MapData, Queue, RingBuf};
use terrace_probe_abi::layout::{
    DirectoryKey, FIRST_PROVISIONAL, MISSED, MOUNTS, MountWord, OPERATIONS, OperationFigures,
    PROVISIONAL_SLOTS, SLOTS, Slot, VOLUME_SLOTS,
};

use crate::loader::{Changed, LoadError};
use crate::mapped::{Mapped, Windows};

#[path = "maps_figures.rs"]
mod figures;
#[path = "maps_owners.rs"]
mod owners;

/// Words of the figures of one operation.
const WORDS: usize = size_of::<OperationFigures>() / size_of::<u64>();
const COUNTERS: usize = MISSED + 2;
const DROPPED: usize = MISSED;
const MOVES: usize = MISSED + 1;
/// Words of a slot's setting: threshold, then keep and device in one.
const SETTING: usize = 2;

/// Things by (id, tag), with what was known at first sight.
type Things = HashMap<MapData, [u32; 2], [u64; 4]>;

/// User space's hold on the maps.
pub(crate) struct Maps {
    figures: Windows,
    block: Windows,
    owners: Windows,
    mounts: Mapped,
    settings: Mapped,
    counters: Mapped,
    things: Mutex<Things>,
    devices: Mutex<HashMap<MapData, [u32; 2], u64>>,
    below: Mutex<HashMap<MapData, u32, u32>>,
    directories: Mutex<HashMap<MapData, [u64; 2], u32>>,
    spare: Mutex<Queue<MapData, u32>>,
    pub(crate) events: RingBuf<MapData>,
    stripes: usize,
    /// Their descriptors stay open: programs are loaded with them.
    held: Vec<MapData>,
    descriptors: Vec<RawFd>,
}

/// What a thing is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Mount id or device.
    pub(crate) id: u32,
    /// Tells it from others that have or had this id.
    pub(crate) tag: u32,
}

impl Key {
    /// No block device has the major number 0.
    pub(crate) const fn is_device(self) -> bool {
        self.id >= MOUNTS
    }
}

/// Whether maps were made just now, or were there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    New,
    Old,
}

impl Maps {
    /// Takes hold of each by its name.
    pub(crate) fn open(
        mut take: impl FnMut(&'static str) -> Result<Map, LoadError>,
        stripes: u32,
        age: Age,
    ) -> Result<Self, LoadError> {
        let stripes = stripes as usize;
        let slots = usize::from(SLOTS);
        let descriptors = RefCell::new(Vec::new());
        let mut take = |name| {
            let map = take(name)?;
            descriptors.borrow_mut().extend(descriptor(&map));
            Ok::<Map, LoadError>(map)
        };
        let mut held = Vec::new();
        for name in ["threads", "requests", "block_requests", "allowances", "resolved"] {
            held.push(array(take(name)?)?);
        }
        let mut windows = |name, values, words_each| {
            let data = array(take(name)?)?;
            let windows = Windows::new(data.fd(), values, words_each);
            held.push(data);
            windows.map_err(object("hold an array"))
        };
        let figures = windows("figures", slots * OPERATIONS * stripes, WORDS)?;
        let block = windows("block_figures", slots * 2, WORDS)?;
        let owners = windows("owners", usize::from(VOLUME_SLOTS), owners::WORDS)?;
        let mut mapped = |name, values, words_each| {
            let data = array(take(name)?)?;
            let mapped =
                Mapped::new(data.fd(), values, words_each).map_err(object("map an array"))?;
            held.push(data);
            Ok::<Mapped, LoadError>(mapped)
        };
        let mut maps = Self {
            figures,
            block,
            owners,
            mounts: mapped("mounts", MOUNTS as usize, 1)?,
            settings: mapped("settings", slots, SETTING)?,
            counters: mapped("counters", 1, COUNTERS)?,
            things: typed("things", take("things")?)?,
            devices: typed("devices", take("devices")?)?,
            below: typed("below", take("below")?)?,
            directories: typed("directories", take("directories")?)?,
            spare: typed("spare", take("spare")?)?,
            events: take("events")?.try_into().map_err(object("open the ring of events"))?,
            stripes,
            held: vec![],
            descriptors: vec![],
        };
        maps.held = held;
        maps.descriptors = descriptors.into_inner();
        if age == Age::New {
            for slot in FIRST_PROVISIONAL..FIRST_PROVISIONAL + PROVISIONAL_SLOTS {
                maps.give_back(slot)?;
            }
        }
        Ok(maps)
    }

    /// Provisional slots that are neither free nor any thing's. To be asked before the first sightings are named: for a moment
    /// no slot is free.
    pub(crate) fn orphans(&self) -> Result<Vec<Slot>, LoadError> {
        let mut spare = lock(&self.spare);
        let mut taken: BTreeSet<u32> =
            (FIRST_PROVISIONAL..FIRST_PROVISIONAL + PROVISIONAL_SLOTS).map(u32::from).collect();
        let mut free = Vec::new();
        while let Ok(slot) = spare.pop(0) {
            free.push(slot);
        }
        for slot in free {
            taken.remove(&slot);
            spare.push(slot, 0).map_err(object("put a provisional slot back"))?;
        }
        drop(spare);
        for (key, _) in self.things()? {
            taken.remove(&u32::from(self.word(key).slot));
        }
        Ok(taken.into_iter().filter_map(|slot| Slot::try_from(slot).ok()).collect())
    }

    /// Sets which folders have a class of their own, the whole list.
    pub(crate) fn set_directories(
        &self,
        directories: &[(DirectoryKey, Slot)],
    ) -> Result<(), LoadError> {
        let words = |key: &DirectoryKey| [key.inode, u64::from(key.s_dev)];
        let mut map = lock(&self.directories);
        let old: Vec<_> = map.keys().collect::<Result<_, _>>().map_err(object("read folders"))?;
        for key in old {
            if !directories.iter().any(|(one, _)| words(one) == key) {
                map.remove(&key).map_err(object("forget a folder"))?;
            }
        }
        for (key, slot) in directories {
            map.insert(words(key), u32::from(*slot), 0).map_err(object("set a folder"))?;
        }
        if let Some(moves) = self.counters.word(MOVES) {
            moves.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    /// The word of a mount.
    pub(crate) fn mount(&self, id: u32) -> MountWord {
        MountWord::unpacked(self.mounts.load(id as usize))
    }

    /// Changes the word of a mount if it is still of that generation.
    pub(crate) fn change_mount(
        &self,
        id: u32,
        generation: u16,
        to: impl Fn(MountWord) -> MountWord,
    ) -> Changed {
        let Some(word) = self.mounts.word(id as usize) else { return Changed::No };
        let changed = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| {
            let old = MountWord::unpacked(old);
            (old.generation == generation && old.tag != 0).then(|| to(old).packed())
        });
        changed.map_or(Changed::No, |_| Changed::Yes)
    }

    /// The word of a thing, or of what has its id by now.
    pub(crate) fn word(&self, key: Key) -> MountWord {
        if !key.is_device() {
            return self.mount(key.id);
        }
        MountWord::unpacked(lock(&self.devices).get(&[key.id, key.tag], 0).unwrap_or(0))
    }

    /// The device of a number and generation.
    fn device(&self, device: u32, generation: u16) -> Result<Option<Key>, LoadError> {
        let found = self.things()?.into_iter().map(|(key, _)| key);
        let mut found = found.filter(|key| key.is_device() && key.id == device);
        Ok(found.find(|key| self.word(*key).generation == generation))
    }

    /// Changes the word of a device. Nothing in the kernel changes one that is there.
    pub(crate) fn change_device(
        &self,
        device: u32,
        generation: u16,
        to: impl Fn(MountWord) -> MountWord,
    ) -> Result<Changed, LoadError> {
        let Some(key) = self.device(device, generation)? else { return Ok(Changed::No) };
        let word = to(self.word(key)).packed();
        let set = lock(&self.devices).insert([key.id, key.tag], word, 0);
        set.map(|()| Changed::Yes).map_err(object("change the slot of a device"))
    }

    /// Forgets that a device was seen.
    pub(crate) fn forget_device(&self, device: u32, generation: u16) -> Result<Changed, LoadError> {
        let Some(key) = self.device(device, generation)? else { return Ok(Changed::No) };
        self.remove_thing(key).map(|()| Changed::Yes)
    }

    /// All that was seen.
    pub(crate) fn things(&self) -> Result<Vec<(Key, [u64; 4])>, LoadError> {
        let things = lock(&self.things);
        let seen =
            things.iter().map(|seen| seen.map(|([id, tag], thing)| (Key { id, tag }, thing)));
        seen.collect::<Result<_, _>>().map_err(object("read what was seen"))
    }

    /// Forgets that a thing was seen, and the word of a device with it. Its next use is a first one once the record is gone.
    pub(crate) fn remove_thing(&self, key: Key) -> Result<(), LoadError> {
        let removed = |removed| match removed {
            Ok(()) | Err(aya::maps::MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(object("forget what was seen")(error)),
        };
        let Key { id, tag } = key;
        if key.is_device() {
            removed(lock(&self.devices).remove(&[id, tag]))?;
        }
        removed(lock(&self.things).remove(&[id, tag]))
    }

    /// Descriptors of the maps that are held open.
    pub(crate) fn descriptors(&self) -> &[RawFd] {
        &self.descriptors
    }

    /// How much of a slot's operations is counted, and from when on they are slow.
    pub(crate) fn set_keep(&self, slot: Slot, keep: u32) {
        if let Some(half) = self.settings.half((usize::from(slot) * SETTING + 1) * 2) {
            half.store(keep, Ordering::Relaxed);
        }
    }

    /// From when on operations of a slot are slow.
    pub(crate) fn set_threshold(&self, slot: Slot, ns: u64) {
        if let Some(word) = self.settings.word(usize::from(slot) * SETTING) {
            word.store(ns, Ordering::Relaxed);
        }
    }

    /// Names the device below a slot, as the kernel numbers it; 0: none.
    pub(crate) fn set_device(&self, slot: Slot, device: u32) -> Result<(), LoadError> {
        let Some(half) = self.settings.half((usize::from(slot) * SETTING + 1) * 2 + 1) else {
            return Ok(());
        };
        let old = half.swap(device, Ordering::Relaxed);
        let mut below = lock(&self.below);
        if old != 0 && old != device && below.get(&old, 0).is_ok_and(|of| of == u32::from(slot)) {
            below.remove(&old).map_err(object("forget a slot's device"))?;
        }
        if device != 0 {
            below.insert(device, u32::from(slot), 0).map_err(object("set a slot's device"))?;
        }
        Ok(())
    }

    /// A provisional slot is free again.
    pub(crate) fn give_back(&self, slot: Slot) -> Result<(), LoadError> {
        lock(&self.spare).push(u32::from(slot), 0).map_err(object("give a provisional slot back"))
    }

    /// What was missed, by reason.
    pub(crate) fn missed(&self) -> [u64; MISSED] {
        std::array::from_fn(|reason| self.counters.load(reason))
    }

    /// Slow operations nobody was told of.
    pub(crate) fn dropped(&self) -> u64 {
        self.counters.load(DROPPED)
    }
}

/// A poisoned lock guards no invariant here: the maps are the kernel's.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Wraps what aya says.
pub(crate) fn object<E>(doing: &'static str) -> impl Fn(E) -> LoadError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| LoadError::Object { doing, source: Box::new(source) }
}

fn typed<T>(name: &'static str, map: Map) -> Result<Mutex<T>, LoadError>
where
    T: TryFrom<Map, Error = aya::maps::MapError>,
{
    map.try_into().map(Mutex::new).map_err(object(name))
}

fn array(map: Map) -> Result<MapData, LoadError> {
    let Map::Array(data) = map else { return Err(LoadError::Absent { name: "an array" }) };
    Ok(data)
}

fn descriptor(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::Queue(data) | Map::RingBuf(data) => {
            Some(data.fd().as_fd().as_raw_fd())
        }
        _ => None,
    }
}
