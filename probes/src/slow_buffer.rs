//! Where events wait for whoever takes them away: bounded, and what finds no room is counted, never waited for. A slow reader of
//! stdout or a collector that is away costs events, not memory and not the probe's time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A bounded queue with one reader.
#[derive(Debug)]
pub struct Buffer<T> {
    inner: Mutex<Inner<T>>,
    filled: Notify,
    capacity: usize,
}

#[derive(Debug)]
struct Inner<T> {
    waiting: VecDeque<Arc<T>>,
    overflowed: u64,
}

impl<T> Buffer<T> {
    /// Of so many.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let inner = Inner { waiting: VecDeque::new(), overflowed: 0 };
        Self { inner: Mutex::new(inner), filled: Notify::new(), capacity }
    }

    /// Puts one at the end; counts it as overflowed if there is no room.
    pub fn push(&self, event: &Arc<T>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.waiting.len() >= self.capacity {
            inner.overflowed += 1;
            return;
        }
        inner.waiting.push_back(Arc::clone(event));
        drop(inner);
        self.filled.notify_one();
    }

    /// Up to `limit` from the front, without waiting.
    pub fn take(&self, limit: usize) -> Vec<Arc<T>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let count = limit.min(inner.waiting.len());
        let taken = inner.waiting.drain(..count).collect();
        if inner.waiting.is_empty() {
            // Memory of a storm is given back.
            inner.waiting.shrink_to(64);
        }
        taken
    }

    /// Waits until there is something.
    pub async fn filled(&self) {
        loop {
            let notified = self.filled.notified();
            if !self.inner.lock().unwrap_or_else(PoisonError::into_inner).waiting.is_empty() {
                return;
            }
            notified.await;
        }
    }

    /// How many found no room.
    pub fn overflowed(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).overflowed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Buffer;

    #[test]
    fn what_finds_no_room_is_counted_and_what_is_there_stays() {
        let buffer = Buffer::new(10_000);
        (0..10_250).for_each(|number| buffer.push(&Arc::new(number)));
        assert_eq!(buffer.overflowed(), 250);
        let taken = buffer.take(usize::MAX);
        assert_eq!((taken.len(), *taken[0], *taken[9_999]), (10_000, 0, 9_999));
        buffer.push(&Arc::new(7));
        assert_eq!((buffer.take(5).len(), buffer.overflowed()), (1, 250));
    }

    #[tokio::test]
    async fn a_reader_wakes_when_something_comes() {
        let buffer = Arc::new(Buffer::new(2));
        let reader = Arc::clone(&buffer);
        let read = tokio::spawn(async move {
            reader.filled().await;
            reader.take(1).len()
        });
        tokio::task::yield_now().await;
        buffer.push(&Arc::new(()));
        assert_eq!(read.await.unwrap(), 1);
    }
}
