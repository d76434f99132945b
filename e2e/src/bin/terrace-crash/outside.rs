//! `hack/crash outside`: faults of what Terrace stands on, one after another on a quiet node. For each: what the user saw, and the
//! time until a claim and a Pod made meanwhile were as they should be.

mod control;
mod disk;
mod history;
mod look;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use self::look::Told;
use crate::place::Place;

/// Which of them.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// This fault alone; repeat for more.
    #[arg(long, value_enum)]
    only: Vec<Outside>,
}

/// A fault from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Outside {
    /// The API server is killed, and comes back.
    ApiServer,
    /// The API server answers one second in five.
    SlowApi,
    /// etcd is killed, and comes back.
    Etcd,
    /// Every connection to the API server is cut, again and again.
    Watch,
    /// The kubelet is killed, and comes back.
    Kubelet,
    /// containerd is killed, and comes back.
    Containerd,
    /// Somebody else fills the disk that a pool lies on.
    DiskFull,
    /// The filesystem of a volume in use gives errors.
    Eio,
    /// The image of a volume is not there.
    ImageGone,
    /// The clock steps.
    Clock,
    /// A thousand volumes have come and gone.
    History,
}

impl Outside {
    const fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "API server down for 20 s",
            Self::SlowApi => "API server stopped 4 s in 5, for 30 s",
            Self::Etcd => "etcd down for 20 s",
            Self::Watch => "every connection to the API server cut, 10 times",
            Self::Kubelet => "kubelet down for 15 s",
            Self::Containerd => "containerd down for 15 s",
            Self::DiskFull => "the pool's disk filled by a stranger",
            Self::Eio => "EIO from a volume's filesystem (FS_IOC_SHUTDOWN)",
            Self::ImageGone => "a volume's image gone",
            Self::Clock => "clock steps",
            Self::History => "1,000 volumes of history",
        }
    }

    fn run(self, place: &Place) -> Result<Told> {
        match self {
            Self::ApiServer => control::part_is_killed("apiserver", Duration::from_secs(20)),
            Self::Etcd => control::part_is_killed("etcd", Duration::from_secs(20)),
            Self::Kubelet => control::part_is_killed("kubelet", Duration::from_secs(15)),
            Self::Containerd => control::part_is_killed("containerd", Duration::from_secs(15)),
            Self::SlowApi => control::api_is_slow(place),
            Self::Watch => control::connections_are_cut(place),
            Self::DiskFull => disk::is_full(),
            Self::Eio => disk::gives_errors(),
            Self::ImageGone => disk::image_is_gone(),
            Self::Clock => Ok(clock()),
            Self::History => history::of_a_thousand(place),
        }
    }
}

/// The rig shares the machine's clock, and no namespace has a wall clock of its own: a step would hit all that runs here.
fn clock() -> Told {
    let proof = "not made here: the rig's clock is the machine's. What waits counts the monotonic clock, and tests name it: \
                 leader (`operator/src/leader/tests.rs`), sweeper (`csi-node/src/agent/sweep_plan*`), queue and deadlines";
    Told { saw: proof.to_owned(), ..Told::default() }
}

/// Prints the table; an error names what did not become normal.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let place = Place::find()?;
    let all = if arguments.only.is_empty() { Outside::value_variants() } else { &arguments.only };
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for fault in all {
        eprintln!("{}", fault.name());
        let start = Instant::now();
        match fault.run(&place) {
            Ok(told) => rows.push(told.row(fault.name())),
            Err(error) => {
                eprintln!("  FAILED after {} s: {error:#}", start.elapsed().as_secs());
                rows.push(format!(
                    "| {} | FAILED: {} | | |",
                    fault.name(),
                    look::one_line(&format!("{error:#}"))
                ));
                failed.push(fault.name());
            }
        }
    }
    println!(
        "| fault | what the user saw | conditions and gRPC codes | time to normal |\n|---|---|---|---|"
    );
    for row in rows {
        println!("{row}");
    }
    if failed.is_empty() { Ok(()) } else { bail!("not normal again: {}", failed.join("; ")) }
}
