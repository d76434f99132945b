//! The shape of source files: each says what it is, none is long, no test is switched off.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::paths::Paths;
use crate::run::{command, output};

/// Lines past which a file is to be split by idea.
const MOST_LINES: usize = 400;
const BAD_NAMES: [&str; 5] = ["mod.rs", "util.rs", "utils.rs", "common.rs", "helpers.rs"];

/// Looks at every Rust file git knows or would add; fails naming each fault.
pub(crate) fn check(paths: &Paths) -> Result<usize> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"];
    let list = output(command("git", args).current_dir(&paths.repo))?;
    let (mut files, mut wrong) = (0, Vec::new());
    for name in list.lines() {
        let path = paths.repo.join(name);
        if !path.exists() {
            continue;
        }
        files += 1;
        let text = fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
        wrong.extend(
            faults(Path::new(name), &text).into_iter().map(|fault| format!("{name}: {fault}")),
        );
    }
    if !wrong.is_empty() {
        bail!("layout of files:\n  {}", wrong.join("\n  "));
    }
    Ok(files)
}

fn faults(name: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push("does not open with //!".into());
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        found.push(format!("{lines} lines, {MOST_LINES} at most"));
    }
    if name.file_name().is_some_and(|file| BAD_NAMES.iter().any(|bad| file == *bad)) {
        found.push("a name that says nothing".into());
    }
    let is_switched_off = |line: &str| line.trim_start().starts_with("#[ignore");
    if text.lines().any(is_switched_off) {
        found.push("an ignored test".into());
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::faults;

    #[test]
    fn a_good_file_has_no_fault() {
        assert!(faults(Path::new("a/b.rs"), "//! What it is.\n").is_empty());
    }

    #[test]
    fn every_fault_is_named() {
        let text = format!("fn main() {{}}\n    #[ignore = \"slow\"]\n{}", "\n".repeat(400));
        let found = faults(Path::new("a/mod.rs"), &text);
        assert_eq!(
            found,
            [
                "does not open with //!",
                "402 lines, 400 at most",
                "a name that says nothing",
                "an ignored test"
            ]
        );
    }
}
