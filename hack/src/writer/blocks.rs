//! Numbered blocks, each with its checksum, and the log of what was acknowledged. Pure.

use std::fmt;
use std::num::ParseIntError;

use sha2::{Digest, Sha256};

/// Bytes of one block; the last 32 are the checksum of those before.
pub(crate) const BLOCK: usize = 4096;
const BODY: usize = BLOCK - 32;

/// The block of this number: the number, bytes that follow from it, and the checksum.
pub(crate) fn block(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    let mut state = number;
    while bytes.len() < BODY {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend((state >> 32).to_le_bytes().iter().take(4));
    }
    bytes.truncate(BODY);
    let checksum = Sha256::digest(&bytes);
    bytes.extend(checksum);
    bytes
}

/// What is wrong with bytes that should be the block of this number.
pub(crate) fn fault_of(number: u64, bytes: &[u8]) -> Option<&'static str> {
    let Some((body, checksum)) = bytes.split_at_checked(BODY) else { return Some("short") };
    if bytes.iter().all(|byte| *byte == 0) {
        return Some("zeros");
    }
    if Sha256::digest(body).as_slice() != checksum {
        return Some("checksum");
    }
    (bytes != block(number)).then_some("another block")
}

/// A line of the log. Times are milliseconds since the writer began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The writer began: with the first block.
    Began,
    /// The block was written and made durable.
    Acknowledged { number: u64, at_ms: u64 },
    /// Writing it, or making it durable, failed; it is tried again.
    Failed { number: u64, at_ms: u64, why: String },
}

impl fmt::Display for Entry {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began => writeln!(to, "began"),
            Self::Acknowledged { number, at_ms } => writeln!(to, "ok {number} {at_ms}"),
            Self::Failed { number, at_ms, why } => {
                writeln!(to, "failed {number} {at_ms} {}", why.replace('\n', " "))
            }
        }
    }
}

impl Entry {
    /// Reads one line, without its end.
    ///
    /// # Errors
    /// The line, where it is none of these.
    fn parse(line: &str) -> Result<Self, String> {
        let unknown = |_: ParseIntError| line.to_owned();
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        match word() {
            "began" => Ok(Self::Began),
            "ok" => Ok(Self::Acknowledged {
                number: word().parse().map_err(unknown)?,
                at_ms: word().parse().map_err(unknown)?,
            }),
            "failed" => Ok(Self::Failed {
                number: word().parse().map_err(unknown)?,
                at_ms: word().parse().map_err(unknown)?,
                why: word().to_owned(),
            }),
            _ => Err(line.to_owned()),
        }
    }
}

/// What a log tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Blocks acknowledged: all from 0 to this one, exclusive.
    pub(crate) acknowledged: u64,
    /// Failed writes, with their reasons.
    pub(crate) failures: Vec<String>,
    /// The longest time between two acknowledged blocks.
    pub(crate) longest_pause_ms: u64,
}

/// Sums the log up. A last line without its end is the one being written.
///
/// # Errors
/// A line that is none, a block out of its turn, a second beginning: then the log proves nothing.
pub(crate) fn sum_up(log: &str) -> Result<Told, String> {
    let mut told = Told::default();
    let mut last_ms = None;
    let mut beginnings = 0;
    for line in log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        match Entry::parse(line)? {
            Entry::Began => beginnings += 1,
            Entry::Acknowledged { number, at_ms } => {
                if number != told.acknowledged {
                    return Err(format!("block {number} after {}", told.acknowledged));
                }
                told.acknowledged += 1;
                let pause = at_ms.saturating_sub(last_ms.replace(at_ms).unwrap_or(at_ms));
                told.longest_pause_ms = told.longest_pause_ms.max(pause);
            }
            Entry::Failed { number, at_ms, why } => {
                told.failures.push(format!("block {number} at {at_ms} ms: {why}"));
            }
        }
    }
    if beginnings == 1 { Ok(told) } else { Err(format!("the writer began {beginnings} times")) }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Entry, Told, block, fault_of, sum_up};

    #[test]
    fn a_block_is_told_from_all_that_it_is_not() {
        let good = block(7);
        assert_eq!(good.len(), BLOCK);
        assert_eq!(fault_of(7, &good), None);
        assert_eq!(fault_of(8, &good), Some("another block"));
        assert_eq!(fault_of(7, &[0; BLOCK]), Some("zeros"));
        assert_eq!(fault_of(7, &good[..100]), Some("short"));
        for at in [0, 8, 2000, BLOCK - 1] {
            let mut torn = good.clone();
            torn[at] ^= 1;
            assert_eq!(fault_of(7, &torn), Some("checksum"), "byte {at}");
        }
        let half: Vec<u8> = good[..2048].iter().chain(&block(8)[2048..]).copied().collect();
        assert_eq!(fault_of(7, &half), Some("checksum"));
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let failed =
            Entry::Failed { number: 3, at_ms: 9, why: "Input/output error (os error 5)".into() };
        for entry in [Entry::Began, Entry::Acknowledged { number: 2, at_ms: 5 }, failed] {
            assert_eq!(Entry::parse(entry.to_string().trim_end()), Ok(entry));
        }
        assert_eq!(Entry::parse("ok two 5"), Err("ok two 5".to_owned()));
    }

    #[test]
    fn a_log_tells_blocks_failures_and_the_longest_pause() {
        let log = "began\nok 0 1\nok 1 3\nfailed 2 20 Input/output error\nok 2 103\nok 3 10";
        let told = Told {
            acknowledged: 3,
            failures: vec!["block 2 at 20 ms: Input/output error".into()],
            longest_pause_ms: 100,
        };
        assert_eq!(sum_up(log), Ok(told));
    }

    #[test]
    fn a_log_that_proves_nothing_is_refused() {
        assert_eq!(sum_up("began\nok 0 1\nok 2 2\n"), Err("block 2 after 1".to_owned()));
        assert_eq!(sum_up("began\nok 0 1\nbegan\n"), Err("the writer began 2 times".to_owned()));
        assert_eq!(sum_up(""), Err("the writer began 0 times".to_owned()));
    }
}
