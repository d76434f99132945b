//! The crash matrix: lanes of lives, the driver, the checks at the end, the verdict.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use terrace_e2e::rig;
use terrace_faults::{Mode, Panel, Process};
use tokio::sync::Notify;

use crate::audit;
use crate::clock::Clock;
use crate::cluster::{Cluster, Kind};
use crate::driver::{Driver, Goal};
use crate::fault::Wrong;
use crate::ground;
use crate::lane::Lane;
use crate::ledger::Ledger;
use crate::lives::LifeKind;
use crate::pick::{Picks, Wish};
use crate::place::Place;
use crate::points;
use crate::verdict::Verdict;

/// Where Terrace runs.
const NAMESPACE: &str = "terrace-system";
/// What the crash matrix is to have at least.
const MATRIX: usize = 1000;
const SMOKE: usize = 8;

/// How much, and of what.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// At least 1,000 kills, and every point that is passed at least once.
    #[arg(long, conflicts_with_all = ["kills", "smoke"])]
    all: bool,
    /// So many kills.
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// Names lives, order and ways of the blows; from the clock unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// A short run: 8 kills, four lanes.
    #[arg(long, conflicts_with = "kills")]
    smoke: bool,
    /// Lives side by side.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=16))]
    lanes: u8,
    /// Begin no new life after so many minutes.
    #[arg(long, default_value_t = 75)]
    minutes: u64,
    /// Lives of this kind alone; repeat for more.
    #[arg(long = "life", value_enum)]
    lives: Vec<LifeKind>,
    /// Strike at this point alone.
    #[arg(long)]
    point: Option<String>,
    /// In this way alone: kill, error, hang or hold.
    #[arg(long)]
    mode: Option<Mode>,
}

impl Arguments {
    fn goal(&self) -> Goal {
        let kills = match (self.all, self.smoke) {
            (true, _) => MATRIX,
            (false, true) => SMOKE,
            (false, false) => self.kills,
        };
        let minutes = if self.smoke { self.minutes.min(2) } else { self.minutes };
        let until = Instant::now() + Duration::from_secs(minutes * 60);
        Goal { kills, every_point: self.all, until }
    }

    fn kinds(&self) -> Vec<LifeKind> {
        if !self.lives.is_empty() {
            self.lives.clone()
        } else if self.smoke {
            vec![LifeKind::Xfs, LifeKind::Btrfs, LifeKind::Block]
        } else {
            LifeKind::ALL.to_vec()
        }
    }

    fn lanes(&self) -> usize {
        let most = if self.smoke { self.lanes.min(3) } else { self.lanes };
        usize::from(most)
    }
}

/// Runs it; an error says that something was found.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run_matrix(arguments))
}

async fn run_matrix(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.map_or_else(seed_of_now, Ok)?;
    println!("seed {seed}");
    let place = Place::find()?;
    let client = rig::client().await?;
    let namespace = NAMESPACE.to_owned();
    let mut cluster = Cluster { client: client.clone(), namespace, clock: Arc::new(Clock::new()) };
    ground::prepare(&cluster, &place).await?;
    let panels = panels(&cluster, &place).await?;
    let wish = Wish { point: arguments.point.clone(), mode: arguments.mode };
    if panels.is_empty() && (arguments.all || wish.point.is_some()) {
        bail!("the image in the cluster has no fault points: run it through hack/crash");
    }
    let known = if panels.is_empty() { Vec::new() } else { points::known()? };
    println!("{} points, {} lanes", known.len(), arguments.lanes());
    let picks = Picks::new(seed, known, wish);
    let driver = Driver::new(place, arguments.goal(), Ledger::begin(seed)?, picks, panels);
    let driver = Arc::new(driver);
    cluster.clock = Arc::clone(&driver.clock);
    let namespaces = live(arguments, seed, &driver, &client).await?;
    settle(&driver, &cluster, &namespaces).await;
    tell(&driver)
}

