//! The node's disks, and what is on them: asked of blkid only when a disk came, went or changed (I8). A disk that does not
//! answer costs the others nothing but its time, once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use terrace_device_types::{DeviceView, Signature};

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
#[derive(Debug)]
struct Looked {
    /// As /sys shows it.
    device: DeviceView,
    /// As the look at it showed.
    probed: DeviceView,
    /// For a look that was given up: turns true when it comes to an end after all.
    ended: Option<Arc<AtomicBool>>,
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
        let mut before = std::mem::take(&mut self.looked);
        before.retain(|old| is_same(&old.device) && !old.is_to_be_asked_again());
        for device in disks {
            let looked = match before.iter().position(|old| old.device == device) {
                Some(at) => before.swap_remove(at),
                None => probe(context, device).await,
            };
            self.looked.push(looked);
        }
        self.fingerprint = fingerprint;
        Ok(self.looked.iter().map(|looked| looked.probed.clone()).collect())
    }
}

impl Looked {
    fn is_to_be_asked_again(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.load(Ordering::Relaxed))
    }
}

async fn probe(context: &Context, device: DeviceView) -> Looked {
    let (asked, ended) = (device.clone(), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&ended);
    let look = move |host: &dyn Host| {
        let probed = host.probe_device(asked);
        told.store(true, Ordering::Relaxed);
        probed
    };
    let (error, ended) = match context.look(look).await {
        Ok(Ok(probed)) => return Looked { device, probed, ended: None },
        Ok(Err(error)) => (report::chain(&error), None),
        Err(error @ LookError::Hangs { .. }) => (report::chain(&error), Some(ended)),
        Err(error @ LookError::Panicked) => (report::chain(&error), None),
    };
    tracing::warn!(device = device.id, error, "a device cannot be probed");
    let probed = DeviceView { signature: Signature::NotProbed, ..device.clone() };
    Looked { device, probed, ended }
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
