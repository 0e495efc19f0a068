//! The attempts of one route, at everything that it tries. They are older than its actors: a new generation of an actor
//! goes on with the count, and the backoff, of the one that failed.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use dashmap::DashMap;

use super::clock::{dice, now};
use super::messages::Child;
use super::progress::TargetIndex;
use crate::domain::fault::FaultClass;
use crate::domain::retry::{Attempts, BLOCKED, Next, Policy, Spread};
use crate::domain::topic_partition::TopicPartition;
use crate::plan::RoutePlan;

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// To find the source's topics.
    Source,
    /// To make a target ready.
    Prepare(TargetIndex),
    /// To write to a target at all.
    Write(TargetIndex),
    /// To write what begins with the record at this source offset.
    Record(TargetIndex, TopicPartition, i64),
    /// To write dead letters of a target.
    DeadLetter(TargetIndex),
    /// To read a partition: for one target, or for all who share the read.
    Read(Option<TargetIndex>, TopicPartition),
    /// To keep an actor alive.
    Life(Child),
}

/// The attempts of one route.
#[derive(Debug)]
pub struct Retries {
    plan: RwLock<Arc<RoutePlan>>,
    attempts: DashMap<What, Attempts>,
    generations: DashMap<Child, u64>,
    /// The process's: what fails together does not start again together.
    spread: Arc<Mutex<Spread>>,
}

/// No two restarts within this time: a thousand partitions take 20 s to come back, and nobody notices a storm.
const GAP: Duration = Duration::from_millis(20);

/// A spread for the process.
pub fn spread() -> Arc<Mutex<Spread>> {
    Arc::new(Mutex::new(Spread::new(GAP)))
}

impl Retries {
    /// For a route; nothing was tried yet.
    pub fn new(plan: Arc<RoutePlan>, spread: Arc<Mutex<Spread>>) -> Arc<Self> {
        let plan = RwLock::new(plan);
        Arc::new(Self { plan, attempts: DashMap::new(), generations: DashMap::new(), spread })
    }

    /// From now on this plan's policies count.
    pub fn follow(&self, plan: Arc<RoutePlan>) {
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// The policy that counts for something of this class.
    pub fn policy(&self, what: &What, class: FaultClass) -> Policy {
        let target = match what {
            What::Prepare(target) | What::Write(target) | What::Record(target, ..) | What::DeadLetter(target) => {
                Some(*target)
            }
            What::Read(target, _) => *target,
            What::Life(Child::Target(target)) => Some(*target),
            What::Source | What::Life(_) => None,
        };
        let plan = self.plan.read().unwrap_or_else(PoisonError::into_inner);
        let target = target.and_then(|target| plan.targets.get(target));
        *target.map_or(&plan.retry, |target| &target.retry).of(class)
    }

    /// Notes that an attempt failed, and says what follows.
    pub fn failed(&self, what: &What, class: FaultClass) -> Next {
        let policy = self.policy(what, class);
        self.attempts.entry(what.clone()).or_default().failed(&policy, now(), dice())
    }

    /// The same for what is tried for ever, whatever the policy says of its end: which attempt it was, and how long to
    /// wait. What would start together with others is spread.
    pub fn failed_again(&self, what: &What, class: FaultClass) -> (u32, Duration) {
        let (attempt, delay) = match self.failed(what, class) {
            Next::Again { attempt, delay } => (attempt, delay),
            Next::Exhausted { attempts } => (attempts, BLOCKED),
        };
        (attempt, self.spread(delay))
    }

    /// A delay of about this, apart from others'.
    pub fn spread(&self, delay: Duration) -> Duration {
        self.spread.lock().unwrap_or_else(PoisonError::into_inner).after(delay, now())
    }

    /// Notes that something works.
    pub fn works(&self, what: &What) {
        if let Some(mut attempts) = self.attempts.get_mut(what) {
            attempts.works(now());
        }
    }

    /// Forgets the records of a partition of a target below an offset: it has taken them.
    pub fn forget_records(&self, target: TargetIndex, partition: &TopicPartition, below: i64) {
        self.attempts.retain(|what, _| match what {
            What::Record(of, place, offset) => *of != target || place != partition || *offset >= below,
            _ => true,
        });
    }

    /// Forgets what is done with.
    pub fn forget(&self, what: &What) {
        self.attempts.remove(what);
    }

    /// A child's next life begins: its generation. Generations count over the lives of their route, too.
    pub fn begin_life(&self, child: &Child) -> u64 {
        self.works(&What::Life(child.clone()));
        let mut generation = self.generations.entry(child.clone()).or_default();
        *generation += 1;
        *generation
    }
}
