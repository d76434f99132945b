//! One line of the audit: who asked for what to be destroyed, on which proof, and what came of it. No secret can be in it: steps hold none.

use serde::{Deserialize, Serialize};
use terrace_device_types::{Destruction, PoolUuid, Step, StepDone, VolumeUuid};

use super::asked::Asked;
use crate::journal::record::{Record, Subject};
use crate::operation::OpKind;
use crate::queue::schedule::OpId;

/// Longest text in a line, in bytes: names and paths are shorter, chains of errors need not be longer.
const LONGEST: usize = 1024;

/// Before the effect, or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// It is about to be done.
    Intent,
    /// It came to this.
    Result,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When it was written.
    pub time: jiff::Timestamp,
    /// On which node.
    pub node: String,
    /// In which operation.
    pub operation: OpId,
    /// Of which kind.
    pub kind: OpKind,
    /// Before or after.
    pub phase: Phase,
    /// What is done: `format`, `wipe`, `erase`, `condemn`, `remove`, `repair`.
    pub act: String,
    /// The volume or snapshot.
    pub volume: Option<VolumeUuid>,
    /// The pool.
    pub pool: Option<PoolUuid>,
    /// Name of the StorageVolume, StorageSnapshot or StoragePool.
    pub name: String,
    /// The path or device.
    pub object: String,
    /// The step in prose.
    pub step: String,
    /// Who asked.
    pub asked_by: String,
    /// What was relied on.
    pub proof: String,
    /// Of a result: `done`, `already`, or why not.
    pub result: Option<String>,
}

/// The operation that a step belongs to, as the audit tells it.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Its name.
    pub operation: OpId,
    /// What it does.
    pub kind: OpKind,
    /// To what.
    pub subject: Subject,
    /// Who asked.
    pub asked: Asked,
}

impl Cause {
    /// Of an operation that begins.
    #[must_use]
    pub fn of(record: &Record, asked: Asked) -> Self {
        let Record { id, kind, subject, steps: _, next: _, undo: _, begun: _ } = record;
        Self { operation: *id, kind: *kind, subject: subject.clone(), asked }
    }

    /// The line before `step`; none for one that destroys nothing.
    #[must_use]
    pub fn intent(&self, step: &Step, node: &str, time: jiff::Timestamp) -> Option<Entry> {
        let Destruction { act, object, volume, proven } = step.destruction()?;
        let Self { operation, kind, subject, asked } = self;
        let Subject { volume: about, pool, name, target: _, to: _ } = subject;
        let proof = match asked.proof() {
            Some(read) => format!("{read}; {proven}"),
            None => proven,
        };
        Some(Entry {
            time,
            node: node.to_owned(),
            operation: *operation,
            kind: *kind,
            phase: Phase::Intent,
            act: act.as_str().to_owned(),
            volume: volume.or(*about),
            pool: *pool,
            name: cut(name.clone()),
            object: cut(object),
            step: cut(step.to_string()),
            asked_by: cut(asked.by(name)),
            proof: cut(proof),
            result: None,
        })
    }
}

impl Entry {
    /// The line after it.
    #[must_use]
    pub fn ended(self, result: Result<StepDone, String>, time: jiff::Timestamp) -> Self {
        let result = match result {
            Ok(StepDone::Changed) => "done".to_owned(),
            Ok(StepDone::Already) => "already".to_owned(),
            Err(why) => cut(format!("failed: {why}")),
        };
        Self { time, phase: Phase::Result, result: Some(result), ..self }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
