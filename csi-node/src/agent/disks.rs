//! The node's disks, and what is on them: asked of blkid only when a disk came, went or changed (I8). A disk that does not
//! answer costs the others nothing but its time, once.

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
}

/// One disk.
#[derive(Clone, Debug)]
struct Looked {
    /// As /sys shows it, with the number that is another one once another disk has its name.
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
        let found = context.look(Host::devices).await?.map_err(volume::Error::Observe)?;
        // The kubelet puts a loop device of its own on every raw volume it hands out; that is no disk.
        let kubelets = format!("loop:{}/", context.kubelet_dir.display());
        let disks = found.into_iter().filter(|device| !device.id.starts_with(&kubelets));
        let before = &self.looked;
        let looks = disks.map(|device| {
            let old = before.iter().find(|old| old.device == device);
            async move {
                match old {
                    Some(known) if !known.is_silent => known.clone(),
                    Some(_) | None => probe(context, device, old.is_some()).await,
                }
            }
        });
        let looked = join_all(looks).await;
        self.looked = looked;
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
