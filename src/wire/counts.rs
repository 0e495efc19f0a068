//! What goes over the connections of one reader or writer. Counted on its thread, read on any.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::domain::fallback::{Fallback, Fallbacks};

/// Running totals.
#[derive(Debug, Default)]
pub(super) struct Counts {
    bytes: AtomicU64,
    timed_out: AtomicU64,
    throttled_ms: AtomicU64,
    /// The route's.
    fallbacks: Arc<Fallbacks>,
}

impl Counts {
    /// Nothing yet; what falls back is counted there.
    pub(super) fn new(fallbacks: Arc<Fallbacks>) -> Self {
        Self { fallbacks, ..Self::default() }
    }

    /// Bytes with records in them.
    pub(super) fn moved(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// So many requests had no answer in time.
    pub(super) fn timed_out(&self, requests: usize) {
        self.timed_out.fetch_add(requests as u64, Relaxed);
    }

    /// A broker said that it throttles.
    pub(super) fn throttled(&self, throttle: Duration) {
        self.throttled_ms.fetch_add(u64::try_from(throttle.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// A batch was not passed on as it is.
    pub(super) fn fell_back(&self, why: Fallback) {
        self.fallbacks.count(why);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(super) fn timeouts(&self) -> u64 {
        self.timed_out.load(Relaxed)
    }

    pub(super) fn throttled_ms(&self) -> u64 {
        self.throttled_ms.load(Relaxed)
    }
}
