//! The watermarks of a route: written by its target producers, committed by the route, and older than any of them.
//!
//! They are kept outside the actors, so that a new generation of an actor goes on where the last one got to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;

use crate::domain::detach::Load;
use crate::domain::note::{Note, Noted};
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
    /// Which assignment each partition is copied under, where a group shares them out.
    assignments: DashMap<TopicPartition, u64>,
    /// What other processes have committed for the partitions that are theirs.
    elsewhere: DashMap<(TargetIndex, TopicPartition), i64>,
    /// What each target did so far.
    pub targets: Vec<TargetStats>,
    /// What was read from the source, for all targets.
    pub read: Volume,
}

#[derive(Clone, Debug, Default)]
struct Mark {
    watermark: i64,
    note: Note,
    committed: Option<Noted>,
}

impl Mark {
    fn noted(&self) -> Noted {
        Noted { offset: self.watermark, note: self.note.clone() }
    }

    fn is_committed(&self) -> bool {
        self.committed.as_ref().is_some_and(|noted| noted.offset == self.watermark && noted.note == self.note)
    }
}

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
            assignments: DashMap::new(),
            elsewhere: DashMap::new(),
            targets: (0..targets).map(|_| TargetStats::default()).collect(),
            read: Volume::default(),
        })
    }

    /// Raises a watermark. It never falls: an older word changes nothing.
    pub fn raise(&self, target: TargetIndex, partition: &TopicPartition, watermark: i64) {
        let new = || Mark { watermark, ..Mark::default() };
        let mut mark = self.marks.entry((target, partition.clone())).or_insert_with(new);
        mark.watermark = mark.watermark.max(watermark);
    }

    /// Begins, or begins anew, at a watermark that may be lower than before: nothing of a partition is under way. What was
    /// committed stays known.
    pub fn begin(&self, target: TargetIndex, partition: &TopicPartition, noted: &Noted) {
        let mut mark = self.marks.entry((target, partition.clone())).or_default();
        (mark.watermark, mark.note) = (noted.offset, noted.note.clone());
    }

    /// The watermark of a target partition.
    pub fn watermark(&self, target: TargetIndex, partition: &TopicPartition) -> Option<i64> {
        self.marks.get(&(target, partition.clone())).map(|mark| mark.watermark)
    }

    /// The same with its note.
    pub fn noted(&self, target: TargetIndex, partition: &TopicPartition) -> Option<Noted> {
        self.marks.get(&(target, partition.clone())).map(|mark| mark.noted())
    }

    /// The watermarks of a target that have to be committed; all of them, if asked for.
    pub fn to_commit(&self, target: TargetIndex, all: bool) -> Vec<(TopicPartition, Noted)> {
        self.marks
            .iter()
            .filter(|mark| mark.key().0 == target && (all || !mark.is_committed()))
            .map(|mark| (mark.key().1.clone(), mark.noted()))
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
        self.marks.retain(|(_, marked), _| marked != partition);
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
                && let Some(committed) = mark.committed.as_ref().map(|noted| noted.offset)
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
        let own = self.marks.iter().filter(|mark| mark.key().0 == target && mark.committed.is_some());
        own.map(|mark| mark.key().1.clone()).collect()
    }

    /// Notes what was committed.
    pub fn committed(&self, target: TargetIndex, offsets: &[(TopicPartition, Noted)]) {
        for (partition, noted) in offsets {
            if let Some(mut mark) = self.marks.get_mut(&(target, partition.clone())) {
                mark.committed = Some(noted.clone());
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
