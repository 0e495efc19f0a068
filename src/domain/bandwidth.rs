//! How fast bytes may go: a rate that is asked for, a rate that a broker's throttling teaches, and what bytes become on
//! the wire.
//!
//! Limits count bytes on the wire, as brokers and bills do, while batches know their payload: [`WireRatio`] is between.

use std::collections::VecDeque;
use std::time::Duration;

/// What may be saved up while nothing goes. Short enough that no second is far above its rate (brokers that cut a second
/// into tenths count each of them), long enough to make up for timers that are late.
pub const BURST: Duration = Duration::from_millis(100);
/// The most to hand over in one go. Two fit into a burst, so that one being late costs no bandwidth.
const PART: Duration = Duration::from_millis(50);
/// Below this a request is mostly overhead.
const LEAST_PART: u64 = 4096;
/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Records of the shared read.
    Live,
    /// Records of a read of its own: they are late already.
    CatchUp,
}

/// Bytes per second, by virtual scheduling: all that it keeps is when everything taken so far would be through at an even
/// pace. So any number of holders can share it, and none has to be woken by another.
///
/// Something may go whenever the schedule is not ahead of the present, however large it is; the next one waits for it.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    rate: Option<u64>,
    /// When all that was taken is through at an even pace.
    due: Duration,
}

impl Bucket {
    /// A bucket of `rate` bytes per second; of zero, one.
    pub fn new(rate: u64) -> Self {
        Self { rate: Some(rate.max(1)), ..Self::default() }
    }

    /// Bytes per second; `None` is without limit.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Changes the rate. Bytes that are still to be waited for are waited for at the new one.
    pub fn set_rate(&mut self, now: Duration, rate: Option<u64>) {
        let rate = rate.map(|rate| rate.max(1));
        let ahead = self.due.saturating_sub(now);
        match (self.rate, rate) {
            (Some(old), Some(new)) if !ahead.is_zero() => {
                let nanos = ahead.as_nanos().saturating_mul(old.into()).div_ceil(new.into());
                self.due = now.saturating_add(from_nanos(nanos));
            }
            (Some(_), Some(_)) => {}
            _ => self.due = self.due.min(now),
        }
        self.rate = rate;
    }

    /// How long until something may go; zero when it may go now.
    pub fn wait(&self, now: Duration) -> Duration {
        if self.rate.is_none() { Duration::ZERO } else { self.due.saturating_sub(now) }
    }

    /// How long until half the burst is saved up, which it is not while others want to go.
    pub fn spare_in(&self, now: Duration) -> Duration {
        if self.rate.is_none() { Duration::ZERO } else { (self.due + BURST / 2).saturating_sub(now) }
    }

    /// Takes bytes that go now, whether they may or not.
    pub fn take(&mut self, now: Duration, bytes: u64) {
        let Some(rate) = self.rate else { return };
        self.due = self.due.max(now.saturating_sub(BURST)).saturating_add(time_of(bytes, rate));
    }

    /// Gives bytes back that were taken and did not go.
    pub fn refund(&mut self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        self.due = self.due.saturating_sub(time_of(bytes, rate));
    }

    /// The most bytes to hand over in one go, so that others get their turn and a change of the rate is felt at once.
    pub fn part(&self) -> u64 {
        let of = |rate: u64| u64::try_from(u128::from(rate) * PART.as_millis() / 1000).unwrap_or(u64::MAX);
        self.rate.map_or(u64::MAX, |rate| of(rate).max(LEAST_PART))
    }
}

/// How long bytes take at a rate; rounded up, so that no rounding adds up to more than the rate.
fn time_of(bytes: u64, rate: u64) -> Duration {
    from_nanos((u128::from(bytes) * 1_000_000_000).div_ceil(rate.into()))
}

