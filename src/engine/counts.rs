//! What is counted of a route and its targets: on the way of a batch or of an acknowledgement, never on that of a record.
//!
//! Whoever shows counts reads them here; nothing is measured for the showing but how long records took, and that only where
//! somebody listens.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use dashmap::DashMap;

use crate::domain::detach::Load;
use crate::domain::fault::FaultClass;

/// Records and bytes.
#[derive(Debug, Default)]
pub struct Volume {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Volume {
    /// Adds to both.
    pub fn add(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records.load(Relaxed)
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

/// Counts of each topic, from the first time that there is something to count.
#[derive(Debug)]
pub struct PerTopic<T>(DashMap<Arc<str>, T>);

impl<T> Default for PerTopic<T> {
    fn default() -> Self {
        Self(DashMap::new())
    }
}

impl<T: Default> PerTopic<T> {
    /// Counts something of a topic.
    pub fn with(&self, topic: &Arc<str>, count: impl FnOnce(&T)) {
        match self.0.get(topic) {
            Some(counts) => count(&counts),
            None => count(&self.0.entry(topic.clone()).or_default()),
        }
    }

    /// Reads the counts of a topic.
    pub fn of<R: Default>(&self, topic: &str, read: impl FnOnce(&T) -> R) -> R {
        self.0.get(topic).map(|counts| read(&counts)).unwrap_or_default()
    }

    /// The topics of which something was counted.
    pub fn topics(&self) -> Vec<Arc<str>> {
        self.0.iter().map(|counts| counts.key().clone()).collect()
    }
}

/// What a target did with a topic's records.
#[derive(Debug, Default)]
pub struct TopicCounts {
    /// Acknowledged by the target.
    pub written: Volume,
    /// Written as dead letters.
    pub dead_lettered: AtomicU64,
    /// Dropped.
    pub dropped: AtomicU64,
    /// Kept as envelopes.
    pub kept: AtomicU64,
}

/// What became of a record that a target did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// It was written as a dead letter.
    DeadLettered,
    /// It was dropped.
    Dropped,
    /// It was kept as an envelope.
    Kept,
}

impl GivenUp {
    /// The name used in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeadLettered => "dead-lettered",
            Self::Dropped => "dropped",
            Self::Kept => "kept",
        }
    }
}

/// What slows a target down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brake {
    /// A limit of the config, or one that was set by hand.
    Limit,
    /// Its broker.
    Broker,
}

impl Brake {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Limit, Self::Broker];

    /// The name used in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Broker => "broker",
        }
    }
}

/// Time spent waiting, by what was waited for; in microseconds, as many waits are short.
#[derive(Debug, Default)]
pub struct Waits([AtomicU64; Brake::ALL.len()]);

impl Waits {
    /// Counts a wait.
    pub fn count(&self, brake: Brake, wait: Duration) {
        self.0[brake as usize].fetch_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How long one thing was waited for.
    pub fn of(&self, brake: Brake) -> Duration {
        Duration::from_micros(self.0[brake as usize].load(Relaxed))
    }

    /// How long anything was waited for.
    pub fn total(&self) -> Duration {
        Brake::ALL.into_iter().map(|brake| self.of(brake)).sum()
    }
}

/// Attempts, by the class of the fault.
#[derive(Debug, Default)]
pub struct PerClass([AtomicU64; FaultClass::ALL.len()]);

impl PerClass {
    /// Counts one.
    pub fn count(&self, class: FaultClass) {
        self.0[class as usize].fetch_add(1, Relaxed);
    }

