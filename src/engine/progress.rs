//! The watermarks of a route: written by its target producers, committed by the route, and older than any of them.
//!
//! They are kept outside the actors, so that a new generation of an actor goes on where the last one got to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;

use crate::domain::detach::Load;
use crate::domain::gap::add_epochs;
use crate::domain::note::Note;
use crate::domain::topic_partition::TopicPartition;

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
    /// The furthest ends that were seen.
    ends: DashMap<TopicPartition, i64>,
    /// Which leaders wrote the records that were read, as in [`Note::epochs`].
    epochs: DashMap<TopicPartition, Vec<(i32, i64)>>,
    /// What was known of partitions that were taken away: where their topic was deleted, nobody else knows any more.
    former: DashMap<(TargetIndex, TopicPartition), (i64, Note)>,
    /// Gaps that were found, by topic.
    gaps: DashMap<Arc<str>, u64>,
    /// Which assignment each partition is copied under, where a group shares them out.
    assignments: DashMap<TopicPartition, u64>,
    /// What other processes have committed for the partitions that are theirs.
    elsewhere: DashMap<(TargetIndex, TopicPartition), i64>,
    /// What each target did so far.
    pub targets: Vec<TargetStats>,
    /// What was read from the source, for all targets.
    pub read: Volume,
}

#[derive(Clone, Debug)]
struct Mark {
    watermark: i64,
    committed: Option<i64>,
    /// What is committed with it; without the epochs, which are the source's.
    note: Note,
}

/// A watermark with what is to be kept with it.
pub type Noted = (TopicPartition, i64, Note);

