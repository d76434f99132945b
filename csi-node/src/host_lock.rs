//! One csi-node a host: an exclusive `flock` on `<state-dir>/lock` for as long as the process lives.
//! The kernel drops it with the process, so a crash leaves nothing to clean up.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Why the host cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error("{path} is held by {holder}: only one csi-node may run on a host", path = path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// The file cannot be opened, locked or written.
    #[error("lock {path}", path = path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The host is ours until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the host to somebody else"]
pub struct HostLock {
    _file: File,
}

/// Takes the host for `owner`, a short text that a refused rival will print.
///
/// # Errors
/// [`Error::Held`] at once if somebody has it; it does not wait.
pub fn take(state_dir: &Path, owner: &str) -> Result<HostLock, Error> {
    let path = state_dir.join("lock");
    let io = |source: std::io::Error| Error::Io { path: path.clone(), source };
    std::fs::create_dir_all(state_dir).map_err(io)?;
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(Error::Held { holder: holder(&mut file), path }),
        Err(errno) => return Err(io(errno.into())),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
    file.write_all(owner.as_bytes()).map_err(io)?;
    Ok(HostLock { _file: file })
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "a process that has not named itself".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, take};

    #[test]
    fn a_second_process_is_refused_and_told_who_has_the_host() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = take(dir.path(), "pod terrace-node-abc (pid 12)").expect("free");
        let refused = take(dir.path(), "second").expect_err("held");
        assert!(matches!(&refused, Error::Held { holder, .. } if holder.contains("node-abc")));
        assert!(refused.to_string().contains("only one csi-node may run on a host"));
        drop(first);
        let _second = take(dir.path(), "second").expect("free again");
    }
}
