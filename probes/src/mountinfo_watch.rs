//! Being woken when a namespace's mounts change: the kernel makes every open mountinfo of it an exceptional condition (Linux 2.6.30).
//! Nothing is read here, and no timer runs.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Somebody's open mountinfo.
#[derive(Debug)]
pub struct MountWatch {
    file: AsyncFd<OwnedFd>,
}

impl MountWatch {
    /// Watches the namespace of the process whose mountinfo that is, from now on.
    ///
    /// # Errors
    /// When it can't be opened, or is a file that can't be waited for.
    pub fn open(mountinfo: &Path) -> io::Result<Self> {
        let file = OwnedFd::from(File::open(mountinfo)?);
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for descriptors that are not owned"
        )]
        let file = AsyncFd::with_interest(file, Interest::PRIORITY)?;
        Ok(Self { file })
    }

    /// Until a mount was made, moved, changed or taken away since the last time this said so. Several at once are one. It may be
    /// dropped while it waits, and asked again.
    ///
    /// # Errors
    /// As the system says.
    pub async fn changed(&self) -> io::Result<()> {
        self.file.ready(Interest::PRIORITY).await?.clear_ready();
        Ok(())
    }
}