    /// Those of a class.
    pub fn of(&self, class: FaultClass) -> u64 {
        self.0[class as usize].load(Relaxed)
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        FaultClass::ALL.into_iter().map(|class| self.of(class)).sum()
    }
}

/// Is told how long a record took.
type Listener = Box<dyn Fn(Duration) + Send + Sync>;

/// What a target did so far, and what it holds.
#[derive(Default)]
pub struct TargetStats {
    /// Acknowledged by the target.
    pub written: Volume,
    /// The same, and more, for each topic of the source.
    pub topics: PerTopic<TopicCounts>,
    /// What went wrong on the way.
    pub tally: Tally,
    life: Mutex<Arc<TargetLoad>>,
    listener: OnceLock<Listener>,
}

impl fmt::Debug for TargetStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetStats")
            .field("written", &self.written)
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

/// What went wrong with a target, counted.
#[derive(Debug, Default)]
pub struct Tally {
    /// Records that the target refused, each once.
    pub refused: AtomicU64,
    /// Attempts that failed and were followed by another.
    pub retries: PerClass,
    /// Records that were written as dead letters.
    pub dead_lettered: AtomicU64,
    /// Records that were dropped.
    pub dropped: AtomicU64,
    /// Records that were kept as envelopes.
    pub kept: AtomicU64,
    /// Time spent waiting for a limit, or for a broker that throttles.
    pub throttled: Waits,
    /// How often a partition left the shared read.
    pub detached: AtomicU64,
    /// How often its actors were made anew.
    pub restarts: AtomicU64,
    /// Produce requests that got no answer in time.
    pub timed_out: AtomicU64,
    /// Gaps that were found.
    pub gaps: AtomicU64,
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
            backlog: life.backlog.load(Relaxed),
            attached: life.attached.load(Relaxed) > 0,
            acknowledged: life.acknowledged.load(Relaxed),
        }
    }

    /// Counts what the target has acknowledged.
    pub fn wrote(&self, topic: &Arc<str>, records: u64, bytes: u64) {
        self.written.add(records, bytes);
        self.topics.with(topic, |counts| counts.written.add(records, bytes));
    }

    /// Counts records that went elsewhere, or nowhere.
    pub fn gave_up(&self, topic: &Arc<str>, how: GivenUp, records: u64) {
        let total = match how {
            GivenUp::DeadLettered => &self.tally.dead_lettered,
            GivenUp::Dropped => &self.tally.dropped,
            GivenUp::Kept => &self.tally.kept,
        };
        total.fetch_add(records, Relaxed);
        self.topics.with(topic, |counts| {
            let count = match how {
                GivenUp::DeadLettered => &counts.dead_lettered,
                GivenUp::Dropped => &counts.dropped,
                GivenUp::Kept => &counts.kept,
            };
            count.fetch_add(records, Relaxed);
        });
    }

    /// Has somebody told how long records take from their own time to the target's acknowledgement; the first who asks, and
    /// nobody else.
    pub fn listen(&self, listener: impl Fn(Duration) + Send + Sync + 'static) {
        // whoever came first is as good
        let _ = self.listener.set(Box::new(listener));
    }

    /// Tells how long a record took, of which the time is looked up only if somebody listens.
    pub fn took(&self, age: impl FnOnce() -> Option<Duration>) {
        if let Some(listener) = self.listener.get()
            && let Some(age) = age()
        {
            listener(age);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_per_topic_adds_up_to_the_whole() {
        let stats = TargetStats::default();
        let [a, b]: [Arc<str>; 2] = ["a", "b"].map(Arc::from);
        stats.wrote(&a, 3, 30);
        stats.wrote(&b, 4, 40);
        stats.wrote(&a, 5, 50);
        stats.gave_up(&b, GivenUp::DeadLettered, 2);
        stats.gave_up(&a, GivenUp::DeadLettered, 1);
        stats.gave_up(&a, GivenUp::Dropped, 7);
        let written = |topic: &str| stats.topics.of(topic, |counts| (counts.written.records(), counts.written.bytes()));
        assert_eq!((written("a"), written("b"), written("c")), ((8, 80), (4, 40), (0, 0)));
        assert_eq!((stats.written.records(), stats.written.bytes()), (12, 120));
        let letters = |topic: &str| stats.topics.of(topic, |counts| counts.dead_lettered.load(Relaxed));
        assert_eq!((letters("a"), letters("b")), (1, 2));
        assert_eq!((stats.tally.dead_lettered.load(Relaxed), stats.tally.dropped.load(Relaxed)), (3, 7));
        assert_eq!(stats.topics.topics().len(), 2);
    }

    #[test]
    fn each_class_has_a_count_of_its_own() {
        let retries = PerClass::default();
        for (times, class) in (1..).zip(FaultClass::ALL) {
            (0..times).for_each(|_| retries.count(class));
        }
        assert_eq!(FaultClass::ALL.map(|class| retries.of(class)), [1, 2, 3, 4, 5]);
        assert_eq!(retries.total(), 15);
    }

    #[test]
    fn short_waits_are_not_lost() {
        let waits = Waits::default();
        (0..5_000).for_each(|_| waits.count(Brake::Limit, Duration::from_micros(400)));
        waits.count(Brake::Broker, Duration::from_secs(3));
        assert_eq!((waits.of(Brake::Limit), waits.total()), (Duration::from_secs(2), Duration::from_secs(5)));
    }

    #[test]
    fn nothing_is_looked_up_where_nobody_listens() {
        let stats = TargetStats::default();
        stats.took(|| panic!("nobody wants to know"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = heard.clone();
        stats.listen(move |age| listener.lock().unwrap().push(age));
        stats.took(|| Some(Duration::from_secs(1)));
        stats.took(|| None);
        assert_eq!(*heard.lock().unwrap(), [Duration::from_secs(1)]);
    }
}
