//! Making files and names survive a power cut. Every write that must be there after a crash goes through here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, linkat};
use terrace_device_types::StepDone;

use crate::DeviceError;

/// Replaces a file's content in one piece: after a crash it has the old content or the new one, whole. Temporary file in the same directory, fsync, rename, fsync of the directory.
///
/// # Errors
/// The first of these that fails; the old content is then still there.
pub fn replace_file_durably(path: &Path, content: &[u8], mode: u32) -> Result<(), DeviceError> {
    let dir = parent(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = dir.join(name);
    let fail = |source| DeviceError::io("write", path, source);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(&temporary).map_err(fail)?;
    file.write_all(content).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    fs::rename(&temporary, path).map_err(fail)?;
    sync_dir(dir).map(drop)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<StepDone, DeviceError> {
    let fail = |source| DeviceError::io("sync directory", dir, source);
    File::open(dir).map_err(fail)?.sync_all().map_err(fail)?;
    Ok(StepDone::Changed)
}

/// Makes a directory (0700) with its parents, durably.
pub(crate) fn make_directory(dir: &Path, mode: u32) -> Result<StepDone, DeviceError> {
    if dir.is_dir() {
        return Ok(StepDone::Already);
    }
    let above = parent(dir)?;
    if !above.is_dir() {
        make_directory(above, mode)?;
    }
    match fs::DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => sync_dir(above),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {
            Ok(StepDone::Already)
        }
        Err(source) => Err(DeviceError::io("make directory", dir, source)),
    }
}

/// A file without a name in that directory; it vanishes unless it gets one (`O_TMPFILE`, Linux 3.11).
pub(crate) fn unnamed_file(dir: &Path, mode: u32) -> Result<File, DeviceError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(mode).custom_flags(libc::O_TMPFILE);
    options.open(dir).map_err(|source| DeviceError::io("create a file in", dir, source))
}

/// Gives an unnamed file its name; fails with EEXIST when the name is taken.
pub(crate) fn name_file(file: &File, path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, source, CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
}

/// The directory a path is in.
pub(crate) fn parent(path: &Path) -> Result<&Path, DeviceError> {
    path.parent().ok_or(DeviceError::Bug { why: "a path without a directory" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_its_new_content_and_leaves_nothing_beside_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        replace_file_durably(&path, b"one", 0o600).unwrap();
        replace_file_durably(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_that_is_taken_is_not_taken_over() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mine");
        fs::write(&path, "first").unwrap();
        let file = unnamed_file(scratch.path(), 0o600).unwrap();
        assert_eq!(name_file(&file, &path).unwrap_err().raw_os_error(), Some(libc::EEXIST));
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }
}
