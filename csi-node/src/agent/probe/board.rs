//! What the probe said last, shared by all who tell it on: status, Events, CSI health, HTTP. It takes values and times; it reads no
//! clock and no socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use terrace_crds::measured::ProbeStatus;
use terrace_probe_abi::wire::{
    Hello, HistogramOf, MissedCount, ToNode, ToProbe, Turned, VolumeFigures,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::known::Known;
use super::shown::plan_shown;
use crate::agent::health::{ErrorTrack, Failing, second};

/// Volumes that are remembered; a probe has 512 slots for them.
const REMEMBERED: usize = 1024;

/// Whether a probe is connected, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// None is.
    Down {
        /// Since.
        since: Timestamp,
    },
    /// One is.
    Up {
        /// Since.
        since: Timestamp,
    },
}

/// Names a connection: a newer one takes the place of an older one.
pub type Connection = u64;

/// What was said of one volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Its last figures, and when they came.
    pub figures: Option<(Timestamp, VolumeFigures)>,
    /// Its last turn, as told over the connection that is up.
    pub turned: Option<Turned>,
    /// Its errors.
    pub errors: ErrorTrack,
}

/// Something turned of which claim and Pods are told.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// The latency of a volume crossed its target.
    Latency(Turned),
    /// A volume that was told to be slow is not any more: the probe began anew and says nothing of it.
    LatencyForgotten {
        /// The PersistentVolume.
        pv_name: String,
    },
    /// Operations of a volume begin to fail.
    Failing {
        /// The PersistentVolume.
        pv_name: String,
        /// How.
        failing: Failing,
    },
    /// They do not any more.
    Healed {
        /// The PersistentVolume.
        pv_name: String,
    },
}

#[derive(Debug)]
struct Inner {
    link: Link,
    connection: Connection,
    hello: Option<Hello>,
    missed: Vec<MissedCount>,
    readings: BTreeMap<String, Reading>,
    /// Volumes whose owners were told that they are slow.
    told_high: BTreeSet<String>,
    outbox: Option<mpsc::Sender<ToProbe>>,
    asked: BTreeMap<String, Vec<oneshot::Sender<HistogramOf>>>,
}

/// What is known by and of the probe.
#[derive(Debug)]
pub struct Board {
    inner: Mutex<Inner>,
    began: Timestamp,
    /// Something was said that a status may show.
    pub changed: Notify,
    /// What names are made of changed.
    pub stale: Notify,
    /// Who is who.
    known: watch::Sender<Arc<Known>>,
}

/// Why there is no histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nobody to ask.
    #[error("no probe is connected on this node: see the container probe of its terrace-node Pod")]
    NoProbe,
    /// It takes too many questions already, or went away.
    #[error("the probe did not answer")]
    NoAnswer,
}

