//! Records of the target that the source has not come to yet.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::fingerprint::Fingerprint;

/// A record of the target that was not found at the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphan {
    pub(super) print: Fingerprint,
    /// Its target offset.
    pub(super) offset: i64,
    pub(super) lane: usize,
}

impl Orphan {
    fn place(&self) -> u64 {
        place(&self.print, self.lane)
    }
}

fn place(print: &Fingerprint, lane: usize) -> u64 {
    print.place(u32::try_from(lane).unwrap_or(u32::MAX))
}

/// The orphans in the order in which they came; at most as many as there is room for.
#[derive(Debug)]
pub(super) struct Orphans {
    queue: VecDeque<Option<Orphan>>,
    /// The number of the first in the queue.
    first: usize,
    /// By fingerprint: their numbers.
    index: HashTable<usize>,
    room: usize,
}

impl Orphans {
    pub(super) fn new(room: usize) -> Self {
        Self { queue: VecDeque::new(), first: 0, index: HashTable::new(), room: room.max(1) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Adds one; the oldest one that there is no more room for.
    pub(super) fn add(&mut self, orphan: Orphan) -> Option<Orphan> {
        let oldest = if self.queue.len() >= self.room { self.oldest() } else { None };
        let number = self.first + self.queue.len();
        self.queue.push_back(Some(orphan));
        let (queue, first) = (&self.queue, self.first);
        let rehash = |number: &usize| queue[number - first].as_ref().map_or(0, Orphan::place);
        self.index.insert_unique(orphan.place(), number, rehash);
        oldest
    }

    /// Takes one that is equal to a record that goes to this lane.
    pub(super) fn take(&mut self, print: &Fingerprint, lane: usize) -> Option<Orphan> {
        let (queue, first) = (&self.queue, self.first);
        let same = |number: &usize| {
            queue[number - first].as_ref().is_some_and(|orphan| orphan.lane == lane && orphan.print == *print)
        };
        let found = self.index.find_entry(place(print, lane), same).ok()?;
        let (number, _) = found.remove();
        let orphan = self.queue[number - first].take();
        while self.queue.pop_front_if(|orphan| orphan.is_none()).is_some() {
            self.first += 1;
        }
        orphan
    }

    /// Takes the oldest one.
    pub(super) fn oldest(&mut self) -> Option<Orphan> {
        while let Some(orphan) = self.queue.pop_front() {
            let number = self.first;
            self.first += 1;
            if let Some(orphan) = orphan {
                if let Ok(found) = self.index.find_entry(orphan.place(), |other| *other == number) {
                    found.remove();
                }
                return Some(orphan);
            }
        }
        None
    }
}