fn from_nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// What brokers average over: by default they keep 11 samples of a second, the last of which has only begun.
const WINDOW: f64 = 10.0;
const SAMPLES: usize = 11;
/// How far below what a broker seems to allow it goes on after being throttled: what was too much has to leave the
/// broker's window.
const MARGIN: f64 = 0.97;
/// The most that is taken off a limit beyond what the throttle time says, where averages say so: they are no measure of
/// brokers that average over less.
const DISTRUST: f64 = 0.15;
/// Throttle times below these seconds take off less: a broker that pauses us that shortly has done what was needed.
const SERIOUS: f64 = 0.3;
/// How a limit grows, as in CUBIC (RFC 9438): in parts of what was allowed last, by the cube of the seconds after it is
/// back there. Flat around what was allowed, 5 % above it after 3.3 s, 50 % after 7 s.
const GROWTH: f64 = 0.0014;
/// A broker that lets this much more than what it allowed pass, on average over its window, allows more by now.
const PROOF: f64 = 1.05;
/// How often the limit doubles in a second from then on.
const DOUBLINGS: f64 = 1.5;
/// How long after a throttle period an average proves anything: what went before it may be what is above.
const UNPROVEN: Duration = Duration::from_secs(3);
/// Throttle times within this long after a cut are one episode, and cut no further unless they are longer: what went
/// before is in the broker's window until then, and it throttles for that whatever the limit is now.
const EPISODE: Duration = Duration::from_secs(13);
/// A target is called throttled until this long after the last throttle period.
const RECENT: Duration = Duration::from_secs(2);
/// Without being throttled for this long there is no limit any more.
const FORGET: Duration = Duration::from_secs(60);
/// No limit is lower than this, in bytes per second: what is still slower is left to the broker.
const LEAST: f64 = 1024.0;

/// The rate that a broker's throttling teaches: cut when a broker throttles, to about what it says that it allows; then
/// grown, slowly near what was allowed and faster the longer it works, doubled again and again where more than what was
/// allowed has passed; in the end dropped.
///
/// Kafka's throttle time is `(rate - quota) / quota * window`, so the rate that was measured here gives the quota. A broker
/// with other rules is met by the bounds on each cut, and by trying again.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    bucket: Bucket,
    sent: Sent,
    /// Nothing goes before this: brokers that answer at once want clients to be quiet for as long as they say.
    quiet_until: Duration,
    /// Bytes that went since then.
    sent_since: u64,
    learnt: Option<Learnt>,
}

/// What an episode of throttling taught.
#[derive(Clone, Copy, Debug)]
struct Learnt {
    begun: Duration,
    /// The limit that was in force, as far as it was used.
    before: Option<f64>,
    /// The highest average that the broker can have seen.
    average: f64,
    /// The longest throttle time, in seconds.
    worst: f64,
    /// What it allows, as far as that can be told.
    allowed: f64,
    /// Since when it is proven to allow more.
    risen: Option<Duration>,
    /// Whether the limit was doubling when this episode began. What was allowed before is a guess then, and what is above it
    /// proves little.
    is_guess: bool,
}

impl Pace {
    /// Notes that a broker's answer says how long it throttles. Zero says that a broker does not any more: not
    /// necessarily the one that did, so it ends nothing.
    pub fn throttled(&mut self, now: Duration, throttle: Duration) {
        if throttle.is_zero() {
            return;
        }
        self.refresh(now);
        let average = self.sent.average(now);
        let mut learnt = match self.learnt {
            // the limit was doubling, and too soon
            Some(learnt) if self.same_episode(learnt.begun, now) => {
                Learnt { is_guess: learnt.is_guess || learnt.risen.is_some(), risen: None, ..learnt }
            }
            _ => self.new_episode(now),
        };
        learnt.average = learnt.average.max(average);
        learnt.worst = learnt.worst.max(throttle.as_secs_f64());
        let excess = 1.0 + learnt.worst / WINDOW;
        let trust = 1.0 - DISTRUST * (learnt.worst / SERIOUS).min(1.0);
        let quota = learnt.average / excess;
        learnt.allowed = learnt.before.map_or(quota, |limit| quota.clamp(limit * trust / excess, limit)).max(LEAST);
        self.learnt = Some(learnt);
        self.quiet_until = self.quiet_until.max(now.saturating_add(throttle));
        self.sent_since = 0;
        self.bucket.set_rate(now, Some(whole(learnt.allowed * MARGIN)));
    }

    fn new_episode(&self, now: Duration) -> Learnt {
        let is_guess = self.learnt.is_some_and(|learnt| learnt.risen.is_some());
        // a limit that doubles is soon far above what the broker has averaged
        let before = if is_guess { None } else { self.used_limit(now) };
        Learnt { begun: now, before, average: 0.0, worst: 0.0, allowed: 0.0, risen: None, is_guess }
    }

