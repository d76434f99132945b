//! What the rig is made of: Debian packages, Go programs and cargo tools, installed only where missing.
//! Versions are pinned by `hack/go/*/go.mod` and go.sum, and by the constants here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::kinds;
use crate::paths::Paths;
use crate::run::{Progress, command, run, succeeds};

/// One Go module under `hack/go` and the programs built from it.
struct GoModule {
    name: &'static str,
    ldflags: &'static str,
    /// (file name, package)
    programs: &'static [(&'static str, &'static str)],
}

/// The module that Terrace needs and a bare cluster does not.
const SIDECARS: &str = "csi";
/// The module that only `hack/conformance` needs.
const SUITE: &str = "e2e";
/// The module that only `hack/bench scale` needs.
const SIMULATION: &str = "kwok";
/// What Kubernetes' programs call themselves.
const KUBERNETES: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

const GO_MODULES: [GoModule; 6] = [
    GoModule { name: "etcd", ldflags: "-s -w", programs: &[("etcd", "go.etcd.io/etcd/server/v3")] },
    GoModule {
        name: "containerd",
        ldflags: "-s -w -X github.com/containerd/containerd/v2/version.Version=v2.4.2",
        programs: &[
            ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            (
                "containerd-shim-runc-v2",
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            ),
            ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
        ],
    },
    GoModule {
        name: "k8s",
        ldflags: KUBERNETES,
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ("helm", "helm.sh/helm/v4/cmd/helm"),
        ],
    },
    GoModule {
        name: SIDECARS,
        ldflags: "-s -w",
        programs: &[
            (
                "csi-provisioner",
                "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner",
            ),
            ("csi-resizer", "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer"),
            (
                "csi-snapshotter",
                "github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter",
            ),
            (
                "snapshot-controller",
                "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller",
            ),
            ("csi-sanity", "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"),
        ],
    },
    GoModule {
        name: SUITE,
        ldflags: KUBERNETES,
        programs: &[
            ("e2e.test", "k8s.io/kubernetes/test/e2e"),
            ("agnhost", "k8s.io/kubernetes/test/images/agnhost"),
            ("ginkgo", "github.com/onsi/ginkgo/v2/ginkgo"),
        ],
    },
    GoModule {
        name: SIMULATION,
        ldflags: "-s -w",
        programs: &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
    },
];

/// Compiles the probe's programs for the kernel.
const CLANG: (&str, &str) = ("/usr/bin/clang-14", "clang-14");

