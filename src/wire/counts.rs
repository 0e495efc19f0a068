//! What goes over the connections of one reader or writer. Counted on its thread, read on any.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Why a batch was opened that could have been passed on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It was read from its middle on.
    Resumed,
    /// Compaction has left some of its records only.
    Thinned,
    /// Its records are stamped with the time at which the broker wrote them.
    AppendTime,
    /// It is so small that a request of its own would cost more.
    Small,
    /// It is larger than the target topic takes.
    TooLarge,
    /// Its records belong to several partitions.
    Spread,
    /// Only some of its records are to be written.
    Cut,
}

/// How many there are.
const WHYS: usize = 7;

/// Running totals.
#[derive(Debug, Default)]
pub(super) struct Counts {
    bytes: AtomicU64,
    timed_out: AtomicU64,
    throttled_ms: AtomicU64,
    opened: [AtomicU64; WHYS],
}

impl Counts {
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

    /// A batch was opened.
    pub(super) fn opened(&self, why: Why) {
        self.opened[why as usize].fetch_add(1, Relaxed);
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