/// Records and bytes.
#[derive(Debug, Default)]
pub struct Volume {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Volume {
    /// Adds to both.
    pub fn add(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What a target did so far, and what it holds.
#[derive(Debug, Default)]
pub struct TargetStats {
    /// Acknowledged by the target.
    pub written: Volume,
    /// What went wrong on the way.
    pub tally: Tally,
    life: Mutex<Arc<TargetLoad>>,
}

/// What went wrong with a target, counted.
#[derive(Debug, Default)]
pub struct Tally {
    /// Records that the target refused, each once.
    pub refused: AtomicU64,
    /// Attempts that failed and were followed by another.
    pub retries: AtomicU64,
    /// Records that were written as dead letters.
    pub dead_lettered: AtomicU64,
    /// Records that were dropped.
    pub dropped: AtomicU64,
    /// Records that were kept as envelopes.
    pub kept: AtomicU64,
    /// Time spent waiting for a limit, or for a broker that throttles, in milliseconds.
    pub throttled_ms: AtomicU64,
    /// How often a partition left the shared read.
    pub detached: AtomicU64,
    /// How often its actors were made anew.
    pub restarts: AtomicU64,
    /// Produce requests that got no answer in time.
    pub timed_out: AtomicU64,
}

/// What one life of a target holds. A new life counts from nothing, and an old one can't spoil its count.
#[derive(Debug, Default)]
pub struct TargetLoad {
    /// Bytes that the target has not acknowledged.
    pub backlog: AtomicU64,
    /// Partitions that follow the shared read.
    pub attached: AtomicU64,
    /// Partitions that read for themselves.
    pub detached: AtomicU64,
    /// Batches acknowledged.
    pub acknowledged: AtomicU64,
}

impl TargetStats {
    /// Begins a new life.
    pub fn begin(&self) -> Arc<TargetLoad> {
        let life = Arc::<TargetLoad>::default();
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = life.clone();
        life
    }

    /// What the present life holds.
    pub fn life(&self) -> Arc<TargetLoad> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same, as the judge wants it.
    pub fn load(&self) -> Load {
        let life = self.life();
        Load {
            backlog: life.backlog.load(Ordering::Relaxed),
            attached: life.attached.load(Ordering::Relaxed) > 0,
            acknowledged: life.acknowledged.load(Ordering::Relaxed),
        }
    }
}

impl Progress {
    /// For a route with this many targets.
    pub fn new(targets: usize) -> Arc<Self> {
        Arc::new(Self {
            marks: DashMap::new(),
            live: DashMap::new(),
            goals: DashMap::new(),
            ends: DashMap::new(),
            epochs: DashMap::new(),
            former: DashMap::new(),
            gaps: DashMap::new(),
            assignments: DashMap::new(),
            elsewhere: DashMap::new(),
            targets: (0..targets).map(|_| TargetStats::default()).collect(),
            read: Volume::default(),
        })
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
        add_epochs(&mut self.epochs.entry(partition.clone()).or_default(), &note.epochs);
        let note = Note { epochs: Vec::new(), ..note };
        self.former.remove(&(target, partition.clone()));
        self.marks.insert((target, partition.clone()), Mark { watermark, committed: None, note });
    }

    /// Notes which leaders wrote what was read.
    pub fn observe(&self, partition: &TopicPartition, epochs: &[(i32, i64)]) {
        if !epochs.is_empty() {
            add_epochs(&mut self.epochs.entry(partition.clone()).or_default(), epochs);
        }
    }

    /// The source was cut off at an offset: who wrote what was above it is of no interest any more.
    pub fn cut_off(&self, partition: &TopicPartition, at: i64) {
        if let Some(mut history) = self.epochs.get_mut(partition) {
            history.retain(|(_, first)| *first < at);
        }
        self.ends.remove(partition);
        self.live.remove(partition);
    }

    /// The watermark of a target partition, with what is kept with it.
    pub fn noted(&self, target: TargetIndex, partition: &TopicPartition) -> Option<(i64, Note)> {
        let mark = self.marks.get(&(target, partition.clone()))?;
        Some((mark.watermark, self.note_of(partition, &mark)))
    }

    fn note_of(&self, partition: &TopicPartition, mark: &Mark) -> Note {
        let epochs = self.epochs.get(partition).map(|history| history.clone()).unwrap_or_default();
        let mut note = Note { epochs, ..mark.note.clone() };
        note.epochs.retain(|(_, first)| *first < mark.watermark);
        note.trim();
        note
    }

    /// Whether all that is known of a target partition is committed.
    pub fn is_committed(&self, target: TargetIndex, partition: &TopicPartition) -> bool {
        self.marks.get(&(target, partition.clone())).is_some_and(|mark| mark.committed == Some(mark.watermark))
    }

    /// What was known of a partition before it was taken away.
    pub fn former(&self, target: TargetIndex, partition: &TopicPartition) -> Option<(i64, Note)> {
        self.former.get(&(target, partition.clone())).map(|former| former.clone())
    }

    /// Counts a gap.
    pub fn count_gap(&self, partition: &TopicPartition) {
        *self.gaps.entry(partition.topic.clone()).or_default() += 1;
    }

    /// How many gaps were found.
    pub fn gaps(&self) -> u64 {
        self.gaps.iter().map(|count| *count).sum()
    }

    /// Notes ends of the source.
    pub fn saw_ends<'a>(&self, ends: impl Iterator<Item = (&'a TopicPartition, &'a i64)>) {
        for (partition, end) in ends {
            let mut furthest = self.ends.entry(partition.clone()).or_insert(*end);
            *furthest = (*furthest).max(*end);
        }
    }

    /// The furthest end of a partition that was seen.
    pub fn end(&self, partition: &TopicPartition) -> Option<i64> {
        let live = self.live(partition);
        self.ends.get(partition).map(|end| *end).max(live)
    }

    /// The topic is another one: its ends and leaders are its own.
    pub fn is_another(&self, partition: &TopicPartition) {
        self.ends.remove(partition);
        self.epochs.remove(partition);
        self.live.remove(partition);
    }

    /// The watermark of a target partition.
    pub fn watermark(&self, target: TargetIndex, partition: &TopicPartition) -> Option<i64> {
        self.marks.get(&(target, partition.clone())).map(|mark| mark.watermark)
    }

    /// The watermarks of a target that have to be committed; all of them, if asked for.
    pub fn to_commit(&self, target: TargetIndex, all: bool) -> Vec<Noted> {
        self.marks
            .iter()
            .filter(|mark| mark.key().0 == target && (all || mark.committed != Some(mark.watermark)))
            .map(|mark| (mark.key().1.clone(), mark.watermark, self.note_of(&mark.key().1, &mark)))
            .collect()
    }

    /// A partition was given to this process. What is known of it counts only if it has been its own ever since.
    pub fn given(&self, partition: &TopicPartition, assignment: u64) {
        if self.assignments.insert(partition.clone(), assignment) != Some(assignment) {
            self.forget(partition);
        }
        self.elsewhere.retain(|(_, other), _| other != partition);
    }

    /// A partition is another process's: what is known here will not be so for long.
    pub fn taken(&self, partition: &TopicPartition) {
        self.assignments.remove(partition);
        self.forget(partition);
    }

    fn forget(&self, partition: &TopicPartition) {
        for target in 0..self.targets.len() {
            if let Some(noted) = self.noted(target, partition) {
                self.former.insert((target, partition.clone()), noted);
            }
        }
        self.marks.retain(|(_, marked), _| marked != partition);
        self.epochs.remove(partition);
        self.live.remove(partition);
    }

    /// The goals that others have to reach.
    pub fn goals_elsewhere(&self) -> Vec<TopicPartition> {
        self.goals.iter().map(|goal| goal.key().clone()).filter(|tp| !self.assignments.contains_key(tp)).collect()
    }

    /// Notes what others have committed.
    pub fn committed_elsewhere(&self, target: TargetIndex, offsets: HashMap<TopicPartition, i64>) {
        for (partition, offset) in offsets {
            self.elsewhere.insert((target, partition), offset);
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
                && let Some(committed) = mark.committed.filter(|committed| committed > found)
            {
                mark.committed = Some(*found);
                put_back.push((partition.clone(), committed, *found));
            }
        }
        put_back
    }

    /// What this process has committed for a target.
    pub fn all_committed(&self, target: TargetIndex) -> Vec<TopicPartition> {
        let own = self.marks.iter().filter(|mark| mark.key().0 == target && mark.committed.is_some());
        own.map(|mark| mark.key().1.clone()).collect()
    }

    /// Notes what was committed.
    pub fn committed(&self, target: TargetIndex, offsets: &[Noted]) {
        for (partition, offset, _) in offsets {
            if let Some(mut mark) = self.marks.get_mut(&(target, partition.clone())) {
                mark.committed = Some(*offset);
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

    /// Source records between the watermarks and the goals, over all targets: an upper bound, as offsets may hold no
    /// record.
    pub fn remaining(&self) -> u64 {
        let per_goal = self.goals.iter().map(|goal| {
            (0..self.targets.len())
                .map(|target| {
                    let mark = self.watermark(target, goal.key()).unwrap_or(0);
                    u64::try_from(goal.value() - mark).unwrap_or(0)
                })
                .sum::<u64>()
        });
        per_goal.sum()
    }

    /// The watermark, here or elsewhere.
    fn furthest(&self, target: TargetIndex, partition: &TopicPartition) -> Option<i64> {
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
