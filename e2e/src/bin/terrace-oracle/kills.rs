//! The probe killed again and again in the midst of reads, writes and syncs: what is counted in the end is what was done, and no
//! series of its page ever goes backwards. It measures no time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{ScopedJoinHandle, scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use terrace_probe_abi::layout::Operation;

use crate::field::Field;
use crate::page::Page;
use crate::probe::Counting;
use crate::socket::{self, Socket};
use crate::volume::Kind;

/// One of each of the first kinds of the mix.
const VOLUMES: usize = 5;
const PAGE: usize = 4096;
/// Pages of the file that is worked on.
const PAGES: u64 = 256;
/// What is done in turns; a sync is rarer.
const DONE: [Operation; 3] = [Operation::Read, Operation::Write, Operation::Fsync];
const SYNC_EVERY: u64 = 64;
/// How long counts may lag behind.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);
/// One in so many dies before it has said hello, some milliseconds later each time.
const YOUNG: u32 = 3;

/// Arguments of `hack/oracle kills`.
#[derive(Args)]
pub(crate) struct Kills {
    /// How often the probe is killed (SIGKILL).
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// How the probe hooks the kernel: auto, fentry, kprobe, raw-tracepoint.
    #[arg(long, default_value = "auto")]
    tier: String,
    /// The probe's program; that beside this one if not said.
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
}

/// Operations of one volume, as [`DONE`] has them.
type Counts = [u64; DONE.len()];

impl Kills {
    pub(crate) fn run(self, root: &Path) -> Result<ExitCode> {
        let Self { times, tier, probe } = self;
        let program = probe.map_or_else(crate::beside, Ok)?;
        socket::stand_in()?;
        let field = Field::lay_out(root, VOLUMES)?;
        field.mount_all()?;
        let words = [format!("--tier={tier}"), format!("--pins={}", socket::pins(root)?.display())];
        let mut probe = Socket::start(&program, root, &field.ground().kubelet, &words)?;
        probe.tell(field.names()?)?;
        println!("{}", probe.title());
        let (points, end) = (points(&field)?, AtomicBool::new(false));
        let (done, mut watch) = scope(|scope| -> Result<(Vec<Counts>, Watch)> {
            let load = |point: &'_ PathBuf| {
                let (point, end) = (point.clone(), &end);
                scope.spawn(move || load(&point, end))
            };
            let loads: Vec<_> = points.iter().map(load).collect();
            let watch = kill(&mut probe, times);
            end.store(true, Ordering::Relaxed);
            let done = loads.into_iter().map(joined).collect::<Result<_>>()?;
            Ok((done, watch?))
        })?;
        let counted = settle(&probe, &done)?;
        watch.look(&probe)?;
        field.unmount_all()?;
        let well = print(&done, &counted, &watch, times);
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn joined(load: ScopedJoinHandle<'_, Result<Counts>>) -> Result<Counts> {
    load.join().ok().context("a thread of the load panicked")?
}

/// The file of each volume, or its device.
fn points(field: &Field) -> Result<Vec<PathBuf>> {
    let file = |number| -> Result<PathBuf> {
        let point = field.point(number)?;
        Ok(if point.is_dir() { point.join("kills") } else { point })
    };
    (0..VOLUMES).map(file).collect()
}

/// Reads, writes and syncs until the end.
fn load(point: &Path, end: &AtomicBool) -> Result<Counts> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(point)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, PAGES * PAGE as u64).ok();
    let [mut reads, mut writes, mut syncs] = [0; DONE.len()];
    while !end.load(Ordering::Relaxed) {
        let offset = writes % PAGES * PAGE as u64;
        file.write_all_at(&[1; PAGE], offset)?;
        writes += 1;
        file.read_exact_at(&mut [0; PAGE], offset)?;
        reads += 1;
        if writes.is_multiple_of(SYNC_EVERY) {
            file.sync_all()?;
            syncs += 1;
        }
    }
    Ok([reads, writes, syncs])
}

/// What the page said last, and whether it ever said less.
#[derive(Default)]
struct Watch {
    last: Option<Page>,
    looks: u64,
    fell: Vec<String>,
}

impl Watch {
    fn look(&mut self, probe: &Socket) -> Result<()> {
        let page = probe.page()?;
        if let Some(last) = &self.last {
            self.fell.extend(page.fell(last));
        }
        self.looks += 1;
        // What is not there for a moment must not come back as less.
        self.last = Some(match self.last.take() {
            Some(last) => page.over(last),
            None => page,
        });
        Ok(())
    }
}

/// Kills the probe so often; some at once, some after one look or two at the page.
fn kill(probe: &mut Socket, times: u32) -> Result<Watch> {
    let mut watch = Watch::default();
    for time in 1..times {
        if time % YOUNG == YOUNG - 1 {
            probe.begin_anew()?;
            sleep(Duration::from_millis(u64::from(time * 17 % 400)));
            continue;
        }
        probe.restart()?;
        for _ in 0..time % 4 {
            watch.look(probe)?;
            sleep(PAUSE);
        }
    }
    probe.restart()?;
    Ok(watch)
}

/// Looks until all is counted or time is up.
fn settle(probe: &Socket, done: &[Counts]) -> Result<Vec<Counts>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let page = probe.page()?;
        let of = |number: usize| {
            let claim = format!("claim-{number:04}");
            DONE.map(|operation| page.count(&claim, operation).unwrap_or(0))
        };
        let counted: Vec<Counts> = (0..done.len()).map(of).collect();
        if counted == done || Instant::now() > end {
            return Ok(counted);
        }
        sleep(PAUSE);
    }
}

/// Whether nothing was lost and nothing fell.
fn print(done: &[Counts], counted: &[Counts], watch: &Watch, times: u32) -> bool {
    println!("{:8} {:12} {:10} {:>12} {:>12}", "volume", "kind", "operation", "done", "counted");
    for (number, (done, counted)) in done.iter().zip(counted).enumerate() {
        for (operation, (done, counted)) in DONE.iter().zip(done.iter().zip(counted)) {
            let (kind, operation) =
                (format!("{:?}", Kind::of(number)), format!("{operation:?}").to_lowercase());
            println!("{number:<8} {kind:12} {operation:10} {done:>12} {counted:>12}");
        }
    }
    let all = |counts: &[Counts]| counts.iter().flatten().sum::<u64>();
    watch.fell.iter().take(20).for_each(|series| println!("went backwards: {series}"));
    println!(
        "killed {} times, {} of {} counts lost, {} series in {} looks went backwards",
        times,
        all(done).saturating_sub(all(counted)),
        all(done),
        watch.fell.len(),
        watch.looks
    );
    done == counted && watch.fell.is_empty()
}
