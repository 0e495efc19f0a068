//! What is remembered of the source's records: those that the target is still to show, and those that it showed lately.
//!
//! Its size is fixed, so what it costs does not depend on how much is compared. Records that are equal are found in the order in which
//! they were read.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::fingerprint::Fingerprint;

/// A record's place in the window, for as long as it is there.
pub(super) type Slot = u32;

const NONE: Slot = Slot::MAX;
/// How many of those that were shown are looked through for the next one that is repeated.
const NEAR: usize = 64;

/// A record of the source.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) print: Fingerprint,
    /// Its source offset.
    pub(super) offset: i64,
    /// Which source partition it is of, and which lane it goes to, as one number.
    pub(super) queue: u32,
    pub(super) lane: u32,
    pub(super) state: State,
    /// Once it was shown: its number among those.
    pub(super) number: u32,
    /// The next one that is equal to it, and in the first of them the last.
    next: Slot,
    last: Slot,
}

/// How far the target has come with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The target is still to show it.
    Pending,
    /// The target has shown a later one.
    Overtaken,
    /// The target has shown it before those that come earlier.
    Early,
    /// The target has shown it.
    Matched,
}

/// The window. What it holds is bounded by its capacity.
#[derive(Debug)]
pub(super) struct Window {
    slots: Vec<Entry>,
    free: Vec<Slot>,
    capacity: usize,
    /// Those that are pending or overtaken: the first of those that are equal.
    open: HashTable<Slot>,
    /// Those that the target has shown: the last of those that are equal.
    shown: HashTable<Slot>,
    /// Those that were shown and are in no queue any more, the oldest first.
    behind: VecDeque<Slot>,
    /// The number of the first of those.
    first: u32,
    overtaken: VecDeque<Slot>,
    pending: usize,
}

