//! What a client counts on librdkafka's own threads: bytes on the wire, throttle times, requests that timed out; and, where it is
//! in a group, its heartbeats.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::lease::Heartbeats;

/// Kafka's number for requests that write records.
const PRODUCE: i16 = 0;
/// Kafka's number for requests that read records.
const FETCH: i16 = 1;

/// Kafka's numbers for what a member of a group asks its coordinator in order to be one: to join, to be told of its share, to
/// stay; and the one request of the newer protocol that does all of this.
const MEMBERSHIP: [i16; 4] = [11, 14, 12, 68];

/// Running totals of one client. They are counted on many threads, so there are atomics and nothing else.
#[derive(Debug, Default)]
pub(super) struct Wire {
    produced: AtomicU64,
    fetched: AtomicU64,
    timed_out: AtomicU64,
    throttled_ms: AtomicU64,
    heartbeats: Option<Heartbeats>,
}

impl Wire {
    /// A request went out as a whole. One that is sent again is counted again: it takes its bandwidth twice.
    pub(super) fn request_sent(&self, api: i16, bytes: u64) {
        if api == PRODUCE {
            self.produced.fetch_add(bytes, Relaxed);
        }
    }

    /// A request ended: by its answer, or because none came in time.
    pub(super) fn response_received(&self, api: i16, bytes: u64, timed_out: bool) {
        match api {
            FETCH => drop(self.fetched.fetch_add(bytes, Relaxed)),
            PRODUCE if timed_out => drop(self.timed_out.fetch_add(1, Relaxed)),
            _ => {}
        }
    }

    /// A request was answered, and took this long.
    pub(super) fn answered(&self, api: i16, broker: i32, round_trip: Duration) {
        if let Some(heartbeats) = self.heartbeats.as_ref().filter(|_| MEMBERSHIP.contains(&api)) {
            heartbeats.answered(broker, round_trip);
        }
    }

    /// For a client that is in a group, whose answers prolong its lease.
    pub(super) fn in_group(heartbeats: Heartbeats) -> Self {
        Self { heartbeats: Some(heartbeats), ..Self::default() }
    }

    /// A broker said that it throttles.
    pub(super) fn throttled(&self, throttle: Duration) {
        self.throttled_ms.fetch_add(u64::try_from(throttle.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Bytes of the requests that write records.
    pub(super) fn produced(&self) -> u64 {
        self.produced.load(Relaxed)
    }

    /// Bytes of the answers with records.
    pub(super) fn fetched(&self) -> u64 {
        self.fetched.load(Relaxed)
    }

    /// How many requests that write records got no answer in time.
    pub(super) fn timed_out(&self) -> u64 {
        self.timed_out.load(Relaxed)
    }

    /// The throttle times that brokers spoke of, all together.
    pub(super) fn throttled_ms(&self) -> u64 {
        self.throttled_ms.load(Relaxed)
    }
}
