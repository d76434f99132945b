//! Files that are replaced by rename, moved from folder to folder and removed: each shows the state that was acknowledged last or
//! one that was begun since, whole, and in one place only.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::block::{BLOCK, Found, Stamp, block, read};
use super::dice::Dice;
use super::durable::Hand;
use super::ledger::{Shared, Verdict};
use super::logs::names;

/// How many there are.
const SLOTS: usize = 16;
/// Where they may lie.
const PLACES: [&str; 2] = ["slots/here", "slots/there"];
/// Most blocks of one of them.
const LENGTH: u64 = 4;
/// Their numbers in the stamps begin here.
const FILE: u64 = 1 << 41;
/// How a file is called before it has its place.
const UNNAMED: &str = "new-";

/// What a slot may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    Absent,
    At {
        place: usize,
        generation: u64,
    },
}

/// A change that was begun.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Change {
    slot: usize,
    to: State,
}

/// What is known of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Slots {
    /// What was acknowledged of each.
    acknowledged: [State; SLOTS],
    /// All changes since the last checkpoint, in their order. Only the last can be without acknowledgement.
    history: Vec<Change>,
    /// Whether the last one is.
    open: Option<Change>,
    /// The last generation that was begun, and the last that was given its place.
    begun: u64,
    placed: u64,
}

impl Slots {
    /// Forgets what led to what is acknowledged.
    pub(crate) fn checkpoint(&mut self) {
        self.history = self.open.into_iter().collect();
    }

    /// After a power cut: what was found is what is there, and what was begun is over.
    pub(crate) fn settle(&mut self, found: &Settled) {
        let Settled(states) = found;
        self.acknowledged = *states;
        (self.history, self.open) = (Vec::new(), None);
    }

    fn begin(&mut self, change: Change) {
        self.history.push(change);
        self.open = Some(change);
    }

    fn acknowledge(&mut self) {
        if let Some(Change { slot, to }) = self.open.take() {
            self.acknowledged[slot] = to;
        }
    }
}

/// What the slots were found to be.
#[derive(Debug)]
pub(crate) struct Settled([State; SLOTS]);

/// Changes them.
pub(crate) struct SlotWriter {
    hand: Hand,
    places: [PathBuf; 2],
}

impl SlotWriter {
    pub(crate) fn begin(hand: Hand, data: &Path) -> io::Result<Self> {
        let places = PLACES.map(|place| data.join(place));
        for place in &places {
            fs::create_dir_all(place)?;
            // What a power cut left without a place.
            for name in names(place)?.iter().filter(|name| name.starts_with(UNNAMED)) {
                fs::remove_file(place.join(name))?;
            }
            hand.sync_dir(place)?;
        }
        hand.sync_dir(&data.join("slots"))?;
        hand.sync_dir(data)?;
        Ok(Self { hand, places })
    }

    /// One change, and its acknowledgement.
    pub(crate) fn step(&self, shared: &Shared, dice: &mut Dice) -> io::Result<()> {
        let slot = usize::try_from(dice.below(SLOTS as u64)).unwrap_or_default();
        let now = shared.change(|ledger| ledger.slots.acknowledged[slot]);
        match (now, dice.below(5)) {
            (State::At { place, generation }, 0) => {
                let to = State::At { place: 1 - place, generation };
                self.change(shared, Change { slot, to }, || {
                    fs::rename(self.path(place, slot), self.path(1 - place, slot))
                })
            }
            (State::At { place, .. }, 1) => {
                self.change(shared, Change { slot, to: State::Absent }, || {
                    fs::remove_file(self.path(place, slot))
                })
            }
            (State::At { place, .. }, _) => self.replace(slot, place, shared, dice),
            (State::Absent, chance) => self.replace(slot, usize::from(chance < 3), shared, dice),
        }
    }

    /// The way every program does it: a new file, its bytes durable, over the old name.
    fn replace(
        &self,
        slot: usize,
        place: usize,
        shared: &Shared,
        dice: &mut Dice,
    ) -> io::Result<()> {
        let generation = shared.change(|ledger| {
            ledger.slots.begun += 1;
            ledger.slots.begun
        });
        let unnamed = self.places[place].join(format!("{UNNAMED}{generation}"));
        let blocks = length(generation);
        let stamp = |number| stamp(self.hand.volume, slot, generation, number);
        let bytes: Vec<u8> = (0..blocks).flat_map(|number| block(stamp(number))).collect();
        let mut file = File::options().write(true).create_new(true).open(&unnamed)?;
        file.write_all(&bytes)?;
        self.hand.sync_file(&file, dice)?;
        let to = State::At { place, generation };
        self.change(shared, Change { slot, to }, || fs::rename(&unnamed, self.path(place, slot)))?;
        shared.change(|ledger| {
            ledger.slots.placed = generation;
            ledger.promised.blocks += blocks;
        });
        Ok(())
    }

    fn change(
        &self,
        shared: &Shared,
        change: Change,
        act: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        shared.change(|ledger| ledger.slots.begin(change));
        act()?;
        for place in &self.places {
            self.hand.sync_dir(place)?;
        }
        shared.change(|ledger| {
            ledger.slots.acknowledge();
            ledger.promised.names += 1;
        });
        Ok(())
    }