impl Board {
    /// Of a process that began at this moment.
    #[must_use]
    pub fn new(began: Timestamp) -> Self {
        let inner = Inner {
            link: Link::Down { since: began },
            connection: 0,
            hello: None,
            missed: Vec::new(),
            readings: BTreeMap::new(),
            told_high: BTreeSet::new(),
            outbox: None,
            asked: BTreeMap::new(),
        };
        Self {
            inner: Mutex::new(inner),
            began,
            changed: Notify::new(),
            stale: Notify::new(),
            known: watch::Sender::new(Arc::default()),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When this process began to watch.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// Who is who, now and from now on.
    pub fn known(&self) -> watch::Receiver<Arc<Known>> {
        self.known.subscribe()
    }

    /// Who is who, now.
    #[must_use]
    pub fn knows(&self) -> Arc<Known> {
        Arc::clone(&self.known.borrow())
    }

    /// Says who is who; whether that is new.
    pub fn tell_known(&self, known: Known) -> bool {
        let listed = |pv: &String| known.volume(pv).is_some();
        let mut inner = self.inner();
        inner.readings.retain(|pv, _| listed(pv));
        inner.told_high.retain(|pv| listed(pv));
        drop(inner);
        self.known.send_if_modified(|there| {
            let is_new = **there != known;
            if is_new {
                *there = Arc::new(known);
            }
            is_new
        })
    }

    /// A probe connected; what goes into `outbox` is sent to it. An older connection has nothing to say any more.
    pub fn connected(&self, outbox: mpsc::Sender<ToProbe>, now: Timestamp) -> Connection {
        let mut inner = self.inner();
        inner.connection += 1;
        inner.link = Link::Up { since: now };
        inner.hello = None;
        inner.outbox = Some(outbox);
        inner.asked.clear();
        inner.readings.values_mut().for_each(|reading| reading.turned = None);
        let connection = inner.connection;
        drop(inner);
        self.changed.notify_one();
        connection
    }

    /// A connection is over.
    pub fn disconnected(&self, connection: Connection, now: Timestamp) {
        let mut inner = self.inner();
        if inner.connection == connection {
            inner.link = Link::Down { since: now };
            inner.outbox = None;
            inner.asked.clear();
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Takes what came over a connection; what turned by it.
    pub fn take(&self, connection: Connection, said: ToNode, now: Timestamp) -> Vec<Turn> {
        let mut inner = self.inner();
        if inner.connection != connection {
            return Vec::new();
        }
        let turns = match said {
            ToNode::Hello(hello) => {
                inner.hello = Some(hello);
                Vec::new()
            }
            ToNode::Figures(figures) => {
                inner.missed = figures.missed;
                figures
                    .volumes
                    .into_iter()
                    .filter_map(|figures| take_figures(&mut inner.readings, figures, now))
                    .collect()
            }
            ToNode::Turned(turned) => take_turned(&mut inner, turned),
            ToNode::HistogramOf(histogram) => {
                for asker in inner.asked.remove(&histogram.pv_name).unwrap_or_default() {
                    // Whoever asked may have gone.
                    let _ = asker.send(histogram.clone());
                }
                return Vec::new();
            }
            ToNode::Unknown => return Vec::new(),
        };
        drop(inner);
        self.changed.notify_one();
        turns
    }

    /// What turned because time passed.
    pub fn pass_time(&self, now: Timestamp) -> Vec<Turn> {
        let mut inner = self.inner();
        let mut turns = Vec::new();
        for (pv_name, reading) in &mut inner.readings {
            if reading.errors.failing.is_some_and(|failing| failing.is_over(now)) {
                reading.errors.failing = None;
                turns.push(Turn::Healed { pv_name: pv_name.clone() });
            }
        }
        if super::status::is_settled(inner.link, now) {
            let Inner { readings, told_high, .. } = &mut *inner;
            let is_silent =
                |pv: &String| readings.get(pv).is_none_or(|reading| reading.turned.is_none());
            let forgotten: Vec<String> =
                told_high.iter().filter(|pv| is_silent(pv)).cloned().collect();
            for pv_name in forgotten {
                told_high.remove(&pv_name);
                turns.push(Turn::LatencyForgotten { pv_name });
            }
        }
        turns
    }

    /// Whether a probe is connected.
    #[must_use]
    pub fn link(&self) -> Link {
        self.inner().link
    }

    /// What it said of itself.
    #[must_use]
    pub fn hello(&self) -> Option<Hello> {
        self.inner().hello.clone()
    }

    /// What it said of a volume.
    #[must_use]
    pub fn reading(&self, pv_name: &str) -> Option<Reading> {
        self.inner().readings.get(pv_name).cloned()
    }

    /// Errors of a volume of late.
    #[must_use]
    pub fn failing(&self, pv_name: &str, now: Timestamp) -> Option<Failing> {
        let failing = self.inner().readings.get(pv_name)?.errors.failing;
        failing.filter(|failing| !failing.is_over(now))
    }

    /// Asks for the histograms of a volume.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, pv_name: &str) -> Result<HistogramOf, AskError> {
        let (asker, answer) = oneshot::channel();
        let outbox = {
            let mut inner = self.inner();
            let outbox = inner.outbox.clone().ok_or(AskError::NoProbe)?;
            inner.asked.entry(pv_name.to_owned()).or_default().push(asker);
            outbox
        };
        let asked = outbox.try_send(ToProbe::Histogram { pv_name: pv_name.to_owned() });
        asked.map_err(|_| AskError::NoAnswer)?;
        answer.await.map_err(|_| AskError::NoAnswer)
    }

    /// What a StorageNode says of the probe: while none is connected, what it said last stays for as long as it may only restart.
    #[must_use]
    pub fn node_status(&self, there: Option<&ProbeStatus>, now: Timestamp) -> Option<ProbeStatus> {
        let inner = self.inner();
        if super::status::is_away(inner.link, now) {
            return None;
        }
        let hello = inner.hello.as_ref();
        hello.map_or_else(|| there.cloned(), |hello| Some(plan_shown(hello, &inner.missed, there)))
    }
}

fn take_figures(
    readings: &mut BTreeMap<String, Reading>,
    figures: VolumeFigures,
    now: Timestamp,
) -> Option<Turn> {
    if readings.len() >= REMEMBERED && !readings.contains_key(&figures.pv_name) {
        return None;
    }
    let pv_name = figures.pv_name.clone();
    let reading = readings.entry(pv_name.clone()).or_default();
    let was_failing = reading.errors.failing.is_some();
    reading.errors = reading.errors.after(figures.errors, now);
    reading.figures = Some((now, figures));
    match (was_failing, reading.errors.failing) {
        (false, Some(failing)) => Some(Turn::Failing { pv_name, failing }),
        (true, None) => Some(Turn::Healed { pv_name }),
        (false, None) | (true, Some(_)) => None,
    }
}

fn take_turned(inner: &mut Inner, turned: Turned) -> Vec<Turn> {
    let pv_name = turned.pv_name.clone();
    if inner.readings.len() >= REMEMBERED && !inner.readings.contains_key(&pv_name) {
        return Vec::new();
    }
    inner.readings.entry(pv_name.clone()).or_default().turned = Some(turned.clone());
    let is_news = if turned.high {
        inner.told_high.insert(pv_name)
    } else {
        inner.told_high.remove(&pv_name)
    };
    if is_news { vec![Turn::Latency(turned)] } else { Vec::new() }
}

/// A moment of the wire.
#[must_use]
pub fn moment(unix: u64) -> Timestamp {
    let time = i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok());
    second(time.unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
#[path = "board/tests.rs"]
mod tests;
