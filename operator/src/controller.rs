//! What a controller does with its queue: each object by one reconciliation at a time, so many objects at once, and again
//! when its reconciliation asks for that. It knows no client, and keeps nothing of objects that are not due.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;

use futures::stream::{self, FuturesUnordered, Stream, StreamExt};
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::scheduler;
use kube::runtime::scheduler::ScheduleRequest;
use terrace_plan::plan::Next;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Runs until dropped. What `start` does not find is forgotten; what comes again while it is under way is due after that.
pub async fn run<K, F>(
    queue: impl Stream<Item = ObjectRef<K>>,
    at_once: usize,
    start: impl Fn(&ObjectRef<K>) -> Option<F>,
) where
    K: Resource<DynamicType = ()>,
    F: Future<Output = Next>,
{
    let (later, asked) = mpsc::unbounded_channel();
    let now = queue.map(|message| ScheduleRequest { message, run_at: Instant::now() });
    let mut due = pin!(scheduler(stream::select(now, UnboundedReceiverStream::new(asked))));
    let (mut running, mut busy) = (FuturesUnordered::new(), HashSet::new());
    loop {
        let mut free = due.as_mut().hold_unless(|object| !busy.contains(object));
        tokio::select! {
            Some(object) = free.next(), if running.len() < at_once => {
                if let Some(reconciled) = start(&object) {
                    busy.insert(object.clone());
                    running.push(async move { (object, reconciled.await) });
                }
            }
            Some((message, next)) = running.next() => {
                busy.remove(&message);
                if let Next::After(time) = next {
                    let request = ScheduleRequest { message, run_at: Instant::now() + time };
                    // Received as long as this runs.
                    drop(later.send(request));
                }
            }
            else => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, ObjectRef, run, stream};
    use futures::StreamExt;
    use std::cell::{Cell, RefCell};
    use std::time::Duration;
    use terrace_crds::StoragePool;
    use tokio::time::{Instant, sleep, timeout};

    const SECOND: Duration = Duration::from_secs(1);

    fn named(name: &str) -> ObjectRef<StoragePool> {
        ObjectRef::new(name)
    }

    /// What began when, of a queue whose objects take ten seconds each.
    async fn began(
        queue: Vec<(u64, &str)>,
        at_once: usize,
        next: impl Fn(&str) -> Next,
    ) -> Vec<(u64, String)> {
        let (start, began) = (Instant::now(), RefCell::new(Vec::new()));
        let queue = stream::iter(queue).then(|(at, name)| async move {
            tokio::time::sleep_until(start + SECOND * u32::try_from(at).unwrap()).await;
            named(name)
        });
        let reconcile = |object: &ObjectRef<StoragePool>| {
            let next = next(&object.name);
            began.borrow_mut().push((start.elapsed().as_secs(), object.name.clone()));
            (object.name != "gone").then_some(async move {
                sleep(10 * SECOND).await;
                next
            })
        };
        let all = run(Box::pin(queue.chain(stream::pending())), at_once, reconcile);
        assert!(timeout(100 * SECOND, all).await.is_err(), "it runs until dropped");
        began.into_inner()
    }

    fn times(began: &[(u64, String)], name: &str) -> Vec<u64> {
        began.iter().filter(|(_, of)| of == name).map(|(at, _)| *at).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_is_reconciled_by_one_at_a_time_and_nothing_is_lost() {
        let queue = vec![(0, "a"), (3, "a"), (4, "a"), (4, "b"), (5, "gone"), (6, "gone")];
        let began = began(queue, 16, |_| Next::Change).await;
        assert_eq!(times(&began, "a"), [0, 10], "both that came meanwhile are one");
        assert_eq!(times(&began, "b"), [4]);
        assert_eq!(times(&began, "gone"), [5, 6], "what is not there holds nobody up");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_are_under_way() {
        let began = began(vec![(0, "a"), (0, "b"), (0, "c")], 2, |_| Next::Change).await;
        let mut at: Vec<u64> = began.iter().map(|(at, _)| *at).collect();
        at.sort_unstable();
        assert_eq!(at, [0, 0, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_looked_at_again_when_it_asks_for_that() {
        let count = Cell::new(0);
        let next = |_: &str| {
            count.set(count.get() + 1);
            if count.get() < 3 { Next::After(5 * SECOND) } else { Next::Change }
        };
        assert_eq!(times(&began(vec![(0, "a")], 16, next).await, "a"), [0, 15, 30]);
    }
}