/// The lanes, and the driver beside them, until enough is done and each life is over.
async fn live(
    arguments: &Arguments,
    seed: u64,
    driver: &Arc<Driver>,
    client: &kube::Client,
) -> Result<Vec<String>> {
    let end = Arc::new(Notify::new());
    let watching = tokio::spawn({
        let (driver, end) = (Arc::clone(driver), Arc::clone(&end));
        async move { driver.watch(&end).await }
    });
    let mut lanes = tokio::task::JoinSet::new();
    for number in 1..=arguments.lanes() {
        let (driver, client) = (Arc::clone(driver), client.clone());
        let lane = Lane { driver, client, number, seed, kinds: arguments.kinds() };
        lanes.spawn(lane.run());
    }
    let mut namespaces = Vec::new();
    while let Some(lane) = lanes.join_next().await {
        namespaces.extend(lane.context("a lane")?);
    }
    end.notify_one();
    watching.await.context("the driver")?;
    Ok(namespaces)
}

/// All lives are over: nothing of them may be left. Then the ground goes, too.
async fn settle(driver: &Driver, cluster: &Cluster, namespaces: &[String]) {
    if let Err(error) = ground::leave(cluster, namespaces).await {
        driver.found(None, "end", &error);
    }
    // What goes without a watch may still be on its way.
    let since = Instant::now();
    loop {
        let left = audit::leftovers(cluster, &driver.place, namespaces).await;
        let is_late = cluster.clock.left(since).is_zero();
        match left {
            Ok(left) if left.is_empty() => break,
            Ok(left) if is_late => {
                left.into_iter().for_each(|fault| driver.found(None, "end", &fault.into()));
                break;
            }
            Err(error) if is_late => {
                driver.found(None, "end", &error);
                break;
            }
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
    if driver.state().ledger.findings.is_empty()
        && let Err(error) = ground::remove(cluster, &driver.place).await
    {
        driver.found(None, "end", &error);
    }
}

fn tell(driver: &Driver) -> Result<()> {
    let state = driver.state();
    let verdict = Verdict::of(&state.ledger, &state.picks);
    println!("\n{}", verdict.table());
    let path = state.ledger.write(&verdict.json())?;
    println!("seed {}; the whole in {}", state.ledger.seed, path.display());
    for finding in &state.ledger.findings {
        println!("{}\n  again: {}", finding.text, state.ledger.replay(finding));
    }
    if state.ledger.findings.is_empty() {
        return Ok(());
    }
    let kinds = Wrong::ALL
        .into_iter()
        .filter(|wrong| state.ledger.findings.iter().any(|finding| finding.wrong == *wrong));
    bail!("found: {}", kinds.map(Wrong::row).collect::<Vec<_>>().join(", "));
}

/// The folders in which the processes take orders; none where the image has no fault points.
async fn panels(cluster: &Cluster, place: &Place) -> Result<Vec<(Process, Panel)>> {
    let node =
        place.path("/var/lib/kubelet/plugins/csi.terrace.storage").join(terrace_faults::DIRECTORY);
    let pods = cluster.list(Kind::Pod).await?;
    let is_operator = |pod: &&kube::api::DynamicObject| {
        pod.metadata.labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/component"))
            == Some(&"operator".to_owned())
            && pod.metadata.deletion_timestamp.is_none()
    };
    let uid = pods.iter().find(is_operator).and_then(|pod| pod.metadata.uid.clone());
    let uid = uid.context("no Pod of the operator")?;
    let socket = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/socket");
    let operator = place.path(&socket).join(terrace_faults::DIRECTORY);
    if !node.is_dir() || !operator.is_dir() {
        return Ok(Vec::new());
    }
    let mut panels = Vec::new();
    for (process, folder) in [(Process::Node, node), (Process::Operator, operator)] {
        let panel = Panel::new(folder, process);
        panel.disarm().and_then(|()| panel.release()).and_then(|()| panel.record())?;
        panels.push((process, panel));
    }
    Ok(panels)
}

fn seed_of_now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() % 1_000_000)
}
