//! The guest's kernel: Debian's package, unpacked into the cache and never installed. It does not boot it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;
use crate::run::{Progress, command, output, run};

/// Depends on the newest kernel of the distribution.
const NEWEST: &str = "linux-image-amd64";
/// The package's name without the release of its kernel.
const PREFIX: &str = "linux-image-";
/// What a kernel compressed by xz begins with.
const XZ: &[u8] = b"\xfd7zXZ\x00";
/// Where the setup header says at which byte the payload begins, and how long it is: boot protocol 2.08 and later.
const PAYLOAD: usize = 0x248;
/// Where it says how many sectors of setup come before.
const SETUP_SECTORS: usize = 0x1f1;

/// An unpacked kernel.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// As uname says it.
    pub(crate) release: String,
    /// Folder of the package's content, with the modules' index.
    pub(crate) root: PathBuf,
}

impl Kernel {
    /// The one that was unpacked before, or the newest of the distribution.
    pub(crate) fn ensure(paths: &Paths, progress: &Progress) -> Result<Self> {
        let dir = paths.cache.join("guest/kernel");
        fs::create_dir_all(&dir)?;
        if let Some(kernel) = Self::find(&dir) {
            return Ok(kernel);
        }
        progress.say("getting a kernel for the guest");
        let package = newest()?;
        let partial = dir.join(format!(".partial-{}", std::process::id()));
        fs::create_dir_all(&partial)?;
        let kernel = Self::unpack(&package, &partial)?;
        fs::rename(&partial, dir.join(&kernel.release))?;
        Self::find(&dir).context("the kernel was unpacked and is not there")
    }

    /// The one of the highest name.
    fn find(dir: &Path) -> Option<Self> {
        let entries = fs::read_dir(dir).ok()?.flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let release = names.filter(|name| !name.starts_with('.')).max()?;
        Some(Self { root: dir.join(&release), release })
    }

    fn unpack(package: &str, root: &Path) -> Result<Self> {
        // apt's own user may not write below the user's cache.
        let get = ["-o", "APT::Sandbox::User=root", "download", "-qq", package];
        run(command("apt-get", get).current_dir(root))?;
        let is_package = |path: &PathBuf| path.extension().is_some_and(|end| end == "deb");
        let file = fs::read_dir(root)?.flatten().map(|entry| entry.path()).find(is_package);
        let file = file.with_context(|| format!("apt-get brought no {package}"))?;
        run(command("dpkg-deb", ["-x"]).arg(&file).arg(root))?;
        fs::remove_file(&file)?;
        let release = package.trim_start_matches(PREFIX).to_owned();
        run(command("depmod", ["-b"]).arg(root).arg(&release))?;
        let kernel = Self { release, root: root.to_owned() };
        let packed = fs::read(root.join("boot").join(format!("vmlinuz-{}", kernel.release)))?;
        decompress(payload(&packed).context("this is no kernel image")?, &kernel.image())?;
        Ok(kernel)
    }

    /// The decompressed kernel: emulated processors would take seven seconds for that.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join("vmlinux")
    }

    /// Where its modules lie.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }

    /// Files of these modules and of those they need, in the order of loading.
    pub(crate) fn load_order(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let mut files: Vec<PathBuf> = Vec::new();
        for name in names {
            let mut ask = command("modprobe", ["--show-depends", "-S", &self.release, "-d"]);
            for line in output(ask.arg(&self.root).arg(name))?.lines() {
                let Some(file) = line.trim().strip_prefix("insmod ") else { continue };
                let file = PathBuf::from(file.trim());
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        Ok(files)
    }
}

/// The package that the distribution's newest kernel lies in.
fn newest() -> Result<String> {
    let depends = output(&mut command("apt-cache", ["depends", NEWEST]))?;
    let name = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let name = name.context("apt knows no kernel")?.trim();
    ensure!(name.starts_with(PREFIX), "{NEWEST} depends on {name}");
    Ok(name.to_owned())
}

/// The compressed kernel within a boot image.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let sectors = match image.get(SETUP_SECTORS)? {
        0 => 4,
        sectors => usize::from(*sectors),
    };
    let start = (sectors + 1) * 512 + word(PAYLOAD)?;
    image.get(start..start + word(PAYLOAD + 4)?)
}

fn decompress(packed: &[u8], to: &Path) -> Result<()> {
    ensure!(packed.starts_with(XZ), "the kernel is not compressed by xz");
    // The payload ends with the size of what it holds, which is no part of the stream.
    let mut xz = Command::new("xz");
    xz.args(["--decompress", "--stdout", "--single-stream"]);
    xz.stdin(Stdio::piped()).stdout(File::create(to)?);
    let mut child = xz.spawn().context("start xz")?;
    let written = child.stdin.take().context("xz takes no input")?.write_all(packed);
    ensure!(child.wait()?.success(), "xz failed");
    // xz may leave before it has taken what follows the stream.
    if let Err(error) = written {
        ensure!(error.kind() == std::io::ErrorKind::BrokenPipe, "xz: {error}");
    }
    ensure!(fs::metadata(to)?.len() > 10 << 20, "the kernel was not decompressed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::payload;

    #[test]
    fn the_payload_is_found_by_the_setup_header() {
        let mut image = vec![0_u8; 4096];
        image[0x1f1] = 1;
        image[0x248..0x24c].copy_from_slice(&8_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&3_u32.to_le_bytes());
        image[1032..1035].copy_from_slice(b"abc");
        assert_eq!(payload(&image), Some(&b"abc"[..]));
        image[0x24c..0x250].copy_from_slice(&9999_u32.to_le_bytes());
        assert_eq!(payload(&image), None);
    }
}
