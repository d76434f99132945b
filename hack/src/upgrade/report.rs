//! What was done and what came of it, as a table.

use std::fmt;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::run::Progress;

/// One step.
struct Row {
    what: String,
    seconds: f64,
    result: String,
}

/// The rows so far.
pub(crate) struct Report<'a> {
    progress: &'a Progress,
    rows: Vec<Row>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(progress: &'a Progress) -> Self {
        Self { progress, rows: Vec::new() }
    }

    /// Does it and notes how it went; an error is passed on, so that it ends the run.
    pub(crate) fn step<T: Into<String>>(
        &mut self,
        what: &str,
        act: impl FnOnce() -> Result<T>,
    ) -> Result<()> {
        self.progress.say(what);
        let start = Instant::now();
        let done: Result<String> = act().map(Into::into);
        let result = match &done {
            Ok(said) => said.clone(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        let seconds = start.elapsed().as_secs_f64();
        self.rows.push(Row { what: what.to_owned(), seconds, result });
        done.map(drop)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "{:52} {:>8}  result", "step", "seconds")?;
        self.rows.iter().try_for_each(|Row { what, seconds, result }| {
            writeln!(to, "{what:52} {seconds:8.1}  {result}")
        })
    }
}

/// The writer's own account of one volume, as a sentence; a failed write or a block that is not there is an error.
pub(crate) fn judge(line: &str) -> Result<String> {
    let told: Value = serde_json::from_str(line.trim()).context("the writer's account")?;
    let number = |key: &str| told[key].as_u64().with_context(|| format!("{key} is not told"));
    let (blocks, failures, wrong) =
        (number("acknowledged")?, number("failures")?, number("wrong")?);
    let account = format!(
        "{blocks} blocks acknowledged, {failures} I/O errors, {wrong} wrong, longest pause {} ms",
        number("longestPauseMs")?
    );
    ensure!(failures + wrong == 0, "{account}; the first: {}", told["first"]);
    ensure!(blocks > 0, "nothing was written");
    Ok(account)
}

#[cfg(test)]
mod tests {
    use super::{Report, judge};
    use crate::run::Progress;

    #[test]
    fn an_account_without_fault_is_a_sentence() {
        let line = r#"{"acknowledged":12,"failures":0,"wrong":0,"longestPauseMs":40,"first":null}"#;
        let said = "12 blocks acknowledged, 0 I/O errors, 0 wrong, longest pause 40 ms";
        assert_eq!(judge(line).unwrap(), said);
    }

    #[test]
    fn a_failed_write_a_lost_block_and_an_idle_writer_are_errors() {
        for (counts, part) in [
            (r#""acknowledged":12,"failures":1,"wrong":0"#, "1 I/O errors"),
            (r#""acknowledged":12,"failures":0,"wrong":1"#, "1 wrong"),
            (r#""acknowledged":0,"failures":0,"wrong":0"#, "nothing was written"),
        ] {
            let line = format!("{{{counts},\"longestPauseMs\":4,\"first\":\"block 3: zeros\"}}");
            let error = judge(&line).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(judge("{}").is_err());
    }

    #[test]
    fn a_failed_step_is_in_the_table_and_ends_the_run() {
        let progress = Progress::start();
        let mut report = Report::new(&progress);
        report.step("one", || Ok("done")).unwrap();
        let failed = report.step::<String>("two", || anyhow::bail!("no room"));
        assert!(failed.is_err());
        let table = report.to_string();
        assert!(table.contains("one") && table.contains("done"), "{table}");
        assert!(table.contains("FAILED: no room"), "{table}");
    }
}
