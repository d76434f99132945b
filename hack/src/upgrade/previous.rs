//! An earlier commit of this repository, built into an image of its own. It touches neither the work tree nor the target
//! folder of the present one.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::image::{self, Archive, Ours};
use crate::paths::Paths;
use crate::run::{Progress, command, output, run};

/// The tag of the earlier image; its chart is installed with it.
pub(crate) const TAG: &str = "previous";

/// An earlier release.
pub(crate) struct Previous {
    /// Its files, with the rig and the cache of the present work tree.
    pub(crate) paths: Paths,
    /// The commit.
    pub(crate) commit: String,
    /// Its programs.
    pub(crate) image: Archive,
}

impl Previous {
    /// Unpacks and builds it, unless that was done before.
    pub(crate) fn ensure(paths: &Paths, progress: &Progress, from: &str) -> Result<Self> {
        let commit = resolve(paths, from)?;
        let repo = paths.cache.join("upgrade").join(&commit);
        // Of its own: cargo tells what is fresh by time, and takes one commit's objects for another's of the same target folder.
        let previous = Paths { target: repo.join("target"), repo, ..paths.clone() };
        unpack(paths, &previous, &commit)?;
        progress.say(format!("release {commit}: minutes the first time"));
        image::build_programs(&previous, progress, Ours::Product)?;
        let reference = format!("localhost/terrace:{TAG}");
        let image = image::terrace_image(&previous, progress, Ours::Product, &reference)?;
        Ok(Self { paths: previous, commit, image })
    }
}

fn resolve(paths: &Paths, from: &str) -> Result<String> {
    let name = format!("{from}^{{commit}}");
    let args = ["rev-parse", "--verify", "--short=12", &name];
    let commit = output(command("git", args).current_dir(&paths.repo));
    let commit = commit.with_context(|| {
        format!("this clone has no commit {from}; a shallow one gets it with git fetch --unshallow")
    })?;
    Ok(commit.trim().to_owned())
}

/// Not a worktree of git: the cache is shared by clones, and a worktree belongs to one of them.
fn unpack(paths: &Paths, previous: &Paths, commit: &str) -> Result<()> {
    if previous.repo.exists() {
        return Ok(());
    }
    // Unpacked beside and renamed, so that a killed run leaves nothing that looks whole.
    let partial = previous.repo.with_extension(std::process::id().to_string());
    fs::create_dir_all(&partial)?;
    let mut archive = command("git", ["archive", "--format=tar", commit])
        .current_dir(&paths.repo)
        .stdout(Stdio::piped())
        .spawn()
        .context("start git")?;
    let Some(stream) = archive.stdout.take() else { bail!("git archive has no output") };
    let unpacked = run(command("tar", ["--extract", "--directory"]).arg(&partial).stdin(stream));
    ensure!(archive.wait()?.success(), "git archive {commit} failed");
    unpacked?;
    Ok(fs::rename(&partial, &previous.repo)?)
}
