//! The node's disks, and what is on them: asked of blkid only when a disk came, went or changed (I8). A disk that does not
//! answer costs the others nothing but its time, once.

use std::collections::BTreeMap;
use std::path::Path;

use futures::future::join_all;
use terrace_device_types::{DeviceView, Signature};
use terrace_devices::DeviceError;

use super::{report, volume};
use crate::context::{Context, LookError};
use crate::host::Host;

/// What the last look showed.
#[derive(Debug, Default)]
pub struct Disks {
    looked: Vec<Looked>,
    fingerprint: BTreeMap<String, String>,
}

/// One disk.
#[derive(Clone, Debug)]
struct Looked {
    /// As /sys shows it.
    device: DeviceView,
    /// As the look at it showed.
    probed: DeviceView,
    /// It did not answer: asked again and again, which [`Wary`](crate::host::Wary) makes cheap.
    is_silent: bool,
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
        let is_same = |device: &DeviceView| {
            let name = device.path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| fingerprint.get(&name) == self.fingerprint.get(&name))
        };
        let before: Vec<_> = self.looked.iter().filter(|old| is_same(&old.device)).collect();
        let looks = disks.map(|device| {
            let old = before.iter().find(|old| old.device == device).copied();
            async move {
                match old {
                    Some(known) if !known.is_silent => known.clone(),
                    Some(_) | None => probe(context, device, old.is_some()).await,
                }
            }
        });
        let looked = join_all(looks).await;
        self.looked = looked;
        self.fingerprint = fingerprint;
        Ok(self.looked.iter().map(|looked| looked.probed.clone()).collect())
    }
}

async fn probe(context: &Context, device: DeviceView, is_known: bool) -> Looked {
    let asked = device.clone();
    let (error, is_silent) = match context.look(move |host| host.probe_device(asked)).await {
        Ok(Ok(probed)) => return Looked { device, probed, is_silent: false },
        Ok(Err(error)) => (report::chain(&error), matches!(error, DeviceError::Silent { .. })),
        Err(error @ LookError::Hangs { .. }) => (report::chain(&error), true),
        Err(error @ LookError::Panicked) => (report::chain(&error), false),
    };
    if !is_known {
        tracing::warn!(device = device.id, error, "a device cannot be probed");
    }
    let probed = DeviceView { signature: Signature::NotProbed, ..device.clone() };
    Looked { device, probed, is_silent }
}

/// What changes when a disk comes, goes, grows or is another one under the old name. Loop devices come and
/// go with our own volumes and are left out.
fn fingerprint(block: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(block).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let line = |name: String| {
        let read = |file: &str| std::fs::read_to_string(block.join(&name).join(file));
        let fact = |file: &str| read(file).unwrap_or_default().trim().to_owned();
        let line = format!("{} {} {}", fact("dev"), fact("size"), fact("diskseq"));
        (name, line)
    };
    names.filter(|name| !name.starts_with("loop")).map(line).collect()
}
