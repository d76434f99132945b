//! What a system call saves where others spawn a tool: both sides in turns, the median of the ratios of the pairs with its interval, and the
//! claim that it is made for, 1 - ours/tool.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::ratios::{Estimate, Side, estimate, median, turns};

/// What is claimed.
pub(crate) struct Claim<'a> {
    pub(crate) what: &'a str,
    pub(crate) tool: &'a str,
    /// The most that ours/tool may be.
    pub(crate) goal: f64,
}

/// Seconds of each side, pair by pair.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) ours: Vec<f64>,
    pub(crate) tool: Vec<f64>,
}

impl Pairs {
    fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.tool).map(|(ours, tool)| ours / tool).collect()
    }
}

/// Both sides so many times, after each has run once for nothing.
pub(crate) fn take_turns(
    pairs: u32,
    mut ours: impl FnMut() -> Result<Duration>,
    mut tool: impl FnMut() -> Result<Duration>,
) -> Result<Pairs> {
    ours()?;
    tool()?;
    let mut taken = Pairs::default();
    for number in 0..usize::try_from(pairs)? {
        for side in turns(number) {
            match side {
                Side::Raw => taken.tool.push(tool()?.as_secs_f64()),
                Side::Claim => taken.ours.push(ours()?.as_secs_f64()),
            }
        }
    }
    Ok(taken)
}

/// How long a tool takes from its start to its end; what it prints is read, as whoever asked would.
pub(crate) fn spawn(program: &str, arguments: &[&str]) -> Result<Duration> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let start = Instant::now();
    let ended = command.output().with_context(|| format!("start {program}"))?;
    let took = start.elapsed();
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{program} {arguments:?}: {said}");
    Ok(took)
}

/// The head of the rows that [`print`] prints.
pub(crate) fn print_head() {
    println!(
        "{:26} {:>10} {:>10} {:>6}  {:16} {:>8}  goal",
        "", "ours", "tool", "ratio", "95 % interval", "1-ratio"
    );
}

/// One row.
pub(crate) fn print(claim: &Claim<'_>, pairs: &Pairs) -> Result<()> {
    let Claim { what, tool, goal } = claim;
    let Estimate { median: ratio, low, high } =
        estimate(&pairs.ratios()).context("no pair was measured")?;
    let micros = |side: &[f64]| median(side).map(|seconds| format!("{:.0} us", seconds * 1e6));
    let verdict = if ratio <= *goal { "reached" } else { "missed" };
    println!(
        "{what:26} {:>10} {:>10} {ratio:6.3}  {:16} {:>6.1} %  <= {goal} {verdict}, against {tool}, {} pairs",
        micros(&pairs.ours).context("no figure")?,
        micros(&pairs.tool).context("no figure")?,
        format!("{low:.3} to {high:.3}"),
        (1.0 - ratio) * 100.0,
        pairs.ours.len(),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::take_turns;

    #[test]
    fn both_sides_run_equally_often_and_go_first_in_turns() {
        let order = RefCell::new(String::new());
        let side = |letter| {
            order.borrow_mut().push(letter);
            Ok(Duration::from_millis(1))
        };
        let pairs = take_turns(2, || side('o'), || side('t')).unwrap();
        assert_eq!((pairs.ours.len(), pairs.tool.len()), (2, 2));
        assert_eq!(order.into_inner(), "ottoot");
    }
}
