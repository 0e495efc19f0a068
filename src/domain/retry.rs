//! Retry policies: how often something is tried, how long in between, and what happens when that is used up.
//!
//! The profiles follow the triggers of the cloud product that anabranch grew out of. What its documents leave open (the
//! first delay, the factor and the cap of its exponential backoff, the interval of its execution errors before 2025) is
//! chosen here, and the table in the README says so.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fault::FaultClass;

/// After this long without a failure the count starts over: not at the first success, or every attempt of something
/// that fails again at once would wait the first interval.
pub const HEALTHY: Duration = Duration::from_secs(60);

/// How often something that only a change elsewhere can mend is looked at again. Such a look is no attempt.
pub const CHECK: Duration = Duration::from_secs(15);

/// How often a record that is blocked is offered again: whoever raised a limit need not restart anything.
pub const BLOCKED: Duration = Duration::from_secs(60);

const MOST_ATTEMPTS: u32 = 10_000;
const MINUTE: Duration = Duration::from_secs(60);
const JITTER: f64 = 0.2;

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Backoff {
    /// Always the same.
    Fixed(Duration),
    /// More each time.
    Exponential {
        /// After the first attempt.
        initial: Duration,
        /// From one to the next; at least 1.
        factor: f64,
        /// Never more than this, jitter included.
        max: Duration,
        /// How far a delay may be off in either direction, as a part of itself: 0 to 1.
        jitter: f64,
    },
}

impl Backoff {
    /// Doubles from `initial` to `max`, with a jitter of a fifth.
    pub const fn doubling(initial: Duration, max: Duration) -> Self {
        Self::Exponential { initial, factor: 2.0, max, jitter: JITTER }
    }

    /// The delay after the `attempt`-th attempt, counted from 1. `dice` is a random number from -1 to 1.
    pub fn delay(&self, attempt: u32, dice: f64) -> Duration {
        match *self {
            Self::Fixed(delay) => delay,
            Self::Exponential { initial, factor, max, jitter } => {
                let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
                let seconds = initial.as_secs_f64() * factor.max(1.0).powi(exponent);
                let seconds = seconds.min(max.as_secs_f64()) * (1.0 + jitter * dice.clamp(-1.0, 1.0));
                Duration::try_from_secs_f64(seconds).map_or(max, |delay| delay.min(max))
            }
        }
    }
}

/// What happens to a record when its attempts are used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// It stays, and its partition of that target with it.
    #[default]
    Block,
    /// It goes to another topic as it is, with headers that say where it came from and why.
    DeadLetter,
    /// It is let go, counted and logged.
    Drop,
    /// A JSON envelope with it and the failure goes to the target topic in its place.
    Keep,
}

/// How often something is tried, how long in between, and what then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Most attempts, the first one included; `None` is without end.
    pub attempts: Option<u32>,
    /// How long to wait between them.
    pub backoff: Backoff,
    /// No attempt later than this after the first one; `None` is without end.
    pub max_age: Option<Duration>,
    /// What happens when either is used up.
    pub on_exhausted: OnExhausted,
}

impl Policy {
    const fn unlimited(backoff: Backoff) -> Self {
        Self { attempts: None, backoff, max_age: None, on_exhausted: OnExhausted::Block }
    }

    const fn times(attempts: u32, interval: Duration) -> Self {
        Self { attempts: Some(attempts), ..Self::unlimited(Backoff::Fixed(interval)) }
    }
}

/// Named sets of policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Nothing is given up but a record that a target refuses three times.
    #[default]
    Durable,
    /// The trigger as it was documented from 2020 on.
    Ckafka2020,
    /// The trigger as it is documented since June 2025.
    Ckafka2025,
    /// Asynchronous invocation of the same cloud's functions.
    ScfAsync,
}

/// A policy for each class of fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policies {
    /// For records that a target refuses.
    pub record: Policy,
    /// For a target that says: too fast.
    pub overrun: Policy,
    /// For clusters that do not answer.
    pub system: Policy,
    /// For actors that panic or hang. They are always made anew; only the backoff counts.
    pub crash: Policy,
}

const CONFIG: Policy = Policy::unlimited(Backoff::Fixed(CHECK));

