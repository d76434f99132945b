//! `hack/bench latency`: how soon a volume made slow is told, how soon it is over, and how often `LatencyHigh` turns where the
//! p99 lies at the target all the time. What a user sees is printed at each stage. It takes away what it made.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use terrace_e2e::reader::{reader, throttle, turns};
use terrace_e2e::rig;
use terrace_e2e::story::{Story, kubectl};

use crate::audit;

/// What the alert and the class say.
const TARGET: &str = "10ms";
/// Operations a second of a throttled reader: some of them wait for a tenth of a second.
const SLOWLY: u64 = 50;
/// Windows from which the target of the last stage is chosen.
const SAMPLE: usize = 12;

/// Arguments of `hack/bench latency`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How long the p99 is kept at the target, in minutes.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
}

/// Slow, over, at the threshold.
pub(crate) fn measure(arguments: &Arguments) -> Result<()> {
    let Arguments { minutes } = *arguments;
    let story = reader("bench-latency", TARGET)?;
    let (_, volume) = turns(&story, "False", 120)?;
    let name = volume["metadata"]["name"].as_str().context("no name")?.to_owned();
    show("fast", &name)?;
    let slow = throttle(&story, &volume, SLOWLY)?;
    let (took, _) = turns(&story, "True", 120)?;
    show(&format!("{:.1} s after it was made slow", took.as_secs_f64()), &name)?;
    drop(slow);
    let (took, _) = turns(&story, "False", 120)?;
    show(&format!("{:.1} s after that ended", took.as_secs_f64()), &name)?;
    let mut windows = Windows::follow(&story)?;
    let mut p99s: Vec<u64> = windows.by_ref().take(SAMPLE).map(|window| window.p99).collect();
    p99s.sort_unstable();
    let median = *p99s.get(p99s.len() / 2).context("no window was told")?;
    drop(windows);
    story.end()?;
    at_threshold(median, Duration::from_secs(minutes * 60))
}

fn at_threshold(p99: u64, time: Duration) -> Result<()> {
    let target = format!("{}us", p99.div_ceil(1000));
    let story = reader("bench-threshold", &target)?;
    turns(&story, "False", 120).or_else(|_| turns(&story, "True", 120))?;
    let (mark, begun) = (audit::mark()?, Instant::now());
    let (mut told, mut above, mut changes, mut last) = (0_u64, 0_u64, 0_u64, None);
    for window in Windows::follow(&story)? {
        told += 1;
        above += u64::from(window.p99 > p99);
        changes += u64::from(last.is_some_and(|last| last != window.high));
        last = Some(window.high);
        if begun.elapsed() >= time {
            break;
        }
    }
    let volume = story.volume("data")?;
    let name = volume["metadata"]["name"].as_str().context("no name")?;
    let written = audit::writes_since(mark)?;
    let written = written.iter().filter(|(write, _)| write.what.contains(name));
    let written: usize = written.map(|(_, times)| times).sum();
    show("at the threshold", name)?;
    println!(
        "{} s with a target of {target}, the median of its own p99: {told} windows, {above} of them above; LatencyHigh turned {changes} times; {written} writes of its status",
        begun.elapsed().as_secs()
    );
    story.end()
}

fn show(stage: &str, name: &str) -> Result<()> {
    println!("\n## {stage}\n$ kubectl get sv {name} -o wide");
    print!("{}", kubectl(&["get", "sv", name, "-o", "wide"])?);
    println!("$ kubectl describe sv {name}");
    print!("{}", kubectl(&["describe", "sv", name])?);
    Ok(())
}

/// A window with reads.
struct Window {
    at: String,
    p99: u64,
    high: bool,
}

/// Each window once, as `kubectl terrace top` tells them.
struct Windows {
    top: Child,
    lines: BufReader<ChildStdout>,
    last: String,
}

impl Windows {
    fn follow(story: &Story) -> Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo.args(["run", "--quiet", "--profile", "ci", "--package", "kubectl-terrace", "--"]);
        cargo.arg("--kubeconfig").arg(rig::kubeconfig()?);
        cargo.args(["top", "-o", "json", "--interval", "2", "-n", &story.namespace]);
        let mut top = cargo.stdout(Stdio::piped()).spawn().context("start kubectl terrace top")?;
        let lines = BufReader::new(top.stdout.take().context("it has no output")?);
        Ok(Self { top, lines, last: String::new() })
    }
}

impl Iterator for Windows {
    type Item = Window;

    fn next(&mut self) -> Option<Window> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(window) = parse(&line).filter(|window| window.at != self.last) {
                self.last.clone_from(&window.at);
                return Some(window);
            }
        }
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.top.kill().ok();
        self.top.wait().ok();
    }
}

fn parse(line: &str) -> Option<Window> {
    let told: Value = serde_json::from_str(line).ok()?;
    let volumes = told["nodes"].as_array()?.iter().filter_map(|node| node["volumes"].as_array());
    let volume = volumes.flatten().find(|volume| volume["claim"] == "data")?;
    let latest = &volume["latest"];
    let mut operations = latest["operations"].as_array()?.iter();
    let read = operations.find(|operation| operation["operation"] == "read")?;
    let (at, p99) = (latest["at"].as_str()?.to_owned(), read["p99Ns"].as_u64()?);
    Some(Window { at, p99, high: volume["high"].as_bool()? })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_window_is_read_from_a_line_of_top() {
        let line = r#"{"nodes":[{"node":"a","volumes":[{"claim":"log"},{"claim":"data","high":true,
            "latest":{"at":"2026-01-01T00:00:05Z","operations":[{"operation":"write","p99Ns":1},{"operation":"read","p99Ns":2000}]}}]}]}"#;
        let window = parse(line).expect("a window");
        assert_eq!(
            (window.at.as_str(), window.p99, window.high),
            ("2026-01-01T00:00:05Z", 2000, true)
        );
        assert!(parse("{}").is_none());
    }
}
