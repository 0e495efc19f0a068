//! The comparison of some source partitions with the target partitions that they go to. Pure: it is told what was read.
//!
//! A target's record carries no source offset, so the two sides are aligned by fingerprints. Per source partition and lane (a target
//! partition) there is a queue of source records that the target is still to show. In a clean copy each target record is the next of
//! its queue, and nothing is looked up. One that is not is looked for in the window: ahead, it jumps; behind, it is a duplicate; nowhere,
//! it waits as an orphan for the source to come to it.

mod excuses;
mod given;
mod latest;

use std::collections::VecDeque;

pub use self::given::{LaneScope, Rules, Seen, SourceScope};
use self::latest::Latest;
use super::fingerprint::Fingerprint;
use super::orphans::{Orphan, Orphans};
use super::outcome::{Leftover, Outcome, Pair, list};
use super::window::{Entry, Slot, State, Window};

/// How many source records per queue are read before a target's record counts as one that is not there.
pub const LOOKAHEAD: usize = 8192;
/// So many records in a row that are not found are no accident: one side has more than the other.
const LOST: u32 = 1024;
/// What became of a target's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is dealt with.
    Taken,
    /// It has to be shown again when more of the source was read.
    Wait,
}

/// The comparison.
#[derive(Debug)]
pub struct Comparison {
    rules: Rules,
    sources: Vec<Source>,
    lanes: Vec<Lane>,
    /// Per source and lane.
    queues: Vec<Queue>,
    window: Window,
    orphans: Orphans,
    outcome: Outcome,
    gone_at_source: u64,
    truncated: u64,
}

#[derive(Debug)]
struct Source {
    scope: SourceScope,
    position: i64,
    /// Where what was lost ends: a record from there on tells that nothing before it on the target is at the source any more.
    settled: i64,
    ended: bool,
    latest: Latest,
}

#[derive(Debug)]
struct Lane {
    scope: LaneScope,
    position: i64,
    /// The same, for what the lane has lost.
    settled: i64,
    ended: bool,
    /// The queue that the last record was of.
    queue: usize,
    /// How many records in a row were not found.
    lost: u32,
    /// The number of the last duplicate, if the last record was one.
    repeating: Option<u32>,
    latest: Latest,
    gone: u64,
}

#[derive(Debug, Default)]
struct Queue {
    pending: VecDeque<Slot>,
    /// The lowest source offset that the target has shown.
    first: Option<i64>,
    /// The lowest target offset that was one of this queue, and the highest.
    first_at: Option<i64>,
    newest: Option<i64>,
    /// A record that was shown before others: an outlier, or the others are missing. What comes next tells.
    jump: Option<(i64, i64)>,
}

impl Comparison {
    /// Nothing was read yet.
    pub fn new(rules: Rules, sources: Vec<SourceScope>, lanes: Vec<LaneScope>) -> Self {
        let queues = (0..sources.len() * lanes.len()).map(|_| Queue::default()).collect();
        let gone_at_source = sources.iter().map(|source| source.gone).sum();
        let truncated = sources.iter().map(|source| source.truncated).sum();
        let partitions = sources.len() + lanes.len();
        let latest = || Latest::one_of(partitions);
        let source = |scope: SourceScope| Source {
            position: scope.start,
            settled: scope.start,
            scope,
            ended: false,
            latest: latest(),
        };
        let lane = |scope: LaneScope| Lane {
            position: scope.start,
            settled: scope.start,
            gone: scope.gone,
            scope,
            ended: false,
            queue: 0,
            lost: 0,
            repeating: None,
            latest: latest(),
        };
        let lanes: Vec<Lane> =
            lanes.into_iter().enumerate().map(|(at, scope)| Lane { queue: at, ..lane(scope) }).collect();
        Self {
            rules,
            sources: sources.into_iter().map(source).collect(),
            lanes,
            queues,
            window: Window::new(rules.window),
            orphans: Orphans::new(rules.window / 8),
            outcome: Outcome::default(),
            gone_at_source,
            truncated,
        }
    }

    fn queue_of(&self, source: usize, lane: usize) -> usize {
        source * self.lanes.len() + lane
    }

