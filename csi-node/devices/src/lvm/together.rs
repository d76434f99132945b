//! Logical volumes of one group that operations make and remove at the same time: one `lvm` and one look for all of them. Whether each may be made or removed its own
//! step has proven before it comes here, and its operation holds the volume until it has its answer.

use terrace_device_types::StepDone;
use terrace_device_types::lvm::{GroupRef, NewVolume, VgUuid};

use super::Lvm;
use super::create::Each;
use super::lane::Lanes;
use super::remove::Removal;
use crate::host::Host;
use crate::{Deadline, DeviceError};

static LANES: Lanes<VgUuid, Wanted, Each> = Lanes::new();

/// How long what a killed lvm left may take to end.
const CLEARING: std::time::Duration = std::time::Duration::from_secs(30);

/// A change of one logical volume.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Create(Box<NewVolume>),
    Remove(Removal),
}

/// One that is asked for.
struct Wanted {
    change: Change,
    deadline: Deadline,
}

/// Makes or removes a logical volume, with those of the group that others make and remove meanwhile.
pub(super) fn carry_out(
    host: &Host,
    group: &VgUuid,
    change: Change,
    deadline: Deadline,
) -> Result<StepDone, DeviceError> {
    let lvm = Lvm::here(host)?;
    let wanted = Wanted { change, deadline };
    let done = LANES.join(group, wanted, |all| each(&lvm, group, &all));
    done.unwrap_or(Err(DeviceError::Bug { why: "whoever did it for all of them did not end" }))
}

/// Together; what is wrong with all of them (the group, or the words of one) is told to each by a try of its own.
fn each(lvm: &Lvm, group: &VgUuid, all: &[Wanted]) -> Vec<Each> {
    // The first has to be back first.
    let first = all.iter().map(|wanted| wanted.deadline).min_by_key(Deadline::left);
    let Some(deadline) = first else { return Vec::new() };
    match together(lvm, group, all, deadline) {
        Ok(each) => each,
        Err(error) if all.len() == 1 => vec![Err(error)],
        Err(DeviceError::Deadline { doing, .. }) => {
            all.iter().map(|wanted| Err(wanted.deadline.passed(doing))).collect()
        }
        Err(_) => all.iter().map(|wanted| alone(lvm, group, wanted)).collect(),
    }
}

fn alone(lvm: &Lvm, group: &VgUuid, wanted: &Wanted) -> Each {
    let why = "one change has one answer";
    let mut one = together(lvm, group, std::slice::from_ref(wanted), wanted.deadline)?;
    one.pop().unwrap_or(Err(DeviceError::Bug { why }))
}

/// On a group whose devices are looked for now. A command that had to be killed may have left devices suspended, for which every other command would wait.
fn together(
    lvm: &Lvm,
    group: &VgUuid,
    all: &[Wanted],
    deadline: Deadline,
) -> Result<Vec<Each>, DeviceError> {
    let members = lvm.members(group)?;
    let done = change_all(lvm, &members, all, deadline);
    if let Err(DeviceError::Deadline { .. }) = &done {
        // What can't be cleared now the pool's next pass sees.
        let _later = lvm.clear_leftovers(&members, Deadline::after(CLEARING));
    }
    done
}

/// What goes makes room for what comes.
fn change_all(
    lvm: &Lvm,
    group: &GroupRef,
    all: &[Wanted],
    deadline: Deadline,
) -> Result<Vec<Each>, DeviceError> {
    let (mut removals, mut new) = (Vec::new(), Vec::new());
    for Wanted { change, deadline: _ } in all {
        match change {
            Change::Create(volume) => new.push((**volume).clone()),
            Change::Remove(removal) => removals.push(removal.clone()),
        }
    }
    let removed = match &removals[..] {
        [] => Vec::new(),
        removals => lvm.remove_volumes(group, removals, deadline)?.each,
    };
    let created = match &new[..] {
        [] => Vec::new(),
        new => lvm.create_volumes(group, new, deadline)?.each,
    };
    let (mut removed, mut created) = (removed.into_iter(), created.into_iter());
    let answers = all.iter().map(|Wanted { change, deadline: _ }| match change {
        Change::Create(_) => created.next(),
        Change::Remove(_) => removed.next(),
    });
    let why = "lvm's answers are fewer than what was asked";
    Ok(answers.map(|answer| answer.unwrap_or(Err(DeviceError::Bug { why }))).collect())
}
