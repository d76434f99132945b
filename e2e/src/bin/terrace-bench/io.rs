//! `hack/bench io`: fio on a claim of each class, and on a file of the filesystem that the class's pool lies on. It measures
//! and prints; what the figures mean is in `ratios`, what is asked of fio in `cells`.
//!
//! fio runs as a process of the node, in the rig's mounts, on both sides: on the claim through the path at which a running Pod
//! has it mounted. So both sides have the same program, cgroup and kernel, and differ in the path alone.

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use terrace_e2e::rig;
use terrace_e2e::story::{Story, kubectl};

use crate::cells::{Cell, Extent, Figure, lay_out_words, measure_words, parse_report};
use crate::pools;
use crate::ratios::{Estimate, Side, estimate, median, turns};

/// Arguments of `hack/bench io`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Class to claim from; give it once for each class. Its pool is found from the volume. bench-btrfs is made.
    #[arg(long = "class", default_values = [pools::FILE, pools::BTRFS])]
    classes: Vec<String>,
    /// Pairs of runs in each cell; who goes first alternates.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Length of one run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Size of the file on either side, in MiB; the claim has twice as much.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..))]
    size: u32,
    /// Print JSON, one line for each run and each cell, in place of tables.
    #[arg(long)]
    json: bool,
}

/// The two files that are compared.
struct Pair {
    class: String,
    backend: String,
    raw: String,
    claim: String,
    what: String,
}

/// Measures every class in turn.
pub(crate) fn measure(arguments: &Arguments) -> Result<()> {
    let story = Story::begin("bench-io")?;
    for (number, class) in arguments.classes.iter().enumerate() {
        pools::prepare(class)?;
        let pair = set_up(&story, number, class, arguments)?;
        let measured = measure_pair(&pair, arguments);
        rig::on_node(&format!("rm -f {}", pair.raw))?;
        measured?;
    }
    story.end()?;
    arguments.classes.iter().try_for_each(|class| pools::remove(class))
}

/// A claim of the class in a running Pod, and the two files, both written from end to end.
fn set_up(story: &Story, number: usize, class: &str, arguments: &Arguments) -> Result<Pair> {
    let name = format!("io-{number}");
    story.claim(&name, class, &format!("{}Mi", arguments.size * 2), "")?;
    story.pod(&name, &name, "", "")?;
    story.runs(&name)?;
    let pod: Value = serde_json::from_str(&story.kubectl(&["get", "pod", &name, "-o", "json"])?)?;
    let claim: Value = serde_json::from_str(&story.kubectl(&["get", "pvc", &name, "-o", "json"])?)?;
    let volume = text(&claim, "/spec/volumeName")?;
    let at = format!(
        "/var/lib/kubelet/pods/{}/volumes/kubernetes.io~csi/{volume}/mount",
        text(&pod, "/metadata/uid")?
    );
    let (backend, folder) = pool_of(&volume, &text(&pod, "/spec/nodeName")?)?;
    let filesystem =
        |path: &str| rig::on_node(&format!("findmnt --noheadings --output FSTYPE --target {path}"));
    let what = format!(
        "class {class}, backend {backend}: {} of the Pod against {} in the pool's folder",
        filesystem(&at)?.trim(),
        filesystem(&folder)?.trim()
    );
    let pair = Pair {
        class: class.to_owned(),
        backend,
        raw: format!("{folder}/bench-io-raw"),
        claim: format!("{at}/bench-io"),
        what,
    };
    for file in [&pair.raw, &pair.claim] {
        rig::on_node(&format!("rm -f {file}"))?;
        on_node(&lay_out_words(file, extent(arguments)))?;
    }
    Ok(pair)
}

