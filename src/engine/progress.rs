//! The watermarks of a route: written by its target producers, committed by the route, and older than any of them.
//!
//! They are kept outside the actors, so that a new generation of an actor goes on where the last one got to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dashmap::DashMap;

use super::counts::{PerTopic, TargetStats, Volume};
use crate::domain::fallback::Fallbacks;
use crate::domain::lag::Ends;
use crate::domain::note::Note;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::TopicIds;

/// A target by its place in the route's plan.
pub type TargetIndex = usize;

/// The progress of one route.
#[derive(Debug)]
pub struct Progress {
    marks: DashMap<(TargetIndex, TopicPartition), Mark>,
    /// The next offset of the shared read, per partition.
    live: DashMap<TopicPartition, i64>,
    /// The end offsets that were seen when the route started.
    goals: DashMap<TopicPartition, i64>,
    /// The furthest ends that were seen, by the id of the topic: another one of its name has ends of its own.
    ends: DashMap<(TopicPartition, Option<String>), i64>,
    /// Where the partitions that are copied here end, and since when.
    heads: DashMap<TopicPartition, Ends>,
    /// What is committed for targets that have not begun yet: where they will go on.
    asleep: DashMap<(TargetIndex, TopicPartition), i64>,
    /// What was known of partitions that were taken away: where their topic was deleted, nobody else knows any more.
    former: DashMap<(TargetIndex, TopicPartition), (i64, Note)>,
    /// Gaps that were found, by topic.
    gaps: DashMap<Arc<str>, u64>,
    /// Which assignment each partition is copied under, where a group shares them out.
    assignments: DashMap<TopicPartition, u64>,
    /// What other processes have committed for the partitions that are theirs.
    elsewhere: DashMap<(TargetIndex, TopicPartition), i64>,
    /// What each target did so far.
    pub targets: boxcar::Vec<TargetStats>,
    /// What was read from the source, for all targets.
    pub read: Volume,
    /// The same for each topic.
    pub topics_read: PerTopic<Volume>,
    /// Batches that were not passed on as they are.
    pub fallbacks: Arc<Fallbacks>,
}

#[derive(Clone, Debug)]
struct Mark {
    watermark: i64,
    /// What is to be committed with it.
    note: Note,
    committed: Option<(i64, Note)>,
    /// Whether its partition stands at a gap: somebody may set another offset in the group.
    held: bool,
}

impl Mark {
    fn is_committed(&self) -> bool {
        self.committed.as_ref().is_some_and(|(offset, note)| *offset == self.watermark && *note == self.note)
    }
}

/// A watermark with what is to be kept with it.
pub type Noted = (TopicPartition, i64, Note);

/// How far the targets have a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the source ends, as far as was seen.
    pub end: Option<i64>,
    /// Each target's, once it has begun with it, or it is known where it will.
    pub targets: Vec<Option<TargetPlace>>,
}

/// How far a target has a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetPlace {
    /// Its watermark.
    pub watermark: i64,
    /// Source records that it does not have yet, at most.
    pub lag: Option<u64>,
    /// For how long the oldest of them has been there.
    pub late: Duration,
}

impl Progress {
    /// For a route with this many targets.
    pub fn new(targets: usize) -> Arc<Self> {
        Arc::new(Self {
            marks: DashMap::new(),
            live: DashMap::new(),
            goals: DashMap::new(),
            ends: DashMap::new(),
            heads: DashMap::new(),
            asleep: DashMap::new(),
            former: DashMap::new(),
            gaps: DashMap::new(),
            assignments: DashMap::new(),
            elsewhere: DashMap::new(),
            targets: (0..targets).map(|_| TargetStats::default()).collect::<boxcar::Vec<_>>(),
            read: Volume::default(),
            topics_read: PerTopic::default(),
            fallbacks: Arc::default(),
        })
    }

    /// The route has so many targets now: never less than before.
    pub fn seat(&self, targets: usize) {
        for _ in self.targets.count()..targets {
            self.targets.push(TargetStats::default());
        }
    }

