//! The side of the process: at each point it looks into its folder and does as it is told. What it cannot read, it
//! does not obey.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::order::{DIRECTORY, Mode, Order, OrderError, PATIENCE, Process};
use crate::{Faults, Verdict};

/// Obeys the orders in its folder.
#[derive(Debug)]
pub struct ByOrder {
    dir: PathBuf,
    process: Process,
    heard: Mutex<Option<Heard>>,
}

/// Orders, which file they came from, and how often the point of each was passed since.
#[derive(Debug)]
struct Heard {
    file: (u64, u64, i64, i64),
    orders: Vec<(Order, u32)>,
}

impl Heard {
    /// Counts a pass; gives the order that is due by it.
    fn pass(&mut self, name: &str) -> Option<Order> {
        let of_point = self.orders.iter_mut().filter(|(order, _)| order.name == name);
        let mut due = None;
        for (order, passed) in of_point {
            *passed += 1;
            if *passed >= order.nth {
                due = due.or(Some(order.clone()));
            }
        }
        due
    }
}

impl ByOrder {
    /// Makes the folder beside `socket`, and obeys what is found there.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn beside(socket: &Path, process: Process) -> io::Result<Self> {
        let dir = socket.parent().unwrap_or(Path::new("/")).join(DIRECTORY);
        fs::create_dir_all(&dir)?;
        tracing::warn!(dir = %dir.display(), "fault points are compiled in: this is no program for service");
        Ok(Self { dir, process, heard: Mutex::default() })
    }

    fn file(&self, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", self.process))
    }

    fn record(&self, name: &str) {
        if !self.dir.join("record").exists() {
            return;
        }
        let line = format!("{name}\n");
        let options = File::options().create(true).append(true).open(self.file("passed"));
        // One write a line: lines of different threads do not mix.
        if let Err(error) = options.and_then(|mut file| file.write_all(line.as_bytes())) {
            tracing::error!(%error, name, "a point that was passed is not written down");
        }
    }

    /// What is to happen at this point now. All orders are spent once one is given out.
    fn due(&self, name: &str) -> Option<Mode> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        self.listen(&mut heard);
        let order = heard.as_mut()?.pass(name)?;
        *heard = None;
        // Told and renamed before anything happens. If that fails, the orders were taken back meanwhile.
        let told = fs::write(self.file("due"), format!("{order}\n"));
        let hit = told.and_then(|()| fs::rename(self.file("armed"), self.file("hit")));
        hit.ok().map(|()| order.mode)
    }

    /// Reads the orders anew if their file is another one than before.
    fn listen(&self, heard: &mut Option<Heard>) {
        let Ok(mut armed) = File::open(self.file("armed")) else {
            *heard = None;
            return;
        };
        let Ok(meta) = armed.metadata() else { return };
        let file = (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec());
        if heard.as_ref().is_some_and(|heard| heard.file == file) {
            return;
        }
        let mut text = String::new();
        *heard = match armed.read_to_string(&mut text).map(|_| orders(&text)) {
            Ok(Ok(orders)) => Some(Heard { file, orders }),
            Ok(Err(error)) => {
                tracing::error!(%error, "not an order");
                // Should it stay, it is refused again.
                let _ = fs::rename(self.file("armed"), self.file("refused"));
                None
            }
            Err(_) => None,
        };
    }
}

fn orders(text: &str) -> Result<Vec<(Order, u32)>, OrderError> {
    text.lines().map(|line| line.parse().map(|order| (order, 0))).collect()
}

impl<P: Display> Faults<P> for ByOrder {
    fn reach(&self, point: P) -> Verdict {
        let name = point.to_string();
        self.record(&name);
        match self.due(&name) {
            None => Verdict::Go,
            Some(Mode::Kill) => die(),
            Some(Mode::Error) => Verdict::Fail,
            Some(Mode::Hang) => Verdict::Hang(PATIENCE),
            Some(Mode::Hold) => Verdict::Hold { until_gone: self.file("hit"), at_most: PATIENCE },
        }
    }
}

/// Ends the process as SIGKILL does. The first process of a container is spared by signals that it sends itself, SIGKILL
/// included; only a fault of the processor, which abort(3) ends in, is not held back. No core is dumped.
fn die() -> ! {
    use rustix::process::{DumpableBehavior, Signal, getpid, kill_process, set_dumpable_behavior};
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}
