//! User Mode Linux: Debian's kernel as a program of this host, unpacked into the cache and never installed. Its command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::guest::machine::Machine;
use crate::paths::Paths;
use crate::run::{Progress, command, output, run};

/// Where it is taken from. Before 7.2 it runs its processes by ptrace, at two to four times the cost; 6.1 and 6.12 did not start on a
/// processor with AMX, where ptrace refused them the registers (EFAULT).
const SUITE: &str = "sid";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const MODULES: &str = "usr/lib/uml/modules";
/// The loader that a program names, and the same by a name that is looked for in the current folder.
const LOADER: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";
const LOADER_HERE: &[u8] = b"ld-linux-x86-64.so.2\0";
/// What the driver of its disks allows.
pub(crate) const MOST_DISKS: u32 = 16;
/// Modules that are asked for by a node below /dev, which udev would make before they are loaded.
const CONTROLLED: [&str; 2] = ["dm_mod", "loop"];
const KERNEL_WORDS: &str = "root=/dev/root rootfstype=hostfs rootflags=/ ro quiet loglevel=4 con0=null,fd:1 con=null ssl=null noreboot panic=-1 seccomp=on";

/// An unpacked one.
pub(crate) struct Uml {
    /// As uname says it.
    pub(crate) release: String,
    root: PathBuf,
}

impl Uml {
    /// The one that was unpacked before, or what apt brings.
    pub(crate) fn ensure(paths: &Paths, progress: &Progress) -> Result<Self> {
        let dir = paths.cache.join("guest/uml");
        if let Some(found) = Self::at(dir.join(SUITE)) {
            return Ok(found);
        }
        progress.say(format!("getting User Mode Linux from suite {SUITE}"));
        let partial = dir.join(format!(".partial-{}", std::process::id()));
        let got =
            get(&partial).and_then(|()| Ok(fs::rename(partial.join("root"), dir.join(SUITE))?));
        fs::remove_dir_all(&partial)?;
        got?;
        Self::at(dir.join(SUITE)).context("it was unpacked and is not there")
    }

    fn at(root: PathBuf) -> Option<Self> {
        let entry = fs::read_dir(root.join(MODULES)).ok()?.flatten().next()?;
        Some(Self { release: entry.file_name().into_string().ok()?, root })
    }

    /// In a process namespace of its own: what it starts ends with it, and both with this process, at once. Pinned to one core: it and the
    /// processes of its programs take turns, and across cores that costs twice to three times as much.
    pub(crate) fn command(&self, machine: &Machine) -> Command {
        let mut uml = command("setpriv", ["--pdeathsig", "KILL"]);
        uml.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        // The shell is process 1, which orphans are left to.
        uml.args(["sh", "-c", "\"$@\"; exit", "sh"]);
        uml.args(["taskset", "--cpu-list", &machine.core.to_string()]);
        // Its memory is a file there. The libraries are for it alone: nothing before it could run with them.
        uml.args(["env", "TMPDIR=/dev/shm"]);
        let libraries = self.root.join(LIBRARIES);
        uml.arg(format!("LD_LIBRARY_PATH={}", libraries.display())).current_dir(&libraries);
        uml.arg(self.root.join("linux")).args(KERNEL_WORDS.split(' '));
        let share = machine.share.display();
        uml.arg(format!("mem={}M", machine.memory));
        uml.arg(format!("uml_dir={share}/uml")).arg(format!("init={share}/first"));
        uml.arg(format!("terrace.share={share}"));
        let load: Vec<&str> =
            CONTROLLED.into_iter().chain(machine.load.iter().map(String::as_str)).collect();
        uml.arg(format!("terrace.load={}", load.join(",")));
        let modules = self.root.join(MODULES).join(&self.release);
        uml.arg(format!("terrace.modules={}", modules.display()));
        for number in 0..machine.disks {
            uml.arg(format!("ubd{number}={},,disk{number}", machine.disk(number).display()));
        }
        uml
    }
}

/// Puts its first program into the share.
pub(crate) fn lay_out(paths: &Paths, share: &Path) -> Result<()> {
    let first = share.join("first");
    fs::copy(paths.repo.join("e2e/rig/guest/uml.sh"), &first)?;
    Ok(fs::set_permissions(first, fs::Permissions::from_mode(0o755))?)
}

/// Downloads and unpacks into `root` below the folder, with the suite's C library: this machine's is too old for it.
fn get(dir: &Path) -> Result<()> {
    let root = dir.join("root");
    fs::create_dir_all(&root)?;
    let mut download = command("apt-get", of_suite(dir)?);
    download.args(["download", "-qq", "user-mode-linux", "libc6"]).current_dir(dir);
    run(&mut download)?;
    for file in fs::read_dir(dir)?.flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|end| end == "deb") {
            run(command("dpkg-deb", ["-x"]).arg(file).arg(&root))?;
        }
    }
    let program = fs::read(root.join("usr/bin/linux.uml"))?;
    fs::write(root.join("linux"), with_loader_here(program)?)?;
    Ok(fs::set_permissions(root.join("linux"), fs::Permissions::from_mode(0o755))?)
}

/// apt's options for the suite, from the mirror that this machine uses already; its lists go into the folder, so that apt's own set-up stays as it is.
fn of_suite(dir: &Path) -> Result<Vec<String>> {
    let filter = ["Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main"];
    let mirrors =
        output(command("apt-get", ["indextargets", "--format", "$(REPO_URI)"]).args(filter))?;
    let mirror = mirrors.lines().next().context("apt knows no mirror of Debian")?;
    let source = dir.join("sources.list");
    let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
    fs::write(&source, format!("deb [signed-by={keys}] {mirror} {SUITE} main\n"))?;
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    let mut options = Vec::new();
    for setting in [
        format!("Dir::Etc::sourcelist={}", source.display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={}", dir.join("lists").display()),
        format!("Dir::Cache={}", dir.join("cache").display()),
        "Acquire::Languages=none".to_owned(),
        // apt's own user may not write below the user's cache.
        "APT::Sandbox::User=root".to_owned(),
    ] {
        options.extend(["-o".to_owned(), setting]);
    }
    run(command("apt-get", &options).args(["update", "-qq"]))?;
    Ok(options)
}

/// The program with the loader of the folder that it is started in: it starts itself anew by its own file, so it cannot be given to a loader.
fn with_loader_here(mut program: Vec<u8>) -> Result<Vec<u8>> {
    let places: Vec<usize> = program
        .windows(LOADER.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == LOADER)
        .map(|(at, _)| at)
        .collect();
    let [at] = places[..] else { bail!("it names its loader {} times", places.len()) };
    program[at..at + LOADER.len()].fill(0);
    program[at..at + LOADER_HERE.len()].copy_from_slice(LOADER_HERE);
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::{LOADER, with_loader_here};

    #[test]
    fn the_loader_is_named_without_its_folder() {
        let program = [b"ELF".as_slice(), LOADER, b"code"].concat();
        let changed = with_loader_here(program.clone()).unwrap();
        assert_eq!(changed, b"ELFld-linux-x86-64.so.2\0\0\0\0\0\0\0\0code");
        assert!(with_loader_here([program.clone(), program].concat()).is_err());
        assert!(with_loader_here(b"ELF".to_vec()).is_err());
    }
}
