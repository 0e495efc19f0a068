//! How fast a target may be written: the nested limits of the config, and the rate to which its broker throttles it.
//!
//! Limits count bytes as they go over the network. What a part will be there is only known once it is compressed, so it
//! is charged by what the parts before it came to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::bandwidth::{Bucket, Pace, Urgency, WireRatio};

/// A limit of the config; all whom it is for share it.
#[derive(Clone, Debug)]
pub struct Limit {
    name: String,
    bucket: Arc<Mutex<Bucket>>,
}

impl Limit {
    /// A limit of `rate` bytes per second, by a name for people.
    pub fn new(name: impl Into<String>, rate: u64) -> Self {
        Self { name: name.into(), bucket: Arc::new(Mutex::new(Bucket::new(rate))) }
    }

    pub(super) fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why nothing may be written right now, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// How long.
    pub wait: Duration,
    /// Why, for people.
    pub reason: String,
}

/// The pace of one target of one route.
#[derive(Debug)]
pub struct Pacer {
    limits: Vec<Limit>,
    pace: Pace,
    ratio: WireRatio,
    /// Payload that was acknowledged, and what was sent for it.
    acknowledged: u64,
    sent: u64,
    /// Since when parts of each urgency wait.
    waiting: [Option<Duration>; 2],
}

impl Pacer {
    /// A pace under these limits, all of which have to allow a part.
    pub fn new(limits: Vec<Limit>) -> Self {
        Self {
            limits,
            pace: Pace::default(),
            ratio: WireRatio::default(),
            acknowledged: 0,
            sent: 0,
            waiting: [None; 2],
        }
    }

    /// Whether a part has to wait. `None`: it may go.
    pub fn delay(&mut self, now: Duration, urgency: Urgency) -> Option<Delay> {
        let since = &mut self.waiting[usize::from(urgency == Urgency::CatchUp)];
        let waited = since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let broker = self.pace.wait(now, urgency, waited);
        let mut longest = Delay { wait: broker, reason: String::new() };
        let mut by = None;
        for limit in &self.limits {
            let wait = limit.bucket().wait(now, urgency, waited);
            if wait > longest.wait {
                longest.wait = wait;
                by = Some(limit);
            }
        }
        if longest.wait.is_zero() {
            *since = None;
            return None;
        }
        since.get_or_insert(now);
        longest.reason = match by {
            Some(limit) => {
                format!("{} allows {}", limit.name, limit.bucket().rate().map_or_else(String::new, show_rate))
            }
            None => self.throttled_by_broker(),
        };
        Some(longest)
    }

    /// Why the broker's throttling slows this target down.
    pub fn throttled_by_broker(&self) -> String {
        match self.pace.limit() {
            Some(rate) => format!("its broker throttles it, to about {}", show_rate(rate)),
            None => "its broker throttles it".to_owned(),
        }
    }

    /// The most bytes of memory that go in one part.
    pub fn part(&self) -> u64 {
        let limits = self.limits.iter().map(|limit| limit.bucket().part());
        self.ratio.payload_of(limits.fold(self.pace.part(), u64::min))
    }

    /// The most bytes of memory that may be with the writer, out of `window`: where the broker throttles, two seconds'
    /// worth, or requests would wait in the client until they time out.
    pub fn window(&self, window: u64) -> u64 {
        const LEAST: u64 = 64 << 10;
        self.pace.limit().map_or(window, |rate| self.ratio.payload_of(rate * 2).clamp(LEAST.min(window), window))
    }

    /// Notes that a part of this many payload bytes goes.
    pub fn took(&mut self, now: Duration, payload: u64) {
        let wire = self.ratio.charge(payload);
        self.pace.take(now, wire);
        for limit in &self.limits {
            limit.bucket().take(now, wire);
        }
    }

    /// Notes that payload bytes were acknowledged, when the client has sent `wire` bytes in all.
    pub fn acknowledged(&mut self, now: Duration, payload: u64, wire: u64) {
        self.acknowledged += payload;
        self.ratio.observe(self.acknowledged, wire);
        self.tick(now, wire);
    }

    /// Notes that time goes by: what was throttled is sped up again.
    pub fn tick(&mut self, now: Duration, wire: u64) {
        self.pace.sent(now, wire.saturating_sub(self.sent));
        self.sent = wire;
    }

    /// Notes what the broker said of throttling; zero: it has stopped.
    pub fn throttled(&mut self, now: Duration, throttle: Duration) {
        self.pace.throttled(now, throttle);
    }

    /// Whether the broker throttles, or has lately.
    pub fn is_throttled(&self, now: Duration) -> bool {
        self.pace.is_throttled(now)
    }
}

/// A rate for people.
pub fn show_rate(rate: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // for people
    let rate = rate as f64;
    let (unit, size) = [("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| rate >= f64::from(1_u32 << shift))
        .unwrap_or(("B", 0));
    let number = format!("{:.1}", rate / f64::from(1_u32 << size));
    format!("{}{unit}/s", number.strip_suffix(".0").unwrap_or(&number))
}
