//! Work on one thing that comes at the same time is done together: whoever comes first does it, and those who come meanwhile are done together next. Each gets an answer
//! of its own. It knows no LVM.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most that is done together, so that the first of them does not wait long for the last.
const MOST: usize = 64;

type Waiting<T, R> = VecDeque<(T, Sender<Turn<R>>)>;

/// What somebody who waits is told.
enum Turn<R> {
    /// Do it, for all who wait by now; you are the first of them.
    Yours,
    /// It is done.
    Done(R),
}

/// A lane for each thing; there while somebody works on it.
pub(super) struct Lanes<K, T, R>(Mutex<BTreeMap<K, Waiting<T, R>>>);

impl<K: Ord + Clone, T, R> Lanes<K, T, R> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Has `item` done, by `work` of this caller or of another one; `work` answers each item, in their order. `None`: it did not, or panicked.
    pub(super) fn join(&self, key: &K, item: T, work: impl FnOnce(Vec<T>) -> Vec<R>) -> Option<R> {
        let (tell, told) = channel();
        let mut lanes = self.lock();
        match lanes.get_mut(key) {
            None => {
                lanes.insert(key.clone(), VecDeque::from([(item, tell)]));
            }
            Some(waiting) => {
                waiting.push_back((item, tell));
                drop(lanes);
                match told.recv() {
                    Ok(Turn::Done(answer)) => return Some(answer),
                    Ok(Turn::Yours) => {}
                    Err(_) => return None,
                }
                lanes = self.lock();
            }
        }
        let next = Next { lanes: self, key };
        let waiting = lanes.get_mut(key)?;
        let together = waiting.len().min(MOST);
        let (items, tells): (Vec<T>, Vec<_>) = waiting.drain(..together).unzip();
        drop(lanes);
        let mut answers = work(items).into_iter();
        let own = answers.next();
        for (tell, answer) in tells.iter().skip(1).zip(answers) {
            // Whoever waits waits until told.
            let _told = tell.send(Turn::Done(answer));
        }
        drop(next);
        own
    }

    /// Never held while work is done, so a panic leaves it whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Waiting<T, R>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// However the work ends, the next one begins.
struct Next<'a, K: Ord + Clone, T, R> {
    lanes: &'a Lanes<K, T, R>,
    key: &'a K,
}

impl<K: Ord + Clone, T, R> Drop for Next<'_, K, T, R> {
    fn drop(&mut self) {
        let mut lanes = self.lanes.lock();
        match lanes.get(self.key).and_then(VecDeque::front) {
            Some((_, first)) => {
                let _told = first.send(Turn::Yours);
            }
            None => {
                lanes.remove(self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::thread;

    use super::Lanes;

    type Numbers = Lanes<u8, u32, u32>;

    fn waiting(lanes: &Numbers, key: u8) -> usize {
        lanes.lock().get(&key).map_or(0, std::collections::VecDeque::len)
    }

    fn until(lanes: &Numbers, many: usize) {
        while waiting(lanes, 1) < many {
            thread::yield_now();
        }
    }

    #[test]
    fn what_comes_meanwhile_is_done_together_and_each_gets_its_own_answer() {
        let (lanes, batches) = (Arc::new(Numbers::new()), Arc::new(AtomicUsize::new(0)));
        let (go, wait) = channel::<()>();
        let (begun, begins) = channel();
        let first = thread::spawn({
            let lanes = Arc::clone(&lanes);
            move || {
                lanes.join(&1, 0, |items| {
                    begun.send(()).unwrap();
                    wait.recv().unwrap();
                    items.into_iter().map(|item| item + 100).collect()
                })
            }
        });
        begins.recv().unwrap();
        let others: Vec<_> = (1..=16)
            .map(|item| {
                let (lanes, batches) = (Arc::clone(&lanes), Arc::clone(&batches));
                thread::spawn(move || {
                    let work = |items: Vec<u32>| {
                        batches.fetch_add(1, Ordering::SeqCst);
                        items.into_iter().map(|item| item + 100).collect()
                    };
                    (item, lanes.join(&1, item, work))
                })
            })
            .collect();
        until(&lanes, 16);
        assert_eq!(lanes.join(&2, 7, |items| items), Some(7), "another lane is free");
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap(), Some(100));
        for other in others {
            let (item, answer) = other.join().unwrap();
            assert_eq!(answer, Some(item + 100));
        }
        assert_eq!(batches.load(Ordering::SeqCst), 1);
        assert!(lanes.lock().is_empty(), "nothing is left behind");
    }

    #[test]
    fn whoever_panics_does_not_keep_the_others_waiting() {
        let lanes = Arc::new(Numbers::new());
        let (go, wait) = channel::<()>();
        let (begun, begins) = channel();
        let first = thread::spawn({
            let lanes = Arc::clone(&lanes);
            move || {
                lanes.join(&1, 0, |_| {
                    begun.send(()).unwrap();
                    wait.recv().unwrap();
                    panic!("a bug")
                })
            }
        });
        begins.recv().unwrap();
        let second = thread::spawn({
            let lanes = Arc::clone(&lanes);
            move || lanes.join(&1, 5, |items| items)
        });
        until(&lanes, 1);
        go.send(()).unwrap();
        assert!(first.join().is_err());
        assert_eq!(second.join().unwrap(), Some(5));
    }
}
