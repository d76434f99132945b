//! Operations that fail: a filesystem that was shut down, one that the kernel made read-only, a full one and a subvolume at its quota.
//! Each failure has to be counted once, for its volume, as what it was. It measures no time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::io::Errno;
use terrace_probe_abi::layout::Operation;

use crate::field::Field;
use crate::probe::Counting;
use crate::socket::{self, Socket};
use crate::volume::{Kind, run};

/// Bytes of one operation.
const PAGE: usize = 4096;
/// More than any volume here has.
const TOO_MANY: u64 = 1 << 20;
/// How long counts may lag behind.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// Arguments of `hack/oracle errors`.
#[derive(Args)]
pub(crate) struct Errors {
    /// Failures of each kind.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    failures: u32,
    /// How the probe hooks the kernel: auto, fentry, kprobe, raw-tracepoint.
    #[arg(long, default_value = "auto")]
    tier: String,
    /// The probe's program; that beside this one if not said.
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
}

/// How a volume is made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    ShutDown,
    ReadOnly,
    Full,
    OverQuota,
}

impl Fault {
    /// Each with the volume that it happens to; see the mix of kinds.
    const ALL: [(Self, usize); 4] =
        [(Self::ReadOnly, 0), (Self::OverQuota, 1), (Self::ShutDown, 4), (Self::Full, 8)];

    const fn kind(self) -> Kind {
        match self {
            Self::ReadOnly | Self::Full => Kind::Ext4,
            Self::OverQuota => Kind::Subvolume,
            Self::ShutDown => Kind::Xfs,
        }
    }

    const fn errno(self) -> Errno {
        match self {
            Self::ShutDown => Errno::IO,
            Self::ReadOnly => Errno::ROFS,
            Self::Full => Errno::NOSPC,
            Self::OverQuota => Errno::DQUOT,
        }
    }

    /// As the probe's page calls it.
    const fn label(self) -> &'static str {
        match self {
            Self::ShutDown => "eio",
            Self::ReadOnly => "erofs",
            Self::Full => "enospc",
            Self::OverQuota => "edquot",
        }
    }

    /// Makes it happen to the filesystem at `point`.
    fn strike(self, point: &Path) -> Result<()> {
        match self {
            Self::ShutDown => run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(point)),
            Self::ReadOnly => {
                run(Command::new("mount").args(["-o", "remount,errors=remount-ro"]).arg(point))?;
                let device = rustix::fs::stat(point)?.st_dev;
                let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
                let name = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))?;
                let name = name.file_name().context("a device without a name")?.to_owned();
                let trigger = Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error");
                std::fs::write(&trigger, "oracle").context("have an error found")
            }
            Self::Full => Ok(()),
            Self::OverQuota => {
                run(Command::new("btrfs").args(["quota", "enable"]).arg(point))?;
                run(Command::new("btrfs").args(["qgroup", "limit", "4M"]).arg(point))
            }
        }
    }

    /// Fails so often, each time as expected.
    fn suffer(self, file: &File, failures: u32) -> Result<()> {
        let mut block = 1;
        for failure in 0..failures {
            let error = loop {
                ensure!(block < TOO_MANY, "{self:?}: nothing fails");
                let offset = block * PAGE as u64;
                let done = match self {
                    Self::ShutDown => file.read_at(&mut [0; PAGE], 0),
                    Self::ReadOnly => file.write_at(&[2; PAGE], 0),
                    Self::Full | Self::OverQuota => file.write_at(&[2; PAGE], offset),
                };
                match done {
                    Ok(_) if failure == 0 => block += 1,
                    Ok(_) => bail!("{self:?}: failure {failure} did not fail"),
                    Err(error) => break error,
                }
            };
            let expected = io::Error::from(self.errno());
            ensure!(error.raw_os_error() == expected.raw_os_error(), "{self:?}: {error}");
        }
        Ok(())
    }
}

/// Failures by what they are called; volume by volume.
type Found = Vec<BTreeMap<String, u64>>;

impl Errors {
    pub(crate) fn run(self, root: &Path) -> Result<ExitCode> {
        let Self { failures, tier, probe } = self;
        let program = probe.map_or_else(crate::beside, Ok)?;
        socket::stand_in()?;
        let volumes = Fault::ALL.iter().map(|(_, number)| number + 1).max().unwrap_or(1);
        let field = Field::lay_out(root, volumes)?;
        field.mount_all()?;
        let words = [format!("--tier={tier}"), "--pins=none".to_owned()];
        let mut probe = Socket::start(&program, root, &field.ground().kubelet, &words)?;
        probe.tell(field.names()?)?;
        let mut expected: Found = vec![BTreeMap::new(); volumes];
        for (fault, number) in Fault::ALL {
            ensure!(Kind::of(number) == fault.kind(), "volume {number} is no {:?}", fault.kind());
            let point = field.point(number)?;
            let path = point.join("fails");
            let file = File::options().create_new(true).read(true).write(true).open(path)?;
            file.write_all_at(&[1; PAGE], 0)?;
            rustix::fs::syncfs(&file)?;
            named(&mut probe, number, &file)?;
            fault.strike(&point)?;
            fault.suffer(&file, failures)?;
            expected[number].insert(fault.label().to_owned(), u64::from(failures));
        }
        let found = settle(&probe, &expected)?;
        let well = print(&expected, &found);
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Waits until the volume has its name: before that, a node on which many mounts come at once may have no slot for it.
fn named(probe: &mut Socket, number: usize, file: &File) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        file.read_exact_at(&mut [0; PAGE], 0)?;
        let look = probe.look()?;
        let reads = look.tallies.get(&number).map(|all| all[Operation::Read.index()].count());
        if reads.unwrap_or(0) > 0 {
            return Ok(());
        }
        ensure!(Instant::now() < end, "the probe counts nothing for volume {number}");
        std::thread::sleep(PAUSE);
    }
}

/// Looks until all is counted or time is up.
fn settle(probe: &Socket, expected: &Found) -> Result<Found> {
    let end = Instant::now() + PATIENCE;
    loop {
        let page = probe.page()?;
        let of = |number: usize| {
            let mut errors = page.errors(&format!("claim-{number:04}"));
            errors.retain(|_, count| *count > 0);
            errors
        };
        let found: Found = (0..expected.len()).map(of).collect();
        if found == *expected || Instant::now() > end {
            return Ok(found);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether every volume has its failures and no others.
fn print(expected: &Found, found: &Found) -> bool {
    let text = |errors: &BTreeMap<String, u64>| {
        let errors: Vec<String> =
            errors.iter().map(|(error, count)| format!("{error} {count}")).collect();
        if errors.is_empty() { "none".to_owned() } else { errors.join(", ") }
    };
    println!("{:8} {:12} {:>16} {:>16}", "volume", "kind", "failed", "counted");
    for (number, (expected, found)) in expected.iter().zip(found).enumerate() {
        let kind = format!("{:?}", Kind::of(number));
        println!("{number:<8} {kind:12} {:>16} {:>16}", text(expected), text(found));
    }
    expected == found
}