    /// A target is none any more: nothing of its watermarks is known here from now on.
    pub fn forget_target(&self, target: TargetIndex) {
        self.marks.retain(|(of, _), _| *of != target);
        self.asleep.retain(|(of, _), _| *of != target);
        self.former.retain(|(of, _), _| *of != target);
        self.elsewhere.retain(|(of, _), _| *of != target);
    }

    /// Raises a watermark. It never falls: an older word changes nothing.
    pub fn raise(&self, target: TargetIndex, partition: &TopicPartition, watermark: i64) {
        if let Some(mut mark) = self.marks.get_mut(&(target, partition.clone())) {
            mark.watermark = mark.watermark.max(watermark);
        }
    }

    /// A target begins, or begins again, at this offset: the one place where a watermark may fall, as it does where the source
    /// was cut off or the topic is another one. `note`: what is kept with it.
    pub fn begin(&self, target: TargetIndex, partition: &TopicPartition, watermark: i64, note: Note) {
        self.former.remove(&(target, partition.clone()));
        self.marks.insert((target, partition.clone()), Mark { watermark, note, committed: None, held: false });
    }

    /// A partition stands at a gap. `in_group`: whether the group has this offset, with this note. It is committed otherwise: with
    /// a topic Kafka deletes what was committed for it, and the next process has to know.
    pub fn hold(&self, target: TargetIndex, partition: &TopicPartition, watermark: i64, note: &Note, in_group: bool) {
        let committed = in_group.then(|| (watermark, note.clone()));
        let mark = Mark { watermark, note: note.clone(), committed, held: true };
        self.marks.insert((target, partition.clone()), mark);
    }

    /// Notes that records from `first` on, which a target has, are of this leader epoch.
    pub fn see_epoch(&self, target: TargetIndex, partition: &TopicPartition, epoch: i32, first: i64) {
        if let Some(mut mark) = self.marks.get_mut(&(target, partition.clone())) {
            mark.note.see_epoch(epoch, first);
        }
    }

    /// The watermark of a target partition with what is kept with it, unless somebody else may have set another one.
    pub fn known(&self, target: TargetIndex, partition: &TopicPartition) -> Option<(i64, Note)> {
        let mark = self.marks.get(&(target, partition.clone()))?;
        (!mark.held || !mark.is_committed()).then(|| (mark.watermark, mark.note.clone()))
    }

    /// What is committed for partitions that stand at a gap.
    pub fn held(&self, target: TargetIndex) -> Vec<Noted> {
        let held = self.marks.iter().filter(|mark| mark.key().0 == target && mark.held && mark.is_committed());
        held.map(|mark| (mark.key().1.clone(), mark.watermark, mark.note.clone())).collect()
    }

    /// The partitions that are copied from topics which have other ids now.
    pub fn recreated(&self, ids: &TopicIds) -> BTreeSet<TopicPartition> {
        let other = |mark: &Mark, topic: &str| {
            let now = ids.get(topic).and_then(Option::as_ref);
            mark.note.topic_id.as_ref().zip(now).is_some_and(|(then, now)| then != now)
        };
        let changed = self.marks.iter().filter(|mark| !mark.held && other(mark, &mark.key().1.topic));
        changed.map(|mark| mark.key().1.clone()).collect()
    }

    /// What was known of a partition before it was taken away; or of one that stands at a gap: nobody but this process may know of
    /// it.
    pub fn former(&self, target: TargetIndex, partition: &TopicPartition) -> Option<(i64, Note)> {
        let key = (target, partition.clone());
        let held =
            || Some(self.marks.get(&key).filter(|mark| mark.held)?).map(|mark| (mark.watermark, mark.note.clone()));
        self.former.get(&key).map(|former| former.clone()).or_else(held)
    }

    /// Counts a gap.
    pub fn count_gap(&self, target: TargetIndex, partition: &TopicPartition) {
        *self.gaps.entry(partition.topic.clone()).or_default() += 1;
        self.targets[target].tally.gaps.fetch_add(1, Ordering::Relaxed);
    }