    fn source_of(&self, queue: usize) -> usize {
        queue / self.lanes.len()
    }

    /// Whether more of a source is wanted for the record that a lane waits with.
    pub fn wants(&self, source: usize, lane: usize) -> bool {
        let state = &self.sources[source];
        if state.ended {
            return false;
        }
        // in a clean copy the record is the next of a queue, so it is of one that is empty
        let is_empty = |source: usize| self.queues[self.queue_of(source, lane)].pending.is_empty();
        if !self.window.is_crowded() {
            if is_empty(source) {
                return true;
            }
            if (0..self.sources.len()).any(|source| !self.sources[source].ended && is_empty(source)) {
                return false;
            }
        }
        let room = (LOOKAHEAD / self.sources.len()).max(256);
        if self.queues[self.queue_of(source, lane)].pending.len() < room && !self.window.is_busy() {
            return true;
        }
        self.lanes[lane].lost >= LOST && self.source_has_more()
    }

    /// Whether there is more to come at the source than on the target: then it is the source that has to move on.
    fn source_has_more(&self) -> bool {
        let left = |position: i64, end: i64| (end - position).max(0);
        let source: i64 = self.sources.iter().map(|source| left(source.position, source.scope.end)).sum();
        let target: i64 = self.lanes.iter().map(|lane| left(lane.position, lane.scope.end)).sum();
        source > target
    }

    /// Whether a source has to be read on now that all lanes have ended.
    pub fn is_open(&self, source: usize) -> bool {
        let state = &self.sources[source];
        !state.ended && (state.position < state.scope.watermark || !self.orphans.is_empty())
    }

    /// The source was read up to here, whether there are records or not.
    pub fn source_at(&mut self, source: usize, position: i64) {
        self.sources[source].position = position;
    }

    /// A source has lost what comes next before it was read, up to this offset: the target may have it.
    pub fn source_lost(&mut self, source: usize, to: i64) {
        let state = &mut self.sources[source];
        let records = u64::try_from(to - state.position).unwrap_or(0);
        (state.position, state.settled) = (to, to);
        state.scope.gone += records;
        self.gone_at_source += records;
        for lane in 0..self.lanes.len() {
            let queue = self.queue_of(source, lane);
            self.queues[queue].first_at = None;
        }
    }

    /// A lane has lost what comes next before it was read, up to this offset: the source may have it.
    pub fn lane_lost(&mut self, lane: usize, to: i64) {
        let state = &mut self.lanes[lane];
        state.gone = state.gone.saturating_add(u64::try_from(to - state.position).unwrap_or(0));
        (state.position, state.settled) = (to, to);
        for source in 0..self.sources.len() {
            let queue = self.queue_of(source, lane);
            self.queues[queue].first = None;
        }
    }

    /// All of a source was read.
    pub fn source_ended(&mut self, source: usize) {
        self.sources[source].ended = true;
    }

    /// All of a lane was read.
    pub fn lane_ended(&mut self, lane: usize) {
        self.lanes[lane].ended = true;
    }

    /// Takes the next record of a source; it goes to this lane.
    pub fn source(&mut self, source: usize, lane: usize, seen: &Seen) {
        let state = &mut self.sources[source];
        state.position = seen.offset + 1;
        if self.rules.source_compacted || self.rules.target_compacted {
            state.latest.note(&seen.print, seen.offset);
        }
        if seen.offset < state.scope.watermark {
            self.outcome.tally.source += 1;
        }
        let queue = self.queue_of(source, lane);
        if !self.orphans.is_empty()
            && let Some(orphan) = self.orphans.take(&seen.print, lane)
        {
            self.late(queue, seen, &orphan);
            return;
        }
        let entry =
            |slot: &Self| Leftover { print: seen.print, source: slot.source_of(queue), lane, offset: seen.offset };
        if self.lanes[lane].ended {
            let leftover = entry(self);
            self.never_shown(&leftover);
            return;
        }
        while self.window.is_full() {
            self.make_room();
        }
        let slot = self.window.add(seen.print, seen.offset, index(queue), index(lane));
        self.queues[queue].pending.push_back(slot);
    }

