//! What one side has and the other has not: is it a difference, or may it rightly be gone?

use super::{Comparison, Queue, Source};
use crate::verify::orphans::Orphan;
use crate::verify::outcome::{KEPT, Leftover, Outcome};
use crate::verify::window::{Slot, State};

/// How far a lane is followed beyond a sample, for records of it that lack.
const PATIENCE: i64 = 8192;

impl Comparison {
    /// Of a sample: whether a lane has shown all that it will show of it.
    pub fn is_satisfied(&self, lane: usize) -> bool {
        let of_lane = |source: usize| &self.queues[self.queue_of(source, lane)];
        let passed = |at: i64| self.lanes[lane].position > at + PATIENCE;
        let shown = |queue: &Queue| {
            queue.pending.is_empty() && (self.window.overtaken() == 0 || queue.newest.is_some_and(passed))
        };
        self.rules.sampled
            && self.sources.iter().all(|source| source.ended)
            && (0..self.sources.len()).all(|source| shown(of_lane(source)))
    }

    /// A source record that the target does not have: is it missing, or may it be gone?
    pub(super) fn never_shown(&mut self, record: &Leftover) {
        let queue = self.queue_of(record.source, record.lane);
        let scope = &self.sources[record.source].scope;
        let tally = &mut self.outcome.tally;
        if record.offset >= scope.watermark {
            return;
        }
        if scope.skipped.iter().any(|(from, to)| (*from..*to).contains(&record.offset)) {
            tally.skipped += 1;
            return;
        }
        if self.rules.sampled && self.queues[queue].first.is_none() {
            tally.unplaced += 1;
            return;
        }
        let before_all = self.queues[queue].first.is_none_or(|first| record.offset < first);
        let lane = &mut self.lanes[record.lane];
        if before_all && lane.gone > 0 {
            lane.gone -= 1;
            tally.gone_at_target += 1;
            return;
        }
        match self.rules.target_compacted.then(|| self.is_superseded(record)) {
            Some(Some(true)) => self.outcome.tally.compacted += 1,
            Some(None) => self.outcome.tally.compacted_unproven += 1,
            // it could not be looked at again
            Some(Some(false)) if self.outcome.missing.len() >= KEPT => self.outcome.tally.compacted_unproven += 1,
            _ => self.outcome.add_missing(*record),
        }
    }

    /// Whether a compacted target may have forgotten a source record; `None`: too many keys to know.
    fn is_superseded(&self, record: &Leftover) -> Option<bool> {
        if record.print.key().is_some() && record.print.is_tombstone() {
            return Some(true);
        }
        // of another source partition it is not known which came first
        let after = |source: usize| if source == record.source { record.offset } else { -1 };
        let later = |(at, source): (usize, &Source)| source.latest.has_later(&record.print, after(at));
        self.sources.iter().enumerate().map(later).fold(Some(false), either)
    }

    /// A target record that the source does not have: is it extra, or may it be gone?
    pub(super) fn not_at_source(&mut self, orphan: &Orphan) {
        if self.rules.sampled && !self.is_within(orphan) {
            self.outcome.tally.aside += 1;
            return;
        }
        if self.gone_at_source > 0 && (0..self.sources.len()).any(|source| self.is_unsettled(source, orphan)) {
            self.gone_at_source -= 1;
            self.outcome.tally.gone_at_source += 1;
            return;
        }
        if self.truncated > 0 {
            self.truncated -= 1;
            self.outcome.tally.gone_at_source += 1;
            return;
        }
        match self.rules.source_compacted.then(|| self.is_superseded_at_source(orphan)) {
            Some(Some(true)) => self.outcome.tally.compacted += 1,
            Some(None) => self.outcome.tally.compacted_unproven += 1,
            Some(Some(false)) if self.outcome.extra.len() >= KEPT => self.outcome.tally.compacted_unproven += 1,
            _ => {
                let Orphan { print, offset, lane } = *orphan;
                self.outcome.add_extra(Leftover { print, source: 0, lane, offset });
            }
        }
    }

    /// Of a sample: whether a record is among those that were compared.
    fn is_within(&self, orphan: &Orphan) -> bool {
        let within = |source: usize| {
            let queue = &self.queues[self.queue_of(source, orphan.lane)];
            queue.first_at.is_some_and(|first| first < orphan.offset)
                && queue.newest.is_some_and(|newest| orphan.offset < newest)
        };
        (0..self.sources.len()).any(within)
    }

    /// Whether a record may be one that a source has no more: it is from before the first that was found there.
    fn is_unsettled(&self, source: usize, orphan: &Orphan) -> bool {
        let first = self.queues[self.queue_of(source, orphan.lane)].first_at;
        self.sources[source].scope.gone > 0 && first.is_none_or(|first| orphan.offset < first)
    }

    /// Whether a compacted source may have forgotten a target record: the key has a later one on the target, or one at the source
    /// that the target need not have yet. `None`: too many keys to know.
    fn is_superseded_at_source(&self, orphan: &Orphan) -> Option<bool> {
        if orphan.print.key().is_some() && orphan.print.is_tombstone() {
            return Some(true);
        }
        let here = self.lanes[orphan.lane].latest.has_later(&orphan.print, orphan.offset);
        let beyond = |source: &Source| source.latest.has_later(&orphan.print, source.scope.watermark - 1);
        self.sources.iter().map(beyond).chain([here]).fold(Some(false), either)
    }

    /// What it all came to: nothing more is read.
    pub fn finish(mut self) -> Outcome {
        for queue in 0..self.queues.len() {
            if let Some((offset, _)) = self.queues[queue].jump.take() {
                self.pass(queue, offset);
            }
        }
        while let Some(slot) = self.window.oldest_overtaken() {
            self.give_up(slot);
        }
        for queue in 0..self.queues.len() {
            while let Some(slot) = self.queues[queue].pending.pop_front() {
                if self.window.get(slot).state != State::Early {
                    self.give_up(slot);
                }
            }
        }
        while let Some(orphan) = self.orphans.oldest() {
            self.not_at_source(&orphan);
        }
        self.settle_compacted();
        self.outcome
    }

    fn give_up(&mut self, slot: Slot) {
        let entry = self.window.take(slot);
        let leftover = self.leftover(&entry);
        self.never_shown(&leftover);
    }

    /// What was the last of its key when it was given up, and is not any more.
    fn settle_compacted(&mut self) {
        if self.rules.target_compacted {
            for record in std::mem::take(&mut self.outcome.missing) {
                self.outcome.tally.missing -= 1;
                self.outcome.tally.source_sum = self.outcome.tally.source_sum.wrapping_sub(record.print.whole());
                match self.is_superseded(&record) {
                    Some(true) => self.outcome.tally.compacted += 1,
                    Some(false) => self.outcome.add_missing(record),
                    None => self.outcome.tally.compacted_unproven += 1,
                }
            }
        }
        if self.rules.source_compacted {
            for record in std::mem::take(&mut self.outcome.extra) {
                self.outcome.tally.extra -= 1;
                self.outcome.tally.target_sum = self.outcome.tally.target_sum.wrapping_sub(record.print.whole());
                let Leftover { print, offset, lane, .. } = record;
                match self.is_superseded_at_source(&Orphan { print, offset, lane }) {
                    Some(true) => self.outcome.tally.compacted += 1,
                    Some(false) => self.outcome.add_extra(record),
                    None => self.outcome.tally.compacted_unproven += 1,
                }
            }
        }
    }
}

/// One of the two is so; `None` where that is not known.
fn either(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}
