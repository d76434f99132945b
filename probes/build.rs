//! Compiles the programs for the kernel with clang. Writes only to `OUT_DIR`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const SOURCES: &str = "bpf";
const MAIN: &str = "bpf/probe.bpf.c";
/// As distributions name it, newest last tried.
const NAMES: [&str; 8] =
    ["clang", "clang-14", "clang-15", "clang-16", "clang-17", "clang-18", "clang-19", "clang-20"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={SOURCES}");
    println!("cargo:rerun-if-env-changed=TERRACE_CLANG");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("probe.o");
    let clang = clang()?;
    let arch = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => return Err(format!("the probe knows no system calls of {other}").into()),
    };
    let mut compile = Command::new(&clang);
    compile
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-fwrapv"])
        .args(["-Wall", "-Werror", "-Wno-unused-function"])
        .arg(format!("-D__TARGET_ARCH_{arch}"))
        .args(["-c", MAIN, "-o"])
        .arg(&out);
    let status = compile.status()?;
    if !status.success() {
        return Err(format!("{clang} {MAIN}: {status}").into());
    }
    println!("cargo:rustc-env=TERRACE_ABI_HASH={:016x}", hash(Path::new(SOURCES))?);
    Ok(())
}

fn clang() -> Result<String, Box<dyn Error>> {
    let asked = env::var("TERRACE_CLANG").ok();
    let names = asked.iter().map(String::as_str).chain(NAMES);
    let works = |name: &&str| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    names.into_iter().find(works).map(str::to_owned).ok_or_else(|| {
        "the probe's programs are compiled by clang, which is not here: install the package clang-14 (or newer), or name one in TERRACE_CLANG".into()
    })
}

/// FNV-1a over all sources by name: what maps may be shared with.
fn hash(folder: &Path) -> Result<u64, Box<dyn Error>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        for byte in fs::read(&file)? {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(hash)
}
