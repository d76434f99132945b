//! One kind as last told by a watch, in the order of names: one list, which whoever asks shares. Of Kubernetes' own objects
//! only what decisions look at is kept, the objects are let go as they arrive: a PersistentVolume is some ten times as large.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event};
use terrace_plan::listed::Listed;
use tokio::sync::watch;

/// A namespace, empty where the kind has none, and a name in it.
pub type Key<'a> = (&'a str, &'a str);

/// What is kept of one kind.
#[derive(Debug)]
pub struct Observed<T> {
    all: Arc<Mutex<Listed<T>>>,
    key: fn(&T) -> Key<'_>,
    changed: watch::Receiver<u64>,
    synced: watch::Receiver<Synced>,
}

impl<T> Clone for Observed<T> {
    fn clone(&self) -> Self {
        let Self { all, key, changed, synced } = self;
        let (changed, synced) = (changed.clone(), synced.clone());
        Self { all: Arc::clone(all), key: *key, changed, synced }
    }
}

/// Whether a full list has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Synced {
    Not,
    Once,
}

/// How an object is looked at, and the key of what was seen.
pub struct Look<K, T> {
    /// `None`: nothing of it is kept.
    pub see: fn(&K) -> Option<T>,
    /// The object's key.
    pub key: fn(&T) -> Key<'_>,
}

impl<T> Observed<T> {
    /// Everything, as last told.
    #[must_use]
    pub fn all(&self) -> Listed<T> {
        locked(&self.all).clone()
    }

    /// The one of this name; for kinds without a namespace.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<T>> {
        self.at(("", name))
    }

    fn at(&self, key: Key<'_>) -> Option<Arc<T>> {
        let all = locked(&self.all);
        let at = all.binary_search_by(|there| (self.key)(there).cmp(&key)).ok()?;
        Some(Arc::clone(&all[at]))
    }

    /// A signal that fires after a change of what is kept. Take it before reading, or a change may be missed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Ends when the first full list has arrived.
    pub async fn synced(&self) {
        // The sender lives as long as the watch task; if it is gone, so is the process's reason to be ready.
        if self.synced.clone().wait_for(|synced| *synced == Synced::Once).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl<K: Resource<DynamicType = ()>> Observed<K> {
    /// The object that is meant.
    #[must_use]
    pub fn find(&self, object: &ObjectRef<K>) -> Option<Arc<K>> {
        self.at((object.namespace.as_deref().unwrap_or_default(), &object.name))
    }
}

/// The key of an object.
pub fn key_of<K: Resource>(object: &K) -> Key<'_> {
    let meta = object.meta();
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// Fills it from a stream of watch events, in a task of its own.
pub fn observe<K, T, S>(events: S, look: Look<K, T>) -> Observed<T>
where
    K: Resource<DynamicType = ()> + Debug + Send + 'static,
    T: PartialEq + Send + Sync + 'static,
    S: Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
{
    let (signal, changed) = watch::channel(0);
    let (told, synced) = watch::channel(Synced::Not);
    let all = Arc::new(Mutex::new(Listed::default()));
    let key = look.key;
    let mut filling = Filling { all: Arc::clone(&all), new: Vec::new(), look };
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::InitDone) => {
                    filling.end_list();
                    told.send_replace(Synced::Once);
                    signal.send_modify(|count| *count += 1);
                }
                Ok(event) => {
                    if filling.take(&event) == Changed::Yes {
                        signal.send_modify(|count| *count += 1);
                    }
                }
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "watch broke; it is taken up again")
                }
            }
        }
    });
    Observed { all, key, changed, synced }
}

/// Whether what is kept is another now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changed {
    Yes,
    No,
}

struct Filling<K, T> {
    /// In the order of their keys.
    all: Arc<Mutex<Listed<T>>>,
    /// A list that is not complete yet.
    new: Vec<Arc<T>>,
    look: Look<K, T>,
}

