//! A message as a line: its version, its bounds, and how lines come out of a stream of bytes. It may not do I/O.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Which protocol this is. A field or a kind of message more is no new version; a changed meaning is.
pub const VERSION: u32 = 1;
/// The longest line, its newline left out. 512 volumes with four operations each, or 2,000 names, stay well below.
pub const LINE_MAX: usize = 2 << 20;

/// Why a line could not be written or read.
#[derive(Debug, Error)]
pub enum WireError {
    /// It is longer than [`LINE_MAX`].
    #[error("a line of {bytes} bytes is longer than {LINE_MAX}")]
    TooLong {
        /// How long it is, as far as it was read.
        bytes: usize,
    },
    /// The other side speaks another version.
    #[error("the other side speaks version {found} of the protocol, this one speaks {VERSION}")]
    Version {
        /// Which.
        found: u32,
    },
    /// It is no such message.
    #[error("read a message")]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    v: u32,
    #[serde(flatten)]
    message: T,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

/// A message as a line, newline included.
///
/// # Errors
/// When it is too long.
pub fn to_line<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut line = serde_json::to_vec(&Envelope { v: VERSION, message })?;
    if line.len() > LINE_MAX {
        return Err(WireError::TooLong { bytes: line.len() });
    }
    line.push(b'\n');
    Ok(line)
}

/// A line as a message. A newline at its end is allowed.
///
/// # Errors
/// When it is too long, broken or of another version.
pub fn from_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, WireError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if line.len() > LINE_MAX {
        return Err(WireError::TooLong { bytes: line.len() });
    }
    let VersionOnly { v: found } = serde_json::from_slice(line)?;
    if found != VERSION {
        return Err(WireError::Version { found });
    }
    let Envelope { v: _, message } = serde_json::from_slice(line)?;
    Ok(message)
}

/// Cuts a stream into lines. What it holds is never more than a line of [`LINE_MAX`] and what was pushed last.
#[derive(Debug, Default)]
pub struct Lines {
    held: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to where no newline was found.
    searched: usize,
}

impl Lines {
    /// Takes what was read from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.held.extend_from_slice(bytes);
    }

    /// The next line without its newline, if it is whole.
    ///
    /// # Errors
    /// When the line is too long. The stream is of no use after that.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, WireError> {
        let newline = self.held[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = newline.map_or(self.held.len(), |at| self.searched + at);
        self.searched = end;
        if end - self.start > LINE_MAX {
            return Err(WireError::TooLong { bytes: end - self.start });
        }
        if newline.is_none() {
            return Ok(None);
        }
        let from = std::mem::replace(&mut self.start, end + 1);
        self.searched = end + 1;
        Ok(Some(&self.held[from..end]))
    }
}
