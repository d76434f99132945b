//! Waits for an outcome by watching: every change of the cache is looked at, and nothing is asked again and
//! again. The wait ends with the call's deadline; what it waited for goes on.

use std::future::Future;
use std::sync::Arc;

use kube::Resource;
use tokio::time::{Instant, timeout_at};

use crate::cache::observed::Observed;
use crate::error::Error;

/// Waits until `judge` finds an answer in what the cache shows of the object `name` with this UID.
///
/// # Errors
/// What `judge` says; [`Error::Leaving`] and [`Error::Changed`] for an object that is on its way out or gone;
/// [`Error::Deadline`] with `what` was waited for.
pub async fn wait_for<K: Resource<DynamicType = ()> + Clone + 'static, T>(
    cache: &Observed<K>,
    (name, uid): (&str, &str),
    deadline: Instant,
    what: &str,
    mut judge: impl FnMut(&K) -> Option<Result<T, Error>>,
) -> Result<T, Error> {
    let mut changed = cache.changed();
    let mut seen = false;
    loop {
        changed.borrow_and_update();
        let named = || name.to_owned();
        let answer = match look(cache, name, uid) {
            Some(object) if object.meta().deletion_timestamp.is_some() => {
                Some(Err(Error::Leaving { name: named() }))
            }
            Some(object) => {
                seen = true;
                judge(&object)
            }
            None => seen.then(|| Err(Error::Changed { name: named() })),
        };
        if let Some(answer) = answer {
            return answer;
        }
        let late = || Error::Deadline { waiting: format!("{name}: {what}") };
        let waited = timeout_at(deadline, changed.changed()).await;
        // The sender lives as long as the watch; without it no answer can come.
        if !matches!(waited, Ok(Ok(()))) {
            return Err(late());
        }
    }
}

/// The object, if it is the one that is waited for: another one may have its name by now.
fn look<K: Resource<DynamicType = ()> + Clone + 'static>(
    cache: &Observed<K>,
    name: &str,
    uid: &str,
) -> Option<Arc<K>> {
    cache.get(name).filter(|object| object.meta().uid.as_deref() == Some(uid))
}

/// Waits until the object `name` with this UID is gone. Gone is what the API server says; the cache only says when to ask.
///
/// # Errors
/// [`Error::Deadline`] with who `waits` says has to act; what `read` says.
pub async fn gone<K, F>(
    cache: &Observed<K>,
    (name, uid): (&str, &str),
    deadline: Instant,
    read: impl Fn() -> F,
    waits: impl Fn(&K) -> String,
) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
    F: Future<Output = Result<Option<K>, Error>>,
{
    let mut changed = cache.changed();
    let is_it = |object: &K| object.meta().uid.as_deref() == Some(uid);
    loop {
        // Taken before looking: whatever happens from here on wakes the wait below.
        changed.borrow_and_update();
        let told = look(cache, name, uid).is_some();
        if !told && !read().await?.is_some_and(|object| is_it(&object)) {
            return Ok(());
        }
        if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
            let who = cache.get(name).map(|object| waits(&object));
            let who = who.unwrap_or_else(|| "the API server to tell that it is gone".to_owned());
            return Err(Error::Deadline { waiting: format!("{name}: {who}") });
        }
    }
}
