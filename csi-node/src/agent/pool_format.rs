//! The note that a pool's disk was blank and nobody's before its format began: by it what a killed mkfs left, which has no
//! signature yet, is told from data of a stranger. It goes as soon as the disk shows that somebody else has it.

use terrace_backends::backend;
use terrace_device_types::{DeviceFormat, DeviceView, FsType, PoolFile, Signature};

use super::Agent;
use super::pool::{Fault, remember};
use super::pool_plan::{Claim, Place};
use crate::fault::PoolWrite;
use crate::journal::{BegunFormat, Journal};
use crate::runner;

/// What becomes of the note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    /// There is none, and none is due.
    None,
    /// It is due.
    Write,
    /// It stands.
    Keep,
    /// It does not hold any more.
    Drop,
}

/// Pure: `noted` is what the journal says of this pool, `wanted` what it would say now.
fn plan(
    noted: Option<&BegunFormat>,
    wanted: &BegunFormat,
    device: &DeviceView,
    fs: FsType,
) -> Note {
    let uuid = wanted.pool.filesystem_uuid();
    let is_free = device.uses.is_empty() && !device.read_only;
    let is_ours = match &device.signature {
        Signature::Blank if is_free && noted != Some(wanted) => return Note::Write,
        Signature::Blank | Signature::Unrecognized => true,
        found @ (Signature::Filesystem { .. } | Signature::Unfinished { .. }) => {
            *found == (Signature::Filesystem { fs, uuid })
                || *found == (Signature::Unfinished { fs, uuid })
        }
        Signature::NotProbed | Signature::Other { .. } | Signature::Ambivalent => false,
    };
    match noted {
        None => Note::None,
        Some(noted) if noted == wanted && is_free && is_ours => Note::Keep,
        Some(_) => Note::Drop,
    }
}

/// Looks at the disk of a pool that is not in service yet, before mkfs may touch it.
pub(super) async fn begin(
    agent: &Agent,
    file: &PoolFile,
    place: &Place,
) -> Result<DeviceFormat, Fault> {
    let Place::Device { device, dir: _ } = place else { return Ok(DeviceFormat::NotBegun) };
    if agent.context.pools.get(file.pool_uuid).is_some() {
        return Ok(DeviceFormat::NotBegun);
    }
    let device = probe(agent, device).await?;
    let wanted = BegunFormat {
        pool: file.pool_uuid,
        name: file.pool.clone(),
        device: device.id.clone(),
        size: device.size,
    };
    let noted = noted(agent, file)?;
    Ok(match plan(noted.as_ref(), &wanted, &device, backend(file.backend).device_filesystem()) {
        Note::None => DeviceFormat::NotBegun,
        Note::Keep => DeviceFormat::Begun,
        Note::Write => {
            remember(agent, PoolWrite::Format, |journal| journal.begin_format(&wanted)).await?;
            DeviceFormat::Begun
        }
        Note::Drop => {
            forget(agent, file).await?;
            DeviceFormat::NotBegun
        }
    })
}

/// It could not be made, and the process lives: a disk that is blank still was not begun.
pub(super) async fn failed(agent: &Agent, file: &PoolFile, place: &Place, error: &runner::Error) {
    let Place::Device { device, dir: _ } = place else { return };
    if error.is_death() || !matches!(noted(agent, file), Ok(Some(_))) {
        return;
    }
    let found = probe(agent, device).await.map(|device| device.signature);
    if matches!(found, Ok(Signature::Blank))
        && let Err(error) = forget(agent, file).await
    {
        tracing::error!(error = error.chain(), pool = file.pool, "a format stays noted");
    }
}

/// Forgets notes of pools that get nothing here: the disk may be anybody's from now on.
pub(super) async fn forget_unclaimed(agent: &Agent, claims: &[Claim]) {
    let begun = agent.context.runner.journal.begun_formats().unwrap_or_default();
    let is_claimed = |begun: &BegunFormat| claims.iter().any(|claim| claim.name == begun.name);
    for BegunFormat { pool, name, .. } in begun.into_iter().filter(|begun| !is_claimed(begun)) {
        let forget = |journal: &Journal| journal.remove_pool(pool);
        if let Err(error) = remember(agent, PoolWrite::Forget, forget).await {
            tracing::error!(error = error.chain(), pool = name, "a format stays noted");
        }
    }
}

fn noted(agent: &Agent, file: &PoolFile) -> Result<Option<BegunFormat>, runner::Error> {
    let all = agent.context.runner.journal.begun_formats()?;
    Ok(all.into_iter().find(|begun| begun.pool == file.pool_uuid))
}

async fn forget(agent: &Agent, file: &PoolFile) -> Result<(), runner::Error> {
    remember(agent, PoolWrite::Forget, |journal| journal.remove_pool(file.pool_uuid)).await
}

async fn probe(agent: &Agent, device: &DeviceView) -> Result<DeviceView, Fault> {
    let asked = device.clone();
    let probed = agent.context.look(move |host| host.probe_device(asked)).await?;
    Ok(probed.map_err(runner::Error::Observe)?)
}

#[cfg(test)]
#[path = "pool_format/tests.rs"]
mod tests;
