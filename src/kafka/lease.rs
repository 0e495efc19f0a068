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
    lease: Arc<Mutex<Lease>>,
}

impl Default for SharedLease {
    /// Of a client that is in no group: never held.
    fn default() -> Self {
        Self { origin: Instant::now(), lease: Arc::default() }
    }
}

impl SharedLease {
    /// Whether whoever acts in this member's name may still do so.
    pub fn is_held(&self) -> bool {
        let now = self.now();
        self.lock().is_held(now)
    }

    /// For how long it is still held, as far as is known now; `None` where it is not.
    pub fn left(&self) -> Option<Duration> {
        let now = self.now();
        self.lock().left(now)
    }

    /// Whether it was held and ran out.
    pub(super) fn has_lapsed(&self) -> bool {
        let now = self.now();
        self.lock().has_lapsed(now)
    }

    /// Sets how long the coordinator waits for a sign of life. Nothing is held yet.
    pub(super) fn set_session(&self, session: Duration) {
        *self.lock() = Lease::new(session);
    }

    /// The coordinator answered, after this long.
    pub(super) fn answered(&self, broker: i32, round_trip: Duration) {
        let now = self.now();
        self.lock().answered(broker, now.saturating_sub(round_trip), now);
    }

    /// The last answer gave partitions.
    pub(super) fn begin(&self) {
        self.lock().begin();
    }

    /// The member was told that it lost its place.
    pub(super) fn lose(&self) {
        self.lock().lose();
    }

    /// Nothing is held any more.
    pub(super) fn end(&self) {
        self.lock().end();
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
