//! How fast a source may be read: one limit for all that read it, in bytes as they go over the network.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::now;
use super::flow::Lane;
use super::pacer::Limit;
use crate::domain::bandwidth::WireRatio;
use crate::domain::batch::Permit;
use crate::kafka::{Permits, Reader};

/// The limit, as the consumers of one reader see it.
#[derive(Clone)]
pub struct ReadLimit {
    limit: Limit,
    state: Arc<Mutex<State>>,
    reader: Option<Arc<dyn Reader>>,
}

#[derive(Debug, Default)]
struct State {
    ratio: WireRatio,
    payload: u64,
}

impl ReadLimit {
    /// A limit that no reader reads under yet.
    pub fn new(limit: Limit) -> Self {
        Self { limit, state: Arc::default(), reader: None }
    }

    /// The same limit, for what this reader reads: once per reader, whose consumers share it.
    #[must_use]
    pub fn of(&self, reader: &Arc<dyn Reader>) -> Self {
        Self { limit: self.limit.clone(), state: Arc::default(), reader: Some(reader.clone()) }
    }

    /// Permits of `bytes` for batches that are not asked for: as long as nothing limits how fast is read. The reader itself must not be
    /// in it, or it would keep itself.
    pub fn lends(limit: Option<&Self>, lane: &Lane, bytes: u64) -> Permits {
        let (lane, limit) = (lane.clone(), limit.map(|read| read.limit.clone()));
        Arc::new(move || {
            let waits_for_turns = limit.as_ref().is_some_and(|limit| limit.rate().is_some());
            let permit = if waits_for_turns { None } else { lane.try_acquire(bytes) };
            permit.map(|permit| Box::new(permit) as Box<dyn Permit>)
        })
    }

    /// The most bytes to read in one go, of payload.
    pub fn part(&self) -> u64 {
        let wire = self.limit.bucket().part();
        self.state().ratio.payload_of(wire)
    }

    /// Takes a place for what is about to be read, first come, first served: how long to wait for it, and what it was
    /// charged.
    pub fn reserve(&self, payload: u64) -> (Duration, u64) {
        let wire = self.state().ratio.charge(payload);
        let mut bucket = self.limit.bucket();
        let wait = bucket.wait(now());
        bucket.take(now(), wire);
        (wait, wire)
    }

    /// Settles what was taken against what was read.
    pub fn settle(&self, taken: u64, payload: u64) {
        let wire = {
            let mut state = self.state();
            state.payload += payload;
            let (total, read) = (state.payload, self.reader.as_ref().map_or(0, |reader| reader.wire_bytes()));
            state.ratio.observe(total, read);
            state.ratio.charge(payload)
        };
        let mut bucket = self.limit.bucket();
        bucket.refund(taken);
        bucket.take(now(), wire);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::flow::{Flow, Gate, Urgency};

    #[test]
    fn a_reader_has_permits_at_hand_unless_there_is_a_limit() {
        let limit = Limit::new("read", None);
        let read = ReadLimit::new(limit.clone());
        let lane = Lane::new(&Arc::<Flow>::default(), [Gate::new(150)], Urgency::Live);
        let permits = ReadLimit::lends(Some(&read), &lane, 100);
        let first = permits().unwrap();
        assert_eq!((first.bytes(), permits().is_none()), (100, true), "there is room for one");
        drop(first);
        limit.set_rate(Some(1_000_000));
        assert!(permits().is_none(), "who is limited waits for a turn");
        limit.set_rate(None);
        assert!(permits().is_some());
    }
}
