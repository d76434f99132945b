//! Our own lvm.conf: nothing of the host's is read, nothing outside waits for udev, a daemon or a bus, nothing but what the call names is looked at.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::DeviceError;

/// Other people's devices, and our own volumes: never a physical volume unless the call names them.
const REJECTED: &str = r#""r|^/dev/loop|", "r|^/dev/dm-|", "r|^/dev/mapper/|", "r|^/dev/drbd|", "r|^/dev/rbd|", "r|^/dev/zd|""#;

/// The locks are where the host's own lvm has them: the two wait for each other.
const SETTINGS: &str = r#"devices {
  dir = "/dev"
  obtain_device_list_from_udev = 0
  external_device_info_source = "none"
  use_devicesfile = 0
  hints = "none"
  scan_lvs = 0
  md_component_detection = 1
  multipath_component_detection = 1
  issue_discards = 0
}
allocation { thin_pool_chunk_size_policy = "generic" }
activation {
  udev_sync = 0
  udev_rules = 0
  verify_udev_operations = 0
  monitoring = 0
  error_when_full = 1
  thin_pool_autoextend_threshold = 100
}
backup {
  backup = 0
  archive = 0
}
global {
  use_lvmlockd = 0
  use_lvmpolld = 0
  notify_dbus = 0
  event_activation = 0
  locking_dir = "/run/lock/lvm"
  wait_for_locks = 1
}
report { output_format = "json" }
"#;

/// Numbers the folders of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Makes the folder anew.
pub(super) fn prepare(dir: &Path) -> Result<(), DeviceError> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(DeviceError::io("clear", dir, source));
        }
        Ok(()) | Err(_) => {}
    }
    write(dir, "/dev", &format!("[{REJECTED}, \"a|.*|\"]"))
}

fn write(dir: &Path, scan: &str, filter: &str) -> Result<(), DeviceError> {
    let path = dir.join("lvm.conf");
    let text = format!(
        "{SETTINGS}devices {{\n  scan = \"{scan}\"\n  filter = {filter}\n  global_filter = {filter}\n}}\n"
    );
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, text))
        .map_err(|source| DeviceError::io("write", &path, source))
}

/// A configuration for one process that runs many commands: there `--devices` can't be said (lvm 2.03.16 crashes at the second command), so the
/// filter lets the named devices through and no other. It goes away with this value.
pub(super) struct Narrow {
    pub(super) dir: PathBuf,
}

impl Narrow {
    /// For commands that name devices.
    pub(super) fn new(dir: &Path, devices: &[PathBuf]) -> Result<Self, DeviceError> {
        let own = Self::next(dir);
        write(&own.dir, "/dev", &accepting(devices)?)?;
        Ok(own)
    }

    /// For commands that name none: they look for devices among links to these. Each command looks again, and at several hundred volumes, with three names below
    /// /dev each, the look takes longer than what it is for.
    pub(super) fn linked(dir: &Path, devices: &[PathBuf]) -> Result<Self, DeviceError> {
        let own = Self::next(dir);
        let links = own.dir.join("dev");
        fs::create_dir_all(&links).map_err(|source| DeviceError::io("make", &links, source))?;
        for (number, device) in devices.iter().enumerate() {
            let link = links.join(number.to_string());
            symlink(device, &link).map_err(|source| DeviceError::io("link", &link, source))?;
        }
        let all = literal(&links)?;
        write(&own.dir, &links.display().to_string(), &format!("[\"a|^{all}/|\", \"r|.*|\"]"))?;
        Ok(own)
    }

    fn next(dir: &Path) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { dir: dir.join(format!("call-{number}")) }
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        // What can't be removed now goes when the next process begins.
        let _left = fs::remove_dir_all(&self.dir);
    }
}

fn accepting(devices: &[PathBuf]) -> Result<String, DeviceError> {
    let mut filter = String::from("[");
    for device in devices {
        filter.push_str(&format!("\"a|^{}$|\", ", literal(device)?));
    }
    filter.push_str("\"r|.*|\"]");
    Ok(filter)
}

/// A path as a regular expression of LVM's that is only this path.
fn literal(device: &Path) -> Result<String, DeviceError> {
    let why = "a device whose path LVM's filter can't name";
    let text = device.to_str().ok_or(DeviceError::Bug { why })?;
    let mut literal = String::new();
    for c in text.chars() {
        match c {
            '.' | '+' => literal.extend(['[', c, ']']),
            _ if c.is_ascii_alphanumeric() || "/_-:@,=".contains(c) => literal.push(c),
            _ => return Err(DeviceError::Bug { why }),
        }
    }
    Ok(literal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_devices_pass_and_what_a_filter_cannot_name_is_refused() {
        let devices = ["/dev/sdb".into(), "/dev/disk/by-id/a.b".into()];
        assert_eq!(
            accepting(&devices).unwrap(),
            r#"["a|^/dev/sdb$|", "a|^/dev/disk/by-id/a[.]b$|", "r|.*|"]"#
        );
        for bad in ["/dev/a b", "/dev/a|b", "/dev/a\"b", "/dev/a*"] {
            assert!(accepting(&[bad.into()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_an_earlier_process_left_goes_and_each_call_has_its_own() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("lvm");
        fs::create_dir_all(dir.join("call-7")).unwrap();
        prepare(&dir).unwrap();
        assert!(!dir.join("call-7").exists() && dir.join("lvm.conf").exists());
        let one = Narrow::linked(&dir, &["/dev/sdb".into()]).unwrap();
        let two = Narrow::new(&dir, &["/dev/sdc".into()]).unwrap();
        assert_ne!(one.dir, two.dir);
        let gone = one.dir.clone();
        drop(one);
        assert!(!gone.exists() && two.dir.exists());
    }
}