/// (a file the package brings, package)
const PACKAGES: [(&str, &str); 14] = [
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/bin/mmdebstrap", "mmdebstrap"),
    ("/bin/busybox", "busybox-static"),
    ("/sbin/mkfs.ext4", "e2fsprogs"),
    ("/sbin/mkfs.xfs", "xfsprogs"),
    ("/bin/btrfs", "btrfs-progs"),
    ("/usr/bin/setfattr", "attr"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/bin/mount", "mount"),
    ("/sbin/ip", "iproute2"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/git", "git"),
    CLANG,
];

/// What measuring wants besides. Not part of the others: fio brings the libraries of many storage systems along.
const BENCH_PACKAGES: [(&str, &str); 1] = [("/usr/bin/fio", "fio")];

/// What the emulated guest is made of. Its kernel is no part of it: that is downloaded and never installed.
const GUEST_PACKAGES: [(&str, &str); 5] = [
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ("/bin/busybox", "busybox-static"),
    ("/sbin/modprobe", "kmod"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/setpriv", "util-linux"),
];

/// What a User Mode Linux is run with, and what volumes there are made with: LVM, thin pools, device-mapper, encryption. Its kernel, too, is
/// downloaded and never installed.
const STORAGE_PACKAGES: [(&str, &str); 9] = [
    ("/bin/busybox", "busybox-static"),
    ("/sbin/modprobe", "kmod"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/sbin/mkfs.ext4", "e2fsprogs"),
    ("/sbin/lvm", "lvm2"),
    ("/usr/sbin/thin_check", "thin-provisioning-tools"),
    ("/sbin/dmsetup", "dmsetup"),
    ("/sbin/cryptsetup", "cryptsetup-bin"),
    ("/usr/sbin/smartctl", "smartmontools"),
];

/// What the checks want besides: promtool, for the chart's alerts.
const CHECK_PACKAGES: [(&str, &str); 2] = [("/usr/bin/promtool", "prometheus"), CLANG];

/// (program, crate, version)
const CARGO_TOOLS: [(&str, &str, &str); 2] =
    [("cargo-nextest", "cargo-nextest", "0.9.128"), ("cargo-deny", "cargo-deny", "0.20.2")];

/// Folders with the built programs, in the order of a PATH.
pub(crate) struct Tools {
    dirs: Vec<PathBuf>,
}

impl Tools {
    /// Where the programs are or will be; builds nothing.
    pub(crate) fn locate(paths: &Paths) -> Result<Self> {
        let mut dirs = Vec::new();
        for module in &GO_MODULES {
            dirs.push(go_dir(paths, module)?);
        }
        dirs.push(cargo_root(paths).join("bin"));
        Ok(Self { dirs })
    }

    /// The full path of a built program.
    pub(crate) fn path(&self, program: &str) -> Result<PathBuf> {
        let found = self.dirs.iter().map(|dir| dir.join(program)).find(|path| path.exists());
        found.with_context(|| format!("{program} is not built; run hack/tools"))
    }

    /// PATH for the rig's parts: built programs first.
    pub(crate) fn search_path(&self) -> String {
        let mut dirs: Vec<String> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        dirs.push("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
        dirs.join(":")
    }
}

/// Programs of the distribution alone: enough for what works on this host's own filesystems.
pub(crate) fn ensure_host_tools(progress: &Progress) -> Result<()> {
    ensure_packages(&PACKAGES, progress)
}

/// Debian packages and Go programs: all a bare cluster needs.
pub(crate) fn ensure_cluster_tools(paths: &Paths, progress: &Progress) -> Result<()> {
    ensure_packages(&PACKAGES, progress)?;
    GO_MODULES
        .iter()
        .filter(|module| ![SIDECARS, SUITE, SIMULATION].contains(&module.name))
        .try_for_each(|module| ensure_go(paths, module, progress))
}

/// The sidecars of the chart, the snapshot-controller with its kinds, and csi-sanity.
pub(crate) fn ensure_sidecars(paths: &Paths, progress: &Progress) -> Result<()> {
    for module in GO_MODULES.iter().filter(|module| module.name == SIDECARS) {
        ensure_go(paths, module, progress)?;
        kinds::ensure_snapshot_kinds(&go_source(paths, module), &go_dir(paths, module)?)?;
    }
    Ok(())
}

/// Kubernetes' own end-to-end suite, its runner and its test image: some ten minutes the first time.
pub(crate) fn ensure_suite(paths: &Paths, progress: &Progress) -> Result<()> {
    GO_MODULES
        .iter()
        .filter(|module| module.name == SUITE)
        .try_for_each(|module| ensure_go(paths, module, progress))
}

/// Nodes that nobody runs, for `hack/bench scale`.
pub(crate) fn ensure_simulation(paths: &Paths, progress: &Progress) -> Result<()> {
    GO_MODULES
        .iter()
        .filter(|module| module.name == SIMULATION)
        .try_for_each(|module| ensure_go(paths, module, progress))
}

/// Debian packages that `hack/check` wants.
pub(crate) fn ensure_check_tools(progress: &Progress) -> Result<()> {
    ensure_packages(&CHECK_PACKAGES, progress)
}

/// Debian packages that `hack/bench` wants.
pub(crate) fn ensure_bench_tools(progress: &Progress) -> Result<()> {
    ensure_packages(&BENCH_PACKAGES, progress)
}

/// Debian packages that `hack/guest` wants.
pub(crate) fn ensure_guest_tools(progress: &Progress) -> Result<()> {
    ensure_packages(&GUEST_PACKAGES, progress)
}

/// Debian packages that a User Mode Linux and LVM want.
pub(crate) fn ensure_storage_tools(progress: &Progress) -> Result<()> {
    ensure_packages(&STORAGE_PACKAGES, progress)
}

/// Tools of the checks and tests. `cargo-nextest` and `cargo-deny` live in the cache, not in the user's cargo home.
pub(crate) fn ensure_cargo_tools(paths: &Paths, progress: &Progress) -> Result<()> {
    let root = cargo_root(paths);
    let target = paths.cache.join("tools-target");
    for (program, package, version) in CARGO_TOOLS {
        let stamp = root.join(format!("{program}-{version}"));
        if stamp.exists() && root.join("bin").join(program).exists() {
            continue;
        }
        progress.say(format!("cargo install {package} {version} (several minutes)"));
        let args =
            ["install", "--quiet", "--locked", "--force", "--version", version, package, "--root"];
        run(command("cargo", args).arg(&root).current_dir("/").env("CARGO_TARGET_DIR", &target))?;
        fs::write(&stamp, "")?;
        fs::remove_dir_all(&target)?;
    }
    Ok(())
}

fn ensure_packages(packages: &[(&str, &'static str)], progress: &Progress) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    progress.say(format!("apt-get install {}", missing.join(" ")));
    if !succeeds(Command::new("apt-get").arg("update")) {
        progress.say("apt-get update failed; trying with the lists that are here");
    }
    let args = ["install", "--yes", "--quiet", "--no-install-recommends"];
    let mut install = command("apt-get", args);
    install
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // A package that brings a service (prometheus) does not start it.
        .env("RUNLEVEL", "1")
        .stdout(std::process::Stdio::null());
    run(&mut install)?;
    let left: Vec<&str> = packages
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(file, _)| *file)
        .collect();
    if !left.is_empty() {
        bail!("still missing after apt-get install: {}", left.join(" "));
    }
    Ok(())
}

fn ensure_go(paths: &Paths, module: &GoModule, progress: &Progress) -> Result<()> {
    let dir = go_dir(paths, module)?;
    let missing: Vec<_> =
        module.programs.iter().filter(|(file, _)| !dir.join(file).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(&dir)?;
    for (file, package) in missing {
        progress.say(format!("go build {package}"));
        // Built beside and renamed, so that a killed build leaves nothing that looks finished.
        let partial = dir.join(format!(".{file}.{}", std::process::id()));
        // A program that ends in .test is a package of tests.
        let verb: &[&str] = if file.ends_with(".test") { &["test", "-c"] } else { &["build"] };
        let mut build = command("go", verb);
        build
            .args(["-trimpath", "-ldflags", module.ldflags, "-o"])
            .arg(&partial)
            .arg(package)
            .current_dir(go_source(paths, module))
            .env("CGO_ENABLED", "0");
        run(&mut build)?;
        fs::rename(&partial, dir.join(file))?;
    }
    Ok(())
}

fn go_source(paths: &Paths, module: &GoModule) -> PathBuf {
    paths.repo.join("hack/go").join(module.name)
}

/// Keyed by go.sum: other versions, another folder.
fn go_dir(paths: &Paths, module: &GoModule) -> Result<PathBuf> {
    let sums = go_source(paths, module).join("go.sum");
    let key = Sha256::digest(fs::read(&sums).with_context(|| format!("read {}", sums.display()))?);
    Ok(paths.bin().join(format!("{}-{}", module.name, &format!("{key:x}")[..12])))
}

fn cargo_root(paths: &Paths) -> PathBuf {
    paths.bin().join("cargo")
}