    /// How many gaps were found.
    pub fn gaps(&self) -> u64 {
        self.gaps.iter().map(|count| *count).sum()
    }

    /// The same of a topic.
    pub fn gaps_of(&self, topic: &str) -> u64 {
        self.gaps.get(topic).map_or(0, |count| *count)
    }

    /// Counts what was read of a topic.
    pub fn count_read(&self, topic: &Arc<str>, records: u64, bytes: u64) {
        self.read.add(records, bytes);
        self.topics_read.with(topic, |read| read.add(records, bytes));
    }

    /// Notes ends of the source; `ids` has those of its topics.
    pub fn saw_ends(&self, ends: &HashMap<TopicPartition, i64>, ids: &TopicIds) {
        for (partition, end) in ends {
            let id = ids.get(&*partition.topic).cloned().flatten();
            self.saw_end(partition, id, *end);
        }
    }

    fn saw_end(&self, partition: &TopicPartition, id: Option<String>, end: i64) {
        let mut furthest = self.ends.entry((partition.clone(), id)).or_insert(end);
        *furthest = end.max(*furthest);
    }

    /// The furthest end that was seen of a partition of this topic.
    pub fn end(&self, partition: &TopicPartition, id: Option<String>) -> Option<i64> {
        self.ends.get(&(partition.clone(), id)).map(|end| *end)
    }

    /// Notes where partitions that are copied here end now.
    pub fn look_at_heads(&self, ends: &HashMap<TopicPartition, i64>, at: Duration) {
        for (partition, end) in ends {
            self.heads.entry(partition.clone()).or_default().see(*end, at);
        }
    }

    /// Notes what is committed for a target that has not begun yet.
    pub fn look_at_committed(&self, target: TargetIndex, offsets: HashMap<TopicPartition, i64>) {
        for (partition, offset) in offsets {
            self.asleep.insert((target, partition), offset);
        }
    }

    /// The shared read of a partition has ended: so far the topic was seen that its targets copy.
    pub fn end_live(&self, partition: &TopicPartition) {
        let Some((_, live)) = self.live.remove(partition) else { return };
        let id = self.marks.iter().find(|mark| mark.key().1 == *partition).and_then(|mark| mark.note.topic_id.clone());
        self.saw_end(partition, id, live);
    }

    /// The source does not reach a goal any more: what it has is the goal.
    pub fn lower_goal(&self, partition: &TopicPartition, end: i64) {
        if let Some(mut goal) = self.goals.get_mut(partition) {
            *goal = end.min(*goal);
        }
    }

    /// The watermark of a target partition.
    pub fn watermark(&self, target: TargetIndex, partition: &TopicPartition) -> Option<i64> {
        self.marks.get(&(target, partition.clone())).map(|mark| mark.watermark)
    }

    /// The watermarks of a target that have to be committed; all of them, if asked for, but those that stand at a gap.
    pub fn to_commit(&self, target: TargetIndex, all: bool) -> Vec<Noted> {
        self.marks
            .iter()
            .filter(|mark| mark.key().0 == target && ((all && !mark.held) || !mark.is_committed()))
            .map(|mark| (mark.key().1.clone(), mark.watermark, mark.note.clone()))
            .collect()
    }

    /// A partition was given to this process. What is known of it counts only if it has been its own ever since.
    pub fn given(&self, partition: &TopicPartition, assignment: u64) {
        if self.assignments.insert(partition.clone(), assignment) != Some(assignment) {
            self.forget(partition);
        }
        self.elsewhere.retain(|(_, other), _| other != partition);
    }

    /// All partitions but these are other processes'.
    pub fn keep_only(&self, partitions: &[(TopicPartition, u64)]) {
        let held: Vec<TopicPartition> = self.assignments.iter().map(|held| held.key().clone()).collect();
        for partition in held.iter().filter(|held| !partitions.iter().any(|(kept, _)| kept == *held)) {
            self.taken(partition);
        }
    }

    /// A partition is another process's: what is known here will not be so for long.
    pub fn taken(&self, partition: &TopicPartition) {
        self.assignments.remove(partition);
        self.forget(partition);
    }

