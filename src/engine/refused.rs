//! Records of one feed that the target refused: tried again one write at a time, from the oldest, and narrowed to those
//! that are refused even alone. Nothing of the feed overtakes them.

use std::collections::BTreeMap;

/// The refused records of a feed, by the ticket of the write that they belong to.
#[derive(Debug)]
pub struct Refused {
    /// The positions in the batch that are still to be taken, in rising order.
    tickets: BTreeMap<u64, Vec<u32>>,
    /// How many records the next attempt is made with.
    chunk: usize,
    /// How many records are being tried right now.
    trying: usize,
}

/// What a refusal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// One of several is to blame; the next attempt is made with fewer.
    Among,
    /// The record at this position is to blame.
    Alone(u32),
}

impl Default for Refused {
    fn default() -> Self {
        Self { tickets: BTreeMap::new(), chunk: usize::MAX, trying: 0 }
    }
}

impl Refused {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Notes what was refused of a write, because of what is in it.
    pub fn refused(&mut self, ticket: u64, positions: Vec<u32>) -> Found {
        let tried = self.note(ticket, positions);
        let Some(left) = self.tickets.get(&ticket) else { return Found::Among };
        let count = if tried == 0 { left.len() } else { tried };
        // others of the feed may be refused meanwhile: the narrowest attempt counts
        if tried > 0 || self.tickets.len() == 1 {
            self.chunk = (count / 2).max(1);
        }
        match left.first() {
            Some(only) if count == 1 => Found::Alone(*only),
            _ => Found::Among,
        }
    }

    /// Notes what was not taken of a write, for a reason that has nothing to do with what is in it.
    pub fn held(&mut self, ticket: u64, positions: Vec<u32>) {
        self.note(ticket, positions);
    }

    /// Returns how many were tried on purpose; 0 for a write that was made for the first time.
    fn note(&mut self, ticket: u64, positions: Vec<u32>) -> usize {
        match self.tickets.get_mut(&ticket) {
            Some(left) => {
                let tried = std::mem::take(&mut self.trying).min(left.len());
                let untried = left.split_off(tried);
                *left = positions;
                left.extend(untried);
                tried
            }
            None => {
                self.tickets.insert(ticket, positions);
                0
            }
        }
    }

    /// The attempt that was under way has come to nothing.
    pub fn stop_trying(&mut self) {
        self.trying = 0;
    }

    /// From now on single records are tried: what is refused is known to have nothing to do with its size.
    pub fn one_by_one(&mut self) {
        self.chunk = 1;
    }

    /// The next attempt: the oldest write, and the positions of it that are tried together.
    pub fn next_attempt(&mut self) -> Option<(u64, Vec<u32>)> {
        let (ticket, left) = self.tickets.first_key_value()?;
        let positions: Vec<u32> = left.iter().take(self.chunk).copied().collect();
        self.trying = positions.len();
        Some((*ticket, positions))
    }

    /// The oldest write, and all that is left of it.
    pub fn oldest(&self) -> Option<(u64, &[u32])> {
        self.tickets.first_key_value().map(|(ticket, left)| (*ticket, left.as_slice()))
    }

    /// How many records are left, of all writes.
    pub fn left(&self) -> usize {
        self.tickets.values().map(Vec::len).sum()
    }

    /// Notes that the attempt was taken whole; says whether nothing of that write is left.
    pub fn accepted(&mut self, ticket: u64) -> bool {
        let tried = std::mem::take(&mut self.trying);
        self.chunk = self.chunk.saturating_mul(2);
        self.settle(ticket, tried)
    }

    /// Notes that the first `count` records of a write need no further attempt; says whether nothing of it is left.
    pub fn settle(&mut self, ticket: u64, count: usize) -> bool {
        self.trying = 0;
        let Some(left) = self.tickets.get_mut(&ticket) else { return true };
        left.drain(..count.min(left.len()));
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

    /// A target that refuses every set with a poisoned record in it, whole, as a broker refuses a record batch. A poisoned
    /// record that was found is given up.
    fn play(ticket: u64, all: Vec<u32>, poison: &[u32]) -> (Vec<u32>, Vec<u32>, usize) {
        let mut refused = Refused::default();
        let (mut taken, mut found, mut attempts) = (Vec::new(), Vec::new(), 1);
        refused.refused(ticket, all);
        while let Some((next, positions)) = refused.next_attempt() {
            assert_eq!(next, ticket);
            attempts += 1;
            if !positions.iter().any(|position| poison.contains(position)) {
                taken.extend(positions);
                refused.accepted(next);
            } else if let Found::Alone(position) = refused.refused(next, positions) {
                found.push(position);
                refused.settle(next, 1);
            }
        }
        assert!(refused.is_empty());
        (taken, found, attempts)
    }

    #[test]
    fn one_bad_record_is_found_and_all_others_go_through_in_order() {
        let (taken, found, attempts) = play(7, (0..1000).collect(), &[600]);
        assert_eq!(found, [600]);
        assert_eq!(taken, (0..1000).filter(|position| *position != 600).collect::<Vec<_>>());
        assert!(attempts <= 30, "{attempts} attempts");
        let (taken, found, _) = play(7, (0..50).collect(), &[0, 1, 25, 49]);
        assert_eq!((taken.len(), found), (46, vec![0, 1, 25, 49]));
        assert_eq!(play(7, vec![3], &[3]).1, [3]);
    }

    #[test]
    fn the_oldest_write_goes_first() {
        let mut refused = Refused::default();
        refused.refused(5, vec![1]);
        assert_eq!(refused.refused(4, vec![0, 1]), Found::Among);
        assert_eq!(refused.next_attempt(), Some((4, vec![0])));
        assert_eq!(refused.refused(4, vec![0]), Found::Alone(0));
        assert_eq!(refused.next_attempt(), Some((4, vec![0])));
        assert!(!refused.accepted(4));
        assert_eq!(refused.next_attempt(), Some((4, vec![1])));
        assert!(refused.accepted(4));
        assert_eq!(refused.next_attempt(), Some((5, vec![1])));
    }

    #[test]
    fn what_is_held_for_another_reason_is_not_narrowed() {
        let mut refused = Refused::default();
        refused.held(1, (0..100).collect());
        assert_eq!(refused.next_attempt().map(|(_, positions)| positions.len()), Some(100));
        refused.held(1, (0..100).collect());
        refused.one_by_one();
        assert_eq!(refused.next_attempt(), Some((1, vec![0])));
        assert!(!refused.accepted(1));
        assert_eq!(refused.next_attempt(), Some((1, vec![1, 2])));
    }
}
