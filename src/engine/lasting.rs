//! What outlives the actor of a route: its next life goes on with it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::now;
use super::events::Events;
use super::flow::Gate;
use super::pacer::Limit;
use super::preparation::shared_group;
use super::progress::{Noted, Progress, TargetIndex};
use super::read_limit::ReadLimit;
use super::retries::Retries;
use super::status::RouteStatus;
use crate::domain::fault::Fault;
use crate::domain::retry::Spread;
use crate::kafka::Writer;
use crate::kafka::group::Group;
use crate::kafka::lease::SharedLease;
use crate::kafka::membership::Membership;
use crate::plan::{Plan, RoutePlan};

/// The longest that the answer to a commit is waited for, all attempts together.
pub const COMMIT_LONGEST: Duration = Duration::from_secs(10);

/// What outlives the actor of a route.
#[derive(Clone)]
pub struct Lasting {
    /// Watermarks and counters.
    pub progress: Arc<Progress>,
    /// The attempts so far.
    pub retries: Arc<Retries>,
    /// The states.
    pub status: Arc<RouteStatus>,
    /// The route's bound on bytes in flight.
    pub gate: Arc<Gate>,
    /// The route's own limit.
    limit: Limit,
    targets: Arc<boxcar::Vec<Seat>>,
    /// How fast the source may be read.
    pub read_limit: ReadLimit,
    writers: Arc<Mutex<Vec<Arc<dyn Writer>>>>,
    /// Which life of the route may commit, and which one this is of.
    present: Arc<AtomicU64>,
    life: u64,
    /// Its place among the processes that share the route.
    membership: Arc<Mutex<Option<Arc<Membership>>>>,
}

/// What outlives the actors of a target.
struct Seat {
    /// The limits that it has to keep to, its own first.
    limits: Vec<Limit>,
    /// Whose turn it is to commit.
    commit: Mutex<()>,
}

/// The limits that all routes of a process share. There is one for whatever may have one: it may come later.
#[derive(Debug)]
pub struct SharedLimits {
    process: Limit,
    write: BTreeMap<String, Limit>,
    read: BTreeMap<String, Limit>,
}

impl SharedLimits {
    /// Those of a plan.
    pub fn new(plan: &Plan) -> Self {
        let process = Limit::new("limits.bandwidth", None);
        let mut limits = Self { process, write: BTreeMap::new(), read: BTreeMap::new() };
        limits.follow(plan);
        limits
    }

    /// Those of another plan from now on, for all whom they are for.
    pub fn follow(&mut self, plan: &Plan) {
        self.process.set_rate(plan.limits.bandwidth);
        for (alias, cluster) in &plan.clusters {
            let of = |key: &str| Limit::new(format!("clusters.{alias}.{key}"), None);
            let write = self.write.entry(alias.clone()).or_insert_with(|| of("peak_bandwidth"));
            write.set_rate(cluster.write_bandwidth);
            let read = self.read.entry(alias.clone()).or_insert_with(|| of("read_bandwidth"));
            read.set_rate(cluster.read_bandwidth);
        }
    }
}

impl Lasting {
    /// For a route that starts for the first time.
    pub fn new(plan: &Arc<RoutePlan>, shared: &SharedLimits, spread: Arc<Mutex<Spread>>, events: Arc<Events>) -> Self {
        let read = shared.read.get(&plan.source.alias).cloned();
        let read = read.unwrap_or_else(|| Limit::new(&plan.source.alias, plan.source.read_bandwidth));
        let lasting = Self {
            progress: Progress::new(plan.targets.len()),
            retries: Retries::new(plan.clone(), spread),
            status: RouteStatus::new(plan, events),
            gate: Gate::new(plan.in_flight),
            limit: Limit::new(format!("routes.{}.bandwidth", plan.name), None),
            targets: Arc::default(),
            read_limit: ReadLimit::new(read),
            writers: Arc::default(),
            present: Arc::default(),
            life: 0,
            membership: Arc::default(),
        };
        lasting.limit_to(plan, shared);
        lasting
    }

    /// Follows a plan for the same route with other targets, limits or policies; its targets keep their places. The gate is its
    /// owner's to resize.
    pub fn follow(&self, plan: &Arc<RoutePlan>, shared: &SharedLimits) {
        self.progress.seat(plan.targets.len());
        self.retries.follow(plan.clone());
        self.limit_to(plan, shared);
        self.status.seat(plan);
    }