impl<K: Resource, T: PartialEq> Filling<K, T> {
    fn take(&mut self, event: &Event<K>) -> Changed {
        match event {
            Event::Init => self.new = Vec::new(),
            Event::InitApply(object) => self.new.extend((self.look.see)(object).map(Arc::new)),
            Event::InitDone => self.end_list(),
            Event::Apply(object) => return self.put(key_of(object), (self.look.see)(object)),
            Event::Delete(object) => return self.put(key_of(object), None),
        }
        Changed::No
    }

    fn end_list(&mut self) {
        let mut new = std::mem::take(&mut self.new);
        new.sort_by(|a, b| (self.look.key)(a).cmp(&(self.look.key)(b)));
        new.shrink_to_fit();
        *locked(&self.all) = Listed::from(new);
    }

    fn put(&self, key: Key<'_>, seen: Option<T>) -> Changed {
        let mut all = locked(&self.all);
        let at = all.binary_search_by(|there| (self.look.key)(there).cmp(&key));
        match (at, seen) {
            (Ok(at), Some(seen)) if *all[at] == seen => return Changed::No,
            (Ok(at), Some(seen)) => all.edit()[at] = Arc::new(seen),
            (Ok(at), None) => drop(all.edit().remove(at)),
            (Err(at), Some(seen)) => all.edit().insert(at, Arc::new(seen)),
            (Err(_), None) => return Changed::No,
        }
        Changed::Yes
    }
}

fn locked<T>(all: &Mutex<Listed<T>>) -> std::sync::MutexGuard<'_, Listed<T>> {
    // Every critical section leaves the list whole.
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Changed, Event, Filling, Listed, Look, Mutex};
    use k8s_openapi::api::core::v1::Node;
    use serde_json::{from_value, json};
    use std::sync::Arc;
    use terrace_plan::observe::observe_host;
    use terrace_plan::world::{Host, HostState};

    fn node(name: &str, ready: &str, beat: &str) -> Node {
        let conditions = [json!({"type": "Ready", "status": ready, "lastHeartbeatTime": beat})];
        let status = json!({"conditions": conditions});
        from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()
    }

    fn names(of: &Filling<Node, Host>) -> Vec<(String, HostState)> {
        of.all.lock().unwrap().iter().map(|host| (host.name.clone(), host.state)).collect()
    }

    #[test]
    fn what_is_seen_the_same_is_no_change() {
        let look =
            Look { see: |node| Some(observe_host(node)), key: |host: &Host| ("", &host.name) };
        let all = Arc::new(Mutex::new(Listed::default()));
        let mut filling: Filling<Node, Host> = Filling { all, new: Vec::new(), look };
        let (b, a) =
            (node("b", "True", "2026-11-22T10:00:00Z"), node("a", "True", "2026-11-22T10:00:00Z"));
        for event in [Event::Init, Event::InitApply(b), Event::InitApply(a)] {
            assert_eq!(filling.take(&event), Changed::No);
        }
        assert!(names(&filling).is_empty(), "half a list is not told");
        filling.end_list();
        let ready = |name: &str| (name.to_owned(), HostState::Ready);
        assert_eq!(names(&filling), [ready("a"), ready("b")]);
        let beat = node("a", "True", "2026-11-22T10:05:00Z");
        assert_eq!(filling.take(&Event::Apply(beat)), Changed::No);
        let ill = node("a", "False", "2026-11-22T10:05:00Z");
        assert_eq!(filling.take(&Event::Apply(ill)), Changed::Yes);
        assert_eq!(names(&filling), [("a".into(), HostState::NotReady), ready("b")]);
        let (c, gone) =
            (node("c", "True", "2026-11-22T10:06:00Z"), node("b", "True", "2026-11-22T10:06:00Z"));
        for event in [Event::Apply(c), Event::Delete(gone.clone())] {
            assert_eq!(filling.take(&event), Changed::Yes);
        }
        assert_eq!(filling.take(&Event::Delete(gone)), Changed::No);
        assert_eq!(names(&filling), [("a".into(), HostState::NotReady), ready("c")]);
    }
}
