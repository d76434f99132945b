//! The tests of a crate in a guest: built on this host, run there one program after the other, on a filesystem of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::guest::boot::Which;
use crate::guest::{Host, Job, Shape, quoted, words};
use crate::paths::Paths;
use crate::run::{Progress, command, output};
use crate::test::search_path;
use crate::tools::{self, Tools};

/// Arguments of `hack/guest test`.
#[derive(Args)]
pub(crate) struct CrateTests {
    /// The crate.
    #[arg(short, long)]
    package: String,
    /// Whose kernel.
    #[arg(long, value_enum, default_value_t = Which::Uml)]
    kernel: Which,
    #[command(flatten)]
    shape: Shape,
    /// Arguments of each test program, such as a filter.
    #[arg(last = true)]
    words: Vec<String>,
}

/// A built test program.
struct Program {
    name: String,
    file: PathBuf,
    /// The folder of its crate.
    dir: PathBuf,
}

impl CrateTests {
    /// Fails if a program of tests did.
    pub(crate) fn run(self, paths: &Paths, progress: &Progress) -> Result<ExitCode> {
        let Self { package, kernel, mut shape, words } = self;
        tools::ensure_host_tools(progress)?;
        let programs = build(paths, progress, &["--package", &package])?;
        let host = Host::take(kernel, paths, progress)?;
        let search_path = search_path(&Tools::locate(paths)?);
        let script = script(&programs, &words, &search_path);
        // The last disk is for temporary files: an overlay on memory is no filesystem that anybody has volumes on.
        shape.disks += 1;
        shape.disk_size.get_or_insert(16 << 10);
        shape.memory.get_or_insert(2048);
        shape.seconds.get_or_insert(1800);
        let files: Vec<(String, PathBuf)> =
            programs.into_iter().map(|program| (program.name, program.file)).collect();
        Ok(ExitCode::from(host.run(Job { shape, script: &script, files: &files })?))
    }
}

/// Another program under User Mode Linux, its temporary files on a disk as those of tests are.
pub(crate) fn run_on_scratch(
    paths: &Paths,
    progress: &Progress,
    program: &Path,
    arguments: impl Iterator<Item = OsString>,
) -> Result<ExitCode> {
    let text = |word: OsString| word.into_string().ok().context("a word that is no text");
    let arguments = arguments.map(text).collect::<Result<Vec<_>>>()?;
    let host = Host::take(Which::Uml, paths, progress)?;
    let search_path = quoted(&search_path(&Tools::locate(paths)?));
    let script = format!(
        "export PATH={search_path}\n{SCRATCH}\"$TERRACE_SHARE\"/program {}\n",
        words(&arguments)
    );
    let shape = Shape {
        disks: 1,
        disk_size: Some(16 << 10),
        memory: Some(2048),
        seconds: Some(1800),
        ..Shape::default()
    };
    let files = [("program".to_owned(), program.to_owned())];
    Ok(ExitCode::from(host.run(Job { shape, script: &script, files: &files })?))
}

/// Pools and volumes on volume groups, on disks of a guest, and deaths at every step of theirs: the tests of both crates that need device-mapper, in part.
pub(crate) fn logical_volumes(paths: &Paths, progress: &Progress) -> Result<()> {
    // As they are built already for the tests without a cluster.
    let mut programs = build(paths, progress, &["--workspace"])?;
    let host = Host::take(Which::Uml, paths, progress)?;
    let search_path = search_path(&Tools::locate(paths)?);
    let deaths = ["crash::i3_growing", "crash::i3_i1_deletion", "thin_crash::"];
    for (of, filter) in [("lvm-", &["pool::"] as &[&str]), ("story-", &deaths)] {
        let program = programs.iter().position(|program| program.name.starts_with(of));
        let program = programs.swap_remove(program.context("it is not built")?);
        let shape = Shape {
            disks: 7,
            disk_size: Some(16 << 10),
            memory: Some(2048),
            seconds: Some(900),
            ..Shape::default()
        };
        let files = [(program.name.clone(), program.file.clone())];
        let filter: Vec<String> = filter.iter().map(|&word| word.to_owned()).collect();
        let script = script(&[program], &filter, &search_path);
        let status = host.run(Job { shape, script: &script, files: &files })?;
        ensure!(status == 0, "{of} {filter:?}: {status}");
    }
    Ok(())
}