    /// A partition is none of the route's any more: nothing of it is known here from now on.
    pub fn drop_partition(&self, partition: &TopicPartition) {
        self.forget(partition);
        self.goals.remove(partition);
        self.former.retain(|(_, other), _| other != partition);
    }

    fn forget(&self, partition: &TopicPartition) {
        for target in 0..self.targets.count() {
            let noted = self.marks.get(&(target, partition.clone())).map(|mark| (mark.watermark, mark.note.clone()));
            if let Some(noted) = noted {
                self.former.insert((target, partition.clone()), noted);
            }
        }
        self.marks.retain(|(_, marked), _| marked != partition);
        self.live.remove(partition);
        self.heads.remove(partition);
        self.asleep.retain(|(_, other), _| other != partition);
    }

    /// How far each target has each partition that is copied here.
    pub fn places(&self, now: Duration) -> BTreeMap<TopicPartition, Place> {
        let mut places = BTreeMap::<TopicPartition, Place>::new();
        let targets = self.targets.count();
        for head in &self.heads {
            let place = Place { end: head.end(), targets: vec![None; targets] };
            places.insert(head.key().clone(), place);
        }
        let begun = self.marks.iter().map(|mark| (mark.key().clone(), mark.watermark));
        let waits = |key: &(TargetIndex, TopicPartition)| !self.marks.contains_key(key);
        let asleep = self.asleep.iter().map(|at| (at.key().clone(), *at)).filter(|(key, _)| waits(key));
        for ((target, partition), watermark) in begun.chain(asleep).collect::<Vec<_>>() {
            let head = self.heads.get(&partition);
            let end = head.as_ref().and_then(|head| head.end());
            let place = places.entry(partition.clone());
            let place = place.or_insert_with(|| Place { end, targets: vec![None; targets] });
            let lag = end.map(|end| u64::try_from(end - watermark).unwrap_or(0));
            let late = head.and_then(|head| head.since(watermark)).map(|since| now.saturating_sub(since));
            if let Some(slot) = place.targets.get_mut(target) {
                *slot = Some(TargetPlace { watermark, lag, late: late.unwrap_or_default() });
            }
        }
        places
    }

    /// The goals that others have to reach.
    pub fn goals_elsewhere(&self) -> Vec<TopicPartition> {
        self.goals.iter().map(|goal| goal.key().clone()).filter(|tp| !self.assignments.contains_key(tp)).collect()
    }

    /// Notes what others have committed. What is beyond the end that the source has since is no progress: it lacks something.
    pub fn committed_elsewhere(
        &self,
        target: TargetIndex,
        offsets: HashMap<TopicPartition, i64>,
        ends: &HashMap<TopicPartition, i64>,
    ) {
        for (partition, offset) in offsets {
            if ends.get(&partition).is_some_and(|end| offset <= *end) {
                self.elsewhere.insert((target, partition), offset);
            }
        }
    }

    /// Compares what is committed with what this process has committed, and notes where it is less: that is committed again.
    /// Returns those, with both offsets.
    pub fn put_back(
        &self,
        target: TargetIndex,
        found: &HashMap<TopicPartition, i64>,
    ) -> Vec<(TopicPartition, i64, i64)> {
        let mut put_back = Vec::new();
        for (partition, found) in found {
            if let Some(mut mark) = self.marks.get_mut(&(target, partition.clone()))
                && let Some(committed) = mark.committed.as_ref().map(|(committed, _)| *committed)
                && committed > *found
            {
                mark.committed = None;
                put_back.push((partition.clone(), committed, *found));
            }
        }
        put_back
    }

    /// What this process has committed for a target.
    pub fn all_committed(&self, target: TargetIndex) -> Vec<TopicPartition> {
        let own = self.marks.iter().filter(|mark| mark.key().0 == target && mark.committed.is_some() && !mark.held);
        own.map(|mark| mark.key().1.clone()).collect()
    }