    /// An orphan whose turn has come at the source.
    fn late(&mut self, queue: usize, seen: &Seen, orphan: &Orphan) {
        self.matched(queue, seen.offset, orphan.offset, &seen.print);
        if self.queues[queue].newest.is_some_and(|newest| newest > orphan.offset) {
            self.reordered(queue, seen.offset, orphan.offset);
            return;
        }
        self.queues[queue].jump = None;
        self.pass(queue, i64::MAX);
    }

    /// Takes the next record of a lane, or asks for more of the source first.
    pub fn target(&mut self, lane: usize, seen: &Seen) -> Verdict {
        let queue = self.lanes[lane].queue;
        let next = self.queues.get(queue).and_then(|queue| queue.pending.front());
        if let Some(slot) = next.copied().filter(|slot| self.window.get(*slot).print == seen.print)
            && self.lanes[lane].repeating.is_none()
        {
            self.count(lane, seen);
            self.in_turn(queue, slot, seen);
            return Verdict::Taken;
        }
        if self.repeats(lane, seen) {
            self.count(lane, seen);
            return Verdict::Taken;
        }
        if let Some(slot) = self.window.first(&seen.print, index(lane)) {
            self.count(lane, seen);
            self.found(lane, slot, seen);
            return Verdict::Taken;
        }
        if (0..self.sources.len()).any(|source| self.wants(source, lane)) {
            return Verdict::Wait;
        }
        self.count(lane, seen);
        if let Some(slot) = self.window.shown(&seen.print, index(lane)) {
            self.duplicated(lane, slot, seen);
        } else {
            self.orphaned(lane, seen);
        }
        Verdict::Taken
    }

    fn count(&mut self, lane: usize, seen: &Seen) {
        self.outcome.tally.target += 1;
        let state = &mut self.lanes[lane];
        state.position = seen.offset + 1;
        if self.rules.source_compacted || self.rules.target_compacted {
            state.latest.note(&seen.print, seen.offset);
        }
    }

    /// Where the target repeats what it has shown, it does so in order; a record that comes again later at the source must not end that.
    fn repeats(&mut self, lane: usize, seen: &Seen) -> bool {
        let Some(last) = self.lanes[lane].repeating else { return false };
        match self.window.shown_after(last, &seen.print, index(lane)) {
            Some(slot) => {
                self.duplicated(lane, slot, seen);
                true
            }
            None => {
                self.lanes[lane].repeating = None;
                false
            }
        }
    }

    fn duplicated(&mut self, lane: usize, slot: Slot, seen: &Seen) {
        let entry = self.window.get(slot);
        let (queue, offset) = (entry.queue as usize, entry.offset);
        self.lanes[lane].repeating = (entry.state == State::Matched).then_some(entry.number);
        self.lanes[lane].lost = 0;
        self.outcome.tally.duplicated += 1;
        let pair = Pair { source: self.source_of(queue), offset, lane, at: seen.offset };
        list(&mut self.outcome.duplicated, pair);
    }

    /// A record that is still to be shown, but is not the next one of the last queue.
    fn found(&mut self, lane: usize, slot: Slot, seen: &Seen) {
        let entry = self.window.get(slot);
        let (queue, offset, state) = (entry.queue as usize, entry.offset, entry.state);
        self.lanes[lane].queue = queue;
        if state == State::Overtaken {
            self.window.show(slot, false);
            self.matched(queue, offset, seen.offset, &seen.print);
            self.reordered(queue, offset, seen.offset);
        } else if self.queues[queue].pending.front() == Some(&slot) {
            self.in_turn(queue, slot, seen);
        } else {
            self.ahead(queue, slot, seen);
        }
    }

    /// The next record of a queue. If another one came before it, that was an outlier.
    fn in_turn(&mut self, queue: usize, slot: Slot, seen: &Seen) {
        if let Some((offset, at)) = self.queues[queue].jump.take() {
            self.reordered(queue, offset, at);
        }
        self.queues[queue].pending.pop_front();
        self.window.show(slot, false);
        let offset = self.window.get(slot).offset;
        self.matched(queue, offset, seen.offset, &seen.print);
        self.drop_early(queue);
    }

