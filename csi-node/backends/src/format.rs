//! Formatted once (I2): the only place that may plan mkfs on a volume. Everything else is refused with what was found.

use terrace_device_types::{
    DeviceRef, FormatGuard, FormatRefusal, FsType, FsUuid, Latch, OperationId, Refusal, Signature,
    StageState, Step,
};

use crate::check::OurImage;

/// What must happen to the image's format before it can be mounted.
pub(crate) struct Formatting {
    /// The steps: none, the latch alone, or latch, mkfs, latch.
    pub(crate) steps: Vec<Step>,
    /// The filesystem it carries then.
    pub(crate) uuid: FsUuid,
    /// Whether what is mounted was made just now.
    pub(crate) age: Age,
}

/// Whether a filesystem may hold anything.
#[derive(PartialEq, Eq, Clone, Copy)]
pub(crate) enum Age {
    /// Made in this plan.
    Fresh,
    /// It was there.
    Old,
}

/// Decides by latch, stage record and signature. The order of the arms is the rule.
pub(crate) fn plan_format(
    ours: OurImage<'_>,
    device: &DeviceRef,
    fs: FsType,
    signature: &Signature,
    operation: &OperationId,
) -> Result<Formatting, Refusal> {
    let path = || ours.image.path.clone();
    if *signature == Signature::NotProbed {
        return Err(FormatRefusal::NotProbed { image: path() }.into());
    }
    let uuid = match &ours.tag.latch {
        Latch::Formatted { filesystem } => return plan_formatted(ours, fs, *filesystem, signature),
        Latch::None | Latch::Formatting { .. } => ours.tag.volume.filesystem_uuid(),
    };
    if let Some(from) = ours.tag.source {
        return Err(FormatRefusal::HasSource { image: path(), from }.into());
    }
    if ours.tag.stage != StageState::Never {
        return Err(FormatRefusal::EverStaged { image: path() }.into());
    }
    let whole = Signature::Filesystem { fs, uuid };
    let partial = Signature::Unfinished { fs, uuid };
    match &ours.tag.latch {
        Latch::Formatting { .. } if *signature == whole => {
            Ok(Formatting { steps: vec![latch_formatted(ours, uuid)], uuid, age: Age::Old })
        }
        Latch::Formatting { .. }
            if *signature == partial || *signature == Signature::Unrecognized =>
        {
            Ok(make(ours, device, fs, uuid, operation))
        }
        _ if *signature == Signature::Blank => Ok(make(ours, device, fs, uuid, operation)),
        Latch::None | Latch::Formatting { .. } | Latch::Formatted { .. } => {
            Err(FormatRefusal::NotBlank { image: path(), found: signature.to_string() }.into())
        }
    }
}

fn plan_formatted(
    ours: OurImage<'_>,
    fs: FsType,
    uuid: FsUuid,
    signature: &Signature,
) -> Result<Formatting, Refusal> {
    if *signature == (Signature::Filesystem { fs, uuid }) {
        return Ok(Formatting { steps: Vec::new(), uuid, age: Age::Old });
    }
    let (image, found) = (ours.image.path.clone(), signature.to_string());
    Err(FormatRefusal::Lost { image, expected: uuid, found }.into())
}

fn make(
    ours: OurImage<'_>,
    device: &DeviceRef,
    fs: FsType,
    uuid: FsUuid,
    operation: &OperationId,
) -> Formatting {
    let (image, volume) = (ours.image.path.clone(), ours.tag.volume);
    let begun = Latch::Formatting { operation: operation.clone() };
    let steps = vec![
        Step::WriteLatch { image: image.clone(), volume, latch: begun },
        Step::MakeFilesystem {
            device: device.clone(),
            fs,
            uuid,
            guard: FormatGuard::Latch { image, volume },
        },
        latch_formatted(ours, uuid),
    ];
    Formatting { steps, uuid, age: Age::Fresh }
}

fn latch_formatted(ours: OurImage<'_>, filesystem: FsUuid) -> Step {
    let (image, volume) = (ours.image.path.clone(), ours.tag.volume);
    Step::WriteLatch { image, volume, latch: Latch::Formatted { filesystem } }
}
