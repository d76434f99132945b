//! Stage: the stage record, then the subvolume bound to the staging path, then the layout.

use terrace_device_types::{
    Access, BindOptions, FormatRefusal, Latch, LayoutView, MountPoint, Refusal, RequestRefusal,
    Step, UseRefusal, View,
};

use super::{subvolume_of, volume_dir};
use crate::check::{self, OurImage};
use crate::planner::Staging;
use crate::staging::{refuse_second_stage, stage_record};

/// Bound at the target.
pub(super) fn plan_stage(wanted: &Staging<'_>, view: &View) -> Result<Vec<Step>, Refusal> {
    check::validate_path(wanted.target)?;
    let ours = check::require_image(view, wanted.volume, wanted.cluster)?;
    ours.require_volume("stage")?;
    ours.require_ready("stage")?;
    if ours.tag.mode != wanted.mode {
        let (tagged, asked) = (ours.tag.mode, wanted.mode);
        return Err(RequestRefusal::OtherMode { tagged, asked }.into());
    }
    validate_whole(ours)?;
    let options = bind_options(wanted.options)?;
    refuse_second_stage(wanted.target, ours, view)?;
    let mut steps: Vec<Step> = stage_record(wanted.target, ours, view).into_iter().collect();
    match view.mount_at(wanted.target) {
        Some(mount) => validate_bound(wanted, mount, view)?,
        None => steps.push(Step::BindMount {
            from: volume_dir(ours),
            to: wanted.target.to_owned(),
            access: Access::ReadWrite,
            options: BindOptions::Only { options },
        }),
    }
    let layout = view.volume.filesystem.as_ref().map(|filesystem| filesystem.layout);
    if layout != Some(LayoutView::Present) {
        steps.push(Step::MakeLayout { mount: wanted.target.to_owned() });
    }
    Ok(steps)
}

/// In service it has its subvolume; if somebody took that away, an empty one in its place would look like the data is gone for good.
fn validate_whole(ours: OurImage<'_>) -> Result<(), Refusal> {
    if subvolume_of(ours).is_some() {
        return Ok(());
    }
    let expected = match &ours.tag.latch {
        Latch::Formatted { filesystem } => *filesystem,
        Latch::None | Latch::Formatting { .. } => ours.tag.volume.filesystem_uuid(),
    };
    let image = ours.image.path.clone();
    Err(FormatRefusal::Lost { image, expected, found: "no subvolume".to_owned() }.into())
}

fn validate_bound(wanted: &Staging<'_>, mount: &MountPoint, view: &View) -> Result<(), Refusal> {
    if view.is_of_volume(mount) {
        return Ok(());
    }
    let (target, found) = (wanted.target.to_owned(), mount.source.clone());
    Err(UseRefusal::TargetOccupied { target, found }.into())
}

/// What is asked, less `ro` and `rw` (they belong to publishing), plus relatime. The filesystem is shared, so only what a mount of its own can have is passed on.
fn bind_options(asked: &[String]) -> Result<Vec<String>, Refusal> {
    const OWN: [&str; 8] = [
        "nodev",
        "nosuid",
        "noexec",
        "noatime",
        "nodiratime",
        "relatime",
        "strictatime",
        "nosymfollow",
    ];
    /// Defaults, and words meant for mount(8) and init.
    const IDLE: [&str; 13] = [
        "", "ro", "rw", "defaults", "dev", "suid", "exec", "diratime", "async", "auto", "noauto",
        "nofail", "_netdev",
    ];
    let mut options: Vec<String> = Vec::new();
    for option in asked.iter().map(String::as_str) {
        if OWN.contains(&option) {
            options.push(option.to_owned());
        } else if !IDLE.contains(&option) && !option.starts_with("x-") {
            return Err(RequestRefusal::MountOption { option: option.to_owned() }.into());
        }
    }
    let atime = ["noatime", "relatime", "strictatime"];
    if !options.iter().any(|option| atime.contains(&option.as_str())) {
        options.push("relatime".to_owned());
    }
    options.sort();
    options.dedup();
    Ok(options)
}