impl Policies {
    /// The policies of a profile.
    pub const fn of_profile(profile: Profile) -> Self {
        const fn doubling(from_ms: u64, to_s: u64) -> Policy {
            Policy::unlimited(Backoff::doubling(Duration::from_millis(from_ms), Duration::from_secs(to_s)))
        }
        let crash = doubling(500, 60);
        match profile {
            Profile::Durable => Self {
                record: Policy::times(3, Duration::from_secs(1)),
                overrun: doubling(200, 30),
                system: doubling(500, 60),
                crash,
            },
            Profile::Ckafka2020 => Self {
                record: Policy::times(MOST_ATTEMPTS, MINUTE),
                overrun: doubling(1000, 300),
                system: doubling(1000, 300),
                crash,
            },
            Profile::Ckafka2025 => Self {
                record: Policy::times(MOST_ATTEMPTS, MINUTE),
                overrun: Policy::times(MOST_ATTEMPTS, MINUTE),
                system: doubling(1000, 300),
                crash,
            },
            Profile::ScfAsync => {
                let dead = OnExhausted::DeadLetter;
                let aged = Policy {
                    max_age: Some(Duration::from_hours(6)),
                    on_exhausted: dead,
                    ..Policy::unlimited(Backoff::Fixed(MINUTE))
                };
                let record = Policy { on_exhausted: dead, ..Policy::times(3, MINUTE) };
                Self { record, overrun: aged, system: aged, crash }
            }
        }
    }

    /// The policy for a class. That of `config` is to look again now and then, and is nobody's to set.
    pub fn of(&self, class: FaultClass) -> &Policy {
        match class {
            FaultClass::Record => &self.record,
            FaultClass::Overrun => &self.overrun,
            FaultClass::System => &self.system,
            FaultClass::Config => &CONFIG,
            FaultClass::Crash => &self.crash,
        }
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self::of_profile(Profile::default())
    }
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, after a delay.
    Again {
        /// Which attempt has just failed, counted from 1.
        attempt: u32,
        /// How long to wait.
        delay: Duration,
    },
    /// The policy allows no other.
    Exhausted {
        /// How many attempts there were.
        attempts: u32,
    },
}

/// The attempts at one thing. It outlives whatever makes them. Times are counted from any fixed moment.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    made: u32,
    first: Duration,
    healthy_since: Option<Duration>,
}

impl Attempts {
    /// Notes that an attempt failed, and says what follows. `dice` is a random number from -1 to 1.
    pub fn failed(&mut self, policy: &Policy, now: Duration, dice: f64) -> Next {
        let healthy_since = self.healthy_since.take();
        if healthy_since.is_some_and(|since| now.saturating_sub(since) >= HEALTHY) {
            self.made = 0;
        }
        // what worked in between is not as old as the first failure
        if self.made == 0 || healthy_since.is_some() {
            self.first = now;
        }
        self.made = self.made.saturating_add(1);
        let delay = policy.backoff.delay(self.made, dice);
        let next = (now + delay).saturating_sub(self.first);
        let used_up = policy.attempts.is_some_and(|most| self.made >= most);
        if used_up || policy.max_age.is_some_and(|most| next > most) {
            return Next::Exhausted { attempts: self.made };
        }
        Next::Again { attempt: self.made, delay }
    }

    /// Notes that it works. The count starts over when it has worked for [`HEALTHY`] by the next failure.
    pub fn works(&mut self, now: Duration) {
        self.healthy_since.get_or_insert(now);
    }
}

/// Spreads what would start at the same moment: no two starts are closer than a gap.
#[derive(Debug)]
pub struct Spread {
    gap: Duration,
    taken: BTreeSet<Duration>,
}

impl Spread {
    /// With `gap` between two starts.
    pub fn new(gap: Duration) -> Self {
        Self { gap, taken: BTreeSet::new() }
    }

