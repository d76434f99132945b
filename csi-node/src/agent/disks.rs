//! The node's disks, and what is on them: asked of blkid only when a disk came, went or changed (I8). A disk that does not
//! answer costs the others nothing but its time, once.

use std::path::Path;

use terrace_device_types::{DeviceView, Signature};

use super::{report, volume};
use crate::context::Context;
use crate::host::Host;

/// What the last look showed.
#[derive(Debug, Default)]
pub struct Disks {
    /// Each as /sys shows it, and as a look at it showed.
    devices: Vec<(DeviceView, DeviceView)>,
    fingerprint: Vec<String>,
}

impl Disks {
    /// Looks again; gives every disk.
    ///
    /// # Errors
    /// If the host does not list them.
    pub async fn look(&mut self, context: &Context) -> Result<Vec<DeviceView>, volume::Error> {
        let fingerprint = fingerprint(Path::new("/sys/class/block"));
        let found = context.look(Host::devices).await?.map_err(volume::Error::Observe)?;
        // The kubelet puts a loop device of its own on every raw volume it hands out; that is no disk.
        let kubelets = format!("loop:{}/", context.kubelet_dir.display());
        let disks = found.into_iter().filter(|device| !device.id.starts_with(&kubelets));
        let mut before = std::mem::take(&mut self.devices);
        if fingerprint != self.fingerprint {
            before.clear();
        }
        self.fingerprint = fingerprint;
        for device in disks {
            let probed = match before.iter().find(|(old, _)| *old == device) {
                Some((_, probed)) => probed.clone(),
                None => probe(context, &device).await,
            };
            self.devices.push((device, probed));
        }
        Ok(self.devices.iter().map(|(_, probed)| probed.clone()).collect())
    }
}

async fn probe(context: &Context, device: &DeviceView) -> DeviceView {
    let asked = device.clone();
    let error = match context.look(move |host| host.probe_device(asked)).await {
        Ok(Ok(probed)) => return probed,
        Ok(Err(error)) => report::chain(&error),
        Err(error) => report::chain(&error),
    };
    tracing::warn!(device = device.id, error, "a device cannot be probed");
    DeviceView { signature: Signature::NotProbed, ..device.clone() }
}

/// What changes when a disk comes, goes, grows or is another one under the old name. Loop devices come and
/// go with our own volumes and are left out.
fn fingerprint(block: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(block).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let line = |name: String| {
        let read = |file: &str| std::fs::read_to_string(block.join(&name).join(file));
        let fact = |file: &str| read(file).unwrap_or_default().trim().to_owned();
        format!("{name} {} {} {}", fact("dev"), fact("size"), fact("diskseq"))
    };
    let mut lines: Vec<String> = names.filter(|name| !name.starts_with("loop")).map(line).collect();
    lines.sort();
    lines
}
