//! What the guest boots into: an archive with a static busybox, the modules for 9p and disks, and the first script.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::guest::kernel::Kernel;
use crate::paths::Paths;

/// For the host's root, the overlay on it and disks.
const MODULES: [&str; 5] = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_blk"];
/// Applets that the first script calls by name.
const APPLETS: [&str; 9] =
    ["sh", "mount", "umount", "insmod", "mkdir", "switch_root", "cat", "poweroff", "uname"];
const FOLDERS: [&str; 7] = ["bin", "modules", "proc", "sys", "dev", "host", "new"];
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// Where it lies.
pub(crate) fn path(kernel: &Kernel) -> PathBuf {
    kernel.root.join("initramfs")
}

/// Written anew each time: it takes a tenth of a second, and the script may have changed.
pub(crate) fn ensure(paths: &Paths, kernel: &Kernel) -> Result<()> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.add(folder, FOLDER, b"");
    }
    archive.add("bin/busybox", PROGRAM, &read(Path::new("/bin/busybox"))?);
    for applet in APPLETS {
        archive.add(&format!("bin/{applet}"), LINK, b"busybox");
    }
    let mut order = String::new();
    for file in kernel.load_order(&MODULES)? {
        let name = file.file_name().context("a module without a name")?.to_string_lossy();
        archive.add(&format!("modules/{name}"), PROGRAM, &read(&file)?);
        order.push_str(&format!("{name}\n"));
    }
    archive.add("modules/order", PROGRAM, order.as_bytes());
    archive.add("init", PROGRAM, &read(&paths.repo.join("e2e/rig/guest/early.sh"))?);
    let partial = path(kernel).with_extension("partial");
    fs::write(&partial, archive.finish())?;
    Ok(fs::rename(&partial, path(kernel))?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// A cpio archive of the new ASCII format, the one that kernels unpack.
#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (inode, size, name_size) = (self.entries, content.len(), name.len() + 1);
        // Owner, group, links, time, size, device (two), device of a device (two), length of the name, checksum.
        let header = format!(
            "070701{inode:08X}{mode:08X}{0:08X}{0:08X}{1:08X}{0:08X}{size:08X}{0:08X}{0:08X}{0:08X}{0:08X}{name_size:08X}{0:08X}",
            0, 1
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, b"");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{Archive, PROGRAM};

    #[test]
    fn an_entry_is_a_header_a_name_and_its_bytes_each_on_a_word() {
        let mut archive = Archive::default();
        archive.add("a/b", PROGRAM, b"hello");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000081ED");
        assert_eq!(&bytes[54..62], b"00000005");
        assert_eq!(&bytes[94..102], b"00000004");
        assert_eq!(&bytes[110..122], b"a/b\0\0\0hello\0"[..12].to_vec().as_slice());
        assert_eq!(bytes.len() % 4, 0);
    }
}
