//! Growing a mounted filesystem to the device it is on, and proving it. Pure.

use std::path::Path;

use terrace_device_types::{Bytes, DeviceRef, FilesystemView, Grown, Step, View, VolumeMode};

/// The mounted filesystem, where it does not span what a device of `size` lets it.
pub(crate) fn plan_filesystem(
    device: &DeviceRef,
    mode: VolumeMode,
    size: Bytes,
    view: &View,
) -> Vec<Step> {
    let VolumeMode::Filesystem { fs } = mode else { return Vec::new() };
    match &view.volume.filesystem {
        Some(FilesystemView { mounted: Some(mount), spans, .. }) if *spans < fs.reachable(size) => {
            grow_steps(device, mount, Grown { fs, device_size: size })
        }
        Some(_) | None => Vec::new(),
    }
}

/// Grow by ioctl, then prove it.
pub(crate) fn grow_steps(device: &DeviceRef, mount: &Path, grown: Grown) -> Vec<Step> {
    let mount = mount.to_owned();
    vec![
        Step::GrowFilesystem { mount: mount.clone(), fs: grown.fs, device: device.clone() },
        Step::ProveSize { mount, device: device.clone(), grown },
    ]
}
