//! `kubectl terrace top`: the volumes of all nodes as a table of what was measured last, the slowest first. Pure.

use std::cmp::Ordering;

use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use terrace_crds::Size;
use terrace_crds::measured::Took;

use crate::ask::Failed;
use crate::measured::{Latest, NodeTable, Operation, Volume};
use crate::table::Table;

/// What a line is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// A claim on a node.
    #[default]
    Volume,
    /// A claim in a Pod: Pods that share a claim show its figures each.
    Pod,
}

/// What the lines are sorted by; the largest first, names in alphabetical order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// 99th percentile of the worst operation.
    #[default]
    P99,
    /// Median of the worst operation.
    P50,
    /// The slowest operation.
    Max,
    /// Operations a second.
    Ops,
    /// Bytes a second.
    Bytes,
    /// Namespace and name of the claim.
    Name,
}

/// Which lines, in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// What a line is about.
    pub by: By,
    /// Their order.
    pub sort: Sort,
    /// Only claims of this namespace.
    pub namespace: Option<String>,
}

/// What one node answered, and when by its own clock.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// What it told.
    #[serde(flatten)]
    pub table: NodeTable,
    /// Its time.
    pub now: Timestamp,
}

/// What all of them answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Answers {
    /// Those that did.
    pub nodes: Vec<Answer>,
    /// Those that did not.
    pub failed: Vec<Failed>,
}

impl Answers {
    /// Without the claims of other namespaces.
    pub fn keep(&mut self, namespace: Option<&str>) {
        let Some(namespace) = namespace else { return };
        for answer in &mut self.nodes {
            answer.table.volumes.retain(|volume| volume.namespace == namespace);
        }
    }
}

/// A line, once its figures are known.
struct Line {
    names: Vec<String>,
    busy: Option<Busy>,
    target: Option<u64>,
    state: &'static str,
}

/// Figures of a volume on which something is done.
#[derive(Clone, Debug, PartialEq)]
struct Busy {
    worst: Operation,
    slowest: u64,
    ops: f64,
    bytes: f64,
}

/// The table, and below it what it does not show.
#[must_use]
pub fn report(answers: &Answers, view: &View) -> String {
    let mut lines: Vec<Line> = Vec::new();
    for answer in &answers.nodes {
        let asked =
            |volume: &&Volume| view.namespace.as_ref().is_none_or(|it| *it == volume.namespace);
        for volume in answer.table.volumes.iter().filter(asked) {
            lines.extend(lines_of(volume, answer, view.by));
        }
    }
    lines.sort_by(|a, b| order(a, b, view.sort));
    let mut heads = match view.by {
        By::Volume => vec!["CLAIM", "NODE"],
        By::Pod => vec!["POD", "CLAIM", "NODE"],
    };
    heads.extend(["WORST", "P50", "P99", "MAX", "OPS/S", "BYTES/S", "SLOW", "TARGET", "STATE"]);
    let mut table = Table::new(heads);
    let empty = lines.is_empty();
    lines.into_iter().for_each(|line| table.push(cells(line)));
    let body = if empty { "No running Pod uses a volume.\n".to_owned() } else { table.render() };
    body + &notes(answers)
}

fn lines_of(volume: &Volume, answer: &Answer, by: By) -> Vec<Line> {
    let claim = format!("{}/{}", volume.namespace, volume.claim);
    let node = answer.table.node.clone();
    let busy = volume.latest.as_ref().and_then(|latest| busy(latest, answer.now));
    let state = match (answer.table.probe.connected, volume.high, &busy) {
        (false, _, _) => "NoProbe",
        (true, Some(true), _) => "High",
        (true, _, None) => "Idle",
        (true, Some(false), Some(_)) => "Ok",
        (true, None, Some(_)) => "Unknown",
    };
    let line = |names| Line { names, busy: busy.clone(), target: volume.target_p99_ns, state };
    match by {
        By::Volume => vec![line(vec![claim, node])],
        By::Pod => {
            let of = |pod: &String| {
                line(vec![format!("{}/{pod}", volume.namespace), claim.clone(), node.clone()])
            };
            volume.pods.iter().map(of).collect()
        }
    }
}

/// `None` where nothing is done: the window is too old, by the node's own clock.
fn busy(latest: &Latest, now: Timestamp) -> Option<Busy> {
    let window = i64::try_from(latest.window_seconds).unwrap_or(i64::MAX);
    if now.duration_since(latest.at) > SignedDuration::from_secs(window.saturating_mul(2)) {
        return None;
    }
    let worst = latest.operations.iter().max_by_key(|operation| operation.p99_ns)?.clone();
    let of = |figure: fn(&Operation) -> f64| latest.operations.iter().map(figure).sum();
    Some(Busy {
        worst,
        slowest: latest.operations.iter().map(|it| it.max_ns).max().unwrap_or_default(),
        ops: of(|it| it.ops_per_second),
        bytes: of(|it| it.bytes_per_second),
    })
}

fn order(a: &Line, b: &Line, sort: Sort) -> Ordering {
    let figure = |line: &Line| -> f64 {
        let Some(busy) = &line.busy else { return -1.0 };
        #[expect(clippy::cast_precision_loss, reason = "for the order alone")]
        let of = |ns: u64| ns as f64;
        match sort {
            Sort::P99 => of(busy.worst.p99_ns),
            Sort::P50 => of(busy.worst.p50_ns),
            Sort::Max => of(busy.slowest),
            Sort::Ops => busy.ops,
            Sort::Bytes => busy.bytes,
            Sort::Name => 0.0,
        }
    };
    let by_name = a.names.cmp(&b.names);
    match sort {
        Sort::Name => by_name,
        Sort::P99 | Sort::P50 | Sort::Max | Sort::Ops | Sort::Bytes => {
            figure(b).total_cmp(&figure(a)).then(by_name)
        }
    }
}

fn cells(line: Line) -> Vec<String> {
    let Line { mut names, busy, target, state } = line;
    let took = |ns: u64| Took::from_nanos(ns).to_string();
    let none = || "-".to_owned();
    match busy {
        Some(Busy { worst, slowest, ops, bytes }) => names.extend([
            worst.operation,
            took(worst.p50_ns),
            took(worst.p99_ns),
            took(slowest),
            rate(ops),
            size(bytes),
            format!("{:.1}%", worst.slow_share * 100.0),
        ]),
        None => names.extend([none(), none(), none(), none(), "0".into(), "0".into(), none()]),
    }
    names.extend([target.map_or_else(none, took), state.to_owned()]);
    names
}

/// Operations a second: a fraction only where it says something.
fn rate(ops: f64) -> String {
    if ops < 10.0 { format!("{ops:.1}") } else { format!("{ops:.0}") }
}

fn size(bytes: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float saturates"
    )]
    Size::rounded(bytes.max(0.0) as u64).to_string()
}

/// What is missing from the table: nodes that do not answer or have no probe, and what a probe cannot see.
fn notes(answers: &Answers) -> String {
    let mut notes = String::new();
    for Failed { node: _, error } in &answers.failed {
        notes += &format!("{error}\n");
    }
    for Answer { table, now: _ } in &answers.nodes {
        if !table.probe.connected {
            notes += &format!(
                "node {}: no probe is connected, so nothing is measured there; kubectl terrace nodes {} says why\n",
                table.node, table.node
            );
        } else if !table.probe.unobservable.is_empty() {
            let ways = table.probe.unobservable.join(", ");
            notes += &format!("node {}: not seen there: {ways}\n", table.node);
        }
    }
    if notes.is_empty() { notes } else { format!("\n{notes}") }
}
