//! What the node counts. Labels come from closed enums only, so the number of series is bounded.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::operation::OpKind;
use crate::queue::{Entry, EntryState};

/// Series of one operation kind and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    kind: &'static str,
    outcome: &'static str,
}

/// Series of one kind of step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

/// The node's figures. Cheap to clone: all clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    operations: Family<Ended, Counter>,
    steps: Family<StepLabel, Histogram, fn() -> Histogram>,
    retries: Family<StepLabel, Counter>,
    waiting: Gauge,
    running: Gauge,
    journal_open: Gauge,
    journal_set_aside: Counter,
    api_writes: Counter,
}

/// From a system call to a mkfs on a slow disk: 0.25 ms to 65 s.
fn step_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 4.0, 10))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All figures at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            operations: Family::default(),
            steps: Family::new_with_constructor(step_buckets),
            retries: Family::default(),
            waiting: Gauge::default(),
            running: Gauge::default(),
            journal_open: Gauge::default(),
            journal_set_aside: Counter::default(),
            api_writes: Counter::default(),
        }
    }

    /// An operation is over.
    pub fn operation(&self, kind: OpKind, outcome: &'static str) {
        self.operations.get_or_create(&Ended { kind: kind.as_str(), outcome }).inc();
    }

    /// A step took so long.
    pub fn step(&self, step: &'static str, took: Duration) {
        self.steps.get_or_create(&StepLabel { step }).observe(took.as_secs_f64());
    }

    /// A step is tried again.
    pub fn retry(&self, step: &'static str) {
        self.retries.get_or_create(&StepLabel { step }).inc();
    }

    /// A journal could not be read and was set aside.
    pub fn journal_set_aside(&self) {
        self.journal_set_aside.inc();
    }

    /// Something was written to the API server.
    pub fn api_write(&self) {
        self.api_writes.inc();
    }

    /// Writes to the API server so far.
    #[must_use]
    pub fn api_writes(&self) -> u64 {
        self.api_writes.get()
    }

    /// Everything as OpenMetrics text; `queue` and `journal_open` are looked up at this moment.
    ///
    /// # Errors
    /// Only if a `String` cannot be written to.
    pub fn encode(&self, queue: &[Entry], journal_open: usize) -> Result<String, std::fmt::Error> {
        let count = |state| queue.iter().filter(|entry| entry.state == state).count();
        self.waiting.set(gauge(count(EntryState::Waiting)));
        self.running.set(gauge(count(EntryState::Running) + count(EntryState::Hangs)));
        self.journal_open.set(gauge(journal_open));
        let mut page = String::new();
        text::encode(&mut page, &self.registry())?;
        Ok(page)
    }

    fn registry(&self) -> Registry {
        let Self {
            operations,
            steps,
            retries,
            waiting,
            running,
            journal_open,
            journal_set_aside,
            api_writes,
        } = self.clone();
        let mut all = Registry::with_prefix("terrace_node");
        all.register("operations", "Operations that ended, by outcome", operations);
        let help = "Time one step of an operation took";
        all.register_with_unit("step_duration", help, Unit::Seconds, steps);
        all.register("step_retries", "Steps that were tried again", retries);
        all.register("operations_waiting", "Operations that wait for their turn", waiting);
        all.register("operations_running", "Operations that run", running);
        all.register("journal_open", "Operations the journal knows as not over", journal_open);
        let help = "Journals that could not be read and were set aside";
        all.register("journal_set_aside", help, journal_set_aside);
        all.register("api_writes", "Writes to the API server", api_writes);
        all
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Metrics, OpKind};

    #[test]
    fn a_page_names_what_was_counted() {
        let metrics = Metrics::new();
        metrics.operation(OpKind::Stage, "ok");
        metrics.step("mount", Duration::from_millis(3));
        metrics.journal_set_aside();
        let page = metrics.clone().encode(&[], 2).expect("text");
        for line in [
            "terrace_node_operations_total{kind=\"stage\",outcome=\"ok\"} 1",
            "terrace_node_step_duration_seconds_count{step=\"mount\"} 1",
            "terrace_node_journal_set_aside_total 1",
            "terrace_node_journal_open 2",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}
