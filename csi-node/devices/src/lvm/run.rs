//! Running `lvm`: which devices it sees, what it is told, what it said.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use terrace_device_types::{Bytes, Tool};

use super::Lvm;
use super::config::Narrow;
use crate::kernel::dm;
use crate::tool::{Ended, Talk, failure, run_command};
use crate::{Deadline, DeviceError};

/// A report of several thousand volumes.
const KEEP: u64 = 32 << 20;

/// One command of lvm's, word by word.
pub(super) type Words = Vec<String>;

/// Words from a text without quotes, then others that may hold anything.
pub(super) fn words(fixed: &str, others: impl IntoIterator<Item = String>) -> Words {
    fixed.split(' ').map(str::to_owned).chain(others).collect()
}

/// Targets that lvm wants for our volumes (the second one for a snapshot of a thin volume, which does not use it) and kernels keep in modules of their own.
const TARGETS: [&str; 3] = ["thin-pool", "snapshot", "raid"];

static PROVIDED: Once = Once::new();

impl Lvm {
    /// Where lvm does not find a target it runs modprobe, which a container does not have.
    fn provide_targets(&self) {
        let Ok(control) = dm::control(&self.host.dev) else { return };
        for kind in TARGETS {
            // One that the kernel lacks lvm names, if it is wanted.
            let _absent = dm::provide(&control, kind);
        }
    }

    fn command(&self) -> Command {
        PROVIDED.call_once(|| self.provide_targets());
        let mut command = Command::new(Tool::Lvm.program());
        command.env_clear();
        // Where its own tools are (thin_check); nothing else of ours may change what it does.
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("LVM_SYSTEM_DIR", &self.dir).env("LVM_SUPPRESS_FD_WARNINGS", "1");
        // It makes its own nodes, and waits for nobody's word that they are there.
        command.env("DM_DISABLE_UDEV", "1");
        command
    }

    /// Runs one command, whatever its end.
    pub(super) fn run(
        &self,
        devices: &[PathBuf],
        words: &Words,
        deadline: Deadline,
    ) -> Result<Ended, DeviceError> {
        let mut command = self.command();
        command.args(words);
        for device in devices {
            command.arg("--devices").arg(device);
        }
        run_command(Tool::Lvm, &mut command, Talk { input: None, keep: Some(KEEP) }, deadline)
    }

    /// Runs commands one after the other in one process, whatever becomes of each: who asks looks afterwards. What each said is in one text.
    pub(super) fn run_all(
        &self,
        devices: &[PathBuf],
        commands: &[Words],
        deadline: Deadline,
    ) -> Result<Ended, DeviceError> {
        self.run_shell(&Narrow::new(&self.dir, devices)?, commands, deadline)
    }

    /// [`Lvm::run_all`] of commands that name groups and volumes and no device.
    pub(super) fn run_batch(
        &self,
        devices: &[PathBuf],
        commands: &[Words],
        deadline: Deadline,
    ) -> Result<Ended, DeviceError> {
        self.run_shell(&Narrow::linked(&self.dir, devices)?, commands, deadline)
    }

    fn run_shell(
        &self,
        narrow: &Narrow,
        commands: &[Words],
        deadline: Deadline,
    ) -> Result<Ended, DeviceError> {
        let mut command = self.command();
        command.env("LVM_SYSTEM_DIR", &narrow.dir);
        let mut input = String::new();
        for words in commands {
            input.push_str(&line(words)?);
        }
        let talk = Talk { input: Some(input), keep: Some(KEEP) };
        run_command(Tool::Lvm, &mut command, talk, deadline)
    }
}

/// Lvm's shell knows quotes and no escapes.
fn line(words: &Words) -> Result<String, DeviceError> {
    let mut line = String::new();
    for word in words {
        if word.contains(['"', '\'', '\\', '\n']) {
            return Err(DeviceError::Bug { why: "a word that lvm's shell can't be given" });
        }
        line.push_str(&format!("\"{word}\" "));
    }
    line.push('\n');
    Ok(line)
}

/// What a command's bad end means: LVM has one exit code for everything.
pub(super) fn refused(ended: &Ended, group: &str, need: Bytes) -> DeviceError {
    if ended.stderr.to_ascii_lowercase().contains("insufficient") {
        return DeviceError::NoSpace { path: PathBuf::from("/dev").join(group), need };
    }
    failure(Tool::Lvm, ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_would_end_its_line_is_refused() {
        let said = line(&words("lvcreate -qq", ["a b".to_owned()])).unwrap();
        assert_eq!(said, "\"lvcreate\" \"-qq\" \"a b\" \n");
        for bad in ["a\nlvremove", "a\"b", "a'b", "a\\b"] {
            assert!(line(&vec![bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