    /// Whether a higher watermark than this was committed.
    pub fn has_committed_more(&self, target: TargetIndex, partition: &TopicPartition, offset: i64) -> bool {
        let mark = self.marks.get(&(target, partition.clone()));
        mark.is_some_and(|mark| mark.committed.as_ref().is_some_and(|(committed, _)| *committed > offset))
    }

    /// Notes what was committed.
    pub fn committed(&self, target: TargetIndex, offsets: &[Noted]) {
        for (partition, offset, note) in offsets {
            if let Some(mut mark) = self.marks.get_mut(&(target, partition.clone())) {
                mark.committed = Some((*offset, note.clone()));
            }
        }
    }

    /// Notes the next offset of the shared read.
    pub fn set_live(&self, partition: &TopicPartition, next: i64) {
        self.live.insert(partition.clone(), next);
    }

    /// The next offset of the shared read.
    pub fn live(&self, partition: &TopicPartition) -> Option<i64> {
        self.live.get(partition).map(|next| *next)
    }

    /// Notes the end offsets that were seen at the start; what is there already stays.
    pub fn set_goals(&self, ends: HashMap<TopicPartition, i64>) {
        for (partition, end) in ends {
            self.goals.entry(partition).or_insert(end);
        }
    }

    /// Whether it is known where the source ended when this process began.
    pub fn has_goals(&self) -> bool {
        !self.goals.is_empty()
    }

    /// Source records between the watermarks and the goals, over all targets: an upper bound, as offsets may hold no
    /// record.
    pub fn remaining(&self) -> u64 {
        let per_goal = self.goals.iter().map(|goal| {
            (0..self.targets.count())
                .map(|target| {
                    let mark = self.watermark(target, goal.key()).unwrap_or(0);
                    u64::try_from(goal.value() - mark).unwrap_or(0)
                })
                .sum::<u64>()
        });
        per_goal.sum()
    }

    /// The watermark, here or elsewhere. What was known of others counts no more where a partition is this process's: it has not been
    /// compared with the source yet.
    fn furthest(&self, target: TargetIndex, partition: &TopicPartition) -> Option<i64> {
        if self.assignments.contains_key(partition) {
            return self.watermark(target, partition);
        }
        let elsewhere = || self.elsewhere.get(&(target, partition.clone())).map(|offset| *offset);
        self.watermark(target, partition).or_else(elsewhere)
    }

    /// Whether this target has reached the goal in each of its partitions for which `counts` is true.
    pub fn reached(&self, target: TargetIndex, counts: impl Fn(&TopicPartition) -> bool) -> bool {
        self.goals
            .iter()
            .filter(|goal| counts(goal.key()))
            .all(|goal| self.furthest(target, goal.key()).is_some_and(|mark| mark >= *goal.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_while_nobody_attended_is_others_to_finish() {
        let progress = Progress::new(1);
        let [kept, lost] = [0, 1].map(|number| TopicPartition::new("a", number));
        progress.set_goals(HashMap::from([(kept.clone(), 10), (lost.clone(), 10)]));
        for partition in [&kept, &lost] {
            progress.given(partition, 1);
            progress.begin(0, partition, 5, Note::default());
        }
        assert!(progress.goals_elsewhere().is_empty());
        progress.keep_only(&[(kept.clone(), 1)]);
        assert_eq!(progress.goals_elsewhere(), std::slice::from_ref(&lost));
        assert_eq!((progress.watermark(0, &kept), progress.watermark(0, &lost)), (Some(5), None));
        progress.raise(0, &kept, 10);
        assert!(!progress.reached(0, |_| true), "what others have is not known yet");
        let committed = |offset, end| {
            let of = |offset| HashMap::from([(lost.clone(), offset)]);
            progress.committed_elsewhere(0, of(offset), &of(end));
        };
        committed(15, 10);
        assert!(!progress.reached(0, |_| true), "the source has lost what is committed");
        committed(10, 10);
        assert!(progress.reached(0, |_| true));
        progress.given(&lost, 2);
        assert!(!progress.reached(0, |_| true), "it is this process's now, which has not looked at it yet");
    }
}