    /// Whether a throttle time belongs to the episode that began then.
    fn same_episode(&self, begun: Duration, now: Duration) -> bool {
        now < self.quiet_until || now < begun + EPISODE
    }

    /// The limit as far as it was used, unless it could not be: one above what was sent says nothing about the broker.
    fn used_limit(&self, now: Duration) -> Option<f64> {
        let limit = self.bucket.rate().map(real)?;
        let busiest = self.sent.busiest();
        let was_free = now.saturating_sub(self.quiet_until) >= EPISODE;
        Some(if was_free && busiest > 0.0 { limit.min(busiest) } else { limit })
    }

    /// Notes bytes that went on the wire since the last time. The limit grows here: call it several times a second, with
    /// zero as well.
    pub fn sent(&mut self, now: Duration, wire_bytes: u64) {
        self.sent.add(now, wire_bytes);
        if now >= self.quiet_until {
            self.sent_since = self.sent_since.saturating_add(wire_bytes);
        }
        self.refresh(now);
    }

    fn refresh(&mut self, now: Duration) {
        let Some(learnt) = &mut self.learnt else { return };
        let Some(free) = now.checked_sub(self.quiet_until) else { return };
        if free >= FORGET {
            self.learnt = None;
            return self.bucket.set_rate(now, None);
        }
        let unproven = if learnt.is_guess { EPISODE } else { UNPROVEN };
        // who sends nothing is not throttled either
        let was_used = real(self.sent_since) >= learnt.allowed * free.as_secs_f64() / 2.0;
        let is_more = self.sent.average(now) > learnt.allowed * PROOF;
        if learnt.risen.is_none() && free >= unproven && was_used && is_more {
            learnt.risen = Some(now);
        }
        let doubling = learnt.risen.map_or(Duration::ZERO, |risen| now.saturating_sub(risen));
        let back = ((1.0 - MARGIN) / GROWTH).cbrt();
        let grown = 1.0 + GROWTH * (free.saturating_sub(doubling).as_secs_f64() - back).powi(3);
        let limit = learnt.allowed * grown * (DOUBLINGS * doubling.as_secs_f64()).exp2();
        self.bucket.set_rate(now, Some(whole(limit)));
    }

    /// Bytes per second; `None` is without limit.
    pub fn limit(&self) -> Option<u64> {
        self.bucket.rate()
    }

    /// How long until something may go, as [`Bucket::wait`]; while a throttle period runs, nothing goes.
    pub fn wait(&self, now: Duration) -> Duration {
        self.bucket.wait(now).max(self.quiet_until.saturating_sub(now))
    }

    /// Takes bytes that go now; see [`Bucket::take`].
    pub fn take(&mut self, now: Duration, bytes: u64) {
        self.bucket.take(now, bytes);
    }

    /// The most bytes to hand over in one go; see [`Bucket::part`].
    pub fn part(&self) -> u64 {
        self.bucket.part()
    }

    /// Whether a throttle period runs, or ended a moment ago.
    pub fn is_throttled(&self, now: Duration) -> bool {
        self.learnt.is_some() && now < self.quiet_until + RECENT
    }
}

/// Bytes sent per second of the last eleven, kept as a broker keeps them.
#[derive(Clone, Debug, Default)]
struct Sent(VecDeque<(Duration, u64)>);

impl Sent {
    fn add(&mut self, now: Duration, bytes: u64) {
        const SECOND: Duration = Duration::from_secs(1);
        let keep = Duration::from_secs(SAMPLES as u64);
        while self.0.pop_front_if(|(start, _)| now.saturating_sub(*start) >= keep).is_some() {}
        match self.0.back_mut() {
            Some((start, sum)) if now.saturating_sub(*start) < SECOND => *sum = sum.saturating_add(bytes),
            _ if bytes > 0 => self.0.push_back((now, bytes)),
            _ => {}
        }
    }