impl Window {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            capacity,
            open: HashTable::new(),
            shown: HashTable::new(),
            behind: VecDeque::new(),
            first: 0,
            overtaken: VecDeque::new(),
            pending: 0,
        }
    }

    pub(super) fn get(&self, slot: Slot) -> &Entry {
        &self.slots[slot as usize]
    }

    /// Whether something has to go before there is room for another one, and nothing that was shown can.
    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= self.capacity && self.behind.is_empty()
    }

    /// Whether half of it is pending.
    pub(super) fn is_busy(&self) -> bool {
        self.pending > self.capacity / 2
    }

    /// Whether hardly anything but what is pending has room.
    pub(super) fn is_crowded(&self) -> bool {
        self.pending > self.capacity / 8 * 7
    }

    /// Adds a record that is pending. There has to be room.
    pub(super) fn add(&mut self, print: Fingerprint, offset: i64, queue: u32, lane: u32) -> Slot {
        if self.free.is_empty() && self.slots.len() >= self.capacity {
            self.forget_oldest();
        }
        let entry = Entry { print, offset, queue, lane, state: State::Pending, number: 0, next: NONE, last: NONE };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                position(self.slots.len() - 1)
            }
        };
        self.index(slot);
        self.pending += 1;
        slot
    }

    fn index(&mut self, slot: Slot) {
        let (print, lane) = (self.get(slot).print, self.get(slot).lane);
        match self.first(&print, lane) {
            Some(first) => {
                let last = self.slots[first as usize].last;
                self.slots[last as usize].next = slot;
                self.slots[first as usize].last = slot;
            }
            None => {
                self.slots[slot as usize].last = slot;
                let slots = &self.slots;
                let rehash = |slot: &Slot| place(slots, *slot);
                self.open.insert_unique(print.place(lane), slot, rehash);
            }
        }
    }

    /// The first record that is equal, in this lane, and pending or overtaken.
    pub(super) fn first(&self, print: &Fingerprint, lane: u32) -> Option<Slot> {
        self.find(&self.open, print, lane)
    }

    /// The last record that is equal, in this lane, and was shown.
    pub(super) fn shown(&self, print: &Fingerprint, lane: u32) -> Option<Slot> {
        self.find(&self.shown, print, lane)
    }

    fn find(&self, table: &HashTable<Slot>, print: &Fingerprint, lane: u32) -> Option<Slot> {
        let same = |slot: &Slot| {
            let entry = self.get(*slot);
            entry.lane == lane && entry.print == *print
        };
        table.find(print.place(lane), same).copied()
    }

    /// The target has shown it. One that is still in a queue is `early` until [`leave`](Self::leave) says otherwise.
    pub(super) fn show(&mut self, slot: Slot, early: bool) {
        self.unlink(slot);
        self.pending -= usize::from(self.get(slot).state == State::Pending);
        let (print, lane) = (self.get(slot).print, self.get(slot).lane);
        self.slots[slot as usize].state = if early { State::Early } else { State::Matched };
        let slots = &self.slots;
        let same = |other: &Slot| slots[*other as usize].lane == lane && slots[*other as usize].print == print;
        match self.shown.find_mut(print.place(lane), same) {
            Some(other) => *other = slot,
            None => {
                self.shown.insert_unique(print.place(lane), slot, |slot: &Slot| place(slots, *slot));
            }
        }
        if !early {
            self.leave(slot);
        }
    }

    /// One that was shown early has left its queue.
    pub(super) fn leave(&mut self, slot: Slot) {
        let number = self.first.wrapping_add(position(self.behind.len()));
        let entry = &mut self.slots[slot as usize];
        (entry.state, entry.number) = (State::Matched, number);
        self.behind.push_back(slot);
    }

    /// One that is equal, among the next of a lane that were shown after the one with this number.
    pub(super) fn shown_after(&self, number: u32, print: &Fingerprint, lane: u32) -> Option<Slot> {
        let next = number.wrapping_sub(self.first) as usize + 1;
        let end = (next + NEAR).min(self.behind.len());
        let near = self.behind.range(next.min(end)..end).copied();
        near.into_iter().find(|slot| self.get(*slot).lane == lane && self.get(*slot).print == *print)
    }

    /// The target has shown a later one; it has left its queue.
    pub(super) fn overtake(&mut self, slot: Slot) {
        self.slots[slot as usize].state = State::Overtaken;
        self.pending -= 1;
        self.overtaken.push_back(slot);
    }

    /// How many were overtaken; of those that were shown since, some are counted.
    pub(super) fn overtaken(&self) -> usize {
        self.overtaken.len()
    }

    /// The oldest that was overtaken and is still to be shown.
    pub(super) fn oldest_overtaken(&mut self) -> Option<Slot> {
        while let Some(slot) = self.overtaken.front().copied() {
            if self.get(slot).state == State::Overtaken {
                return Some(slot);
            }
            self.overtaken.pop_front();
        }
        None
    }

    /// Takes out one that was never shown: the oldest overtaken one, or one that has left its queue.
    pub(super) fn take(&mut self, slot: Slot) -> Entry {
        if self.overtaken.front() == Some(&slot) {
            self.overtaken.pop_front();
        }
        self.unlink(slot);
        self.free.push(slot);
        let entry = self.get(slot).clone();
        self.pending -= usize::from(entry.state == State::Pending);
        self.slots[slot as usize].state = State::Matched;
        entry
    }

    fn forget_oldest(&mut self) {
        let Some(slot) = self.behind.pop_front() else { return };
        self.first = self.first.wrapping_add(1);
        let hash = place(&self.slots, slot);
        if let Ok(found) = self.shown.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        self.free.push(slot);
    }

    /// Takes one out of those that are equal and still to be shown.
    fn unlink(&mut self, slot: Slot) {
        let (print, lane, next) = (self.get(slot).print, self.get(slot).lane, self.get(slot).next);
        let Some(first) = self.first(&print, lane) else { return };
        if first == slot {
            let last = self.get(slot).last;
            let slots = &mut self.slots;
            if let Ok(mut found) = self.open.find_entry(print.place(lane), |other| *other == slot) {
                if next == NONE {
                    found.remove();
                } else {
                    *found.get_mut() = next;
                    slots[next as usize].last = last;
                }
            }
        } else {
            let mut before = first;
            while self.get(before).next != slot {
                before = self.get(before).next;
            }
            self.slots[before as usize].next = next;
            if next == NONE {
                self.slots[first as usize].last = before;
            }
        }
        let entry = &mut self.slots[slot as usize];
        (entry.next, entry.last) = (NONE, NONE);
    }
}

fn place(slots: &[Entry], slot: Slot) -> u64 {
    let entry = &slots[slot as usize];
    entry.print.place(entry.lane)
}

fn position(at: usize) -> Slot {
    Slot::try_from(at).expect("a window holds far fewer than 2^32 records")
}
