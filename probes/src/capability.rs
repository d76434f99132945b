//! Gives up what is needed to attach and no longer after. Capabilities belong to a thread: this runs while there is only one,
//! and those that come later inherit what it left.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// Why something was kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not say what this process may do.
    #[error("read this process' capabilities")]
    Read(#[source] rustix::io::Errno),
    /// The kernel does not let go of them.
    #[error("drop this process' capabilities")]
    Drop(#[source] rustix::io::Errno),
    /// Programs it starts could gain more.
    #[error("refuse new privileges")]
    NoNewPrivileges(#[source] rustix::io::Errno),
}

/// Keeps `keep` of what this process has, drops all else for good.
///
/// # Errors
/// [`Error`]; then nothing is known of what is left.
pub fn keep_only(keep: CapabilitySet) -> Result<CapabilitySet, Error> {
    let CapabilitySets { effective: _, permitted, inheritable: _ } =
        capabilities(None).map_err(Error::Read)?;
    let kept = permitted & keep;
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(Error::Drop)?;
    set_no_new_privs(true).map_err(Error::NoNewPrivileges)?;
    Ok(kept)
}

/// What is still needed after attaching on a kernel of this release, as `uname -r` tells it: before Linux 5.19, with
/// `kernel.unprivileged_bpf_disabled` set, even reading a map by its descriptor wants CAP_BPF; before 5.8 there was none.
#[must_use]
pub fn needed_after_attach(release: &str) -> CapabilitySet {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 19) => CapabilitySet::empty(),
        (Some(Ok(_)), _) | (Some(Err(_)) | None, _) => CapabilitySet::BPF,
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CapabilitySet, capabilities};

    use super::{keep_only, needed_after_attach};

    #[test]
    fn what_is_dropped_does_not_come_back() {
        // A thread of its own: the other tests keep theirs.
        let dropped = std::thread::spawn(|| {
            keep_only(CapabilitySet::empty()).unwrap();
            let left = capabilities(None).unwrap();
            let child = std::thread::spawn(|| capabilities(None).unwrap()).join().unwrap();
            (left, child)
        });
        let (left, child) = dropped.join().unwrap();
        assert!(left.effective.is_empty() && left.permitted.is_empty(), "{left:?}");
        assert!(child.effective.is_empty() && child.permitted.is_empty(), "{child:?}");
    }

    #[test]
    fn old_kernels_want_one_capability_to_read_maps() {
        assert!(needed_after_attach("6.18.44").is_empty());
        assert!(needed_after_attach("5.19.0-1-amd64").is_empty());
        assert_eq!(needed_after_attach("5.15.0-91-generic"), CapabilitySet::BPF);
        assert_eq!(needed_after_attach("odd"), CapabilitySet::BPF);
    }
}