    /// A record that comes later in its queue: it jumped, or those before it are missing. The next one tells.
    fn ahead(&mut self, queue: usize, slot: Slot, seen: &Seen) {
        let offset = self.window.get(slot).offset;
        let jump = self.queues[queue].jump.take();
        self.window.show(slot, true);
        self.matched(queue, offset, seen.offset, &seen.print);
        match jump {
            Some((before, _)) if before < offset => self.pass(queue, offset),
            Some((outlier, at)) => {
                self.reordered(queue, outlier, at);
                self.queues[queue].jump = Some((offset, seen.offset));
            }
            None => self.queues[queue].jump = Some((offset, seen.offset)),
        }
    }

    /// The target has passed all records of a queue up to this one.
    fn pass(&mut self, queue: usize, offset: i64) {
        while let Some(slot) = self.queues[queue].pending.front().copied() {
            if self.window.get(slot).offset > offset {
                break;
            }
            self.queues[queue].pending.pop_front();
            self.leave_behind(slot);
        }
        self.drop_early(queue);
        while self.window.overtaken() > self.rules.window / 4 {
            self.make_room();
        }
    }

    fn leave_behind(&mut self, slot: Slot) {
        match self.window.get(slot).state {
            State::Early => self.window.leave(slot),
            _ => self.window.overtake(slot),
        }
    }

    fn drop_early(&mut self, queue: usize) {
        while let Some(slot) = self.queues[queue].pending.front().copied() {
            if self.window.get(slot).state != State::Early {
                break;
            }
            self.queues[queue].pending.pop_front();
            self.window.leave(slot);
        }
    }

    fn matched(&mut self, queue: usize, offset: i64, at: i64, print: &Fingerprint) {
        let source = self.source_of(queue);
        let lane = queue % self.lanes.len();
        self.lanes[lane].lost = 0;
        self.lanes[lane].repeating = None;
        let queue = &mut self.queues[queue];
        let least = |known: Option<i64>, new: i64| Some(known.map_or(new, |known| known.min(new)));
        if at >= self.lanes[lane].settled {
            queue.first = least(queue.first, offset);
        }
        if offset >= self.sources[source].settled {
            queue.first_at = least(queue.first_at, at);
        }
        queue.newest = Some(queue.newest.map_or(at, |newest| newest.max(at)));
        let tally = &mut self.outcome.tally;
        if offset < self.sources[source].scope.watermark {
            tally.matched += 1;
            tally.source_sum = tally.source_sum.wrapping_add(print.whole());
            tally.target_sum = tally.target_sum.wrapping_add(print.whole());
        } else {
            tally.in_flight += 1;
        }
    }

    fn reordered(&mut self, queue: usize, offset: i64, at: i64) {
        self.outcome.tally.reordered += 1;
        let pair = Pair { source: self.source_of(queue), offset, lane: queue % self.lanes.len(), at };
        list(&mut self.outcome.reordered, pair);
    }

    fn orphaned(&mut self, lane: usize, seen: &Seen) {
        if seen.aside {
            self.outcome.tally.aside += 1;
            return;
        }
        self.lanes[lane].lost += 1;
        if let Some(oldest) = self.orphans.add(Orphan { print: seen.print, offset: seen.offset, lane }) {
            self.not_at_source(&oldest);
        }
    }

    /// Gives up the oldest record that the target was to show.
    fn make_room(&mut self) {
        let slot = self.window.oldest_overtaken().or_else(|| {
            let longest = self.queues.iter_mut().max_by_key(|queue| queue.pending.len())?;
            longest.pending.pop_front()
        });
        let Some(slot) = slot else { return };
        if self.window.get(slot).state == State::Early {
            self.window.leave(slot);
            return;
        }
        let entry = self.window.take(slot);
        let leftover = self.leftover(&entry);
        self.never_shown(&leftover);
        self.drop_early(entry.queue as usize);
    }

    fn leftover(&self, entry: &Entry) -> Leftover {
        Leftover {
            print: entry.print,
            source: self.source_of(entry.queue as usize),
            lane: entry.lane as usize,
            offset: entry.offset,
        }
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("there are fewer than 2^32 partitions")
}

#[cfg(test)]
mod tests;
