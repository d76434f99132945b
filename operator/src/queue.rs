//! What puts objects on a controller's queue: signals of caches, gathered for a moment. A signal says that
//! something changed, never what: the plan looks at the whole world anyway, and nothing can be missed.

use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use crate::cache::observed::Observed;

/// Every object that `pick` chooses, after any of the signals, at most once every `gather`.
pub fn on_change<K>(
    signals: Vec<watch::Receiver<u64>>,
    cache: Observed<K>,
    gather: Duration,
    pick: impl Fn(&K) -> Pick + Clone,
) -> impl Stream<Item = ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let signals = stream::select_all(signals.into_iter().map(WatchStream::new));
    ticks(signals.boxed(), gather).flat_map(move |()| {
        let pick = pick.clone();
        // Not under the cache's lock: who picks may look at the world.
        stream::iter(cache.all()).filter_map(move |object| {
            let picked = pick(&object);
            async move {
                // Ten thousand looks in a row would keep a thread from everything else.
                tokio::task::consume_budget().await;
                match picked {
                    Pick::Take => Some(ObjectRef::from_obj(&*object)),
                    Pick::Leave => None,
                }
            }
        })
    })
}

/// Whether an object goes on the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// It does.
    Take,
    /// It does not.
    Leave,
}

/// One tick for all signals that arrive within `gather` of the first.
pub(crate) fn ticks(signals: BoxStream<'static, u64>, gather: Duration) -> impl Stream<Item = ()> {
    stream::unfold(signals, move |mut signals| async move {
        signals.next().await?;
        tokio::time::sleep(gather).await;
        while let Some(Some(_)) = futures::FutureExt::now_or_never(signals.next()) {}
        Some(((), signals))
    })
}

#[cfg(test)]
mod tests {
    use super::{Duration, StreamExt, WatchStream, stream, ticks, watch};

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_one_tick_and_a_later_change_another() {
        let (signal, changed) = watch::channel(0_u64);
        let signals = stream::select_all([WatchStream::new(changed)]).boxed();
        let mut ticks = std::pin::pin!(ticks(signals, Duration::from_millis(50)));
        for _ in 0..100 {
            signal.send_modify(|count| *count += 1);
        }
        ticks.next().await.unwrap();
        let quiet = tokio::time::timeout(Duration::from_secs(60), ticks.next()).await;
        assert!(quiet.is_err(), "no tick without a change");
        signal.send_modify(|count| *count += 1);
        ticks.next().await.unwrap();
    }
}