/// Backend and folder of the pool that the volume lies on.
fn pool_of(volume: &str, node: &str) -> Result<(String, String)> {
    let get = |kind: &str, name: &str| -> Result<Value> {
        Ok(serde_json::from_str(&kubectl(&["get", kind, name, "-o", "json"])?)?)
    };
    let volume = get("pv", volume)?;
    let name = text(&volume, "/spec/csi/volumeAttributes/terrace.storage~1pool")?;
    let pool = get("storagepools.terrace.storage", &name)?;
    let node = get("storagenodes.terrace.storage", node)?;
    let pools = node["status"]["pools"].as_array().into_iter().flatten();
    let here = pools.into_iter().find(|pool| pool["name"] == name.as_str());
    let here = here.with_context(|| format!("the node does not tell of pool {name}"))?;
    let backend = text(here, "/backend")?;
    let folder = match pool["spec"][backend.as_str()]["directory"].as_str() {
        Some(folder) => folder.to_owned(),
        None => format!("/var/lib/terrace/mnt/{}", text(here, "/uuid")?),
    };
    Ok((backend, folder))
}

fn measure_pair(pair: &Pair, arguments: &Arguments) -> Result<()> {
    if !arguments.json {
        println!("{}", pair.what);
        println!("{:24} {:>16} {:>16} {:>6}  95 % interval  goal", "", "raw", "claim", "ratio");
    }
    for cell in Cell::ALL {
        let mut raw = Vec::new();
        let mut claim = Vec::new();
        for number in 0..usize::try_from(arguments.pairs)? {
            for side in turns(number) {
                let (file, figures) = match side {
                    Side::Raw => (&pair.raw, &mut raw),
                    Side::Claim => (&pair.claim, &mut claim),
                };
                let words = measure_words(cell, file, extent(arguments), number);
                let figure = parse_report(cell, &on_node(&words)?)?;
                if arguments.json {
                    println!("{}", run_line(pair, cell, number, side, figure));
                }
                figures.push(figure.bytes_per_second);
            }
        }
        tell(pair, cell, &raw, &claim, arguments)?;
    }
    Ok(())
}

fn run_line(pair: &Pair, cell: Cell, number: usize, side: Side, figure: Figure) -> Value {
    json!({
        "class": pair.class, "backend": pair.backend, "cell": cell.name(), "pair": number,
        "side": side.name(), "bytesPerSecond": figure.bytes_per_second,
        "operationsPerSecond": figure.operations_per_second,
    })
}

fn tell(pair: &Pair, cell: Cell, raw: &[f64], claim: &[f64], arguments: &Arguments) -> Result<()> {
    let ratios: Vec<f64> = claim.iter().zip(raw).map(|(claim, raw)| claim / raw).collect();
    let Estimate { median: ratio, low, high } =
        estimate(&ratios).context("no pair was measured")?;
    let goal = goal_of(&pair.backend);
    let verdict = goal.map(|goal| if ratio >= goal { "reached" } else { "missed" });
    if arguments.json {
        let line = json!({
            "class": pair.class, "backend": pair.backend, "cell": cell.name(), "pairs": ratios.len(),
            "ratio": ratio, "low": low, "high": high, "goal": goal, "verdict": verdict,
        });
        println!("{line}");
        return Ok(());
    }
    let rate = |figures: &[f64]| median(figures).map(rate_text).context("no figure");
    println!(
        "{:24} {:>16} {:>16} {ratio:6.3}  {low:.3} to {high:.3}  {}",
        cell.name(),
        rate(raw)?,
        rate(claim)?,
        goal.zip(verdict).map_or("none".to_owned(), |(goal, word)| format!(">= {goal} {word}")),
    );
    Ok(())
}

/// Share of the raw filesystem's speed that a backend is to keep.
fn goal_of(backend: &str) -> Option<f64> {
    match backend {
        "btrfs" => Some(0.99),
        "file" => Some(0.9),
        _ => None,
    }
}

fn rate_text(bytes_per_second: f64) -> String {
    format!("{:.1} MiB/s", bytes_per_second / f64::from(1 << 20))
}

fn extent(arguments: &Arguments) -> Extent {
    Extent { seconds: arguments.seconds, size_mib: arguments.size }
}

fn on_node(words: &[String]) -> Result<String> {
    let mut rig_words = vec!["exec", "--"];
    rig_words.extend(words.iter().map(String::as_str));
    rig::rig(&rig_words)
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    ensure!(!found.is_empty(), "{pointer} is not set");
    Ok(found.to_owned())
}
