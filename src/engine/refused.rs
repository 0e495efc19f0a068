//! Records of one feed that the target refused: tried again one write at a time, from the oldest, and narrowed to those
//! that are refused even alone. Nothing of the feed overtakes them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;

/// The refused records of a feed, by the ticket of the write that they belong to.
#[derive(Debug)]
pub struct Refused {
    /// The positions in the batch that are still to be taken, in rising order.
    tickets: BTreeMap<u64, Vec<u32>>,
    /// How many records the next attempt is made with.
    chunk: usize,
    /// How many records are being tried right now.
    trying: usize,
    backoff: Backoff,
    last: Option<Instant>,
    accepted_since: bool,
}

impl Default for Refused {
    fn default() -> Self {
        let backoff = Backoff::default();
        Self { tickets: BTreeMap::new(), chunk: usize::MAX, trying: 0, backoff, last: None, accepted_since: false }
    }
}

impl Refused {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// How many refusals in a row there were.
    pub fn attempt(&self) -> u32 {
        self.backoff.attempt()
    }

    /// Notes what was refused of a write. Returns how long to wait before the next attempt: not at all while the
    /// refused records are only being narrowed down.
    pub fn refused(&mut self, ticket: u64, positions: Vec<u32>, now: Instant) -> Duration {
        let tried = std::mem::take(&mut self.trying);
        match self.tickets.get_mut(&ticket) {
            Some(left) if tried > 0 => {
                let untried = left.split_off(tried.min(left.len()));
                *left = positions;
                left.extend(untried);
                self.chunk = (tried / 2).max(1);
            }
            _ => drop(self.tickets.insert(ticket, positions)),
        }
        if tried > 1 {
            return Duration::ZERO;
        }
        let since = self.last.replace(now).map_or(Duration::ZERO, |last| now.duration_since(last));
        let healthy = std::mem::take(&mut self.accepted_since);
        self.backoff.next_delay(if healthy { since } else { Duration::ZERO })
    }

    /// The next attempt: the oldest write, and the positions of it that are tried together.
    pub fn next_attempt(&mut self) -> Option<(u64, Vec<u32>)> {
        let (ticket, left) = self.tickets.first_key_value()?;
        let positions: Vec<u32> = left.iter().take(self.chunk).copied().collect();
        self.trying = positions.len();
        Some((*ticket, positions))
    }

    /// Notes that the attempt was taken whole; says whether nothing of that write is left.
    pub fn accepted(&mut self, ticket: u64) -> bool {
        let tried = std::mem::take(&mut self.trying);
        self.accepted_since = true;
        self.chunk = self.chunk.saturating_mul(2);
        let Some(left) = self.tickets.get_mut(&ticket) else { return true };
        left.drain(..tried.min(left.len()));
        let done = left.is_empty();
        if done {
            self.tickets.remove(&ticket);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that refuses every set with a poisoned record in it, whole, as a broker refuses a record batch.
    fn play(mut refused: Refused, ticket: u64, poison: &[u32]) -> (Vec<u32>, Vec<u32>, Refused) {
        let (mut taken, mut waits) = (Vec::new(), 0);
        while waits < 3 {
            let Some((next, positions)) = refused.next_attempt() else { break };
            assert_eq!(next, ticket);
            if positions.iter().any(|position| poison.contains(position)) {
                let delay = refused.refused(next, positions, Instant::now());
                waits += u32::from(delay > Duration::ZERO);
            } else {
                taken.extend(positions);
                refused.accepted(next);
            }
        }
        let left = refused.tickets.get(&ticket).cloned().unwrap_or_default();
        (taken, left, refused)
    }

    #[test]
    fn one_bad_record_holds_what_comes_after_it_and_nothing_before() {
        let mut refused = Refused::default();
        refused.refused(7, (0..100).collect(), Instant::now());
        let (taken, left, refused) = play(refused, 7, &[60]);
        assert_eq!(taken, (0..60).collect::<Vec<_>>());
        assert_eq!(left, (60..100).collect::<Vec<_>>());
        let (taken, left, refused) = play(refused, 7, &[]);
        assert_eq!((taken, left.len()), ((60..100).collect(), 0));
        assert!(refused.is_empty());
    }

    #[test]
    fn the_oldest_write_goes_first_and_attempts_back_off() {
        let mut refused = Refused::default();
        assert_eq!(refused.refused(5, vec![1], Instant::now()), Duration::from_millis(500));
        assert_eq!(refused.refused(4, vec![0], Instant::now()), Duration::from_secs(1));
        assert_eq!(refused.next_attempt(), Some((4, vec![0])));
        assert_eq!(refused.refused(4, vec![0], Instant::now()), Duration::from_secs(2));
        assert_eq!(refused.next_attempt(), Some((4, vec![0])));
        assert!(refused.accepted(4));
        assert_eq!(refused.next_attempt(), Some((5, vec![1])));
    }
}
