//! What the probe costs: pread of 4 KiB in memory on a volume and on a file that is no volume, and getpid, with the probe and without it
//! in turns. It measures and prints; it judges nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use terrace_probe_abi::layout::Operation;

use crate::field::Field;
use crate::probe::Counting;
use crate::ratios::{Estimate, estimate, median};
use crate::socket::{Socket, stand_in};

/// Into how many portions a run is cut: the median of them is its figure, so that what else happens on the machine counts little.
const PORTIONS: u32 = 21;
const PAGE: usize = 4096;
/// How long the probe may take to tell whose volume it is.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the probe is left alone.
const IDLE: Duration = Duration::from_secs(20);
/// A second of /proc's processor times.
const TICKS: u64 = 100;

/// What a volume has in the kernel for each processor.
type Figures4 = terrace_probe_abi::layout::Figures;

/// Arguments of `hack/bench probe`.
#[derive(Args)]
pub(crate) struct Cost {
    /// Pairs of runs, one with and one without the probe; who goes first alternates.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Calls of each kind in a run.
    #[arg(long, default_value_t = 210_000, value_parser = clap::value_parser!(u32).range(2100..))]
    calls: u32,
    /// How the probe hooks the kernel: auto, fentry, kprobe, raw-tracepoint.
    #[arg(long, default_value = "auto")]
    tier: String,
    /// The probe's program; that beside this one if not said.
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
}

/// What is called.
const SUBJECTS: [&str; 3] = ["pread 4 KiB, a volume", "pread 4 KiB, no volume", "getpid"];

/// Nanoseconds a call of each.
type Figures = [f64; 3];

/// The files that are read.
struct Files {
    volume: File,
    other: File,
}

impl Cost {
    pub(crate) fn run(self, root: &Path) -> Result<ExitCode> {
        let Self { pairs, calls, tier, probe } = self;
        let program = probe.map_or_else(crate::beside, Ok)?;
        stand_in()?;
        let field = Field::lay_out(root, 1)?;
        field.mount_all()?;
        let files = Files {
            volume: written(&field.point(0)?.join("cost"))?,
            other: written(&root.join("cost"))?,
        };
        let words = [format!("--tier={tier}"), "--pins=none".to_owned()];
        let start = || Socket::start(&program, root, &field.ground().kubelet, &words);
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for pair in 0..pairs {
            let probed = || -> Result<Figures> {
                let mut probe = start()?;
                named(&mut probe, &field, &files)?;
                let (start, before) = (Instant::now(), spent(probe.pid())?);
                let figures = measure(&files, calls)?;
                if pair + 1 == pairs {
                    let spent = spent(probe.pid())? - before;
                    let loaded = spent.as_secs_f64() / start.elapsed().as_secs_f64();
                    println!("{}\n{}", probe.title(), process(&probe, loaded)?);
                }
                Ok(figures)
            };
            if pair.is_multiple_of(2) {
                without.push(measure(&files, calls)?);
                with.push(probed()?);
            } else {
                with.push(probed()?);
                without.push(measure(&files, calls)?);
            }
        }
        print(&without, &with);
        drop(files);
        field.unmount_all()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn written(path: &Path) -> Result<File> {
    let file = File::options().create_new(true).read(true).write(true).open(path)?;
    file.write_all_at(&[1; PAGE], 0)?;
    Ok(file)
}

/// Waits until the probe counts what is read for the volume.
fn named(probe: &mut Socket, field: &Field, files: &Files) -> Result<()> {
    probe.tell(field.names()?)?;
    let end = Instant::now() + PATIENCE;
    loop {
        files.volume.read_exact_at(&mut [0; PAGE], 0)?;
        let look = probe.look()?;
        let reads = look.tallies.get(&0).map(|tallies| tallies[Operation::Read.index()].count());
        if reads.unwrap_or(0) > 0 {
            return Ok(());
        }
        ensure!(Instant::now() < end, "the probe counts nothing for the volume");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn measure(files: &Files, calls: u32) -> Result<Figures> {
    let mut page = [0; PAGE];
    let mut volume = || files.volume.read_exact_at(&mut page, 0);
    let of_volume = time(calls, &mut volume)?;
    let mut other = || files.other.read_exact_at(&mut page, 0);
    let of_other = time(calls, &mut other)?;
    let mut ask = || {
        std::hint::black_box(rustix::process::getpid());
        Ok(())
    };
    Ok([of_volume, of_other, time(calls, &mut ask)?])
}

fn time(calls: u32, call: &mut dyn FnMut() -> std::io::Result<()>) -> Result<f64> {
    let each = (calls / PORTIONS).max(1);
    let mut portions = Vec::new();
    for _ in 0..PORTIONS {
        let start = Instant::now();
        for _ in 0..each {
            call()?;
        }
        portions.push(start.elapsed().as_nanos() as f64 / f64::from(each));
    }
    median(&portions).context("nothing was measured")
}

fn print(without: &[Figures], with: &[Figures]) {
    println!(
        "{:24} {:>12} {:>12} {:>12}  95 % interval of what it costs",
        "", "without, ns", "with, ns", "costs, ns"
    );
    for (at, name) in SUBJECTS.iter().enumerate() {
        let column = |rows: &[Figures]| rows.iter().map(|row| row[at]).collect::<Vec<f64>>();
        let (off, on) = (column(without), column(with));
        let costs: Vec<f64> = on.iter().zip(&off).map(|(on, off)| on - off).collect();
        let Some((off, on)) = median(&off).zip(median(&on)) else { continue };
        let Some(Estimate { median: cost, low, high }) = estimate(&costs) else { continue };
        println!("{name:24} {off:12.1} {on:12.1} {cost:12.1}  {low:.1} to {high:.1}");
    }
    println!("{} pairs; each figure is a median", with.len());
}

/// Processor time of a process so far.
fn spent(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    let ticks: u64 =
        after.split(' ').skip(11).take(2).filter_map(|one| one.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// What the process and its maps cost the machine: `loaded` of its processor while others read, then while this program does nothing.
fn process(probe: &Socket, loaded: f64) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", probe.pid()))?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let (resident, files) = (kib("VmRSS:").unwrap_or(0), kib("RssShmem:").unwrap_or(0));
    let before = spent(probe.pid())?;
    std::thread::sleep(IDLE);
    let idle = (spent(probe.pid())? - before).as_secs_f64() / IDLE.as_secs_f64();
    let maps = probe.page()?.figure("terrace_probe_map_bytes").unwrap_or(0.0);
    let slot = size_of::<Figures4>() as f64 / 1024.0;
    Ok(format!(
        "probe: {resident} KiB resident ({files} of them shared), processor {:.2} % loaded, {:.2} % idle for {IDLE:?}; maps {:.1} MiB in \
         the kernel, {slot:.1} KiB of them a volume and processor",
        loaded * 100.0,
        idle * 100.0,
        maps / 1_048_576.0
    ))
}
