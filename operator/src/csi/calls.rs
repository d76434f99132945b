//! One call a volume at a time. CSI (Error Scheme): where an operation for a volume is pending, a plugin SHOULD
//! answer a second one with ABORTED, so that the caller tries again later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::metrics::Method;

/// Volumes with a call under way, and its method.
#[derive(Debug, Default)]
pub struct Calls {
    by_volume: Mutex<BTreeMap<String, Method>>,
}

/// Keeps others out of a volume until dropped, however the call ends.
#[derive(Debug)]
pub struct Guard {
    calls: Arc<Calls>,
    name: String,
}

impl Calls {
    /// Begins a call for a volume.
    ///
    /// # Errors
    /// [`Error::Busy`], naming the method that has it.
    pub fn enter(self: &Arc<Self>, name: &str, method: Method) -> Result<Guard, Error> {
        let mut held = self.locked();
        if let Some(holder) = held.get(name) {
            return Err(Error::Busy { name: name.to_owned(), holder: holder.as_str() });
        }
        held.insert(name.to_owned(), method);
        Ok(Guard { calls: self.clone(), name: name.to_owned() })
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Method>> {
        // Every critical section leaves the map whole.
        self.by_volume.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.calls.locked().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Calls, Method};

    #[test]
    fn a_second_call_for_a_volume_is_told_who_has_it() {
        let calls = Arc::new(Calls::default());
        let first = calls.enter("a", Method::CreateVolume).unwrap();
        let said = calls.enter("a", Method::DeleteVolume).unwrap_err().to_string();
        assert_eq!(said, "CreateVolume for a is under way");
        calls.enter("b", Method::DeleteVolume).unwrap();
        drop(first);
        calls.enter("a", Method::DeleteVolume).unwrap();
    }
}