fn build(paths: &Paths, progress: &Progress, what: &[&str]) -> Result<Vec<Program>> {
    progress.say(format!("building the tests: {}", what.join(" ")));
    let fixed = ["test", "--no-run", "--quiet", "--profile", "ci", "--message-format", "json"];
    let mut cargo = command("cargo", fixed);
    cargo.args(what).current_dir(&paths.repo);
    let messages = output(cargo.env("CARGO_TARGET_DIR", &paths.target))?;
    let programs: Result<Vec<Option<Program>>> = messages.lines().map(program).collect();
    let programs: Vec<Program> = programs?.into_iter().flatten().collect();
    ensure!(!programs.is_empty(), "no tests: {}", what.join(" "));
    Ok(programs)
}

/// The test program that a message of cargo tells of, if it does.
fn program(message: &str) -> Result<Option<Program>> {
    let message: Value = serde_json::from_str(message)?;
    let (Some(file), Some(true)) =
        (message["executable"].as_str(), message["profile"]["test"].as_bool())
    else {
        return Ok(None);
    };
    let file = PathBuf::from(file);
    let name = file.file_name().context("a program without a name")?;
    let manifest = message["manifest_path"].as_str().context("a crate without a manifest")?;
    let dir = Path::new(manifest).parent().context("a manifest without a folder")?;
    Ok(Some(Program { name: name.to_string_lossy().into_owned(), dir: dir.to_owned(), file }))
}

/// Runs each in its crate's folder, as cargo does, and says at the end which failed.
fn script(programs: &[Program], arguments: &[String], search_path: &str) -> String {
    let mut script = format!("export PATH={}\n{SCRATCH}", quoted(search_path));
    for Program { name, file: _, dir } in programs {
        let (dir, name) = (quoted(&dir.display().to_string()), quoted(name));
        script.push_str(&format!(
            "cd {dir} && CARGO_MANIFEST_DIR={dir} \"$TERRACE_SHARE\"/{name} {} || failed=\"$failed \"{name}\n",
            words(arguments)
        ));
    }
    script + "[ -z \"$failed\" ] && exit 0\necho \"failed:$failed\"\nexit 1\n"
}

/// Takes the last disk away from TERRACE_DISKS.
const SCRATCH: &str = r#"
for disk in $TERRACE_DISKS; do scratch=$disk; done
export TERRACE_DISKS="${TERRACE_DISKS%"$scratch"*}"
mkfs.ext4 -q "$scratch" && mkdir /run/scratch && mount "$scratch" /run/scratch || exit 126
export TMPDIR=/run/scratch RUST_BACKTRACE=1
"#;

#[cfg(test)]
mod tests {
    use super::{program, script};

    #[test]
    fn only_programs_of_tests_are_run() {
        let library =
            r#"{"reason":"compiler-artifact","executable":null,"profile":{"test":false}}"#;
        assert!(program(library).unwrap().is_none());
        let binary =
            r#"{"reason":"compiler-artifact","executable":"/t/x","profile":{"test":false}}"#;
        assert!(program(binary).unwrap().is_none());
        let tests = r#"{"executable":"/t/host-1","profile":{"test":true},"manifest_path":"/a/b/Cargo.toml"}"#;
        let found = program(tests).unwrap().unwrap();
        let script = script(&[found], &["a b".to_owned()], "/bin");
        let line = "cd '/a/b' && CARGO_MANIFEST_DIR='/a/b' \"$TERRACE_SHARE\"/'host-1' 'a b' || failed=\"$failed \"'host-1'\n";
        assert!(script.contains(line), "{script}");
    }
}