    fn limit_to(&self, plan: &RoutePlan, shared: &SharedLimits) {
        self.limit.set_rate(plan.bandwidth);
        for (index, target) in plan.targets.iter().enumerate() {
            if index == self.targets.count() {
                let own = Limit::new(format!("routes.{}.to.{}.bandwidth", plan.name, target.name()), None);
                let cluster = shared.write.get(target.name()).cloned();
                let around = [cluster, Some(self.limit.clone()), Some(shared.process.clone())];
                let limits = std::iter::once(own).chain(around.into_iter().flatten()).collect();
                self.targets.push(Seat { limits, commit: Mutex::default() });
            }
            if let Some(own) = self.own_limit(index) {
                own.set_rate(target.own_bandwidth());
            }
        }
    }

    /// The limit that is a target's own; it may be without one for now.
    pub fn own_limit(&self, target: TargetIndex) -> Option<&Limit> {
        self.targets.get(target).and_then(|seat| seat.limits.first())
    }

    /// The limits that a target has to keep to, its own first.
    pub fn limits_of(&self, target: TargetIndex) -> Vec<Limit> {
        self.targets.get(target).map_or_else(Vec::new, |seat| seat.limits.clone())
    }

    /// The place of a route among the processes that share it; the same one for all of its lives, as long as that lives itself.
    pub fn membership(&self, plan: &RoutePlan, patience: Duration) -> Result<Arc<Membership>, Fault> {
        let mut slot = self.member();
        if let Some(membership) = slot.as_ref().filter(|membership| !membership.has_crashed()) {
            return Ok(membership.clone());
        }
        let membership = Arc::new(Membership::open(&plan.source, &shared_group(&plan.name), patience)?);
        Ok(slot.insert(membership).clone())
    }

    fn member(&self) -> MutexGuard<'_, Option<Arc<Membership>>> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the group, if it is in one; nothing is committed any more. Blocks.
    pub fn leave(&self) {
        self.retire();
        let membership = self.member().take();
        if let Some(membership) = membership {
            membership.leave();
        }
    }

    /// Whether the thread that speaks with the group has panicked.
    pub fn has_crashed_member(&self) -> bool {
        self.member().as_ref().is_some_and(|membership| membership.has_crashed())
    }

    /// How long this process may act for its partitions; `None` where nobody shares them.
    pub fn lease(&self) -> Option<SharedLease> {
        self.member().as_ref().map(|membership| membership.lease())
    }

    /// For the route's next life: whatever of a former one is still under way commits nothing any more.
    #[must_use]
    pub fn begin_life(&self) -> Self {
        let life = self.present.fetch_add(1, Relaxed) + 1;
        Self { life, ..self.clone() }
    }

    /// This life is over before the next begins: others may have gone on from what it committed last.
    pub fn retire(&self) {
        self.present.fetch_add(1, Relaxed);
    }

    /// For how long this process may act for its partitions, as far as is known now; `None` where it may not.
    fn left(&self) -> Option<Duration> {
        if self.present.load(Relaxed) != self.life {
            return None;
        }
        self.lease().map_or(Some(Duration::MAX), |lease| lease.left())
    }

    /// Whether this process may act for its partitions now.
    pub fn may_act(&self) -> bool {
        self.left().is_some()
    }

    /// Commits watermarks of a target, if this process may still act for them, and as long as it may: whoever may not must not put
    /// back what another process has committed; nor may what was to be committed earlier come later. Blocks, for `longest` at
    /// the most.
    pub fn commit(
        &self,
        target: TargetIndex,
        group: &Group,
        offsets: &[Noted],
        longest: Duration,
    ) -> Result<(), Fault> {
        let deadline = now() + longest;
        let seat = self.targets.get(target);
        let _turn = seat.map(|seat| seat.commit.lock().unwrap_or_else(PoisonError::into_inner));
        let mut offsets = offsets.to_vec();
        offsets.retain(|(partition, offset, _)| !self.progress.has_committed_more(target, partition, *offset));
        if offsets.is_empty() || !self.may_act() {
            return Ok(());
        }
        let left = || self.left().map(|left| left.min(deadline.saturating_sub(now())));
        let unknown = group.commit(&offsets, &left)?;
        offsets.retain(|(partition, ..)| !unknown.contains(&*partition.topic));
        self.progress.committed(target, &offsets);
        Ok(())
    }

    /// Notes a writer that was opened.
    pub fn opened(&self, writer: &Arc<dyn Writer>) {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).push(writer.clone());
    }

    /// Closes a writer. Blocks.
    pub fn close(&self, writer: &Arc<dyn Writer>) {
        writer.close();
        self.forget(writer);
    }

    /// Forgets a writer that ends by itself.
    pub fn forget(&self, writer: &Arc<dyn Writer>) {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).retain(|open| !Arc::ptr_eq(open, writer));
    }

    /// Closes the writers that a former life left open: what they still hold must not be written beside a new life.
    /// Blocks.
    pub fn close_writers(&self) {
        let open = std::mem::take(&mut *self.writers.lock().unwrap_or_else(PoisonError::into_inner));
        for writer in open {
            writer.close();
        }
    }
}