    /// The first free moment at or after `delay` from now, as a delay from now.
    pub fn after(&mut self, delay: Duration, now: Duration) -> Duration {
        const INSTANT: Duration = Duration::from_nanos(1);
        self.taken = self.taken.split_off(&now.saturating_sub(self.gap));
        let mut at = now + delay;
        while let Some(near) = self.taken.range(at.saturating_sub(self.gap) + INSTANT..at + self.gap).next_back() {
            at = *near + self.gap;
        }
        self.taken.insert(at);
        at.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Plays a policy from its first failure on, attempt by attempt: the delays without jitter, until it is exhausted.
    fn schedule(policy: &Policy, most: usize) -> (Vec<f64>, Option<u32>) {
        let (mut attempts, mut now, mut delays) = (Attempts::default(), s(5), Vec::new());
        while delays.len() < most {
            match attempts.failed(policy, now, 0.0) {
                Next::Again { attempt, delay } => {
                    delays.push(delay.as_secs_f64());
                    assert_eq!(attempt as usize, delays.len());
                    now += delay;
                }
                Next::Exhausted { attempts } => return (delays, Some(attempts)),
            }
        }
        (delays, None)
    }

    #[test]
    fn every_profile_keeps_its_documented_schedule() {
        let endless = |policy: Policy, expected: &[f64]| {
            let (delays, exhausted) = schedule(&policy, 20_000);
            assert_eq!((&delays[..expected.len()], exhausted), (expected, None));
            assert!(delays[expected.len()..].iter().all(|delay| delay.total_cmp(expected.last().unwrap()).is_eq()));
            assert_eq!(policy.on_exhausted, OnExhausted::Block);
        };
        let counted = |policy: Policy, count: usize, delay: f64, attempts: u32, then: OnExhausted| {
            assert_eq!(schedule(&policy, 20_000), (vec![delay; count], Some(attempts)));
            assert_eq!(policy.on_exhausted, then);
        };
        let to_300 = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0];
        let (block, dead) = (OnExhausted::Block, OnExhausted::DeadLetter);

        let durable = Policies::of_profile(Profile::Durable);
        counted(durable.record, 2, 1.0, 3, block);
        endless(durable.overrun, &[0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]);
        endless(durable.system, &[0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]);

        let of_2020 = Policies::of_profile(Profile::Ckafka2020);
        counted(of_2020.record, 9_999, 60.0, 10_000, block);
        endless(of_2020.overrun, &to_300);
        endless(of_2020.system, &to_300);

        let of_2025 = Policies::of_profile(Profile::Ckafka2025);
        counted(of_2025.record, 9_999, 60.0, 10_000, block);
        counted(of_2025.overrun, 9_999, 60.0, 10_000, block);
        endless(of_2025.system, &to_300);

        let scf = Policies::of_profile(Profile::ScfAsync);
        counted(scf.record, 2, 60.0, 3, dead); // two retries
        counted(scf.overrun, 360, 60.0, 361, dead); // six hours
        counted(scf.system, 360, 60.0, 361, dead);

        for profile in [durable, of_2020, of_2025, scf] {
            endless(profile.crash, &[0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]);
            assert_eq!(*profile.of(FaultClass::Config), Policy::unlimited(Backoff::Fixed(s(15))));
        }
        assert_eq!(Policies::default(), durable);
    }

    #[test]
    fn the_count_starts_over_only_after_a_healthy_period() {
        let policy = Policies::default().system;
        let mut attempts = Attempts::default();
        let fail = |attempts: &mut Attempts, at: u64| match attempts.failed(&policy, s(at), 0.0) {
            Next::Again { attempt, delay } => (attempt, delay.as_secs_f64()),
            Next::Exhausted { .. } => unreachable!("it is unlimited"),
        };
        assert_eq!(fail(&mut attempts, 1), (1, 0.5));
        attempts.works(s(2));
        assert_eq!(fail(&mut attempts, 61), (2, 1.0), "59 s are too short");
        attempts.works(s(62));
        attempts.works(s(100));
        assert_eq!(fail(&mut attempts, 122), (1, 0.5));
        assert_eq!(fail(&mut attempts, 100_000), (2, 1.0), "time without success is no health");
    }

    #[test]
    fn starts_are_spread_and_none_is_early() {
        let mut spread = Spread::new(Duration::from_millis(20));
        let mut delays: Vec<Duration> = (0..100).map(|_| spread.after(s(1), s(10))).collect();
        delays.sort_unstable();
        assert_eq!(delays[0], s(1));
        assert!(delays.windows(2).all(|pair| pair[1] >= pair[0] + Duration::from_millis(20)));
        assert!(delays[99] <= s(3));
        assert_eq!(spread.after(s(0), s(10)), s(0), "those that come later hold up nobody");
    }

    proptest! {
        #[test]
        fn jitter_keeps_within_its_bounds(attempt in 1..200_u32, dice in -1.0..1.0_f64) {
            let backoff = Backoff::Exponential { initial: s(1), factor: 2.0, max: s(300), jitter: 0.2 };
            let plain = backoff.delay(attempt, 0.0).as_secs_f64();
            let delay = backoff.delay(attempt, dice).as_secs_f64();
            prop_assert!(delay >= plain * 0.8 - 1e-6 && delay <= (plain * 1.2 + 1e-6).min(300.0));
        }
    }
}