    /// Bytes per second, on average over the broker's window.
    fn average(&self, now: Duration) -> f64 {
        let Some((first, _)) = self.0.front() else { return 0.0 };
        let sum: u64 = self.0.iter().map(|(_, bytes)| bytes).sum();
        real(sum) / now.saturating_sub(*first).as_secs_f64().max(WINDOW)
    }

    fn busiest(&self) -> f64 {
        self.0.iter().map(|(_, bytes)| *bytes).max().map_or(0.0, real)
    }
}

#[allow(clippy::cast_precision_loss)] // rates need no more than 52 bits
fn real(bytes: u64) -> f64 {
    bytes as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a cast of floats saturates, which is what is wanted
fn whole(bytes: f64) -> u64 {
    bytes as u64
}

/// Over how many bytes of payload a ratio is smoothed.
const SMOOTHED: f64 = 4.0 * 1024.0 * 1024.0;

/// Bytes on the wire for each byte of payload: below 1 where records compress, above where they are small.
///
/// What is on the wire is known before it is acknowledged, so the ratio is too high while a transfer begins. That errs on
/// the slow side, and is smoothed away.
#[derive(Clone, Debug)]
pub struct WireRatio {
    totals: (u64, u64),
    payload: f64,
    wire: f64,
}

impl Default for WireRatio {
    fn default() -> Self {
        // a little of what is assumed, so that the first bytes do not decide alone
        Self { totals: (0, 0), payload: SMOOTHED / 16.0, wire: SMOOTHED / 16.0 }
    }
}

impl WireRatio {
    /// Takes the running totals. A total that fell is that of a new writer, and counts from here.
    pub fn observe(&mut self, payload_acknowledged: u64, wire_sent: u64) {
        let (payload, wire) = self.totals;
        self.totals = (payload_acknowledged, wire_sent);
        let (Some(payload), Some(wire)) = (payload_acknowledged.checked_sub(payload), wire_sent.checked_sub(wire))
        else {
            return;
        };
        let kept = SMOOTHED / (SMOOTHED + real(payload));
        self.payload = self.payload * kept + real(payload);
        self.wire = self.wire * kept + real(wire);
    }

    /// The ratio; 1 before anything is known.
    pub fn ratio(&self) -> f64 {
        (self.wire / self.payload).clamp(0.01, 2.0)
    }

    /// How much payload goes into this many bytes on the wire; all of it where there is no limit.
    pub fn payload_of(&self, wire_bytes: u64) -> u64 {
        if wire_bytes == u64::MAX { u64::MAX } else { whole(real(wire_bytes) / self.ratio()).max(1) }
    }

    /// What a payload of this many bytes is charged.
    pub fn charge(&self, payload_bytes: u64) -> u64 {
        whole((real(payload_bytes) * self.ratio()).ceil())
    }
}

/// A limit for people.
pub fn show_limit(rate: Option<u64>) -> String {
    rate.map_or_else(|| "unlimited".to_owned(), show_rate)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_gets_more_than_the_rate_the_burst_and_one_take(
            rate in 1..10_000_000_u64,
            asks in prop::collection::vec((0..300_u64, 0..3_000_000_u64), 1..60),
        ) {
            let mut bucket = Bucket::new(rate);
            let (mut now, mut went) = (ms(1000), Vec::new());
            for (idle, bytes) in asks {
                now += ms(idle);
                now += bucket.wait(now);
                prop_assert_eq!(bucket.wait(now), Duration::ZERO);
                bucket.take(now, bytes);
                went.push((now, bytes));
            }
            for (from, (start, _)) in went.iter().enumerate() {
                let mut sum = 0;
                for (at, bytes) in &went[from..] {
                    let most = real(rate) * (at.saturating_sub(*start) + BURST).as_secs_f64();
                    // all but the last take, which may be in debt
                    prop_assert!(real(sum) <= most * 1.000_001 + 1.0, "{sum} of {most}");
                    sum += bytes;
                }
            }
        }

        #[test]
        fn a_refund_undoes_a_take(rate in 1..1_000_000_000_u64, bytes in 0..100_000_000_u64, other in 0..1_000_000_u64) {
            let mut bucket = Bucket::new(rate);
            bucket.take(ms(500), other);
            let before = bucket.wait(ms(500));
            bucket.take(ms(500), bytes);
            bucket.refund(bytes);
            prop_assert_eq!(bucket.wait(ms(500)), before);
        }
    }

    #[test]
    fn who_catches_up_finds_something_to_spare_only_where_nobody_else_wants_to_go() {
        let mut bucket = Bucket::new(1_000_000);
        bucket.take(ms(1000), bucket.part());
        assert_eq!((bucket.wait(ms(1000)), bucket.spare_in(ms(1000))), (ms(0), ms(0)), "a burst was saved up");
        bucket.take(ms(1000), bucket.part());
        assert_eq!((bucket.wait(ms(1000)), bucket.spare_in(ms(1000))), (ms(0), ms(50)));
        bucket.take(ms(1000), bucket.part());
        assert_eq!((bucket.wait(ms(1000)), bucket.spare_in(ms(1000))), (ms(50), ms(100)));
        assert_eq!(bucket.spare_in(ms(1100)), ms(0));
    }

    #[test]
    fn a_new_rate_counts_for_what_is_waited_for() {
        let mut bucket = Bucket::new(KIB);
        bucket.take(ms(1000), MIB);
        assert!(bucket.wait(ms(1000)) > s(1023.0));
        bucket.set_rate(ms(1000), Some(MIB));
        let wait = bucket.wait(ms(1000));
        assert!(wait > ms(990) && wait <= ms(1000), "{wait:?}");
        bucket.set_rate(ms(1000), None);
        assert_eq!((bucket.wait(ms(1000)), bucket.part()), (ms(0), u64::MAX));
        bucket.take(ms(1000), u64::MAX);
        bucket.set_rate(ms(2000), Some(1));
        assert_eq!(bucket.wait(ms(2000)), ms(0), "what went without a limit is not owed");
        bucket.take(ms(2000), u64::MAX);
        assert!(bucket.wait(ms(2000)) > s(1e9), "nothing overflows");
    }

    #[test]
    fn parts_are_50_ms_and_at_least_4_kib() {
        assert_eq!(Bucket::new(MIB).part(), MIB / 20);
        assert_eq!(Bucket::new(0).part(), 4096);
        assert_eq!(Bucket::default().part(), u64::MAX);
    }

    /// How a simulated broker slows its clients down.
    enum Rule {
        /// Kafka's: 11 samples of a second (when it began, when it was last added to, bytes); the answer comes at once and
        /// says for how long the channel is mute.
        Kafka(VecDeque<(f64, f64, f64)>),
        /// CKafka's: a second is cut into tenths, and answers are late once one of them is full, longer the fuller.
        Tenths { tenth: u64, filled: f64 },
    }

    struct Broker {
        quota: f64,
        rule: Rule,
        mute_until: f64,
        inbox: VecDeque<(f64, f64)>,
        accepted: Vec<(f64, f64)>,
    }

    impl Broker {
        fn new(quota: f64, rule: Rule) -> Self {
            Self { quota, rule, mute_until: 0.0, inbox: VecDeque::new(), accepted: Vec::new() }
        }

        fn kafka(quota: u64) -> Self {
            Self::new(real(quota), Rule::Kafka(VecDeque::new()))
        }

        /// Takes a request: how long the client is throttled, and when the answer leaves.
        fn take(&mut self, now: f64, bytes: f64) -> (f64, f64) {
            self.accepted.push((now, bytes));
            match &mut self.rule {
                Rule::Kafka(samples) => {
                    while samples.pop_front_if(|(_, last, _)| now - *last >= 11.0).is_some() {}
                    match samples.back_mut() {
                        Some((start, last, sum)) if now - *start < 1.0 => (*last, *sum) = (now, *sum + bytes),
                        _ => samples.push_back((now, now, bytes)),
                    }
                    let elapsed = now - samples[0].0;
                    let window = elapsed + (10.0 - elapsed.floor()).max(0.0);
                    let rate = samples.iter().map(|(.., bytes)| bytes).sum::<f64>() / window;
                    let throttle = ((rate - self.quota) / self.quota * window).max(0.0);
                    self.mute_until = now + throttle;
                    (throttle, now)
                }
                Rule::Tenths { tenth, filled } => {
                    let present = whole(now * 10.0);
                    *filled = if present == *tenth { *filled + bytes } else { bytes };
                    *tenth = present;
                    let delay = ((*filled - self.quota / 10.0) / self.quota * 1.5).clamp(0.0, 300.0);
                    self.mute_until = now + delay;
                    (delay, now + delay)
                }
            }
        }
    }

    /// A client that could send 100 MiB/s, with five requests under way and an answer after 2 ms.
    struct Simulation {
        broker: Broker,
        link: u64,
        pace: Pace,
        request: u64,
        now: u64,
        link_free: f64,
        answers: VecDeque<(f64, f64)>,
        under_way: usize,
        throttles: Vec<(f64, f64)>,
        /// Told to the pace every 100 ms.
        untold: u64,
    }

    impl Simulation {
        fn new(broker: Broker, request: u64) -> Self {
            let (pace, answers, throttles) = (Pace::default(), VecDeque::new(), Vec::new());
            Self {
                broker,
                link: 100 * MIB,
                pace,
                request,
                now: 0,
                link_free: 0.0,
                answers,
                under_way: 0,
                throttles,
                untold: 0,
            }
        }

        /// Runs up to a time in seconds.
        fn run(&mut self, until: f64) {
            const LATENCY: f64 = 0.001;
            while real(self.now) < until * 1000.0 {
                self.now += 1;
                let (at, now) = (real(self.now) / 1000.0, ms(self.now));
                while at >= self.broker.mute_until
                    && let Some((_, bytes)) = self.broker.inbox.pop_front_if(|(arrives, _)| *arrives <= at)
                {
                    let (throttle, leaves) = self.broker.take(at, bytes);
                    self.answers.push_back((leaves + LATENCY, throttle));
                }
                while let Some((_, throttle)) = self.answers.pop_front_if(|(arrives, _)| *arrives <= at) {
                    self.under_way -= 1;
                    let throttle = ms(whole(throttle * 1000.0));
                    self.pace.throttled(now, throttle);
                    self.throttles.push((at, throttle.as_secs_f64()));
                }
                while self.under_way < 5 && self.link_free <= at && self.pace.wait(now).is_zero() {
                    let bytes = self.pace.part().min(self.request);
                    self.pace.take(now, bytes);
                    self.untold += bytes;
                    self.link_free = self.link_free.max(at) + real(bytes) / real(self.link);
                    self.broker.inbox.push_back((self.link_free + LATENCY, real(bytes)));
                    self.under_way += 1;
                }
                if self.now.is_multiple_of(100) {
                    self.pace.sent(now, std::mem::take(&mut self.untold));
                }
            }
        }

        /// The lowest and the highest throughput of any 30 s from `from` on, in parts of the quota.
        fn throughput(&self, from: f64) -> (f64, f64) {
            let end = real(self.now) / 1000.0;
            let of = |start: f64| {
                let inside = |(at, _): &&(f64, f64)| *at >= start && *at < start + 30.0;
                self.broker.accepted.iter().filter(inside).map(|(_, bytes)| bytes).sum::<f64>() / 30.0
            };
            let all = (0..).map(|step| from + f64::from(step) * 0.5).take_while(|start| start + 30.0 <= end).map(of);
            let (low, high) = all.fold((f64::MAX, 0.0), |(low, high): (f64, f64), is| (low.min(is), high.max(is)));
            (low / self.broker.quota, high / self.broker.quota)
        }

        fn longest_throttle(&self, from: f64) -> f64 {
            self.throttles.iter().filter(|(at, _)| *at >= from).map(|(_, throttle)| *throttle).fold(0.0, f64::max)
        }
    }

    #[test]
    fn it_settles_at_kafkas_quota() {
        // with larger requests at 64 KiB/s, what goes before the first answer is more than 15 s of the quota
        for (quota, requests) in [(64 * KIB, [16 * KIB, 64 * KIB]), (MIB, [64 * KIB, MIB]), (20 * MIB, [64 * KIB, MIB])]
        {
            for request in requests {
                let mut simulation = Simulation::new(Broker::kafka(quota), request);
                simulation.run(200.0);
                let (low, high) = simulation.throughput(15.0);
                let longest = simulation.longest_throttle(15.0);
                let said = format!("quota {quota}, request {request}: {low:.3} to {high:.3}, throttled {longest:.2} s");
                assert!(low >= 0.9 && high <= 1.02 && longest < 5.0, "{said}");
            }
        }
    }

    #[test]
    fn what_went_before_the_first_cut_does_not_count_against_it() {
        // as long as it is in the broker's window, the broker throttles whatever is sent
        for link in [5, 8, 12, 20, 40].map(|times| times * MIB) {
            for request in [64 * KIB, 256 * KIB, MIB] {
                let mut simulation = Simulation { link, ..Simulation::new(Broker::kafka(MIB), request) };
                simulation.run(120.0);
                let (low, high) = simulation.throughput(15.0);
                let said = format!("link {link}, request {request}: {low:.3} to {high:.3}");
                assert!(low >= 0.9 && high <= 1.02, "{said}");
            }
        }
    }

    #[test]
    fn a_quota_that_is_lifted_is_noticed() {
        for quota in [64 * KIB, MIB] {
            let mut simulation = Simulation::new(Broker::kafka(quota), 64 * KIB);
            simulation.run(60.0);
            simulation.broker.quota = 1e12;
            simulation.run(74.0);
            let limit = simulation.pace.limit();
            assert!(limit.is_none_or(|limit| limit >= 10 * quota), "{quota}: {limit:?}");
            simulation.run(121.0);
            assert_eq!(simulation.pace.limit(), None);
        }
    }

    #[test]
    fn a_burst_and_silence_prove_nothing_and_a_throttle_ends_the_doubling() {
        let mut pace = Pace::default();
        pace.sent(ms(1000), 20 * MIB);
        pace.throttled(ms(1000), ms(4000));
        for tick in 10..180 {
            pace.sent(ms(tick * 100), 0);
        }
        let allowed = 20.0 / 10.0 / 1.4;
        let limit = real(pace.limit().unwrap()) / real(MIB) / allowed;
        assert!(limit < 4.0, "13 s after the broker's quiet, without a byte: {limit}");

        let mut pace = Pace::default();
        pace.sent(ms(1000), 20 * MIB);
        pace.throttled(ms(1000), ms(1000));
        for tick in 20..80 {
            pace.sent(ms(tick * 100), MIB / 4);
        }
        pace.throttled(ms(8000), ms(3000));
        pace.sent(ms(11_100), 0);
        let limit = real(pace.limit().unwrap()) / real(MIB);
        assert!(limit < 3.0, "{limit} MiB/s after it was throttled again");
    }

    #[test]
    fn a_quota_that_is_raised_is_found_again() {
        let mut simulation = Simulation::new(Broker::kafka(MIB), 64 * KIB);
        simulation.run(60.0);
        simulation.broker.quota *= 10.0;
        simulation.run(200.0);
        let (low, high) = simulation.throughput(100.0);
        assert!(low >= 0.9 && high <= 1.02, "{low:.3} to {high:.3}");
        assert!(simulation.longest_throttle(61.0) < 5.0, "{}", simulation.longest_throttle(61.0));
    }

    #[test]
    fn a_quota_that_is_lowered_is_kept() {
        for quota in [320 * KIB, 5 * MIB] {
            let mut simulation = Simulation::new(Broker::kafka(quota), 64 * KIB);
            simulation.run(60.0);
            simulation.broker.quota /= 5.0;
            let lowered = simulation.broker.quota;
            simulation.run(75.0);
            let limit = simulation.pace.limit().map_or(f64::MAX, real) / lowered;
            assert!((0.8..1.05).contains(&limit), "{limit}");
            // the broker makes up for what came before with a long silence; after it nothing is too fast
            let silence = simulation.longest_throttle(60.0);
            simulation.run(60.0 + silence + 120.0);
            let (low, high) = simulation.throughput(60.0 + silence);
            assert!(low >= 0.9 && high <= 1.02, "{low:.3} to {high:.3}");
            assert!(simulation.longest_throttle(75.0) < 5.0);
        }
    }

    #[test]
    fn a_broker_that_counts_tenths_of_a_second_is_not_fought() {
        // at 64 KiB/s two of the least parts fill more than a tenth, and 60 % is all that there is
        for (quota, request) in [(MIB, 64 * KIB), (MIB, MIB), (20 * MIB, 64 * KIB), (20 * MIB, MIB)] {
            let rule = Rule::Tenths { tenth: 0, filled: 0.0 };
            let mut simulation = Simulation::new(Broker::new(real(quota), rule), request);
            simulation.run(200.0);
            // its first throttle tells nothing about the rate, so the way up is long
            let (low, high) = simulation.throughput(60.0);
            let longest = simulation.longest_throttle(60.0);
            let said = format!("quota {quota}, request {request}: {low:.3} to {high:.3}, throttled {longest:.2} s");
            assert!(low >= 0.7 && high <= 1.02 && longest < 0.2, "{said}");
        }
    }

    #[test]
    fn nothing_goes_while_a_throttle_period_runs() {
        let mut pace = Pace::default();
        let wait = |pace: &Pace, at: u64| pace.wait(ms(at));
        pace.sent(ms(1000), 10 * MIB);
        assert_eq!((pace.limit(), wait(&pace, 1000), pace.is_throttled(ms(1000))), (None, ms(0), false));
        pace.throttled(ms(1100), ms(0));
        assert_eq!((pace.limit(), pace.is_throttled(ms(1100))), (None, false), "zero is no throttling");
        pace.throttled(ms(1200), ms(3000));
        assert_eq!((wait(&pace, 1200), wait(&pace, 4199), wait(&pace, 4200)), (ms(3000), ms(1), ms(0)));
        pace.throttled(ms(1300), ms(1000));
        pace.throttled(ms(1400), ms(0));
        assert_eq!(wait(&pace, 1400), ms(2800), "another broker's shorter time ends nothing");
        assert!(pace.is_throttled(ms(6199)) && !pace.is_throttled(ms(6200)));
        let quota = 10.0 / 10.0 / 1.3;
        assert!((real(pace.limit().unwrap()) / real(MIB) - quota * MARGIN).abs() < 0.001);
    }

    #[test]
    fn a_limit_that_was_not_used_is_cut_from_what_was() {
        let mut pace = Pace::default();
        pace.sent(ms(1000), 100 * MIB);
        pace.throttled(ms(1000), ms(10));
        for second in 2..15 {
            pace.sent(ms(second * 1000), 100 * KIB);
        }
        pace.throttled(ms(15_000), ms(10));
        assert!(pace.limit().unwrap() < 100 * KIB, "{:?}", pace.limit());
        let before = pace.limit();
        pace.throttled(ms(15_100), ms(10));
        assert_eq!(pace.limit(), before, "one episode, one cut");
        let mut idle = Pace::default();
        idle.throttled(ms(1000), ms(10));
        assert_eq!(idle.limit(), Some(993), "never zero");
    }

    proptest! {
        #[test]
        fn the_ratio_follows_what_was_sent(ratio in 0.02..1.9_f64, batch in 1000..2_000_000_u64) {
            let mut wire = WireRatio::default();
            prop_assert_eq!((wire.charge(0), wire.charge(777)), (0, 777));
            let (mut payload, mut sent) = (0, 0);
            while payload < 40 * MIB {
                payload += batch;
                sent += whole(real(batch) * ratio);
                wire.observe(payload, sent);
            }
            prop_assert!((wire.ratio() / ratio - 1.0).abs() < 0.03, "{} for {}", wire.ratio(), ratio);
            let charged = real(wire.charge(100_000)) / 100_000.0;
            prop_assert!((charged - wire.ratio()).abs() < 0.001);
        }

        #[test]
        fn the_ratio_keeps_its_bounds(totals in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20)) {
            let mut wire = WireRatio::default();
            for (payload, sent) in totals {
                wire.observe(payload, sent);
                prop_assert!((0.01..=2.0).contains(&wire.ratio()));
            }
        }
    }

    #[test]
    fn a_new_writers_totals_count_from_there() {
        let mut wire = WireRatio::default();
        wire.observe(100 * MIB, 50 * MIB);
        let before = wire.ratio();
        wire.observe(101 * MIB, MIB);
        assert!((wire.ratio() - before).abs() < 1e-9);
        wire.observe(200 * MIB, 50 * MIB);
        assert!((wire.ratio() - 0.5).abs() < 0.02, "{}", wire.ratio());
    }
}
