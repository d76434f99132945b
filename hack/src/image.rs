//! The images of the rig and of a release: ours on a Debian base, sidecars and test images from one static program each.
//! It builds only what changed and never talks to a container engine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::oci::{Item, Layer, Start, filter_tar, write_archive};
use crate::paths::Paths;
use crate::run::{Progress, command, output, run, succeeds};
use crate::tools::Tools;

/// Our programs, in /usr/bin of the image.
pub(crate) const PROGRAMS: [&str; 4] =
    ["terrace-operator", "terrace-node", "terrace-probe", "kubectl-terrace"];

/// Kubernetes' own programs beside ours, an image each: (program, version).
const SIDECARS: [(&str, &str); 4] = [
    ("csi-provisioner", "v6.3.0"),
    ("csi-resizer", "v2.3.0"),
    ("csi-snapshotter", "v8.7.0"),
    ("snapshot-controller", "v8.7.0"),
];

/// Those of [`PROGRAMS`] that have fault points in the crash image; each is built there under a name of its own, so that no
/// other build finds it in place of the product.
const CRASHING: [&str; 2] = ["terrace-operator", "terrace-node"];

/// Which of our images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ours {
    /// What is released, built quickly and with every check on.
    Product,
    /// What is released, as it is released.
    Released,
    /// The same programs built with feature `faults`.
    Crash,
}

impl Ours {
    /// Its tag in the rig.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::Product => "dev",
            Self::Released => "released",
            Self::Crash => "crash",
        }
    }

    /// Its name in the rig.
    pub(crate) fn reference(self) -> String {
        format!("localhost/terrace:{}", self.tag())
    }

    /// The profile of the workspace that its programs are built in.
    const fn profile(self) -> &'static str {
        match self {
            Self::Product | Self::Crash => "ci",
            Self::Released => "release",
        }
    }

    /// The file of one of [`PROGRAMS`].
    pub(crate) fn program(self, paths: &Paths, name: &str) -> PathBuf {
        let named = match self {
            Self::Crash if CRASHING.contains(&name) => format!("{name}-crash"),
            Self::Crash | Self::Product | Self::Released => name.to_owned(),
        };
        paths.target.join(self.profile()).join(named)
    }
}

/// Debian packages of our image. xfsprogs wants python3 for one script; it is trimmed.
const BASE_PACKAGES: &str = "btrfs-progs,coreutils,dash,e2fsprogs,lvm2,mount,smartmontools,thin-provisioning-tools,util-linux,xfsprogs";
const BASE_SUITE: &str = "bookworm";
/// Counted up when the trimming below changes.
const BASE_EDITION: u32 = 1;
const TRIMMED: [&str; 12] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/python3",
    "usr/lib/python3",
    "usr/bin/python3",
    "usr/bin/py3",
    "usr/bin/pdb3",
    "usr/bin/pydoc3",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/share/perl5",
];
/// Needed by xfs_scrub alone, and a third of the whole.
const TRIMMED_ANYWHERE: [&str; 2] = ["libicu", "xfs_scrub"];

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image as a file.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) reference: String,
    pub(crate) path: PathBuf,
    pub(crate) digest: String,
}

