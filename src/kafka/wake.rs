//! How a client's thread sleeps: until somebody has work for it, or a deadline.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// An inbox that wakes its one reader. Items come from actors and from librdkafka's threads.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    items: Mutex<Vec<T>>,
    filled: Condvar,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { items: Mutex::new(Vec::new()), filled: Condvar::new() }
    }
}

impl<T> Inbox<T> {
    /// Adds an item and wakes the reader.
    pub(super) fn push(&self, item: T) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        self.filled.notify_one();
    }

    /// Takes everything, in order; waits up to `timeout` for the first item.
    pub(super) fn take(&self, into: &mut Vec<T>, timeout: Duration) {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut items, _) = self
            .filled
            .wait_timeout_while(items, timeout, |items| items.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        into.append(&mut items);
    }
}
