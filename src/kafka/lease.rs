//! A member's [`Lease`] on its clock, for all who act in its name: the client's threads prolong it, and actors look at it before
//! whatever they do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::lease::Lease;

/// A lease that threads share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedLease {
    origin: Instant,
    held: Arc<Mutex<Held>>,
}

/// The lease, and which client's it is, by a number.
#[derive(Debug, Default)]
struct Held {
    lease: Lease,
    client: u64,
}

/// What a client's heartbeats prolong. Once another client has the lease, they prolong nothing: one that is on its way out may
/// still be answered.
#[derive(Clone, Debug)]
pub(super) struct Heartbeats {
    lease: SharedLease,
    client: u64,
}

impl Heartbeats {
    /// The coordinator answered, after this long.
    pub(super) fn answered(&self, broker: i32, round_trip: Duration) {
        let now = self.lease.now();
        let mut held = self.lease.lock();
        if held.client == self.client {
            held.lease.answered(broker, now.saturating_sub(round_trip), now);
        }
    }
}

impl Default for SharedLease {
    /// Of a client that is in no group: never held.
    fn default() -> Self {
        Self { origin: Instant::now(), held: Arc::default() }
    }
}

impl SharedLease {
    /// Whether whoever acts in this member's name may still do so.
    pub fn is_held(&self) -> bool {
        let now = self.now();
        self.lock().lease.is_held(now)
    }

    /// For how long it is still held, as far as is known now; `None` where it is not.
    pub fn left(&self) -> Option<Duration> {
        let now = self.now();
        self.lock().lease.left(now)
    }

    /// Whether it was held and ran out.
    pub(super) fn has_lapsed(&self) -> bool {
        let now = self.now();
        self.lock().lease.has_lapsed(now)
    }

    /// For another client, whose coordinator waits this long for a sign of life. Nothing is held yet.
    pub(super) fn for_client(&self, session: Duration) -> Heartbeats {
        let mut held = self.lock();
        *held = Held { lease: Lease::new(session), client: held.client + 1 };
        Heartbeats { lease: self.clone(), client: held.client }
    }

    /// The last answer gave partitions.
    pub(super) fn begin(&self) {
        self.lock().lease.begin();
    }

    /// The member was told that it lost its place.
    pub(super) fn lose(&self) {
        self.lock().lease.lose();
    }

    /// Nothing is held any more.
    pub(super) fn end(&self) {
        self.lock().lease.end();
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::SharedLease;
    use std::time::Duration;

    #[test]
    fn a_client_that_was_replaced_prolongs_nothing() {
        let session = Duration::from_secs(60);
        let lease = SharedLease::default();
        let old = lease.for_client(session);
        old.answered(1, Duration::ZERO);
        lease.begin();
        assert!(lease.is_held());
        let new = lease.for_client(session);
        assert!(!lease.is_held());
        old.answered(1, Duration::ZERO);
        lease.begin();
        assert!(!lease.is_held(), "the old client's answer is no sign of the new one");
        new.answered(1, Duration::ZERO);
        lease.begin();
        assert!(lease.is_held());
    }
}