    fn path(&self, place: usize, slot: usize) -> PathBuf {
        self.places[place].join(slot.to_string())
    }
}

const fn length(generation: u64) -> u64 {
    1 + generation % LENGTH
}

const fn stamp(volume: u64, slot: usize, generation: u64, number: u64) -> Stamp {
    Stamp { volume, file: FILE + slot as u64, number, version: generation }
}

/// Compares every slot with what was acknowledged before and begun until after.
pub(crate) fn verify(
    before: &Slots,
    after: &Slots,
    volume: u64,
    data: &Path,
    verdict: &mut Verdict,
) -> io::Result<Settled> {
    let mut settled = [State::Absent; SLOTS];
    for (slot, acknowledged) in before.acknowledged.iter().enumerate() {
        let since = after.history.iter().filter(|change| change.slot == slot);
        let allowed: Vec<State> =
            std::iter::once(*acknowledged).chain(since.map(|change| change.to)).collect();
        let mut found = Vec::new();
        for place in 0..PLACES.len() {
            found.extend(read_slot(place, slot, volume, data)?);
        }
        let is_allowed =
            |state: &Option<State>| state.is_some_and(|state| allowed.contains(&state));
        let state = match *found {
            [] => Some(State::Absent),
            [state] => state,
            // A rename between folders is under way, and one of the two is synced: btrfs keeps the file at both names.
            [state, _] if found.iter().all(is_allowed) => {
                verdict.twice += 1;
                state
            }
            _ => None,
        };
        verdict.names += 1;
        if let State::At { generation, .. } = acknowledged {
            verdict.blocks += length(*generation);
        }
        match state.filter(|state| allowed.contains(state)) {
            Some(state) => settled[slot] = state,
            None => verdict.lost(format!("slot {slot}: {found:?}, and not one of {allowed:?}")),
        }
    }
    for place in PLACES {
        for name in names(&data.join(place))? {
            let generation = name.strip_prefix(UNNAMED).and_then(|text| text.parse().ok());
            if generation.is_some_and(|generation: u64| generation <= before.placed) {
                verdict.lost(format!("{place}/{name}: the rename to its place"));
            }
        }
    }
    Ok(Settled(settled))
}

/// `None`: there is none. `Some(None)`: there is one, and it is not whole.
fn read_slot(
    place: usize,
    slot: usize,
    volume: u64,
    data: &Path,
) -> io::Result<Option<Option<State>>> {
    let bytes = match fs::read(data.join(PLACES[place]).join(slot.to_string())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut blocks = bytes.chunks(BLOCK).map(read);
    let Some(Found::Whole(first)) = blocks.next() else { return Ok(Some(None)) };
    let generation = first.version;
    let is_right = |number, found| found == Found::Whole(stamp(volume, slot, generation, number));
    let whole = is_right(0, Found::Whole(first))
        && bytes.len() as u64 == length(generation) * BLOCK as u64
        && (1..).zip(blocks).all(|(number, found)| is_right(number, found));
    Ok(Some(whole.then_some(State::At { place, generation })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::durable::{Power, Promise};

    #[test]
    fn a_slot_that_is_gone_old_twice_or_torn_is_a_loss() {
        let scratch = tempfile::tempdir().unwrap();
        let (shared, mut dice) = (Shared::default(), Dice::new(1));
        let hand = Hand { volume: 3, promise: Promise::Durable, power: Power::default() };
        let writer = SlotWriter::begin(hand.clone(), scratch.path()).unwrap();
        for _ in 0..200 {
            writer.step(&shared, &mut dice).unwrap();
        }
        let known = shared.checkpoint().slots;
        assert!(known.history.is_empty() && known.open.is_none());
        let lost = |after: &Slots| {
            let mut verdict = Verdict::default();
            verify(&known, after, 3, scratch.path(), &mut verdict).unwrap();
            verdict.lost.len()
        };
        assert_eq!(lost(&known), 0);

        let there = |state: &State| matches!(state, State::At { place: 0, .. });
        let slot = known.acknowledged.iter().position(there).unwrap();
        let (path, other) = (writer.path(0, slot), writer.path(1, slot));
        let whole = fs::read(&path).unwrap();
        let State::At { generation, .. } = known.acknowledged[slot] else { return };
        let mut later = known.clone();
        later.history.push(Change { slot, to: State::At { place: 1, generation } });
        fs::copy(&path, &other).unwrap();
        assert_eq!((lost(&known), lost(&later)), (1, 0), "in two places, and under way");
        fs::remove_file(&path).unwrap();
        assert_eq!((lost(&known), lost(&later)), (1, 0), "moved");
        fs::remove_file(&other).unwrap();
        assert_eq!(lost(&later), 1, "gone");
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(lost(&known), 1, "torn");
        fs::write(&path, block(stamp(3, slot, 4, 0))).unwrap();
        assert_eq!(lost(&known), 1, "an older one");
        fs::write(&path, whole).unwrap();
        assert_eq!(lost(&known), 0);
        fs::write(writer.places[0].join("new-1"), "").unwrap();
        assert_eq!(lost(&known), 1, "a rename that was undone");
        drop(SlotWriter::begin(hand, scratch.path()).unwrap());
        assert_eq!(lost(&known), 0, "swept by the next writer");
    }
}
