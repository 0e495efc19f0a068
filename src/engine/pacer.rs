//! How fast a target may be written: the nested limits of the config, and the rate to which its broker throttles it.
//!
//! Limits count bytes as they go over the network. What a part will be there is only known once it is compressed, so it
//! is charged by what the parts before it came to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::now;
use super::counts::Brake;
use crate::domain::bandwidth::{Bucket, Pace, Urgency, WireRatio, show_rate};

/// A limit of the config; all whom it is for share it.
#[derive(Clone, Debug)]
pub struct Limit {
    name: String,
    bucket: Arc<Mutex<Bucket>>,
}

impl Limit {
    /// A limit of `rate` bytes per second, by a name for people; `None` is without limit for now.
    pub fn new(name: impl Into<String>, rate: Option<u64>) -> Self {
        let bucket = rate.map_or_else(Bucket::default, Bucket::new);
        Self { name: name.into(), bucket: Arc::new(Mutex::new(bucket)) }
    }

    /// Bytes per second; `None` is without limit.
    pub fn rate(&self) -> Option<u64> {
        self.bucket().rate()
    }

    /// Changes the rate, for all whom it is for, from now on.
    pub fn set_rate(&self, rate: Option<u64>) {
        self.bucket().set_rate(now(), rate);
    }

    pub(super) fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why nothing may be written right now, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// How long.
    pub wait: Duration,
    /// Why.
    pub why: Why,
}

/// What slows a target down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// This limit of its limits.
    Limit(usize),
    /// Its broker throttles it.
    Broker,
    /// What is live goes first.
    LiveFirst,
}

impl Why {
    /// What it is counted for: what is live goes first only where a limit leaves nothing to spare.
    pub fn brake(self) -> Brake {
        match self {
            Self::Limit(_) | Self::LiveFirst => Brake::Limit,
            Self::Broker => Brake::Broker,
        }
    }
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
    /// Since when a part that catches up waits.
    waiting: Option<Duration>,
    /// The place that the next part has in all limits.
    reserved: Option<Reserved>,
}

/// A part's place. It is taken before it is there, first come, first served: or whoever wakes up first would have it, and
/// that could be the same one every time.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    at: Duration,
    wire: u64,
    /// Which limit makes it wait.
    by: Option<usize>,
}

/// Who catches up waits until nobody else wants to go, but not for longer than this: then it takes a place as well.
const PATIENCE: Duration = Duration::from_secs(1);

impl Pacer {
    /// A pace under these limits, all of which have to allow a part.
    pub fn new(limits: Vec<Limit>) -> Self {
        Self {
            limits,
            pace: Pace::default(),
            ratio: WireRatio::default(),
            acknowledged: 0,
            sent: 0,
            waiting: None,
            reserved: None,
        }
    }

    /// Whether a part has to wait. `None`: it may go.
    pub fn delay(&mut self, now: Duration, urgency: Urgency) -> Option<Delay> {
        let broker = self.pace.wait(now);
        let reserved = match (self.reserved, urgency) {
            (Some(reserved), _) => reserved,
            (None, _) if self.limits.is_empty() => Reserved { at: now, wire: 0, by: None },
            (None, Urgency::CatchUp) if self.is_patient(now) => match self.idle_in(now) {
                wait if wait.is_zero() => self.reserve(now),
                wait => return Some(Delay { wait, why: Why::LiveFirst }),
            },
            (None, _) => self.reserve(now),
        };
        let wait = reserved.at.saturating_sub(now);
        if wait.max(broker).is_zero() {
            self.waiting = None;
            return None;
        }
        let why = reserved.by.filter(|_| wait >= broker).map_or(Why::Broker, Why::Limit);
        Some(Delay { wait: wait.max(broker), why })
    }

    /// What slows the target down, for people.
    pub fn word(&self, why: Why) -> String {
        match why {
            Why::Limit(at) => self.limits.get(at).map_or_else(String::new, |limit| {
                format!("{} allows {}", limit.name, limit.bucket().rate().map_or_else(String::new, show_rate))
            }),
            Why::Broker => match self.pace.limit() {
                Some(rate) => format!("its broker throttles it, to about {}", show_rate(rate)),
                None => "its broker throttles it".to_owned(),
            },
            Why::LiveFirst => "what is live goes first".to_owned(),
        }
    }

