//! Reading the audit: the newest lines that are wanted, oldest first, never more than [`MOST`].

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use serde::Serialize;
use terrace_device_types::VolumeUuid;

use super::{Audit, Entry, Error, KEPT, place};

/// Most lines of one answer.
pub const MOST: usize = 2000;
/// A line of ours is far shorter; a longer one is not ours.
const LONGEST_LINE: u64 = 64 << 10;

/// Which lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this volume or snapshot only.
    pub volume: Option<VolumeUuid>,
    /// Written at or after this only.
    pub since: Option<jiff::Timestamp>,
}

impl Wanted {
    fn admits(&self, entry: &Entry) -> bool {
        let Self { volume, since } = self;
        volume.is_none_or(|volume| entry.volume == Some(volume))
            && since.is_none_or(|since| entry.time >= since)
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The newest, oldest first.
    pub entries: VecDeque<Entry>,
    /// How many more there are, older ones.
    pub older: usize,
    /// Lines that no crash and no person should have left so.
    pub unreadable: usize,
}

impl Audit {
    /// The newest lines that are wanted.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn read(&self, wanted: &Wanted) -> Result<Found, Error> {
        let mut found = Found::default();
        // Opened together, so that none is missed that moves on meanwhile.
        let mut files = Vec::new();
        {
            let _still = self.lock();
            for number in (0..=KEPT).rev() {
                let path = place(&self.dir, number);
                match File::open(&path) {
                    Ok(file) => files.push((path, file)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(Error::File { verb: "read", path, source }),
                }
            }
        }
        for (path, file) in files {
            let read = lines(BufReader::new(file), |line| take(&mut found, wanted, line));
            read.map_err(|source| Error::File { verb: "read", path, source })?;
        }
        Ok(found)
    }
}

fn take(found: &mut Found, wanted: &Wanted, line: &[u8]) {
    match serde_json::from_slice::<Entry>(line) {
        Ok(entry) if wanted.admits(&entry) => {
            found.entries.push_back(entry);
            if found.entries.len() > MOST {
                found.entries.pop_front();
                found.older += 1;
            }
        }
        Ok(_) => {}
        Err(_) => found.unreadable += 1,
    }
}

/// Each line without its end, an empty one left out; of a line that is too long its pieces, which nobody can read.
fn lines(mut from: impl BufRead, mut line: impl FnMut(&[u8])) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(());
        }
        match bytes.strip_suffix(b"\n").unwrap_or(&bytes) {
            [] => {}
            text => line(text),
        }
    }
}
