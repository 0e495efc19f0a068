//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential backoff that outlives what failed, and is reset only after a healthy period.
///
/// Resetting it at each start is the classic mistake: then every attempt waits the first interval.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    healthy_after: Duration,
    attempt: u32,
}

impl Default for Backoff {
    /// What everything in the engine waits by that has no policy of its own.
    fn default() -> Self {
        Backoff::new(Duration::from_millis(500), Duration::from_secs(60), Duration::from_secs(60))
    }
}

impl Backoff {
    /// Doubles from `initial` up to `max`; `healthy_after` without a failure starts it over.
    pub fn new(initial: Duration, max: Duration, healthy_after: Duration) -> Self {
        Self { initial, max, healthy_after, attempt: 0 }
    }

    /// The delay after one more failure of something that had run for `ran` before it failed.
    pub fn next_delay(&mut self, ran: Duration) -> Duration {
        if ran >= self.healthy_after {
            self.attempt = 0;
        }
        let factor = 1_u32.checked_shl(self.attempt).unwrap_or(u32::MAX);
        self.attempt = (self.attempt + 1).min(31);
        self.initial.saturating_mul(factor).min(self.max)
    }

    /// How many failures in a row there were.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_the_cap_and_resets_only_when_healthy() {
        let s = Duration::from_secs;
        let mut backoff = Backoff::new(s(1), s(5), s(60));
        let delays: Vec<_> = (0..5).map(|_| backoff.next_delay(s(1)).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.next_delay(s(61)), s(1));
        assert_eq!(backoff.next_delay(s(59)), s(2));
        for _ in 0..100 {
            assert!(backoff.next_delay(s(0)) <= s(5));
        }
    }
}
