//! What was done and what came of it, for people and for later: a line of JSON for each blow and each life as it ends, and the
//! whole at the end, below `.rig/crash`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use terrace_e2e::rig::repository;

use crate::fault::Wrong;
use crate::stage::Stage;
use terrace_faults::Mode;

/// One blow.
#[derive(Clone, Debug)]
pub(crate) struct Struck {
    /// What was struck: a process, or the sidecar that died in its place.
    pub(crate) victim: String,
    pub(crate) point: String,
    pub(crate) mode: Mode,
    pub(crate) nth: u32,
    /// Who armed it.
    pub(crate) lane: usize,
    pub(crate) life: &'static str,
    pub(crate) stage: Option<Stage>,
    pub(crate) at: Duration,
    pub(crate) converged: Option<Duration>,
}

/// Something wrong, and the blow before it.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) wrong: Wrong,
    pub(crate) text: String,
    pub(crate) lane: Option<usize>,
    pub(crate) life: &'static str,
    pub(crate) blow: Option<usize>,
    pub(crate) at: Duration,
}

/// The whole of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) seed: u64,
    pub(crate) start: Instant,
    pub(crate) blows: Vec<Struck>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) lives: Vec<(&'static str, Duration)>,
    /// From the last blow that met a stage to its end.
    pub(crate) calm: Vec<Duration>,
    file: File,
}

/// Where it all lies.
pub(crate) fn folder() -> PathBuf {
    repository().join(".rig/crash")
}

impl Ledger {
    pub(crate) fn begin(seed: u64) -> Result<Self> {
        let folder = folder();
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)?;
        let file = File::create(folder.join("events.jsonl"))?;
        let (blows, findings, lives, calm) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { seed, start: Instant::now(), blows, findings, lives, calm, file })
    }

    /// Notes a blow; gives its number, from 1.
    pub(crate) fn blow(&mut self, blow: Struck) -> usize {
        let line = json!({"blow": self.blows.len() + 1, "is": of_blow(&blow)});
        self.note(&line);
        self.blows.push(blow);
        self.blows.len()
    }

    pub(crate) fn converged(&mut self, number: usize, after: Duration) {
        self.note(&json!({"blow": number, "convergedMs": millis(after)}));
        if let Some(blow) = self.blows.get_mut(number.saturating_sub(1)) {
            blow.converged = Some(after);
        }
    }

    pub(crate) fn lived(&mut self, life: &'static str, took: Duration) {
        self.note(&json!({"lived": life, "ms": millis(took)}));
        self.lives.push((life, took));
    }

    pub(crate) fn found(&mut self, finding: Finding) {
        let replay = self.replay(&finding);
        eprintln!("FOUND {}\n  again: {replay}", finding.text);
        self.note(&json!({"found": of_finding(&finding), "replay": replay}));
        self.findings.push(finding);
    }

    pub(crate) fn kills(&self) -> usize {
        self.blows.iter().filter(|blow| is_death(blow.mode)).count()
    }

    /// The command that does the case again.
    pub(crate) fn replay(&self, finding: &Finding) -> String {
        let case = finding.blow.and_then(|number| self.blows.get(number.saturating_sub(1)));
        let seed = self.seed;
        match case {
            Some(blow) => format!(
                "hack/crash --seed {seed} --lanes 1 --life {} --point {} --mode {} --kills 1",
                blow.life,
                blow.point,
                blow.mode.as_str()
            ),
            None => format!("hack/crash --seed {seed}"),
        }
    }

    /// Writes the whole.
    pub(crate) fn write(&self, verdict: &Value) -> Result<PathBuf> {
        let path = folder().join("ledger.json");
        let whole = json!({
            "seed": self.seed, "seconds": self.start.elapsed().as_secs(), "verdict": verdict,
            "findings": self.findings.iter().map(|finding| {
                let mut row = of_finding(finding);
                row["replay"] = self.replay(finding).into();
                row
            }).collect::<Vec<_>>(),
            "lives": self.lives.iter().map(|(life, took)| json!([life, millis(*took)])).collect::<Vec<_>>(),
            "blows": self.blows.iter().map(of_blow).collect::<Vec<_>>(),
        });
        fs::write(&path, serde_json::to_vec_pretty(&whole)?)?;
        Ok(path)
    }

    fn note(&mut self, line: &Value) {
        // The end has it all again; a full disk is told by the checks.
        if let Err(error) = writeln!(self.file, "{line}") {
            eprintln!("the ledger cannot be written: {error}");
        }
    }
}

/// Whether a process dies of it.
pub(crate) const fn is_death(mode: Mode) -> bool {
    match mode {
        Mode::Kill | Mode::Hold => true,
        Mode::Error | Mode::Hang => false,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn of_blow(blow: &Struck) -> Value {
    let Struck { victim, point, mode, nth, lane, life, stage, at, converged } = blow;
    json!({
        "victim": victim, "point": point, "mode": mode.as_str(), "nth": nth, "lane": lane, "life": life,
        "stage": stage.map(Stage::name), "atMs": millis(*at), "convergedMs": converged.map(millis),
    })
}

fn of_finding(finding: &Finding) -> Value {
    let Finding { wrong, text, lane, life, blow, at } = finding;
    json!({
        "wrong": wrong.row(), "seen": text, "lane": lane, "life": life, "afterBlow": blow, "atMs": millis(*at),
    })
}