    /// Whether a part that catches up still lets others go first.
    fn is_patient(&mut self, now: Duration) -> bool {
        now.saturating_sub(*self.waiting.get_or_insert(now)) < PATIENCE
    }

    /// How long until all limits have something to spare.
    fn idle_in(&self, now: Duration) -> Duration {
        let waits = self.limits.iter().map(|limit| limit.bucket().spare_in(now));
        waits.fold(Duration::ZERO, Duration::max)
    }

    /// Takes a place in all limits.
    fn reserve(&mut self, now: Duration) -> Reserved {
        let wire = self.limits.iter().map(|limit| limit.bucket().part()).min().unwrap_or(u64::MAX);
        let mut reserved = Reserved { at: now, wire, by: None };
        for (index, limit) in self.limits.iter().enumerate() {
            let mut bucket = limit.bucket();
            let at = now + bucket.wait(now);
            if at > reserved.at {
                (reserved.at, reserved.by) = (at, Some(index));
            }
            bucket.take(now, wire);
        }
        *self.reserved.insert(reserved)
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
        let reserved = self.reserved.take().map_or(0, |reserved| reserved.wire);
        for limit in &self.limits {
            let mut bucket = limit.bucket();
            bucket.refund(reserved);
            bucket.take(now, wire);
        }
    }

    /// Notes that payload goes that nobody asked for a place: what was refused goes again, or something goes in its place.
    pub fn took_more(&mut self, now: Duration, payload: u64) {
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

    /// Notes what the client has sent in all. To be called now and then with the same as well: what was throttled is sped
    /// up as time goes by.
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

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Senders that always have something to send, woken by timers of a millisecond: bytes per second of each.
    fn play(senders: &mut [(Pacer, Urgency)], time: Duration) -> Vec<u64> {
        const TICK: Duration = Duration::from_millis(1);
        let (start, mut now) = (Duration::from_secs(100), Duration::from_secs(100));
        let mut due = vec![start; senders.len()];
        let mut sent = vec![0; senders.len()];
        while now < start + time {
            for (at, (pacer, urgency)) in senders.iter_mut().enumerate() {
                while due[at] <= now {
                    match pacer.delay(now, *urgency) {
                        None => {
                            let part = pacer.part().min(MIB);
                            pacer.took(now, part);
                            sent[at] += part;
                        }
                        Some(delay) => due[at] = now + delay.wait + TICK,
                    }
                }
            }
            now += TICK;
        }
        sent.iter().map(|bytes| bytes / time.as_secs()).collect()
    }

    fn near(rate: u64, expected: u64) -> bool {
        rate * 100 >= expected * 95 && rate * 100 <= expected * 105
    }

    #[test]
    fn nested_limits_hold_together_and_are_used() {
        for urgencies in [[Urgency::Live; 3], [Urgency::CatchUp, Urgency::Live, Urgency::Live], [Urgency::CatchUp; 3]] {
            let (process, route) = (Limit::new("process", Some(6 * MIB)), Limit::new("route", Some(4 * MIB)));
            let target = Limit::new("target", Some(2 * MIB));
            let limits = [
                vec![target.clone(), route.clone(), process.clone()],
                vec![route.clone(), process.clone()],
                vec![process.clone()],
            ];
            let mut senders: Vec<_> = limits.map(Pacer::new).into_iter().zip(urgencies).collect();
            let rates = play(&mut senders, Duration::from_secs(20));
            let all: u64 = rates.iter().sum();
            println!("{urgencies:?}: {rates:?}");
            assert!(near(all, 6 * MIB), "{urgencies:?}: {rates:?}, {all} in all");
            assert!(rates[0] <= 2 * MIB * 105 / 100 && rates[0] + rates[1] <= 4 * MIB * 105 / 100, "{rates:?}");
            assert!(rates.iter().all(|rate| *rate > 50_000), "nobody is starved: {rates:?}");
        }
    }

    #[test]
    fn rates_are_shown_as_they_are_written() {
        assert_eq!(show_rate(5 * MIB), "5MiB/s");
        assert_eq!(show_rate(1_000_000), "976.6KiB/s");
        assert_eq!(show_rate(512), "512B/s");
    }
}
