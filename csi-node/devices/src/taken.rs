//! When the bytes of a snapshot were taken. Looks, changes nothing.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::DeviceError;

/// The moment at which a snapshot got its bytes: nothing writes to its image, or into its directory, from then on, while tags, names and links move
/// the change time alone. So a restart, and a retry, read the same.
///
/// # Errors
/// When it is gone.
pub fn observe_taken(object: &Path) -> Result<SystemTime, DeviceError> {
    let status = fs::symlink_metadata(object).and_then(|status| status.modified());
    status.map_err(|source| DeviceError::io("stat", object, source))
}
