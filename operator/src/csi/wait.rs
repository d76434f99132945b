//! Waits for an outcome by watching: every change of the cache is looked at, and nothing is asked again and
//! again. The wait ends with the call's deadline; what it waited for goes on.

use std::sync::Arc;

use terrace_crds::StorageVolume;
use tokio::time::{Instant, timeout_at};

use crate::cache::Cache;
use crate::error::Error;

/// What the cache shows of one volume.
#[derive(Clone, Debug)]
pub enum Sight {
    /// The watch has not told of it yet.
    NotYet,
    /// As last told.
    Here(Arc<StorageVolume>),
    /// It was there and is gone, or another one has its name.
    Gone,
}

/// Waits until `judge` finds an answer in what the cache shows of the volume `name` with this UID.
///
/// # Errors
/// What `judge` says, or [`Error::Deadline`] with `what` was waited for.
pub async fn wait_for<T>(
    cache: &Cache<StorageVolume>,
    (name, uid): (&str, &str),
    deadline: Instant,
    what: &str,
    mut judge: impl FnMut(Sight) -> Option<Result<T, Error>>,
) -> Result<T, Error> {
    let mut changed = cache.changed();
    let mut seen = false;
    loop {
        changed.borrow_and_update();
        let sight = look(cache, name, uid, seen);
        seen |= matches!(sight, Sight::Here(_));
        if let Some(answer) = judge(sight) {
            return answer;
        }
        let late = || Error::Deadline { waiting: format!("volume {name}: {what}") };
        let waited = timeout_at(deadline, changed.changed()).await;
        // The sender lives as long as the watch; without it no answer can come.
        if !matches!(waited, Ok(Ok(()))) {
            return Err(late());
        }
    }
}

fn look(cache: &Cache<StorageVolume>, name: &str, uid: &str, seen: bool) -> Sight {
    match cache.get(name) {
        Some(volume) if volume.metadata.uid.as_deref() == Some(uid) => Sight::Here(volume),
        Some(_) | None if seen => Sight::Gone,
        Some(_) | None => Sight::NotYet,
    }
}