/// The images a bare cluster needs: pause and busybox.
pub(crate) fn test_images(paths: &Paths, progress: &Progress) -> Result<Vec<Archive>> {
    let busybox = Path::new("/bin/busybox");
    let applets = output(&mut command(busybox, ["--list"]))?;
    let links = applets.lines().filter(|applet| *applet != "busybox");
    let mut items = vec![
        Item::Dir("bin", 0o755),
        Item::Dir("tmp", 0o1777),
        Item::Dir("etc", 0o755),
        Item::Program("bin/busybox", busybox),
    ];
    items.push(Item::Text(
        "etc/passwd",
        "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    ));
    let pause =
        Start { entrypoint: &["/bin/busybox", "sleep", "2147483647"], cmd: &[], path: "/bin" };
    let first = ensure(paths, progress, "localhost/pause:1", None, &items, &pause)?;
    items.extend(links.map(|applet| Item::Link(format!("bin/{applet}"), "/bin/busybox")));
    let shell = Start { entrypoint: &[], cmd: &["/bin/sh"], path: "/bin" };
    Ok(vec![first, ensure(paths, progress, "localhost/busybox:1", None, &items, &shell)?])
}

/// Our image and the sidecars.
pub(crate) fn product_images(
    paths: &Paths,
    tools: &Tools,
    progress: &Progress,
    ours: Ours,
) -> Result<Vec<Archive>> {
    let mut archives = Vec::new();
    for (program, version) in SIDECARS {
        let from = tools.path(program)?;
        let entrypoint = format!("/{program}");
        let start = Start { entrypoint: &[&entrypoint], cmd: &[], path: "/" };
        let items = [Item::Dir("tmp", 0o1777), Item::Program(program, &from)];
        archives.push(ensure(
            paths,
            progress,
            &format!("localhost/{program}:{version}"),
            None,
            &items,
            &start,
        )?);
    }
    archives.push(terrace_image(paths, progress, ours, &ours.reference())?);
    Ok(archives)
}

/// Ours, from the binaries that are in the target folder.
pub(crate) fn terrace_image(
    paths: &Paths,
    progress: &Progress,
    ours: Ours,
    reference: &str,
) -> Result<Archive> {
    for name in CRASHING {
        let program = ours.program(paths, name);
        // What a product does not have, it does not know; nothing else makes it end with 0 there.
        let has_points = succeeds(&mut command(&program, ["faults", "list"]));
        if has_points != (ours == Ours::Crash) {
            let not = if has_points { "" } else { "not " };
            bail!("{} was {not}built with fault points: no image {reference}", program.display());
        }
    }
    let program = |name: &&str| (format!("usr/bin/{name}"), ours.program(paths, name));
    let from: Vec<(String, PathBuf)> = PROGRAMS.iter().map(program).collect();
    on_base(paths, progress, reference, &from, &["/usr/bin/terrace-node", "--help"])
}

/// This very program, for what it does in a Pod.
pub(crate) fn writer_image(paths: &Paths, progress: &Progress) -> Result<Archive> {
    let from = [("usr/bin/xtask".to_owned(), std::env::current_exe()?)];
    on_base(paths, progress, "localhost/terrace-writer:dev", &from, &["/usr/bin/xtask", "--help"])
}

/// Programs on the Debian base: (name in the image, file).
fn on_base(
    paths: &Paths,
    progress: &Progress,
    reference: &str,
    programs: &[(String, PathBuf)],
    cmd: &[&str],
) -> Result<Archive> {
    let base = ensure_base(paths, progress)?;
    let items: Vec<Item<'_>> =
        programs.iter().map(|(name, path)| Item::Program(name, path)).collect();
    let start = Start { entrypoint: &[], cmd, path: SYSTEM_PATH };
    ensure(paths, progress, reference, Some(base), &items, &start)
}

/// Builds our programs. Those of the crash image share folder and dependencies with the product: three
/// crates of ours are compiled once more, and neither build makes the other stale.
pub(crate) fn build_programs(paths: &Paths, progress: &Progress, ours: Ours) -> Result<()> {
    let mut build = command("cargo", ["build", "--quiet", "--profile", ours.profile()]);
    build.args(PROGRAMS.iter().flat_map(|name| ["-p", name]));
    match ours {
        Ours::Product => progress.say("cargo build of the programs"),
        Ours::Released => progress.say("cargo build of the programs as they are released: minutes"),
        Ours::Crash => {
            progress.say("cargo build of the programs with fault points");
            let features = CRASHING.map(|name| format!("{name}/faults")).join(",");
            let bins = PROGRAMS.map(|name| match CRASHING.contains(&name) {
                true => format!("--bin={name}-crash"),
                false => format!("--bin={name}"),
            });
            build.arg("--features").arg(features).args(bins);
        }
    }
    run(build.current_dir(&paths.repo).env("CARGO_TARGET_DIR", &paths.target))
}

/// An image of these items under that name; built only if they changed.
pub(crate) fn ensure(
    paths: &Paths,
    progress: &Progress,
    reference: &str,
    base: Option<Layer>,
    items: &[Item<'_>],
    start: &Start<'_>,
) -> Result<Archive> {
    fs::create_dir_all(paths.images())?;
    let stem = reference.trim_start_matches("localhost/").replace(':', "-");
    let path = paths.images().join(format!("{stem}.tar"));
    let note = paths.images().join(format!("{stem}.built"));
    let key = input_key(base.as_ref(), items, start)?;
    if let Ok(text) = fs::read_to_string(&note)
        && let Some((known, digest)) = text.split_once(' ')
        && known == key
        && path.exists()
    {
        return Ok(Archive { reference: reference.into(), path, digest: digest.into() });
    }
    progress.say(format!("image {reference}"));
    let top_path = paths.images().join(format!("{stem}.layer"));
    let top = Layer::write(top_path.clone(), items)?;
    let layers: Vec<Layer> = base.into_iter().chain([top]).collect();
    let digest = write_archive(&path, reference, &layers, start)?;
    fs::remove_file(top_path)?;
    fs::write(note, format!("{key} {digest}"))?;
    Ok(Archive { reference: reference.into(), path, digest })
}

/// Names, sizes and times of what goes in: cheap, and changed by every build.
fn input_key(base: Option<&Layer>, items: &[Item<'_>], start: &Start<'_>) -> Result<String> {
    let mut text = format!("{base:?} {:?} {:?} {}", start.entrypoint, start.cmd, start.path);
    for item in items {
        match item {
            Item::Dir(name, mode) => text.push_str(&format!("\ndir {name} {mode}")),
            Item::Text(name, body) => text.push_str(&format!("\ntext {name} {body}")),
            Item::Link(name, target) => text.push_str(&format!("\nlink {name} {target}")),
            Item::Program(name, from) => {
                let meta = fs::metadata(from)
                    .with_context(|| format!("{} is not built", from.display()))?;
                text.push_str(&format!(
                    "\nfile {name} {} {} {}.{}",
                    from.display(),
                    meta.len(),
                    meta.mtime(),
                    meta.mtime_nsec()
                ));
            }
        }
    }
    Ok(format!("{:x}", Sha256::digest(text)))
}

/// A Debian with what Terrace needs, as a layer.
pub(crate) fn ensure_base(paths: &Paths, progress: &Progress) -> Result<Layer> {
    fs::create_dir_all(paths.images())?;
    let key =
        format!("{:x}", Sha256::digest(format!("{BASE_SUITE} {BASE_PACKAGES} {BASE_EDITION}")));
    let path = paths.images().join(format!("base-{}.tar", &key[..12]));
    if !path.exists() {
        progress.say(format!("Debian {BASE_SUITE} base: {BASE_PACKAGES}"));
        let raw = paths.images().join("base.raw");
        let hooks = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr";
        let mut debstrap =
            command("mmdebstrap", ["--quiet", "--variant=extract", "--format=tar", hooks]);
        debstrap
            .args([
                "--aptopt=APT::Install-Recommends \"false\"",
                &format!("--include={BASE_PACKAGES}"),
                BASE_SUITE,
            ])
            .arg(&raw);
        run(&mut debstrap)?;
        let partial = path.with_extension("partial");
        let extra = [
            Item::Dir("tmp", 0o1777),
            Item::Dir("proc", 0o755),
            Item::Dir("sys", 0o755),
            Item::Dir("dev", 0o755),
            Item::Text(
                "etc/passwd",
                "root:x:0:0:root:/:/bin/sh\nterrace:x:65532:65532:terrace:/:/bin/sh\n",
            ),
            Item::Text("etc/group", "root:x:0:\nterrace:x:65532:\n"),
            Item::Link("etc/mtab".into(), "../proc/self/mounts"),
        ];
        filter_tar(&raw, &partial, keep, &extra)?;
        fs::remove_file(&raw)?;
        fs::rename(&partial, &path)?;
    }
    Layer::of_file(path)
}

fn keep(name: &str) -> bool {
    !TRIMMED.iter().any(|prefix| name.starts_with(prefix))
        && !TRIMMED_ANYWHERE.iter().any(|part| name.contains(part))
        && !["tmp/", "etc/passwd", "etc/group", "etc/mtab"].contains(&name)
}
